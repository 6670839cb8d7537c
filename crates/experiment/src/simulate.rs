//! An experiment tried on units that nobody is: how they spread over variants, and whom they meet in other experiments.
//!
//! In: a [`Program`], an experiment's key, attributes that all units have, how many, a seed.  Out: a [`Simulation`].
//! Never here: real units (see `assign`), effects (see `stats`).
//! Start at [`simulate`].

use serde::Serialize;

use crate::assign::{AssignError, Context, Exposure, Log, Object, Payload, Value};
use crate::coin::Coin;
use crate::program::Program;
use crate::stats::sample_ratio::{SampleRatio, check_sample_ratio};

/// Where made-up units end up.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Simulation {
    pub units: u64,
    /// Units that do not take part: outside the coverage, the audience or the slots, held out, or forced.
    pub outside: u64,
    /// Units per variant, in the order of the experiment.
    pub variants: Vec<(String, u64)>,
    /// Whether they spread as the weights say.
    pub sample_ratio: SampleRatio,
    /// Other experiments that units of this one are in as well, by key.
    pub meets: Vec<Meeting>,
}

/// Units that two experiments share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Meeting {
    pub experiment: String,
    pub units: u64,
}

/// Evaluates every feature for `units` made-up units, as a client would. `attributes` are what all of them have, such as a country that the
/// audience asks for; ids are drawn from `seed`.
///
/// Errors: those of [`Program::payload`]; a key that no experiment has.
pub fn simulate(
    program: &Program,
    key: &str,
    attributes: &Object,
    units: u64,
    seed: u64,
) -> Result<Simulation, AssignError> {
    let payload = Payload::compile_object(&program.payload()?)?;
    let Some(experiment) = program.experiments.iter().find(|experiment| experiment.key == key) else {
        return Err(AssignError::Experiment {
            experiment: key.to_owned(),
            problem: "is not there: name one that is".to_owned(),
        });
    };
    let named = program.experiments.iter().map(|experiment| &experiment.hash_attribute);
    let named = named.chain(program.layers.iter().map(|layer| &layer.hash_attribute));
    let mut hashed: Vec<&String> =
        named.chain(program.holdouts.iter().map(|holdout| &holdout.hash_attribute)).collect();
    hashed.sort_unstable();
    hashed.dedup();

    let mut coin = Coin::new(seed);
    let mut variants = vec![0_u64; experiment.variants.len()];
    let mut meets: Vec<Meeting> = Vec::new();
    for _ in 0..units {
        let ids =
            hashed.iter().map(|name| ((*name).clone(), Value::from(format!("{:016x}", coin.next_u64()).as_str())));
        let given = attributes.iter().map(|(name, value)| (name.to_owned(), value.clone()));
        let unit: Object = given.chain(ids).collect();
        let seen = seen(&payload, &unit);
        let Some((_, variant)) = seen.iter().find(|(experiment, _)| *experiment == key) else { continue };
        if let Some(at) = experiment.variants.iter().position(|candidate| candidate.key == *variant) {
            variants[at] += 1;
        }
        let others = program.experiments.iter().filter(|other| other.key != key);
        for other in others.filter(|other| seen.iter().any(|(experiment, _)| *experiment == other.key)) {
            match meets.iter_mut().find(|meeting| meeting.experiment == other.key) {
                Some(meeting) => meeting.units += 1,
                None => meets.push(Meeting { experiment: other.key.clone(), units: 1 }),
            }
        }
    }
    let sample_ratio = check_sample_ratio(&variants, &experiment.shares())
        .map_err(|error| AssignError::Experiment { experiment: key.to_owned(), problem: error.to_string() })?;
    let taking_part: u64 = variants.iter().sum();
    let keys = experiment.variants.iter().map(|variant| variant.key.clone());
    Ok(Simulation { units, outside: units - taking_part, variants: keys.zip(variants).collect(), sample_ratio, meets })
}

/// Experiment and variant of every exposure of a unit.
fn seen(payload: &crate::assign::Compiled, unit: &Object) -> Vec<(String, String)> {
    let mut log = Log::new();
    for feature in payload.features() {
        payload.evaluate(feature, &Context::new(unit), &mut log);
    }
    let found = log.exposures().filter_map(|exposure| match exposure {
        Exposure::Evaluated { experiment, result, .. } => Some((experiment.key().to_owned(), result.key.to_string())),
        Exposure::Tracked(_) => None,
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{Experiment, Slot};
    use crate::layer::Layer;

    fn experiment(text: &str) -> Experiment {
        serde_json::from_str(text).unwrap()
    }

    fn halves(key: &str) -> Experiment {
        experiment(&format!(
            r#"{{"key":"{key}","variants":[{{"key":"a","value":1}},{{"key":"b","weight":3,"value":2}}]}}"#
        ))
    }

    #[test]
    fn units_spread_by_weight_and_coverage() {
        let mut tested = halves("e");
        tested.coverage = 0.5;
        let program = Program { experiments: vec![tested], ..Program::default() };
        let found = simulate(&program, "e", &Object::default(), 20_000, 1).unwrap();
        assert!(found.sample_ratio.p > 0.001, "{found:?}");
        // Four standard deviations of a binomial of 20,000 and .5 are 283.
        assert!((found.outside as f64 - 10_000.0).abs() < 283.0, "{found:?}");
        assert_eq!(found, simulate(&program, "e", &Object::default(), 20_000, 1).unwrap());
        assert!(found.meets.is_empty());
    }

    #[test]
    fn experiments_meet_unless_a_layer_keeps_them_apart() {
        let mut program = Program { experiments: vec![halves("e"), halves("f")], ..Program::default() };
        let together = simulate(&program, "e", &Object::default(), 1_000, 1).unwrap();
        assert_eq!(together.meets, [Meeting { experiment: "f".to_owned(), units: 1_000 }]);
        program.layers = vec![Layer { name: "l".to_owned(), hash_attribute: "id".to_owned(), seed: None }];
        for (at, (start, end)) in [(0.0, 0.5), (0.5, 1.0)].into_iter().enumerate() {
            program.experiments[at].slots = vec![Slot { layer: "l".to_owned(), start, end }];
        }
        let apart = simulate(&program, "e", &Object::default(), 1_000, 1).unwrap();
        assert!(apart.meets.is_empty() && apart.outside > 400, "{apart:?}");
    }

    #[test]
    fn an_audience_is_met_by_the_attributes_given() {
        let mut tested = halves("e");
        tested.audience = serde_json::from_str(r#"{"country":"KR"}"#).ok();
        let program = Program { experiments: vec![tested], ..Program::default() };
        let korea: Object = [("country".to_owned(), Value::from("KR"))].into_iter().collect();
        assert_eq!(simulate(&program, "e", &Object::default(), 100, 1).unwrap().outside, 100);
        assert_eq!(simulate(&program, "e", &korea, 100, 1).unwrap().outside, 0);
        assert!(simulate(&program, "x", &korea, 100, 1).is_err());
    }
}
