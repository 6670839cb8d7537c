//! Query results as text: cells for a table on the screen, CSV, JSON. No other room has to know Arrow for that.
//!
//! In: a [`Report`] of `query`.  Out: text.
//! Never here: running the query, terminals.
//! Start at [`Report::cells`].

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::query::Report;
use crate::PipelineError;

/// What a null looks like in a table; CSV leaves it empty, JSON writes `null`.
const NULL: &str = "·";

/// A result as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cells {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<String>>,
}

/// One column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub is_number: bool,
}

impl Report {
    /// Rows of the result.
    pub fn row_count(&self) -> usize {
        self.result.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The result as cells for a table.
    pub fn cells(&self) -> Result<Cells, PipelineError> {
        cells(&self.result.schema, &self.result.batches).map_err(|error| PipelineError::internal("query result", error))
    }

    /// The result as CSV with a header (RFC 4180); times in ISO 8601.
    pub fn csv(&self) -> Result<String, PipelineError> {
        csv(&self.result.schema, &self.result.batches).map_err(|error| PipelineError::internal("query result", error))
    }

    /// The result as a list of objects, one per row, every column present.
    pub fn json(&self) -> Result<Vec<serde_json::Value>, PipelineError> {
        json(&self.result.batches)
    }
}

fn cells(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Cells, ArrowError> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| Column { name: field.name().clone(), is_number: field.data_type().is_numeric() })
        .collect();
    let options = FormatOptions::new().with_null(NULL);
    let mut rows = Vec::new();
    for batch in batches {
        let formatters = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells =
                formatters.iter().map(|formatter| formatter.value(row).try_to_string()).collect::<Result<Vec<_>, _>>();
            rows.push(cells?);
        }
    }
    Ok(Cells { columns, rows })
}

fn csv(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<String, ArrowError> {
    let mut bytes = Vec::new();
    let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(&mut bytes);
    if batches.iter().all(|batch| batch.num_rows() == 0) {
        // The header comes with the first batch, so an empty result needs an empty one.
        writer.write(&flat(&RecordBatch::new_empty(schema.clone()))?)?;
    }
    for batch in batches {
        writer.write(&flat(batch)?)?;
    }
    drop(writer);
    String::from_utf8(bytes).map_err(|error| ArrowError::ExternalError(Box::new(error)))
}

/// Lists and structs as the text that a table shows of them: CSV has no word for them.
fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let text = |column: &ArrayRef| -> Result<ArrayRef, ArrowError> {
        if !column.data_type().is_nested() {
            return Ok(Arc::clone(column));
        }
        let options = FormatOptions::new();
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
        let cell = |row| column.is_valid(row).then(|| formatter.value(row).try_to_string()).transpose();
        Ok(Arc::new((0..column.len()).map(cell).collect::<Result<StringArray, ArrowError>>()?))
    };
    let names = batch.schema();
    let columns = batch.columns().iter().map(text).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_from_iter_with_nullable(
        names.fields().iter().zip(columns).map(|(field, column)| (field.name(), column, true)),
    )
}

fn json(batches: &[RecordBatch]) -> Result<Vec<serde_json::Value>, PipelineError> {
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::JsonArray>(Vec::new());
    for batch in batches {
        writer.write(batch).map_err(|error| PipelineError::internal("query result", error))?;
    }
    writer.finish().map_err(|error| PipelineError::internal("query result", error))?;
    let bytes = writer.into_inner();
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&bytes).map_err(|error| PipelineError::json("query result", &error))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Int64Array, ListArray};
    use arrow::datatypes::Float32Type;

    use super::*;

    fn batch() -> RecordBatch {
        let price = Decimal128Array::from(vec![Some(2_550), None]).with_precision_and_scale(12, 3).unwrap();
        RecordBatch::try_from_iter_with_nullable([
            ("id", Arc::new(Int64Array::from(vec![1, 2])) as _, true),
            ("name", Arc::new(StringArray::from(vec!["a, \"b\"", "찻잔"])) as _, true),
            ("price", Arc::new(price) as _, true),
        ])
        .unwrap()
    }

    #[test]
    fn a_result_reads_the_same_in_every_form() {
        let batches = [batch()];
        let cells = cells(&batches[0].schema(), &batches).unwrap();
        assert_eq!(cells.rows, [["1", "a, \"b\"", "2.550"], ["2", "찻잔", NULL]]);
        assert_eq!(cells.columns.iter().map(|column| column.is_number).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(csv(&batches[0].schema(), &batches).unwrap(), "id,name,price\n1,\"a, \"\"b\"\"\",2.550\n2,찻잔,\n");
        let rows = json(&batches).unwrap();
        assert_eq!(rows[0]["id"], 1);
        assert_eq!(rows[1]["price"], serde_json::Value::Null);
    }

    #[test]
    fn lists_are_text_in_csv_and_lists_in_json() {
        let vectors = vec![Some(vec![Some(0.5), None]), None];
        let vectors = ListArray::from_iter_primitive::<Float32Type, _, _>(vectors);
        let batches = [RecordBatch::try_from_iter([("f", Arc::new(vectors) as ArrayRef)]).unwrap()];
        assert_eq!(csv(&batches[0].schema(), &batches).unwrap(), "f\n\"[0.5, ]\"\n\"\"\n");
        assert_eq!(csv(&batches[0].schema(), &[]).unwrap(), "f\n");
        assert_eq!(json(&batches).unwrap()[0]["f"], serde_json::json!([0.5, null]));
    }

    #[test]
    fn an_empty_result_keeps_its_header() {
        let schema = batch().schema();
        assert_eq!(csv(&schema, &[]).unwrap(), "id,name,price\n");
        assert_eq!(json(&[]).unwrap(), Vec::<serde_json::Value>::new());
    }
}
