//! From a metric to its plan: which measures are read from which rows, and how they become one value per unit.
//!
//! In: a [`MetricFile`].  Out: a [`UnitPlan`], or the key that is wrong.
//! Never here: SQL; days, months and zones (all windows are hours from a unit's first exposure).
//! Start at [`MetricFile::plan`].

use std::fmt;

use domain::TableName;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Aggregate, Fact, MetricError, MetricFile, MetricKind, QuantileOf};

/// Longest window: ten years of days. More is a typing mistake, and hours must fit.
const MAX_DAYS: u32 = 3_660;
/// Most steps of a funnel: each is one letter of the trace that the warehouse keeps per unit and day.
const MAX_STEPS: usize = 26;

/// How one value per unit comes about, in no engine's language.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitPlan {
    /// One, or of a ratio two: numerator and denominator.
    pub measures: Vec<Measure>,
    pub statistic: Statistic,
    pub cap: Option<Cap>,
    /// Whole days before exposure for the covariate; 0 without one.
    pub covariate_days: u32,
    /// Leave out units whose window has not ended.
    pub mature_only: bool,
}

/// One number per unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    pub table: TableName,
    /// Column that names the unit.
    pub unit: String,
    /// Column that says when.
    pub time: String,
    pub reading: Reading,
    pub span: Span,
}

/// What is read from the rows in the span.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reading {
    /// `value` of the rows under `filter`, aggregated. Without a value rows are counted.
    Values { aggregate: Aggregate, value: Option<String>, filter: Option<String> },
    /// 1 if there is a row under `filter`, else 0.
    Exists { filter: Option<String> },
    /// 1 if there are rows under each filter, each later than the one before it, else 0.
    Steps { filters: Vec<Option<String>> },
}

/// Hours after a unit's first exposure, start included, end excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    pub from_hours: u32,
    pub to_hours: u32,
}

impl Span {
    /// Calendar days since that of exposure that the span touches for some unit. A unit comes at any hour of day 0, so that a span of no whole
    /// number of days ends up to one day later than it would from midnight: 36 hours from 23:00 on end on day 2. Whole days from then on end on
    /// the day of their number, at the same hour.
    pub fn days(&self) -> std::ops::RangeInclusive<u32> {
        self.from_hours / 24..=self.to_hours.div_ceil(24)
    }
}

/// What is compared between variants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// Zeros and ones.
    Proportion,
    Mean,
    Ratio,
    Quantile(QuantilePlan),
}

/// Which quantile, and of what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantilePlan {
    /// 0.0–1.0, both excluded.
    pub share: f64,
    /// Of events, the one measure says which rows count, and of them what `value` is.
    pub of: QuantileOf,
}

/// The largest value that counts as it is; what is larger counts as this. The same for all variants.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Cap {
    /// The cap itself.
    #[serde(default)]
    pub value: Option<f64>,
    /// Or the share of units of all variants together below it, 0.0–1.0.
    #[serde(default)]
    pub percentile: Option<f64>,
    /// Whether only values other than 0 count for the percentile. Default true: where most units have nothing, the percentile of all
    /// would be 0.
    #[serde(default = "yes")]
    pub nonzero_only: bool,
}

fn yes() -> bool {
    true
}

/// What sums are capped at if the file says nothing: one order of a reseller can be worth more than a thousand of others, and hide what
/// happened to these.  Source: Kohavi, Tang & Xu 2020, ch. 18 (capping of skewed metrics).
pub const DEFAULT_CAP: Cap = Cap { value: None, percentile: Some(0.999), nonzero_only: true };

/// What a file says of caps.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum CapRule {
    /// Nothing: sums have [`DEFAULT_CAP`].
    #[default]
    Default,
    /// `cap = false`.
    Off,
    At(Cap),
}

impl Serialize for CapRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Default => serializer.serialize_none(),
            Self::Off => serializer.serialize_bool(false),
            Self::At(cap) => cap.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for CapRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FalseOrTable;
        impl<'de> Visitor<'de> for FalseOrTable {
            type Value = CapRule;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("`false`, or a table with `value` or `percentile`")
            }
            fn visit_bool<E: Error>(self, is_capped: bool) -> Result<CapRule, E> {
                if is_capped { Err(E::invalid_value(Unexpected::Bool(true), &self)) } else { Ok(CapRule::Off) }
            }
            fn visit_unit<E: Error>(self) -> Result<CapRule, E> {
                Ok(CapRule::Default)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CapRule, A::Error> {
                Cap::deserialize(MapAccessDeserializer::new(map)).map(CapRule::At)
            }
        }
        deserializer.deserialize_any(FalseOrTable)
    }
}

impl MetricFile {
    /// What has to be read, or which key of the file is wrong.
    pub fn plan(&self) -> Result<UnitPlan, MetricError> {
        self.check_places()?;
        self.check_numbers()?;
        let start = self.delay_hours;
        let span = Span { from_hours: start, to_hours: start + 24 * self.window_days };
        let retention = 24 * self.after_days.unwrap_or(7);
        let later = Span { from_hours: retention, to_hours: retention + 24 * self.window_days };
        let (measures, statistic) = match self.kind {
            MetricKind::Proportion => (vec![self.exists(span)?], Statistic::Proportion),
            MetricKind::Retention => (vec![self.exists(later)?], Statistic::Proportion),
            MetricKind::Mean => (vec![self.values("fact", self.fact.as_ref(), span)?], Statistic::Mean),
            MetricKind::Count => (vec![self.count(span)?], Statistic::Mean),
            MetricKind::Ratio => {
                let numerator = self.values("fact", self.fact.as_ref(), span)?;
                let denominator = self.values("denominator", self.denominator.as_ref(), span)?;
                (vec![numerator, denominator], Statistic::Ratio)
            }
            MetricKind::Funnel => (vec![self.funnel(span)?], Statistic::Proportion),
            MetricKind::Quantile => {
                let share = self.quantile.ok_or(self.missing("quantile"))?;
                let plan = QuantilePlan { share, of: self.quantile_of };
                (vec![self.values("fact", self.fact.as_ref(), span)?], Statistic::Quantile(plan))
            }
        };
        let mature_only = self.mature_only || self.kind == MetricKind::Retention;
        // The covariate of a quantile is of no use: its variance comes from order statistics.
        let covariate_days = if self.kind == MetricKind::Quantile { 0 } else { self.covariate_days };
        let cap = match self.cap {
            CapRule::At(cap) => Some(cap),
            CapRule::Off => None,
            CapRule::Default => self.is_sum().then_some(DEFAULT_CAP),
        };
        Ok(UnitPlan { measures, statistic, cap, covariate_days, mature_only })
    }

    /// Whether values per unit, or numerators, are sums: without a bound, and mostly with a long tail.
    fn is_sum(&self) -> bool {
        let aggregate = self.fact.as_ref().map(|fact| fact.aggregate.unwrap_or(Aggregate::Sum));
        matches!(self.kind, MetricKind::Mean | MetricKind::Ratio) && aggregate == Some(Aggregate::Sum)
    }

    /// Whether the file says how the values of a unit become one: those of a quantile of events stay apart.
    fn aggregates(&self) -> bool {
        self.fact.as_ref().is_some_and(|fact| fact.aggregate.is_some())
    }

    fn missing(&self, key: &'static str) -> MetricError {
        MetricError::Missing { kind: self.kind, key }
    }

    fn exists(&self, span: Span) -> Result<Measure, MetricError> {
        let fact = self.fact.as_ref().ok_or(self.missing("fact"))?;
        if fact.value.is_some() {
            return Err(MetricError::OutOfPlace { kind: self.kind, key: "fact.value" });
        }
        if fact.aggregate.is_some() {
            return Err(MetricError::OutOfPlace { kind: self.kind, key: "fact.aggregate" });
        }
        Ok(measure(fact, Reading::Exists { filter: fact.filter.clone() }, span))
    }

    fn count(&self, span: Span) -> Result<Measure, MetricError> {
        let fact = self.fact.as_ref().ok_or(self.missing("fact"))?;
        let aggregate = match fact.aggregate {
            None | Some(Aggregate::Count) => Aggregate::Count,
            Some(Aggregate::Distinct) => Aggregate::Distinct,
            Some(Aggregate::Sum | Aggregate::Max | Aggregate::First) => {
                return Err(MetricError::OutOfPlace { kind: self.kind, key: "fact.aggregate" });
            }
        };
        self.read("fact", fact, aggregate, span)
    }

    fn values(&self, key: &'static str, fact: Option<&Fact>, span: Span) -> Result<Measure, MetricError> {
        let fact = fact.ok_or(self.missing(key))?;
        self.read(key, fact, fact.aggregate.unwrap_or(Aggregate::Sum), span)
    }

    fn read(&self, key: &'static str, fact: &Fact, aggregate: Aggregate, span: Span) -> Result<Measure, MetricError> {
        let value = match aggregate {
            Aggregate::Count => None,
            Aggregate::Sum | Aggregate::Max | Aggregate::First | Aggregate::Distinct => {
                let key = if key == "denominator" { "denominator.value" } else { "fact.value" };
                Some(fact.value.clone().ok_or(self.missing(key))?)
            }
        };
        Ok(measure(fact, Reading::Values { aggregate, value, filter: fact.filter.clone() }, span))
    }

    fn funnel(&self, span: Span) -> Result<Measure, MetricError> {
        let [first, rest @ ..] = self.steps.as_slice() else { return Err(self.missing("steps")) };
        if rest.is_empty() || self.steps.len() > MAX_STEPS {
            let expected = "two to 26 steps";
            return Err(MetricError::BadValue { key: "steps", value: self.steps.len().to_string(), expected });
        }
        // The order of two rows of different tables is known by their times as well, but their traces would have to be merged.
        if let Some(other) =
            rest.iter().find(|step| (&step.table, &step.unit, &step.time) != (&first.table, &first.unit, &first.time))
        {
            let expected = "the same table, unit and time for all steps: put their rows into one mart";
            return Err(MetricError::BadValue { key: "steps", value: other.table.to_string(), expected });
        }
        let filters = self.steps.iter().map(|step| step.filter.clone()).collect();
        Ok(measure(first, Reading::Steps { filters }, span))
    }

    /// Keys that belong to other kinds.
    fn check_places(&self) -> Result<(), MetricError> {
        let kind = self.kind;
        let odd = [
            ("denominator", self.denominator.is_some() && kind != MetricKind::Ratio),
            ("steps", !self.steps.is_empty() && kind != MetricKind::Funnel),
            ("fact", self.fact.is_some() && kind == MetricKind::Funnel),
            ("quantile", self.quantile.is_some() && kind != MetricKind::Quantile),
            ("quantile_of", self.quantile_of == QuantileOf::Events && kind != MetricKind::Quantile),
            ("fact.aggregate", self.quantile_of == QuantileOf::Events && self.aggregates()),
            ("after_days", self.after_days.is_some() && kind != MetricKind::Retention),
            ("delay_hours", self.delay_hours > 0 && kind == MetricKind::Retention),
            (
                "cap",
                self.cap != CapRule::Default
                    && !matches!(kind, MetricKind::Mean | MetricKind::Count | MetricKind::Ratio),
            ),
        ];
        match odd.into_iter().find(|(_, is_odd)| *is_odd) {
            Some((key, _)) => Err(MetricError::OutOfPlace { kind, key }),
            None => Ok(()),
        }
    }

    fn check_numbers(&self) -> Result<(), MetricError> {
        let bad = |key, value: String, expected| Err(MetricError::BadValue { key, value, expected });
        let days = [("window_days", self.window_days), ("after_days", self.after_days.unwrap_or(7))];
        for (key, value) in days {
            if !(1..=MAX_DAYS).contains(&value) {
                return bad(key, value.to_string(), "1 to 3660");
            }
        }
        if self.delay_hours > 24 * MAX_DAYS {
            return bad("delay_hours", self.delay_hours.to_string(), "at most 87840");
        }
        if self.covariate_days > MAX_DAYS {
            return bad("covariate_days", self.covariate_days.to_string(), "at most 3660");
        }
        if !(self.min_effect > 0.0 && self.min_effect.is_finite()) {
            return bad("min_effect", self.min_effect.to_string(), "above 0");
        }
        if let Some(quantile) = self.quantile.filter(|quantile| !(*quantile > 0.0 && *quantile < 1.0)) {
            return bad("quantile", quantile.to_string(), "between 0 and 1, both excluded");
        }
        let CapRule::At(cap) = self.cap else { return Ok(()) };
        match (cap.value, cap.percentile) {
            (Some(value), None) if value.is_finite() => Ok(()),
            (None, Some(share)) if share > 0.0 && share < 1.0 => Ok(()),
            (Some(value), None) => bad("cap.value", value.to_string(), "a finite number"),
            (None, Some(share)) => bad("cap.percentile", share.to_string(), "between 0 and 1, both excluded"),
            (None, None) | (Some(_), Some(_)) => bad("cap", "{}".to_owned(), "one of `value` and `percentile`"),
        }
    }
}

fn measure(fact: &Fact, reading: Reading, span: Span) -> Measure {
    Measure { table: fact.table.clone(), unit: fact.unit.clone(), time: fact.time.clone(), reading, span }
}

impl MetricKind {
    /// As it is written in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proportion => "proportion",
            Self::Mean => "mean",
            Self::Count => "count",
            Self::Ratio => "ratio",
            Self::Retention => "retention",
            Self::Funnel => "funnel",
            Self::Quantile => "quantile",
        }
    }
}
