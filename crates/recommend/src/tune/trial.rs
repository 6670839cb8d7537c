//! One trial: settings, trained on what the validation window knows, measured on some or all of its users.
//!
//! In: a [`Tuner`], settings, a rung.  Out: a [`Trial`], which is also a line of the journal.
//! Never here: which trials there are (see `space`), which go on (see `mod`).
//! Start at [`Bench::measure`].

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::Provenance;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rungs::Rung;
use super::weights::best_weights;
use super::{Tuner, space};
use crate::evaluate::{run_cases, with_rules};
use crate::promotion::{GUARD_CUTOFF, guard_metric};
use crate::train::{TrainedPart, assemble, train_part};
use crate::{Artefact, Attributes, Parameters, Ranker, RecommendError, RecommenderKind};

/// What came of one trial on one rung; also a line of the journal, so that a killed search goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// From 1; trial 1 is the current settings.
    pub number: usize,
    pub rung: Rung,
    /// As tried, a blend with the best weights found for its parts.
    pub parameters: BTreeMap<String, Value>,
    pub users: usize,
    /// Mean ndcg@100; none if these settings cannot be trained.
    pub ndcg: Option<f64>,
    /// The same of each user; on the last rung only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<f64>,
}

/// What stays the same from trial to trial.
pub(super) struct Bench<'a> {
    tuner: &'a Tuner<'a>,
    fallback: Arc<Artefact>,
    /// The parts of the current settings, trained: other blends share them.
    kept: Vec<(Parameters, TrainedPart)>,
}

impl<'a> Bench<'a> {
    /// Trains the fallback.
    pub(super) fn new(tuner: &'a Tuner<'a>) -> Result<Self, RecommendError> {
        let known = tuner.window.known();
        let fallback =
            crate::train(known, &tuner.baseline.for_the_known(), tuner.window.protocol().seed, Provenance::default())?;
        Ok(Self { tuner, fallback: Arc::new(fallback), kept: Vec::new() })
    }

    /// Measures one trial. Settings that cannot be trained are a result, unless they are the current ones.
    pub(super) fn measure(&mut self, number: usize, rung: Rung) -> Result<Trial, RecommendError> {
        let window = self.tuner.window;
        let parameters = if number == 1 {
            self.tuner.current.clone()
        } else {
            space::draw(self.tuner.current, window.protocol().seed, number)?
        };
        let cases = window.sample(rung.users(window.users()));
        let mut trial =
            Trial { number, rung, parameters: parameters.to_map(), users: cases.len(), ndcg: None, values: Vec::new() };
        let ranker = match self.ranker(&rung.shortened(&parameters)) {
            Ok(ranker) => ranker,
            Err(error) if number == 1 => return Err(error),
            // Too small a regularisation breaks down; that is what the search is there to find out.
            Err(RecommendError::Diverged { .. } | RecommendError::TooManyItems { .. }) => return Ok(trial),
            Err(error) => return Err(error),
        };
        let values = if let Parameters::Blend(mut blend) = parameters
            && number > 1
            && blend.parts.len() > 1
        {
            let seed = window.protocol().seed;
            let (weights, values) = best_weights(&ranker, blend.parts.len(), cases, window.filter_seen(), seed);
            blend.parts.iter_mut().zip(weights).for_each(|(part, weight)| part.weight = weight);
            trial.parameters = Parameters::Blend(blend).to_map();
            values
        } else {
            let results = run_cases(&ranker, cases, &[GUARD_CUTOFF], window.filter_seen());
            results.column(&guard_metric()).unwrap_or_default()
        };
        let values: Vec<f64> = values.into_iter().map(|value| at_digits(value, 1e6)).collect();
        trial.ndcg = Some(at_digits(values.iter().sum::<f64>() / values.len().max(1) as f64, 1e9));
        if rung == Rung::Full {
            trial.values = values;
        }
        Ok(trial)
    }

    fn ranker(&mut self, parameters: &Parameters) -> Result<Ranker, RecommendError> {
        let Tuner { window, current, rules, items, .. } = *self.tuner;
        let (known, seed) = (window.known(), window.protocol().seed);
        let mut parts = Vec::new();
        for (weight, part) in parameters.parts() {
            let kept = self.kept.iter().find(|(parameters, _)| parameters == part);
            let mut trained = match kept {
                Some((_, trained)) => trained.clone(),
                // Lists of known users do not depend on what is new, and they are all that is measured.
                None => train_part(known, &Attributes::default(), weight, &part.for_the_known(), seed, |_| None)?,
            };
            let is_shared = current.kind() == RecommenderKind::Blend
                && kept.is_none()
                && current.parts().iter().any(|(_, current)| *current == part);
            if is_shared {
                self.kept.push((part.clone(), trained.clone()));
            }
            trained.part.weight = weight as f32;
            parts.push(trained);
        }
        let artefact = Arc::new(assemble(known, parameters, parts, seed, Provenance::default())?);
        with_rules(Ranker::new(artefact, &self.fallback)?, rules, items, known)
    }
}

/// So few digits that a value read back from text is the value that was written, to the last bit.
fn at_digits(value: f64, scale: f64) -> f64 {
    (value * scale).round() / scale
}
