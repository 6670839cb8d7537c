//! Where good settings of each kind lie: the ranges that are searched, each with where it comes from, and one seeded draw from them.
//!
//! In: the current settings, a seed, the number of a trial.  Out: settings to try, numbers rounded to three significant digits.
//! What has no range here (such as `weights` or `max_history`) says what the data mean, and stays as the user wrote it.
//! Never here: measuring (see `trial`), the weights of a blend (see `weights`).
//! Start at [`draw`].

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::random::Random;
use crate::{BlendParameters, BlendPart, Parameters, RecommendError, RecommenderKind};

/// Raise it when a range changes: what was tried in another space is not gone on with.
pub const SPACE_VERSION: u32 = 1;

/// Digits that are worth writing into a file; the rest is below what any validation can tell apart.
const SIGNIFICANT_DIGITS: usize = 3;

/// Values of one parameter.
#[derive(Debug, Clone, Copy)]
enum Range {
    /// Every order of magnitude is as likely.
    Log(f64, f64),
    Linear(f64, f64),
    Counts(&'static [u64]),
    Numbers(&'static [f64]),
    Words(&'static [&'static str]),
    /// Absent every other time, otherwise as [`Range::Log`].
    MaybeLog(f64, f64),
}

type Knob = (&'static str, Range);

/// τ of recency. Reference 2.10 uses 15 with EASE, and 4.4 measured 8 better there and on every data set; absent is the default.
const RECENCY: Knob = ("recency", Range::MaybeLog(2.0, 60.0));

/// The searched parameters of a kind; of a blend those of its parts.
fn knobs(kind: RecommenderKind) -> &'static [Knob] {
    match kind {
        // Reference 2.9: a day for news and fashion, a month for a catalogue; a year forgets nothing.
        RecommenderKind::Popularity => &[("half_life_days", Range::MaybeLog(1.0, 365.0))],
        // Reference 2.5: a = .5 or .6, shrink 0 to 50, K = 200 of which half and double are cheap to try.
        RecommenderKind::ItemKnn => &[
            ("neighbours", Range::Counts(&[50, 100, 200, 400])),
            ("exponent", Range::Linear(0.3, 0.8)),
            ("shrink", Range::Linear(0.0, 50.0)),
            ("user_weighting", Range::Words(&["none", "idf", "bm25"])),
            RECENCY,
        ],
        // Reference 2.4: 100 to 1,000 on a log grid; one step wider on both sides, for small and for large shops.
        RecommenderKind::Ease => &[("lambda", Range::Log(50.0, 2_000.0)), RECENCY],
        // Reference 2.3: α0 .01 to 1 and λ 5e-4 to 2e-2 on log grids; d from 64 (32 for small data); 8 to 16 epochs.
        RecommenderKind::Ials => &[
            ("alpha", Range::Log(0.01, 1.0)),
            ("lambda", Range::Log(5e-4, 2e-2)),
            ("factors", Range::Counts(&[32, 64, 128])),
            ("epochs", Range::Counts(&[8, 12, 16])),
            RECENCY,
        ],
        // Reference 2.6: K = 50; 3.84, 6.63 and 10.8 are the 95, 99 and 99.9 % points of χ² with one degree of freedom.
        RecommenderKind::Llr => &[
            ("neighbours", Range::Counts(&[25, 50, 100, 200])),
            ("min_llr", Range::Numbers(&[0.0, 3.84, 6.63, 10.8])),
            RECENCY,
        ],
        // As `llr`; how much the interactions count beside the indicators, whose own weights stay as they are.
        RecommenderKind::Cco => &[
            ("neighbours", Range::Counts(&[25, 50, 100, 200])),
            ("min_llr", Range::Numbers(&[0.0, 3.84, 6.63, 10.8])),
            ("weight", Range::Log(0.1, 10.0)),
            RECENCY,
        ],
        // Reference 2.7: β is sharp, best at .7; Paudel et al. (2017) take α near 1.
        RecommenderKind::Rp3beta => &[
            ("beta", Range::Linear(0.3, 0.9)),
            ("alpha", Range::Linear(0.5, 1.5)),
            ("neighbours", Range::Counts(&[100, 200, 400])),
            RECENCY,
        ],
        // Reference 2.10: window 10, exponents .5 and .3, τ = 3; pairs inside a basket count apart, so from nothing to all.
        RecommenderKind::Sequence => &[
            ("window", Range::Counts(&[3, 5, 10, 20])),
            ("history_exponent", Range::Linear(0.2, 0.8)),
            ("target_exponent", Range::Linear(0.0, 0.6)),
            ("same_step", Range::Linear(0.0, 1.0)),
            ("recency", Range::Log(1.0, 30.0)),
        ],
        // Reference 2.8: η = .05, λ = .01, d = 64, 100 epochs; a factor of five around each rate.
        RecommenderKind::Bpr => &[
            ("learning_rate", Range::Log(0.01, 0.25)),
            ("lambda", Range::Log(2e-3, 5e-2)),
            ("factors", Range::Counts(&[32, 64, 128])),
            ("epochs", Range::Counts(&[50, 100])),
            RECENCY,
        ],
        RecommenderKind::Blend => &[],
    }
}

/// The settings of trial `number`, drawn from the stream of randomness of that number: trials do not depend on each other.
///
/// Trial 2 of a blend keeps its parts, so that weights are searched for what is there; later ones keep each part every other time.
pub(super) fn draw(current: &Parameters, seed: u64, number: usize) -> Result<Parameters, RecommendError> {
    let mut random = Random::new(seed, number as u64);
    let Parameters::Blend(blend) = current else { return draw_one(current, &mut random) };
    let mut parts = Vec::with_capacity(blend.parts.len());
    for part in &blend.parts {
        let is_kept = number == 2 || random.below(2) == 0;
        let parameters = if is_kept { part.parameters.clone() } else { draw_one(&part.parameters, &mut random)? };
        parts.push(BlendPart { weight: part.weight, parameters });
    }
    Ok(Parameters::Blend(BlendParameters { parts }))
}

fn draw_one(current: &Parameters, random: &mut Random) -> Result<Parameters, RecommendError> {
    let kind = current.kind();
    let mut map: BTreeMap<String, Value> = current.to_map();
    for (name, range) in knobs(kind) {
        match value(*range, random) {
            Some(value) => map.insert((*name).to_owned(), value),
            None => map.remove(*name),
        };
    }
    Parameters::resolve(kind, &map)
}

/// `None`: the parameter is left out.
fn value(range: Range, random: &mut Random) -> Option<Value> {
    match range {
        Range::Log(from, to) => Some(json!(rounded(from * (to / from).powf(random.unit())))),
        Range::Linear(from, to) => Some(json!(rounded(from + (to - from) * random.unit()))),
        Range::Counts(counts) => Some(json!(counts[random.below(counts.len())])),
        Range::Numbers(numbers) => Some(json!(numbers[random.below(numbers.len())])),
        Range::Words(words) => Some(json!(words[random.below(words.len())])),
        Range::MaybeLog(from, to) => {
            // Drawn in any case, so that what follows does not depend on it.
            let drawn = value(Range::Log(from, to), random);
            if random.below(2) == 0 { None } else { drawn }
        }
    }
}

/// To three significant digits: what is measured is what will stand in the file.
pub(super) fn rounded(value: f64) -> f64 {
    format!("{value:.*e}", SIGNIFICANT_DIGITS - 1).parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_draw_of_every_kind_is_valid_and_three_digits_long() {
        for kind in RecommenderKind::ALL {
            let current = Parameters::defaults(kind);
            for number in 2..60 {
                let drawn = draw(&current, 9, number).unwrap();
                assert_eq!(drawn, draw(&current, 9, number).unwrap(), "{kind} {number}");
                assert!(drawn.validate().is_ok(), "{drawn:?}");
                for (name, value) in drawn.to_map() {
                    let is_short = value.as_f64().is_none_or(|value| rounded(value) == value);
                    assert!(is_short || name == "max_items", "{kind} {name} {value}");
                }
            }
        }
    }

    #[test]
    fn draws_fill_their_ranges_and_differ_by_seed() {
        let lambda = |seed, number| {
            let drawn = draw(&Parameters::defaults(RecommenderKind::Ease), seed, number).unwrap().to_map();
            drawn["lambda"].as_f64().unwrap()
        };
        let drawn: Vec<f64> = (2..200).map(|number| lambda(1, number)).collect();
        assert!(drawn.iter().all(|lambda| (50.0..=2_000.0).contains(lambda)));
        let below = drawn.iter().filter(|lambda| **lambda < 316.0).count();
        assert!((70..130).contains(&below), "half of a log range lies below its geometric middle: {below}");
        assert_ne!(lambda(1, 2), lambda(2, 2));
    }

    #[test]
    fn what_the_user_decided_about_the_data_stays() {
        let given = json!({ "weights": "summed", "half_life_days": 90, "max_history": 77 });
        let given = given.as_object().unwrap().clone().into_iter().collect();
        let current = Parameters::resolve(RecommenderKind::ItemKnn, &given).unwrap();
        let drawn = draw(&current, 3, 5).unwrap().to_map();
        assert_eq!(
            (&drawn["weights"], &drawn["half_life_days"], &drawn["max_history"]),
            (&json!("summed"), &json!(90.0), &json!(77))
        );
    }

    #[test]
    fn the_second_trial_of_a_blend_keeps_its_parts() {
        let current = Parameters::defaults(RecommenderKind::Blend);
        assert_eq!(draw(&current, 1, 2).unwrap(), current);
        assert!((3..9).any(|number| draw(&current, 1, number).unwrap() != current));
    }

    #[test]
    fn three_digits_are_kept() {
        assert_eq!([0.0051249, 1234.0, 0.05, 15.0].map(rounded), [0.00512, 1230.0, 0.05, 15.0]);
    }
}
