//! What computing the results of an experiment would read: known from the catalog, before anything is read.
//!
//! In: an experiment, the catalog.  Out: the tables behind its exposures, metrics and dimensions, with rows and bytes.
//! An upper bound: columns that are not needed and days that have not changed are not read.
//! Never here: reading.
//! Start at [`scan`].

use std::collections::{BTreeMap, BTreeSet};

use domain::TableName;
use experiment::metric::MetricFile;
use experiment::plan::ExperimentFile;
use warehouse::{Catalog, Pin};

use crate::project::Project;

/// What would be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Scan {
    pub rows: u64,
    pub bytes: u64,
    /// By name, each once, also when several metrics read it.
    pub tables: Vec<ScannedTable>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ScannedTable {
    pub table: String,
    /// `None` where the catalog does not know it.
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
}

/// The tables behind an experiment; a view stands for the tables that it reads.
pub fn scan(project: &Project, catalog: &Catalog, file: &ExperimentFile) -> Scan {
    let plan = &file.analysis;
    let dimensions = plan.dimensions.iter().filter_map(|dimension| dimension.table.as_ref());
    let metrics = plan.metrics().into_iter().filter_map(|name| project.metrics.get(name));
    let facts = metrics.flat_map(tables_of);
    let mut found = BTreeSet::new();
    for table in std::iter::once(&plan.exposures).chain(dimensions).chain(facts) {
        match catalog.tables.get(table) {
            Some(entry) if entry.path.is_none() => behind(&entry.pins, &mut found),
            Some(_) | None => drop(found.insert(table.clone())),
        }
    }
    let known = |table: &TableName| {
        let entry = catalog.tables.get(table);
        ScannedTable {
            table: table.to_string(),
            rows: entry.and_then(|entry| entry.rows),
            bytes: entry.and_then(|entry| entry.bytes),
        }
    };
    let tables: Vec<ScannedTable> = found.iter().map(known).collect();
    Scan {
        rows: tables.iter().filter_map(|table| table.rows).sum(),
        bytes: tables.iter().filter_map(|table| table.bytes).sum(),
        tables,
    }
}

fn tables_of(metric: &MetricFile) -> impl Iterator<Item = &TableName> {
    let facts = metric.fact.iter().chain(&metric.denominator).chain(&metric.steps);
    facts.map(|fact| &fact.table)
}

/// Views of views end at tables.
fn behind(pins: &BTreeMap<TableName, Pin>, found: &mut BTreeSet<TableName>) {
    for (table, pin) in pins {
        match pin {
            Pin::Table { .. } => drop(found.insert(table.clone())),
            Pin::View { pins, .. } => behind(pins, found),
        }
    }
}
