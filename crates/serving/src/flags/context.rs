//! What a client tells of a unit, read from the body of an evaluation.
//!
//! In: bytes as they came.  Out: attributes, and what else an evaluation takes; or a sentence that says what is wrong.
//! Never here: answers; status codes.
//! Start at [`OfrepContext::parse`] and [`RemoteRequest::parse`].

use domain::hash_json;
use experiment::assign::{Object, Value};

use super::set::FlagSet;

/// What is wrong with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is no JSON object.
    Parse(String),
    /// It is one, and something in it has the wrong form.
    Context(String),
}

impl Fault {
    pub(crate) fn detail(&self) -> &str {
        match self {
            Self::Parse(detail) | Self::Context(detail) => detail,
        }
    }
}

fn object(body: &[u8]) -> Result<Object, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault::Parse(format!("the body is no JSON object: {error}")))
}

/// The part of that name, if it is there and not null.
fn part<'a>(body: &'a Object, name: &str) -> Option<&'a Value> {
    body.get(name).filter(|value| !value.is_null())
}

/// An object of that name; empty without it.
fn object_part(body: &Object, name: &str) -> Result<Object, Fault> {
    match part(body, name) {
        None => Ok(Object::default()),
        Some(value) => match value.as_object() {
            Some(object) => Ok(object.clone()),
            None => Err(Fault::Context(format!("`{name}` is no object: write `{{\"{name}\":{{}}}}`"))),
        },
    }
}

/// OpenFeature's context: any fields, and the key that names the unit.
#[derive(Debug)]
pub(crate) struct OfrepContext {
    pub(crate) attributes: Object,
    pub(crate) has_targeting_key: bool,
    /// Equal for equal contexts, whatever the order of their fields.
    pub(crate) hash: String,
}

impl OfrepContext {
    /// Every field is an attribute; the targeting key stands also under each attribute that names units, unless the context has its own.
    pub(crate) fn parse(body: &[u8], set: &FlagSet) -> Result<Self, Fault> {
        let body = object(body)?;
        let context = object_part(&body, "context")?;
        let hash = hash_json(&context).map_err(|error| Fault::Parse(error.to_string()))?;
        let key = match part(&context, "targetingKey") {
            None => None,
            Some(Value::String(key)) if key.is_empty() => None,
            Some(Value::String(key)) => Some(key.clone()),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                return Err(Fault::Context("`targetingKey` is no text: put it in quotes".to_owned()));
            }
        };
        let attributes = match &key {
            None => context,
            Some(key) => {
                let known = context.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
                set.with_unit(known, key)
            }
        };
        Ok(Self { attributes, has_targeting_key: key.is_some(), hash })
    }
}

/// GrowthBook's request for evaluations.
#[derive(Debug)]
pub(crate) struct RemoteRequest {
    pub(crate) attributes: Object,
    pub(crate) forced_variations: Object,
    pub(crate) forced_features: Object,
    pub(crate) url: String,
}

impl RemoteRequest {
    /// `{attributes, forcedVariations, forcedFeatures: [[key, value]], url}`, each of them optional.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Fault> {
        let body = object(body)?;
        let url = match part(&body, "url") {
            None => String::new(),
            Some(value) => match value.as_str() {
                Some(url) => url.to_owned(),
                None => return Err(Fault::Context("`url` is no text".to_owned())),
            },
        };
        Ok(Self {
            attributes: object_part(&body, "attributes")?,
            forced_variations: object_part(&body, "forcedVariations")?,
            forced_features: forced_features(&body)?,
            url,
        })
    }
}

/// Pairs of key and value. (A map, as SDKs write it.)
fn forced_features(body: &Object) -> Result<Object, Fault> {
    let wrong = || Fault::Context("`forcedFeatures` is no list of pairs: write `[[\"flag\", true]]`".to_owned());
    let Some(pairs) = part(body, "forcedFeatures") else { return Ok(Object::default()) };
    let Value::Array(pairs) = pairs else { return Err(wrong()) };
    let pairs = pairs.iter().map(|pair| match pair {
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(key), value] => Ok((key.to_string(), value.clone())),
            _ => Err(wrong()),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => Err(wrong()),
    });
    pairs.collect()
}
