//! Several writers at once, several starters at once, and the rules that the databases themselves keep.
//!
//! In: empty stores.  Out: nothing.
//! Never here: killed writers (see the test `killed`).
//! Start at `of_two_writers_one_wins_and_nothing_is_lost`.

use control::{AuditFilter, Control, ControlError};
use domain::Problem;

use crate::{ann, at, bob, file_of, stores};

/// Adds tags, reading again after each conflict.
async fn tag(control: Control, writer: usize, tags: usize) -> usize {
    let mut conflicts = 0;
    for i in 0..tags {
        loop {
            let record = control.experiment(&ann(), "a").await.unwrap();
            let mut file = record.course.file();
            file.about.tags.push(format!("{writer}-{i}"));
            match control.edit_experiment(&ann(), "a", record.revision, file, "", at(1)).await {
                Ok(_) => break,
                Err(ControlError::Stale { .. }) => conflicts += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    conflicts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_writers_one_wins_and_nothing_is_lost() {
    for store in stores().await {
        store.control.create_experiment(&ann(), file_of("a", ""), at(0)).await.unwrap();
        // Two processes are two pools.
        let other = Control::open(&store.url).await.unwrap();
        let (one, two) =
            tokio::join!(tokio::spawn(tag(store.control.clone(), 1, 20)), tokio::spawn(tag(other.clone(), 2, 20)));
        let conflicts = one.unwrap() + two.unwrap();
        let record = store.control.experiment(&ann(), "a").await.unwrap();
        assert_eq!(record.course.about.tags.len(), 40, "after {conflicts} conflicts");
        let entries = store.control.audit(&bob(), &AuditFilter::default()).await.unwrap();
        let numbers: Vec<u64> = entries.iter().rev().map(|entry| entry.sequence).collect();
        assert_eq!(numbers, (1..=41).collect::<Vec<u64>>(), "one row per change");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_start_at_once_on_an_empty_store() {
    for (url, _directory) in crate::addresses() {
        let starters: Vec<_> = (0..6)
            .map(|_| {
                let url = url.clone();
                tokio::spawn(async move { Control::open(&url).await.map(|control| (control, ())) })
            })
            .collect();
        for starter in starters {
            starter.await.unwrap().unwrap();
        }
        let control = Control::open(&url).await.unwrap();
        control.create_experiment(&ann(), file_of("a", ""), at(0)).await.unwrap();
    }
}

/// Plans, checklists and rehearsals only look: they wait for no writer, and no writer for them.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_looks_waits_for_nobody() {
    for store in stores().await {
        let control = &store.control;
        control.create_experiment(&ann(), file_of("a", ""), at(0)).await.unwrap();
        sqlx::any::install_default_drivers();
        let pool = sqlx::AnyPool::connect(&store.url).await.unwrap();
        let is_sqlite = store.url.starts_with("sqlite");
        let mut writer =
            if is_sqlite { pool.begin_with("BEGIN IMMEDIATE").await.unwrap() } else { pool.begin().await.unwrap() };
        if !is_sqlite {
            sqlx::raw_sql("LOCK TABLE audit IN EXCLUSIVE MODE").execute(&mut *writer).await.unwrap();
        }
        let look = async {
            let file = file_of("a", "");
            let source = control::ExperimentSource { path: "experiments/a.toml".to_owned(), file };
            let plan = control.plan(&ann(), vec![source], at(1)).await.unwrap();
            assert_eq!((plan.drifts.len(), plan.store), (1, 1));
            control.checklist(&ann(), "a", &crate::facts()).await.unwrap();
            control.program(&ann(), "a", at(1)).await.unwrap();
            control.approval_policy(&ann(), "default").await.unwrap();
        };
        // A writer waits ten seconds for another before it gives up.
        tokio::time::timeout(std::time::Duration::from_secs(5), look).await.expect("it waited for the writer");
        writer.rollback().await.unwrap();
    }
}

/// Runs one statement outside of the room, as a curious administrator would.
async fn run(url: &str, statement: &'static str) -> Result<(), sqlx::Error> {
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(url).await?;
    sqlx::raw_sql(statement).execute(&pool).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_the_audit_log_and_a_newer_schema_is_left_alone() {
    for store in stores().await {
        store.control.create_experiment(&ann(), file_of("a", ""), at(0)).await.unwrap();
        for statement in ["UPDATE audit SET person = 'eve'", "DELETE FROM audit"] {
            let error = run(&store.url, statement).await.unwrap_err();
            assert!(error.to_string().contains("the audit log is append-only"), "{error}");
        }
        run(&store.url, "INSERT INTO schema_version (version) VALUES (99)").await.unwrap();
        let error = Control::open(&store.url).await.unwrap_err();
        assert_eq!(error.code(), "newer_schema");
        assert_eq!(error.to_string(), "the store has schema 99 and this program knows 2; upgrade Montauk");
    }
}
