//! Arrow batches of a mart → plain columns for rooms that know no Arrow.
//!
//! In: batches and a column's name.  Out: values in row order; a column that is missing or has the wrong type is an error naming it.
//! Never here: SQL, files.
//! Start at [`Columns`].

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, SchemaRef, TimeUnit, TimestampSecondType};
use warehouse::QueryResult;

use crate::PipelineError;

/// The columns of one query, read by name.
#[derive(Debug)]
pub(crate) struct Columns<'a> {
    /// What is read, for errors: `marts.interactions`.
    table: &'a str,
    schema: SchemaRef,
    batches: &'a [RecordBatch],
}

impl<'a> Columns<'a> {
    pub(crate) fn new(table: &'a str, result: &'a QueryResult) -> Self {
        Self { table, schema: result.schema.clone(), batches: &result.batches }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.schema.field_with_name(name).is_ok()
    }

    /// Names in schema order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    /// Values as text, null as `None`.
    pub(crate) fn text(&self, name: &str) -> Result<Vec<Option<String>>, PipelineError> {
        self.collect(name, &DataType::Utf8, |array| {
            let values = array.as_string::<i32>();
            values.iter().map(|value| value.map(str::to_owned)).collect()
        })
    }

    /// Values as 64-bit floats, null as `None`.
    pub(crate) fn number(&self, name: &str) -> Result<Vec<Option<f64>>, PipelineError> {
        self.collect(name, &DataType::Float64, |array| array.as_primitive::<Float64Type>().iter().collect())
    }

    /// Lists of 64-bit floats, null as an empty one.
    pub(crate) fn numbers(&self, name: &str) -> Result<Vec<Vec<f64>>, PipelineError> {
        let element = Field::new_list_field(DataType::Float64, true);
        self.collect(name, &DataType::List(Arc::new(element)), |array| {
            let lists = array.as_list::<i32>();
            let of_row = |list: ArrayRef| list.as_primitive::<Float64Type>().values().to_vec();
            lists.iter().map(|list| list.map(of_row).unwrap_or_default()).collect()
        })
    }

    /// Values as booleans, null as `None`.
    pub(crate) fn truth(&self, name: &str) -> Result<Vec<Option<bool>>, PipelineError> {
        self.collect(name, &DataType::Boolean, |array| array.as_boolean().iter().collect())
    }

    /// Timestamps as seconds since 1970 UTC, null as `None`. A timestamp without zone is read as UTC.
    pub(crate) fn seconds(&self, name: &str) -> Result<Vec<Option<i64>>, PipelineError> {
        let found = self.field_type(name)?;
        if matches!(found, DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64) {
            return self.collect(name, &DataType::Timestamp(TimeUnit::Second, None), |array| {
                array.as_primitive::<TimestampSecondType>().iter().collect()
            });
        }
        if found.is_integer() {
            return self.collect(name, &DataType::Int64, |array| array.as_primitive::<Int64Type>().iter().collect());
        }
        Err(self.wrong_type(name, &found, "a timestamp"))
    }

    /// Values as JSON: numbers and booleans as such, everything else as text.
    pub(crate) fn json(&self, name: &str) -> Result<Vec<serde_json::Value>, PipelineError> {
        let kind = self.field_type(name)?;
        if kind == DataType::Boolean {
            return Ok(self.truth(name)?.into_iter().map(serde_json::Value::from).collect());
        }
        if kind.is_integer() {
            let values = self.collect(name, &DataType::Int64, |array| {
                array.as_primitive::<Int64Type>().iter().collect::<Vec<Option<i64>>>()
            })?;
            return Ok(values.into_iter().map(serde_json::Value::from).collect());
        }
        if kind.is_numeric() {
            return Ok(self.number(name)?.into_iter().map(serde_json::Value::from).collect());
        }
        Ok(self.text(name)?.into_iter().map(serde_json::Value::from).collect())
    }

    fn field_type(&self, name: &str) -> Result<DataType, PipelineError> {
        match self.schema.field_with_name(name) {
            Ok(field) => Ok(field.data_type().clone()),
            Err(_) => Err(PipelineError::MissingColumn {
                table: self.table.to_owned(),
                column: name.to_owned(),
                available: self.names(),
            }),
        }
    }

    fn wrong_type(&self, name: &str, found: &DataType, expected: &str) -> PipelineError {
        PipelineError::WrongColumnType {
            table: self.table.to_owned(),
            column: name.to_owned(),
            found: found.to_string(),
            expected: expected.to_owned(),
        }
    }

    fn collect<T>(
        &self,
        name: &str,
        target: &DataType,
        read: impl Fn(&dyn Array) -> Vec<T>,
    ) -> Result<Vec<T>, PipelineError> {
        let found = self.field_type(name)?;
        let mut values = Vec::with_capacity(self.batches.iter().map(RecordBatch::num_rows).sum());
        for batch in self.batches {
            let column = batch.column_by_name(name).ok_or_else(|| PipelineError::MissingColumn {
                table: self.table.to_owned(),
                column: name.to_owned(),
                available: self.names(),
            })?;
            let column = cast(column, target).map_err(|_| self.wrong_type(name, &found, &target.to_string()))?;
            values.extend(read(&column));
        }
        Ok(values)
    }
}
