//! What a connector says, one JSON object per line (Airbyte protocol v0).
//!
//! In: a line of its output.  Out: a [`Message`]. Kinds and fields that are not known are let pass; a line that is no message is a
//! line of its log; a record or a state that cannot be read is an error, for it would be lost.
//! Never here: what follows from a message (`sync`, `verbs`).
//! Start at [`read`].

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

/// Where in a broken line its kind is looked for: it is written first, or nearly so.
const KIND_BYTES: usize = 256;

/// One line.
#[derive(Debug)]
pub(super) enum Message<'a> {
    Record(Record<'a>),
    /// A state message, unread.
    State(&'a RawValue),
    Status(StreamStatus),
    Failure(TraceError),
    Estimate(Estimate),
    /// New settings that the connector wants kept.
    NewConfig(Value),
    Connection(ConnectionStatus),
    Catalog(&'a RawValue),
    Spec(&'a RawValue),
    Log(Log),
    /// Of a kind that nothing follows from.
    Other,
    /// Not a message, and so a line of the log.
    Noise,
}

/// A row.
#[derive(Debug, Deserialize)]
pub(super) struct Record<'a> {
    #[serde(borrow)]
    pub(super) stream: Cow<'a, str>,
    #[serde(default, deserialize_with = "non_empty")]
    pub(super) namespace: Option<String>,
    /// The row as it was written: numbers keep their digits, keys their order.
    #[serde(borrow)]
    pub(super) data: &'a RawValue,
    /// Milliseconds since 1970; some connectors write fractions.
    pub(super) emitted_at: f64,
    #[serde(borrow, default)]
    pub(super) meta: Option<Meta<'a>>,
}

/// What a connector did to a row.
#[derive(Debug, Deserialize)]
pub(super) struct Meta<'a> {
    #[serde(borrow, default)]
    pub(super) changes: Option<&'a RawValue>,
}

/// Which stream is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub(super) struct Descriptor {
    pub(super) name: String,
    #[serde(default, deserialize_with = "non_empty")]
    pub(super) namespace: Option<String>,
}

impl Descriptor {
    pub(super) fn new(name: String, namespace: Option<String>) -> Self {
        Self { name, namespace: namespace.filter(|namespace| !namespace.is_empty()) }
    }
}

/// How far a stream is.
#[derive(Debug, Deserialize)]
pub(super) struct StreamStatus {
    pub(super) stream_descriptor: Descriptor,
    pub(super) status: String,
}

/// A failure that a connector explains.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct TraceError {
    #[serde(default)]
    pub(super) message: Option<String>,
    #[serde(default)]
    pub(super) internal_message: Option<String>,
    /// `config_error`, `transient_error` or `system_error`.
    #[serde(default)]
    pub(super) failure_type: Option<String>,
    #[serde(default)]
    pub(super) stream_descriptor: Option<Descriptor>,
}

/// How many rows a stream may have; often wrong.
#[derive(Debug, Deserialize)]
pub(super) struct Estimate {
    pub(super) name: String,
    #[serde(default, deserialize_with = "non_empty")]
    pub(super) namespace: Option<String>,
    #[serde(default)]
    pub(super) row_estimate: Option<f64>,
}

/// The answer to `check`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ConnectionStatus {
    pub(super) status: String,
    #[serde(default)]
    pub(super) message: Option<String>,
}

/// A line of the connector's log.
#[derive(Debug, Deserialize)]
pub(super) struct Log {
    #[serde(default)]
    pub(super) level: String,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    record: Option<Record<'a>>,
    #[serde(borrow, default)]
    state: Option<&'a RawValue>,
    #[serde(borrow, default)]
    trace: Option<&'a RawValue>,
    #[serde(borrow, default)]
    control: Option<&'a RawValue>,
    #[serde(borrow, default)]
    log: Option<&'a RawValue>,
    #[serde(borrow, default)]
    catalog: Option<&'a RawValue>,
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
    #[serde(rename = "connectionStatus", borrow, default)]
    connection_status: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Trace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    stream_status: Option<StreamStatus>,
    #[serde(default)]
    error: Option<TraceError>,
    #[serde(default)]
    estimate: Option<Estimate>,
}

#[derive(Deserialize)]
struct Control {
    #[serde(rename = "connectorConfig", default)]
    connector_config: Option<NewConfig>,
}

#[derive(Deserialize)]
struct NewConfig {
    config: Value,
}

/// Reads one line, without its line end.
///
/// Errors: why a line that begins like a record, a state or a status is none. Nothing of the line is in the text.
pub(super) fn read(line: &[u8]) -> Result<Message<'_>, String> {
    let line = line.trim_ascii();
    if line.first() != Some(&b'{') {
        return Ok(Message::Noise);
    }
    let envelope: Envelope<'_> = match serde_json::from_slice(line) {
        Ok(envelope) => envelope,
        Err(error) if matters(line) => return Err(without_values(&error)),
        Err(_) => return Ok(Message::Noise),
    };
    let missing = |part: &str| format!("a message of type {} has no `{part}`", envelope.kind);
    Ok(match envelope.kind.as_ref() {
        "RECORD" => match envelope.record {
            Some(record) if record.data.get().starts_with('{') => Message::Record(record),
            Some(_) => return Err("a record's data is not an object".to_owned()),
            None => return Err(missing("record")),
        },
        "STATE" => Message::State(envelope.state.ok_or_else(|| missing("state"))?),
        "TRACE" => envelope.trace.map_or(Ok(Message::Other), read_trace)?,
        "CATALOG" => Message::Catalog(envelope.catalog.ok_or_else(|| missing("catalog"))?),
        "SPEC" => Message::Spec(envelope.spec.ok_or_else(|| missing("spec"))?),
        "CONNECTION_STATUS" => {
            let status = envelope.connection_status.ok_or_else(|| missing("connectionStatus"))?;
            Message::Connection(serde_json::from_str(status.get()).map_err(|error| without_values(&error))?)
        }
        "CONTROL" => {
            let control = envelope.control.and_then(|control| serde_json::from_str::<Control>(control.get()).ok());
            let config = control.and_then(|control| control.connector_config);
            config.map_or(Message::Other, |config| Message::NewConfig(config.config))
        }
        "LOG" => envelope.log.and_then(|log| serde_json::from_str(log.get()).ok()).map_or(Message::Noise, Message::Log),
        _ => Message::Other,
    })
}

fn read_trace(trace: &RawValue) -> Result<Message<'static>, String> {
    let trace: Trace = serde_json::from_str(trace.get()).map_err(|error| without_values(&error))?;
    Ok(match trace.kind.as_str() {
        "STREAM_STATUS" => trace.stream_status.map_or(Message::Other, Message::Status),
        "ERROR" => trace.error.map_or(Message::Other, Message::Failure),
        "ESTIMATE" => trace.estimate.map_or(Message::Other, Message::Estimate),
        _ => Message::Other,
    })
}

/// Whether a line that is not to be read would have been a row, a state or a status.
fn matters(line: &[u8]) -> bool {
    if serde_json::from_slice::<IgnoredAny>(line).is_ok() && !has_kind(line) {
        return false;
    }
    let head = String::from_utf8_lossy(&line[..line.len().min(KIND_BYTES)]);
    let head: String = head.chars().filter(|letter| !letter.is_whitespace()).collect();
    ["RECORD", "STATE", "TRACE", "CATALOG"].iter().any(|kind| head.contains(&format!("\"type\":\"{kind}\"")))
}

fn has_kind(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        _kind: String,
    }
    serde_json::from_slice::<Kind>(line).is_ok()
}

/// A parser's sentence without what it found: that may be a row, or a secret.
fn without_values(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => "a field is missing or has the wrong type",
        serde_json::error::Category::Eof => "it ends too early",
        serde_json::error::Category::Io | serde_json::error::Category::Syntax => "it is not JSON",
    };
    format!("{what} at column {}", error.column())
}

/// No namespace, a null one and an empty one are the same.
fn non_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        match read(line.as_bytes()) {
            Ok(Message::Record(record)) => format!("record {} {}", record.stream, record.data.get()),
            Ok(Message::State(state)) => format!("state {}", state.get()),
            Ok(Message::Status(status)) => format!("status {} {}", status.stream_descriptor.name, status.status),
            Ok(Message::Failure(failure)) => format!("failure {}", failure.message.unwrap_or_default()),
            Ok(Message::Log(log)) => format!("log {} {}", log.level, log.message),
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("err {error}"),
        }
    }

    #[test]
    fn messages_are_read_and_what_is_not_known_passes() {
        let record = r#"{"type":"RECORD","new":[1],"record":{"stream":"a\"b","data":{"n":12345678901234567890,"x":1.797e308},"emitted_at":5.5,"new":{}}}"#;
        assert_eq!(shown(record), r#"record a"b {"n":12345678901234567890,"x":1.797e308}"#);
        assert_eq!(shown(r#"{"type":"STATE","state":{"data":{ "a":1 }}}"#), r#"state {"data":{ "a":1 }}"#);
        assert_eq!(shown(r#"{"type":"LOG","log":{"level":"INFO","message":"hi"}}"#), "log INFO hi");
        for (line, kind) in [
            (r#"{"type":"NEW_KIND","new":{}}"#, "Other"),
            (r#"{"type":"TRACE","trace":{"type":"ANALYTICS","emitted_at":1.5}}"#, "Other"),
            (r#"{"level":"INFO","msg":"structured log"}"#, "Noise"),
            ("Traceback (most recent call last):", "Noise"),
            ("{not json", "Noise"),
            ("", "Noise"),
        ] {
            assert_eq!(shown(line), kind, "{line}");
        }
    }

    #[test]
    fn a_row_that_cannot_be_read_is_not_taken_for_a_line_of_the_log() {
        for line in [
            r#"{"type":"RECORD","record":{"stream":"a","data":{"x":NaN},"emitted_at":1}}"#,
            r#"{"type": "RECORD", "record": {"stream": "a", "data": {"x": "secret"#,
            r#"{"type":"RECORD","record":{"stream":"a","emitted_at":1}}"#,
            r#"{"type":"RECORD"}"#,
            r#"{"type":"RECORD","record":{"stream":"a","data":[1],"emitted_at":1}}"#,
            r#"{"type":"STATE"}"#,
            r#"{"type":"TRACE","trace":{"type":"STREAM_STATUS","stream_status":{"status":"COMPLETE"}}}"#,
        ] {
            let shown = shown(line);
            assert!(shown.starts_with("err ") && !shown.contains("secret"), "{line}: {shown}");
        }
    }
}
