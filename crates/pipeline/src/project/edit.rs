//! Puts other parameters into a recommender's file and leaves everything else of it as it was: comments, order, spacing.
//!
//! In: the file's text, the parameters it means and those it is to mean.  Out: the new text.
//! Never here: writing the file, choosing parameters.
//! Start at [`with_parameters`].

use std::collections::BTreeMap;
use std::ops::Range;

use recommend::{Parameters, RecommendError, RecommenderFile};
use serde_json::Value;
use toml::de::{DeTable, DeValue};

/// The file with `wanted` in the place of what it says now. `None` when that cannot be done by changing, adding and taking away
/// single values; a person has to, then.
pub(crate) fn with_parameters(text: &str, wanted: &Parameters) -> Option<String> {
    let now = meaning(text)?.ok()?;
    let mut edits = Vec::new();
    let mut root = DeTable::parse(text).ok()?.into_inner();
    let table = root.remove("parameters").map(toml::Spanned::into_inner);
    let (before, after) = (now.to_map(), wanted.to_map());
    match &table {
        Some(DeValue::Table(table)) => edit_table(text, table, &before, &after, &mut edits)?,
        None => {
            let lines: String =
                changed(&before, &after).into_iter().filter_map(|(name, value)| line(name, value?)).collect();
            let gap = if text.is_empty() || text.ends_with('\n') { "\n" } else { "\n\n" };
            edits.push((text.len()..text.len(), format!("{gap}[parameters]\n{lines}")));
        }
        Some(
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_),
        ) => {
            return None;
        }
    }
    let mut new = text.to_owned();
    // From the end, so that places before stay what they are; of equal places the later edit comes later in the text.
    edits.sort_by_key(|(span, _)| span.start);
    for (span, text) in edits.into_iter().rev() {
        new.replace_range(span, &text);
    }
    // The proof of the edit: the new text means exactly what is wanted.
    (meaning(&new)?.ok()? == *wanted).then_some(new)
}

fn meaning(text: &str) -> Option<Result<Parameters, RecommendError>> {
    toml::from_str::<RecommenderFile>(text).ok().map(|file| file.parameters())
}

type Map = BTreeMap<String, Value>;
type Edits = Vec<(Range<usize>, String)>;

/// Names whose value differs, with the new one; none where the parameter goes.
fn changed<'a>(before: &'a Map, after: &'a Map) -> Vec<(&'a str, Option<&'a Value>)> {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differing = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    differing.map(|name| (name.as_str(), after.get(name))).collect()
}

fn edit_table(text: &str, table: &DeTable<'_>, before: &Map, after: &Map, edits: &mut Edits) -> Option<()> {
    let mut added = Vec::new();
    for (name, value) in changed(before, after) {
        match (table.get(name), value) {
            (Some(old), Some(Value::Array(parts))) => {
                edit_parts(text, old.get_ref(), before.get(name)?.as_array()?, parts, edits)?
            }
            (Some(old), Some(value)) => edits.push((old.span(), written(value)?)),
            (Some(old), None) => edits.push((lines_of(text, table, name, old.span())?, String::new())),
            (None, Some(value)) => added.push((name, value)),
            (None, None) => {}
        }
    }
    if added.is_empty() {
        return Some(());
    }
    let last = table.values().map(toml::Spanned::span).max_by_key(|span| span.end)?;
    let first = table.keys().map(toml::Spanned::span).min_by_key(|span| span.start)?;
    if is_inline(text, first.start) {
        let pairs: Option<Vec<String>> =
            added.iter().map(|(name, value)| Some(format!(", {name} = {}", written(value)?))).collect();
        edits.push((last.end..last.end, pairs?.concat()));
    } else {
        let end = text[last.end..].find('\n').map_or(text.len(), |newline| last.end + newline + 1);
        let lines: String = added.iter().filter_map(|(name, value)| line(name, value)).collect();
        let gap = if text[..end].ends_with('\n') { "" } else { "\n" };
        edits.push((end..end, format!("{gap}{lines}")));
    }
    Some(())
}

/// The parts of a blend: weight and parameters of each.
fn edit_parts(text: &str, old: &DeValue<'_>, before: &[Value], after: &[Value], edits: &mut Edits) -> Option<()> {
    let DeValue::Array(parts) = old else { return None };
    if (parts.len(), before.len()) != (after.len(), after.len()) {
        return None;
    }
    for ((part, before), after) in parts.iter().zip(before).zip(after) {
        let DeValue::Table(table) = part.get_ref() else { return None };
        let own = |value: &Value| -> Option<(Map, Map)> {
            let mut map: Map = value.as_object()?.clone().into_iter().collect();
            let parameters = map.remove("parameters")?.as_object()?.clone().into_iter().collect();
            Some((map, parameters))
        };
        let ((before, parameters_before), (after, parameters_after)) = (own(before)?, own(after)?);
        edit_table(text, table, &before, &after, edits)?;
        let differing = changed(&parameters_before, &parameters_after);
        if differing.is_empty() {
            continue;
        }
        match table.get("parameters").map(toml::Spanned::get_ref) {
            Some(DeValue::Table(table)) => edit_table(text, table, &parameters_before, &parameters_after, edits)?,
            Some(_) => return None,
            None => {
                let pairs: Option<Vec<String>> =
                    differing.iter().map(|(name, value)| Some(format!("{name} = {}", written((*value)?)?))).collect();
                let last = table.values().map(toml::Spanned::span).max_by_key(|span| span.end)?;
                let separator =
                    if is_inline(text, table.keys().map(toml::Spanned::span).min_by_key(|span| span.start)?.start) {
                        ", "
                    } else {
                        "\n"
                    };
                edits.push((last.end..last.end, format!("{separator}parameters = {{ {} }}", pairs?.join(", "))));
            }
        }
    }
    Some(())
}

/// Whether something other than the beginning of a line stands before the first key of a table.
fn is_inline(text: &str, first_key: usize) -> bool {
    text[..first_key].rsplit('\n').next().is_some_and(|before| before.contains('{'))
}

/// What goes when a parameter goes: its line, or its pair and one comma of an inline table.
fn lines_of(text: &str, table: &DeTable<'_>, name: &str, value: Range<usize>) -> Option<Range<usize>> {
    let key = table.keys().find(|key| key.get_ref() == name)?.span();
    let first = table.keys().map(toml::Spanned::span).min_by_key(|span| span.start)?;
    if !is_inline(text, first.start) {
        let start = text[..key.start].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[value.end..].find('\n').map_or(text.len(), |newline| value.end + newline + 1);
        return Some(start..end);
    }
    let comma_after = text[value.end..].trim_start().starts_with(',');
    if comma_after {
        let comma = value.end + text[value.end..].find(',')? + 1;
        let blank = text[comma..].len() - text[comma..].trim_start_matches(' ').len();
        return Some(key.start..comma + blank);
    }
    let before = text[..key.start].trim_end();
    Some(if before.ends_with(',') { before.len() - 1..value.end } else { key.start..value.end })
}

fn line(name: &str, value: &Value) -> Option<String> {
    written(value).map(|value| format!("{name} = {value}\n"))
}

/// The `[parameters]` of a new file: what differs from the defaults of each kind, and a blend's parts.
pub(crate) fn parameters_table(parameters: &Parameters) -> String {
    let own = |parameters: &Parameters| -> Vec<String> {
        let (defaults, map) = (Parameters::defaults(parameters.kind()).to_map(), parameters.to_map());
        let differing = changed(&defaults, &map).into_iter();
        differing.filter_map(|(name, value)| Some(format!("{name} = {}", written(value?)?))).collect()
    };
    if let Parameters::Blend(blend) = parameters {
        let part = |part: &recommend::BlendPart| {
            let own = own(&part.parameters);
            let own = if own.is_empty() { own.concat() } else { format!("parameters = {{ {} }}\n", own.join(", ")) };
            format!("\n[[parameters.parts]]\nkind = \"{}\"\nweight = {}\n{own}", part.parameters.kind(), part.weight)
        };
        return blend.parts.iter().map(part).collect();
    }
    let own = own(parameters);
    if own.is_empty() { String::new() } else { format!("\n[parameters]\n{}\n", own.join("\n")) }
}

/// A number or a word as TOML has it; a whole number without a point, as people write it.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            Some(float.map_or_else(|| number.to_string(), |float| float.to_string()))
        }
        Value::String(word) => Some(format!("\"{word}\"")),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HEAD: &str = "# Mine.\nkind = \"ease\" # the kind\ninteractions = \"a.b\"\n";

    /// The text after setting these parameters on top of what it says.
    fn edited(text: &str, kind: &str, parameters: Value) -> String {
        let given = parameters.as_object().unwrap().clone().into_iter().collect();
        let wanted = Parameters::resolve(kind.parse().unwrap(), &given).unwrap();
        with_parameters(text, &wanted).unwrap_or_else(|| "by hand".to_owned())
    }

    #[test]
    fn a_value_changes_and_comments_stay() {
        let text = format!("{HEAD}\n[parameters]\n# Trust.\nlambda = 200 # was 100\n\n[rerank]\ndiversity = 0.8\n");
        assert_eq!(edited(&text, "ease", json!({ "lambda": 431.0 })), text.replace("200", "431"));
        let added = text.replace("200 # was 100\n", "431 # was 100\nrecency = 8.5\n");
        assert_eq!(edited(&text, "ease", json!({ "lambda": 431.0, "recency": 8.5 })), added);
        assert_eq!(edited(&added, "ease", json!({ "lambda": 431.0 })), text.replace("200", "431"));
    }

    #[test]
    fn a_table_is_made_where_there_is_none() {
        assert_eq!(edited(HEAD, "ease", json!({ "recency": 3 })), format!("{HEAD}\n[parameters]\nrecency = 3\n"));
        let inline = format!("{HEAD}parameters = {{ lambda = 5, recency = 2 }}\n");
        assert_eq!(edited(&inline, "ease", json!({ "lambda": 6 })), inline.replace("5, recency = 2", "6"));
        let dotted = format!("{HEAD}parameters.lambda = 5\n");
        assert_eq!(edited(&dotted, "ease", json!({ "lambda": 6 })), dotted.replace('5', "6"));
        assert_eq!(edited(&dotted, "ease", json!({ "lambda": 6, "recency": 2 })), "by hand");
    }

    #[test]
    fn the_parts_of_a_blend_change_in_either_form() {
        let parts = |first: Value, second: Value| {
            json!({ "parts": [
                { "kind": "ease", "weight": 0.35, "parameters": first },
                { "kind": "sequence", "weight": 0.65, "parameters": second },
            ] })
        };
        let head = HEAD.replace("\"ease\"", "\"blend\"");
        let text = format!(
            "{head}[[parameters.parts]]\nkind = \"ease\"\nweight = 0.5 # half\nparameters = {{ lambda = 300, recency = 15 }}\n\n[[parameters.parts]]\nkind = \"sequence\"\nweight = 0.5\n"
        );
        let wanted = parts(json!({ "lambda": 300, "recency": 9 }), json!({ "window": 5 }));
        let expected = text
            .replace("0.5 # half", "0.35 # half")
            .replace("15", "9")
            .replace("weight = 0.5\n", "weight = 0.65\nparameters = { window = 5 }\n");
        assert_eq!(edited(&text, "blend", wanted.clone()), expected);
        let inline = format!(
            "{head}[parameters]\nparts = [{{ kind = \"ease\", weight = 0.5, parameters = {{ lambda = 300 }} }}, {{ kind = \"sequence\", weight = 0.5 }}]\n"
        );
        let expected = format!(
            "{head}[parameters]\nparts = [{{ kind = \"ease\", weight = 0.35, parameters = {{ lambda = 300, recency = 9 }} }}, {{ kind = \"sequence\", weight = 0.65, parameters = {{ window = 5 }} }}]\n"
        );
        assert_eq!(edited(&inline, "blend", wanted.clone()), expected);
        assert_eq!(edited(&head, "blend", wanted), "by hand", "the default parts are written by nobody");
    }
}
