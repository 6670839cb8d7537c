//! Which recommender to begin with, by the size of the catalogue and by what the events tell (reference 2.1, default rule).
//!
//! In: interactions, a budget of memory.  Out: a [`DefaultChoice`]: parameters, and the reason in a sentence.
//! Never here: measuring which is better (see `evaluate` and `tune`): this is where a search begins.
//! Start at [`choose_default`].

use crate::{
    BlendParameters, BlendPart, EaseParameters, HistoryParameters, IalsParameters, Interactions, Parameters,
    SequenceParameters,
};

/// Beyond it EASE takes minutes of processor time, growing with the cube (reference 2.1).
const MOST_ITEMS_OF_EASE: usize = 20_000;

/// EASE may have this share of the memory: training holds its matrix beside the interactions.
const SHARE_OF_EASE: f64 = 0.5;

/// τ beside rules of sequence (reference 2.10).
const RECENCY_IN_BLEND: f64 = 15.0;

/// Which recommender to begin with, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct DefaultChoice {
    pub parameters: Parameters,
    /// One or two sentences for a person.
    pub reason: String,
}

/// Chooses by the rule: EASE while its matrix fits, otherwise iALS; blended with what follows what if most users have come
/// at several moments.
pub fn choose_default(interactions: &Interactions, memory_bytes: u64) -> DefaultChoice {
    let items = interactions.item_ids().len();
    let matrix_bytes = 4 * (items as u64).pow(2);
    let fits = matrix_bytes as f64 <= SHARE_OF_EASE * memory_bytes as f64;
    let is_ease = items <= MOST_ITEMS_OF_EASE && fits;
    let returning = share_of_returning(interactions);
    let has_order = returning >= 0.5;
    let history = HistoryParameters { recency: has_order.then_some(RECENCY_IN_BLEND), ..HistoryParameters::default() };
    let main = if is_ease {
        Parameters::Ease(EaseParameters { history, ..EaseParameters::default() })
    } else {
        Parameters::Ials(IalsParameters { history, ..IalsParameters::default() })
    };
    let (matrix, memory) = (megabytes(matrix_bytes), megabytes(memory_bytes));
    let size = match (is_ease, fits) {
        (true, _) => {
            format!("`ease`, because its matrix of {items} × {items} items takes {matrix} of {memory} of memory")
        }
        (false, true) => format!(
            "`ials`, because {items} items are more than the {MOST_ITEMS_OF_EASE} that `ease` solves in minutes"
        ),
        (false, false) => format!(
            "`ials`, because the matrix of `ease` over {items} items would take {matrix}, more than half of {memory} of memory"
        ),
    };
    let percent = 100.0 * returning;
    if !has_order {
        let reason = format!(
            "{size}; not blended with `sequence`, because only {percent:.0} % of the users came at more than one moment"
        );
        return DefaultChoice { parameters: main, reason };
    }
    let reason = format!(
        "{size}; blended with `sequence`, because {percent:.0} % of the users came at more than one moment, so events carry order"
    );
    let part = |parameters| BlendPart { weight: 0.5, parameters };
    let parts = vec![part(main), part(Parameters::Sequence(SequenceParameters::default()))];
    DefaultChoice { parameters: Parameters::Blend(BlendParameters { parts }), reason }
}

/// Share of users with events at more than one moment.
fn share_of_returning(interactions: &Interactions) -> f64 {
    let users = interactions.user_ids().len();
    let is_returning = |user: &u32| {
        let history = interactions.history(*user);
        history.first().map(|event| event.at) != history.last().map(|event| event.at)
    };
    (0..users as u32).filter(is_returning).count() as f64 / users.max(1) as f64
}

/// Decimal, as memory is talked about.
fn megabytes(bytes: u64) -> String {
    if bytes < 10_000_000_000 {
        format!("{:.0} MB", bytes as f64 / 1e6)
    } else {
        format!("{:.0} GB", bytes as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::tests::{row, shop};

    fn kinds(choice: &DefaultChoice) -> Vec<&'static str> {
        choice.parameters.parts().iter().map(|(_, part)| part.kind().as_str()).collect()
    }

    #[test]
    fn the_size_of_the_catalogue_and_the_order_of_events_decide() {
        let returning = shop(&[3; 20]);
        let (once, _) =
            Interactions::from_rows((0..60).map(|i| row(&format!("u{}", i % 20), &format!("i{i}"), 7, None)));
        // 40 and 60 items: matrices of 6,400 and 14,400 bytes.
        let choose = |interactions: &Interactions, bytes| {
            let choice = choose_default(interactions, bytes);
            assert!(choice.parameters.validate().is_ok());
            (kinds(&choice), choice.reason)
        };
        assert_eq!(choose(&returning, 1 << 30).0, ["ease", "sequence"]);
        assert_eq!(choose(&returning, 12_000).0, ["ials", "sequence"]);
        let (kinds, reason) = choose(&once, 1 << 30);
        assert_eq!(kinds, ["ease"]);
        assert!(reason.contains("60 × 60 items") && reason.contains("only 0 % of the users"), "{reason}");
        let (_, reason) = choose(&once, 20_000);
        assert!(reason.contains("more than half"), "{reason}");
    }

    #[test]
    fn a_large_catalogue_is_not_for_ease_however_much_memory_there_is() {
        let (large, _) = Interactions::from_rows((0..20_001).map(|i| row("u", &format!("i{i}"), i, None)));
        let choice = choose_default(&large, u64::MAX);
        assert_eq!(kinds(&choice), ["ials", "sequence"]);
        assert!(choice.reason.contains("20001 items are more than the 20000"), "{}", choice.reason);
    }
}
