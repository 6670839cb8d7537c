//! Why an item is on a list: the items of the history that speak for it most, and how much.
//!
//! In: a scorer, a weighed history, the items on the list.  Out: [`Contribution`]s, strongest first.
//! All models but BPR are linear in the history: there a score is exactly the sum of its contributions, up to a constant.
//! Never here: words for people; `serving` and `app` put titles to ids.
//! Start at [`contributions`].

use crate::scorer::{Scorer, WeighedHistory};
use crate::top_k::by_rank;

/// A history item that speaks for a recommended item.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Contribution {
    /// Ordinal of the history item, or of a thing of an indicator.
    pub item: u32,
    /// Its part of all that speaks for the recommended item, 0.0–1.0; what speaks against it is left out.
    pub share: f32,
}

/// The `most` strongest contributions per target.
pub(crate) fn contributions(
    scorer: &Scorer,
    history: &WeighedHistory,
    targets: &[u32],
    most: usize,
) -> Vec<Vec<Contribution>> {
    if most == 0 || history.is_empty() {
        return vec![Vec::new(); targets.len()];
    }
    let (items, rows) = scorer.contributions(history, targets);
    rows.into_iter().map(|parts| strongest(&items, &parts, most)).collect()
}

fn strongest(items: &[u32], parts: &[f32], most: usize) -> Vec<Contribution> {
    let mut positive: Vec<(u32, f32)> =
        items.iter().copied().zip(parts.iter().copied()).filter(|(_, part)| *part > 0.0).collect();
    let total: f32 = positive.iter().map(|(_, part)| part).sum();
    positive.sort_unstable_by(|left, right| by_rank(*left, *right));
    positive.truncate(most);
    positive.into_iter().map(|(item, part)| Contribution { item, share: part / total }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_what_speaks_for_the_item() {
        let strongest = strongest(&[1, 2, 3, 4], &[1.0, -5.0, 2.0, 1.0], 2);
        assert_eq!(strongest, [Contribution { item: 3, share: 0.5 }, Contribution { item: 1, share: 0.25 }]);
    }
}
