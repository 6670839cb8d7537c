//! `COPY INTO table FROM @source.table OPTION = value …`: the options of COPY as SQL writes them.
//!
//! In: text.  Out: a [`CopyStatement`], whose options are laid over those of the source file: the same names, the same struct.
//! The words that Snowflake has for the same things are understood as well.
//! Never here: what the options do (`options`).
//! Start at [`CopyStatement::parse`].

use domain::TableName;
use serde_json::{Map, Value, json};

use super::options::CopyOptions;
use super::validate::ValidationMode;
use crate::error::{Result, WarehouseError};

/// Options by name, as a source file would have them.
pub type OptionMap = Map<String, Value>;

/// One COPY, as written.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyStatement {
    pub table: TableName,
    /// `source.table`: whose staged files.
    pub stage: String,
    pub options: OptionMap,
    pub force: bool,
    pub return_failed_only: bool,
    pub validation_mode: Option<ValidationMode>,
}

/// What a statement is made of.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(String),
    Mark(char),
}

impl CopyStatement {
    /// Whether a statement is a COPY.
    pub fn is_copy(sql: &str) -> bool {
        let mut words = sql.split_whitespace();
        words.next().is_some_and(|word| word.eq_ignore_ascii_case("copy"))
            && words.next().is_some_and(|word| word.eq_ignore_ascii_case("into"))
    }

    /// Reads a statement. Errors: what is wrong, and how it is written.
    pub fn parse(sql: &str) -> Result<Self> {
        let mut parser = Parser::new(sql)?;
        parser.word("copy")?;
        parser.word("into")?;
        let table = parser.name("a table")?;
        let table = table.parse().map_err(|error: domain::IdError| wrong(error.to_string(), "write `raw.orders`"))?;
        parser.word("from")?;
        let place = parser.name("a stage")?;
        let place = place.strip_prefix('@').ok_or_else(|| {
            wrong(
                format!("`{place}` is not a stage"),
                "write `@source.table`, or `@source.table/beginning-of-the-names`",
            )
        })?;
        let (stage, prefix) = place.split_once('/').map_or((place, None), |(stage, prefix)| (stage, Some(prefix)));
        let mut options = parser.options(false)?;
        if let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) {
            options.insert("prefix".to_owned(), json!(prefix));
        }
        let force = flag(&mut options, "force")?;
        let return_failed_only = flag(&mut options, "return_failed_only")?;
        let validation_mode = match options.remove("validation_mode") {
            Some(Value::String(text)) => Some(text.parse().map_err(|message: String| wrong(message, VALIDATION_HELP))?),
            Some(_) => return Err(wrong("`validation_mode` is no word".to_owned(), VALIDATION_HELP)),
            None => None,
        };
        Ok(Self { table, stage: stage.to_owned(), options, force, return_failed_only, validation_mode })
    }
}

/// Options whose names are columns.
const COLUMN_MAPS: [&str; 2] = ["columns", "include_metadata"];
const VALIDATION_HELP: &str = "write return_10_rows, return_errors or return_all_errors";

/// Reads options without a statement, as `--option` of the command line has them: `csv = (delimiter = ';') on_error = continue`.
pub fn parse_options(text: &str) -> Result<OptionMap> {
    Parser::new(text)?.options(false)
}

impl CopyOptions {
    /// These options with others over them.
    ///
    /// Errors: a name that is none, or a value that is none of its values.
    pub fn overlaid(&self, over: &OptionMap) -> Result<Self> {
        let mut all = serde_json::to_value(self).map_err(|error| WarehouseError::internal(error.to_string()))?;
        if let Value::Object(all) = &mut all {
            lay_over(all, over);
        }
        let mut options: Self = serde_json::from_value(all)
            .map_err(|error| wrong(error.to_string(), "the options are those of `[copy]` in a source file"))?;
        options.force = self.force;
        Ok(options)
    }
}

/// Lays options over others.
pub fn lay_over(all: &mut OptionMap, over: &OptionMap) {
    for (name, value) in over {
        match (all.get_mut(name), value) {
            // `csv = (…)` changes what it names; other options of the same kind stay.
            (Some(Value::Object(old)), Value::Object(new)) => lay_over(old, new),
            _ => {
                all.insert(name.clone(), value.clone());
            }
        }
    }
}

fn flag(options: &mut OptionMap, name: &str) -> Result<bool> {
    match options.remove(name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(flag),
        Some(other) => Err(wrong(format!("`{name}` is {other}"), "write TRUE or FALSE")),
    }
}

/// Whether the values of an option are words of ours, which people write in either case.
fn is_word_option(name: &str) -> bool {
    let words = ["on_error", "bad_cells", "missing_columns", "new_columns", "match_by_column_name", "validation_mode"];
    words.iter().any(|word| name.eq_ignore_ascii_case(word))
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn new(text: &str) -> Result<Self> {
        Ok(Self { tokens: tokens(text)?.into_iter().peekable() })
    }

    fn word(&mut self, wanted: &str) -> Result<()> {
        match self.tokens.next() {
            Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted) => Ok(()),
            other => Err(unexpected(other.as_ref(), &wanted.to_uppercase())),
        }
    }

    fn name(&mut self, what: &str) -> Result<String> {
        match self.tokens.next() {
            Some(Token::Word(word) | Token::Text(word)) => Ok(word),
            other => Err(unexpected(other.as_ref(), what)),
        }
    }

    /// `name = value …` up to the end, or up to a closing bracket. Names of columns are kept as they are written.
    fn options(&mut self, are_columns: bool) -> Result<OptionMap> {
        let mut options = OptionMap::new();
        loop {
            match self.tokens.peek() {
                None | Some(Token::Mark(')')) => return Ok(options),
                Some(Token::Mark(',' | ';')) => {
                    self.tokens.next();
                }
                Some(_) => {
                    let name = self.name("an option")?;
                    match self.tokens.next() {
                        Some(Token::Mark('=')) => {}
                        other => return Err(unexpected(other.as_ref(), &format!("`=` after `{name}`"))),
                    }
                    let value = self.value(&name)?;
                    insert(&mut options, if are_columns { name } else { name.to_lowercase() }, value)?;
                }
            }
        }
    }

    fn value(&mut self, name: &str) -> Result<Value> {
        match self.tokens.next() {
            Some(Token::Text(text)) => Ok(Value::String(text)),
            Some(Token::Number(digits)) => {
                serde_json::from_str(&digits).map_err(|_| wrong(format!("`{digits}` is not a number"), "write 100"))
            }
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            Some(Token::Word(word)) if is_word_option(name) => Ok(Value::String(word.to_lowercase())),
            Some(Token::Word(word)) => Ok(Value::String(word)),
            Some(Token::Mark('(')) => self.bracket(name),
            other => Err(unexpected(other.as_ref(), &format!("a value of `{name}`"))),
        }
    }

    /// A list, or options of their own.
    fn bracket(&mut self, name: &str) -> Result<Value> {
        let mut ahead = self.tokens.clone();
        let is_map = matches!((ahead.next(), ahead.next()), (Some(_), Some(Token::Mark('='))));
        let value = if is_map {
            let are_columns = COLUMN_MAPS.iter().any(|map| name.eq_ignore_ascii_case(map));
            let mut map = self.options(are_columns)?;
            if name.eq_ignore_ascii_case("include_metadata") {
                let lower = |value: &mut Value| *value = json!(value.as_str().unwrap_or_default().to_lowercase());
                map.values_mut().for_each(lower);
            }
            Value::Object(map)
        } else {
            let mut items = Vec::new();
            while let Some(token) = self.tokens.peek().cloned().filter(|token| *token != Token::Mark(')')) {
                if token == Token::Mark(',') {
                    self.tokens.next();
                } else {
                    items.push(self.value("a list")?);
                }
            }
            Value::Array(items)
        };
        match self.tokens.next() {
            Some(Token::Mark(')')) => Ok(value),
            other => Err(unexpected(other.as_ref(), "`)`")),
        }
    }
}

/// Enters one option under its name here, in the words that its values have here.
fn insert(options: &mut OptionMap, name: String, value: Value) -> Result<()> {
    match (name.as_str(), &value) {
        ("on_error", Value::String(word)) if word.eq_ignore_ascii_case("abort_statement") => {
            options.insert(name, json!("abort"));
        }
        ("enable_schema_evolution", Value::Bool(adds)) => {
            options.insert("new_columns".to_owned(), json!(if *adds { "add" } else { "error" }));
        }
        ("file_format", Value::Object(format)) => {
            let csv = format.iter().filter(|(name, _)| *name != "type").map(|(name, value)| csv_option(name, value));
            let csv = csv.collect::<Result<OptionMap>>()?;
            if options.insert("csv".to_owned(), Value::Object(csv)).is_some() {
                return Err(wrong("`csv` and `file_format` are both there".to_owned(), "write one of them"));
            }
        }
        _ => {
            if options.insert(name.clone(), value).is_some() {
                return Err(wrong(format!("`{name}` is there twice"), "write each option once"));
            }
        }
    }
    Ok(())
}

/// A file format option of Snowflake as an option of `csv`.
fn csv_option(name: &str, value: &Value) -> Result<(String, Value)> {
    let (name, value) = match (name, value) {
        ("field_delimiter", value) => ("delimiter", value.clone()),
        ("field_optionally_enclosed_by", value) => ("quote", value.clone()),
        ("trim_space", value) => ("trim", value.clone()),
        ("parse_header", value) => ("header", value.clone()),
        ("skip_header", value) => match value.as_u64() {
            Some(lines @ 0..=1) => ("header", json!(lines == 1)),
            _ => return Err(wrong(format!("`skip_header` is {value}"), "a header is one line: write 0 or 1")),
        },
        ("timestamp_format", value) => ("timestamp_formats", json!([value])),
        (name, value) => (name, value.clone()),
    };
    Ok((name.to_owned(), value))
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' => {
                let (value, length) = quoted(rest, first)?;
                tokens.push(Token::Text(value));
                length
            }
            '=' | '(' | ')' | ',' | ';' => {
                tokens.push(Token::Mark(first));
                1
            }
            '-' | '0'..='9' => {
                let length = rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '-' | '.'))).unwrap_or(rest.len());
                tokens.push(Token::Number(rest[..length].to_owned()));
                length
            }
            _ => {
                let ends = |c: char| c.is_whitespace() || matches!(c, '=' | '(' | ')' | ',' | ';' | '\'' | '"');
                let length = rest.find(ends).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..length].to_owned()));
                length
            }
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// The text in quotes at the start of `rest`, and how many bytes it takes; the quote is doubled inside.
fn quoted(rest: &str, quote: char) -> Result<(String, usize)> {
    let mut value = String::new();
    let mut letters = rest.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter != quote {
            value.push(letter);
        } else if letters.next_if(|(_, next)| *next == quote).is_some() {
            value.push(quote);
        } else {
            return Ok((value, at + 1));
        }
    }
    Err(wrong(
        format!("the text that begins with `{}` has no end", rest.chars().take(20).collect::<String>()),
        "close its quote",
    ))
}

fn unexpected(found: Option<&Token>, wanted: &str) -> WarehouseError {
    let found = match found {
        None => "the statement ends".to_owned(),
        Some(Token::Word(word) | Token::Number(word)) => format!("`{word}` stands"),
        Some(Token::Text(text)) => format!("`'{text}'` stands"),
        Some(Token::Mark(mark)) => format!("`{mark}` stands"),
    };
    wrong(
        format!("{found} where {wanted} is expected"),
        "write `COPY INTO raw.orders FROM @source.table ON_ERROR = continue`",
    )
}

fn wrong(message: String, help: &str) -> WarehouseError {
    WarehouseError::Sql { message, at: String::new(), help: Some(help.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::OnError;

    fn shown(sql: &str) -> String {
        match CopyStatement::parse(sql) {
            Ok(found) => format!("{} {} {}", found.table, found.stage, Value::Object(found.options)),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn options_have_the_names_of_the_source_file_or_those_of_snowflake() {
        assert!(CopyStatement::is_copy("  copy\nINTO x") && !CopyStatement::is_copy("select 1"));
        assert_eq!(
            shown(
                "COPY INTO raw.lines FROM @shop.lines/2026-0 FILES = ('a b.csv', 'it''s.csv') ON_ERROR = SKIP_FILE_10% SIZE_LIMIT=100;"
            ),
            r#"raw.lines shop.lines {"files":["a b.csv","it's.csv"],"on_error":"skip_file_10%","prefix":"2026-0","size_limit":100}"#
        );
        assert_eq!(
            shown(
                "copy into raw.a from @s.t csv = (delimiter = ';' null_if = ('-', '')) COLUMNS = (Id = bigint, \"Unit Price\" = 'decimal(8,2)')"
            ),
            r#"raw.a s.t {"columns":{"Id":"bigint","Unit Price":"decimal(8,2)"},"csv":{"delimiter":";","null_if":["-",""]}}"#
        );
        assert_eq!(
            shown(
                "COPY INTO raw.a FROM @s.t FILE_FORMAT = (TYPE = CSV FIELD_DELIMITER = '|' SKIP_HEADER = 1) ON_ERROR = ABORT_STATEMENT ENABLE_SCHEMA_EVOLUTION = TRUE"
            ),
            r#"raw.a s.t {"csv":{"delimiter":"|","header":true},"new_columns":"add","on_error":"abort"}"#
        );
        let found =
            CopyStatement::parse("COPY INTO raw.a FROM @s.t FORCE = TRUE VALIDATION_MODE = RETURN_5_ROWS").unwrap();
        assert_eq!((found.force, found.validation_mode), (true, Some(ValidationMode::ReturnRows(5))));
    }

    #[test]
    fn whatever_is_wrong_says_how_it_is_written() {
        for (sql, expected) in [
            ("COPY INTO raw.a @s.t", "`@s.t` stands where FROM is expected"),
            ("COPY INTO raw.a FROM s.t", "`s.t` is not a stage"),
            ("COPY INTO lines FROM @s.t", "lines"),
            ("COPY INTO raw.a FROM @s.t ON_ERROR continue", "`continue` stands where `=` after `ON_ERROR` is expected"),
            ("COPY INTO raw.a FROM @s.t FILES = ('a'", "the statement ends where `)` is expected"),
            ("COPY INTO raw.a FROM @s.t PATTERN = 'a", "has no end"),
            ("COPY INTO raw.a FROM @s.t PURGE = TRUE PURGE = FALSE", "`purge` is there twice"),
            ("COPY INTO raw.a FROM @s.t FORCE = perhaps", "`force` is"),
            ("COPY INTO raw.a FROM @s.t VALIDATION_MODE = some", "`some` is no validation mode"),
        ] {
            assert!(shown(sql).contains(expected), "{sql}: {}", shown(sql));
        }
    }

    #[test]
    fn options_are_laid_over_those_of_the_source_file() {
        let file: CopyOptions =
            toml::from_str("on_error = \"continue\"\npattern = \".*\"\ncsv = { delimiter = \";\", trim = true }")
                .unwrap();
        let over = parse_options("csv = (delimiter = '|') on_error = abort purge = true").unwrap();
        let both = file.overlaid(&over).unwrap();
        assert_eq!(
            (both.on_error, both.csv.trim, both.purge, both.pattern.is_some()),
            (OnError::Abort, true, true, true)
        );
        assert_eq!(both.csv.delimiter.map(String::from).as_deref(), Some("|"));
        let unknown = file.overlaid(&parse_options("on_eror = abort").unwrap()).unwrap_err();
        assert!(unknown.to_string().contains("unknown field `on_eror`"), "{unknown}");
        let bad = file.overlaid(&parse_options("pattern = '('").unwrap()).unwrap_err();
        assert!(bad.to_string().contains("`(` is not a regular expression: unclosed group"), "{bad}");
    }
}
