//! Secrets: random bytes of the operating system, and how they are told apart without telling them.
//!
//! In: nothing.  Out: hex, base64, hashes.
//! Never here: whose secret it is (see `tokens`).
//! Start at [`random`].

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::ControlError;

/// Bytes that nobody can foretell.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], ControlError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| ControlError::Random(error.to_string()))?;
    Ok(bytes)
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 in hex. A slow hash (Argon2, bcrypt) buys time against guessing passwords, of which people choose from a few billion; 256 random
/// bits cannot be guessed however fast the hash is, and a slow one would only let strangers keep our processors busy.
pub(crate) fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// Whether two hashes are equal, in a time that does not depend on where they differ.
pub(crate) fn is_equal(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}
