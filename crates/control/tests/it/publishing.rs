//! Snapshots: what is in them, and that their numbers rise whatever happens.
//!
//! In: empty stores.  Out: nothing.
//! Never here: evaluation in general (see the tests of `experiment`); here one payload is compiled and asked.
//! Start at `a_snapshot_holds_what_is_decided`.

use std::path::Path;

use control::{Control, Published, QaRequest, Thing};
use domain::{ExperimentSnapshot, SdkConnection};
use experiment::assign::{Context, Log, Object, Payload, Value};
use experiment::lifecycle::Step;
use experiment::program::{Flag, Holdout, ValueType};

use crate::{ann, at, file_of, put, running, ship, stores, walk};

fn read(published: &Published) -> ExperimentSnapshot {
    serde_json::from_slice(&std::fs::read(&published.path).unwrap()).unwrap()
}

/// The value that a unit gets, by the payload alone.
fn value(snapshot: &ExperimentSnapshot, feature: &str, unit: &str) -> Value {
    let compiled = Payload::validate(&serde_json::to_string(&snapshot.payload).unwrap()).unwrap();
    let attributes = Object::parse(&serde_json::json!({ "id": unit }).to_string()).unwrap();
    compiled.evaluate(feature, &Context::new(&attributes), &mut Log::new()).value.clone()
}

fn flag(key: &str, default: Value) -> Thing {
    Thing::Flag(Flag { key: key.into(), value_type: ValueType::of(&default), default, description: None })
}

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn publish(control: &Control, directory: &Path, day: i64) -> Published {
    control.publish_snapshot(directory, at(day)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_holds_what_is_decided() {
    for store in stores().await {
        let (control, directory) = (&store.control, store.directory.path().join("experiments"));
        put(control, flag("banner", Value::from("spring"))).await.unwrap();
        put(control, Thing::Holdout(Holdout { key: "h".into(), share: 0.0, hash_attribute: "id".into(), seed: None }))
            .await
            .unwrap();
        put(
            control,
            Thing::Connection(SdkConnection {
                client_key: "sdk-1".into(),
                name: "web".into(),
                encryption_key: None,
                remote_evaluation: true,
            }),
        )
        .await
        .unwrap();
        control.create_experiment(&ann(), file_of("draft", "allow_list = { tester = 'new' }"), at(0)).await.unwrap();
        let mut half = file_of("half", "");
        half.assignment.variants.truncate(1);
        control.create_experiment(&ann(), half, at(0)).await.unwrap();
        let all = running(control, "all", "holdout = 'h'").await;
        let all = walk(control, all, &[Step::Pause { reason: String::new() }]).await;
        let decided = running(control, "done", "").await;
        walk(control, decided, &[ship("new")]).await;
        let qa = QaRequest { unit: "guest".into(), variant: "new".into(), expires_at: None };
        control.force(&ann(), "all", qa, at(0)).await.unwrap();

        let published = publish(control, &directory, 1).await;
        assert_eq!((published.revision, published.is_new), (1, true));
        assert!(published.path.ends_with("00000000000000000001.json"));
        assert_eq!(published.left_out.iter().map(|left| left.key.as_str()).collect::<Vec<_>>(), ["half"]);
        let snapshot = read(&published);
        let states: Vec<_> = snapshot.experiments.iter().map(|one| (one.key.as_str(), one.state.as_str())).collect();
        assert_eq!(states, [("all", "paused"), ("done", "decided"), ("draft", "draft")]);
        assert_eq!(snapshot.connections[0].client_key, "sdk-1");
        assert_eq!(value(&snapshot, "banner", "u"), Value::from("spring"));
        assert_eq!(value(&snapshot, "done", "u"), Value::from(true));
        for (feature, tester) in [("draft", "tester"), ("all", "guest")] {
            assert_eq!(value(&snapshot, feature, tester), Value::from(true), "{feature}");
            assert_eq!(value(&snapshot, feature, "u"), Value::from(false), "{feature}");
        }
        // Nothing has changed: no new number. A forced variant ends by itself: a new one.
        assert_eq!(publish(control, &directory, 2).await, Published { is_new: false, ..published });
        let later = publish(control, &directory, 15).await;
        assert_eq!((later.revision, value(&read(&later), "all", "guest")), (2, Value::from(false)));
        // Running again, the whole audience of a full coverage is assigned.
        walk(control, all, &[Step::Resume]).await;
        let running = read(&publish(control, &directory, 16).await);
        let treated = (0..1_000).filter(|i| value(&running, "all", &format!("u{i}")) == Value::from(true)).count();
        // A coverage of 5 %, half of it treated: 25 of 1,000, give or take four standard deviations.
        assert!((5..=45).contains(&treated), "{treated}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_rise_after_a_kill_a_restore_and_fifty_files() {
    for store in stores().await {
        let (control, directory) = (&store.control, store.directory.path().join("experiments"));
        put(control, flag("a", Value::from(1.0))).await.unwrap();
        let first = publish(control, &directory, 1).await;
        let text = std::fs::read(&first.path).unwrap();
        // Killed between the transaction and the file, with half a file aside.
        std::fs::rename(&first.path, directory.join("00000000000000000001.0123.aside")).unwrap();
        put(control, flag("b", Value::from(2.0))).await.unwrap();
        let second = publish(control, &directory, 2).await;
        assert_eq!(second.revision, 2);
        assert_eq!(std::fs::read(&first.path).unwrap(), text, "the number keeps its text");
        assert_eq!(files(&directory), ["00000000000000000001.json", "00000000000000000002.json"]);
        // A store from a backup finds files that it never wrote, and goes on behind them.
        std::fs::write(directory.join("00000000000000000040.json"), "{}").unwrap();
        let third = publish(control, &directory, 3).await;
        assert_eq!((third.revision, third.is_new), (41, true));
        for i in 0..55 {
            put(control, flag(&format!("f{i}"), Value::from(true))).await.unwrap();
            publish(control, &directory, 4).await;
        }
        let names = files(&directory);
        assert_eq!((names.len(), names.last().unwrap().as_str()), (50, "00000000000000000096.json"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_features_are_published_and_changed() {
    for store in stores().await {
        let (control, directory) = (&store.control, store.directory.path().join("experiments"));
        // Written behind the room's back: one change at a time, each compiled with all before it, would take minutes.
        let pool = sqlx::AnyPool::connect(&store.url).await.unwrap();
        let mut transaction = pool.begin().await.unwrap();
        for i in 0..10_000 {
            let Thing::Flag(flag) = flag(&format!("flag-{i}"), Value::from(false)) else { panic!("no flag") };
            let stored = control::Stored { revision: 0, project: None, updated_at: at(0), thing: Thing::Flag(flag) };
            sqlx::query("INSERT INTO flags (key, revision, document) VALUES ($1, 0, $2)")
                .bind(format!("flag-{i}"))
                .bind(serde_json::to_string(&stored).unwrap())
                .execute(&mut *transaction)
                .await
                .unwrap();
        }
        transaction.commit().await.unwrap();
        running(control, "flag-77", "").await;
        let snapshot = read(&publish(control, &directory, 1).await);
        assert_eq!(snapshot.payload["features"].as_object().unwrap().len(), 10_000);
        assert_eq!(snapshot.payload["features"]["flag-77"]["rules"].as_array().unwrap().len(), 1);
        assert_eq!(value(&snapshot, "flag-9999", "u"), Value::from(false));
    }
}
