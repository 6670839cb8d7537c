//! The id under which a request is found in the log, in a problem and in the answer's `x-request-id`.
//!
//! In: the client's `x-request-id`, if it sent a usable one.  Out: a [`RequestId`].
//! Never here: trust in it; it is a label, not a credential.
//! Start at [`RequestId`].

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Header name, in the form of HTTP/2.
pub(crate) const HEADER: &str = "x-request-id";
/// Longest id taken from a client: three times a UUID; longer ones would only fill the log.
const MAX_BYTES: usize = 128;

/// Text of 1 to 128 letters, digits, `.`, `_` or `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// Keeps the client's id, or makes one that is unique among the processes of a fleet (64 random bits and a counter).
    pub(crate) fn accept_or_make(from_client: Option<&str>) -> Self {
        static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
        static NEXT: AtomicU64 = AtomicU64::new(0);
        match from_client {
            Some(id) if is_usable(id) => Self(id.to_owned()),
            Some(_) | None => Self(format!("{:016x}-{:x}", *PROCESS, NEXT.fetch_add(1, Ordering::Relaxed))),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_usable(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !id.is_empty() && id.len() <= MAX_BYTES && id.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usable_ids_are_kept_and_others_replaced() {
        assert_eq!(RequestId::accept_or_make(Some("abc-1.2_3")).as_str(), "abc-1.2_3");
        for bad in ["", "a b", "a\"b", "a\nb", &"x".repeat(129)] {
            assert_ne!(RequestId::accept_or_make(Some(bad)).as_str(), bad);
        }
        assert_ne!(RequestId::accept_or_make(None), RequestId::accept_or_make(None));
    }
}
