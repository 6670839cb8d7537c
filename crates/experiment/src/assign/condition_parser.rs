//! Reads conditions into the form in which they are evaluated.
//!
//! In: a condition as JSON.  Out: a [`Condition`], and what in it can never match as it stands.
//! Never here: evaluation (see `condition`).
//! Start at [`Parser::condition`].

use std::collections::HashMap;
use std::sync::Arc;

use super::condition::{
    Clause, Condition, GroupKind, GroupReference, Kind, List, Operator, Orders, Path, SavedGroup, Test,
};
use super::error::AssignError;
use super::javascript;
use super::pattern::Pattern;
use super::value::{Object, Value};

/// What an SDK takes and never matches; whoever saves the payload should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where, such as `features.home.rules.0.condition.country.$regex`.
    pub at: String,
    /// What is wrong, and what to do instead.
    pub problem: String,
}

/// A pattern, or why it cannot be used.
type Usable = Result<Arc<Pattern>, &'static str>;

/// Reads conditions of one payload.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    groups: HashMap<Box<str>, usize>,
    patterns: HashMap<(Box<str>, bool), Usable>,
    pub(crate) warnings: Vec<Warning>,
}

type Parsed<T> = Result<T, AssignError>;

const LESS: Orders = Orders { less: true, equal: false, greater: false };
const NOT_GREATER: Orders = Orders { equal: true, ..LESS };
const GREATER: Orders = Orders { less: false, equal: false, greater: true };
const NOT_LESS: Orders = Orders { equal: true, ..GREATER };
const EQUAL: Orders = Orders { less: false, equal: true, greater: false };
const UNEQUAL: Orders = Orders { less: true, equal: false, greater: true };

impl Parser {
    /// Reads the saved groups of a payload; conditions may refer to them from then on.
    pub(crate) fn saved_groups(&mut self, groups: Option<&Object>) -> Parsed<Vec<SavedGroup>> {
        let Some(groups) = groups else { return Ok(Vec::new()) };
        self.groups = groups.iter().enumerate().map(|(i, (id, _))| (id.into(), i)).collect();
        groups.iter().map(|(id, group)| self.saved_group(&format!("savedGroups.{id}"), group)).collect()
    }

    fn saved_group(&mut self, at: &str, group: &Value) -> Parsed<SavedGroup> {
        let nothing = SavedGroup { list: None, kind: GroupKind::Other };
        if let Value::Array(values) = group {
            return Ok(SavedGroup { list: Some(List::new(values, false)), ..nothing });
        }
        let field = |name| group.as_object().and_then(|group| group.get(name));
        match field("type").and_then(Value::as_str) {
            Some("list") => {
                let list = field("values").and_then(Value::as_array).map(|values| List::new(values, false));
                let attribute = field("attributeKey").and_then(Value::as_str).map(Path::new);
                Ok(SavedGroup { list, kind: GroupKind::List(attribute) })
            }
            Some("condition") => match field("condition") {
                Some(condition @ (Value::Object(_) | Value::Array(_))) => {
                    let condition = self.condition(&format!("{at}.condition"), condition)?;
                    Ok(SavedGroup { list: None, kind: GroupKind::Condition(condition) })
                }
                Some(_) | None => Ok(nothing),
            },
            Some(_) | None => {
                self.warn(
                    at,
                    "is no saved group that SDKs know, so it matches nobody: give it the type `list` or `condition`",
                );
                Ok(nothing)
            }
        }
    }

    fn warn(&mut self, at: &str, problem: impl Into<String>) {
        self.warnings.push(Warning { at: at.to_owned(), problem: problem.into() });
    }

    /// Reads a condition. Errors: a form on which the JavaScript SDK stops with an exception, or which it takes by accident.
    pub(crate) fn condition(&mut self, at: &str, condition: &Value) -> Parsed<Condition> {
        let Some(condition) = condition.as_object() else {
            return Err(AssignError::payload(at, "is no condition: write an object, such as `{\"country\":\"DE\"}`"));
        };
        let mut clauses = Vec::with_capacity(condition.len());
        for (key, value) in condition.iter() {
            let at = format!("{at}.{key}");
            clauses.push(match key {
                "$or" => Clause::Or(self.conditions(&at, value)?),
                "$nor" => Clause::Nor(self.conditions(&at, value)?),
                "$and" => Clause::And(self.conditions(&at, value)?),
                "$not" => Clause::Not(self.condition(&at, value)?),
                "$savedGroup" => Clause::SavedGroup(self.reference(&at, value)),
                path => Clause::Attribute(Path::new(path), self.test(&at, value, false)?),
            });
        }
        Ok(Condition(clauses))
    }

    fn conditions(&mut self, at: &str, conditions: &Value) -> Parsed<Vec<Condition>> {
        let Some(conditions) = conditions.as_array() else {
            return Err(AssignError::payload(at, "is no list of conditions: write `[…]`"));
        };
        conditions.iter().enumerate().map(|(i, condition)| self.condition(&format!("{at}.{i}"), condition)).collect()
    }

    fn reference(&mut self, at: &str, reference: &Value) -> Option<GroupReference> {
        let reference = reference.as_object()?;
        let attribute = match reference.get("attributeKey") {
            None => None,
            Some(Value::String(key)) => Some(Path::new(key)),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => return None,
        };
        let id = reference.get("id")?.as_str()?;
        let group = self.groups.get(id).copied();
        if group.is_none() {
            self.warn(
                at,
                format!("refers to the saved group `{id}`, which the payload does not hold, so it matches nobody"),
            );
        }
        Some(GroupReference { group: group?, attribute })
    }

    fn test(&mut self, at: &str, test: &Value, folded: bool) -> Parsed<Test> {
        Ok(match test {
            Value::Null => Test::Null,
            Value::Bool(truth) => Test::Bool(*truth),
            Value::Number(number) => Test::Number(*number),
            Value::String(text) if folded => Test::Folded(text.to_lowercase().into()),
            Value::String(text) => Test::Text(text.clone()),
            Value::Object(operators) if is_operators(operators) => {
                let operator = |(name, argument)| self.operator(&format!("{at}.{name}"), name, argument);
                Test::Operators(operators.iter().map(operator).collect::<Parsed<_>>()?)
            }
            Value::Array(_) | Value::Object(_) => Test::Json(test.clone()),
        })
    }

    fn operator(&mut self, at: &str, name: &str, argument: &Value) -> Parsed<Operator> {
        let version = |orders| Operator::Version(javascript::padded_version(argument).into(), orders);
        let compare = |orders| Operator::Compare(argument.clone(), orders);
        Ok(match name {
            "$veq" => version(EQUAL),
            "$vne" => version(UNEQUAL),
            "$vlt" => version(LESS),
            "$vlte" => version(NOT_GREATER),
            "$vgt" => version(GREATER),
            "$vgte" => version(NOT_LESS),
            "$eq" => Operator::Equal(argument.clone()),
            "$ne" => Operator::NotEqual(argument.clone()),
            "$lt" => compare(LESS),
            "$lte" => compare(NOT_GREATER),
            "$gt" => compare(GREATER),
            "$gte" => compare(NOT_LESS),
            "$exists" => Operator::Exists(javascript::is_truthy(argument)),
            "$in" => self.list(at, argument, Operator::In, false),
            "$nin" => self.list(at, argument, Operator::NotIn, false),
            "$ini" => self.list(at, argument, Operator::InFolded, true),
            "$nini" => self.list(at, argument, Operator::NotInFolded, true),
            "$inGroup" => Operator::InGroup(self.group(at, argument)),
            "$notInGroup" => Operator::NotInGroup(self.group(at, argument)),
            "$not" => Operator::Not(Box::new(self.test(at, argument, false)?)),
            "$size" => Operator::Size(Box::new(self.test(at, argument, false)?)),
            "$elemMatch" => match argument {
                Value::Object(operators) if is_operators(operators) => {
                    Operator::AnyTest(Box::new(self.test(at, argument, false)?))
                }
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_)
                | Value::Object(_) => Operator::AnyCondition(self.condition(at, argument)?),
            },
            "$all" | "$alli" => self.all(at, argument, name == "$alli")?,
            "$regex" | "$regexi" => self.pattern(at, argument, name == "$regexi"),
            "$type" => self.kind(at, argument),
            _ => {
                self.warn(at, format!("is no operator that SDKs know, so it matches nobody: `{name}`"));
                Operator::Never
            }
        })
    }

    fn list(&mut self, at: &str, argument: &Value, operator: fn(List) -> Operator, folded: bool) -> Operator {
        if let Some(values) = argument.as_array() {
            return operator(List::new(values, folded));
        }
        self.warn(at, "is no list, so it matches nobody: write `[…]`");
        Operator::Never
    }

    fn group(&mut self, at: &str, argument: &Value) -> Option<usize> {
        let id = javascript::text_of(argument);
        let group = self.groups.get(&*id).copied();
        if group.is_none() {
            self.warn(
                at,
                format!("refers to the saved group `{id}`, which the payload does not hold, so it counts as empty"),
            );
        }
        group
    }

    fn all(&mut self, at: &str, argument: &Value, folded: bool) -> Parsed<Operator> {
        let Some(values) = argument.as_array() else {
            self.warn(at, "is no list, so it matches nobody: write `[…]`");
            return Ok(Operator::Never);
        };
        let tests = values.iter().enumerate().map(|(i, value)| self.test(&format!("{at}.{i}"), value, folded));
        Ok(Operator::All(tests.collect::<Parsed<_>>()?))
    }

    fn pattern(&mut self, at: &str, argument: &Value, ignore_case: bool) -> Operator {
        let Some(text) = argument.as_str() else {
            self.warn(at, "is no pattern, so it matches nobody: write a regular expression as text");
            return Operator::Never;
        };
        let compile = || Pattern::compile(text, ignore_case).map(Arc::new);
        let pattern = self.patterns.entry((text.into(), ignore_case)).or_insert_with(compile);
        match pattern {
            Ok(pattern) => Operator::Regex(Arc::clone(pattern)),
            Err(why) => {
                let problem =
                    format!("never matches, because its pattern `{}` {why}", text.chars().take(80).collect::<String>());
                self.warn(at, problem);
                Operator::Never
            }
        }
    }

    fn kind(&mut self, at: &str, argument: &Value) -> Operator {
        Operator::Type(match argument.as_str() {
            Some("null") => Kind::Null,
            Some("boolean") => Kind::Boolean,
            Some("number") => Kind::Number,
            Some("string") => Kind::String,
            Some("array") => Kind::Array,
            Some("object") => Kind::Object,
            Some(_) | None => {
                self.warn(at, "is no type, so it matches nobody: use null, boolean, number, string, array or object");
                return Operator::Never;
            }
        })
    }
}

/// Operators are an object all of whose keys begin with `$`.
fn is_operators(object: &Object) -> bool {
    !object.is_empty() && object.iter().all(|(key, _)| key.starts_with('$'))
}
