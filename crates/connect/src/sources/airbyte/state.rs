//! States: what a connector wants to be told next time. Their content is never looked into.
//!
//! In: state messages as text.  Out: whose they are; the text of the file that goes back to the connector.
//! A STREAM state is one stream's, a GLOBAL one belongs to all streams together and holds a part per stream, a LEGACY one is the
//! connector's as a whole. What goes back is what came, byte for byte, unless a part of a GLOBAL state has to be left out.
//! Never here: when a state counts (`sync`), which streams go on (`plan`).
//! Start at [`read`] and [`file`].

use serde::Deserialize;
use serde_json::value::RawValue;

use super::messages::Descriptor;

/// A state message.
#[derive(Debug)]
pub(super) struct State<'a> {
    pub(super) owner: Owner<'a>,
    /// Records since the state before it, as the connector counted them.
    pub(super) record_count: Option<f64>,
}

/// Whose state it is.
#[derive(Debug)]
pub(super) enum Owner<'a> {
    Stream(Descriptor),
    Global(Global<'a>),
    Legacy(&'a RawValue),
}

/// A state of all streams together.
#[derive(Debug, Deserialize)]
pub(super) struct Global<'a> {
    #[serde(borrow, default)]
    shared_state: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stream_states: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    stream: Option<StreamState>,
    #[serde(borrow, default)]
    global: Option<Global<'a>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(rename = "sourceStats", default)]
    source_stats: Option<SourceStats>,
}

#[derive(Deserialize)]
struct StreamState {
    stream_descriptor: Descriptor,
}

#[derive(Deserialize)]
struct SourceStats {
    #[serde(rename = "recordCount", default)]
    record_count: Option<f64>,
}

/// Reads a state message's body.
///
/// Errors: why it is none.
pub(super) fn read(text: &str) -> Result<State<'_>, String> {
    let unread = || "a state is not built as the protocol says".to_owned();
    // The parser takes a list for an object.
    let text = text.trim_start().starts_with('{').then_some(text).ok_or_else(unread)?;
    let raw: Raw<'_> = serde_json::from_str(text).map_err(|_| unread())?;
    let owner = match (raw.kind.as_deref(), raw.stream, raw.global, raw.data) {
        (Some("STREAM") | None, Some(stream), None, _) => Owner::Stream(stream.stream_descriptor),
        (Some("GLOBAL") | None, None, Some(global), _) => Owner::Global(global),
        (Some("LEGACY") | None, None, None, Some(data)) => Owner::Legacy(data),
        (kind, ..) => return Err(format!("a state of type {} does not hold one", kind.unwrap_or("LEGACY"))),
    };
    Ok(State { owner, record_count: raw.source_stats.and_then(|stats| stats.record_count) })
}

/// Whether a state message's body is the state of several streams.
pub(super) fn is_shared(text: &str) -> bool {
    read(text).is_ok_and(|state| !matches!(state.owner, Owner::Stream(_)))
}

/// The file of states for `read`: those of streams one after the other, or the one that all share without the parts of `left_out`.
///
/// Errors: why a text is no state.
pub(super) fn file(texts: &[&str], left_out: &[&Descriptor]) -> Result<Option<String>, String> {
    let Some(first) = texts.first() else { return Ok(None) };
    match read(first)?.owner {
        Owner::Stream(_) => Ok(Some(format!("[{}]", texts.join(",")))),
        Owner::Global(global) => Ok(Some(format!("[{}]", without(first, &global, left_out)?))),
        // Before there were types, the file was the connector's own data.
        Owner::Legacy(data) => Ok(Some(data.get().to_owned())),
    }
}

/// A GLOBAL state without the parts of some streams, which the connector then reads from their beginning.
fn without(text: &str, global: &Global<'_>, left_out: &[&Descriptor]) -> Result<String, String> {
    let mut kept = Vec::new();
    for part in &global.stream_states {
        let of: StreamState = serde_json::from_str(part.get()).map_err(|error| error.to_string())?;
        if !left_out.contains(&&of.stream_descriptor) {
            kept.push(part.get());
        }
    }
    if kept.len() == global.stream_states.len() {
        return Ok(text.to_owned());
    }
    let shared = global.shared_state.map_or(String::new(), |shared| format!("\"shared_state\":{},", shared.get()));
    Ok(format!("{{\"type\":\"GLOBAL\",\"global\":{{{shared}\"stream_states\":[{}]}}}}", kept.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GLOBAL: &str = r#"{"type":"GLOBAL","global":{ "shared_state": {"lsn":12345678901234567890}, "stream_states":[
        {"stream_descriptor":{"name":"a"},"stream_state":{"x":1.0}},{"stream_descriptor":{"name":"b","namespace":"n"},"stream_state":{}}]}}"#;

    fn descriptor(name: &str, namespace: &str) -> Descriptor {
        Descriptor::new(name.to_owned(), Some(namespace.to_owned()))
    }

    #[test]
    fn states_go_back_as_they_came() {
        let stream = r#"{"stream":{"stream_descriptor":{"name":"a"},"stream_state":{ "b":1.0, "a":12345678901234567890 }},"type":"STREAM"}"#;
        assert_eq!(file(&[stream, stream], &[]).unwrap().unwrap(), format!("[{stream},{stream}]"));
        assert_eq!(file(&[GLOBAL], &[&descriptor("b", "")]).unwrap().unwrap(), format!("[{GLOBAL}]"));
        assert_eq!(file(&[r#"{"data":{ "z":1, "a":2 }}"#], &[]).unwrap().unwrap(), r#"{ "z":1, "a":2 }"#);
        assert_eq!(file(&[], &[]).unwrap(), None);
    }

    #[test]
    fn a_stream_that_begins_anew_leaves_the_shared_state() {
        assert_eq!(
            file(&[GLOBAL], &[&descriptor("b", "n")]).unwrap().unwrap(),
            r#"[{"type":"GLOBAL","global":{"shared_state":{"lsn":12345678901234567890},"stream_states":[{"stream_descriptor":{"name":"a"},"stream_state":{"x":1.0}}]}}]"#
        );
    }

    #[test]
    fn what_is_no_state_is_told() {
        assert!(read(r#"{"type":"STREAM"}"#).is_err());
        assert!(read(r#"{"type":"NEW"}"#).is_err());
        assert!(read("[]").is_err());
        let state = read(r#"{"type":"LEGACY","data":{},"sourceStats":{"recordCount":3.0}}"#).unwrap();
        assert!(matches!(state.owner, Owner::Legacy(_)) && state.record_count == Some(3.0));
    }
}
