//! Reads staged Parquet files, as extraction from a database leaves them.
//!
//! In: a staged file.  Out: batches in the table's schema; or a [`CopyError`] for the file as a whole.
//! Columns go by name; a type that differs from the table's is an error, never a silent conversion.
//! Never here: writing anything.
//! Start at [`open`].

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, AsArray, Int64Array, PrimitiveArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DurationNanosecondType, SchemaRef, Time64NanosecondType, TimestampNanosecondType};
use bytes::Bytes;
use domain::StagedFile;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::error::CopyError;
use super::options::{CopyOptions, Metadata};
use super::rows::Header;
use super::text::{self, Origin, Place};
use crate::error::{Result, innermost};
use crate::table::plain_path;
use crate::widen::{SOURCE_NAME, table_schema, widen_batch};

/// Rows of a batch: a few megabytes for most tables.
const BATCH_ROWS: usize = 8_192;

/// One staged Parquet file.
pub(crate) struct ParquetFile {
    file: String,
    builder: ParquetRecordBatchStreamBuilder<StagedObject>,
    /// The file's columns as a table holds them.
    widened: SchemaRef,
}

/// Opens the file and reads its footer.
pub(crate) async fn open(store: &Arc<dyn ObjectStore>, file: &StagedFile) -> Result<ParquetFile> {
    let reader = StagedObject { store: store.clone(), path: plain_path(&file.path), bytes: file.bytes };
    let builder = ParquetRecordBatchStreamBuilder::new(reader)
        .await
        .map_err(|error| CopyError::Unreadable { file: file.name.clone(), message: innermost(&error) })?;
    let widened = table_schema(builder.schema())?;
    Ok(ParquetFile { file: file.name.clone(), builder, widened })
}

/// A staged file as the Parquet reader asks for it, in ranges. (The reader that `parquet` had for object stores is on its way out.)
struct StagedObject {
    store: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
}

impl AsyncFileReader for StagedObject {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        Box::pin(async move { Ok(self.store.get_range(&self.path, range).await?) })
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        Box::pin(async move { Ok(self.store.get_ranges(&self.path, &ranges).await?) })
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        Box::pin(async move {
            let bytes = self.bytes;
            Ok(Arc::new(ParquetMetaDataReader::new().load_and_finish(self, bytes).await?))
        })
    }
}

impl ParquetFile {
    /// The schema that a table made from this file has.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.widened
    }

    /// The rows, column by column as the table has them.
    pub(crate) fn rows(
        self,
        table: &str,
        schema: &SchemaRef,
        (options, origin): (&CopyOptions, Origin<'_>),
    ) -> Result<impl Stream<Item = Result<RecordBatch>> + Send + use<>, CopyError> {
        let places = places(&self.file, table, &self.widened, schema, options)?;
        let (name, sha256, at) = (origin.name.to_owned(), origin.sha256.to_owned(), origin.at);
        let mut rows_before = 0;
        let (file, widened, schema) = (self.file, self.widened, schema.clone());
        let failed = move |message: String| CopyError::Unreadable { file: file.clone(), message };
        let stream = self.builder.with_batch_size(BATCH_ROWS).build().map_err(|error| failed(innermost(&error)))?;
        Ok(stream.map(move |batch| {
            let batch = batch.map_err(|error| failed(innermost(&error)))?;
            if let Some(column) = finer_than_microseconds(&batch) {
                return Err(failed(format!(
                    "column `{column}` holds times finer than microseconds, which a table cannot hold"
                ))
                .into());
            }
            let batch = widen_batch(&batch, &widened)?;
            let rows = rows_before..rows_before + batch.num_rows() as i64;
            rows_before = rows.end;
            let columns = places.iter().zip(schema.fields()).map(|(place, field)| match place {
                Place::Field(place) => batch.column(*place).clone(),
                Place::Null => new_null_array(field.data_type(), batch.num_rows()),
                Place::Metadata(metadata) => {
                    metadata_column(*metadata, Origin { name: &name, sha256: &sha256, at }, rows.clone())
                }
            });
            let columns = columns.collect();
            Ok(RecordBatch::try_new(schema.clone(), columns).map_err(|error| failed(error.to_string()))?)
        }))
    }
}

/// The name that the source knows a column by.
pub(crate) fn source_name(field: &arrow::datatypes::Field) -> &str {
    field.metadata().get(SOURCE_NAME).map_or(field.name(), String::as_str)
}

/// A column of metadata for rows of these numbers, counted from 0.
fn metadata_column(metadata: Metadata, origin: Origin<'_>, rows: Range<i64>) -> ArrayRef {
    let count = rows.clone().count();
    match metadata {
        Metadata::Filename => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(origin.name, count))),
        Metadata::FileContentKey => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(origin.sha256, count))),
        Metadata::FileRowNumber => Arc::new(Int64Array::from_iter_values(rows.map(|row| row + 1))),
        Metadata::StartScanTime => {
            Arc::new(TimestampMicrosecondArray::from_value(origin.at, count).with_timezone("UTC"))
        }
    }
}

/// For each column of the table, where its values come from.
fn places(
    file: &str,
    table: &str,
    found: &SchemaRef,
    wanted: &SchemaRef,
    options: &CopyOptions,
) -> Result<Vec<Place>, CopyError> {
    let names: Vec<String> = wanted.fields().iter().map(|field| source_name(field).to_owned()).collect();
    let header = Header(found.fields().iter().map(|field| source_name(field).to_owned()).collect());
    let places = text::places((file, table), &header, &names, options)?;
    for (place, field) in places.iter().zip(wanted.fields()) {
        let Place::Field(place) = place else { continue };
        let data_type = found.field(*place).data_type();
        if data_type != field.data_type() {
            return Err(CopyError::TypeChanged {
                table: table.to_owned(),
                file: file.to_owned(),
                column: source_name(field).to_owned(),
                found: data_type.to_string(),
                expected: field.data_type().to_string(),
            });
        }
    }
    Ok(places)
}

/// A column whose nanoseconds are no whole microseconds: widening would cut them.
fn finer_than_microseconds(batch: &RecordBatch) -> Option<String> {
    let is_cut = |column: &ArrayRef| {
        if let Some(times) = column.as_primitive_opt::<TimestampNanosecondType>() {
            has_a_part(times)
        } else if let Some(times) = column.as_primitive_opt::<Time64NanosecondType>() {
            has_a_part(times)
        } else if let Some(times) = column.as_primitive_opt::<DurationNanosecondType>() {
            has_a_part(times)
        } else {
            false
        }
    };
    let place = batch.columns().iter().position(is_cut)?;
    Some(batch.schema().field(place).name().clone())
}

/// Whether one of the nanoseconds is no whole microsecond.
fn has_a_part<T: ArrowPrimitiveType<Native = i64>>(times: &PrimitiveArray<T>) -> bool {
    times.iter().flatten().any(|nanoseconds| nanoseconds % 1_000 != 0)
}
