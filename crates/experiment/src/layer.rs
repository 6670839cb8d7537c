//! Layers: experiments that must not meet each have a slot of their own.
//!
//! In: slots of experiments.  Out: whether they meet; a free slot.
//! Never here: which experiment is in which layer (see `program`).
//! Start at [`Layer`].

use serde::{Deserialize, Serialize};

use crate::assign::AssignError;
use crate::definition::Slot;

/// Buckets of a layer; hash version 2 tells no more apart.
pub const BUCKETS: u32 = 10_000;

/// A population that is cut into slots; no unit lies in two of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// The attribute that names a unit. It belongs to the layer: slots that cut by different attributes would meet.
    #[serde(default = "default_attribute")]
    pub hash_attribute: String,
    /// What is hashed with the unit; the name if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
}

fn default_attribute() -> String {
    "id".to_owned()
}

/// A slot in whole buckets: the first inside, the first behind.
type Buckets = (u32, u32);

impl Layer {
    /// What is hashed with the unit. The prefix keeps it apart from every experiment's, so that slots do not favour variants.
    pub fn hash_seed(&self) -> String {
        format!("layer/{}", self.seed.as_deref().unwrap_or(&self.name))
    }

    fn error(&self, problem: String) -> AssignError {
        AssignError::Layer { layer: self.name.clone(), problem }
    }

    fn buckets(&self, slot: &Slot) -> Result<Buckets, AssignError> {
        let bucket = |share: f64| {
            let bucket = (share * f64::from(BUCKETS)).round();
            let is_whole = (0.0..=1.0).contains(&share) && (share * f64::from(BUCKETS) - bucket).abs() < 1e-6;
            is_whole.then_some(bucket as u32)
        };
        match (bucket(slot.start), bucket(slot.end)) {
            (Some(start), Some(end)) if start < end => Ok((start, end)),
            _ => Err(self.error(format!(
                "has the slot `[{}, {})`: write two multiples of 0.0001 from 0.0 to 1.0, the smaller first",
                slot.start, slot.end
            ))),
        }
    }

    /// Slots in order, each with its owner. Errors: a slot that is none; two slots that meet, unless one owner has both.
    fn sorted<'a>(&self, slots: &[(&'a str, &Slot)]) -> Result<Vec<(Buckets, &'a str)>, AssignError> {
        let mut sorted = slots
            .iter()
            .map(|&(owner, slot)| Ok((self.buckets(slot)?, owner)))
            .collect::<Result<Vec<_>, AssignError>>()?;
        sorted.sort_unstable();
        for (i, &((start, end), owner)) in sorted.iter().enumerate() {
            let meets =
                sorted[i + 1..].iter().take_while(|((other, _), _)| *other < end).find(|(_, other)| *other != owner);
            if let Some(((other, _), neighbour)) = meets {
                let share = |bucket: u32| f64::from(bucket) / f64::from(BUCKETS);
                return Err(self.error(format!(
                    "has slots that meet: `{owner}` from {} to {} and `{neighbour}` from {} on; move one of them",
                    share(start),
                    share(end),
                    share(*other),
                )));
            }
        }
        Ok(sorted)
    }

    /// Checks the slots of all experiments of the layer, each with the experiment's key.
    pub fn check(&self, slots: &[(&str, &Slot)]) -> Result<(), AssignError> {
        self.sorted(slots).map(|_| ())
    }

    /// The first free slot of a width. Errors: slots that meet; no gap that is wide enough.
    pub fn allocate(&self, slots: &[(&str, &Slot)], width: f64) -> Result<Slot, AssignError> {
        let (_, needed) = self.buckets(&Slot { layer: self.name.clone(), start: 0.0, end: width })?;
        let (mut at, mut widest) = (0, 0);
        let end = ((BUCKETS, BUCKETS), "");
        for ((start, end), _) in self.sorted(slots)?.into_iter().chain([end]) {
            let gap = start.saturating_sub(at);
            if gap >= needed {
                let share = |bucket: u32| f64::from(bucket) / f64::from(BUCKETS);
                return Ok(Slot { layer: self.name.clone(), start: share(at), end: share(at + needed) });
            }
            widest = widest.max(gap);
            at = at.max(end);
        }
        let widest = f64::from(widest) / f64::from(BUCKETS);
        Err(self.error(format!(
            "is too full for a slot of {width}: its widest gap is {widest}; end an experiment, or take another layer"
        )))
    }
}
