//! Writes rows of a table into the stage as one Parquet file, while the next rows are being fetched.
//!
//! In: Arrow batches in the table's order.  Out: a spooled file with its hash and row count; equal batches give equal bytes.
//! Memory: one batch being filled, [`IN_FLIGHT_BYTES`] waiting, and a row group of about [`ROW_GROUP_BYTES`], encoded.
//! Never here: where rows come from.
//! Start at [`TableWriter::begin`].

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use domain::{Compression, ExtractReject, FileFormat, StagedFile};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as ParquetCompression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::spool::{Spool, Spooled, spool_problem};
use crate::{ConnectError, ExtractRequest, Stage};

/// Bytes after which a batch is handed to the writer: large enough to pay for the hand-over, and small enough that its buffers are
/// taken from and given back to what the process holds. Larger ones are fetched from the kernel, which clears them each time: that was
/// a quarter of all processor time with batches of 1 MiB.
pub(crate) const BATCH_BYTES: usize = 256 * 1024;
/// Bytes of batches handed over and not yet written: two common ones, or one of any size.
const IN_FLIGHT_BYTES: u32 = 1024 * 1024;
/// Encoded bytes of a row group, which the writer holds until it is whole: small beside a connection's share of 150 MiB for four.
const ROW_GROUP_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of a page before compression; small for the same reason as a batch.
const PAGE_BYTES: usize = 128 * 1024;
/// Rows in one row group, whatever their size.
const ROW_GROUP_ROWS: usize = 1024 * 1024;
/// Distinct values up to which a dictionary is made: those of a text of 32 bytes fill the page that Parquet gives them, 1 MiB.
const DICTIONARY_VALUES: usize = 32 * 1024;
/// Values of the first batch that are looked at to tell how many there are; a batch of common rows has fewer.
const SAMPLED_VALUES: usize = 4096;
/// Most digits of a decimal that Parquet keeps in 64 bits.
const LONG_DIGITS: u8 = 18;
/// Named in each file; without a version, so that an upgrade of a library does not make unchanged data look new.
const CREATED_BY: &str = "montauk";

/// A Parquet file that is being written by a thread of its own.
#[derive(Debug)]
pub(crate) struct TableWriter {
    sender: mpsc::Sender<HandedOver>,
    /// Bytes that may still be handed over.
    room: Arc<Semaphore>,
    task: JoinHandle<Result<Written, ConnectError>>,
}

/// A batch, and the room it takes until it is written.
type HandedOver = (RecordBatch, OwnedSemaphorePermit);

/// A finished file, not yet visible.
#[derive(Debug)]
pub(crate) struct Written {
    spool: Spool,
    spooled: Spooled,
    rows: u64,
}

impl TableWriter {
    /// Starts the thread.
    pub(crate) fn begin(stage: &Stage, request: &ExtractRequest, schema: SchemaRef) -> Self {
        // The room limits what waits; the channel's own limit is never reached by it.
        let (sender, receiver) = mpsc::channel(16);
        let room = Arc::new(Semaphore::new(IN_FLIGHT_BYTES as usize));
        let (stage, source, table) = (stage.clone(), request.source.clone(), request.table.clone());
        let task = tokio::task::spawn_blocking(move || {
            let spool = Spool::create(&stage, &source, &table).map_err(|error| spool_problem(&stage, &error))?;
            write_all(&stage, spool, schema, receiver)
        });
        Self { sender, room, task }
    }

    /// Hands over a batch of about `bytes` bytes; waits while the thread is behind.
    pub(crate) async fn write(&mut self, batch: RecordBatch, bytes: usize) -> Result<(), ConnectError> {
        let size = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, IN_FLIGHT_BYTES);
        let closed = |error| ConnectError::internal("write Parquet", error);
        let permit = Arc::clone(&self.room).acquire_many_owned(size).await.map_err(closed)?;
        if self.sender.send((batch, permit)).await.is_ok() {
            if size == IN_FLIGHT_BYTES {
                // A row larger than all room: it is written before the next is fetched, so that memory never holds two.
                drop(self.room.acquire_many(IN_FLIGHT_BYTES).await.map_err(closed)?);
            }
            return Ok(());
        }
        // The thread has ended early, so it has an error to tell.
        match (&mut self.task).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) => Err(ConnectError::internal("write Parquet", "the writer ended early")),
            Err(error) => Err(ConnectError::internal("write Parquet", error)),
        }
    }

    /// Waits for the last byte.
    pub(crate) async fn finish(self) -> Result<Written, ConnectError> {
        drop(self.sender);
        self.task.await.map_err(|error| ConnectError::internal("write Parquet", error))?
    }
}

impl Written {
    /// Rows in the file.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// SHA-256 of the file, in hex.
    pub(crate) fn sha256(&self) -> &str {
        &self.spooled.sha256
    }

    /// Gives the file its place in the stage under `name`; nothing names it there before the manifest.
    pub(crate) async fn keep(
        self,
        request: &ExtractRequest,
        stage: &Stage,
        name: String,
        rejects: Vec<ExtractReject>,
    ) -> Result<StagedFile, ConnectError> {
        let path = stage.file_path(&request.source, &request.table, &self.spooled.sha256, &name);
        let file = StagedFile {
            name,
            path: path.to_string(),
            bytes: self.spooled.bytes,
            sha256: self.spooled.sha256.clone(),
            etag: None,
            format: FileFormat::Parquet,
            compression: Compression::None,
            rows: Some(self.rows),
            rejects,
        };
        self.spool.keep(stage, &path, &self.spooled).await?;
        Ok(file)
    }
}

fn write_all(
    stage: &Stage,
    spool: Spool,
    schema: SchemaRef,
    mut receiver: mpsc::Receiver<HandedOver>,
) -> Result<Written, ConnectError> {
    let output = spool.writer().map_err(|error| spool_problem(stage, &error))?;
    let fail = |error: parquet::errors::ParquetError| parquet_problem(stage, error);
    let mut next = receiver.blocking_recv();
    let properties = properties(&schema, next.as_ref().map(|(batch, _)| batch));
    let mut writer = ArrowWriter::try_new(output, schema, Some(properties)).map_err(fail)?;
    let mut rows = 0;
    while let Some((batch, permit)) = next {
        rows += batch.num_rows() as u64;
        writer.write(&batch).map_err(fail)?;
        drop(batch);
        if writer.memory_size() >= ROW_GROUP_BYTES {
            writer.flush().map_err(fail)?;
        }
        drop(permit);
        next = receiver.blocking_recv();
    }
    let output = writer.into_inner().map_err(fail)?;
    Ok(Written { spool, spooled: output.finish(), rows })
}

/// How each column is written, by what it looks like in the first batch. Staged files are read whole and once, so that statistics and
/// an index of pages, which let readers leave something out, would serve nobody.
fn properties(schema: &SchemaRef, first: Option<&RecordBatch>) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(ParquetCompression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    for (at, field) in schema.fields().iter().enumerate() {
        let column = ColumnPath::new(vec![field.name().clone()]);
        if is_whole_number(field.data_type()) {
            // Where there is no dictionary: differences take a third of the bytes of keys and moments.
            properties = properties.set_column_encoding(column.clone(), Encoding::DELTA_BINARY_PACKED);
        }
        let has_few = first.is_none_or(|batch| has_few_values(batch.column(at)));
        properties = properties.set_column_dictionary_enabled(column, has_few);
    }
    properties.build()
}

/// Whether Parquet keeps the type as INT32 or INT64.
fn is_whole_number(data_type: &DataType) -> bool {
    let is_time = matches!(
        data_type,
        DataType::Date32 | DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(..) | DataType::Duration(_)
    );
    let is_short = matches!(data_type, DataType::Decimal128(digits, _) if *digits <= LONG_DIGITS);
    is_time || is_short || data_type.is_integer()
}

/// Whether the values of a column are few enough for a dictionary, as far as its first rows tell. A dictionary of values that are nearly
/// all different is given up when it is full, for each row group again: that was an eighth of the processor time of an extraction.
///
/// Of `n` values drawn from `d` equally likely ones, about `n² / 2d` were drawn before (the birthday problem); so a thousand values tell
/// a column of thirty thousand from one of a million. Where neighbours are alike, they look fewer, and the dictionary may be made in vain.
fn has_few_values(array: &ArrayRef) -> bool {
    let data = array.to_data();
    let values: Vec<&[u8]> = if let Some(texts) = array.as_string_opt::<i32>() {
        texts.iter().flatten().map(str::as_bytes).take(SAMPLED_VALUES).collect()
    } else if let Some(bytes) = array.as_binary_opt::<i32>() {
        bytes.iter().flatten().take(SAMPLED_VALUES).collect()
    } else if let (Some(width), Some(buffer)) = (array.data_type().primitive_width(), data.buffers().first()) {
        let values = buffer.as_slice().chunks_exact(width).skip(data.offset()).take(array.len()).enumerate();
        values.filter(|(at, _)| array.is_valid(*at)).map(|(_, value)| value).take(SAMPLED_VALUES).collect()
    } else {
        return true;
    };
    let distinct = values.iter().collect::<HashSet<_>>().len();
    2 * DICTIONARY_VALUES * (values.len() - distinct) >= values.len() * values.len()
}

/// A full disk arrives as an error of the Parquet library; everything else from there is ours.
fn parquet_problem(stage: &Stage, error: parquet::errors::ParquetError) -> ConnectError {
    let text = error.to_string();
    let is_full = text.contains("No space left") || text.contains("quota exceeded");
    if is_full {
        return spool_problem(stage, &std::io::Error::from(std::io::ErrorKind::StorageFull));
    }
    ConnectError::internal("write Parquet", text)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Int32Array, StringArray};

    use super::*;

    /// Numbers below `limit`, as if drawn by lot. Source: the finalizer of SplitMix64.
    fn drawn(count: u64, limit: u64) -> impl Iterator<Item = u64> {
        (0..count).map(move |at| {
            let mixed = at.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (mixed ^ (mixed >> 31)) % limit
        })
    }

    #[test]
    fn a_thousand_rows_tell_few_values_from_many() {
        for (limit, has_few) in [(5, true), (1_000, true), (10_000, true), (200_000, false), (1 << 30, false)] {
            let values: Vec<u64> = drawn(1_500, limit).collect();
            let numbers: Int32Array = values.iter().map(|value| Some(*value as i32)).collect();
            let decimals: Decimal128Array = values.iter().map(|value| Some(i128::from(*value))).collect();
            // Nulls say nothing about values.
            let texts: StringArray = values.iter().flat_map(|value| [Some(value.to_string()), None]).collect();
            let arrays: [ArrayRef; 3] = [Arc::new(numbers), Arc::new(decimals), Arc::new(texts)];
            for array in arrays {
                assert_eq!(has_few_values(&array), has_few, "{limit} {}", array.data_type());
                assert_eq!(
                    has_few_values(&array.slice(100, array.len() - 100)),
                    has_few,
                    "{limit} {}",
                    array.data_type()
                );
            }
        }
    }
}
