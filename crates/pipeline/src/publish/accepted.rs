//! The durable record of what a destination last accepted: key columns and a row hash, as Parquet.
//!
//! In: the state before and what was accepted now.  Out: `.montauk/publish/<sync>/<n>.parquet`.
//! The destination holds a receipt with number and hash of the newest state, committed together with the rows: a state
//! file counts when its receipt is there. What a crash left between the two is settled by [`Accepted::load`].
//! Never here: the rows themselves; a hash is enough to see a change.
//! Start at [`Accepted::load`].

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, RecordBatchReader, UInt64Array};
use arrow::compute::{concat_batches, interleave, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema};
use connect::Receipt;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::diff::{RowHash, encode};
use crate::PipelineError;
use crate::feed::{sync_directory, write_durably};

/// Column that holds the row hash beside the key columns.
const HASH_COLUMN: &str = "_montauk_row_hash";

/// What a destination last accepted, and what it accepts in this run.
#[derive(Debug)]
pub(crate) struct Accepted {
    sync: String,
    dir: PathBuf,
    /// Number of the receipt; 0 before the first.
    number: u64,
    /// False when the destination has a receipt whose state is not here: then everything is sent again and nothing deleted.
    pub(crate) is_known: bool,
    /// Key columns of the state as it was loaded.
    before: Option<RecordBatch>,
    entries: HashMap<Box<[u8]>, Entry>,
}

/// One accepted row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) hash: RowHash,
    key: KeyPlace,
}

/// Where the key values of an entry stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum KeyPlace {
    Before(usize),
    Wanted(usize),
}

/// A state written aside, waiting for its receipt to be committed.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) receipt: Receipt,
    aside: PathBuf,
    target: PathBuf,
}

impl Entry {
    /// Row of the loaded state that holds the key; `None` for a row accepted in this run.
    pub(crate) fn row_before(&self) -> Option<usize> {
        match self.key {
            KeyPlace::Before(row) => Some(row),
            KeyPlace::Wanted(_) => None,
        }
    }
}

impl Accepted {
    /// Finds the state that the destination's receipt names. `key` holds the wanted rows' key columns: a state whose key
    /// has other types is of no use and counts as unknown.
    pub(crate) fn load(
        sync: &str,
        dir: &Path,
        receipt: Option<&Receipt>,
        key: &[ArrayRef],
    ) -> Result<Self, PipelineError> {
        fs::create_dir_all(dir).map_err(|error| PipelineError::io(dir, &error))?;
        let mut state = Self {
            sync: sync.to_owned(),
            dir: dir.to_owned(),
            number: receipt.map_or(0, |receipt| receipt.number),
            is_known: receipt.is_none(),
            before: None,
            entries: HashMap::new(),
        };
        let Some(receipt) = receipt else { return Ok(state) };
        let (target, aside) = (state.target(receipt.number), state.aside(receipt.number));
        for path in [&target, &aside] {
            let Ok(bytes) = fs::read(path) else { continue };
            if domain::hash_bytes(&bytes) != receipt.state_hash {
                continue;
            }
            if path == &aside {
                // The receipt was committed, the rename was not: roll forward.
                fs::rename(&aside, &target).map_err(|error| PipelineError::io(&target, &error))?;
                sync_directory(dir)?;
            }
            state.read(bytes, key)?;
            break;
        }
        Ok(state)
    }

    /// The accepted rows by key.
    pub(crate) fn entries(&self) -> &HashMap<Box<[u8]>, Entry> {
        &self.entries
    }

    /// How many rows the destination holds of this sync.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Notes that the destination took a wanted row.
    pub(crate) fn accept(&mut self, key: &[u8], hash: RowHash, wanted_row: usize) {
        self.entries.insert(key.into(), Entry { hash, key: KeyPlace::Wanted(wanted_row) });
    }

    /// Notes that the destination deleted the keys of some rows of the loaded state.
    pub(crate) fn forget(&mut self, rows_before: &HashSet<usize>) {
        if !rows_before.is_empty() {
            self.entries.retain(|_, entry| entry.row_before().is_none_or(|row| !rows_before.contains(&row)));
        }
    }

    /// Notes that the destination holds nothing; receipts go on counting from where they were.
    pub(crate) fn forget_all(&mut self) {
        self.entries.clear();
        self.before = None;
        self.is_known = true;
    }

    /// Key values of some rows of the loaded state, for deletes.
    pub(crate) fn keys_before(&self, rows: &[usize]) -> Result<Option<RecordBatch>, PipelineError> {
        let Some(before) = &self.before else { return Ok(None) };
        let numbers: UInt64Array = rows.iter().map(|row| *row as u64).collect();
        take_record_batch(before, &numbers).map(Some).map_err(|error| self.unpublishable(&error))
    }

    /// Writes the state as it is now aside, under the next number. `key` holds the wanted rows' key columns.
    pub(crate) fn prepare(&self, key_names: &[String], key: &[ArrayRef]) -> Result<Pending, PipelineError> {
        let mut entries: Vec<&Entry> = self.entries.values().collect();
        entries.sort_unstable_by_key(|entry| entry.key);
        let places: Vec<(usize, usize)> = entries
            .iter()
            .map(|entry| match entry.key {
                KeyPlace::Wanted(row) => (0, row),
                KeyPlace::Before(row) => (1, row),
            })
            .collect();
        let mut columns = Vec::with_capacity(key.len() + 1);
        for (number, wanted) in key.iter().enumerate() {
            let mut sides: Vec<&dyn Array> = vec![wanted.as_ref()];
            if let Some(before) = &self.before {
                sides.push(before.column(number).as_ref());
            }
            columns.push(interleave(&sides, &places).map_err(|error| self.unpublishable(&error))?);
        }
        columns.push(Arc::new(BinaryArray::from_iter_values(entries.iter().map(|entry| entry.hash))) as ArrayRef);
        let mut fields: Vec<Field> = key_names
            .iter()
            .zip(&columns)
            .map(|(name, column)| Field::new(name, column.data_type().clone(), true))
            .collect();
        fields.push(Field::new(HASH_COLUMN, DataType::Binary, false));
        let batch =
            RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| self.unpublishable(&error))?;
        let bytes = self.to_parquet(&batch)?;
        let number = self.number + 1;
        let aside = self.aside(number);
        write_durably(&aside, &bytes)?;
        sync_directory(&self.dir)?;
        let receipt = Receipt { sync: self.sync.clone(), number, state_hash: domain::hash_bytes(&bytes) };
        Ok(Pending { receipt, aside, target: self.target(number) })
    }

    /// The destination has the receipt: the state counts, the older one can go.
    pub(crate) fn confirm(&mut self, pending: &Pending) -> Result<(), PipelineError> {
        fs::rename(&pending.aside, &pending.target).map_err(|error| PipelineError::io(&pending.target, &error))?;
        sync_directory(&self.dir)?;
        if self.number > 0 {
            // Nothing reads it any more; failing to remove it costs only disk.
            let _ = fs::remove_file(self.target(self.number));
        }
        self.number = pending.receipt.number;
        Ok(())
    }

    fn target(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:020}.parquet"))
    }

    fn aside(&self, number: u64) -> PathBuf {
        self.dir.join(format!(".{number:020}.parquet.tmp"))
    }

    fn read(&mut self, bytes: Vec<u8>, key: &[ArrayRef]) -> Result<(), PipelineError> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes))
            .and_then(|builder| builder.build())
            .map_err(|error| self.unpublishable(&error))?;
        let schema = RecordBatchReader::schema(&reader);
        let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| self.unpublishable(&error))?;
        let mut state = concat_batches(&schema, &batches).map_err(|error| self.unpublishable(&error))?;
        let hashes = state.remove_column(state.num_columns() - 1);
        let same_key = state.num_columns() == key.len()
            && state.columns().iter().zip(key).all(|(before, now)| before.data_type() == now.data_type());
        if !same_key {
            return Ok(());
        }
        let keys = encode(&self.sync, state.columns())?;
        self.entries = keys
            .into_iter()
            .zip(hashes.as_binary::<i32>().iter())
            .enumerate()
            .map(|(row, (key, hash))| {
                let hash = hash.and_then(|hash| RowHash::try_from(hash).ok()).unwrap_or_default();
                (key, Entry { hash, key: KeyPlace::Before(row) })
            })
            .collect();
        self.before = Some(state);
        self.is_known = true;
        Ok(())
    }

    fn to_parquet(&self, batch: &RecordBatch) -> Result<Vec<u8>, PipelineError> {
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let mut bytes = Vec::new();
        ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))
            .and_then(|mut writer| writer.write(batch).and_then(|()| writer.close()))
            .map_err(|error| self.unpublishable(&error))?;
        Ok(bytes)
    }

    fn unpublishable(&self, error: &dyn std::error::Error) -> PipelineError {
        PipelineError::Unpublishable { sync: self.sync.clone(), reason: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    fn ids(values: &[i64]) -> Vec<ArrayRef> {
        vec![Arc::new(Int64Array::from(values.to_vec())) as ArrayRef]
    }

    fn names() -> Vec<String> {
        vec!["id".to_owned()]
    }

    /// A state in which `values` were accepted, committed and confirmed.
    fn committed(dir: &Path, values: &[i64]) -> Receipt {
        let key = ids(values);
        let mut state = Accepted::load("s", dir, None, &key).unwrap();
        for (row, bytes) in encode("s", &key).unwrap().iter().enumerate() {
            state.accept(bytes, [row as u8; 16], row);
        }
        let pending = state.prepare(&names(), &key).unwrap();
        state.confirm(&pending).unwrap();
        pending.receipt
    }

    #[test]
    fn a_state_reads_back_and_its_next_one_keeps_what_was_not_touched() {
        let temp = tempfile::tempdir().unwrap();
        let receipt = committed(temp.path(), &[1, 2, 3]);
        let key = ids(&[4]);
        let mut state = Accepted::load("s", temp.path(), Some(&receipt), &key).unwrap();
        assert!(state.is_known);
        assert_eq!(state.len(), 3);
        state.forget(&HashSet::from([0]));
        state.accept(&encode("s", &key).unwrap()[0], [9; 16], 0);
        let pending = state.prepare(&names(), &key).unwrap();
        state.confirm(&pending).unwrap();
        let again = Accepted::load("s", temp.path(), Some(&pending.receipt), &key).unwrap();
        let rows: Vec<usize> = (0..again.len()).collect();
        let keys = again.keys_before(&rows).unwrap().unwrap();
        let mut values = keys.column(0).as_primitive::<arrow::datatypes::Int64Type>().values().to_vec();
        values.sort_unstable();
        assert_eq!(values, [2, 3, 4]);
    }

    #[test]
    fn a_kill_between_commit_and_rename_rolls_forward() {
        let temp = tempfile::tempdir().unwrap();
        let key = ids(&[1]);
        let mut state = Accepted::load("s", temp.path(), None, &key).unwrap();
        state.accept(&encode("s", &key).unwrap()[0], [1; 16], 0);
        let pending = state.prepare(&names(), &key).unwrap();
        // The destination committed; this process died before `confirm`.
        let again = Accepted::load("s", temp.path(), Some(&pending.receipt), &key).unwrap();
        assert!(again.is_known);
        assert_eq!(again.len(), 1);
    }

    #[test]
    fn a_kill_before_the_commit_changes_nothing_and_a_lost_state_is_unknown() {
        let temp = tempfile::tempdir().unwrap();
        let receipt = committed(temp.path(), &[1, 2]);
        let key = ids(&[7]);
        let mut state = Accepted::load("s", temp.path(), Some(&receipt), &key).unwrap();
        state.accept(&encode("s", &key).unwrap()[0], [1; 16], 0);
        let _never_committed = state.prepare(&names(), &key).unwrap();
        assert_eq!(Accepted::load("s", temp.path(), Some(&receipt), &key).unwrap().len(), 2);
        fs::remove_file(state.target(receipt.number)).unwrap();
        let lost = Accepted::load("s", temp.path(), Some(&receipt), &key).unwrap();
        assert!(!lost.is_known);
        assert_eq!(lost.len(), 0);
    }
}
