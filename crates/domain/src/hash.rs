//! Content hashes: SHA-256 in lower-case hex, over bytes or over canonical JSON.
//!
//! In: bytes or a serialisable value.  Out: 64 hex digits.
//! Never here: reading files; callers feed [`Hasher`] with what they read.
//! Start at [`hash_bytes`].

use sha2::{Digest, Sha256};

/// SHA-256 (FIPS 180-4) over a stream of chunks.
#[derive(Debug, Default, Clone)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds bytes to the hash.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of everything added so far: 64 hex digits.
    pub fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// SHA-256 of `bytes`: 64 hex digits.
pub fn hash_bytes(bytes: &[u8]) -> String {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

/// SHA-256 of the value's JSON. Object keys come out sorted, because `serde_json::Value` keeps them in a `BTreeMap`.
///
/// Errors: when the value has no JSON form (a map with non-text keys).
pub fn hash_json<T: serde::Serialize>(value: &T) -> Result<String, serde_json::Error> {
    let canonical = serde_json::to_value(value)?;
    Ok(hash_bytes(serde_json::to_string(&canonical)?.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // FIPS 180-4 example values, as published by NIST for SHA-256.
    #[test]
    fn hash_matches_published_vectors() {
        assert_eq!(hash_bytes(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hash_bytes(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn json_hash_does_not_depend_on_key_order() {
        let one: serde_json::Value = serde_json::from_str(r#"{"a":1,"b":[2,3]}"#).unwrap();
        let two: serde_json::Value = serde_json::from_str(r#"{"b":[2,3],"a":1}"#).unwrap();
        assert_eq!(hash_json(&one).unwrap(), hash_json(&two).unwrap());
    }
}
