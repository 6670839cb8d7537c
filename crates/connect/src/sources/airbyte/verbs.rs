//! The verbs that answer with one message: `spec`, `check`, `discover`; and what a connector says beside its answers.
//!
//! In: a [`Connector`].  Out: its specification, whether its settings work, its streams.
//! Never here: rows (`sync`).
//! Start at [`check`].

use serde_json::Value;
use serde_json::value::RawValue;

use super::catalog::{CatalogStream, read_catalog};
use super::log;
use super::messages::{self, ConnectionStatus, Message, TraceError};
use super::problem::{ConnectorProblem, Fault};
use super::process::{Connector, Ended, Input, Listener, Verb};
use crate::ConnectError;

/// Asks whether the settings work.
///
/// Errors: `Config` with the connector's own words when they do not, and how it failed when it gave no answer.
pub(super) async fn check(connector: &Connector) -> Result<(), ConnectError> {
    let (answer, ended) = ask(connector, Verb::Check).await?;
    match answer.connection {
        Some(status) if status.status == "SUCCEEDED" => Ok(()),
        Some(status) => {
            let reason = status.message.unwrap_or_else(|| "it does not say why".to_owned());
            Err(connector.problem(Fault::Config, &format!("refuses its settings: {reason}")).into())
        }
        None => Err(unanswered(connector, Verb::Check, answer.failure.as_ref(), &ended).into()),
    }
}

/// Asks for the streams.
pub(super) async fn discover(connector: &Connector) -> Result<Vec<CatalogStream>, ConnectError> {
    let (answer, ended) = ask(connector, Verb::Discover).await?;
    let Some(catalog) = answer.body else {
        return Err(unanswered(connector, Verb::Discover, answer.failure.as_ref(), &ended).into());
    };
    read_catalog(&catalog).map_err(|reason| {
        connector
            .problem(Fault::Protocol, &format!("describes its streams in a way that cannot be read: {reason}"))
            .into()
    })
}

/// Asks what settings there are.
pub(super) async fn spec(connector: &Connector) -> Result<Value, ConnectError> {
    let (answer, ended) = ask(connector, Verb::Spec).await?;
    let Some(spec) = answer.body else {
        return Err(unanswered(connector, Verb::Spec, answer.failure.as_ref(), &ended).into());
    };
    let unread = |_| connector.problem(Fault::Protocol, "describes its settings in a way that cannot be read");
    serde_json::from_str(spec.get()).map_err(unread).map_err(ConnectError::from)
}

async fn ask(connector: &Connector, verb: Verb) -> Result<(Answer, Ended), ConnectError> {
    let answer = Answer { connector: connector.clone(), verb, connection: None, body: None, failure: None };
    connector.run(verb, &Input::default(), answer, || ()).await
}

fn unanswered(connector: &Connector, verb: Verb, failure: Option<&TraceError>, ended: &Ended) -> ConnectorProblem {
    if let Some(failure) = failure {
        return explained(connector, failure);
    }
    let silent = || connector.problem(Fault::Failed, &format!("was asked to {} and gave no answer", verb.as_str()));
    ended.failure(connector, verb).unwrap_or_else(silent)
}

/// A failure in the connector's own words.
pub(super) fn explained(connector: &Connector, failure: &TraceError) -> ConnectorProblem {
    let fault = match failure.failure_type.as_deref() {
        Some("config_error") => Fault::Config,
        Some("transient_error") => Fault::Transient,
        Some(_) | None => Fault::Failed,
    };
    let words = failure.message.as_ref().or(failure.internal_message.as_ref());
    let words = words.map_or("it does not say why", String::as_str);
    let stream = failure.stream_descriptor.as_ref();
    let place = stream.map_or(String::new(), |stream| format!(" on stream `{}`", stream.name));
    connector.problem(fault, &format!("fails{place}: {words}"))
}

/// Takes the answer to a verb.
struct Answer {
    connector: Connector,
    verb: Verb,
    connection: Option<ConnectionStatus>,
    /// Of a catalog or a specification.
    body: Option<Box<RawValue>>,
    failure: Option<TraceError>,
}

impl Listener for Answer {
    fn take(&mut self, line: &[u8]) -> Result<bool, ConnectError> {
        let message = messages::read(line).map_err(|reason| {
            let what = format!("was asked to {} and wrote a message that cannot be read: {reason}", self.verb.as_str());
            self.connector.problem(Fault::Protocol, &what)
        })?;
        match message {
            Message::Connection(status) => self.connection = Some(status),
            Message::Catalog(body) if self.verb == Verb::Discover => self.body = Some(body.to_owned()),
            Message::Spec(body) if self.verb == Verb::Spec => self.body = Some(body.to_owned()),
            Message::Failure(failure) => self.failure = Some(failure),
            Message::NewConfig(config) => keep_config(&self.connector, config),
            Message::Log(entry) => drop(log::line(&self.connector.secrets, &entry.level, &entry.message)),
            Message::Noise => drop(log::line(&self.connector.secrets, "NOISE", &String::from_utf8_lossy(line))),
            Message::Record(_)
            | Message::State(_)
            | Message::Status(_)
            | Message::Estimate(_)
            | Message::Catalog(_)
            | Message::Spec(_)
            | Message::Other => {}
        }
        Ok(true)
    }
}

/// Keeps changed settings for the rest of the run. They may hold new secrets, so that nothing of them is written or shown but the
/// names of the keys.
pub(super) fn keep_config(connector: &Connector, new: Value) {
    let mut config = connector.config.lock();
    let mut changed = Vec::new();
    compare(&config, &new, "", &mut |path, value| {
        changed.push(path.to_owned());
        for_each_text(value, &mut |text| connector.secrets.add(text));
    });
    if !changed.is_empty() {
        let keys = changed.join(", ");
        tracing::warn!(
            connector = connector.name,
            keys,
            "the connector changed its settings for this run; the source file and the environment keep the old ones"
        );
    }
    *config = new;
}

/// Calls `found` with each key of `new` whose value is not that of `old`.
fn compare(old: &Value, new: &Value, path: &str, found: &mut impl FnMut(&str, &Value)) {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in after {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(before.get(key).unwrap_or(&Value::Null), value, &path, found);
            }
        }
        (before, after) if before != after => found(path, after),
        _ => {}
    }
}

pub(super) fn for_each_text(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => found(text),
        Value::Array(items) => items.iter().for_each(|item| for_each_text(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| for_each_text(field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
