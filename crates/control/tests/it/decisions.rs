//! Experiments and what they stand on: verbs, conflicts, the audit log, bad input.
//!
//! In: empty stores.  Out: nothing.
//! Never here: files (see `drift`), snapshots (see `publishing`).
//! Start at `an_experiment_lives_and_every_change_is_recorded`.

use control::{AuditFilter, AuditFormat, ExperimentFilter, Kind, ProjectPolicy, QaRequest, Role, SavedGroup, Thing};
use experiment::assign::Value;
use experiment::layer::Layer;
use experiment::lifecycle::{ApprovalPolicy, LaunchFacts, State, Step};
use experiment::program::{Flag, ValueType};

use crate::{actor, admin, ann, at, bob, code, exported, facts, file_of, put, running, ship, stores, walk};

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_lives_and_every_change_is_recorded() {
    for store in stores().await {
        let control = &store.control;
        let record = running(control, "checkout", "").await;
        let ramp = [Step::Ramp { coverage: 0.1 }, ship("new")];
        let decided = walk(control, record, &ramp).await;
        assert_eq!((decided.course.state, decided.course.assignment.winner.as_deref()), (State::Decided, Some("new")));
        assert_eq!(control.experiment(&ann(), "checkout").await.unwrap(), decided);
        let entries = control.audit(&bob(), &AuditFilter::default()).await.unwrap();
        let verbs: Vec<&str> = entries.iter().rev().map(|entry| entry.verb.as_str()).collect();
        assert_eq!(verbs, ["create", "submit", "start", "ramp", "decide"]);
        assert_eq!(entries[0].sequence, decided.revision);
        assert_eq!(entries[0].reason, "it sells");
        let state = |value: &Option<serde_json::Value>| value.as_ref().unwrap()["state"].as_str().unwrap().to_owned();
        assert_eq!((state(&entries[0].before), state(&entries[0].after)), ("running".into(), "decided".into()));
        // Each record before is the record after of the change before it.
        assert!(entries.windows(2).all(|pair| pair[0].before == pair[1].after));
        let some = AuditFilter { verb: Some("ramp".to_owned()), kind: Some(Kind::Experiment), ..Default::default() };
        let csv = exported(control, &bob(), some, AuditFormat::Csv).await.concat();
        assert_eq!(csv.lines().count(), 2, "{csv}");
        assert!(csv.contains(",\"ann\",\"cli\",\"ramp\",\"experiment\",\"checkout\",\"default\","), "{csv}");
        let json = exported(control, &bob(), AuditFilter::default(), AuditFormat::Json).await.concat();
        assert_eq!(serde_json::from_str::<Vec<control::AuditEntry>>(&json).unwrap(), entries);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_change_is_a_conflict_that_says_both_revisions() {
    for store in stores().await {
        let control = &store.control;
        let made = control.create_experiment(&ann(), file_of("a", ""), at(0)).await.unwrap();
        let twice = control.create_experiment(&ann(), file_of("a", ""), at(0)).await.unwrap_err();
        assert_eq!(code(&twice), "exists Conflict");
        let edited = control.edit_experiment(&ann(), "a", made.revision, file_of("a", "seed = 'x'"), "", at(0)).await;
        let edited = edited.unwrap();
        let stale = control.step(&ann(), "a", made.revision, &Step::Submit, &facts(), at(0)).await.unwrap_err();
        assert_eq!(
            stale.to_string(),
            format!(
                "experiment `a` is at revision {} and you saw revision {}; read it again and repeat the change",
                edited.revision, made.revision
            )
        );
        let same =
            control.edit_experiment(&ann(), "a", edited.revision, edited.course.file(), "", at(0)).await.unwrap();
        assert_eq!(same.revision, edited.revision, "saying what is there already is no change");
        control.delete_experiment(&ann(), "a", edited.revision, "", at(0)).await.unwrap();
        let again = control.create_experiment(&ann(), file_of("a", ""), at(0)).await.unwrap();
        assert!(again.revision > edited.revision, "a revision is never used twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_needs_its_checklist_and_where_the_policy_says_so_an_approval() {
    for store in stores().await {
        let control = &store.control;
        let record = control.create_experiment(&ann(), file_of("a", ""), at(0)).await.unwrap();
        let record = walk(control, record, &[Step::Submit]).await;
        let nothing = LaunchFacts::default();
        let error = control.step(&ann(), "a", record.revision, &Step::Start, &nothing, at(0)).await.unwrap_err();
        assert_eq!(error.to_string(), "`a` cannot start: 1 still to mend, first of all `no_such_metric`");
        assert!(control.checklist(&ann(), "a", &facts()).await.unwrap().blockers.is_empty());
        let approval = ApprovalPolicy::Always;
        let policy = Thing::Policy(ProjectPolicy { project: "*".to_owned(), approval });
        put(control, policy).await.unwrap();
        assert_eq!(control.approval_policy(&ann(), "default").await.unwrap(), approval);
        let error = control.step(&ann(), "a", record.revision, &Step::Start, &facts(), at(0)).await.unwrap_err();
        assert_eq!(code(&error), "needs_approval Refused");
        let approve = Step::Approve { up_to: Some(1.0) };
        let error = control.step(&ann(), "a", record.revision, &approve, &facts(), at(0)).await.unwrap_err();
        assert_eq!(code(&error), "forbidden Refused");
        let own = actor("ann", Role::Admin);
        let error = control.step(&own, "a", record.revision, &approve, &facts(), at(0)).await.unwrap_err();
        assert_eq!(code(&error), "own_approval Refused");
        let record = control.step(&bob(), "a", record.revision, &approve, &facts(), at(0)).await.unwrap();
        walk(control, record, &[Step::Start, Step::Ramp { coverage: 1.0 }]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_is_never_wrong() {
    for store in stores().await {
        let control = &store.control;
        let layer = Layer { name: "page".to_owned(), hash_attribute: "id".to_owned(), seed: None };
        let layer_revision = put(control, Thing::Layer(layer.clone())).await.unwrap();
        let flag =
            |default: Value| Flag { key: "a".into(), value_type: ValueType::Boolean, default, description: None };
        let error = put(control, Thing::Flag(flag(Value::from("text")))).await.unwrap_err();
        assert_eq!(error.to_string(), "flag `a` is a boolean and has a string as its default: make them agree");
        let flag_revision = put(control, Thing::Flag(flag(Value::from(false)))).await.unwrap();
        running(control, "a", "slots = [{ layer = 'page', start = 0.0, end = 0.5 }]").await;
        let full = control
            .create_experiment(&ann(), file_of("b", "slots = [{ layer = 'page', start = 0.4, end = 0.9 }]"), at(0))
            .await
            .unwrap();
        let full = walk(control, full, &[Step::Submit]).await;
        let error = control.step(&ann(), "b", full.revision, &Step::Start, &facts(), at(0)).await.unwrap_err();
        assert!(error.to_string().contains("`slot`"), "{error}");
        let edit = |thing, seen| control::ThingEdit { thing, project: None, seen: Some(seen), reason: String::new() };
        let error = control.put(&admin(), edit(Thing::Flag(flag(Value::from(true))), flag_revision), at(0)).await;
        assert!(error.unwrap_err().to_string().contains("the default of its flag `a`"));
        let moved = Layer { seed: Some("other".to_owned()), ..layer };
        let error = control.put(&admin(), edit(Thing::Layer(moved), layer_revision), at(0)).await.unwrap_err();
        assert_eq!(error.to_string(), "layer `page` is used by the running experiment `a`; change that first");
        let error = control.remove(&admin(), Kind::Flag, "a", flag_revision, "", at(0)).await.unwrap_err();
        assert_eq!(code(&error), "in_use Conflict");
        let stored = control.thing(&ann(), Kind::Flag, "a").await.unwrap();
        assert_eq!(stored.thing, Thing::Flag(flag(Value::from(false))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_winner_is_served_until_it_is_the_default() {
    for store in stores().await {
        let control = &store.control;
        let decided = running(control, "a", "").await;
        let decided = walk(control, decided, &[ship("new")]).await;
        let archive = |make_default| Step::Archive { reason: String::new(), make_default };
        let error = control.step(&ann(), "a", decided.revision, &archive(false), &facts(), at(2)).await.unwrap_err();
        assert_eq!(code(&error), "still_served Conflict");
        walk(control, decided, &[archive(true)]).await;
        let Thing::Flag(flag) = control.thing(&ann(), Kind::Flag, "a").await.unwrap().thing else { panic!("no flag") };
        assert_eq!((flag.default, flag.value_type), (Value::from(true), ValueType::Boolean));
        let filter = ExperimentFilter { state: Some(State::Archived), ..Default::default() };
        assert_eq!(control.experiments(&ann(), &filter).await.unwrap().len(), 1);
        let verbs: Vec<String> = control
            .audit(&bob(), &AuditFilter::default())
            .await
            .unwrap()
            .into_iter()
            .take(2)
            .map(|entry| format!("{} {}", entry.verb, entry.kind.name()))
            .collect();
        assert_eq!(verbs, ["archive experiment", "create flag"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_the_reason_and_odd_input_is_kept() {
    let cases = [
        ("", "", "give it a name"),
        ("a b", "", "white space"),
        ("a/b", "", "leave out"),
        ("k", "audience = { id = { '$regex' = '(?=x)' } }", "audience"),
        ("k", "audience = { id = { '$inGroup' = 'nobody' } }", "audience"),
        ("k", "allow_list = { u = 'third' }", "`third`"),
        ("k", "winner = 'new'", "set by the verb `decide`"),
    ];
    for store in stores().await {
        let control = &store.control;
        for (key, more, expected) in cases {
            let error = control.create_experiment(&ann(), file_of(key, more), at(0)).await.unwrap_err();
            assert!(error.to_string().contains(expected), "{key} {more}: {error}");
        }
        let mut deep = file_of("k", "");
        deep.assignment.variants[1].value = (0..110).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        let error = control.create_experiment(&ann(), deep, at(0)).await.unwrap_err();
        assert!(error.to_string().contains("nested too deeply"), "{error}");
        assert_eq!(control.newest_change().await.unwrap(), 0, "a refusal leaves nothing behind");
        let mut odd = file_of("결제-페이지", "");
        odd.assignment.variants[1].value = Value::from("가".repeat(10_000).as_str());
        let kept = control.create_experiment(&ann(), odd, at(0)).await.unwrap();
        assert_eq!(control.experiment(&ann(), "결제-페이지").await.unwrap(), kept);
        let mut huge = file_of("huge", "");
        huge.assignment.variants[1].value = Value::from("x".repeat(2 << 20).as_str());
        let error = control.create_experiment(&ann(), huge, at(0)).await.unwrap_err();
        assert_eq!(code(&error), "invalid_value Invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_back_changes_no_order() {
    for store in stores().await {
        let control = &store.control;
        let made = control.create_experiment(&ann(), file_of("a", ""), at(10)).await.unwrap();
        control.step(&ann(), "a", made.revision, &Step::Submit, &facts(), at(3)).await.unwrap();
        let entries = control.audit(&bob(), &AuditFilter::default()).await.unwrap();
        let order: Vec<_> = entries.iter().map(|entry| (entry.verb.as_str(), entry.at)).collect();
        assert_eq!(order, [("submit", at(3)), ("create", at(10))]);
        let early = AuditFilter { to: Some(at(5)), ..AuditFilter::default() };
        assert_eq!(control.audit(&bob(), &early).await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forced_variants_and_groups_are_kept_and_recorded() {
    for store in stores().await {
        let control = &store.control;
        let group = SavedGroup { key: "staff".into(), description: None, values: vec![Value::from("u1")] };
        let revision = put(control, Thing::Group(group)).await.unwrap();
        let audience = "audience = { id = { '$inGroup' = 'staff' } }";
        control.create_experiment(&ann(), file_of("a", audience), at(0)).await.unwrap();
        let error = control.remove(&bob(), Kind::Group, "staff", revision, "", at(0)).await.unwrap_err();
        assert_eq!(error.to_string(), "group `staff` is used by the draft experiment `a`; change that first");
        let request = |variant: &str| QaRequest { unit: "u9".into(), variant: variant.into(), expires_at: None };
        assert!(control.force(&ann(), "a", request("third"), at(0)).await.is_err());
        let entry = control.force(&ann(), "a", request("new"), at(0)).await.unwrap();
        assert_eq!(entry.expires_at, at(14));
        assert_eq!(control.forced(&ann(), "a").await.unwrap(), [entry]);
        control.unforce(&ann(), "a", "u9", at(1)).await.unwrap();
        assert_eq!(code(&control.unforce(&ann(), "a", "u9", at(1)).await.unwrap_err()), "not_found NotFound");
        let filter = AuditFilter { kind: Some(Kind::QaEntry), ..AuditFilter::default() };
        assert_eq!(control.audit(&bob(), &filter).await.unwrap().len(), 2);
    }
}
