//! What somebody should know about a connector's settings before it runs.
//!
//! In: the connector, its settings as they are written.  Out: [`Finding`]s.
//! Never here: rows; a value of the settings.
//! Start at [`examine`].

use serde_json::Value;

use super::process::Connector;
use super::verbs;
use crate::{ConnectError, Finding};

/// Asks for the specification, compares the settings with it, and lets the connector check them.
pub(super) async fn examine(connector: &Connector, written: &Value) -> Result<Vec<Finding>, ConnectError> {
    let spec = verbs::spec(connector).await?;
    let schema = &spec["connectionSpecification"];
    let mut findings = Vec::new();
    let title = schema["title"].as_str().unwrap_or("a specification without a title");
    findings.push(Finding::fine("connector", format!("`{}` answers: {title}", connector.name)));
    let mut bare = Vec::new();
    bare_secrets(schema, written, "", &mut bare);
    if let Some(first) = bare.first() {
        let detail = format!("{} stand in the source file for everybody to read", bare.join(", "));
        let next = format!("write `{first} = \"${{NAME}}\"` and put the value into that environment variable");
        findings.push(Finding::mend("secrets", detail, next));
    }
    verbs::check(connector).await?;
    findings.push(Finding::fine("check", "the connector accepts its settings".to_owned()));
    Ok(findings)
}

/// Keys whose values the connector calls secret and that do not come from the environment.
fn bare_secrets(schema: &Value, written: &Value, path: &str, found: &mut Vec<String>) {
    let is_secret = schema["airbyte_secret"].as_bool().unwrap_or_default();
    let is_bare = written.as_str().is_some_and(|text| !text.is_empty() && !text.contains("${"));
    if is_secret && is_bare && !found.iter().any(|known| known == path) {
        found.push(path.to_owned());
    }
    if let (Some(properties), Some(fields)) = (schema["properties"].as_object(), written.as_object()) {
        for (name, value) in fields {
            if let Some(property) = properties.get(name) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                bare_secrets(property, value, &path, found);
            }
        }
    }
    for options in ["oneOf", "anyOf", "allOf"] {
        for option in schema[options].as_array().into_iter().flatten() {
            bare_secrets(option, written, path, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_the_file_are_found_wherever_they_stand() {
        let schema = serde_json::json!({"properties": {
            "key": {"type": "string", "airbyte_secret": true},
            "other": {"type": "string", "airbyte_secret": true},
            "login": {"oneOf": [
                {"properties": {"kind": {}, "password": {"airbyte_secret": true}}},
                {"properties": {"kind": {}, "token": {"airbyte_secret": true}}},
            ]},
        }});
        let written =
            serde_json::json!({"key": "hunter2", "other": "${OTHER}", "login": {"kind": "x", "token": "hunter3"}});
        let mut found = Vec::new();
        bare_secrets(&schema, &written, "", &mut found);
        assert_eq!(found, ["key", "login.token"]);
    }
}
