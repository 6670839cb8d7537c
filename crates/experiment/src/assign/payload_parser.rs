//! Reads features, rules and experiments of a payload.
//!
//! In: the payload as JSON.  Out: its compiled form.
//! Never here: evaluation; what a condition looks like (see `condition_parser`).
//! Start at [`payload`].

use std::collections::HashMap;

use super::condition::Condition;
use super::condition_parser::Parser;
use super::error::AssignError;
use super::experiment_parser;
use super::field::{self, Fields};
use super::hash::HashVersion;
use super::payload::{
    Action, Compiled, Feature, Filter, Force, Prerequisite, Rollout, Rule, Share, Track, UnitAttribute,
};
use super::value::{Object, Value};

type Parsed<T> = Result<T, AssignError>;

/// What the parts of a payload refer to.
pub(crate) struct Context<'a> {
    pub(crate) conditions: Parser,
    pub(crate) bandits: Option<&'a Object>,
    positions: HashMap<Box<str>, usize>,
}

pub(crate) fn payload(payload: &Object) -> Parsed<Compiled> {
    let fields = Fields::new("", payload);
    let mut conditions = Parser::default();
    let groups = conditions.saved_groups(fields.object("savedGroups")?)?;
    let features = fields.object("features")?;
    let known = || features.into_iter().flat_map(Object::iter).filter(|(_, feature)| !feature.is_null());
    let positions = known().enumerate().map(|(i, (id, _))| (id.into(), i)).collect();
    let mut context = Context { conditions, bandits: fields.object("contextualBandits")?, positions };
    let features = known().map(|(id, value)| feature(&mut context, id, value)).collect::<Parsed<_>>()?;
    let experiments = fields.list("experiments")?.unwrap_or_default().iter().enumerate();
    let experiments = experiments
        .map(|(i, value)| {
            let at = format!("experiments.{i}");
            let fields = Fields::of(&at, value)?;
            experiment_parser::own(&mut context, fields)
        })
        .collect::<Parsed<_>>()?;
    Ok(Compiled { features, by_id: context.positions, experiments, groups, warnings: context.conditions.warnings })
}

fn feature(context: &mut Context<'_>, id: &str, feature: &Value) -> Parsed<Feature> {
    let at = format!("features.{id}");
    let fields = Fields::of(&at, feature)?;
    let rules = fields.list("rules")?.unwrap_or_default().iter().enumerate();
    let rules = rules
        .map(|(i, value)| {
            let at = format!("{at}.rules.{i}");
            rule(context, id, Fields::of(&at, value)?)
        })
        .collect::<Parsed<_>>()?;
    Ok(Feature { id: id.into(), default: fields.raw("defaultValue").cloned().unwrap_or(Value::Null), rules })
}

fn rule(context: &mut Context<'_>, feature: &str, fields: Fields<'_>) -> Parsed<Rule> {
    let action = if let Some(value) = fields.raw("force") {
        Action::Force(force(context, feature, fields, value.clone())?)
    } else if fields.value("contextualVariations").or(fields.value("variations")).is_some() {
        Action::Experiment(Box::new(experiment_parser::of_rule(context, feature, fields)?))
    } else {
        context
            .conditions
            .warnings
            .push(fields.warning("has neither `force` nor `variations`, so it does nothing: add one of them"));
        Action::Nothing
    };
    Ok(Rule {
        id: fields.text("id")?.unwrap_or_default().into(),
        prerequisites: prerequisites(context, fields)?,
        filters: filters(fields)?,
        action,
    })
}

fn force(context: &mut Context<'_>, feature: &str, fields: Fields<'_>, value: Value) -> Parsed<Force> {
    let share = match (fields.range("range")?, fields.coverage()?) {
        (Some(range), _) => Some(Share::Range(range)),
        (None, Some(coverage)) => Some(Share::Coverage(coverage)),
        (None, None) => None,
    };
    let rollout = match share {
        None => None,
        Some(share) => Some(Rollout {
            seed: fields.name("seed")?.unwrap_or(feature).into(),
            unit: unit(fields)?,
            share,
            version: version(fields, 1.0)?,
        }),
    };
    let tracks = fields.list("tracks")?.unwrap_or_default().iter().enumerate();
    let tracks = tracks
        .map(|(i, track)| {
            let at = format!("{}.tracks.{i}", fields.at());
            let track = Fields::of(&at, track)?;
            match (track.object("experiment")?, track.object("result")?) {
                (Some(experiment), Some(result)) => {
                    Ok(Track { experiment: Value::Object(experiment.clone()), result: Value::Object(result.clone()) })
                }
                _ => Err(AssignError::payload(&at, "needs an `experiment` and a `result`")),
            }
        })
        .collect::<Parsed<_>>()?;
    Ok(Force { value, condition: condition(context, fields)?, rollout, tracks })
}

/// `hashAttribute`, and `fallbackAttribute` unless the rule is not sticky.
pub(crate) fn unit(fields: Fields<'_>) -> Parsed<UnitAttribute> {
    let fallback = if fields.truth("disableStickyBucketing") { None } else { fields.name("fallbackAttribute")? };
    Ok(UnitAttribute {
        name: fields.name("hashAttribute")?.unwrap_or(field::DEFAULT_ATTRIBUTE).into(),
        fallback: fallback.map(Box::from),
    })
}

/// `hashVersion`; 0 and null count as missing.
pub(crate) fn version(fields: Fields<'_>, default: f64) -> Parsed<HashVersion> {
    Ok(HashVersion::of(fields.number("hashVersion")?.filter(|&version| version != 0.0).unwrap_or(default)))
}

pub(crate) fn condition(context: &mut Context<'_>, fields: Fields<'_>) -> Parsed<Option<Condition>> {
    fields
        .value("condition")
        .map(|condition| context.conditions.condition(&format!("{}.condition", fields.at()), condition))
        .transpose()
}

pub(crate) fn prerequisites(context: &mut Context<'_>, fields: Fields<'_>) -> Parsed<Vec<Prerequisite>> {
    let conditions = fields.list("parentConditions")?.unwrap_or_default().iter().enumerate();
    conditions
        .map(|(i, value)| {
            let at = format!("{}.parentConditions.{i}", fields.at());
            let fields = Fields::of(&at, value)?;
            let Some(feature) = fields.text("id")? else {
                return Err(AssignError::payload(&at, "needs the `id` of a feature"));
            };
            let position = context.positions.get(feature).copied();
            if position.is_none() {
                context.conditions.warnings.push(fields.warning("asks for a feature that the payload does not hold"));
            }
            let condition = condition(context, fields)?.unwrap_or_default();
            Ok(Prerequisite { feature: feature.into(), position, condition, gate: fields.truth("gate") })
        })
        .collect()
}

pub(crate) fn filters(fields: Fields<'_>) -> Parsed<Option<Vec<Filter>>> {
    let Some(filters) = fields.list("filters")? else { return Ok(None) };
    let filter = |(i, value): (usize, &Value)| {
        let at = format!("{}.filters.{i}", fields.at());
        let fields = Fields::of(&at, value)?;
        let (Some(seed), Some(ranges)) = (fields.text("seed")?, fields.ranges("ranges")?) else {
            return Err(AssignError::payload(&at, "needs a `seed` and `ranges`"));
        };
        let attribute = fields.name("attribute")?.unwrap_or(field::DEFAULT_ATTRIBUTE).into();
        Ok(Filter { seed: seed.into(), attribute, version: version(fields, 2.0)?, ranges })
    };
    filters.iter().enumerate().map(filter).collect::<Parsed<_>>().map(Some)
}
