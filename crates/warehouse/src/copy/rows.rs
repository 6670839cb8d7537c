//! The rows of a text file, whatever its format, under the names of their columns.
//!
//! In: a staged file, how its format is read.  Out: records in the order of a header.
//! CSV names its columns itself; JSON lines are read under names that are given, or under all keys that a file has.
//! Never here: types and tables (`text`).  Runs on a thread that may block.
//! Start at [`Rows::open`].

use std::io::{self, Read};
use std::sync::Arc;

use domain::{FileFormat, StagedFile};
use object_store::ObjectStore;

use super::convert::Misfit;
use super::csv::CsvReader;
use super::dialect::{DELIMITERS, Dialect};
use super::error::CopyError;
use super::json::{JsonReader, UnknownKeys};
use super::options::{AsciiChar, CopyOptions, CsvOptions, NewColumns};
use super::record::{Fault, Record};
use super::stream;
use crate::error::innermost;

/// The columns of one file, as its header (or its width, or its keys) says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header(pub(crate) Vec<String>);

/// What cuts a stream into records.
pub(crate) enum RowReader<R> {
    Csv(CsvReader<R>),
    Json(JsonReader<R>),
}

impl<R: Read> RowReader<R> {
    /// For rows without a header: `columns` are known.
    pub(crate) fn of(source: R, format: FileFormat, columns: &[String], options: &CopyOptions) -> Self {
        match format {
            FileFormat::JsonLines => Self::Json(json_reader(source, columns, options)),
            FileFormat::Csv | FileFormat::Parquet => Self::Csv(CsvReader::new(source, &options.csv)),
        }
    }

    /// Reads the next record; false at the end of the file.
    pub(crate) fn next(&mut self, record: &mut Record) -> io::Result<bool> {
        match self {
            Self::Csv(reader) => reader.next(record),
            Self::Json(reader) => reader.next(record),
        }
    }

    /// The original bytes of the last record, without its line end.
    pub(crate) fn raw(&self) -> &[u8] {
        match self {
            Self::Csv(reader) => reader.raw(),
            Self::Json(reader) => reader.raw(),
        }
    }
}

fn json_reader<R: Read>(source: R, columns: &[String], options: &CopyOptions) -> JsonReader<R> {
    JsonReader::new(source, columns, unknown_keys(options), options.match_by_column_name.ignores_case())
}

/// What a key without a column means under these options.
fn unknown_keys(options: &CopyOptions) -> UnknownKeys {
    match options.new_columns {
        // Where new columns are added, the table has them by now.
        NewColumns::Error | NewColumns::Add => UnknownKeys::Fault,
        NewColumns::Ignore => UnknownKeys::Ignore,
    }
}

/// The rows of one file after its header.
pub(crate) struct Rows<'a> {
    file: &'a str,
    reader: RowReader<Box<dyn Read>>,
    pub(crate) header: Header,
    /// 1-based number of the row read last.
    pub(crate) row: u64,
    /// Without a header, the first record is a row and was read to count the columns.
    first: Option<Record>,
}

impl<'a> Rows<'a> {
    /// Opens a file. `columns` are those that JSON lines are read under; CSV has its own.
    pub(crate) fn open(
        store: &Arc<dyn ObjectStore>,
        file: &'a StagedFile,
        columns: &[String],
        options: &CopyOptions,
    ) -> Result<Self, CopyError> {
        let name = file.name.as_str();
        let Dialect { text: stream, delimiter } = open(store, file, &options.csv)?;
        if file.format == FileFormat::JsonLines {
            let reader = RowReader::Json(json_reader(stream, columns, options).refusing_array());
            return Ok(Self { file: name, reader, header: Header(columns.to_vec()), row: 0, first: None });
        }
        let csv = &CsvOptions { delimiter: Some(delimiter), ..options.csv.clone() };
        let mut reader = RowReader::Csv(CsvReader::new(stream, csv));
        let mut first = Record::default();
        if !reader.next(&mut first).map_err(|error| unreadable(name, &error))? {
            return Err(CopyError::EmptyFile { file: name.to_owned() });
        }
        if csv.header {
            let header = named(name, &first, delimiter.0)?;
            return Ok(Self { file: name, reader, header, row: 0, first: None });
        }
        let header = Header((1..=first.len()).map(|number| format!("c{number}")).collect());
        Ok(Self { file: name, reader, header, row: 0, first: Some(first) })
    }

    pub(crate) fn next(&mut self, record: &mut Record) -> Result<bool, CopyError> {
        if let Some(first) = self.first.take() {
            *record = first;
            self.row += 1;
            return Ok(true);
        }
        let found = self.reader.next(record).map_err(|error| unreadable(self.file, &error))?;
        self.row += u64::from(found);
        Ok(found)
    }

    /// The original bytes of the last row.
    pub(crate) fn raw(&self) -> &[u8] {
        self.reader.raw()
    }
}

/// The text of a file from its first byte on.
fn open(store: &Arc<dyn ObjectStore>, file: &StagedFile, csv: &CsvOptions) -> Result<Dialect, CopyError> {
    let is_csv = file.format == FileFormat::Csv;
    let opened = stream::open(store, file).and_then(|bytes| Dialect::of(Box::new(bytes), csv, is_csv));
    opened.map_err(|error| unreadable(&file.name, &error))
}

/// What stands between the fields of a CSV file: what its rejected rows are cut by when they are mended.
pub(crate) fn delimiter(
    store: &Arc<dyn ObjectStore>,
    file: &StagedFile,
    csv: &CsvOptions,
) -> Result<AsciiChar, CopyError> {
    Ok(open(store, file, csv)?.delimiter)
}

/// A file that cannot be read, with the sentence of the innermost cause.
pub(crate) fn unreadable(file: &str, error: &io::Error) -> CopyError {
    CopyError::Unreadable { file: file.to_owned(), message: innermost(error) }
}

/// The columns that a file has by itself: a CSV's header, all keys of JSON lines in the order in which they appear.
pub(crate) fn header(
    store: &Arc<dyn ObjectStore>,
    file: &StagedFile,
    options: &CopyOptions,
) -> Result<Header, CopyError> {
    if file.format == FileFormat::Csv {
        return Rows::open(store, file, &[], options).map(|rows| rows.header);
    }
    let ignores_case = options.match_by_column_name.ignores_case();
    let text = open(store, file, &options.csv)?.text;
    let mut reader = JsonReader::new(text, &[], UnknownKeys::Add, ignores_case).refusing_array();
    let mut record = Record::default();
    let mut first_fault = None;
    while reader.next(&mut record).map_err(|error| unreadable(&file.name, &error))? {
        first_fault = first_fault.or_else(|| fault_of(&record).map(|fault| (record.line, fault.message)));
    }
    match (reader.columns(), first_fault) {
        ([], None) => Err(CopyError::EmptyFile { file: file.name.clone() }),
        ([], Some((line, message))) => {
            let message = format!("none of its lines is one JSON object; line {line}: {message}");
            Err(CopyError::Unreadable { file: file.name.clone(), message })
        }
        (columns, _) => Ok(Header(columns.to_vec())),
    }
}

fn named(file: &str, record: &Record, delimiter: u8) -> Result<Header, CopyError> {
    let mut names = Vec::with_capacity(record.len());
    if let Some(Misfit { message, .. }) = fault_of(record) {
        return Err(CopyError::Unreadable { file: file.to_owned(), message: format!("in its header, {message}") });
    }
    for number in 0..record.len() {
        let Ok(name) = std::str::from_utf8(record.field(number).0) else {
            return Err(CopyError::NotUtf8 { file: file.to_owned(), what: "its header is not".to_owned() });
        };
        let name = if name.trim().is_empty() { format!("c{}", number + 1) } else { name.trim().to_owned() };
        if names.contains(&name) {
            return Err(CopyError::DuplicateColumn { file: file.to_owned(), column: name });
        }
        names.push(name);
    }
    if let [only] = names.as_slice()
        && let Some(found) = DELIMITERS.iter().find(|other| **other != delimiter && only.as_bytes().contains(*other))
    {
        let header = only.chars().take(60).collect();
        return Err(CopyError::WrongDelimiter { file: file.to_owned(), header, delimiter: char::from(*found) });
    }
    Ok(Header(names))
}

/// What is wrong with the shape of a record by itself.
pub(crate) fn fault_of(record: &Record) -> Option<Misfit> {
    let misfit = |code, message: &str| Some(Misfit { code, message: message.to_owned() });
    match record.fault? {
        Fault::TextAfterQuote => misfit("text_after_quote", "text follows a closing quote"),
        Fault::UnclosedQuote => {
            misfit("unclosed_quote", "a quote is opened and never closed: everything after it is one row")
        }
        Fault::NotAnObject => {
            Some(Misfit { code: "not_json", message: format!("the line is not one JSON object: {}", record.detail) })
        }
        Fault::UnknownKey => {
            let message = format!("the key `{}` is no column of the table", record.detail);
            Some(Misfit { code: "unknown_key", message })
        }
    }
}
