//! What a table is after all its manifests: the rows of the last whole one, and on top of them the changes, one after the other.
//!
//! In: a stage.  Out: rows as text.  It does in the simplest way what COPY does, so that a test can compare it with the source.
//! Never here: assertions about one source.
//! Start at [`folded`].

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use connect::Stage;
use domain::{DELETED_COLUMN, StageManifest, StageMode};

use crate::support::read_parquet;

/// Rows by their key.
pub type Rows = BTreeMap<Vec<String>, Vec<String>>;

/// The rows of `table` after its newest manifest, by `key`.
pub async fn folded(stage: &Stage, table: &str, key: &[&str]) -> Rows {
    let mut rows = Rows::new();
    for manifest in stage.pending("shop", table, None).await.unwrap() {
        apply(stage, &manifest, key, &mut rows).await;
    }
    rows
}

/// Applies one manifest.
pub async fn apply(stage: &Stage, manifest: &StageManifest, key: &[&str], rows: &mut Rows) {
    match (manifest.mode, &manifest.changes) {
        (StageMode::Full, None) => rows.clear(),
        (StageMode::Changes, Some(rules)) => assert_eq!(rules.key, key),
        other => panic!("a manifest of a database is not {other:?}"),
    }
    for file in &manifest.files {
        for batch in read_parquet(stage, file).await {
            let deleted = batch.column_by_name(DELETED_COLUMN).map(|column| column.as_boolean().clone());
            let places: Vec<usize> = key.iter().map(|name| batch.schema().index_of(name).unwrap()).collect();
            for (at, mut row) in rows_as_text(&batch).into_iter().enumerate() {
                let of: Vec<String> = places.iter().map(|place| row[*place].clone()).collect();
                assert!(of.iter().all(|cell| cell != "∅"), "a key is null");
                if deleted.is_some() {
                    row.pop();
                }
                if deleted.as_ref().is_some_and(|deleted| deleted.value(at)) {
                    assert!(row.iter().enumerate().all(|(at, cell)| places.contains(&at) || cell == "∅"));
                    rows.remove(&of);
                } else {
                    rows.insert(of, row);
                }
            }
        }
    }
}

/// The cells of each row as text, nulls as `∅`.
pub fn rows_as_text(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::new().with_null("∅");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| {
            // Named zones need a table that this tree does not carry.
            if let DataType::Timestamp(unit, Some(_)) = column.data_type() {
                return arrow::compute::cast(column, &DataType::Timestamp(*unit, None)).unwrap();
            }
            column.clone()
        })
        .collect();
    let shown: Vec<_> = columns.iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    let cell = |at: usize, row: usize| {
        if columns[at].is_null(row) { "∅".to_owned() } else { shown[at].value(row).to_string() }
    };
    (0..batch.num_rows()).map(|row| (0..shown.len()).map(|at| cell(at, row)).collect()).collect()
}
