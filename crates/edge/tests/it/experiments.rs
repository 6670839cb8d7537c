//! Experiments as people decide them, published as the snapshot that serving reads.
//!
//! In: a revision.  Out: a snapshot with layers, a holdout, audiences, ramps, a winner, an allow-list and three connections; written as `control` does.
//! Start at [`snapshot`].

use std::fs;
use std::path::Path;

use domain::{ExperimentSnapshot, SNAPSHOT_FORMAT_VERSION, SdkConnection, SnapshotExperiment};
use experiment::definition::Experiment;
use experiment::layer::Layer;
use experiment::program::Program;
use serde_json::{Map, Value, json};

/// 16 bytes in base64.
pub const ENCRYPTION_KEY: &str = "Zvwv/+uhpFDznZ6SX28Yjg==";

pub fn definitions() -> Vec<(Value, &'static str)> {
    let variants = |values: &[Value]| -> Value {
        let keys = ["control", "treatment", "third"];
        values.iter().zip(keys).map(|(value, key)| json!({ "key": key, "value": value })).collect()
    };
    let texts = variants(&["A".into(), "B".into(), "C".into()]);
    let truths = variants(&[false.into(), true.into()]);
    vec![
        (
            json!({ "key": "checkout", "variants": texts, "coverage": 0.6, "holdout": "global",
                "slots": [{ "layer": "page", "start": 0.0, "end": 0.5 }],
                "audience": { "country": { "$in": ["DE", "FR"] } }, "allow_list": { "qa-1": "third" } }),
            "running",
        ),
        (
            json!({ "key": "search", "variants": truths, "holdout": "global", "phase": 2,
                "slots": [{ "layer": "page", "start": 0.5, "end": 1.0 }] }),
            "running",
        ),
        (
            json!({ "key": "banner", "variants": texts, "holdout": "global", "winner": "treatment",
                "audience": { "age": { "$gte": 30 } } }),
            "decided",
        ),
        (json!({ "key": "price", "variants": variants(&[9.5.into(), 7.25.into()]), "sticky": {} }), "running"),
        (json!({ "key": "teams", "hash_attribute": "company", "variants": truths }), "running"),
        (json!({ "key": "결제 é/1", "variants": texts }), "running"),
        (json!({ "key": "asleep", "variants": truths, "paused": true }), "paused"),
        (
            json!({ "key": "sketch", "variants": truths, "paused": true, "allow_list": { "qa-1": "treatment" } }),
            "draft",
        ),
    ]
}

/// What the experiments come to, and flags without an experiment. `motd` says the revision.
fn payload(revision: u64, experiments: Vec<Experiment>) -> Map<String, Value> {
    let layer = Layer { name: "page".to_owned(), hash_attribute: "id".to_owned(), seed: None };
    let holdout = serde_json::from_value(json!({ "key": "global", "share": 0.1 })).unwrap();
    let program = Program { experiments, layers: vec![layer], holdouts: vec![holdout], ..Program::default() };
    let payload = program.payload().unwrap();
    let mut payload: Map<String, Value> = serde_json::from_value(serde_json::to_value(payload).unwrap()).unwrap();
    payload.insert("savedGroups".to_owned(), json!({ "staff": ["unit-1", "unit-7"] }));
    let features = payload["features"].as_object_mut().unwrap();
    let others = json!({
        "motd": { "defaultValue": format!("revision {revision}") },
        "limits": { "defaultValue": { "n": 1 }, "rules": [
            { "id": "staff", "condition": { "id": { "$inGroup": "staff" } }, "force": { "n": 100 } }] },
        "nav": { "defaultValue": false, "rules": [
            { "id": "nav-rollout", "force": true, "coverage": 0.3, "hashAttribute": "id" }] },
        "child": { "defaultValue": "on its own", "rules": [
            { "parentConditions": [{ "id": "search", "condition": { "value": true }, "gate": true }], "force": "with search" }] },
        "loop": { "defaultValue": 1, "rules": [
            { "parentConditions": [{ "id": "loop", "condition": { "value": 1 } }], "force": 2 }] },
    });
    features.extend(others.as_object().unwrap().clone());
    payload
}

pub fn snapshot(revision: u64) -> ExperimentSnapshot {
    let read = |(definition, state): (Value, &str)| -> (Experiment, String) {
        (serde_json::from_value(definition).unwrap(), state.to_owned())
    };
    let definitions: Vec<_> = definitions().into_iter().map(read).collect();
    let of = |(experiment, state): &(Experiment, String)| SnapshotExperiment {
        key: experiment.key.clone(),
        feature: experiment.feature().to_owned(),
        hash_attribute: experiment.hash_attribute.clone(),
        phase: experiment.phase,
        state: state.clone(),
        variants: experiment.variants.iter().map(|variant| variant.key.clone()).collect(),
    };
    let connection = |client_key: &str, encryption_key: Option<&str>, remote_evaluation| SdkConnection {
        client_key: client_key.to_owned(),
        name: client_key.to_owned(),
        encryption_key: encryption_key.map(str::to_owned),
        remote_evaluation,
    };
    ExperimentSnapshot {
        format_version: SNAPSHOT_FORMAT_VERSION,
        revision,
        published_at: chrono::DateTime::from_timestamp(1_767_225_600, 0).unwrap(),
        experiments: definitions.iter().map(of).collect(),
        payload: payload(revision, definitions.into_iter().map(|(experiment, _)| experiment).collect()),
        connections: vec![
            connection("sdk-plain", None, false),
            connection("sdk-encrypted", Some(ENCRYPTION_KEY), false),
            connection("sdk-remote", None, true),
        ],
    }
}

/// Under its name at once, as the real writer does.
pub fn write(state: &Path, revision: u64, text: &str) {
    let directory = state.join("experiments");
    fs::create_dir_all(&directory).unwrap();
    let aside = directory.join(format!(".aside-{revision}"));
    fs::write(&aside, text).unwrap();
    fs::rename(aside, directory.join(format!("{revision:020}.json"))).unwrap();
}

pub fn publish(state: &Path, snapshot: &ExperimentSnapshot) {
    write(state, snapshot.revision, &serde_json::to_string(snapshot).unwrap());
}
