//! What a metric means: `metrics/<name>.toml`, and the plan that follows from it.
//!
//! In: the text of a project file, parsed by whoever owns the directory (plain serde, so that errors carry a position).
//! Out: a [`MetricFile`], and through [`MetricFile::plan`] a [`UnitPlan`]: which rows of which table make one value per unit.
//! Never here: SQL (see `pipeline::analyze`), the meaning of a difference (see `stats`).
//! Start at [`MetricFile`].

mod error;
mod plan;
#[cfg(test)]
mod tests;

use domain::TableName;
use serde::{Deserialize, Serialize};

use crate::stats::non_inferiority::Preference;

pub use error::MetricError;
pub use plan::{Cap, CapRule, DEFAULT_CAP, Measure, QuantilePlan, Reading, Span, Statistic, UnitPlan};

/// A metric as the user declares it.
///
/// ```toml
/// kind = "mean"                   # proportion | mean | count | ratio | retention | funnel | quantile
/// title = "Revenue per customer"
/// direction = "increase"          # which way is better: increase | decrease
/// window_days = 14                # what happens after exposure, for so long
/// delay_hours = 0                 # and not before so long after it
///
/// [fact]
/// table = "marts.order_lines"     # one row per thing that happened
/// unit = "user_id"
/// time = "occurred_at"
/// value = "amount"                # a column, or an expression of columns
/// aggregate = "sum"               # sum | count | max | first | distinct
/// where = "not returned"
///
/// [cap]
/// percentile = 0.999              # or `value = 500`
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MetricFile {
    pub kind: MetricKind,
    /// What people call it; the file's name if absent.
    #[serde(default)]
    pub title: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub owner: Option<String>,
    #[serde(default)]
    pub direction: Preference,
    /// What is counted; the numerator of a ratio.
    #[serde(default)]
    pub fact: Option<Fact>,
    /// Only of a ratio.
    #[serde(default)]
    pub denominator: Option<Fact>,
    /// Only of a funnel: what has to happen, one after the other.
    #[serde(default)]
    pub steps: Vec<Fact>,
    /// Only of a quantile, 0.0–1.0: 0.9 is the value that a tenth of the units exceed.
    #[serde(default)]
    pub quantile: Option<f64>,
    /// Only of a quantile: of the number per unit, or of the values of all things that happened. Default `units`.
    #[serde(default, skip_serializing_if = "QuantileOf::is_units")]
    pub quantile_of: QuantileOf,
    /// Length of the window that begins with exposure (and `delay_hours`). Default 7; of retention, the length of the window of the return.
    #[serde(default = "week")]
    pub window_days: u32,
    /// What happens sooner after exposure does not count. Default 0.
    #[serde(default)]
    pub delay_hours: u32,
    /// Only of retention: the return has to happen so many days after exposure, or later. Default 7.
    #[serde(default)]
    pub after_days: Option<u32>,
    /// Leave out units whose window has not ended yet. Default false; retention always does.
    #[serde(default)]
    pub mature_only: bool,
    /// Default: the 99.9th percentile of the values other than 0, of sums; false turns it off.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Option<Cap>))]
    pub cap: CapRule,
    /// Whole days before exposure whose value explains part of the variance (CUPED). Default 14; 0 turns it off.
    #[serde(default = "fortnight")]
    pub covariate_days: u32,
    /// The smallest relative change worth knowing, above 0.0: what planning is for. Default 0.05.
    #[serde(default = "five_percent")]
    pub min_effect: f64,
}

/// What a metric is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum MetricKind {
    /// Share of units to whom it happened.
    Proportion,
    /// A number per unit, 0 where nothing happened.
    Mean,
    /// How often it happened per unit.
    Count,
    /// One sum over another, both per unit.
    Ratio,
    /// Share of units that came back in a later window.
    Retention,
    /// Share of units that took all steps, in order.
    Funnel,
    /// A quantile of the number per unit, or of the values of all things that happened to them.
    Quantile,
}

/// What a quantile is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum QuantileOf {
    /// One number per unit, 0 where nothing happened.
    #[default]
    Units,
    /// Every row by itself, such as the time that each page took; its noise is that of the units, which have several.
    Events,
}

impl QuantileOf {
    fn is_units(&self) -> bool {
        *self == Self::Units
    }
}

/// Rows that count: one table, one row per thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Fact {
    pub table: TableName,
    /// Column that names the unit. Default `user_id`.
    #[serde(default = "user_id")]
    pub unit: String,
    /// Column that says when. Default `occurred_at`.
    #[serde(default = "occurred_at")]
    pub time: String,
    /// A column, or an expression over columns in the warehouse's language.
    #[serde(default)]
    pub value: Option<String>,
    /// How the values of a unit become one. Default `sum`.
    #[serde(default)]
    pub aggregate: Option<Aggregate>,
    /// A condition in the warehouse's language; all rows if absent.
    #[serde(default, rename = "where")]
    pub filter: Option<String>,
}

/// How the values of a unit become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Aggregate {
    Sum,
    /// Rows; the value does not matter.
    Count,
    Max,
    /// The earliest value.
    First,
    /// Different values.
    Distinct,
}

fn week() -> u32 {
    7
}
fn fortnight() -> u32 {
    14
}
fn five_percent() -> f64 {
    0.05
}
fn user_id() -> String {
    "user_id".to_owned()
}
fn occurred_at() -> String {
    "occurred_at".to_owned()
}
