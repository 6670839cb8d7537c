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
use super::options::{BadCells, CopyOptions, Metadata, MissingColumns, NewColumns};
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
    (options, at): (&CopyOptions, i64),
    mut take: impl FnMut(Piece) -> bool,
) -> Result<(), CopyError> {
    let mut rows = Rows::open(store, file, &target.names(), options)?;
    let places = places((&file.name, &target.table.to_string()), &rows.header, &target.names(), options)?;
    let converter = Converter::new(&options.csv);
    let mut batch = BatchBuilder::new(target, &places, Origin { name: &file.name, sha256: &file.sha256, at }, options);
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

/// Where rows come from: what `include_metadata` can say of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) name: &'a str,
    pub(crate) sha256: &'a str,
    /// When the load began, in microseconds since 1970-01-01 UTC.
    pub(crate) at: i64,
}

impl<'a> Origin<'a> {
    fn cell(&self, metadata: Metadata, row: u64) -> Cell<'a> {
        match metadata {
            Metadata::Filename => Cell::Text(self.name),
            Metadata::FileContentKey => Cell::Text(self.sha256),
            Metadata::FileRowNumber => i64::try_from(row).map_or(Cell::Null, Cell::Bigint),
            Metadata::StartScanTime => Cell::Micros(self.at),
        }
    }
}

/// Rows of one file that are read again, each by itself; `bytes` as they stood in the file or as somebody mended them.
pub(crate) struct Again {
    pub(crate) number: u64,
    pub(crate) line: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Reads rows of a file again against its header. The pieces hold the rows that fit now; a reject stands for one that still does not.
pub(crate) fn read_again(
    origin: Origin<'_>,
    (format, header): (FileFormat, &[String]),
    rows: &[Again],
    target: &Target,
    options: &CopyOptions,
) -> Result<Vec<Piece>, CopyError> {
    // The table may have got columns since the file was loaded: its rows are null there.
    let options = &CopyOptions { missing_columns: MissingColumns::Null, ..options.clone() };
    let header = if format == FileFormat::JsonLines { target.names() } else { header.to_vec() };
    let (header, file) = (Header(header), origin.name);
    let unreadable = |error: std::io::Error| unreadable(file, &error);
    let places = places((file, &target.table.to_string()), &header, &target.names(), options)?;
    let converter = Converter::new(&options.csv);
    let mut batch = BatchBuilder::new(target, &places, origin, options);
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
    let places: Vec<Option<usize>> = {
        let by = options.match_by_column_name;
        let names = || header.0.iter().map(String::as_str);
        rows.header.0.iter().enumerate().map(|(number, name)| by.find(names(), number, name)).collect()
    };
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

/// Where the values of a column of the table come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// The field of this number.
    Field(usize),
    Metadata(Metadata),
    /// Nowhere: the options let the column be missing.
    Null,
}

/// For each column of the table, where its values come from.
pub(crate) fn places(
    (file, table): (&str, &str),
    header: &Header,
    columns: &[String],
    options: &CopyOptions,
) -> Result<Vec<Place>, CopyError> {
    let table = table.to_owned();
    let by = options.match_by_column_name;
    let mut fields = vec![false; header.0.len()];
    let mut places = Vec::with_capacity(columns.len());
    let mut missing = None;
    let mut number = 0;
    for column in columns {
        let names = || header.0.iter().map(String::as_str);
        if let Some(metadata) = options.include_metadata.get(column) {
            // A column of that name in the file is known, and not read.
            names().position(|name| name == column).into_iter().for_each(|place| fields[place] = true);
            places.push(Place::Metadata(*metadata));
            continue;
        }
        match by.find(names(), number, column) {
            Some(place) => {
                fields[place] = true;
                places.push(Place::Field(place));
            }
            None => {
                missing = missing.or(Some(column));
                places.push(Place::Null);
            }
        }
        number += 1;
    }
    let mut added = header.0.iter().zip(&fields).filter(|(_, is_known)| !**is_known).map(|(name, _)| name);
    if let Some(column) = missing.filter(|_| options.missing_columns == MissingColumns::Error) {
        let renamed_to = added.next().filter(|_| added.next().is_none()).cloned();
        return Err(CopyError::ColumnDisappeared { table, file: file.to_owned(), column: column.clone(), renamed_to });
    }
    match added.next() {
        Some(column) if options.new_columns == NewColumns::Error => {
            Err(CopyError::NewColumn { table, file: file.to_owned(), column: column.clone() })
        }
        _ if !places.iter().any(|place| matches!(place, Place::Field(_))) => {
            Err(CopyError::NoCommonColumn { table, file: file.to_owned() })
        }
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
    places: &'a [Place],
    file: Origin<'a>,
    bad_cells: BadCells,
    /// Columns whose values are not shown.
    mask: &'a [String],
    builders: Vec<ColumnBuilder>,
    rows: usize,
    rows_parsed: u64,
    rejects: Vec<(Reject, Vec<u8>)>,
}

impl<'a> BatchBuilder<'a> {
    fn new(target: &'a Target, places: &'a [Place], file: Origin<'a>, options: &'a CopyOptions) -> Self {
        let builders = target.columns.iter().map(|column| ColumnBuilder::new(column.wanted.column_type)).collect();
        Self {
            target,
            places,
            file,
            bad_cells: options.bad_cells,
            mask: &options.mask,
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
            let place = match *place {
                Place::Field(place) => place,
                Place::Metadata(metadata) => {
                    cells.push(self.file.cell(metadata, row.number));
                    continue;
                }
                Place::Null => {
                    cells.push(Cell::Null);
                    continue;
                }
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
                let others = others.map(|(column, value, misfit)| {
                    format!("; column `{column}`: {}: {}", self.shown(column, value), misfit.message)
                });
                let message = format!("{}: {}{}", self.shown(column, value), first.message, others.collect::<String>());
                let misfit = Misfit { code: first.code, message };
                self.reject(row, Some(column.clone()), misfit);
            }
        }
    }

    /// A value as messages show it.
    fn shown(&self, column: &String, value: &[u8]) -> String {
        if self.mask.contains(column) { "`***`".to_owned() } else { show(value) }
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
            file: self.file.name.to_owned(),
            sha256: self.file.sha256.to_owned(),
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
        let batch = if self.rows == 0 {
            None
        } else {
            let batch = RecordBatch::try_new(self.target.schema.clone(), columns);
            Some(batch.map_err(|error| CopyError::Unreadable {
                file: self.file.name.to_owned(),
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
