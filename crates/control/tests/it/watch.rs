//! Rules that act by themselves, on both databases: in their own name, with reasons, once, and with no more rights than whoever let them.
//!
//! In: what is due.  Out: nothing.
//! Never here: what is due (see the tests of `experiment`).
//! Start at `a_ramp_goes_by_its_plan_and_stops_by_harm`.

use chrono::{DateTime, TimeDelta, Utc};
use control::{Actor, Control, ExperimentRecord, ExperimentSource, PreviewRequest, Projects, RULES, Role, Via};
use experiment::decision::{Code, Verdict};
use experiment::lifecycle::evidence::{Evidence, Harm};
use experiment::lifecycle::{Due, State, Step, watch};
use experiment::plan::ExperimentFile;

use crate::{actor, admin, ann, at, bob, code, facts, file_of, stores, walk};

fn rules() -> Actor {
    Actor::rules(&admin())
}

fn ramped(key: &str) -> ExperimentFile {
    let mut file = file_of(key, "");
    file.schedule = toml::from_str(
        "start = '2026-11-02T00:00:00Z'\n\
         ramp = [{ at = '2026-11-03T00:00:00Z', coverage = 0.5 }, { at = '2026-11-04T00:00:00Z', coverage = 1.0 }]",
    )
    .unwrap();
    file
}

fn evidence(now: DateTime<Utc>) -> Evidence {
    Evidence {
        verdict: Some(Verdict { code: Code::KeepRunning, reasons: Vec::new(), days_left: None }),
        arm: None,
        units: 500,
        fewest_units: 240,
        exposures: 900,
        data_until: Some(now),
        ailments: Vec::new(),
        harmed: Vec::new(),
        sample_ratio_p: None,
        unknown: Vec::new(),
        significant: Vec::new(),
    }
}

/// Looks, and does what is due.
async fn look(control: &Control, key: &str, found: &Evidence, now: DateTime<Utc>) -> (Option<Due>, ExperimentRecord) {
    let seen = control.experiment(&rules(), key).await.unwrap();
    let (rules, standing) = (rules(), control.standing(&rules(), &seen).await.unwrap());
    let due = watch(&seen.course, Some(found), standing.by(&rules, now));
    let done = match &due {
        Some(due) => control.act(&rules, &seen, due, &facts(), now).await.unwrap(),
        None => None,
    };
    (due, done.unwrap_or(seen))
}

#[tokio::test]
async fn a_ramp_goes_by_its_plan_and_stops_by_harm() {
    for store in stores().await {
        let control = &store.control;
        let record = control.create_experiment(&ann(), ramped("a"), at(0)).await.unwrap();
        let record = walk(control, record, &[Step::Submit]).await;
        let (held, after) = look(control, "a", &evidence(at(1)), at(1)).await;
        assert!(matches!(held, Some(Due::Hold { verb: "start", .. })), "{held:?}");
        assert_eq!(after.revision, record.revision, "waiting is no change");
        let approve = Step::Approve { up_to: None };
        control.step(&bob(), "a", record.revision, &approve, &facts(), at(1)).await.unwrap();
        let day = |day: i64, hours: i64| at(day) + TimeDelta::hours(hours);
        let mut words = Vec::new();
        for now in [day(1, 2), day(1, 3), day(2, 1), day(2, 2), day(2, 3), day(3, 1), day(3, 3)] {
            let mut found = evidence(now);
            if now >= day(3, 3) {
                found.harmed.push(Harm { metric: "returns".to_owned(), arm: "new".to_owned() });
            }
            let (_, after) = look(control, "a", &found, now).await;
            words.push(format!("{} {}", after.course.state.name(), after.course.assignment.coverage));
        }
        let expected =
            ["running 0.05", "running 0.05", "running 0.05", "running 0.5", "running 0.5", "running 0.5", "paused 0.5"];
        assert_eq!(words, expected);
        let stopped = control.experiment(&ann(), "a").await.unwrap().course;
        let proposal = stopped.proposal.unwrap();
        assert_eq!((proposal.verdict.code, proposal.arm.as_deref()), (Code::RollBack, Some("old")));
        assert_eq!(stopped.decision, None);

        let entries = control.audit(&admin(), &control::AuditFilter::default()).await.unwrap();
        let said: Vec<String> = entries
            .iter()
            .rev()
            .map(|entry| format!("{} {} {} {}", entry.person, entry.via, entry.verb, entry.reason))
            .collect();
        let rule = |verb: &str, why: &str| format!("{RULES} rule {verb} {why}");
        assert_eq!(
            said[3..],
            [
                rule("start", "scheduled start"),
                rule("ramp", "step of the ramp to 0.5"),
                rule("stop", "guardrail `returns` is harmed in `new`"),
            ]
        );
        let acts = control.acts(&rules(), "a", at(0)).await.unwrap();
        assert_eq!(acts.iter().map(|act| act.verb.name()).collect::<Vec<_>>(), ["start", "ramp", "stop"]);
        assert_eq!(acts[2].reason, "guardrail `returns` is harmed in `new`");
        assert_eq!(control.acts(&rules(), "a", at(3)).await.unwrap(), acts[2..]);
    }
}

#[tokio::test]
async fn rules_may_no_more_than_who_let_them_and_lose_to_who_was_first() {
    for store in stores().await {
        let control = &store.control;
        let seen = crate::running(control, "a", "").await;
        let due = Due::Ramp { coverage: 0.09 };
        let viewer = Actor::rules(&actor("vic", Role::Viewer));
        let error = control.act(&viewer, &seen, &due, &facts(), at(2)).await.unwrap_err();
        assert_eq!(code(&error), "forbidden Refused");
        let elsewhere = Actor { projects: Projects::Only(vec!["shop".to_owned()]), ..ann() };
        let error = control.act(&Actor::rules(&elsewhere), &seen, &due, &facts(), at(2)).await.unwrap_err();
        assert_eq!(code(&error), "other_project Refused");
        let of_admin = rules();
        assert_eq!((of_admin.role, of_admin.via), (Role::Experimenter, Via::Rule));
        // More traffic than was approved is refused to rules as to people.
        let error = control.act(&of_admin, &seen, &Due::Ramp { coverage: 1.0 }, &facts(), at(2)).await.unwrap_err();
        assert_eq!(code(&error), "needs_approval Refused");
        // Two looks at once: one acts, the other one is stale.
        assert!(control.act(&of_admin, &seen, &due, &facts(), at(2)).await.unwrap().is_some());
        let error = control.act(&of_admin, &seen, &due, &facts(), at(2)).await.unwrap_err();
        assert_eq!(code(&error), "stale_revision Conflict");
        let hold = Due::Hold { verb: "ramp", because: Vec::new() };
        assert_eq!(control.act(&of_admin, &seen, &hold, &facts(), at(2)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_file_may_change_while_its_ramp_has_come_further() {
    for store in stores().await {
        let control = &store.control;
        let source = |file: ExperimentFile| ExperimentSource { path: "experiments/a.toml".to_owned(), file };
        let apply = async |file: ExperimentFile| {
            let plan = control.plan(&ann(), vec![source(file)], at(2)).await.unwrap();
            control.apply(&ann(), &plan, control::ApplyOptions::default(), "", at(2)).await
        };
        apply(ramped("a")).await.unwrap();
        let mut record = walk(control, control.experiment(&ann(), "a").await.unwrap(), &[Step::Submit]).await;
        for (who, step) in
            [(bob(), Step::Approve { up_to: None }), (ann(), Step::Start), (ann(), Step::Ramp { coverage: 0.5 })]
        {
            record = control.step(&who, "a", record.revision, &step, &facts(), at(2)).await.unwrap();
        }
        let mut file = ramped("a");
        file.schedule.ramp[1].at = at(9);
        apply(file.clone()).await.unwrap();
        let record = control.experiment(&ann(), "a").await.unwrap();
        assert_eq!((record.course.assignment.coverage, record.course.state), (0.5, State::Running));
        assert_eq!(record.course.schedule.ramp[1].at, at(9));
        // Without a ramp a file that asks for less is refused as ever.
        file.schedule.ramp.clear();
        assert!(apply(file).await.unwrap_err().to_string().contains("may only grow"));
    }
}

#[tokio::test]
async fn a_preview_link_works_in_a_draft_and_ends() {
    for store in stores().await {
        let control = &store.control;
        control.create_experiment(&ann(), file_of("a", ""), at(0)).await.unwrap();
        let request = |variant: &str, expires_at| PreviewRequest { variant: variant.to_owned(), expires_at };
        let link = control.preview(&ann(), "a", request("new", None), at(0)).await.unwrap();
        let other = control.preview(&ann(), "a", request("new", Some(at(2))), at(0)).await.unwrap();
        assert_eq!((link.expires_at, link.is_link, link.unit.len()), (at(14), true, 16));
        assert_ne!(link.unit, other.unit);
        let error = control.preview(&ann(), "a", request("newer", None), at(0)).await.unwrap_err();
        assert!(error.to_string().contains("name one of the experiment's variants"), "{error}");
        let viewer = actor("vic", Role::Viewer);
        assert_eq!(
            code(&control.preview(&viewer, "a", request("new", None), at(0)).await.unwrap_err()),
            "forbidden Refused"
        );
        let tokens = async |now| {
            let published = control.publish_snapshot(&store.directory.path().join("snapshots"), now).await.unwrap();
            let text = std::fs::read_to_string(published.path).unwrap();
            [&link, &other].map(|link| text.contains(&format!("\"montauk_preview\":\"{}\"", link.unit)))
        };
        assert_eq!(tokens(at(1)).await, [true, true]);
        assert_eq!(tokens(at(2)).await, [true, false]);
        control.unforce(&ann(), "a", &link.unit, at(3)).await.unwrap();
        assert_eq!(tokens(at(3)).await, [false, false]);
        let entries = control.audit(&admin(), &control::AuditFilter::default()).await.unwrap();
        let verbs: Vec<&str> = entries.iter().rev().map(|entry| entry.verb.as_str()).collect();
        assert_eq!(verbs, ["create", "force", "force", "delete"]);
        assert_eq!(entries[1].after.as_ref().unwrap()["is_link"], true);
    }
}
