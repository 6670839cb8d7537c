//! The table that a chain of manifests says there is, as COPY would build it.
//!
//! In: a stage.  Out: rows as text by their key.  Never here: reading sources.  Start at [`fold`].

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use connect::Stage;
use domain::{DELETED_COLUMN, StageManifest, StageMode};

use crate::support::read_parquet;

/// Rows by their key; `None` for null.
pub type Rows = BTreeMap<Vec<Option<String>>, Vec<Option<String>>>;

/// Column names and rows after all manifests of `table`, oldest first. `key` names the key's columns.
pub async fn fold(stage: &Stage, source: &str, table: &str, key: &[&str]) -> (Vec<String>, Rows) {
    fold_all(stage, &stage.pending(source, table, None).await.unwrap(), key).await
}

async fn fold_all(stage: &Stage, manifests: &[StageManifest], key: &[&str]) -> (Vec<String>, Rows) {
    let (mut names, mut rows) = (Vec::new(), Rows::new());
    for manifest in manifests {
        match manifest.mode {
            StageMode::Full => rows.clear(),
            StageMode::Changes => {
                let rules = manifest.changes.as_ref().unwrap();
                assert_eq!(rules.key, key, "the key of manifest {}", manifest.number);
            }
            StageMode::Append => panic!("a database does not append"),
        }
        for file in &manifest.files {
            for batch in read_parquet(stage, file).await {
                names = apply(&batch, key, &mut rows);
            }
        }
    }
    (names, rows)
}

fn apply(batch: &RecordBatch, key: &[&str], rows: &mut Rows) -> Vec<String> {
    let schema = batch.schema();
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let deleted = batch.column_by_name(DELETED_COLUMN).map(|column| column.as_boolean());
    let columns: Vec<Vec<Option<String>>> = batch.columns().iter().map(|column| cells(column)).collect();
    let keys: Vec<usize> = key.iter().map(|name| schema.index_of(name).unwrap()).collect();
    for row in 0..batch.num_rows() {
        let key: Vec<Option<String>> = keys.iter().map(|at| columns[*at][row].clone()).collect();
        if deleted.is_some_and(|deleted| deleted.value(row)) {
            for (at, column) in columns.iter().enumerate().take(names.len() - 1) {
                assert!(keys.contains(&at) || column[row].is_none(), "a deleted row has more than its key");
            }
            rows.remove(&key);
        } else {
            let kept = names.len() - usize::from(deleted.is_some());
            rows.insert(key, columns.iter().take(kept).map(|column| column[row].clone()).collect());
        }
    }
    names.into_iter().filter(|name| name != DELETED_COLUMN).collect()
}

fn cells(column: &dyn Array) -> Vec<Option<String>> {
    // Named zones need a table that this tree does not carry.
    let plain = if let DataType::Timestamp(unit, Some(_)) = column.data_type() {
        arrow::compute::cast(column, &DataType::Timestamp(*unit, None)).unwrap()
    } else {
        arrow::array::make_array(column.to_data())
    };
    let options = FormatOptions::new();
    let formatter = ArrayFormatter::try_new(&plain, &options).unwrap();
    (0..plain.len()).map(|row| plain.is_valid(row).then(|| formatter.value(row).to_string())).collect()
}
