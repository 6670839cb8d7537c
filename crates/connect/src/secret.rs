//! Text that must not be shown: a database URL with its password, written in a project file as `${NAME}`.
//!
//! In: text from a project file.  Out: the resolved text, on request only.
//! Never here: keeping secrets in files; they come from the environment.
//! Start at [`SecretText::resolve`].

use std::fmt;

use crate::ConnectError;

/// A text whose `${NAME}` parts are taken from the environment when it is used. `Debug` and `Display` never show it.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// Keeps `text` as it was written, with its `${NAME}` parts.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text with every `${NAME}` replaced by that environment variable.
    ///
    /// Errors: [`ConnectError::MissingVariable`] when a variable is not set, [`ConnectError::BadSecret`] when a `${` has no `}`.
    pub fn resolve(&self) -> Result<String, ConnectError> {
        self.resolve_with(|name| std::env::var(name).ok())
    }

    /// As [`Self::resolve`], with the variables given by `lookup`.
    pub fn resolve_with(&self, lookup: impl Fn(&str) -> Option<String>) -> Result<String, ConnectError> {
        let mut resolved = String::with_capacity(self.0.len());
        let mut rest = self.0.as_str();
        while let Some(start) = rest.find("${") {
            let (before, after) = rest.split_at(start);
            let (name, tail) = after[2..].split_once('}').ok_or(ConnectError::BadSecret)?;
            resolved.push_str(before);
            resolved.push_str(&lookup(name).ok_or_else(|| ConnectError::MissingVariable { name: name.to_owned() })?);
            rest = tail;
        }
        resolved.push_str(rest);
        Ok(resolved)
    }

    /// Names of the environment variables it needs, in order of appearance; safe to show.
    pub fn variables(&self) -> Vec<&str> {
        self.0.split("${").skip(1).filter_map(|part| part.split_once('}').map(|(name, _)| name)).collect()
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretText(…)")
    }
}

impl fmt::Display for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Problem;

    fn resolved(text: &str) -> String {
        let lookup = |name: &str| (name == "PASS").then(|| "s3cret".to_owned());
        match SecretText::new(text).resolve_with(lookup) {
            Ok(text) => text,
            Err(error) => format!("err {}", error.code()),
        }
    }

    #[test]
    fn variables_are_filled_in_and_missing_ones_named() {
        assert_eq!(resolved("mysql://u:${PASS}@h/d"), "mysql://u:s3cret@h/d");
        assert_eq!(resolved("plain $ text {}"), "plain $ text {}");
        assert_eq!(resolved("${NOPE}"), "err missing_variable");
        assert_eq!(resolved("${PASS"), "err bad_secret");
        assert_eq!(SecretText::new("${A}x${B}").variables(), ["A", "B"]);
    }

    #[test]
    fn a_secret_never_shows_itself() {
        let secret = SecretText::new("mysql://u:hunter2@h/d");
        assert!(!format!("{secret} {secret:?}").contains("hunter2"));
    }
}
