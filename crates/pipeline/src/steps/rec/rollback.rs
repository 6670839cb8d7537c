//! Goes back to what served before: one new promotion, no training, no guard; only that the artefact is there and loads.
//!
//! In: a promotion's number, or nothing.  Out: [`Promoted`].
//! Never here: choosing by figures (`promote`).
//! Start at [`run`].

use domain::{Promotion, Provenance};

use super::RegistryError;
use super::promote::{Promoted, check_loads, report};
use crate::steps::Context;
use crate::{PipelineError, promotions};

/// Promotes again what an earlier promotion had promoted.
pub(super) async fn run(context: &Context, to: Option<u64>, reason: Option<String>) -> Result<Promoted, PipelineError> {
    let project = &context.project;
    let mut promotions = promotions::all(&project.promoted_dir())?;
    let Some(serving) = promotions.pop() else { return Err(PipelineError::NothingPromoted) };
    let earlier = target(&promotions, &serving, to)?;
    let root = project.artefacts_dir();
    for artefact in [Some(&earlier.artefact), earlier.fallback_artefact.as_ref()].into_iter().flatten() {
        if !root.join(artefact).exists() {
            return Err(RegistryError::ArtefactRemoved { number: earlier.number, artefact: artefact.clone() }.into());
        }
    }
    check_loads(&root, &earlier.artefact, earlier.fallback_artefact.as_deref()).await?;
    let back = format!("rolled back to promotion {}", earlier.number);
    let wanted = Promotion {
        promoted_at: context.now,
        reason: reason.map_or_else(|| back.clone(), |reason| format!("{back}: {reason}")),
        provenance: Provenance { run_id: context.run_id.clone(), ..earlier.provenance.clone() },
        ..earlier.clone()
    };
    let (promotion, changed) = promotions::promote(&project.promoted_dir(), wanted)?;
    Ok(report(promotion, changed, false, None, Some(&serving)))
}

/// The promotion to go back to, of those before the one that serves.
fn target<'a>(
    promotions: &'a [Promotion],
    serving: &'a Promotion,
    to: Option<u64>,
) -> Result<&'a Promotion, RegistryError> {
    let Some(number) = to else {
        let before = promotions.iter().rfind(|earlier| !promotions::serves_the_same(earlier, serving));
        return before.ok_or(RegistryError::NothingBefore { number: serving.number });
    };
    let all = || promotions.iter().chain([serving]);
    all().rfind(|promotion| promotion.number == number).ok_or_else(|| RegistryError::NoSuchPromotion {
        number,
        numbers: all().map(|promotion| promotion.number).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promotions::tests::promotion;

    #[test]
    fn what_served_before_is_another_thing_and_a_number_is_taken_at_its_word() {
        let history: Vec<Promotion> = [("ease", "a"), ("ease", "b"), ("ials", "x"), ("ease", "b")]
            .into_iter()
            .zip(1..)
            .map(|((recommender, artefact), number)| Promotion { number, ..promotion(recommender, artefact, 1) })
            .collect();
        let check = |upto: usize, to: Option<u64>, expected: Option<u64>| {
            let found = target(&history[..upto - 1], &history[upto - 1], to);
            assert_eq!(found.ok().map(|promotion| promotion.number), expected, "{upto} {to:?}");
        };
        check(1, None, None);
        check(2, None, Some(1));
        check(4, None, Some(3));
        check(4, Some(1), Some(1));
        check(4, Some(9), None);
        let twice = [history[0].clone(), Promotion { number: 2, ..history[0].clone() }];
        assert!(target(&twice[..1], &twice[1], None).is_err(), "the same again is nothing to go back to");
    }
}
