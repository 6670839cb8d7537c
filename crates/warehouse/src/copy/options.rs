//! How COPY reads the files of one table: the user's `[tables.x.copy]`.
//!
//! In: a project file.  Out: [`CopyOptions`], every value checked while parsing.
//! Never here: reading anything with them.
//! Start at [`CopyOptions`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use arrow::datatypes::{DataType, TimeUnit};
use serde::{Deserialize, Serialize};

/// How COPY reads the staged files of one table.
///
/// ```toml
/// [tables.lines.copy]
/// on_error = "continue"
/// columns = { InvoiceNo = "text", UnitPrice = "decimal(12,3)" }
/// csv = { delimiter = ";", null_if = ["NULL"] }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CopyOptions {
    /// What happens when a row cannot be loaded.
    pub on_error: OnError,
    /// Declared types of columns; the others are inferred from all rows of the first load.
    pub columns: BTreeMap<String, ColumnType>,
    /// A file lacks a column of the table.
    pub missing_columns: MissingColumns,
    /// A file has a column that the table lacks.
    pub new_columns: NewColumns,
    /// A value of a text file is none of its column's type.
    #[serde(skip_serializing_if = "is_default")]
    pub bad_cells: BadCells,
    pub csv: CsvOptions,
    /// Columns whose values no message shows. Tables and quarantine hold them as they are.
    #[serde(skip_serializing_if = "is_default")]
    pub mask: Vec<String>,
    /// How columns of files find theirs in the table.
    #[serde(skip_serializing_if = "is_default")]
    pub match_by_column_name: MatchByColumnName,
    /// Columns of the table that say where a row came from, beside or instead of those in the files.
    #[serde(skip_serializing_if = "is_default")]
    pub include_metadata: BTreeMap<String, Metadata>,
    /// Only these of the staged files, by their names; at most [`MAX_FILES`].
    #[serde(skip_serializing_if = "is_default")]
    pub files: Vec<String>,
    /// Only files whose whole name fits this regular expression.
    #[serde(skip_serializing_if = "is_default")]
    pub pattern: Option<Pattern>,
    /// Only files whose name begins so. No folder: `2026-0` means `2026-01.csv` as well.
    #[serde(skip_serializing_if = "is_default")]
    pub prefix: Option<String>,
    /// Bytes after which no further file is begun; the first is loaded however large it is.
    #[serde(skip_serializing_if = "is_default")]
    pub size_limit: Option<u64>,
    /// Remove files from the stage once all their rows are loaded.
    #[serde(skip_serializing_if = "is_default")]
    pub purge: bool,
    /// Load a file again that changed after it was loaded or was loaded only in part (its earlier rows are replaced), or one
    /// that has the content of another; let a full load change the columns. A flag of the run, never of the project.
    #[serde(skip)]
    pub force: bool,
}

/// What happens when a row cannot be loaded: `abort`, `skip_file`, `skip_file_10`, `skip_file_2%` or `continue`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OnError {
    /// Nothing of this COPY is loaded. The default: a surprise is looked at before it spreads.
    #[default]
    Abort,
    /// A file with a bad row is left out whole; the other files are loaded.
    SkipFile,
    /// A file with at least so many bad rows is left out whole; of one with fewer, the bad ones go to quarantine.
    SkipFileRows(u64),
    /// The same for a share of bad rows that is over so many percent; exactly so many still load.
    SkipFilePercent(u64),
    /// The good rows are loaded, the bad ones go to quarantine.
    Continue,
}

impl OnError {
    /// Whether a file with so many bad rows among its rows is loaded without them.
    pub(crate) fn loads(self, rejected: u64, parsed: u64) -> bool {
        match self {
            Self::Abort | Self::SkipFile => rejected == 0,
            Self::SkipFileRows(limit) => rejected < limit,
            Self::SkipFilePercent(limit) => u128::from(rejected) * 100 <= u128::from(limit) * u128::from(parsed),
            Self::Continue => true,
        }
    }
}

impl FromStr for OnError {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let word = text.to_ascii_lowercase();
        let found = match word.as_str() {
            "abort" => Some(Self::Abort),
            "skip_file" => Some(Self::SkipFile),
            "continue" => Some(Self::Continue),
            other => other.strip_prefix("skip_file_").and_then(|limit| match limit.strip_suffix('%') {
                Some(percent) => percent.parse().ok().filter(|percent| *percent <= 100).map(Self::SkipFilePercent),
                None => limit.parse().ok().filter(|rows| *rows > 0).map(Self::SkipFileRows),
            }),
        };
        found.ok_or_else(|| {
            format!("`{text}` is none of `abort`, `skip_file`, `skip_file_10` (rows), `skip_file_2%` and `continue`")
        })
    }
}

impl TryFrom<String> for OnError {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<OnError> for String {
    fn from(on_error: OnError) -> String {
        on_error.to_string()
    }
}

impl fmt::Display for OnError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abort => formatter.write_str("abort"),
            Self::SkipFile => formatter.write_str("skip_file"),
            Self::SkipFileRows(rows) => write!(formatter, "skip_file_{rows}"),
            Self::SkipFilePercent(percent) => write!(formatter, "skip_file_{percent}%"),
            Self::Continue => formatter.write_str("continue"),
        }
    }
}

/// What a file without a column of the table means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingColumns {
    /// The file is not loaded. The default: a column that was renamed would otherwise become nulls unseen.
    #[default]
    Error,
    /// Its rows have null there.
    Null,
}

/// What a file with a column that the table lacks means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewColumns {
    /// The file is not loaded. The default: values would otherwise be dropped unseen.
    #[default]
    Error,
    /// The column is left out.
    Ignore,
    /// The table gets the column; it is null in the rows of before. A load may add 100.
    Add,
}

/// What a value of a text file that is none of its column's type means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadCells {
    /// Its row is rejected, and `on_error` says what follows.
    #[default]
    Reject,
    /// The cell is null, its row is loaded, and the value goes to quarantine as a rejected cell.
    Null,
}

/// Then it is left out of what names a load's options: tables loaded before there was a choice stay as they are.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How columns of files find theirs in the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchByColumnName {
    /// By name, in any order.
    #[default]
    CaseSensitive,
    /// By name, in any order, whatever its case.
    CaseInsensitive,
    /// By place: the first column of the file is the first of the table. JSON has no places and goes by name.
    None,
}

impl MatchByColumnName {
    /// Whether two names are of one column.
    pub(crate) fn is_same(self, one: &str, other: &str) -> bool {
        one == other || (self.ignores_case() && one.to_lowercase() == other.to_lowercase())
    }

    pub(crate) fn ignores_case(self) -> bool {
        self == Self::CaseInsensitive
    }

    /// The place in a file of the column that is number `number` in the table and has `name` there.
    pub(crate) fn find<'n>(self, names: impl Iterator<Item = &'n str>, number: usize, name: &str) -> Option<usize> {
        let mut names = names.enumerate();
        let found = match self {
            Self::CaseSensitive => names.find(|(_, found)| *found == name),
            Self::CaseInsensitive => names.find(|(_, found)| found.to_lowercase() == name.to_lowercase()),
            Self::None => names.nth(number),
        };
        found.map(|(place, _)| place)
    }
}

/// What a column says about where its row came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metadata {
    /// Name of the staged file.
    Filename,
    /// 1-based number of the row in its file.
    FileRowNumber,
    /// SHA-256 of the staged bytes, in hex.
    FileContentKey,
    /// When the load began.
    StartScanTime,
}

impl Metadata {
    /// The type of the column.
    pub(crate) fn column_type(self) -> ColumnType {
        match self {
            Self::Filename | Self::FileContentKey => ColumnType::Text,
            Self::FileRowNumber => ColumnType::Bigint,
            Self::StartScanTime => ColumnType::Timestamptz,
        }
    }
}

/// A regular expression that was checked to be one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// Whether it fits the whole of `name`.
    pub(crate) fn fits(&self, name: &str) -> bool {
        whole(&self.0).is_ok_and(|pattern| pattern.is_match(name))
    }
}

fn whole(pattern: &str) -> Result<regex::Regex, regex::Error> {
    regex::Regex::new(&format!("^(?:{pattern})$"))
}

impl TryFrom<String> for Pattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match whole(&text) {
            Ok(_) => Ok(Self(text)),
            Err(error) => Err(format!("`{text}` is not a regular expression: {}", last_line(&error.to_string()))),
        }
    }
}

/// The sentence of an error whose other lines draw the place.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.0
    }
}

/// How text is cut into fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CsvOptions {
    /// One ASCII character. Without it, each file's own is found: `,`, `;`, tab or `|`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<AsciiChar>,
    /// One ASCII character; doubled inside a quoted field it stands for itself.
    pub quote: AsciiChar,
    /// One ASCII character that makes the next one inside a quoted field stand for itself. Default: none.
    pub escape: Option<AsciiChar>,
    /// Whether the first row names the columns. Without it they are `c1`, `c2`, …
    pub header: bool,
    /// Unquoted texts that mean null, beside the empty one.
    pub null_if: Vec<String>,
    /// Cut spaces at both ends of text values. Other types never mind spaces.
    pub trim: bool,
    /// Formats of timestamps beside ISO 8601, in the notation of `strftime`, such as `%d.%m.%Y %H:%M`; the first that fits wins.
    pub timestamp_formats: Vec<TimeFormat>,
    /// Any encoding of the web (encoding.spec.whatwg.org), such as `windows-1252` or `euc-kr`. Without it UTF-8, or UTF-16 where the file
    /// begins with its mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            delimiter: None,
            quote: AsciiChar(b'"'),
            escape: None,
            header: true,
            null_if: Vec::new(),
            trim: false,
            timestamp_formats: Vec::new(),
            encoding: None,
        }
    }
}

/// One ASCII character that is not part of a line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AsciiChar(pub(crate) u8);

impl TryFrom<String> for AsciiChar {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'\r' | b'\n') => Ok(Self(*byte)),
            _ => {
                Err(format!("`{}` is not one ASCII character, such as `;` or a tab written `\\t`", text.escape_debug()))
            }
        }
    }
}

impl From<AsciiChar> for String {
    fn from(character: AsciiChar) -> String {
        char::from(character.0).to_string()
    }
}

/// The encoding of text files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Encoding(pub(crate) &'static encoding_rs::Encoding);

impl TryFrom<String> for Encoding {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let known = encoding_rs::Encoding::for_label_no_replacement(text.as_bytes());
        known.map(Self).ok_or_else(|| {
            format!(
                "the encoding `{text}` is not known; convert the files with `iconv -f {text} -t utf-8`, or write one such as `windows-1252`"
            )
        })
    }
}

impl From<Encoding> for String {
    fn from(encoding: Encoding) -> String {
        encoding.0.name().to_lowercase()
    }
}

/// A `strftime` format of a date, or of a date and a time, that was checked to be one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeFormat(String);

impl TimeFormat {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TimeFormat {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let is_known = !chrono::format::StrftimeItems::new(&text).any(|item| item == chrono::format::Item::Error);
        if is_known && text.contains('%') {
            Ok(Self(text))
        } else {
            Err(format!("`{text}` is not a time format; write one such as `%d.%m.%Y %H:%M`"))
        }
    }
}

impl From<TimeFormat> for String {
    fn from(format: TimeFormat) -> String {
        format.0
    }
}

/// The type of a column, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ColumnType {
    Text,
    Integer,
    Bigint,
    /// Digits in all and after the point.
    Decimal(u8, i8),
    Double,
    Boolean,
    Date,
    /// Without time zone, microseconds.
    Timestamp,
    /// An instant, microseconds, UTC.
    Timestamptz,
    /// In text files: hexadecimal digits, with or without `\\x` or `0x` before them.
    Binary,
}

/// Most digits that a decimal of a table can have (Arrow's and Delta's 128-bit decimal).
pub(crate) const MAX_DECIMAL_DIGITS: u8 = 38;

impl ColumnType {
    /// The Arrow type of the column.
    pub(crate) fn arrow(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Integer => DataType::Int32,
            Self::Bigint => DataType::Int64,
            Self::Decimal(precision, scale) => DataType::Decimal128(precision, scale),
            Self::Double => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Binary => DataType::Binary,
        }
    }

    /// The type of a table's column, if text can be converted to it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "Arrow has types that text is never converted to")]
    pub(crate) fn of_arrow(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Int32 => Self::Integer,
            DataType::Int64 => Self::Bigint,
            DataType::Decimal128(precision, scale) => Self::Decimal(*precision, *scale),
            DataType::Float64 => Self::Double,
            DataType::Boolean => Self::Boolean,
            DataType::Date32 => Self::Date,
            DataType::Timestamp(TimeUnit::Microsecond, None) => Self::Timestamp,
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Self::Timestamptz,
            DataType::Binary => Self::Binary,
            _ => return None,
        })
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => formatter.write_str("text"),
            Self::Integer => formatter.write_str("integer"),
            Self::Bigint => formatter.write_str("bigint"),
            Self::Decimal(precision, scale) => write!(formatter, "decimal({precision},{scale})"),
            Self::Double => formatter.write_str("double"),
            Self::Boolean => formatter.write_str("boolean"),
            Self::Date => formatter.write_str("date"),
            Self::Timestamp => formatter.write_str("timestamp"),
            Self::Timestamptz => formatter.write_str("timestamptz"),
            Self::Binary => formatter.write_str("binary"),
        }
    }
}

impl FromStr for ColumnType {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let plain: String = text.to_ascii_lowercase().chars().filter(|letter| !letter.is_whitespace()).collect();
        let known = match plain.as_str() {
            "text" => Some(Self::Text),
            "integer" => Some(Self::Integer),
            "bigint" => Some(Self::Bigint),
            "double" => Some(Self::Double),
            "boolean" => Some(Self::Boolean),
            "date" => Some(Self::Date),
            "timestamp" => Some(Self::Timestamp),
            "timestamptz" => Some(Self::Timestamptz),
            "binary" => Some(Self::Binary),
            other => decimal(other),
        };
        known.ok_or_else(|| {
            format!(
                "`{text}` is not a type; write text, integer, bigint, decimal(p,s) with p from 1 to 38, double, boolean, \
                 date, timestamp, timestamptz or binary"
            )
        })
    }
}

fn decimal(text: &str) -> Option<ColumnType> {
    let (precision, scale) = text.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    let (precision, scale): (u8, u8) = (precision.parse().ok()?, scale.parse().ok()?);
    let fits = (1..=MAX_DECIMAL_DIGITS).contains(&precision) && scale <= precision;
    // At most 38, so the cast keeps the value.
    fits.then_some(ColumnType::Decimal(precision, scale as i8))
}

impl TryFrom<String> for ColumnType {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ColumnType> for String {
    fn from(column_type: ColumnType) -> String {
        column_type.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> String {
        match toml::from_str::<CopyOptions>(toml) {
            Ok(options) => format!("{:?} {:?}", options.on_error, options.columns),
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn defaults_are_careful_and_bad_values_say_what_to_write() {
        let options = CopyOptions::default();
        assert_eq!(options, toml::from_str("").unwrap());
        assert_eq!(options.on_error, OnError::Abort);
        assert_eq!(
            read("on_error = \"continue\"\ncolumns = { a = \"Decimal(12, 3)\" }"),
            "Continue {\"a\": Decimal(12, 3)}"
        );
        for (bad, expected) in [
            ("columns = { a = \"varchar\" }", "`varchar` is not a type; write text"),
            ("columns = { a = \"decimal(39,2)\" }", "`decimal(39,2)` is not a type"),
            ("on_eror = \"continue\"", "unknown field `on_eror`"),
            ("csv = { delimiter = \";;\" }", "`;;` is not one ASCII character"),
            (
                "csv = { encoding = \"latin-99\" }",
                "the encoding `latin-99` is not known; convert the files with `iconv",
            ),
            ("csv = { timestamp_formats = [\"%Q\"] }", "`%Q` is not a time format"),
            ("force = true", "unknown field `force`"),
        ] {
            assert!(read(bad).contains(expected), "{bad}: {}", read(bad));
        }
    }
}
