//! From exposures and facts to the figures of an experiment: SQL models of our own, and what is read from the last of them.
//!
//! In: an experiment, its metrics, the catalog.  Out: models for `warehouse` to build; sufficient statistics for `experiment`.
//! Never here: DataFusion; what a difference means (`experiment::stats`).
//! Start at [`models`], the four steps:
//!
//! ```text
//! exposures ──▶ units (first exposure) ──▶ bounds (when each window begins and ends) ─┐
//! facts, each table once, day by day ──────────────────────────────────────────────┴▶ days (unit × day × part) ──▶ values (unit)
//! facts of a quantile over events, once more each ────────────────────────────────────▶ events (those in the windows)
//! ```
//!
//! A run makes again only the days whose facts or bounds changed, late ones included. Days hold whole windows' parts, never
//! statistics: those of different days cannot be added up, for (Σy)² is not Σy².

mod crossed;
mod days;
mod events;
mod freshness;
mod history;
mod moments;
mod past;
mod quantiles;
mod seen;
mod slices;
mod statistics;
mod units;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use domain::{Dialect, IdError, TableName, quote_identifier};
use experiment::metric::{Measure, Reading, UnitPlan};
use experiment::plan::ExperimentFile;
use warehouse::Model;

use crate::PipelineError;

pub(crate) use crossed::read_crossings;
pub(crate) use freshness::{Freshness, read_freshness};
pub(crate) use history::{EVERYBODY, history_model, history_table, read_new_units};
pub(crate) use past::read_past;
pub(crate) use seen::read_exposure_seen;
pub(crate) use slices::read_dimensions;
pub(crate) use statistics::{MetricMoments, read_bad_values, read_samples, read_samples_of_day, read_samples_since};
pub(crate) use units::read_counts;

/// Where the tables of experiments are.
const SCHEMA: &str = "experiments";
/// Times are compared as integers: microseconds, as tables hold them.
const MICROS_PER_HOUR: i64 = 3_600_000_000;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// An experiment with all that its SQL depends on.
#[derive(Clone)]
pub(crate) struct Subject<'a> {
    pub(crate) file: &'a ExperimentFile,
    /// Name of the metric and its plan, in the order of the experiment.
    pub(crate) metrics: Vec<(&'a str, UnitPlan)>,
    /// Names of secondary metrics that were added after the start.
    pub(crate) post_hoc: &'a [String],
    /// Columns of the exposures.
    pub(crate) exposure_columns: BTreeSet<String>,
    /// What happened before this moment counts; midnight.
    pub(crate) until: DateTime<Utc>,
}

/// One scan: all measures over one table, one naming of units and one of times.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Scan {
    table: TableName,
    unit: String,
    time: String,
}

impl Subject<'_> {
    /// Scans, each with what is kept of it per unit and day; the index of a reading is the number in the names of its columns.
    fn scans(&self) -> BTreeMap<Scan, Vec<Reading>> {
        let mut scans: BTreeMap<Scan, Vec<Reading>> = BTreeMap::new();
        for measure in self.measures() {
            let readings = scans.entry(scan_of(measure)).or_default();
            let kept = days::kept(&measure.reading);
            if !readings.contains(&kept) {
                readings.push(kept);
            }
        }
        scans
    }

    fn measures(&self) -> impl Iterator<Item = &Measure> {
        self.metrics.iter().flat_map(|(_, plan)| &plan.measures)
    }

    /// Days since that of exposure that some window touches, the last of them in part.
    pub(crate) fn last_day_since(&self) -> u32 {
        self.measures().map(|measure| *measure.span.days().end()).max().unwrap_or(0)
    }

    /// Hours after exposure at which a window begins or ends.
    fn bounds(&self) -> BTreeSet<u32> {
        self.measures().flat_map(|measure| [measure.span.from_hours, measure.span.to_hours]).collect()
    }

    fn table(&self, part: &str) -> Result<TableName, PipelineError> {
        table_of(&self.file.assignment.key, part).map_err(|error| PipelineError::Internal {
            what: format!("name the tables of experiment `{}`", self.file.assignment.key),
            reason: error.to_string(),
        })
    }

    fn model(&self, part: &str, text: &str) -> Result<Model, PipelineError> {
        let table = self.table(part)?;
        let path = format!("experiment `{}`, table {table}", self.file.assignment.key);
        Ok(Model::parse(table.schema(), table.name(), &path, text)?)
    }
}

/// `experiments.e_<key>_<part>`; what cannot stand in a name becomes `_`. Keys too long for a name have no tables.
pub(crate) fn table_of(key: &str, part: &str) -> Result<TableName, IdError> {
    let plain = key.to_lowercase().replace(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()), "_");
    TableName::new(SCHEMA, &format!("e_{plain}_{part}"))
}

/// The models of an experiment, in their order.
pub(crate) fn models(subject: &Subject<'_>) -> Result<Vec<Model>, PipelineError> {
    let mut models = vec![
        subject.model("units", &units::units_sql(subject))?,
        subject.model("bounds", &units::bounds_sql(subject)?)?,
    ];
    for (index, (scan, readings)) in subject.scans().iter().enumerate() {
        let text = days::days_sql(subject, scan, readings)?;
        models.push(subject.model(&days::part(index), &text)?);
    }
    models.push(subject.model("values", &values::values_sql(subject)?)?);
    for (part, text) in events::events(subject)? {
        models.push(subject.model(&part, &text)?);
    }
    Ok(models)
}

fn scan_of(measure: &Measure) -> Scan {
    Scan { table: measure.table.clone(), unit: measure.unit.clone(), time: measure.time.clone() }
}

fn quote(name: &str) -> String {
    quote_identifier(Dialect::Standard, name)
}

/// A text as a constant of SQL. Models take no parameters, and names come from project files.
fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// A moment as a constant of SQL.
fn moment(at: DateTime<Utc>) -> String {
    format!("arrow_cast('{}', 'Timestamp(Microsecond, None)')", at.format("%Y-%m-%dT%H:%M:%S%.6f"))
}

/// A moment, an expression of SQL, as microseconds since 1970.
fn micros(at: &str) -> String {
    format!("cast({at} as bigint)")
}

/// A column of times, whatever their unit and zone, as moments in UTC.
fn as_moment(column: &str) -> String {
    format!("arrow_cast({}, 'Timestamp(Microsecond, None)')", quote(column))
}
