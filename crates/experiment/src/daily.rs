//! What was known on each day: the results as of that day, one after the other.
//!
//! In: rows of results, each computed from the units and windows as they stood on a day.  Out: [`Day`]s.
//! Never here: sums over days: the statistics of different days share units and are never added up.
//! Start at [`days`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::results::Row;
use crate::stats::Interval;

/// The results as of a day.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Day {
    /// What happened before this moment is in it.
    pub until: DateTime<Utc>,
    pub rows: Vec<DayRow>,
}

/// One metric in one arm as of a day.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DayRow {
    pub metric: String,
    pub arm: String,
    /// Units of the arm and of control.
    pub units: Option<(u64, u64)>,
    /// Relative; `None` where there were no figures yet.
    pub effect: Option<f64>,
    /// The interval that was to be shown on this day.
    pub shown: Option<Interval>,
    pub shown_alpha: f64,
    /// The always-valid p of this day, at α.
    pub always_valid_p: Option<f64>,
    /// The least of it up to this day (S2): it may be read on any of them, and stays.
    pub least_p: Option<f64>,
}

/// Days in their order, from the rows of each.
pub fn days(of_days: impl IntoIterator<Item = (DateTime<Utc>, Vec<Row>)>) -> Vec<Day> {
    let mut least: BTreeMap<(String, String), f64> = BTreeMap::new();
    let mut day_row = |row: Row| {
        let p = row.relative.map(|view| view.figures.always_valid.p_value);
        let key = (row.metric.clone(), row.arm.clone());
        if let Some(p) = p {
            least.entry(key.clone()).and_modify(|least| *least = least.min(p)).or_insert(p);
        }
        DayRow {
            units: row.relative.map(|view| (view.comparison.treatment.n, view.comparison.control.n)),
            effect: row.relative.map(|view| view.figures.estimate.effect),
            shown: row.shown,
            shown_alpha: row.shown_alpha,
            always_valid_p: p,
            least_p: least.get(&key).copied(),
            metric: row.metric,
            arm: row.arm,
        }
    };
    let day =
        |(until, rows): (DateTime<Utc>, Vec<Row>)| Day { until, rows: rows.into_iter().map(&mut day_row).collect() };
    of_days.into_iter().map(day).collect()
}
