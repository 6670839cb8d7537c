//! One Parquet file per load with its rejects: place, reason, original bytes.
//!
//! In: [`Reject`]s of a load.  Out: `_montauk/quarantine/<table>/<id>.parquet`, named by the load's record; it counts iff that does.
//! Never here: deciding what is rejected (`copy`), what becomes of it (`quarantine`).
//! Start at [`QuarantineWriter`].

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, UInt64Type};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::TableName;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::{Reject, RejectKind};
use crate::error::{Result, WarehouseError};
use crate::store::Store;
use crate::table::plain_path;

/// Rejects held in memory before they are encoded.
const BATCH: usize = 8_192;
/// Original bytes held in memory before they are encoded.
const BATCH_BYTES: usize = 8 << 20;
/// Most original bytes kept of one row: enough for any row a person will mend, and a bound for a quote that is never closed.
pub(crate) const MAX_ORIGINAL_BYTES: usize = 1 << 20;

/// State of a reject in the file of its load; what became of it later stands beside the file (`changes`) and in the ledger.
const OPEN: &str = "open";

/// Encodes the rejects of one load.
pub(crate) struct QuarantineWriter {
    /// The load that these rejects belong to, and its time.
    load: u64,
    at: DateTime<Utc>,
    writer: Option<ArrowWriter<Vec<u8>>>,
    waiting: Vec<(Reject, Vec<u8>)>,
    waiting_bytes: usize,
    cells: u64,
}

impl QuarantineWriter {
    pub(crate) fn new(load: u64, at: DateTime<Utc>) -> Self {
        Self { load, at, writer: None, waiting: Vec::new(), waiting_bytes: 0, cells: 0 }
    }

    /// Adds a reject with its original bytes.
    pub(crate) fn push(&mut self, reject: Reject, original: &[u8]) -> Result<()> {
        self.cells += u64::from(reject.kind == RejectKind::Cell);
        let kept = original.len().min(MAX_ORIGINAL_BYTES);
        self.waiting.push((reject, original[..kept].to_vec()));
        self.waiting_bytes += kept;
        if self.waiting.len() >= BATCH || self.waiting_bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    /// How many of the rejects are cells of rows that were loaded.
    pub(crate) fn cells(&self) -> u64 {
        self.cells
    }

    /// Writes the file, if there is any reject, and returns its path.
    pub(crate) async fn finish(mut self, store: &Store, table: &TableName) -> Result<Option<String>> {
        self.flush()?;
        let Some(writer) = self.writer else { return Ok(None) };
        let bytes = writer.into_inner().map_err(|error| WarehouseError::internal(format!("quarantine: {error}")))?;
        let name = format!("{}.parquet", uuid::Uuid::new_v4());
        let path = Path::from_iter(["_montauk", "quarantine", table.to_string().as_str(), name.as_str()]);
        store.put(&path, Bytes::from(bytes)).await?;
        Ok(Some(path.to_string()))
    }

    fn flush(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let failed = |error: &dyn std::fmt::Display| WarehouseError::internal(format!("quarantine: {error}"));
        let batch = to_batch(self.load, self.at, &self.waiting).map_err(|error| failed(&error))?;
        self.waiting.clear();
        self.waiting_bytes = 0;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let properties =
                    WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
                none.insert(
                    ArrowWriter::try_new(Vec::new(), schema(), Some(properties)).map_err(|error| failed(&error))?,
                )
            }
        };
        writer.write(&batch).map_err(|error| failed(&error))
    }
}

fn schema() -> SchemaRef {
    let text = |name: &str, nullable: bool| Field::new(name, DataType::Utf8, nullable);
    let number = |name: &str| Field::new(name, DataType::UInt64, false);
    Arc::new(Schema::new(vec![
        number("load"),
        text("file", false),
        text("sha256", false),
        number("row"),
        number("line"),
        number("byte_offset"),
        text("kind", false),
        text("column", true),
        text("code", false),
        text("message", false),
        Field::new("original", DataType::Binary, false),
        Field::new("loaded_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        text("state", false),
    ]))
}

fn to_batch(
    load: u64,
    at: DateTime<Utc>,
    rejects: &[(Reject, Vec<u8>)],
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let text = |value: fn(&Reject) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rejects.iter().map(|(reject, _)| value(reject))))
    };
    let number = |value: fn(&Reject) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(rejects.iter().map(|(reject, _)| value(reject))))
    };
    let columns: StringArray = rejects.iter().map(|(reject, _)| reject.column.as_deref()).collect();
    let times = TimestampMicrosecondArray::from_value(at.timestamp_micros(), rejects.len()).with_timezone("UTC");
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(UInt64Array::from_value(load, rejects.len())),
            text(|reject| &reject.file),
            text(|reject| &reject.sha256),
            number(|reject| reject.row),
            number(|reject| reject.line),
            number(|reject| reject.byte_offset),
            text(|reject| reject.kind.as_str()),
            Arc::new(columns),
            text(|reject| &reject.code),
            text(|reject| &reject.message),
            Arc::new(BinaryArray::from_iter_values(rejects.iter().map(|(_, original)| original))),
            Arc::new(times),
            text(|_| OPEN),
        ],
    )
}

/// A reject with its original bytes, as they stood in the staged file.
pub(crate) struct Kept {
    pub(crate) reject: Reject,
    pub(crate) original: Vec<u8>,
}

/// The rejects of one quarantine file, in the order in which they were found, at most `limit`.
pub(crate) async fn read(store: &Store, path: &str, limit: usize) -> Result<Vec<Kept>> {
    let damaged = |message: String| WarehouseError::Damaged { path: path.to_owned(), message };
    let bytes = store.get(&plain_path(path)).await?.ok_or_else(|| damaged("it is missing".to_owned()))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(|builder| builder.with_limit(limit).build())
        .map_err(|error| damaged(error.to_string()))?;
    let mut rejects = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| damaged(error.to_string()))?;
        rejects
            .extend(of_batch(&batch).ok_or_else(|| damaged("its columns are not those of a quarantine".to_owned()))?);
    }
    Ok(rejects)
}

fn of_batch(batch: &RecordBatch) -> Option<Vec<Kept>> {
    let text = |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    let number = |name: &str| batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<UInt64Type>());
    let (file, sha256, kind, column) = (text("file")?, text("sha256")?, text("kind")?, text("column")?);
    let (code, message) = (text("code")?, text("message")?);
    let (row, line, byte_offset) = (number("row")?, number("line")?, number("byte_offset")?);
    let original = batch.column_by_name("original")?.as_binary_opt::<i32>()?;
    let reject = |number: usize| Reject {
        file: file.value(number).to_owned(),
        sha256: sha256.value(number).to_owned(),
        row: row.value(number),
        line: line.value(number),
        byte_offset: byte_offset.value(number),
        kind: if kind.value(number) == RejectKind::Cell.as_str() { RejectKind::Cell } else { RejectKind::Row },
        column: column.is_valid(number).then(|| column.value(number).to_owned()),
        code: code.value(number).to_owned(),
        message: message.value(number).to_owned(),
        original: String::from_utf8_lossy(original.value(number)).into_owned(),
    };
    let kept =
        (0..batch.num_rows()).map(|number| Kept { reject: reject(number), original: original.value(number).to_vec() });
    Some(kept.collect())
}
