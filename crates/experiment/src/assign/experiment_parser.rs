//! Reads experiments: of rules, and the payload's own.
//!
//! In: the fields of a rule or of an experiment.  Out: an [`Experiment`].
//! Never here: rules that force a value (see `payload_parser`).
//! Start at [`of_rule`].

use super::error::AssignError;
use super::field::Fields;
use super::hash::{self, Namespace, Range};
use super::javascript;
use super::payload::{Bandit, Experiment, Leaf, Status, Variation};
use super::payload_parser::{self, Context};
use super::targeting;
use super::value::{Object, Value};

type Parsed<T> = Result<T, AssignError>;

/// Fields of a rule that its experiment has if they are there and JavaScript takes them for true.
const TAKEN_IF_TRUE: [&str; 15] = [
    "weights",
    "hashAttribute",
    "fallbackAttribute",
    "disableStickyBucketing",
    "namespace",
    "meta",
    "ranges",
    "name",
    "phase",
    "seed",
    "hashVersion",
    "filters",
    "condition",
    "bucketVersion",
    "minBucketVersion",
];

/// The experiment of a rule.
pub(crate) fn of_rule(context: &mut Context<'_>, feature: &str, fields: Fields<'_>) -> Parsed<Experiment> {
    let key = fields.name("key")?.unwrap_or(feature);
    let variations =
        fields.value("contextualVariations").or(fields.value("variations")).cloned().unwrap_or(Value::Null);
    let mut definition = vec![("variations".to_owned(), variations), ("key".to_owned(), Value::from(key))];
    for (name, value) in fields.object_itself().iter() {
        // Versions of buckets and the coverage are taken whatever they are.
        let always = matches!(name, "coverage" | "bucketVersion" | "minBucketVersion");
        if always || TAKEN_IF_TRUE.contains(&name) && javascript::is_truthy(value) {
            definition.push((name.to_owned(), value.clone()));
        }
    }
    let definition: Object = definition.into_iter().collect();
    let mut experiment = read(context, Fields::new(fields.at(), &definition), key)?;
    experiment.bandit = bandit(context, fields, &experiment)?;
    experiment.definition = definition;
    Ok(experiment)
}

/// An experiment of the payload's own.
pub(crate) fn own(context: &mut Context<'_>, fields: Fields<'_>) -> Parsed<Experiment> {
    let Some(key) = fields.text("key")? else { return Err(AssignError::payload(fields.at(), "needs a `key`")) };
    let mut experiment = read(context, fields, key)?;
    experiment.prerequisites = payload_parser::prerequisites(context, fields)?;
    experiment.targets = targeting::targets(fields)?;
    experiment.status = match fields.text("status")? {
        Some("draft") => Status::Inactive,
        _ if fields.raw("active") == Some(&Value::Bool(false)) => Status::Inactive,
        Some("stopped") => Status::Stopped,
        Some(_) | None => Status::Running,
    };
    experiment.forced = match fields.raw("force") {
        None => None,
        Some(_) => Some(fields.number("force")?),
    };
    experiment.persist_query_string = fields.truth("persistQueryString");
    experiment.definition = fields.object_itself().clone();
    Ok(experiment)
}

/// What both kinds have.
fn read(context: &mut Context<'_>, fields: Fields<'_>, key: &str) -> Parsed<Experiment> {
    let values = fields.list("variations")?.unwrap_or_default();
    let coverage = fields.coverage()?.unwrap_or(1.0);
    let given = fields.ranges("ranges")?;
    let fixed_ranges = given.is_some();
    let weights = fields.numbers("weights")?;
    let ranges = given.unwrap_or_else(|| hash::bucket_ranges(values.len(), coverage, weights.as_deref()));
    Ok(Experiment {
        key: key.into(),
        variations: variations(fields, values)?,
        unit: payload_parser::unit(fields)?,
        version: payload_parser::version(fields, 1.0)?,
        seed: fields.name("seed")?.unwrap_or(key).into(),
        ranges,
        fixed_ranges,
        filters: payload_parser::filters(fields)?,
        namespace: namespace(fields)?,
        condition: payload_parser::condition(context, fields)?,
        prerequisites: Vec::new(),
        targets: None,
        status: Status::Running,
        forced: None,
        sticky: !fields.truth("disableStickyBucketing"),
        bucket_version: fields.number("bucketVersion")?.unwrap_or(0.0),
        min_bucket_version: fields.number("minBucketVersion")?.unwrap_or(0.0),
        bandit: None,
        persist_query_string: false,
        definition: Object::default(),
    })
}

fn variations(fields: Fields<'_>, values: &[Value]) -> Parsed<Vec<Variation>> {
    let meta = fields.list("meta")?;
    if meta.is_some_and(|meta| meta.len() != values.len()) {
        return Err(AssignError::payload(
            format!("{}.meta", fields.at()),
            "has not as many entries as there are variations: give each its own",
        ));
    }
    let variation = |(i, value): (usize, &Value)| {
        let at = format!("{}.meta.{i}", fields.at());
        let nothing = Value::Object(Object::default());
        let meta = Fields::of(&at, meta.map_or(&nothing, |meta| &meta[i]))?;
        let key = meta.name("key")?;
        let sticky_key = meta.text("key")?.map(Box::from);
        let name = meta.name("name")?.map(Box::from);
        let key = key.map_or_else(|| i.to_string().into(), Box::from);
        Ok(Variation { value: value.clone(), key, sticky_key, name, passthrough: meta.truth("passthrough") })
    };
    values.iter().enumerate().map(variation).collect()
}

fn namespace(fields: Fields<'_>) -> Parsed<Option<Namespace>> {
    let Some(namespace) = fields.list("namespace")? else { return Ok(None) };
    let [Value::String(name), Value::Number(start), Value::Number(end), ..] = namespace else {
        return Err(AssignError::payload(
            format!("{}.namespace", fields.at()),
            "is no namespace: write `[name, start, end]`",
        ));
    };
    Ok(Some(Namespace::new(name, Range { start: *start, end: *end })))
}

fn bandit(context: &mut Context<'_>, fields: Fields<'_>, experiment: &Experiment) -> Parsed<Option<Bandit>> {
    let Some(reference) = fields.name("contextualBanditRef")? else { return Ok(None) };
    let Some(definition) =
        context.bandits.and_then(|bandits| bandits.get(reference)).filter(|bandit| !bandit.is_null())
    else {
        context
            .conditions
            .warnings
            .push(fields.warning("refers to a contextual bandit that the payload does not hold"));
        return Ok(None);
    };
    let at = format!("contextualBandits.{reference}");
    let bandit = Fields::of(&at, definition)?;
    let version = bandit.raw("banditVersion").cloned();
    let coverage = fields.coverage()?.unwrap_or(1.0);
    let count = experiment.variations.len();
    let own = fields.numbers("weights")?;
    let leaf = |id, weights: Option<Vec<f64>>| {
        let ranges = match experiment.fixed_ranges {
            true => experiment.ranges.clone(),
            false => hash::bucket_ranges(count, coverage, weights.as_deref()),
        };
        Leaf { id, weights, version: version.clone(), ranges }
    };
    let mut leaves = Vec::new();
    for (i, value) in bandit.list("contexts")?.unwrap_or_default().iter().enumerate() {
        let at = format!("{at}.contexts.{i}");
        let fields = Fields::of(&at, value)?;
        let Some(id) = fields.number("leafId")? else { return Err(AssignError::payload(&at, "needs a `leafId`")) };
        let condition = payload_parser::condition(context, fields)?.unwrap_or_default();
        leaves.push((condition, leaf(id, fields.numbers("weights")?)));
    }
    // No leaf: the aggregate weights of the rule.
    let fallback = leaf(-1.0, Some(own.unwrap_or_else(|| hash::equal_weights(count))));
    Ok(Some(Bandit { leaves, fallback }))
}
