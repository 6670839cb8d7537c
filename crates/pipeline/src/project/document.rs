//! Reads one project file into a typed value, or says exactly where it is wrong.
//!
//! In: a TOML file.  Out: a typed value, or a [`FileProblem`] with file, line, column and the nearest valid name.
//! Never here: what the keys mean; each room owns the struct of its part.
//! Start at [`Document::parse`].

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use super::read::split_suggestion;
use crate::error::{FileProblem, PipelineError};
use crate::nearest::nearest;

/// Largest project file that is read, in bytes: a thousand times what one needs, and no surprise for the memory.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// A project file as text, with the name that messages show.
#[derive(Debug)]
pub(crate) struct Document {
    /// Relative to the project, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Document {
    /// Reads `path`, which is relative to `root`.
    pub(crate) fn read(root: &Path, path: &str) -> Result<Self, PipelineError> {
        let full = root.join(path);
        let io = |error: std::io::Error| PipelineError::io(&full, &error);
        let size = fs::metadata(&full).map_err(io)?.len();
        if size > MAX_FILE_BYTES {
            let message = format!("this file has {size} bytes; a project file has at most {MAX_FILE_BYTES}");
            return Err(FileProblem::at_start(path, "file_too_large", message).into());
        }
        let bytes = fs::read(&full).map_err(io)?;
        match String::from_utf8(bytes) {
            // Editors on Windows put a byte order mark in front; TOML does not know it.
            Ok(text) => Ok(Self { path: path.to_owned(), text: text.trim_start_matches('\u{feff}').to_owned() }),
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let document = Self { path: path.to_owned(), text };
                let problem = document.problem(good..good, "not_utf8", "this file is not UTF-8 text".to_owned());
                Err(problem.with_help("save it as UTF-8".to_owned()).into())
            }
        }
    }

    /// The whole file as a `T`.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, PipelineError> {
        let table = self.table()?;
        self.parse_table(table)
    }

    /// The file as keys and values that know their place.
    pub(crate) fn table(&self) -> Result<toml::Spanned<DeTable<'_>>, PipelineError> {
        DeTable::parse(&self.text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let (message, expected) = split_expected(error.message());
            let problem = self.problem(span, "bad_toml", format!("not valid TOML: {message}"));
            problem.with_note(expected.map(|expected| format!("expected {expected}"))).into()
        })
    }

    /// A table of this file as a `T`.
    pub(crate) fn parse_table<T: DeserializeOwned>(
        &self,
        table: toml::Spanned<DeTable<'_>>,
    ) -> Result<T, PipelineError> {
        T::deserialize(toml::Deserializer::from(table)).map_err(|error| self.explain(&error).into())
    }

    /// A problem at a range of bytes.
    pub(crate) fn problem(&self, span: std::ops::Range<usize>, code: &'static str, message: String) -> FileProblem {
        let (line, column, source) = self.place(span.start);
        FileProblem { code, message, file: self.path.clone(), line, column, source, notes: Vec::new(), help: None }
    }

    /// A problem at the value under `keys`, or at its nearest parent that exists.
    pub(crate) fn problem_at(&self, keys: &[&str], code: &'static str, message: String) -> FileProblem {
        self.problem(self.span_of(keys), code, message)
    }

    /// Bytes of the value under `keys`; a key that does not exist ends the walk.
    fn span_of(&self, keys: &[&str]) -> std::ops::Range<usize> {
        let Ok(table) = DeTable::parse(&self.text) else { return 0..0 };
        let mut span = 0..0;
        let mut value = DeValue::Table(table.into_inner());
        for key in keys {
            let next = match &value {
                DeValue::Table(table) => table.get(*key).cloned(),
                DeValue::Array(items) => key.parse::<usize>().ok().and_then(|place| items.get(place).cloned()),
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_) => None,
            };
            let Some(next) = next else { break };
            span = next.span();
            value = next.into_inner();
        }
        span
    }

    /// Line and column (both from 1, column in characters) and the text of that line.
    fn place(&self, offset: usize) -> (usize, usize, String) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        let source = self.text[start..].lines().next().unwrap_or_default().to_owned();
        (line, before[start..].chars().count() + 1, source)
    }

    /// Turns serde's sentence into ours: one problem, its place, what was expected, the nearest valid name.
    fn explain(&self, error: &toml::de::Error) -> FileProblem {
        let text = error.message();
        let span = error.span().unwrap_or(0..0);
        if let Some((name, rest)) = named(text, "unknown field `") {
            let span = self.span_of_name(&span, name, Find::Key);
            return self.unknown(span, "unknown_key", format!("unknown key `{name}`"), name, rest);
        }
        if let Some((name, rest)) = named(text, "unknown variant `") {
            let span = self.span_of_name(&span, name, Find::Text);
            return self.unknown(span, "bad_value", format!("`{name}` is not a value of this key"), name, rest);
        }
        if let Some((name, _)) = named(text, "missing field `") {
            let help = match name {
                "project" | "tables" => format!("add a section `[{name}]`"),
                _ => format!("add `{name} = …` here"),
            };
            return self.problem(span, "missing_key", format!("key `{name}` is missing")).with_help(help);
        }
        let (text, meant) = split_suggestion(text);
        let (message, expected) = split_expected(text);
        let message = message.replace("invalid type: ", "wrong type: ").replace("invalid value: ", "bad value: ");
        let problem =
            self.problem(span, "bad_value", message).with_note(expected.map(|expected| format!("expected {expected}")));
        match meant {
            Some(meant) => problem.with_help(meant.to_owned()),
            None => problem,
        }
    }

    fn unknown(
        &self,
        span: std::ops::Range<usize>,
        code: &'static str,
        message: String,
        name: &str,
        rest: &str,
    ) -> FileProblem {
        // serde writes: , expected one of `a`, `b`   , expected `a` or `b`   , there are no fields
        let names: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let problem = self.problem(span, code, message);
        if names.is_empty() {
            return problem.with_note(Some("expected no key here".to_owned()));
        }
        let one_of = if names.len() == 1 { "" } else { "one of " };
        let expected: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let problem = problem.with_note(Some(format!("expected {one_of}{}", expected.join(", "))));
        match nearest(name, names) {
            Some(meant) => problem.with_help(format!("did you mean `{meant}`?")),
            None => problem,
        }
    }

    /// serde forgets the place inside tagged enums and then gives the whole table: look for the name there.
    fn span_of_name(&self, within: &std::ops::Range<usize>, name: &str, find: Find) -> std::ops::Range<usize> {
        if self.text.get(within.clone()).is_some_and(|text| text.trim_matches(['"', '\'']) == name) {
            return within.clone();
        }
        let Ok(table) = DeTable::parse(&self.text) else { return within.clone() };
        let mut found = Vec::new();
        find_name(&DeValue::Table(table.into_inner()), name, find, &mut found);
        // A table's own span is only its header, so what follows it counts too.
        let after = found.iter().find(|span| span.start >= within.start);
        after.or(found.first()).cloned().unwrap_or_else(|| within.clone())
    }
}

/// What [`find_name`] looks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Find {
    Key,
    Text,
}

fn find_name(value: &DeValue<'_>, name: &str, find: Find, found: &mut Vec<std::ops::Range<usize>>) {
    match value {
        DeValue::Table(table) => {
            for (key, value) in table.iter() {
                if find == Find::Key && key.get_ref() == name {
                    found.push(key.span());
                }
                if find == Find::Text && value.get_ref().as_str() == Some(name) {
                    found.push(value.span());
                }
                find_name(value.get_ref(), name, find, found);
            }
        }
        DeValue::Array(items) => {
            for item in items.iter() {
                if find == Find::Text && item.get_ref().as_str() == Some(name) {
                    found.push(item.span());
                }
                find_name(item.get_ref(), name, find, found);
            }
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

/// `prefix` + name + "`" + rest → (name, rest).
fn named<'a>(text: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix(prefix)?.split_once('`')
}

/// `what is wrong, expected this` → (what is wrong, this).
fn split_expected(text: &str) -> (&str, Option<&str>) {
    match text.split_once(", expected ") {
        Some((message, expected)) => (message, Some(expected.trim_end())),
        None => (text.trim_end(), None),
    }
}
