//! The checks of a model's header, one call each: `unique(a, b)  accepted(kind, 'x', 'y')  range(w, 0, 10) warn`.
//!
//! In: the text after `checks:`.  Out: [`Check`]s.
//! Never here: whether the columns exist.
//! Start at [`parse`].

use domain::TableName;
use serde_json::Value;

use super::{Check, CheckKind, Severity};
use crate::catalog::nearest;
use crate::error::{Result, WarehouseError};

/// Names of the calls.
const KINDS: [&str; 5] = ["not_null", "unique", "accepted", "relationship", "range"];

/// Whether a line goes on with checks: a known call at its beginning.
pub(crate) fn is_call(text: &str) -> bool {
    text.split_once('(').is_some_and(|(word, _)| KINDS.contains(&word.trim()))
}

/// Reads all calls of a line.
pub(super) fn parse(table: &TableName, text: &str, at: &str) -> Result<Vec<Check>> {
    let bad = |message: String, help: String| WarehouseError::Check { message, at: at.to_owned(), help: Some(help) };
    let mut checks = Vec::new();
    let mut rest = text.trim().trim_start_matches(',').trim_start();
    while !rest.is_empty() {
        let Some((word, after)) = rest.split_once('(') else {
            return Err(bad(
                format!("`{rest}` is not a check"),
                format!("write one of {} with its columns, such as unique(id)", KINDS.join(", ")),
            ));
        };
        let word = word.trim();
        let Some((arguments, after)) = arguments(after) else {
            return Err(bad(format!("`{word}(` has no closing parenthesis"), "close it on the same line".into()));
        };
        let kind = kind(word, &arguments).map_err(|help| match help {
            Some(help) => bad(format!("`{word}({})` does not fit", arguments.join(", ")), help),
            None => {
                let near = nearest(word, KINDS.iter().map(|kind| (*kind).to_owned()));
                bad(
                    format!("`{word}` is not a kind of check"),
                    near.map_or_else(
                        || format!("there are {}", KINDS.join(", ")),
                        |kind| format!("did you mean `{kind}`?"),
                    ),
                )
            }
        })?;
        rest = after.trim_start().trim_start_matches(',').trim_start();
        let mut severity = Severity::Block;
        for (name, meant) in [("warn", Severity::Warn), ("block", Severity::Block)] {
            if let Some(after) = rest.strip_prefix(name)
                && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '(')
            {
                severity = meant;
                rest = after.trim_start().trim_start_matches(',').trim_start();
            }
        }
        checks.push(Check { table: table.clone(), name: kind.describe(), kind, severity, at: at.to_owned() });
    }
    Ok(checks)
}

/// Splits `a, 'b, c') rest` into its arguments and what follows.
fn arguments(text: &str) -> Option<(Vec<String>, &str)> {
    let mut arguments = vec![String::new()];
    let mut quote = false;
    for (position, character) in text.char_indices() {
        match character {
            '\'' => {
                quote = !quote;
                arguments.last_mut()?.push('\'');
            }
            ')' if !quote => {
                let arguments: Vec<_> = arguments.iter().map(|argument| argument.trim().to_owned()).collect();
                return Some((arguments, &text[position + 1..]));
            }
            ',' if !quote => arguments.push(String::new()),
            other => arguments.last_mut()?.push(other),
        }
    }
    None
}

/// Errors: `None` for an unknown word, or what to write instead.
fn kind(word: &str, arguments: &[String]) -> Result<CheckKind, Option<String>> {
    let named = arguments.iter().all(|argument| !argument.is_empty());
    let usage = |text: &str| Some(format!("write {text}"));
    match (word, arguments) {
        ("not_null", columns) if named => Ok(CheckKind::NotNull { columns: columns.to_vec() }),
        ("not_null", _) => Err(usage("not_null(column, …)")),
        ("unique", columns) if named => Ok(CheckKind::Unique { columns: columns.to_vec() }),
        ("unique", _) => Err(usage("unique(column, …)")),
        ("accepted", [column, values @ ..]) if named && !values.is_empty() => Ok(CheckKind::Accepted {
            column: column.clone(),
            values: values.iter().map(|value| literal(value)).collect(),
        }),
        ("accepted", _) => Err(usage("accepted(column, 'a', 'b')")),
        ("relationship", [column, to]) if named => {
            relationship(column, to).ok_or_else(|| usage("relationship(column, schema.table.column)"))
        }
        ("relationship", _) => Err(usage("relationship(column, schema.table.column)")),
        ("range", [column, min, max]) if !(column.is_empty() || min.is_empty() && max.is_empty()) => {
            let bound = |text: &str| (!text.is_empty()).then(|| literal(text));
            Ok(CheckKind::Range { column: column.clone(), min: bound(min), max: bound(max) })
        }
        ("range", _) => Err(usage("range(column, least, greatest)")),
        _ => Err(None),
    }
}

/// `schema.table.column` of a relationship.
pub(super) fn relationship(column: &str, to: &str) -> Option<CheckKind> {
    let (table, to_column) = to.rsplit_once('.')?;
    Some(CheckKind::Relationship {
        column: column.to_owned(),
        to: table.parse().ok()?,
        to_column: to_column.to_owned(),
    })
}

/// A number, true, false, or text with or without quotes.
fn literal(text: &str) -> Value {
    if let Some(inner) = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return Value::String(inner.replace("''", "'"));
    }
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}
