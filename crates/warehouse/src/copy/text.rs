//! Reads text files, CSV and JSON lines: their columns against the table, their rows into batches and rejects.
//!
//! In: a staged file, the table's columns.  Out: [`Piece`]s through a callback; or a [`CopyError`] for the file as a whole.
//! Columns go by name, in any order.
//! Never here: writing anything.  Runs on a thread that may block.
//! Start at [`read`].

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use domain::{FileFormat, StagedFile, TableName};
use object_store::ObjectStore;

use super::convert::{Cell, ColumnBuilder, Converter, Misfit, Wanted};
use super::error::CopyError;
use super::options::{BadCells, CopyOptions, MissingColumns, NewColumns};
use super::record::Record;
use super::rows::{Header, RowReader, Rows, fault_of, unreadable};
use crate::infer::ColumnInference;
use crate::quarantine::{Reject, RejectKind};

/// Rows of a batch: a few megabytes, whatever the columns.
const BATCH_ROWS: usize = 16_384;
/// A column of the table that rows are loaded into.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TargetColumn {
    /// The name in the files.
    pub(crate) source_name: String,
    pub(crate) wanted: Wanted,
}

/// What rows are loaded into.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) table: TableName,
    pub(crate) schema: SchemaRef,
    pub(crate) columns: Vec<TargetColumn>,
}

impl Target {
    /// The names of its columns in files, in its order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.source_name.clone()).collect()
    }
}

/// Part of a file: rows that can be loaded, and those that cannot.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    pub(crate) batch: Option<RecordBatch>,
    pub(crate) rejects: Vec<(Reject, Vec<u8>)>,
    pub(crate) rows_parsed: u64,
}

/// Reads one file; `take` gets the pieces in order and returns false to stop.
pub(crate) fn read(
    store: &Arc<dyn ObjectStore>,
    file: &StagedFile,
    target: &Target,
    options: &CopyOptions,
    mut take: impl FnMut(Piece) -> bool,
) -> Result<(), CopyError> {
    let mut rows = Rows::open(store, file, &target.names(), options)?;
    let places = places(&file.name, &rows.header, target, options)?;
    let converter = Converter::new(&options.csv);
    let mut batch = BatchBuilder::new(target, &places, (&file.name, &file.sha256), options);
    let mut record = Record::default();
    while rows.next(&mut record)? {
        let row = Row { record: &record, number: rows.row, width: rows.header.0.len(), raw: rows.raw() };
        batch.add(&row, &converter);
        if batch.rows_parsed as usize >= BATCH_ROWS && !take(batch.finish()?) {
            return Ok(());
        }
    }
    take(batch.finish()?);
    Ok(())
}

/// Rows of one file that are read again, each by itself; `bytes` as they stood in the file or as somebody mended them.
pub(crate) struct Again {
    pub(crate) number: u64,
    pub(crate) line: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Reads rows of a file again against its header. The pieces hold the rows that fit now; a reject stands for one that still does not.
pub(crate) fn read_again(
    (file, sha256): (&str, &str),
    (format, header): (FileFormat, &[String]),
    rows: &[Again],
    target: &Target,
    options: &CopyOptions,
) -> Result<Vec<Piece>, CopyError> {
    let header = Header(header.to_vec());
    let unreadable = |error: std::io::Error| unreadable(file, &error);
    let places = places(file, &header, target, options)?;
    let converter = Converter::new(&options.csv);
    let mut batch = BatchBuilder::new(target, &places, (file, sha256), options);
    let mut pieces = Vec::new();
    let mut record = Record::default();
    for again in rows {
        let mut reader = RowReader::of(again.bytes.as_slice(), format, &header.0, options);
        let has_one = reader.next(&mut record).map_err(unreadable)?;
        record.line = again.line;
        let row = Row { record: &record, number: again.number, width: header.0.len(), raw: &again.bytes };
        let mut second = Record::default();
        if !has_one || reader.next(&mut second).map_err(unreadable)? {
            let what = if has_one { "more than one row" } else { "no row" };
            let misfit = Misfit { code: "not_one_row", message: format!("the mended text is {what}") };
            batch.rows_parsed += 1;
            batch.reject(&row, None, misfit);
        } else {
            batch.add(&row, &converter);
        }
        if batch.rows_parsed as usize >= BATCH_ROWS {
            pieces.push(batch.finish()?);
        }
    }
    pieces.push(batch.finish()?);
    Ok(pieces)
}

/// What the rows of one file say about its columns.
pub(crate) struct Look {
    pub(crate) rows: u64,
    /// `None` where the type is declared.
    pub(crate) columns: Vec<Option<ColumnInference>>,
}

/// Looks at every row of a file. Columns come in the order of `header`.
pub(crate) fn infer(
    store: &Arc<dyn ObjectStore>,
    file: &StagedFile,
    options: &CopyOptions,
    header: &Header,
) -> Result<Look, CopyError> {
    let undeclared = |name: &String| (!options.columns.contains_key(name)).then(ColumnInference::default);
    let mut columns: Vec<_> = header.0.iter().map(undeclared).collect();
    let mut rows = Rows::open(store, file, &header.0, options)?;
    let is_json = file.format == FileFormat::JsonLines;
    let places: Vec<Option<usize>> =
        rows.header.0.iter().map(|name| header.0.iter().position(|wanted| wanted == name)).collect();
    let mut record = Record::default();
    while rows.next(&mut record)? {
        if record.fault.is_some() || record.len() != places.len() {
            continue;
        }
        for (number, place) in places.iter().enumerate() {
            if let Some(Some(column)) = place.map(|place| &mut columns[place]) {
                let (bytes, quoted) = record.field(number);
                column.see(bytes, quoted, (is_json && quoted, &options.csv), || (file.name.clone(), record.line));
            }
        }
    }
    Ok(Look { rows: rows.row, columns })
}

/// For each column of the table, its place in the file; none for a column that the options let be missing.
fn places(
    file: &str,
    header: &Header,
    target: &Target,
    options: &CopyOptions,
) -> Result<Vec<Option<usize>>, CopyError> {
    let table = target.table.to_string();
    let is_known = |name: &String| target.columns.iter().any(|column| column.source_name == *name);
    let added: Vec<&String> = header.0.iter().filter(|name| !is_known(name)).collect();
    let mut places = Vec::with_capacity(target.columns.len());
    for column in &target.columns {
        let place = header.0.iter().position(|name| *name == column.source_name);
        if place.is_none() && options.missing_columns == MissingColumns::Error {
            return Err(CopyError::ColumnDisappeared {
                table,
                file: file.to_owned(),
                column: column.source_name.clone(),
                renamed_to: if let [only] = added.as_slice() { Some((*only).clone()) } else { None },
            });
        }
        places.push(place);
    }
    match added.first() {
        Some(column) if options.new_columns == NewColumns::Error => {
            Err(CopyError::NewColumn { table, file: file.to_owned(), column: (*column).clone() })
        }
        _ if places.iter().all(Option::is_none) => Err(CopyError::NoCommonColumn { table, file: file.to_owned() }),
        _ => Ok(places),
    }
}

/// A record at its place in the file.
struct Row<'a> {
    record: &'a Record,
    number: u64,
    /// Columns of the header.
    width: usize,
    raw: &'a [u8],
}

/// Collects rows until there are enough for a batch.
struct BatchBuilder<'a> {
    target: &'a Target,
    places: &'a [Option<usize>],
    /// Name and SHA-256 of the file.
    file: (&'a str, &'a str),
    bad_cells: BadCells,
    builders: Vec<ColumnBuilder>,
    rows: usize,
    rows_parsed: u64,
    rejects: Vec<(Reject, Vec<u8>)>,
}

impl<'a> BatchBuilder<'a> {
    fn new(target: &'a Target, places: &'a [Option<usize>], file: (&'a str, &'a str), options: &CopyOptions) -> Self {
        let builders = target.columns.iter().map(|column| ColumnBuilder::new(column.wanted.column_type)).collect();
        Self {
            target,
            places,
            file,
            bad_cells: options.bad_cells,
            builders,
            rows: 0,
            rows_parsed: 0,
            rejects: Vec::new(),
        }
    }

    fn add(&mut self, row: &Row<'_>, converter: &Converter<'_>) {
        self.rows_parsed += 1;
        let record = row.record;
        if let Some(misfit) = shape_fault(record, row.width) {
            self.reject(row, None, misfit);
            return;
        }
        let mut cells = Vec::with_capacity(self.builders.len());
        let mut misfits = Vec::new();
        for (column, place) in self.target.columns.iter().zip(self.places) {
            let Some(place) = *place else {
                cells.push(Cell::Null);
                continue;
            };
            let (bytes, quoted) = record.field(place);
            match converter.convert(bytes, quoted, &column.wanted) {
                Ok(cell) => cells.push(cell),
                Err(misfit) => {
                    misfits.push((column.source_name.clone(), bytes.to_vec(), misfit));
                    cells.push(Cell::Null);
                }
            }
        }
        if self.bad_cells == BadCells::Null {
            for (column, value, misfit) in misfits.drain(..) {
                self.reject_cell(row, column, (&value, misfit));
            }
        }
        match misfits.first() {
            None => {
                self.builders.iter_mut().zip(cells).for_each(|(builder, cell)| builder.append(cell));
                self.rows += 1;
            }
            Some((column, value, first)) => {
                let others = misfits.iter().skip(1);
                let others = others
                    .map(|(column, value, misfit)| format!("; column `{column}`: {}: {}", show(value), misfit.message));
                let message = format!("{}: {}{}", show(value), first.message, others.collect::<String>());
                let misfit = Misfit { code: first.code, message };
                self.reject(row, Some(column.clone()), misfit);
            }
        }
    }

    /// The cell alone: its row is loaded with null there.
    fn reject_cell(&mut self, row: &Row<'_>, column: String, (value, misfit): (&[u8], Misfit)) {
        let reject = Reject { kind: RejectKind::Cell, ..self.reject_of(row, Some(column), misfit) };
        self.rejects.push((reject, value.to_vec()));
    }

    fn reject(&mut self, row: &Row<'_>, column: Option<String>, misfit: Misfit) {
        let reject = self.reject_of(row, column, misfit);
        self.rejects.push((reject, row.raw.to_vec()));
    }

    fn reject_of(&self, row: &Row<'_>, column: Option<String>, misfit: Misfit) -> Reject {
        Reject {
            file: self.file.0.to_owned(),
            sha256: self.file.1.to_owned(),
            row: row.number,
            line: row.record.line,
            byte_offset: row.record.offset,
            kind: RejectKind::Row,
            column,
            code: misfit.code.to_owned(),
            message: misfit.message,
            original: String::new(),
        }
    }

    fn finish(&mut self) -> Result<Piece, CopyError> {
        let columns = self.builders.iter_mut().map(ColumnBuilder::finish).collect();
        let batch =
            if self.rows == 0 {
                None
            } else {
                let batch = RecordBatch::try_new(self.target.schema.clone(), columns);
                Some(batch.map_err(|error| CopyError::Unreadable {
                    file: self.file.0.to_owned(),
                    message: error.to_string(),
                })?)
            };
        self.rows = 0;
        let rejects = std::mem::take(&mut self.rejects);
        Ok(Piece { batch, rejects, rows_parsed: std::mem::take(&mut self.rows_parsed) })
    }
}

/// Most characters of a value that a message shows; the whole row is kept beside it.
const SHOWN_CHARACTERS: usize = 60;

/// A value as messages show it.
fn show(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().take(SHOWN_CHARACTERS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("`{}`", shown.escape_debug())
}

fn shape_fault(record: &Record, width: usize) -> Option<Misfit> {
    let count =
        |code| Some(Misfit { code, message: format!("the row has {} columns, the header {width}", record.len()) });
    match fault_of(record) {
        Some(fault) => Some(fault),
        None if record.len() < width => count("too_few_columns"),
        None if record.len() > width => count("too_many_columns"),
        None => None,
    }
}
