//! The language of conditions on items: `category in ('mugs', 'plates') and price < 10 and not discontinued`.
//!
//! ```text
//! condition  = and { "or" and }            and   = not { "and" not }
//! not        = [ "not" ] not | "(" condition ")" | test
//! test       = name [ ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value ]   (a name alone: is true)
//!            | name [ "not" ] "in" "(" value { "," value } ")" | name "contains" value | name "is" [ "not" ] "null"
//! value      = 'text' | number | true | false | now [ "-" number "days" ]
//! ```
//! As in SQL, what is null answers no test but `is null`, and neither does its opposite.
//! In: text.  Out: [`Condition`], or an error that says where.
//! Never here: items (see `catalogue`).
//! Start at [`Condition::parse`].

use super::words::{Word, words};

/// A condition that was understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Compare {
        name: String,
        comparison: Comparison,
        value: Value,
    },
    In {
        name: String,
        values: Vec<Value>,
    },
    /// A list that holds the value, or a text that holds it as a part.
    Contains {
        name: String,
        value: Value,
    },
    IsNull {
        name: String,
    },
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What an attribute is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Number(f64),
    Truth(bool),
    /// So many days before the moment of the question.
    Ago {
        days: f64,
    },
}

/// Why a condition was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    #[error("the condition is not understood at byte {at}: {found}")]
    Syntax { at: usize, found: String },
    #[error("items have no attribute `{name}`{}", nearest.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default())]
    UnknownAttribute { name: String, nearest: Option<String>, known: Vec<String> },
    #[error("attribute `{name}` holds {holds} and cannot be compared with {value}")]
    WrongType { name: String, holds: &'static str, value: String },
}

impl ConditionError {
    pub(super) fn at(at: usize, found: impl Into<String>) -> Self {
        Self::Syntax { at, found: found.into() }
    }
}

/// Deeper nesting is nobody's filter and would exhaust the stack.
const MAX_DEPTH: usize = 50;

impl Condition {
    /// Understands a condition.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        let words = words(text)?;
        let mut parser = Parser { words: &words, next: 0, end: text.len(), depth: 0 };
        let condition = parser.any()?;
        match parser.words.get(parser.next) {
            None => Ok(condition),
            Some(_) => Err(parser.expected("`and`, `or` or the end")),
        }
    }
}

struct Parser<'a> {
    words: &'a [(usize, Word)],
    next: usize,
    end: usize,
    depth: usize,
}

impl Parser<'_> {
    fn expected(&self, what: &str) -> ConditionError {
        match self.words.get(self.next) {
            Some((at, word)) => ConditionError::at(*at, format!("{} stands there instead of {what}", shown(word))),
            None => ConditionError::at(self.end, format!("it ends there instead of {what}")),
        }
    }

    /// Takes the next word if it is this keyword.
    fn keyword(&mut self, keyword: &str) -> bool {
        let is_it =
            matches!(self.words.get(self.next), Some((_, Word::Name(name))) if name.eq_ignore_ascii_case(keyword));
        self.next += usize::from(is_it);
        is_it
    }

    fn sign(&mut self, sign: &str) -> bool {
        let is_it = matches!(self.words.get(self.next), Some((_, Word::Sign(found))) if *found == sign);
        self.next += usize::from(is_it);
        is_it
    }

    fn any(&mut self) -> Result<Condition, ConditionError> {
        let mut left = self.all()?;
        while self.keyword("or") {
            left = Condition::Or(Box::new(left), Box::new(self.all()?));
        }
        Ok(left)
    }

    fn all(&mut self) -> Result<Condition, ConditionError> {
        let mut left = self.not()?;
        while self.keyword("and") {
            left = Condition::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Condition, ConditionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.expected("a condition that is nested less deeply"));
        }
        let condition = if self.keyword("not") {
            Condition::Not(Box::new(self.not()?))
        } else if self.sign("(") {
            let inner = self.any()?;
            if !self.sign(")") {
                return Err(self.expected("`)`"));
            }
            inner
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(condition)
    }

    fn test(&mut self) -> Result<Condition, ConditionError> {
        let name = match self.words.get(self.next) {
            Some((_, Word::Name(name) | Word::Quoted(name))) => name.clone(),
            Some(_) | None => return Err(self.expected("the name of an attribute")),
        };
        self.next += 1;
        let comparisons = [
            ("=", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<", Comparison::Less),
            ("<=", Comparison::LessOrEqual),
            (">", Comparison::Greater),
            (">=", Comparison::GreaterOrEqual),
        ];
        for (sign, comparison) in comparisons {
            if self.sign(sign) {
                return Ok(Condition::Compare { name, comparison, value: self.value()? });
            }
        }
        if self.keyword("is") {
            let is_not = self.keyword("not");
            return if self.keyword("null") {
                Ok(negated(is_not, Condition::IsNull { name }))
            } else {
                Err(self.expected("`null`"))
            };
        }
        if self.keyword("contains") {
            return Ok(Condition::Contains { name, value: self.value()? });
        }
        let is_not = self.keyword("not");
        if self.keyword("in") {
            return Ok(negated(is_not, Condition::In { name, values: self.values()? }));
        }
        if is_not {
            return Err(self.expected("`in`"));
        }
        Ok(Condition::Compare { name, comparison: Comparison::Equal, value: Value::Truth(true) })
    }

    fn values(&mut self) -> Result<Vec<Value>, ConditionError> {
        if !self.sign("(") {
            return Err(self.expected("`(`"));
        }
        let mut values = vec![self.value()?];
        while self.sign(",") {
            values.push(self.value()?);
        }
        if self.sign(")") { Ok(values) } else { Err(self.expected("`,` or `)`")) }
    }

    fn value(&mut self) -> Result<Value, ConditionError> {
        if self.keyword("true") {
            return Ok(Value::Truth(true));
        }
        if self.keyword("false") {
            return Ok(Value::Truth(false));
        }
        if self.keyword("now") {
            if !self.sign("-") {
                return Ok(Value::Ago { days: 0.0 });
            }
            let days = self.number()?;
            return if self.keyword("days") || self.keyword("day") {
                Ok(Value::Ago { days })
            } else {
                Err(self.expected("`days`"))
            };
        }
        if let Some((_, Word::Text(text))) = self.words.get(self.next) {
            self.next += 1;
            return Ok(Value::Text(text.clone()));
        }
        let sign = if self.sign("-") { -1.0 } else { 1.0 };
        self.number().map(|number| Value::Number(sign * number))
    }

    fn number(&mut self) -> Result<f64, ConditionError> {
        match self.words.get(self.next) {
            Some((_, Word::Number(number))) => {
                self.next += 1;
                Ok(*number)
            }
            Some(_) | None => Err(self.expected("a value, such as 'text', 10, true or now - 14 days")),
        }
    }
}

fn negated(is_not: bool, condition: Condition) -> Condition {
    if is_not { Condition::Not(Box::new(condition)) } else { condition }
}

fn shown(word: &Word) -> String {
    match word {
        Word::Name(name) => format!("`{name}`"),
        Word::Quoted(name) => format!("`\"{name}\"`"),
        Word::Text(text) => format!("`'{text}'`"),
        Word::Number(number) => format!("`{number}`"),
        Word::Sign(sign) => format!("`{sign}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Condition::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn and_binds_closer_than_or_and_not_closest() {
        let parsed = Condition::parse("a or not b and c").unwrap();
        let name = |name: &str| {
            let (comparison, value) = (Comparison::Equal, Value::Truth(true));
            Box::new(Condition::Compare { name: name.into(), comparison, value })
        };
        let right = Condition::And(Box::new(Condition::Not(name("b"))), name("c"));
        assert_eq!(parsed, Condition::Or(name("a"), Box::new(right)));
        assert_eq!(parsed, Condition::parse("(a or ((not (b)) and c))").unwrap());
    }

    #[test]
    fn values_are_texts_numbers_truths_and_moments() {
        let value = |text: &str| {
            let condition = Condition::parse(&format!("\"in\" >= {text}")).unwrap();
            let Condition::Compare { value, .. } = condition else { panic!("{condition:?}") };
            value
        };
        assert_eq!(value("'it''s'"), Value::Text("it's".into()));
        assert_eq!((value("-1.5"), value("FALSE")), (Value::Number(-1.5), Value::Truth(false)));
        assert_eq!((value("now"), value("now - 14 days")), (Value::Ago { days: 0.0 }, Value::Ago { days: 14.0 }));
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        assert_eq!(
            error("price <"),
            "the condition is not understood at byte 7: it ends there instead of a value, such as 'text', 10, true or now - 14 days"
        );
        assert_eq!(
            error("a b"),
            "the condition is not understood at byte 2: `b` stands there instead of `and`, `or` or the end"
        );
        assert_eq!(error("a = 'x"), "the condition is not understood at byte 4: a quote that is not closed");
        assert_eq!(error("a = 1 ; drop"), "the condition is not understood at byte 6: `;`");
        assert_eq!(error("a = 1x"), "the condition is not understood at byte 4: `1x`");
        assert_eq!(
            error(""),
            "the condition is not understood at byte 0: it ends there instead of the name of an attribute"
        );
        assert!(error("a not 1").contains("instead of `in`") && error("a in 1").contains("instead of `(`"));
        assert!(error(&"(".repeat(100_000)).contains("nested less deeply"));
        assert!(error("é = ").contains("byte 5") && error("名 = €").contains('€'));
    }
}
