//! What a condition means: compiled conditions against the attributes of a unit.
//!
//! In: a compiled [`Condition`], attributes, saved groups.  Out: whether the condition holds, as the JavaScript SDK has it.
//! Never here: reading conditions (see `condition_parser`).
//! Start at [`Evaluation::holds`].

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use super::javascript;
use super::pattern::Pattern;
use super::value::{NULL, Object, Value};

/// All clauses must hold.
#[derive(Debug, Default)]
pub(crate) struct Condition(pub(crate) Vec<Clause>);

#[derive(Debug)]
pub(crate) enum Clause {
    Or(Vec<Condition>),
    Nor(Vec<Condition>),
    And(Vec<Condition>),
    Not(Condition),
    /// A reference that names no group, or wrongly, matches nobody.
    SavedGroup(Option<GroupReference>),
    Attribute(Path, Test),
}

#[derive(Debug)]
pub(crate) struct GroupReference {
    /// Position among the payload's saved groups.
    pub(crate) group: usize,
    /// The attribute to look up in place of the group's own.
    pub(crate) attribute: Option<Path>,
}

/// The steps of a dotted path.
#[derive(Debug)]
pub(crate) struct Path(Box<[Box<str>]>);

impl Path {
    pub(crate) fn new(path: &str) -> Self {
        Self(path.split('.').map(Box::from).collect())
    }
}

/// What is asked of one value.
#[derive(Debug)]
pub(crate) enum Test {
    Text(Box<str>),
    /// Text in lower case, for `$alli`.
    Folded(Box<str>),
    Number(f64),
    Bool(bool),
    Null,
    /// Compared by its text in JSON.
    Json(Value),
    Operators(Vec<Operator>),
}

#[derive(Debug)]
pub(crate) enum Operator {
    /// The padded version; which orders satisfy it.
    Version(Box<str>, Orders),
    Equal(Value),
    NotEqual(Value),
    Compare(Value, Orders),
    Exists(bool),
    In(List),
    NotIn(List),
    InFolded(List),
    NotInFolded(List),
    /// A group by its position; `None` is an unknown group, which is empty.
    InGroup(Option<usize>),
    NotInGroup(Option<usize>),
    Not(Box<Test>),
    Size(Box<Test>),
    AnyTest(Box<Test>),
    AnyCondition(Condition),
    All(Vec<Test>),
    Regex(Arc<Pattern>),
    Type(Kind),
    /// An operator or an argument that matches nothing.
    Never,
}

/// Which results of a comparison satisfy an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Orders {
    pub(crate) less: bool,
    pub(crate) equal: bool,
    pub(crate) greater: bool,
}

impl Orders {
    fn admit(self, order: Ordering) -> bool {
        match order {
            Ordering::Less => self.less,
            Ordering::Equal => self.equal,
            Ordering::Greater => self.greater,
        }
    }
}

/// What `$type` names. `undefined` is never seen: what is missing is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

/// Values to be found in; lists and objects among them are never found, as they are never the same.
#[derive(Debug, Default)]
pub(crate) struct List {
    texts: HashSet<Box<str>>,
    /// Bits of the numbers, −0 as 0.
    numbers: HashSet<u64>,
    truth: [bool; 2],
    null: bool,
}

fn bits(number: f64) -> u64 {
    if number == 0.0 { 0 } else { number.to_bits() }
}

impl List {
    pub(crate) fn new(values: &[Value], folded: bool) -> Self {
        let mut list = Self::default();
        for value in values {
            match value {
                Value::Null => list.null = true,
                Value::Bool(value) => list.truth[usize::from(*value)] = true,
                Value::Number(number) => _ = list.numbers.insert(bits(*number)),
                Value::String(text) if folded => _ = list.texts.insert(text.to_lowercase().into()),
                Value::String(text) => _ = list.texts.insert(text.clone()),
                Value::Array(_) | Value::Object(_) => {}
            }
        }
        list
    }

    fn holds(&self, value: &Value, folded: bool) -> bool {
        match value {
            Value::Null => self.null,
            Value::Bool(value) => self.truth[usize::from(*value)],
            Value::Number(number) => self.numbers.contains(&bits(*number)),
            Value::String(text) if folded => self.texts.contains(&*text.to_lowercase()),
            Value::String(text) => self.texts.contains(&**text),
            Value::Array(_) | Value::Object(_) => false,
        }
    }

    /// Whether the value, or one of its parts if it is a list, is in here.
    fn meets(&self, value: &Value, folded: bool) -> bool {
        match value {
            Value::Array(values) => values.iter().any(|value| self.holds(value, folded)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                self.holds(value, folded)
            }
        }
    }
}

/// A saved group.
#[derive(Debug)]
pub(crate) struct SavedGroup {
    /// Its values, for the operators that take their attribute from where they stand; `None` if it has none, and then they match nobody.
    pub(crate) list: Option<List>,
    pub(crate) kind: GroupKind,
}

#[derive(Debug)]
pub(crate) enum GroupKind {
    /// Values of an attribute, unless the reference names another.
    List(Option<Path>),
    Condition(Condition),
    /// A bare list of the old kind, or what no SDK knows: a reference to it matches nobody.
    Other,
}

/// What a condition looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'a> {
    Attributes(&'a Object),
    /// The value of a prerequisite, under the name `value`.
    Prerequisite(&'a Value),
    Element(&'a Value),
}

/// Conditions within conditions, counted through saved groups. JSON ends at 127 levels, so only groups that refer to groups reach this.
const MAX_DEPTH: u32 = 400;

/// Groups and prerequisites that one evaluation looks into; a payload whose groups each refer twice to the next would double the work with each.
pub(crate) const MAX_STEPS: u32 = 10_000;

/// The state of one evaluation.
#[derive(Debug)]
pub(crate) struct Evaluation<'a> {
    pub(crate) groups: &'a [SavedGroup],
    /// What is left of [`MAX_STEPS`].
    pub(crate) steps: u32,
    depth: u32,
}

/// Groups that are being looked into, to stop cycles.
struct Visited<'v> {
    group: usize,
    before: Option<&'v Visited<'v>>,
}

type Trail<'v> = Option<&'v Visited<'v>>;

impl<'a> Evaluation<'a> {
    pub(crate) fn new(groups: &'a [SavedGroup]) -> Self {
        Self { groups, steps: MAX_STEPS, depth: 0 }
    }

    /// Whether a condition holds. Past [`MAX_DEPTH`] or [`MAX_STEPS`] a group matches nobody.
    pub(crate) fn holds(&mut self, condition: &Condition, subject: Subject<'_>) -> bool {
        self.condition(condition, subject, None)
    }

    fn condition(&mut self, condition: &Condition, subject: Subject<'_>, trail: Trail<'_>) -> bool {
        if self.depth >= MAX_DEPTH {
            return false;
        }
        self.depth += 1;
        let holds = condition.0.iter().all(|clause| match clause {
            Clause::Or(conditions) => self.any(conditions, subject, trail),
            Clause::Nor(conditions) => !self.any(conditions, subject, trail),
            Clause::And(conditions) => conditions.iter().all(|condition| self.condition(condition, subject, trail)),
            Clause::Not(condition) => !self.condition(condition, subject, trail),
            Clause::SavedGroup(reference) => {
                reference.as_ref().is_some_and(|reference| self.saved_group(reference, subject, trail))
            }
            Clause::Attribute(path, test) => look_up(subject, path, |value| self.test(test, value, trail)),
        });
        self.depth -= 1;
        holds
    }

    /// No condition at all counts as one that holds.
    fn any(&mut self, conditions: &[Condition], subject: Subject<'_>, trail: Trail<'_>) -> bool {
        conditions.is_empty() || conditions.iter().any(|condition| self.condition(condition, subject, trail))
    }

    fn saved_group(&mut self, reference: &GroupReference, subject: Subject<'_>, trail: Trail<'_>) -> bool {
        let seen =
            std::iter::successors(trail, |visited| visited.before).any(|visited| visited.group == reference.group);
        if seen || self.steps == 0 {
            return false;
        }
        self.steps -= 1;
        let group = &self.groups[reference.group];
        match &group.kind {
            GroupKind::List(attribute) => match (reference.attribute.as_ref().or(attribute.as_ref()), &group.list) {
                (Some(path), Some(list)) => look_up(subject, path, |value| list.meets(value, false)),
                (Some(_) | None, _) => false,
            },
            GroupKind::Condition(condition) => {
                let visited = Visited { group: reference.group, before: trail };
                self.condition(condition, subject, Some(&visited))
            }
            GroupKind::Other => false,
        }
    }

    fn test(&mut self, test: &Test, value: &Value, trail: Trail<'_>) -> bool {
        match test {
            Test::Text(text) => match value {
                Value::String(value) => value == text,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    javascript::text_of(value) == **text
                }
            },
            Test::Folded(text) => javascript::text_of(value).to_lowercase() == **text,
            Test::Number(number) => javascript::number_of(value) == *number,
            Test::Bool(truth) => !value.is_null() && javascript::is_truthy(value) == *truth,
            Test::Null => value.is_null(),
            Test::Json(json) => value == json,
            Test::Operators(operators) => operators.iter().all(|operator| self.operator(operator, value, trail)),
        }
    }

    fn operator(&mut self, operator: &Operator, value: &Value, trail: Trail<'_>) -> bool {
        match operator {
            Operator::Version(version, orders) => {
                orders.admit(javascript::compare_text(&javascript::padded_version(value), version))
            }
            Operator::Equal(other) => javascript::is_same(value, other),
            Operator::NotEqual(other) => !javascript::is_same(value, other),
            Operator::Compare(other, orders) => {
                javascript::compare(value, other).is_some_and(|order| orders.admit(order))
            }
            Operator::Exists(exists) => value.is_null() != *exists,
            Operator::In(list) => list.meets(value, false),
            Operator::NotIn(list) => !list.meets(value, false),
            Operator::InFolded(list) => list.meets(value, true),
            Operator::NotInFolded(list) => !list.meets(value, true),
            Operator::InGroup(group) => {
                self.list(*group).is_some_and(|list| list.is_some_and(|list| list.meets(value, false)))
            }
            Operator::NotInGroup(group) => {
                self.list(*group).is_some_and(|list| !list.is_some_and(|list| list.meets(value, false)))
            }
            Operator::Not(test) => !self.test(test, value, trail),
            Operator::Size(test) => {
                value.as_array().is_some_and(|values| self.test(test, &Value::Number(values.len() as f64), trail))
            }
            Operator::AnyTest(test) => {
                elements(value).iter().any(|value| !value.is_null() && self.test(test, value, trail))
            }
            Operator::AnyCondition(condition) => elements(value)
                .iter()
                .any(|value| !value.is_null() && self.condition(condition, Subject::Element(value), trail)),
            Operator::All(tests) => value.as_array().is_some_and(|values| {
                tests.iter().all(|test| values.iter().any(|value| self.test(test, value, trail)))
            }),
            Operator::Regex(pattern) => pattern.is_match(&javascript::text_of(value)),
            Operator::Type(kind) => kind_of(value) == *kind,
            Operator::Never => false,
        }
    }

    /// The list of a group for `$inGroup` and `$notInGroup`: `None` if neither may hold; `Some(None)` is an empty one.
    fn list(&self, group: Option<usize>) -> Option<Option<&'a List>> {
        match group {
            None => Some(None),
            Some(group) => self.groups[group].list.as_ref().map(Some),
        }
    }
}

fn elements(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_default()
}

fn kind_of(value: &Value) -> Kind {
    match value {
        Value::Null => Kind::Null,
        Value::Bool(_) => Kind::Boolean,
        Value::Number(_) => Kind::Number,
        Value::String(_) => Kind::String,
        Value::Array(_) => Kind::Array,
        Value::Object(_) => Kind::Object,
    }
}

/// Calls `then` with the value at a path, or with null. A list has its places and its `length`.
fn look_up<R>(subject: Subject<'_>, Path(steps): &Path, then: impl FnOnce(&Value) -> R) -> R {
    let (first, rest) = (&steps[0], &steps[1..]);
    let start = match subject {
        Subject::Attributes(attributes) => attributes.get(first).map(|value| (value, rest)),
        Subject::Prerequisite(value) => (**first == *"value").then_some((value, rest)),
        Subject::Element(value) => Some((value, &steps[..])),
    };
    let Some((mut value, mut steps)) = start else { return then(&NULL) };
    while let Some((step, rest)) = steps.split_first() {
        let next = match value {
            Value::Object(object) => object.get(step),
            // Behind a number there is nothing more.
            Value::Array(values) if **step == *"length" && rest.is_empty() => {
                return then(&Value::Number(values.len() as f64));
            }
            Value::Array(values) => javascript::array_index(step).and_then(|index| values.get(index as usize)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        };
        let Some(next) = next else { return then(&NULL) };
        (value, steps) = (next, rest);
    }
    then(value)
}
