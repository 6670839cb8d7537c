//! The part of a source file that says which Airbyte connector to run, and which of its streams are tables.
//!
//! In: `sources/<name>.toml` with `kind = "airbyte"`.  Out: settings for `connect`, tables that are still to be settled.
//! Never here: running a connector; the values of environment variables.
//! Start at [`read`].

use std::collections::BTreeMap;
use std::time::Duration;

use connect::sources::airbyte::{AirbyteSettings, DEFAULT_STALL, StreamChoice, StreamMode};
use connect::{ExtractMode, InvalidDates};
use domain::TableName;
use serde::de::IgnoredAny;
use serde_json::Value;
use warehouse::{BadCells, CopyOptions, MissingColumns, NewColumns};

use super::document::Document;
use super::source::Written;
use crate::error::PipelineError;

/// Longest silence that can be allowed: a connector that says nothing for a day has died.
const MAX_STALL_SECONDS: u64 = 86_400;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Connector {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    command: Vec<String>,
    #[serde(default)]
    config: toml::Table,
    stall_seconds: Option<u64>,
    tables: BTreeMap<String, StreamTable>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamTable {
    /// Name of the stream; the key of the table when absent.
    stream: Option<String>,
    namespace: Option<String>,
    into: Option<TableName>,
    #[serde(default)]
    mode: StreamMode,
    /// The column that an incremental stream goes by, where the connector leaves it open.
    cursor: Option<String>,
    #[serde(default)]
    copy: CopyOptions,
}

/// Reads the connector and its tables.
pub(super) fn read(document: &Document) -> Result<(AirbyteSettings, BTreeMap<String, Written>), PipelineError> {
    let file: Connector = document.parse()?;
    check_command(&file.command, document)?;
    let stall = file.stall_seconds.map_or(DEFAULT_STALL, Duration::from_secs);
    if !(1..=MAX_STALL_SECONDS).contains(&stall.as_secs()) {
        let message = format!("`stall_seconds` is {}, and must be 1 to {MAX_STALL_SECONDS}", stall.as_secs());
        return Err(document.problem_at(&["stall_seconds"], "bad_value", message).into());
    }
    let config = json(toml::Value::Table(file.config)).map_err(|number| {
        let message = format!("`{number}` is not a number that JSON knows");
        document.problem_at(&["config"], "bad_value", message)
    })?;
    let mut tables = BTreeMap::new();
    for (name, table) in file.tables {
        if table.mode == StreamMode::Full && table.cursor.is_some() {
            let message = "`cursor` belongs to the modes \"append\" and \"changes\"".to_owned();
            let problem = document.problem_at(&["tables", &name, "cursor"], "bad_value", message);
            return Err(problem.with_help("add `mode = \"changes\"`, or remove it".to_owned()).into());
        }
        let stream = table.stream.unwrap_or_else(|| name.clone());
        let choice = StreamChoice { stream, namespace: table.namespace, mode: table.mode, cursor: table.cursor };
        // What differs from the stream's schema is no reason to stop: an unknown field is left out, a missing one is null, a value of another
        // type is null and kept in quarantine. A field that the stream has got since becomes a column.
        let new_columns = match table.copy.new_columns {
            NewColumns::Error | NewColumns::Add => NewColumns::Add,
            NewColumns::Ignore => NewColumns::Ignore,
        };
        let missing_columns = MissingColumns::Null;
        let copy = CopyOptions { missing_columns, new_columns, bad_cells: BadCells::Null, ..table.copy };
        let written = Written {
            location: choice.location(),
            query: None,
            into: table.into,
            copy,
            invalid_dates: InvalidDates::default(),
            mode: ExtractMode::Full,
            stream: Some(choice),
        };
        tables.insert(name, written);
    }
    Ok((AirbyteSettings { command: file.command, config, stall }, tables))
}

fn check_command(command: &[String], document: &Document) -> Result<(), PipelineError> {
    let problem = |message: &str| document.problem_at(&["command"], "bad_value", message.to_owned());
    if command.first().is_none_or(|program| program.trim().is_empty()) {
        let help = "write a program and its arguments: `command = [\"docker\", \"run\", …]`".to_owned();
        return Err(problem("`command` names no program").with_help(help).into());
    }
    if command.iter().any(|word| word.contains("${")) {
        let help = "put it into `[config]`; a program sees the environment by itself".to_owned();
        return Err(problem("`command` is not filled in: everybody on this machine can see it").with_help(help).into());
    }
    Ok(())
}

/// TOML as JSON, which has no moments and no infinities.
///
/// Errors: the number that JSON does not know.
fn json(value: toml::Value) -> Result<Value, f64> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::Number(serde_json::Number::from_f64(number).ok_or(number)?),
        toml::Value::Boolean(truth) => Value::Bool(truth),
        toml::Value::Datetime(moment) => Value::String(moment.to_string()),
        toml::Value::Array(items) => Value::Array(items.into_iter().map(json).collect::<Result<_, _>>()?),
        toml::Value::Table(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| Ok((name, json(value)?))).collect::<Result<_, f64>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_json() {
        let table: toml::Table = toml::from_str(
            "text = \"${A}\"\nnumber = 9007199254740993\nshare = 0.5\nday = 2026-01-02\nmoment = 2026-01-02T03:04:05Z\n\
             list = [1, [true]]\n[deep.er]\nx = 1\n",
        )
        .unwrap();
        let expected = serde_json::json!({
            "text": "${A}", "number": 9007199254740993_i64, "share": 0.5, "day": "2026-01-02", "moment": "2026-01-02T03:04:05Z",
            "list": [1, [true]], "deep": {"er": {"x": 1}},
        });
        assert_eq!(json(toml::Value::Table(table)), Ok(expected));
        assert!(json(toml::Value::Float(f64::INFINITY)).is_err());
    }
}
