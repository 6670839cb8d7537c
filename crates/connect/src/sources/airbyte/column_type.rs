//! From a property of a stream's JSON schema to the type of a column.
//!
//! In: the schema of a property.  Out: a type as COPY takes it.  What may be several things, or holds others, is text: the JSON as it
//! came. Integers are 64 bits wide; one that is larger becomes a rejected cell, as every value does that does not fit.
//! Never here: values.
//! Start at [`type_word`].

use serde_json::Value;

/// The type that COPY gives a property.
pub(super) fn type_word(schema: &Value) -> &'static str {
    if let Some(options) = union(schema) {
        let mut words: Vec<&'static str> = options.iter().map(|option| type_word(option)).collect();
        words.dedup();
        return match words.as_slice() {
            [one] => one,
            _ => "text",
        };
    }
    let airbyte_type = schema["airbyte_type"].as_str().unwrap_or_default();
    match type_names(schema).as_slice() {
        ["boolean"] => "boolean",
        ["integer"] => "bigint",
        ["number"] if airbyte_type == "integer" => "bigint",
        ["number"] | ["integer", "number"] | ["number", "integer"] => "double",
        ["string"] => text_word(schema["format"].as_str().unwrap_or_default(), airbyte_type),
        _ => "text",
    }
}

/// Texts that are something else. A moment without a marker has a zone; times of day stay text.
fn text_word(format: &str, airbyte_type: &str) -> &'static str {
    match (format, airbyte_type) {
        (_, "timestamp_without_timezone") => "timestamp",
        ("date-time", _) | (_, "timestamp_with_timezone") => "timestamptz",
        ("date", _) => "date",
        // Digits in quotes, of any number.
        (_, "big_integer") => "decimal(38,0)",
        _ => "text",
    }
}

/// The options of a union, without null.
fn union(schema: &Value) -> Option<Vec<&Value>> {
    let options = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array())?;
    let is_null = |option: &&Value| option["type"].as_str() == Some("null");
    Some(options.iter().filter(|option| !is_null(option)).collect())
}

/// The names of a property's types, without null.
fn type_names(schema: &Value) -> Vec<&str> {
    let names: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    names.into_iter().filter(|name| *name != "null").collect()
}

/// The type in the source's words, such as `string date-time`.
pub(super) fn source_type(schema: &Value) -> String {
    if let Some(options) = union(schema) {
        let options: Vec<String> = options.into_iter().map(source_type).collect();
        return options.join(" | ");
    }
    let names = type_names(schema).join(" | ");
    let parts = [names.as_str(), schema["format"].as_str().unwrap_or_default()];
    let shown: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if shown.is_empty() { "any".to_owned() } else { shown.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_property_has_a_type() {
        for (schema, word, shown) in [
            (r#"{"type":"string"}"#, "text", "string"),
            (r#"{"type":["null","integer"]}"#, "bigint", "integer"),
            (r#"{"type":"number"}"#, "double", "number"),
            (r#"{"type":"number","airbyte_type":"integer"}"#, "bigint", "number"),
            (r#"{"type":["integer","number"]}"#, "double", "integer | number"),
            (r#"{"type":["string","integer"]}"#, "text", "string | integer"),
            (r#"{"type":"boolean"}"#, "boolean", "boolean"),
            (r#"{"type":"string","format":"date"}"#, "date", "string date"),
            (r#"{"type":"string","format":"date-time"}"#, "timestamptz", "string date-time"),
            (
                r#"{"type":["string","null"],"format":"date-time","airbyte_type":"timestamp_without_timezone"}"#,
                "timestamp",
                "string date-time",
            ),
            (r#"{"type":"string","airbyte_type":"timestamp_with_timezone"}"#, "timestamptz", "string"),
            (r#"{"type":"string","format":"time","airbyte_type":"time_without_timezone"}"#, "text", "string time"),
            (r#"{"type":"string","airbyte_type":"big_integer"}"#, "decimal(38,0)", "string"),
            (r#"{"type":"object","properties":{"a":{}}}"#, "text", "object"),
            (r#"{"type":"array"}"#, "text", "array"),
            (r#"{"oneOf":[{"type":"number"},{"type":"null"}]}"#, "double", "number"),
            (r#"{"oneOf":[{"type":"string"},{"type":"integer"}]}"#, "text", "string | integer"),
            (r#"{"anyOf":[{"type":"object"},{"type":"string"}]}"#, "text", "object | string"),
            (r#"{"oneOf":[{"type":"null"}]}"#, "text", ""),
            ("{}", "text", "any"),
            ("true", "text", "any"),
        ] {
            let schema: Value = serde_json::from_str(schema).unwrap();
            assert_eq!((type_word(&schema), source_type(&schema).as_str()), (word, shown), "{schema}");
        }
    }
}
