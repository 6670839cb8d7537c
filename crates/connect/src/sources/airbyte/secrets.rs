//! Fills the environment into a connector's settings, and keeps what it filled in out of everything that is shown.
//!
//! In: settings with `${NAME}` parts; texts of the connector.  Out: settings as the connector wants them; texts with `***`.
//! Never here: records and states, which are data.
//! Start at [`Secrets::fill`] and [`Secrets::redact`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::{ConnectError, SecretText};

/// What an encoder changes that leaves alone what needs no encoding anywhere.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same in a path.
const IN_PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// Shorter values are no secrets, and taking them out would make every text unreadable.
const MIN_CHARACTERS: usize = 4;
/// Lines of a secret (a private key) that are recognised by themselves; shorter ones are too common.
const MIN_LINE_CHARACTERS: usize = 8;
/// What stands where a secret was.
const MASK: &str = "***";

/// Settings that may be looked at and changed, but not shown. Cloning shares them.
#[derive(Clone)]
pub(super) struct HiddenConfig(Arc<Mutex<Value>>);

impl std::fmt::Debug for HiddenConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("HiddenConfig(…)")
    }
}

impl HiddenConfig {
    pub(super) fn new(config: Value) -> Self {
        Self(Arc::new(Mutex::new(config)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Value> {
        // A panic elsewhere does not make settings wrong.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The secrets of one connector. Cloning shares them.
#[derive(Clone, Default)]
pub(super) struct Secrets {
    /// As they may appear, the longest first, so that a secret inside another leaves nothing of it.
    forms: Arc<RwLock<Vec<String>>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secrets(…)")
    }
}

impl Secrets {
    /// The settings with every `${NAME}` in a text filled in by `lookup`; what was filled in is a secret from now on.
    ///
    /// Errors: `MissingVariable`, `BadSecret`.
    pub(super) fn fill(
        &self,
        settings: &Value,
        lookup: &impl Fn(&str) -> Option<String>,
    ) -> Result<Value, ConnectError> {
        Ok(match settings {
            Value::String(text) => {
                let written = SecretText::new(text.as_str());
                let filled = written.resolve_with(lookup)?;
                written.variables().into_iter().filter_map(lookup).for_each(|value| self.add(&value));
                Value::String(filled)
            }
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.fill(item, lookup)).collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), self.fill(value, lookup)?)))
                    .collect::<Result<_, ConnectError>>()?,
            ),
            Value::Null | Value::Bool(_) | Value::Number(_) => settings.clone(),
        })
    }

    /// Keeps `secret` out of texts from now on: as it is, as part of JSON and of an address, and line by line.
    pub(super) fn add(&self, secret: &str) {
        let secret = secret.trim();
        let mut found = vec![secret.to_owned()];
        // As encoders write it in an address: all, or all but what RFC 3986 (2.3) leaves as it is, `/` too in a path, a plus for a space.
        for set in [NON_ALPHANUMERIC, UNRESERVED, IN_PATH] {
            let encoded = utf8_percent_encode(secret, set).to_string();
            found.extend([encoded.replace("%20", "+"), lower_hex(&encoded), encoded]);
        }
        let json = Value::from(secret).to_string();
        let json = json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or(secret);
        // Python's JSON writes what is not ASCII as numbers.
        found.extend([json.to_owned(), in_ascii(json)]);
        let lines = secret.lines().filter(|line| line.chars().count() >= MIN_LINE_CHARACTERS);
        found.extend(lines.map(str::to_owned));
        let mut forms = self.forms.write().unwrap_or_else(PoisonError::into_inner);
        forms.extend(found.into_iter().filter(|form| form.chars().count() >= MIN_CHARACTERS));
        forms.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        forms.dedup();
    }

    /// `text` without secrets.
    pub(super) fn redact(&self, text: &str) -> String {
        let forms = self.forms.read().unwrap_or_else(PoisonError::into_inner);
        forms.iter().fold(text.to_owned(), |text, form| {
            if text.contains(form.as_str()) { text.replace(form.as_str(), MASK) } else { text }
        })
    }
}

fn in_ascii(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut ascii, letter| {
        if letter.is_ascii() {
            ascii.push(letter);
        } else {
            let mut units = [0; 2];
            letter.encode_utf16(&mut units).iter().for_each(|unit| ascii.push_str(&format!("\\u{unit:04x}")));
        }
        ascii
    })
}

/// An encoded text with the digits of its bytes in lower case.
fn lower_hex(encoded: &str) -> String {
    let mut parts = encoded.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        format!("{text}%{}{rest}", digits.to_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets_of(settings: &Value) -> (Value, Secrets) {
        let secrets = Secrets::default();
        let lookup = |name: &str| match name {
            "KEY" => Some("p@ss \"w\"ord".to_owned()),
            "PEM" => Some("-----BEGIN-----\nabcdefghij\n-----END-----\n".to_owned()),
            "TINY" => Some("abc".to_owned()),
            _ => None,
        };
        (secrets.fill(settings, &lookup).unwrap(), secrets)
    }

    #[test]
    fn variables_are_filled_in_wherever_they_stand() {
        let settings = serde_json::json!({"a": ["x${KEY}y", 1, null], "b": {"c": "${TINY}"}, "d": 1.5});
        let (filled, _) = secrets_of(&settings);
        assert_eq!(filled, serde_json::json!({"a": ["xp@ss \"w\"ordy", 1, null], "b": {"c": "abc"}, "d": 1.5}));
    }

    #[test]
    fn a_secret_is_known_in_every_json() {
        let secrets = Secrets::default();
        secrets.add("pä\u{1f511}ss\"");
        for shown in [r#"{"a":"pä🔑ss\""}"#, r#"{"a": "p\u00e4\ud83d\udd11ss\""}"#] {
            assert!(secrets.redact(shown).ends_with("\"***\"}"), "{}", secrets.redact(shown));
        }
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = Secrets::default().fill(&serde_json::json!({"a": "${NOPE}"}), &|_| None).unwrap_err();
        assert!(error.to_string().contains("`NOPE`"), "{error}");
    }

    #[test]
    fn what_was_filled_in_is_shown_nowhere() {
        let (filled, secrets) = secrets_of(&serde_json::json!({"key": "${KEY}", "pem": "${PEM}", "tiny": "${TINY}"}));
        for shown in
            ["p@ss \"w\"ord", &filled.to_string(), "http://u:p%40ss%20%22w%22ord@h/", "line abcdefghij of a key"]
        {
            let redacted = secrets.redact(shown);
            assert!(redacted.contains("***"), "{shown}: {redacted}");
            for part in ["p@ss", "ord", "p%40ss", "abcdefghij"] {
                assert!(!redacted.contains(part), "{shown}: {redacted}");
            }
        }
        assert_eq!(secrets.redact("abc is too short to be one"), "abc is too short to be one");
        assert_eq!(format!("{secrets:?}"), "Secrets(…)");
    }
}
