//! The engine's errors in one clear sentence each.
//!
//! In: a `DataFusionError` and where the statement stands.  Out: a [`WarehouseError`] without the engine's internals.
//! Never here: deciding what to do about it.
//! Start at [`engine_error`].

use datafusion::common::{DataFusionError, SchemaError};

use crate::catalog::nearest;
use crate::error::{WarehouseError, innermost, one_sentence};

/// Translates an error of the engine. `at` is the file of a model (`models/marts/a.sql`) or empty.
#[expect(clippy::wildcard_enum_match_arm, reason = "another crate's enum: every other case is one for us")]
pub(crate) fn engine_error(error: DataFusionError, at: &str) -> WarehouseError {
    let at = at.to_owned();
    match error.find_root() {
        DataFusionError::SchemaError(schema_error, _) => schema_message(schema_error, at),
        DataFusionError::SQL(parser_error, _) => {
            let text = parser_error.to_string();
            let text = text.strip_prefix("sql parser error: ").unwrap_or(&text);
            let (message, line) = split_line(text);
            let at = if at.is_empty() || line == 0 { at } else { format!("{at}:{line}") };
            WarehouseError::Sql { message: one_sentence(&message), at, help: None }
        }
        DataFusionError::ObjectStore(source) => WarehouseError::Store {
            what: "read a file of a table".into(),
            message: innermost(source.as_ref()),
            missing: false,
        },
        DataFusionError::IoError(source) => WarehouseError::Store {
            what: "read or write a temporary file".into(),
            message: innermost(source),
            missing: false,
        },
        DataFusionError::ResourcesExhausted(message) => {
            WarehouseError::Exhausted { message: one_sentence(message), at }
        }
        DataFusionError::ArrowError(source, _) => {
            WarehouseError::Sql { message: innermost(source.as_ref()), at, help: None }
        }
        DataFusionError::Plan(message)
        | DataFusionError::Execution(message)
        | DataFusionError::NotImplemented(message)
        | DataFusionError::Configuration(message) => {
            WarehouseError::Sql { message: one_sentence(message), at, help: None }
        }
        DataFusionError::Internal(message) => {
            WarehouseError::internal(format!("the engine failed: {}", one_sentence(message)))
        }
        other => WarehouseError::Sql { message: strip_prefixes(&innermost(other)), at, help: None },
    }
}

fn schema_message(error: &SchemaError, at: String) -> WarehouseError {
    let (message, help) = match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let near = nearest(field.name(), valid_fields.iter().map(|valid| valid.name().to_owned()));
            let help = match near {
                Some(name) => Some(format!("did you mean `{name}`? upper and lower case count")),
                None if valid_fields.is_empty() => None,
                None => {
                    let names: Vec<_> = valid_fields.iter().map(|valid| valid.name()).collect();
                    Some(format!("there are {}", names.join(", ")))
                }
            };
            (format!("column `{}` does not exist", column(&field.flat_name())), help)
        }
        SchemaError::AmbiguousReference { field } => (
            format!("column `{}` is in more than one table", field.name()),
            Some(format!("write `table.{}`", field.name())),
        ),
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            (format!("two columns are named `{name}`"), Some("rename one with `as`".to_owned()))
        }
    };
    WarehouseError::Sql { message, at, help }
}

/// A column's name without the engine's own catalog name.
fn column(flat_name: &str) -> String {
    flat_name.replace("montauk.", "").replace('"', "")
}

/// `… at Line: 3, Column: 5` → the text before it and the line, or 0.
fn split_line(text: &str) -> (String, usize) {
    let Some((message, place)) = text.rsplit_once(" at Line: ") else { return (text.to_owned(), 0) };
    let digits: String = place.chars().take_while(char::is_ascii_digit).collect();
    (message.to_owned(), digits.parse().unwrap_or(0))
}

fn strip_prefixes(message: &str) -> String {
    // External errors keep the engine's prefixes in their text.
    const PREFIXES: [&str; 4] = ["external error: ", "execution error: ", "error during planning: ", "arrow error: "];
    let mut rest = message;
    while let Some(stripped) = PREFIXES.iter().find_map(|prefix| rest.strip_prefix(prefix)) {
        rest = stripped;
    }
    one_sentence(rest)
}
