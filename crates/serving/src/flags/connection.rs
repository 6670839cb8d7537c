//! What one application is given: the payload as it goes over the wire, plain or encrypted, and its share of the server.
//!
//! In: a snapshot and one of its connections.  Out: bodies, tags and stream events, made once per snapshot.
//! Never here: evaluation; who may ask (`growthbook`, `ofrep`).
//! Start at [`Definitions::new`].

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::HeaderValue;
use domain::{Hasher, hash_bytes};
use experiment::assign::{AssignError, encrypt};
use serde_json::{Map, Value};

use super::etag::etag;
use super::quota::Quota;

/// Parts of a payload, and under which name each stands when it is encrypted.
const PARTS: [(&str, &str); 4] = [
    ("features", "encryptedFeatures"),
    ("experiments", "encryptedExperiments"),
    ("savedGroups", "encryptedSavedGroups"),
    ("contextualBandits", "encryptedContextualBandits"),
];

/// A longer line is broken where JSON allows it. GrowthBook's Python SDK reads lines of at most 128 KiB (aiohttp's limit) and loses its stream over a longer one.
const MAX_LINE_BYTES: usize = 32 * 1024;

/// A line that cannot be broken, such as an encrypted payload, may be so long.
const MAX_WHOLE_LINE_BYTES: usize = 96 * 1024;

/// One application that asks.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) access: Access,
    pub(crate) quota: Arc<Quota>,
    /// What its streams carry when this snapshot comes into service.
    pub(crate) event: Bytes,
}

/// What it may see.
#[derive(Debug)]
pub(crate) enum Access {
    /// The rules, in the clear; evaluations as well.
    Plain(Arc<Definitions>),
    /// The rules, for those who have the key.
    Encrypted(Definitions),
    /// Evaluations only.
    Remote,
}

/// The rules, as they are given out.
#[derive(Debug)]
pub(crate) struct Definitions {
    pub(crate) body: Bytes,
    pub(crate) etag: HeaderValue,
}

impl Definitions {
    /// `{"status":200, …the payload…, "dateUpdated":…}`, with its parts encrypted where there is a key.
    ///
    /// Errors: a key that is not 16 bytes in base64.
    pub(crate) fn new(payload: &Map<String, Value>, date: &str, key: Option<&str>) -> Result<Self, AssignError> {
        let mut body = payload.clone();
        body.entry("features").or_insert_with(|| Value::Object(Map::new()));
        if let Some(key) = key {
            for (part, encrypted) in PARTS {
                if let Some(plain) = body.remove(part) {
                    body.insert(encrypted.to_owned(), Value::String(encrypt_part(&plain, key)?));
                }
            }
            body.insert("features".to_owned(), Value::Object(Map::new()));
        }
        body.insert("status".to_owned(), Value::from(200));
        body.insert("dateUpdated".to_owned(), Value::from(date));
        let body = serde_json::to_vec(&body)?;
        Ok(Self { etag: etag(&hash_bytes(&body)), body: body.into() })
    }

    /// `event: features` with the whole payload; where its lines would be too long for some client, the order to fetch it.
    pub(crate) fn event(&self, revision: u64) -> Bytes {
        // A body is what serde_json wrote, so it is text.
        let body = std::str::from_utf8(&self.body).unwrap_or_default();
        let lines = lines(body);
        if lines.iter().any(|line| line.len() > MAX_WHOLE_LINE_BYTES) {
            return refetch_event(revision);
        }
        let mut event = format!("id: {revision}\nevent: features\n");
        for line in lines {
            event.push_str("data: ");
            event.push_str(line);
            event.push('\n');
        }
        event.push('\n');
        event.into()
    }
}

/// `event: features-updated`: the client asks again.
pub(crate) fn refetch_event(revision: u64) -> Bytes {
    format!("id: {revision}\nevent: features-updated\ndata: {revision}\n\n").into()
}

/// The initialisation vector is a hash of key and text: nobody without the key can foretell it, no two texts share one, and
/// every server of a fleet gives out the same bytes with the same tag. (The synthetic vectors of RFC 5297, in spirit.)
fn encrypt_part(plain: &Value, key: &str) -> Result<String, AssignError> {
    let text = serde_json::to_string(plain)?;
    let mut hasher = Hasher::default();
    hasher.update(key.trim().as_bytes());
    hasher.update(b"\0");
    hasher.update(hash_bytes(text.as_bytes()).as_bytes());
    let digits = hasher.finish();
    let mut vector = [0; 16];
    for (byte, pair) in vector.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
        *byte = pair.iter().fold(0, |byte, &hex| byte << 4 | digit(hex));
    }
    encrypt(&text, key, vector)
}

/// Breaks JSON behind commas outside of texts, where a line break means nothing.
fn lines(json: &str) -> Vec<&str> {
    let (mut lines, mut start, mut is_text, mut is_escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in json.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b',' if !is_text && at - start >= MAX_LINE_BYTES => {
                lines.push(&json[start..=at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    lines.push(&json[start..]);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(features: usize) -> Map<String, Value> {
        let feature = |i: usize| (format!("flag-{i} \",\\\" 제목"), serde_json::json!({"defaultValue": "a,b\n"}));
        let features: Map<String, Value> = (0..features).map(feature).collect();
        [("features".to_owned(), Value::Object(features))].into_iter().collect()
    }

    #[test]
    fn an_event_says_the_same_as_the_body_in_lines_that_every_client_reads() {
        let definitions = Definitions::new(&payload(10_000), "2026-01-01T00:00:00Z", None).unwrap();
        let event = String::from_utf8(definitions.event(7).to_vec()).unwrap();
        assert!(event.starts_with("id: 7\nevent: features\ndata: {"), "{}", &event[..60]);
        assert!(event.ends_with("}\n\n"));
        assert!(event.lines().count() > 10 && event.lines().all(|line| line.len() < 2 * MAX_LINE_BYTES));
        // The standard joins the lines of one event with line breaks.
        let data: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let joined: Value = serde_json::from_str(&data.join("\n")).unwrap();
        assert_eq!(joined, serde_json::from_slice::<Value>(&definitions.body).unwrap());
    }

    #[test]
    fn encrypted_parts_are_equal_on_every_server_and_long_ones_are_fetched() {
        let key = "Zvwv/+uhpFDznZ6SX28Yjg==";
        let make = || Definitions::new(&payload(3), "d", Some(key)).unwrap();
        let (one, two) = (make(), make());
        assert_eq!((&one.body, &one.etag), (&two.body, &two.etag));
        let body: Value = serde_json::from_slice(&one.body).unwrap();
        assert_eq!(body["features"], serde_json::json!({}));
        let text = experiment::assign::decrypt(body["encryptedFeatures"].as_str().unwrap(), key).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), payload(3)["features"]);
        let vector = |definitions: &Definitions| {
            let body: Value = serde_json::from_slice(&definitions.body).unwrap();
            body["encryptedFeatures"].as_str().unwrap().split('.').next().unwrap().to_owned()
        };
        assert_ne!(vector(&one), vector(&Definitions::new(&payload(4), "d", Some(key)).unwrap()));
        let long = Definitions::new(&payload(5_000), "d", Some(key)).unwrap();
        assert_eq!(&long.event(2)[..], b"id: 2\nevent: features-updated\ndata: 2\n\n");
        assert!(Definitions::new(&payload(1), "d", Some("short")).is_err());
    }
}
