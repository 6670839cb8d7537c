//! `experiments/<name>.toml`: who sees what, and how it will be judged, written down before anybody looks.
//!
//! In: text, parsed by whoever owns the project directory (plain serde, so that errors carry a position).
//! Out: an [`ExperimentFile`]; what the analysis will do is an [`AnalysisPlan`].
//! Never here: states and decisions (see `lifecycle`), the meaning of a metric (see `metric`).
//! Start at [`ExperimentFile`].

use std::fmt;
use std::marker::PhantomData;

use chrono::{DateTime, Utc};
use domain::TableName;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::definition::Experiment;
use crate::looks::PlannedLook;
use crate::schedule::Schedule;
use crate::stats::group_sequential::Spending;

/// One experiment of a project.
///
/// ```toml
/// [about]
/// hypothesis = "People who fill in one form instead of three buy more, because fewer give up"
///
/// [assignment]
/// key = "checkout"
/// variants = [{ key = "control", value = false }, { key = "short", value = true }]
///
/// [analysis]
/// exposures = "marts.exposures"
/// start = "2026-11-01T00:00:00Z"
/// goals = ["revenue", { metric = "orders", weight = 0.5 }] # the first one is the primary metric
/// guardrails = [{ metric = "returns", margin = 0.02 }]
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExperimentFile {
    /// What people say about it; nothing here changes who sees what.
    #[serde(default)]
    pub about: About,
    pub assignment: Experiment,
    pub analysis: AnalysisPlan,
    /// What may happen to it by itself.
    #[serde(default, skip_serializing_if = "Schedule::is_default")]
    pub schedule: Schedule,
}

/// What people say about an experiment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct About {
    /// What people call it; its key if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is believed, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypothesis: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The person or team to ask; whoever makes it if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The project whose people may change it; `default` if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// How an experiment is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AnalysisPlan {
    /// Table or view with `unit_id`, `experiment`, `variant`, `occurred_at`, and optionally `forced` and `bot`, which leave a row out.
    pub exposures: TableName,
    /// Exposures from here on count.
    pub start: DateTime<Utc>,
    /// The planned end.
    #[serde(default)]
    pub end: Option<DateTime<Utc>>,
    /// Metrics that decide; the first is the primary one.
    #[serde(deserialize_with = "names_or_tables")]
    pub goals: Vec<Goal>,
    /// Metrics that must not become worse.
    #[serde(default)]
    pub guardrails: Vec<Guardrail>,
    /// Metrics to look at; they decide nothing.
    #[serde(default)]
    pub secondary: Vec<String>,
    /// What results are shown apart by, as it was known before exposure.
    #[serde(default, deserialize_with = "names_or_tables")]
    pub dimensions: Vec<Dimension>,
    /// Values of a dimension that are shown apart, those with the most units; the others are one. Default 20.
    #[serde(default = "twenty")]
    pub dimension_values: u32,
    /// One of the dimensions: effects are taken within its values and put together, which takes the noise between them away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_stratify: Option<String>,
    /// Two-sided error rate of the whole experiment, 0.0–1.0. Default 0.05.
    #[serde(default = "five_percent")]
    pub alpha: f64,
    /// How it may be looked at while it runs.
    #[serde(default)]
    pub sequential: Sequential,
    /// Of `group`: the looks before the end, shares of `planned_units` (0.0–1.0) or moments. Between them nothing is claimed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looks: Vec<PlannedLook>,
    /// Of `group`: how much of `alpha` may be used up by when; `obrien_fleming`, `pocock`, `{ power = 3 }` or `{ hwang_shih_decani = -4 }`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub spending: Spending,
    /// Of `hybrid`: the part of it that may be spent before the planned end. Default 0.01.
    #[serde(default = "one_percent")]
    pub running_alpha: f64,
    /// Units of all variants for which it is planned; 5,000 tune the intervals if it is not given.
    #[serde(default)]
    pub planned_units: Option<u64>,
    /// What becomes of units that saw several variants.
    #[serde(default)]
    pub multiple: Multiple,
    /// Before, nothing is shipped. Default 7.
    #[serde(default = "week")]
    pub min_days: u32,
    /// Share of units, 0.0–1.0, of which the tables of the metrics must know something; below it something is not joined. Default 0: where
    /// metrics are rare, most units have nothing.
    #[serde(default)]
    pub min_join_rate: f64,
    /// Newest fact, at most so old. Default 48.
    #[serde(default = "two_days")]
    pub max_data_age_hours: u32,
    /// After, it is over. Default 56.
    #[serde(default = "eight_weeks")]
    pub max_days: u32,
}

/// A metric that decides: its name, or `{ metric = "orders", weight = 0.5 }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Goal {
    pub metric: String,
    /// Its share of the error rate beside the other goals', above 0.0 and relative: 1 and 2 are one and two thirds. Default 1.
    #[serde(default = "one")]
    pub weight: f64,
}

/// What units are told apart by: a column of the exposures, or `{ column = "tier", table = "marts.customers" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Dimension {
    pub column: String,
    /// A table of units; the exposures if absent.
    #[serde(default)]
    pub table: Option<TableName>,
    /// Column of `table` that names the unit. Default `user_id`.
    #[serde(default = "user_id")]
    pub unit: String,
}

impl From<String> for Goal {
    fn from(metric: String) -> Self {
        Self { metric, weight: one() }
    }
}

impl From<String> for Dimension {
    fn from(column: String) -> Self {
        Self { column, table: None, unit: user_id() }
    }
}

/// A list of names or tables. A visitor of our own: of an untagged enum, errors would name neither key nor place.
fn names_or_tables<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + From<String>,
{
    struct NameOrTable<T>(T);
    struct Reader<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de> + From<String>> Deserialize<'de> for NameOrTable<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Reader(PhantomData)).map(NameOrTable)
        }
    }
    impl<'de, T: Deserialize<'de> + From<String>> Visitor<'de> for Reader<T> {
        type Value = T;
        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a name, or a table of keys")
        }
        fn visit_str<E: Error>(self, name: &str) -> Result<T, E> {
            Ok(T::from(name.to_owned()))
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }
    let all = Vec::<NameOrTable<T>>::deserialize(deserializer)?;
    Ok(all.into_iter().map(|NameOrTable(one)| one).collect())
}

/// A metric that must not become worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Guardrail {
    pub metric: String,
    /// The relative loss that is still accepted, at least 0.0. Default 0.01.
    #[serde(default = "one_percent")]
    pub margin: f64,
}

/// How an experiment may be looked at while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Sequential {
    /// At any time at `running_alpha`, and at the planned end a fixed test at the rest.
    #[default]
    Hybrid,
    /// At any time at the whole of α, also at and after the end.
    AlwaysValid,
    /// At the planned looks and at the end (Lan & DeMets); between them nothing is claimed.
    Group,
    /// At the planned end only, by a fixed test.
    None,
}

/// What becomes of units that saw several variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Multiple {
    /// They are left out, and counted.
    #[default]
    Exclude,
    /// They belong to the variant that they saw first.
    First,
}

fn is_default(spending: &Spending) -> bool {
    *spending == Spending::default()
}
fn user_id() -> String {
    "user_id".to_owned()
}
fn twenty() -> u32 {
    20
}
fn one() -> f64 {
    1.0
}
fn five_percent() -> f64 {
    0.05
}
fn one_percent() -> f64 {
    0.01
}
fn week() -> u32 {
    7
}
fn two_days() -> u32 {
    48
}
fn eight_weeks() -> u32 {
    56
}

impl AnalysisPlan {
    /// Names of all metrics, each once, goals first.
    pub fn metrics(&self) -> Vec<&str> {
        let goals = self.goals.iter().map(|goal| &goal.metric);
        let all = goals.chain(self.guardrails.iter().map(|guardrail| &guardrail.metric)).chain(&self.secondary);
        let mut names: Vec<&str> = Vec::new();
        for name in all {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// The key that is wrong, and why; `None` for a plan that can be followed.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let share = |value: f64| value > 0.0 && value < 1.0;
        if self.goals.is_empty() {
            return Some(("goals", "an experiment needs a metric that decides: name one".to_owned()));
        }
        if let Some(bad) = self.goals.iter().find(|goal| !(goal.weight > 0.0 && goal.weight.is_finite())) {
            let message = format!("the weight of `{}` is `{}`: write a number above 0", bad.metric, bad.weight);
            return Some(("goals", message));
        }
        let times_a_goal = |name: &String| self.goals.iter().filter(|goal| goal.metric == *name).count();
        if let Some(twice) = self.goals.iter().find(|goal| times_a_goal(&goal.metric) > 1) {
            return Some(("goals", format!("`{}` is there twice", twice.metric)));
        }
        if let Some(twice) = self.guardrails.iter().find(|guardrail| times_a_goal(&guardrail.metric) > 0) {
            return Some(("guardrails", format!("`{}` cannot be a goal and a guardrail", twice.metric)));
        }
        if let Some(bad) = self.guardrails.iter().find(|guardrail| !(0.0..1.0).contains(&guardrail.margin)) {
            return Some((
                "guardrails",
                format!("the margin of `{}` is `{}`: write a share from 0.0", bad.metric, bad.margin),
            ));
        }
        let named = |column: &String| self.dimensions.iter().filter(|dimension| dimension.column == *column).count();
        if let Some(twice) = self.dimensions.iter().find(|dimension| named(&dimension.column) > 1) {
            return Some(("dimensions", format!("`{}` is there twice", twice.column)));
        }
        if let Some(missing) = self.post_stratify.as_ref().filter(|name| named(name) == 0) {
            return Some(("post_stratify", format!("`{missing}` is no dimension: name it in `dimensions`, too")));
        }
        if self.dimension_values == 0 {
            return Some(("dimension_values", "it is `0`: at least one value has to be shown".to_owned()));
        }
        if !share(self.alpha) {
            return Some(("alpha", format!("`{}` is no error rate: write a share between 0.0 and 1.0", self.alpha)));
        }
        if let Some(problem) = self.problem_of_looks() {
            return Some(problem);
        }
        let least = chrono::TimeDelta::days(i64::from(self.min_days));
        if self.end.is_some_and(|end| end < self.start + least) {
            let days = self.min_days;
            return Some((
                "end",
                format!("it is not {days} days after `start`, and before `min_days` nothing is decided"),
            ));
        }
        if self.min_days == 0 || self.max_days < self.min_days {
            return Some(("max_days", "it must be at least `min_days`, and that at least 1".to_owned()));
        }
        None
    }

    /// The plan without what only shows results apart: that may come and go while it runs. Strata are part of the estimate, and with them how many
    /// values are told apart.
    pub(crate) fn without_shown_dimensions(mut self) -> Self {
        match &self.post_stratify {
            Some(strata) => self.dimensions.retain(|dimension| dimension.column == *strata),
            None => {
                self.dimensions.clear();
                self.dimension_values = twenty();
            }
        }
        self
    }

    /// What of the looks cannot be followed.
    fn problem_of_looks(&self) -> Option<(&'static str, String)> {
        let problem = |key, message: &str| Some((key, message.to_owned()));
        let is_group = self.sequential == Sequential::Group;
        if self.sequential == Sequential::Hybrid && !(self.running_alpha > 0.0 && self.running_alpha < self.alpha) {
            return Some(("running_alpha", format!("`{}` must be above 0 and below `alpha`", self.running_alpha)));
        }
        if !is_group && !self.looks.is_empty() {
            return problem("looks", "only `sequential = \"group\"` has planned looks: write it, or take them out");
        }
        if !is_group && !is_default(&self.spending) {
            return problem("spending", "only `sequential = \"group\"` spends at looks: write it, or take it out");
        }
        if let Err(error) = self.spending.check() {
            return Some(("spending", error.to_string()));
        }
        if is_group && self.looks.is_empty() {
            return problem(
                "looks",
                "`group` needs looks: write shares such as `[0.5]`, or take `sequential = \"none\"`",
            );
        }
        if is_group && self.planned_units.is_none_or(|units| units == 0) {
            return problem("planned_units", "looks are shares of the planned units: write how many are planned");
        }
        for look in &self.looks {
            match look {
                PlannedLook::Share(share) if !(*share > 0.0 && *share < 1.0) => {
                    return Some(("looks", format!("`{share}` is no share of the planned units between 0 and 1")));
                }
                PlannedLook::Date(at) if *at <= self.start || self.end.is_some_and(|end| *at >= end) => {
                    return Some(("looks", format!("`{at}` does not lie between `start` and `end`")));
                }
                PlannedLook::Share(_) | PlannedLook::Date(_) => {}
            }
        }
        None
    }
}
