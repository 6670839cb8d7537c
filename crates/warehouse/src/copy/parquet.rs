//! Reads staged Parquet files, as extraction from a database leaves them.
//!
//! In: a staged file.  Out: batches in the table's schema; or a [`CopyError`] for the file as a whole.
//! Columns go by name; a type that differs from the table's is an error, never a silent conversion.
//! Never here: writing anything.
//! Start at [`open`].

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch, new_null_array};
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
use super::options::{CopyOptions, MissingColumns, NewColumns};
use crate::error::{Result, innermost};
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
    let reader = StagedObject { store: store.clone(), path: Path::from(file.path.as_str()), bytes: file.bytes };
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
        options: &CopyOptions,
    ) -> Result<impl Stream<Item = Result<RecordBatch>> + Send + use<>, CopyError> {
        let places = places(&self.file, table, &self.widened, schema, options)?;
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
            let columns = places.iter().zip(schema.fields()).map(|(place, field)| match place {
                Some(place) => batch.column(*place).clone(),
                None => new_null_array(field.data_type(), batch.num_rows()),
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

/// For each column of the table, its place in the file.
fn places(
    file: &str,
    table: &str,
    found: &SchemaRef,
    wanted: &SchemaRef,
    options: &CopyOptions,
) -> Result<Vec<Option<usize>>, CopyError> {
    let position = |schema: &SchemaRef, name: &str| schema.fields().iter().position(|field| source_name(field) == name);
    let added: Vec<&str> =
        found.fields().iter().map(|field| source_name(field)).filter(|name| position(wanted, name).is_none()).collect();
    let mut places = Vec::with_capacity(wanted.fields().len());
    for field in wanted.fields() {
        let name = source_name(field);
        let Some(place) = position(found, name) else {
            if options.missing_columns == MissingColumns::Null {
                places.push(None);
                continue;
            }
            return Err(CopyError::ColumnDisappeared {
                table: table.to_owned(),
                file: file.to_owned(),
                column: name.to_owned(),
                renamed_to: if let [only] = added.as_slice() { Some((*only).to_owned()) } else { None },
            });
        };
        let data_type = found.field(place).data_type();
        if data_type != field.data_type() {
            return Err(CopyError::TypeChanged {
                table: table.to_owned(),
                file: file.to_owned(),
                column: name.to_owned(),
                found: data_type.to_string(),
                expected: field.data_type().to_string(),
            });
        }
        places.push(Some(place));
    }
    match added.first() {
        _ if places.iter().all(Option::is_none) => {
            Err(CopyError::NoCommonColumn { table: table.to_owned(), file: file.to_owned() })
        }
        Some(column) if options.new_columns == NewColumns::Error => {
            Err(CopyError::NewColumn { table: table.to_owned(), file: file.to_owned(), column: (*column).to_owned() })
        }
        _ => Ok(places),
    }
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
