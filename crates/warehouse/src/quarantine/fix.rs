//! Mends the text of rejected rows with one SQL statement over their fields.
//!
//! In: a `select` over the table `rejects`: one row per rejected row, its fields as text under the names of the file's header, and `_id`,
//! `_file`, `_line`, `_column`, `_code`, `_message`, `_original`.  Out: new text for the rows that it returns, which `replay` then reads.
//! The statement returns `_id` and the columns to change; or `_original`, the whole row anew. Nothing is loaded yet.
//! Never here: converting text to types (`copy`).
//! Start at [`Warehouse::fix`].

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::MemTable;
use domain::{FileFormat, TableName};
use serde_json::value::{RawValue, to_raw_value};

use super::changes::What;
use super::file::MAX_ORIGINAL_BYTES;
use super::{Quarantined, RejectFilter, RejectId, RejectKind, no_reject};
use crate::copy::record::Record;
use crate::copy::rows::RowReader;
use crate::copy::{AsciiChar, CopyOptions, CsvOptions};
use crate::engine::Scope;
use crate::error::{Result, WarehouseError};
use crate::sql_error::engine_error;
use crate::{RunContext, Warehouse};

/// Name of the table that the statement reads.
const REJECTS: &str = "rejects";
const ID: &str = "_id";
const ORIGINAL: &str = "_original";

/// What a fix did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct FixReport {
    /// Rows whose text is new; they wait for a replay.
    pub fixed: Vec<Fixed>,
    /// Rows that the statement returned as they were.
    pub unchanged: usize,
    /// Rows that cannot be cut into fields, so that only `_original` could mend them, and the statement returned none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_cut: Vec<RejectId>,
}

/// One mended row.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Fixed {
    pub id: RejectId,
    pub before: String,
    pub after: String,
}

/// A rejected row, cut into its fields.
struct Cut {
    found: Quarantined,
    /// By the columns of its file; a row of another shape has fewer, or more without a name.
    fields: Vec<Option<String>>,
    /// Fields that stood in quotes although they need none.
    quoted: Vec<bool>,
    header: Arc<Columns>,
}

/// How the rows of a file are cut.
struct Columns {
    format: FileFormat,
    delimiter: Option<AsciiChar>,
    names: Vec<String>,
}

impl Warehouse {
    /// Mends the open rejected rows that `filter` means, as `sql` says.
    ///
    /// Errors: none is meant; the statement is wrong, returns no `_id`, a column that no file has, or an id that was not asked for.
    pub async fn fix(
        &self,
        table: &TableName,
        filter: &RejectFilter,
        sql: &str,
        options: &CopyOptions,
        run: &RunContext,
    ) -> Result<FixReport> {
        let filter = RejectFilter { only_open: true, ..filter.clone() };
        let rows = self.cut_rejects(table, &filter, options).await?;
        if rows.is_empty() {
            return Err(no_reject(table));
        }
        let session = self.engine.session(&Scope::new())?;
        let fail = |error| engine_error(error, "--sql");
        let batch = table_of(&rows)?;
        let provider = MemTable::try_new(batch.schema(), vec![vec![batch]]).map_err(fail)?;
        session.register_table(REJECTS, Arc::new(provider)).map_err(fail)?;
        let plan = self.engine.plan(&session, sql, "--sql").await?;
        let batches = session.execute_logical_plan(plan).await.map_err(fail)?.collect().await.map_err(fail)?;
        let report = mended(&rows, &batches, &options.csv)?;
        if !report.fixed.is_empty() {
            let texts: BTreeMap<RejectId, String> =
                report.fixed.iter().map(|fixed| (fixed.id, fixed.after.clone())).collect();
            self.change(table, What::Fixed { sql: sql.to_owned(), rows: texts }, run).await?;
        }
        Ok(report)
    }

    /// The rejected rows of text files, cut into fields.
    async fn cut_rejects(&self, table: &TableName, filter: &RejectFilter, options: &CopyOptions) -> Result<Vec<Cut>> {
        let records = self.loads(table).await?;
        let mut headers: BTreeMap<(u64, &str), Arc<Columns>> = BTreeMap::new();
        for record in &records {
            for file in record.files.iter().filter(|file| !file.header.is_empty()) {
                headers.insert(
                    (record.load, &file.report.file),
                    Arc::new(Columns { format: file.format, delimiter: file.delimiter, names: file.header.clone() }),
                );
            }
        }
        let mut rows = Vec::new();
        for found in self.quarantine(table, filter, usize::MAX).await? {
            let header = headers.get(&(found.id.load, found.reject.file.as_str())).cloned();
            if let Some(header) = header.filter(|_| found.reject.kind == RejectKind::Row) {
                rows.push(Cut::new(found, header, options));
            }
        }
        Ok(rows)
    }
}

impl Columns {
    /// How the rows of this file are written.
    fn dialect(&self, csv: &CsvOptions) -> CsvOptions {
        CsvOptions { delimiter: self.delimiter.or(csv.delimiter), ..csv.clone() }
    }
}

impl Cut {
    fn new(found: Quarantined, header: Arc<Columns>, options: &CopyOptions) -> Self {
        let options = &CopyOptions { csv: header.dialect(&options.csv), ..options.clone() };
        let csv = &options.csv;
        let text = found.fixed.as_ref().map_or(found.bytes.as_slice(), |text| text.as_bytes());
        let mut record = Record::default();
        // A row that cannot be cut exactly has no fields, and `_original` all the same: written anew from fields it would be another row.
        let is_whole = found.fixed.is_some() || found.bytes.len() < MAX_ORIGINAL_BYTES;
        let is_cut = is_whole
            && std::str::from_utf8(text).is_ok()
            && RowReader::of(text, header.format, &header.names, options).next(&mut record).unwrap_or(false)
            && record.fault.is_none();
        let count = if is_cut { record.len() } else { 0 };
        let field = |number: usize| {
            let (bytes, quoted) = record.field(number);
            let text = String::from_utf8_lossy(bytes).into_owned();
            let is_null = !quoted && (text.is_empty() || csv.null_if.contains(&text));
            (!is_null).then_some(text)
        };
        Self {
            fields: (0..count).map(field).collect(),
            quoted: (0..count).map(|number| record.field(number).1).collect(),
            found,
            header,
        }
    }

    /// Where a column stands that the statement returned.
    fn place(&self, name: &str) -> Result<usize> {
        self.header.names.iter().position(|column| column == name).ok_or_else(|| {
            let next = format!("return some of: {}", self.header.names.join(", "));
            wrong(format!("`{}` has no column `{name}`", self.found.reject.file), &next)
        })
    }

    fn text(&self) -> String {
        self.found.fixed.clone().unwrap_or_else(|| String::from_utf8_lossy(&self.found.bytes).into_owned())
    }
}

/// The rows as the statement sees them.
fn table_of(rows: &[Cut]) -> Result<RecordBatch> {
    let mut names: Vec<&str> = Vec::new();
    for name in rows.iter().flat_map(|row| row.header.names.iter()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let about = |value: fn(&Quarantined) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(|row| value(&row.found)).collect::<StringArray>())
    };
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        (ID, about(|found| Some(found.id.to_string()))),
        ("_file", about(|found| Some(found.reject.file.clone()))),
        ("_line", about(|found| Some(found.reject.line.to_string()))),
        ("_column", about(|found| found.reject.column.clone())),
        ("_code", about(|found| Some(found.reject.code.clone()))),
        ("_message", about(|found| Some(found.reject.message.clone()))),
        (ORIGINAL, Arc::new(rows.iter().map(|row| Some(row.text())).collect::<StringArray>())),
    ];
    for name in names.into_iter().filter(|name| !columns.iter().any(|(taken, _)| taken == name)).collect::<Vec<_>>() {
        let value = |row: &Cut| {
            let place = row.header.names.iter().position(|column| column == name)?;
            row.fields.get(place).cloned().flatten()
        };
        columns.push((name, Arc::new(rows.iter().map(value).collect::<StringArray>())));
    }
    let fields: Vec<Field> = columns.iter().map(|(name, _)| Field::new(*name, DataType::Utf8, true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, column)| column).collect())
        .map_err(|error| WarehouseError::internal(error.to_string()))
}

/// What the statement returned, as new text of the rows.
fn mended(rows: &[Cut], batches: &[RecordBatch], csv: &CsvOptions) -> Result<FixReport> {
    let by_id: BTreeMap<String, &Cut> = rows.iter().map(|row| (row.found.id.to_string(), row)).collect();
    let mut report = FixReport::default();
    let mut seen = BTreeMap::new();
    for batch in batches {
        let schema = batch.schema();
        let texts = batch.columns().iter().map(|column| cast(column, &DataType::Utf8));
        let texts: Vec<ArrayRef> =
            texts.collect::<Result<_, _>>().map_err(|error| wrong(error.to_string(), "return text columns"))?;
        let ids = schema.index_of(ID).map_err(|_| {
            wrong(format!("the statement returns no `{ID}`"), "begin with `select _id, …`: it says which row is meant")
        })?;
        for at in 0..batch.num_rows() {
            let id = texts[ids].as_string::<i32>().value(at);
            let row = by_id.get(id).ok_or_else(|| {
                wrong(
                    format!("the statement returns `{id}`, which is no open reject that was asked for"),
                    "return `_id` as it is",
                )
            })?;
            if seen.insert(id.to_owned(), ()).is_some() {
                return Err(wrong(format!("the statement returns `{id}` twice"), "return each reject once"));
            }
            let changes: Vec<(&str, Option<&str>)> = schema
                .fields()
                .iter()
                .zip(&texts)
                .filter(|(field, _)| field.name() != ID)
                .map(|(field, text)| {
                    let text = text.as_string::<i32>();
                    (field.name().as_str(), text.is_valid(at).then(|| text.value(at)))
                })
                .collect();
            if row.fields.is_empty() && !changes.iter().any(|(name, _)| *name == ORIGINAL) {
                report.not_cut.push(row.found.id);
                continue;
            }
            let (before, after) = (row.text(), rewritten(row, &changes, csv)?);
            if before == after {
                report.unchanged += 1;
            } else {
                report.fixed.push(Fixed { id: row.found.id, before, after });
            }
        }
    }
    Ok(report)
}

/// The row with `changes`, written as the file's dialect has it.
fn rewritten(row: &Cut, changes: &[(&str, Option<&str>)], csv: &CsvOptions) -> Result<String> {
    if let Some((_, whole)) = changes.iter().find(|(name, _)| *name == ORIGINAL) {
        return Ok(whole.unwrap_or_default().to_owned());
    }
    if row.header.format == FileFormat::JsonLines {
        return rewritten_object(row, changes);
    }
    let csv = &row.header.dialect(csv);
    let (mut fields, mut quoted) = (row.fields.clone(), row.quoted.clone());
    fields.resize(row.header.names.len().max(fields.len()), None);
    quoted.resize(fields.len(), false);
    for (name, value) in changes {
        let place = row.place(name)?;
        if fields[place].as_deref() != *value {
            fields[place] = value.map(str::to_owned);
            quoted[place] = false;
        }
    }
    let written: Vec<String> =
        fields.iter().zip(&quoted).map(|(field, quoted)| encoded(field.as_deref(), *quoted, csv)).collect();
    Ok(written.join(&delimiter(csv).to_string()))
}

/// The JSON object with `changes`; the values of its other keys stay to the last digit. A new value is a text where the old one was, or
/// where it is no number, boolean, object or array.
fn rewritten_object(row: &Cut, changes: &[(&str, Option<&str>)]) -> Result<String> {
    let not_json = |error: serde_json::Error| WarehouseError::internal(error.to_string());
    let mut object: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&row.text()).map_err(not_json)?;
    for (name, value) in changes {
        let place = row.place(name)?;
        if row.fields.get(place).cloned().flatten().as_deref() == *value {
            continue;
        }
        let was_text = object.get(*name).is_some_and(|old| old.get().starts_with('"'));
        let is_typed = |value: &str| !was_text && !value.starts_with(['"', 'n']);
        let parsed =
            value.filter(|value| is_typed(value)).and_then(|value| RawValue::from_string(value.to_owned()).ok());
        let raw = match parsed {
            Some(parsed) => parsed,
            None => to_raw_value(value).map_err(not_json)?,
        };
        object.insert((*name).to_owned(), raw);
    }
    serde_json::to_string(&object).map_err(not_json)
}

fn delimiter(csv: &CsvOptions) -> char {
    csv.delimiter.map_or(',', |delimiter| char::from(delimiter.0))
}

/// A field as it stands in a file: null is empty without quotes, an empty text stands in quotes.
fn encoded(field: Option<&str>, quoted: bool, csv: &CsvOptions) -> String {
    let Some(text) = field else { return String::new() };
    let (delimiter, quote) = (delimiter(csv), char::from(csv.quote.0));
    let needs_quotes = quoted
        || text.is_empty()
        || text.contains([delimiter, quote, '\r', '\n'])
        || csv.null_if.iter().any(|null| null == text);
    if !needs_quotes {
        return text.to_owned();
    }
    let escape = csv.escape.map(|escape| char::from(escape.0));
    let mut written = String::with_capacity(text.len() + 2);
    written.push(quote);
    for character in text.chars() {
        if character == quote {
            written.push(escape.unwrap_or(quote));
        } else if Some(character) == escape {
            written.push(character);
        }
        written.push(character);
    }
    written.push(quote);
    written
}

fn wrong(message: String, next: &str) -> WarehouseError {
    WarehouseError::Sql { message, at: "--sql".to_owned(), help: Some(next.to_owned()) }
}
