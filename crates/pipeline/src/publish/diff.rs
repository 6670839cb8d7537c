//! What has to change at the destination: wanted rows against the rows it last accepted.
//!
//! In: the wanted rows, the accepted state.  Out: a [`Difference`] by row number.
//! Never here: two table versions are never compared; only what was accepted counts (a rejected row is sent again).
//! Start at [`compare`].

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::row::{RowConverter, SortField};

use super::accepted::Entry;
use crate::PipelineError;

/// Identifies a row's content: the first 16 bytes of SHA-256 over its Arrow row encoding.
/// With 128 bits, a collision among a thousand million rows has a chance of about 1e-21.
pub(crate) type RowHash = [u8; 16];

/// What has to be sent. Numbers are rows of the wanted batch, or of the accepted state for deletes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) inserts: Vec<usize>,
    pub(crate) updates: Vec<usize>,
    /// Rows of the accepted state that nobody wants any more; only sent in mode `mirror`.
    pub(crate) deletes: Vec<usize>,
    pub(crate) unchanged: usize,
    /// Wanted rows that cannot be sent: their key is null, or stands there twice.
    pub(crate) unusable: Vec<(usize, &'static str)>,
}

impl Difference {
    /// How many rows are sent.
    pub(crate) fn changes(&self) -> usize {
        self.inserts.len() + self.updates.len() + self.deletes.len()
    }
}

/// Keys and hashes of a batch, row by row.
pub(crate) struct Fingerprints {
    pub(crate) keys: Vec<Box<[u8]>>,
    pub(crate) hashes: Vec<RowHash>,
}

/// Encodes the key columns and hashes the whole row, for each row of `batch`.
pub(crate) fn fingerprint(sync: &str, batch: &RecordBatch, key: &[String]) -> Result<Fingerprints, PipelineError> {
    let keys = encode(sync, &key_columns(sync, batch, key)?)?;
    let hashes = encode(sync, batch.columns())?
        .iter()
        .map(|row| {
            let hex = domain::hash_bytes(row);
            // 32 hex digits always parse; a hash of zeros would only cause a resend.
            u128::from_str_radix(&hex[..32], 16).map(u128::to_be_bytes).unwrap_or_default()
        })
        .collect();
    Ok(Fingerprints { keys, hashes })
}

/// The key columns of a batch, in the order in which the sync names them.
pub(crate) fn key_columns(sync: &str, batch: &RecordBatch, key: &[String]) -> Result<Vec<ArrayRef>, PipelineError> {
    key.iter()
        .map(|name| {
            batch.column_by_name(name).cloned().ok_or_else(|| PipelineError::MissingColumn {
                table: format!("publish/{sync}.toml"),
                column: name.clone(),
                available: batch.schema().fields().iter().map(|field| field.name().clone()).collect(),
            })
        })
        .collect()
}

/// Arrow's row encoding of the columns: equal bytes mean equal values, null included.
pub(crate) fn encode(sync: &str, columns: &[ArrayRef]) -> Result<Vec<Box<[u8]>>, PipelineError> {
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converter = RowConverter::new(fields).and_then(|converter| converter.convert_columns(columns));
    let rows =
        converter.map_err(|error| PipelineError::Unpublishable { sync: sync.to_owned(), reason: error.to_string() })?;
    Ok(rows.iter().map(|row| Box::from(row.as_ref())).collect())
}

/// Compares the wanted rows with the accepted ones.
///
/// A wanted row whose key is null or was seen before in the same batch is unusable: sending it would make the result
/// depend on row order.
pub(crate) fn compare(wanted: &Fingerprints, key_is_null: &[bool], accepted: &HashMap<Box<[u8]>, Entry>) -> Difference {
    let mut difference = Difference::default();
    let mut seen: HashMap<&[u8], usize> = HashMap::with_capacity(wanted.keys.len());
    for (row, key) in wanted.keys.iter().enumerate() {
        if key_is_null[row] {
            difference.unusable.push((row, "the key is null"));
            continue;
        }
        if seen.insert(key, row).is_some() {
            difference.unusable.push((row, "another row has the same key"));
            continue;
        }
        match accepted.get(key) {
            None => difference.inserts.push(row),
            Some(entry) if entry.hash != wanted.hashes[row] => difference.updates.push(row),
            Some(_) => difference.unchanged += 1,
        }
    }
    difference.deletes = accepted
        .iter()
        .filter(|(key, _)| !seen.contains_key(key.as_ref()))
        .filter_map(|(_, entry)| entry.row_before())
        .collect();
    difference.deletes.sort_unstable();
    difference
}

/// For each row, whether any key column is null.
pub(crate) fn null_keys(columns: &[ArrayRef], rows: usize) -> Vec<bool> {
    (0..rows).map(|row| columns.iter().any(|column| column.is_null(row))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::super::accepted::Accepted;
    use super::*;

    fn batch(rows: &[(Option<i64>, &str)]) -> RecordBatch {
        let ids: Int64Array = rows.iter().map(|(id, _)| *id).collect();
        let names: StringArray = rows.iter().map(|(_, name)| Some(*name)).collect();
        RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef), ("name", Arc::new(names) as ArrayRef)]).unwrap()
    }

    fn difference(accepted: &[(Option<i64>, &str)], wanted: &[(Option<i64>, &str)]) -> Difference {
        let key = ["id".to_owned()];
        let temp = tempfile::tempdir().unwrap();
        let before = batch(accepted);
        let columns = key_columns("s", &before, &key).unwrap();
        let mut state = Accepted::load("s", temp.path(), None, &columns).unwrap();
        let prints = fingerprint("s", &before, &key).unwrap();
        for (row, (key, hash)) in prints.keys.iter().zip(&prints.hashes).enumerate() {
            state.accept(key, *hash, row);
        }
        let pending = state.prepare(&key, &columns).unwrap();
        state.confirm(&pending).unwrap();
        let wanted = batch(wanted);
        let columns = key_columns("s", &wanted, &key).unwrap();
        let state = Accepted::load("s", temp.path(), Some(&pending.receipt), &columns).unwrap();
        let nulls = null_keys(&columns, wanted.num_rows());
        compare(&fingerprint("s", &wanted, &key).unwrap(), &nulls, state.entries())
    }

    #[test]
    fn inserts_updates_and_deletes_are_told_apart() {
        let found = difference(
            &[(Some(1), "a"), (Some(2), "b"), (Some(3), "c")],
            &[(Some(1), "a"), (Some(2), "B"), (Some(4), "d")],
        );
        assert_eq!(
            found,
            Difference { inserts: vec![2], updates: vec![1], deletes: vec![2], unchanged: 1, unusable: vec![] }
        );
    }

    #[test]
    fn null_and_repeated_keys_are_never_sent() {
        let found = difference(&[], &[(None, "a"), (Some(2), "b"), (Some(2), "c")]);
        assert_eq!(found.inserts, vec![1]);
        assert_eq!(found.unusable, vec![(0, "the key is null"), (2, "another row has the same key")]);
    }
}
