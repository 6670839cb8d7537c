//! A snapshot of experiments, compiled: everything that answers, immutable, made once.
//!
//! In: an [`ExperimentSnapshot`].  Out: a [`FlagSet`].
//! Blocking: compiles and encrypts; call it off the async threads.
//! Never here: files (`current`), HTTP.
//! Start at [`FlagSet::compile`].

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use domain::{ExperimentSnapshot, SdkConnection, SnapshotExperiment};
use experiment::assign::{Compiled, Object, Payload};

use super::connection::{Access, Connection, Definitions, refetch_event};
use super::quota::Quota;

/// What answers flags.
#[derive(Debug)]
pub(crate) struct FlagSet {
    pub(crate) revision: u64,
    /// The moment of publication as clients compare it; see [`date`].
    pub(crate) date: String,
    pub(crate) compiled: Compiled,
    pub(crate) experiments: Vec<SnapshotExperiment>,
    /// Attributes that a targeting key stands for.
    pub(crate) unit_attributes: BTreeSet<String>,
    /// Features that nothing but paused experiments decide.
    pub(crate) paused: BTreeSet<String>,
    /// OpenFeature's notice that this revision serves.
    pub(crate) notice: axum::body::Bytes,
    connections: HashMap<String, Connection>,
}

/// OpenFeature names a unit by its targeting key, GrowthBook by this attribute unless an experiment says otherwise.
const DEFAULT_UNIT_ATTRIBUTE: &str = "id";

impl FlagSet {
    /// Compiles. `before` is what serves now: its quotas go on, so that a new revision does not fill them.
    ///
    /// Errors: why the snapshot cannot serve, as a sentence.
    pub(crate) fn compile(
        snapshot: ExperimentSnapshot,
        per_second: u32,
        before: Option<&FlagSet>,
    ) -> Result<Self, String> {
        let date = date(snapshot.published_at, snapshot.revision);
        let text = serde_json::to_string(&snapshot.payload).map_err(|error| error.to_string())?;
        let compiled = Payload::compile(&text).map_err(|error| error.to_string())?;
        drop(text);
        let plain = Arc::new(Definitions::new(&snapshot.payload, &date, None).map_err(|error| error.to_string())?);
        let mut connections = HashMap::new();
        for connection in &snapshot.connections {
            let key = &connection.client_key;
            let quota = before.and_then(|before| before.connections.get(key)).map(|before| Arc::clone(&before.quota));
            let access = access(connection, &snapshot, &date, &plain)?;
            let event = match &access {
                Access::Plain(definitions) => definitions.event(snapshot.revision),
                Access::Encrypted(definitions) => definitions.event(snapshot.revision),
                Access::Remote => refetch_event(snapshot.revision),
            };
            let quota = quota.unwrap_or_else(|| Arc::new(Quota::new(per_second)));
            if connections.insert(key.clone(), Connection { access, quota, event }).is_some() {
                return Err(format!("two connections have the client key `{key}`"));
            }
        }
        let mut unit_attributes = BTreeSet::from([DEFAULT_UNIT_ATTRIBUTE.to_owned()]);
        unit_attributes.extend(snapshot.experiments.iter().map(|experiment| experiment.hash_attribute.clone()));
        Ok(Self {
            revision: snapshot.revision,
            notice: notice(&plain, snapshot.revision, snapshot.published_at),
            date,
            compiled,
            unit_attributes,
            paused: paused(&snapshot.experiments),
            experiments: snapshot.experiments,
            connections,
        })
    }

    /// The connection of a client key.
    pub(crate) fn connection(&self, client_key: &str) -> Option<&Connection> {
        self.connections.get(client_key)
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// How many features there are.
    pub(crate) fn features(&self) -> usize {
        self.compiled.features().count()
    }

    /// What is known of a unit of which only its name is known: the name, under each attribute that names units.
    pub(crate) fn with_unit(&self, mut known: Vec<(String, experiment::assign::Value)>, unit: &str) -> Object {
        for attribute in &self.unit_attributes {
            if known.iter().all(|(name, _)| name != attribute) {
                known.push((attribute.clone(), unit.into()));
            }
        }
        known.into_iter().collect()
    }
}

fn access(
    connection: &SdkConnection,
    snapshot: &ExperimentSnapshot,
    date: &str,
    plain: &Arc<Definitions>,
) -> Result<Access, String> {
    if connection.client_key.is_empty() {
        return Err(format!("the connection `{}` has no client key", connection.name));
    }
    match &connection.encryption_key {
        _ if connection.remote_evaluation => Ok(Access::Remote),
        None => Ok(Access::Plain(Arc::clone(plain))),
        Some(key) => Definitions::new(&snapshot.payload, date, Some(key))
            .map(Access::Encrypted)
            .map_err(|error| format!("the connection `{}` cannot be encrypted: {error}", connection.name)),
    }
}

/// SDKs leave out what has the `dateUpdated` that they know. Two publications of one microsecond must differ, and after a clock that went back
/// they must not be equal by chance: the last three digits are the revision's.
fn date(published_at: DateTime<Utc>, revision: u64) -> String {
    let text = published_at.to_rfc3339_opts(SecondsFormat::Micros, true);
    format!("{}{:03}Z", text.trim_end_matches('Z'), revision % 1_000)
}

/// OFREP's event: a notice only, upon which clients ask again (architecture decision 8 of the protocol).
fn notice(plain: &Definitions, revision: u64, published_at: DateTime<Utc>) -> axum::body::Bytes {
    let data = serde_json::json!({
        "type": "refetchEvaluation",
        "etag": plain.etag.to_str().unwrap_or_default(),
        "lastModified": published_at.timestamp(),
    });
    format!("id: {revision}\nevent: message\ndata: {data}\n\n").into()
}

fn paused(experiments: &[SnapshotExperiment]) -> BTreeSet<String> {
    let is_paused = |experiment: &&SnapshotExperiment| experiment.state == "paused";
    let mut paused: BTreeSet<String> =
        experiments.iter().filter(is_paused).map(|experiment| experiment.feature.clone()).collect();
    for experiment in experiments.iter().filter(|experiment| !is_paused(experiment)) {
        paused.remove(&experiment.feature);
    }
    paused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_differ_by_revision_even_in_one_microsecond() {
        let at = DateTime::from_timestamp(1_767_225_600, 123_456_789).unwrap();
        assert_eq!(date(at, 7), "2026-01-01T00:00:00.123456007Z");
        assert_eq!(date(at, 1_008), "2026-01-01T00:00:00.123456008Z");
        assert!(DateTime::parse_from_rfc3339(&date(at, 7)).is_ok());
    }
}
