//! Fields of JSON objects, with the place named in each error.
//!
//! In: an object and where it stands.  Out: fields of the type that was asked for.
//! Never here: what a field means.
//! Start at [`Fields`].

use super::condition_parser::Warning;
use super::error::AssignError;
use super::hash::Range;
use super::javascript;
use super::value::{Object, Value};

/// The attribute that is hashed when none is named.
pub(crate) const DEFAULT_ATTRIBUTE: &str = "id";

type Parsed<T> = Result<T, AssignError>;

/// The fields of one object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    at: &'a str,
    object: &'a Object,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(at: &'a str, object: &'a Object) -> Self {
        Self { at, object }
    }

    pub(crate) fn of(at: &'a str, value: &'a Value) -> Parsed<Self> {
        let object = value.as_object().ok_or_else(|| AssignError::payload(at, "is no object: write `{…}`"))?;
        Ok(Self { at, object })
    }

    pub(crate) fn at(self) -> &'a str {
        self.at
    }

    pub(crate) fn object_itself(self) -> &'a Object {
        self.object
    }

    fn wrong(self, name: &str, problem: &str) -> AssignError {
        let dot = if self.at.is_empty() { "" } else { "." };
        AssignError::payload(format!("{}{dot}{name}", self.at), problem)
    }

    pub(crate) fn warning(self, problem: &str) -> Warning {
        Warning { at: self.at.to_owned(), problem: problem.to_owned() }
    }

    /// A field that may be null.
    pub(crate) fn raw(self, name: &str) -> Option<&'a Value> {
        self.object.get(name)
    }

    /// A field; null counts as missing.
    pub(crate) fn value(self, name: &str) -> Option<&'a Value> {
        self.raw(name).filter(|value| !value.is_null())
    }

    fn typed<T>(self, name: &str, expected: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Parsed<Option<T>> {
        self.value(name).map(|value| read(value).ok_or_else(|| self.wrong(name, expected))).transpose()
    }

    pub(crate) fn object(self, name: &str) -> Parsed<Option<&'a Object>> {
        self.typed(name, "is no object: write `{…}`", Value::as_object)
    }

    pub(crate) fn list(self, name: &str) -> Parsed<Option<&'a [Value]>> {
        self.typed(name, "is no list: write `[…]`", Value::as_array)
    }

    pub(crate) fn text(self, name: &str) -> Parsed<Option<&'a str>> {
        self.typed(name, "is no text: write it in quotes", Value::as_str)
    }

    /// Text that counts as missing when it is empty.
    pub(crate) fn name(self, name: &str) -> Parsed<Option<&'a str>> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()))
    }

    pub(crate) fn truth(self, name: &str) -> bool {
        self.raw(name).is_some_and(javascript::is_truthy)
    }

    pub(crate) fn number(self, name: &str) -> Parsed<Option<f64>> {
        self.typed(name, "is no number", Value::as_number)
    }

    /// The share of units. SDKs take null for 0, and a missing one for 1: nobody should have to know that.
    pub(crate) fn coverage(self) -> Parsed<Option<f64>> {
        if self.raw("coverage") == Some(&Value::Null) {
            return Err(self.wrong("coverage", "is null: write a share from 0 to 1, or leave it out"));
        }
        self.number("coverage")
    }

    pub(crate) fn numbers(self, name: &str) -> Parsed<Option<Vec<f64>>> {
        self.typed(name, "is no list of numbers: write `[0.5, 0.5]`", |value| {
            value.as_array()?.iter().map(Value::as_number).collect()
        })
    }

    pub(crate) fn range(self, name: &str) -> Parsed<Option<Range>> {
        self.typed(name, "is no range: write `[start, end]`", range)
    }

    pub(crate) fn ranges(self, name: &str) -> Parsed<Option<Vec<Range>>> {
        self.typed(name, "is no list of ranges: write `[[start, end], …]`", |value| {
            value.as_array()?.iter().map(range).collect()
        })
    }
}

fn range(value: &Value) -> Option<Range> {
    let [Value::Number(start), Value::Number(end), ..] = value.as_array()? else { return None };
    Some(Range { start: *start, end: *end })
}
