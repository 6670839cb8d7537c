//! Remote evaluation: every feature's value for one unit, without the rules behind it.
//!
//! In: a set and a request.  Out: a payload of GrowthBook's form, in which each feature has one value, and the exposures that go with it.
//! Never here: HTTP; sticky buckets (a server that keeps nothing of units has none).
//! Start at [`evaluate`]. Form: `@growthbook/proxy-eval` 1.1.2.

use experiment::assign::{Context, Experiment, Exposure, Log, Object, Value};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::context::RemoteRequest;
use super::set::FlagSet;

/// Parts of an experiment that say who is targeted.
const HIDDEN: [&str; 6] = ["condition", "parentConditions", "filters", "namespace", "urlPatterns", "contextualBandit"];

struct Body<'a> {
    set: &'a FlagSet,
    context: Context<'a>,
}

struct Features<'a>(&'a Body<'a>);

#[derive(Serialize)]
struct Feature<'a> {
    #[serde(rename = "defaultValue")]
    value: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<[Rule<'a>; 1]>,
}

#[derive(Serialize)]
struct Rule<'a> {
    force: &'a Value,
    tracks: Vec<Track>,
}

#[derive(Serialize)]
struct Track {
    experiment: Value,
    result: Value,
}

/// `{status, features, experiments, dateUpdated}` as JSON.
pub(crate) fn evaluate(set: &FlagSet, request: &RemoteRequest) -> Result<Vec<u8>, serde_json::Error> {
    let context = Context {
        url: &request.url,
        forced_variations: Some(&request.forced_variations),
        forced_features: Some(&request.forced_features),
        ..Context::new(&request.attributes)
    };
    serde_json::to_vec(&Body { set, context })
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("status", &200)?;
        map.serialize_entry("features", &Features(self))?;
        map.serialize_entry("experiments", &self.experiments())?;
        map.serialize_entry("dateUpdated", &self.set.date)?;
        map.end()
    }
}

impl Serialize for Features<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Body { set, context } = self.0;
        let mut map = serializer.serialize_map(None)?;
        for key in set.compiled.features() {
            // Each feature says all of its exposures: a client may ask for any one of them alone. It counts what it sees twice once.
            let mut log = Log::new();
            let result = set.compiled.evaluate(key, context, &mut log);
            let tracks: Vec<Track> = log.exposures().map(Track::of).collect();
            let rules = (!tracks.is_empty()).then_some([Rule { force: result.value, tracks }]);
            map.serialize_entry(key, &Feature { value: result.value, rules })?;
        }
        map.end()
    }
}

impl Body<'_> {
    /// The payload's own experiments that the unit is in.
    fn experiments(&self) -> Vec<Value> {
        let in_it = |experiment: &Experiment| {
            let result = self.set.compiled.run(experiment, &self.context, &mut Log::new());
            result.in_experiment.then(|| without_rules(experiment.definition(), result.variation))
        };
        self.set.compiled.experiments().iter().filter_map(in_it).collect()
    }
}

impl Track {
    fn of(exposure: &Exposure<'_>) -> Self {
        let (experiment, result) = exposure.to_json();
        let variation = match exposure {
            Exposure::Evaluated { result, .. } => result.variation,
            // What another server sent has been stripped there.
            Exposure::Tracked(_) => return Self { experiment, result },
        };
        let experiment = experiment.as_object().map_or(Value::Null, |experiment| without_rules(experiment, variation));
        Self { experiment, result }
    }
}

/// The definition without who is targeted, and without the values of other variations.
fn without_rules(experiment: &Object, variation: usize) -> Value {
    let fields = experiment.iter().filter(|(name, _)| !HIDDEN.contains(name));
    let fields = fields.map(|(name, value)| {
        let value = match value.as_array().filter(|_| name == "variations") {
            Some(values) => {
                let only = |(i, value): (usize, &Value)| match i == variation {
                    true => value.clone(),
                    false => Value::Object(Object::default()),
                };
                Value::Array(values.iter().enumerate().map(only).collect())
            }
            None => value.clone(),
        };
        (name.to_owned(), value)
    });
    Value::Object(fields.collect())
}
