//! Rows → the bytes of a Parquet file, columns encoded side by side.
//!
//! In: record batches of one schema.  Out: bytes in their order, as soon as a row group is whole; the footer.
//! The library's own writer encodes one column after the other on one thread: of a build's seconds, those of the writer were the half in which
//! all other cores had nothing to do.
//! Never here: names, stores, which rows.
//! Start at [`Encoder::add`].

use std::sync::{Mutex, PoisonError};
use std::thread;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{FieldRef, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

/// Rows that are encoded together: enough work for threads to be worth starting, few enough that many open files hold little.
const CHUNK_ROWS: usize = 16 << 10;
/// Or this part of the bytes of a row group, where rows are long.
const CHUNKS_PER_GROUP: usize = 8;
/// Encoded bytes of a row group held in memory before they go out: with two files open at once, 64 MiB in all.
pub(crate) const ROW_GROUP_BYTES: usize = 32 << 20;
/// Rows of a row group at most: the default of the Parquet writer.
const ROW_GROUP_ROWS: usize = 1 << 20;
/// Cells below which starting a thread (some 50 µs) costs more than it saves.
const CELLS_FOR_THREADS: usize = 32 << 10;

/// The file so far.
pub(crate) struct Encoder {
    file: SerializedFileWriter<Vec<u8>>,
    factory: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    group_bytes: usize,
    /// Of the row group that is being filled, one per leaf; empty between groups.
    columns: Vec<ArrowColumnWriter>,
    rows_of_group: usize,
    chunk: Vec<RecordBatch>,
    rows_of_chunk: usize,
    bytes_of_chunk: usize,
}

impl Encoder {
    /// `group_bytes`: encoded bytes of a row group, at most about so many are held; [`ROW_GROUP_BYTES`] for a file alone.
    pub(crate) fn new(schema: SchemaRef, properties: WriterProperties, group_bytes: usize) -> Result<Self> {
        let writer = ArrowWriter::try_new(Vec::new(), SchemaRef::clone(&schema), Some(properties))?;
        let (file, factory) = writer.into_serialized_writer()?;
        Ok(Self {
            file,
            factory,
            schema,
            group_bytes,
            columns: Vec::new(),
            rows_of_group: 0,
            chunk: Vec::new(),
            rows_of_chunk: 0,
            bytes_of_chunk: 0,
        })
    }

    /// Adds rows. Encodes on the calling thread, and beside it on as many as there are cores.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows_of_chunk += batch.num_rows();
        self.bytes_of_chunk += batch.get_array_memory_size();
        self.chunk.push(batch.clone());
        if self.rows_of_chunk >= CHUNK_ROWS || self.bytes_of_chunk >= self.group_bytes / CHUNKS_PER_GROUP {
            self.encode()?;
        }
        if self.in_progress() >= self.group_bytes {
            self.end_group()?;
        }
        Ok(())
    }

    /// What has been written and was not taken yet.
    pub(crate) fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(self.file.inner_mut())
    }

    /// Bytes of the file so far, those of the open row group by estimate.
    pub(crate) fn len(&self) -> usize {
        self.file.bytes_written() + self.in_progress()
    }

    /// Ends the file. What [`Self::take_bytes`] returns afterwards is its end.
    pub(crate) fn finish(&mut self) -> Result<ParquetMetaData> {
        self.encode()?;
        self.end_group()?;
        self.file.finish()
    }

    pub(crate) fn bytes_written(&self) -> usize {
        self.file.bytes_written()
    }

    fn in_progress(&self) -> usize {
        self.columns.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum()
    }

    fn encode(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.chunk);
        let rows = std::mem::take(&mut self.rows_of_chunk);
        self.bytes_of_chunk = 0;
        if rows == 0 {
            return Ok(());
        }
        let whole = match batches.as_slice() {
            [only] => only.clone(),
            several => concat_batches(&self.schema, several)?,
        };
        if self.rows_of_group + rows > ROW_GROUP_ROWS {
            self.end_group()?;
        }
        if self.columns.is_empty() {
            self.columns = self.factory.create_column_writers(self.file.flushed_row_groups().len())?;
        }
        self.rows_of_group += rows;
        let leaves = self.file.schema_descr();
        let mut jobs: Vec<Job<'_>> = Vec::with_capacity(whole.num_columns());
        for (leaf, writer) in self.columns.iter_mut().enumerate() {
            let field = leaves.get_column_root_idx(leaf);
            match jobs.last_mut() {
                Some(job) if job.place == field => job.writers.push(writer),
                Some(_) | None => jobs.push(Job {
                    place: field,
                    field: &self.schema.fields()[field],
                    values: whole.column(field),
                    writers: vec![writer],
                }),
            }
        }
        side_by_side(rows * self.schema.fields().len(), jobs, Job::encode)?;
        Ok(())
    }

    fn end_group(&mut self) -> Result<()> {
        let columns = std::mem::take(&mut self.columns);
        let rows = std::mem::take(&mut self.rows_of_group);
        if rows == 0 {
            return Ok(());
        }
        let chunks = side_by_side(rows * columns.len(), columns, ArrowColumnWriter::close)?;
        let mut group = self.file.next_row_group()?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut group)?;
        }
        group.close()?;
        Ok(())
    }
}

/// One column of a chunk.
struct Job<'a> {
    place: usize,
    field: &'a FieldRef,
    values: &'a ArrayRef,
    /// One per leaf.
    writers: Vec<&'a mut ArrowColumnWriter>,
}

impl Job<'_> {
    fn encode(self) -> Result<()> {
        let leaves = compute_leaves(self.field, self.values)?;
        self.writers.into_iter().zip(&leaves).try_for_each(|(writer, leaf)| writer.write(leaf))
    }
}

/// Does jobs on all cores, whoever is free taking the next; results in the order of the jobs.
fn side_by_side<T: Send, U: Send>(cells: usize, jobs: Vec<T>, work: impl Fn(T) -> Result<U> + Sync) -> Result<Vec<U>> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let lanes = if cells < CELLS_FOR_THREADS { 1 } else { cores.min(jobs.len()) };
    if lanes <= 1 {
        return jobs.into_iter().map(work).collect();
    }
    let (count, jobs) = (jobs.len(), Mutex::new(jobs.into_iter().enumerate()));
    let lane = || -> Result<Vec<(usize, U)>> {
        let mut done = Vec::new();
        loop {
            let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
            match next {
                Some((place, job)) => done.push((place, work(job)?)),
                None => return Ok(done),
            }
        }
    };
    let lost = || ParquetError::General("a thread that encoded columns ended early".to_owned());
    let mut done: Vec<(usize, U)> = Vec::with_capacity(count);
    thread::scope(|scope| {
        let others: Vec<_> = (1..lanes).map(|_| scope.spawn(lane)).collect();
        done.extend(lane()?);
        for other in others {
            done.extend(other.join().map_err(|_| lost())??);
        }
        Ok::<(), ParquetError>(())
    })?;
    done.sort_unstable_by_key(|(place, _)| *place);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, ListBuilder, StringArray, StringBuilder, StructArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    /// A number, a text, a list of texts and a struct of two: columns of one leaf and of several.
    fn batch(from: i64, rows: i64) -> RecordBatch {
        let numbers =
            Arc::new(Int64Array::from_iter((from..from + rows).map(|n| (n % 7 != 0).then_some(n)))) as ArrayRef;
        let texts =
            Arc::new(StringArray::from_iter_values((from..from + rows).map(|n| format!("text {n}")))) as ArrayRef;
        let mut lists = ListBuilder::new(StringBuilder::new());
        for n in from..from + rows {
            (0..n % 4).for_each(|item| lists.values().append_value(format!("{n}-{item}")));
            lists.append(n % 5 != 0);
        }
        let field = |name: &str, kind: DataType| Arc::new(Field::new(name, kind, true));
        let pairs = StructArray::from(vec![
            (field("a", DataType::Int64), Arc::clone(&numbers)),
            (field("b", DataType::Utf8), Arc::clone(&texts)),
        ]);
        let columns = [numbers, texts, Arc::new(lists.finish()) as ArrayRef, Arc::new(pairs) as ArrayRef];
        let fields: Vec<Field> = columns
            .iter()
            .zip(["n", "t", "l", "s"])
            .map(|(it, name)| Field::new(name, it.data_type().clone(), true))
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.to_vec()).unwrap()
    }

    fn file(batches: &[RecordBatch]) -> (Bytes, ParquetMetaData) {
        let mut encoder =
            Encoder::new(batches[0].schema(), WriterProperties::builder().build(), ROW_GROUP_BYTES).unwrap();
        let mut bytes = Vec::new();
        for batch in batches {
            encoder.add(batch).unwrap();
            bytes.extend(encoder.take_bytes());
        }
        let footer = encoder.finish().unwrap();
        bytes.extend(encoder.take_bytes());
        assert_eq!(bytes.len(), encoder.bytes_written());
        (bytes.into(), footer)
    }

    #[test]
    fn rows_come_back_in_their_order_whatever_their_columns() {
        // More than a chunk, in pieces that no chunk is a multiple of; and few enough to stay on one thread.
        for (pieces, rows) in [(31, 1_777), (1, 3), (2, 70_000)] {
            let batches: Vec<RecordBatch> = (0..pieces).map(|piece| batch(piece * rows, rows)).collect();
            let (bytes, footer) = file(&batches);
            assert_eq!(footer.file_metadata().num_rows(), pieces * rows);
            let read = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
            let read: Vec<RecordBatch> = read.map(|batch| batch.unwrap()).collect();
            let schema = batches[0].schema();
            assert_eq!(concat_batches(&schema, &read).unwrap(), concat_batches(&schema, &batches).unwrap());
        }
    }

    #[test]
    fn row_groups_end_at_their_limit() {
        let one =
            RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from_value(1, 300_000)) as ArrayRef)]).unwrap();
        let (_, footer) = file(&vec![one; 8]);
        let rows: Vec<i64> = footer.row_groups().iter().map(|group| group.num_rows()).collect();
        assert_eq!(rows, [900_000, 900_000, 600_000]);
    }

    #[test]
    fn a_file_among_many_holds_no_more_than_its_share() {
        let batches: Vec<RecordBatch> = (0..40).map(|piece| batch(piece * 2_000, 2_000)).collect();
        let share = 128 << 10;
        let mut encoder = Encoder::new(batches[0].schema(), WriterProperties::builder().build(), share).unwrap();
        let mut most = 0;
        for batch in &batches {
            encoder.add(batch).unwrap();
            most = most.max(encoder.in_progress());
            assert!(encoder.bytes_of_chunk < share);
        }
        assert!(most < 2 * share, "{most}");
        let footer = encoder.finish().unwrap();
        assert!(footer.row_groups().len() > 10, "{}", footer.row_groups().len());
        assert_eq!(footer.file_metadata().num_rows(), 80_000);
    }

    #[test]
    fn a_file_of_no_rows_has_a_footer() {
        let (bytes, footer) = file(&[batch(0, 0)]);
        assert_eq!((footer.file_metadata().num_rows(), footer.row_groups().len()), (0, 0));
        assert_eq!(ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().schema().fields().len(), 4);
    }
}
