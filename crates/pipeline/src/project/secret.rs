//! Fills `${NAME}` in, as late as possible, and says which file wanted a variable that is not set.
//!
//! In: a [`SecretText`] and the file it stands in.  Out: the text.
//! Never here: printing it.
//! Start at [`resolve`].

use connect::{ConnectError, SecretText};

use crate::error::PipelineError;

/// The text with the environment's values.
pub(crate) fn resolve(secret: &SecretText, file: &str) -> Result<String, PipelineError> {
    secret.resolve().map_err(|error| wanted_by(error, file))
}

/// The error of a variable that is not set, with the file that wanted it.
pub(crate) fn wanted_by(error: ConnectError, file: &str) -> PipelineError {
    if let ConnectError::MissingVariable { name } = error {
        PipelineError::UnsetVariable { name, file: file.to_owned() }
    } else {
        error.into()
    }
}
