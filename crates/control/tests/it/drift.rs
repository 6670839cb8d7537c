//! Experiments as files: plans and what applying them does.
//!
//! In: empty stores.  Out: nothing.
//! Never here: reading files.
//! Start at `files_are_planned_and_applied`.

use control::{ApplyOptions, Control, DriftChange, DriftPlan, ExperimentSource, ManagedBy};
use experiment::lifecycle::{State, Step};
use experiment::plan::ExperimentFile;

use crate::{ann, at, code, facts, file_of, stores, walk};

fn source(file: ExperimentFile) -> ExperimentSource {
    ExperimentSource { path: format!("experiments/{}.toml", file.assignment.key), file }
}

async fn plan(control: &Control, files: &[ExperimentFile]) -> DriftPlan {
    control.plan(&ann(), files.iter().cloned().map(source).collect(), at(2)).await.unwrap()
}

async fn apply(control: &Control, files: &[ExperimentFile]) -> DriftPlan {
    let plan = plan(control, files).await;
    let options = ApplyOptions { new_phases: true, skip_blocked: false };
    control.apply(&ann(), &plan, options, "from files", at(2)).await.unwrap();
    plan
}

fn lines(plan: &DriftPlan) -> Vec<String> {
    plan.drifts
        .iter()
        .map(|drift| {
            let what = match &drift.change {
                DriftChange::Unchanged => "unchanged".to_owned(),
                DriftChange::Create => "create".to_owned(),
                DriftChange::Update { fields } => format!("update {}", fields.join(" ")),
                DriftChange::NewPhase { fields } => format!("new phase {}", fields.join(" ")),
                DriftChange::Delete => "delete".to_owned(),
                DriftChange::Blocked { field, .. } => format!("blocked {field}"),
            };
            format!("{}: {what}", drift.key)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_planned_and_applied() {
    for store in stores().await {
        let control = &store.control;
        let (mut a, b) = (file_of("a", ""), file_of("b", ""));
        assert_eq!(lines(&apply(control, &[a.clone(), b.clone()]).await), ["a: create", "b: create"]);
        assert!(plan(control, &[a.clone(), b.clone()]).await.is_empty());
        let record = control.experiment(&ann(), "a").await.unwrap();
        assert_eq!((record.managed_by, record.course.state), (ManagedBy::Code, State::Draft));
        let error = control.edit_experiment(&ann(), "a", record.revision, file_of("a", "seed = 'x'"), "", at(2)).await;
        assert_eq!(code(&error.unwrap_err()), "managed_by_code Conflict");
        // Weights as they were meant: 2 to 2 is 1 to 1.
        a.assignment.variants.iter_mut().for_each(|variant| variant.weight = 2.0);
        assert_eq!(lines(&apply(control, &[a.clone(), b.clone()]).await), ["a: update ", "b: unchanged"]);
        a.assignment.hash_attribute = "device".to_owned();
        assert_eq!(lines(&apply(control, &[a.clone()]).await), ["a: update assignment.hash_attribute", "b: delete"]);
        let record = control.experiment(&ann(), "a").await.unwrap();
        walk(control, record, &[Step::Submit, Step::Start, Step::Ramp { coverage: 0.1 }]).await;
        // A ramp by a verb is no drift; a lower coverage in a changed file is one that cannot be.
        assert!(plan(control, &[a.clone()]).await.is_empty());
        a.about.title = Some("Form".to_owned());
        assert_eq!(lines(&plan(control, &[a.clone()]).await), ["a: blocked assignment.coverage"]);
        a.assignment.coverage = 0.1;
        assert_eq!(lines(&apply(control, &[a.clone()]).await), ["a: update about"]);
        assert_eq!(lines(&plan(control, &[]).await), ["a: blocked state"]);
        a.assignment.variants[1].value = "other".into();
        let planned = plan(control, &[a.clone()]).await;
        assert_eq!(lines(&planned), ["a: new phase assignment.variants[new].value"]);
        let error = control.apply(&ann(), &planned, ApplyOptions::default(), "", at(2)).await.unwrap_err();
        assert_eq!(code(&error), "plan_blocked Conflict");
        apply(control, &[a.clone()]).await;
        let record = control.experiment(&ann(), "a").await.unwrap();
        assert_eq!((record.course.state, record.course.assignment.phase), (State::Draft, 1));
        assert_eq!(record.course.earlier.len(), 1);
        assert!(plan(control, &[a]).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_holds_only_for_the_store_it_was_made_for() {
    for store in stores().await {
        let control = &store.control;
        let planned = plan(control, &[file_of("a", "")]).await;
        let made = control.create_experiment(&ann(), file_of("other", ""), at(0)).await.unwrap();
        let error = control.apply(&ann(), &planned, ApplyOptions::default(), "", at(2)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the store is at change {} and the plan was made at change 0; plan again", made.revision)
        );
        let theirs =
            plan(control, &[file_of("other", ""), file_of("bad", "audience = { a = { '$regex' = '(' } }")]).await;
        assert_eq!(lines(&theirs), ["bad: blocked assignment.audience", "other: blocked managed_by"]);
        let twice = plan(control, &[file_of("a", ""), file_of("a", "")]).await;
        assert_eq!(lines(&twice)[1], "a: blocked assignment.key");
        let skip = ApplyOptions { new_phases: false, skip_blocked: true };
        let report = control.apply(&ann(), &theirs, skip, "", at(2)).await.unwrap();
        assert_eq!((report.written.len(), report.skipped.len()), (0, 2));
        // A plan through JSON is the same plan.
        let text = serde_json::to_string(&twice).unwrap();
        assert_eq!(serde_json::from_str::<DriftPlan>(&text).unwrap(), twice);
        assert!(control.step(&ann(), "other", made.revision, &Step::Submit, &facts(), at(2)).await.is_ok());
    }
}
