//! What a launch knows and who has a say in it: power that is kept, groups under an approval, shared things, tokens that hand on no more than
//! they are, decisions for everybody, the log as a stream.
//!
//! In: empty stores.  Out: nothing.
//! Never here: rules of the lifecycle one by one (see the tests of `experiment`).
//! Start at `power_is_kept_until_what_it_depends_on_changes`.

use control::{
    Actor, AuditFilter, AuditFormat, Control, Kind, PowerFound, Projects, SavedGroup, Thing, ThingEdit, TokenRequest,
};
use control::{Person, Role, Via};
use experiment::assign::Value;
use experiment::layer::Layer;
use experiment::lifecycle::{Checklist, LaunchFacts, PowerGap, Step, Warning};
use experiment::plan::ExperimentFile;
use experiment::planning::power_hash;

use crate::{actor, admin, ann, at, bob, code, exported, facts, file_of, put, running, ship, stores, walk};

fn found(file: &ExperimentFile, power: Option<f64>) -> PowerFound {
    let hash = power_hash(file, &facts().metrics).unwrap();
    PowerFound { hash, power, planned_days: Some(3.0), report: serde_json::json!({ "history_days": 28 }) }
}

fn unknown(why: PowerGap) -> Warning {
    Warning::PowerUnknown { why, next: "montauk experiment power a".to_owned() }
}

async fn checklist(control: &Control) -> Checklist {
    control.checklist(&ann(), "a", &LaunchFacts { power: None, ..facts() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn power_is_kept_until_what_it_depends_on_changes() {
    for store in stores().await {
        let control = &store.control;
        let file = file_of("a", "");
        // People plan by a file before they apply it.
        control.keep_power(&ann(), &file, found(&file, Some(0.5)), at(0)).await.unwrap();
        let made = control.create_experiment(&ann(), file.clone(), at(0)).await.unwrap();
        let low = Warning::LowPower { power: 0.5, least: 0.8 };
        assert_eq!(checklist(control).await.warnings, [low, Warning::ShortRuntime { days: 3.0, least: 7.0 }]);
        // Words change nothing of it; weights do.
        let mut words = file.clone();
        words.about.title = Some("Checkout".to_owned());
        let edited = control.edit_experiment(&ann(), "a", made.revision, words, "", at(0)).await.unwrap();
        assert!(matches!(checklist(control).await.warnings[0], Warning::LowPower { .. }));
        let mut other = edited.course.file();
        other.assignment.variants[0].weight = 0.9;
        let edited = control.edit_experiment(&ann(), "a", edited.revision, other, "", at(0)).await.unwrap();
        assert_eq!(checklist(control).await.warnings, [unknown(PowerGap::Edited)]);
        // So does what a metric means, which stands in no record.
        let stands = edited.course.file();
        control.keep_power(&ann(), &stands, found(&stands, Some(0.9)), at(1)).await.unwrap();
        assert_eq!(checklist(control).await.warnings, [Warning::ShortRuntime { days: 3.0, least: 7.0 }]);
        let metric = toml::from_str("kind = 'count'\n[fact]\ntable = 'marts.orders'\n").unwrap();
        let facts = LaunchFacts { metrics: [("revenue".to_owned(), metric)].into(), ..LaunchFacts::default() };
        let found_by = control.checklist(&ann(), "a", &facts).await.unwrap();
        assert_eq!(found_by.warnings, [unknown(PowerGap::Edited)]);
        control.keep_power(&ann(), &stands, found(&stands, None), at(1)).await.unwrap();
        assert_eq!(checklist(control).await.warnings[0], unknown(PowerGap::NoFigures));
        // Whoever looks at power makes nobody's edit stale, and stands in the log.
        assert_eq!(control.experiment(&ann(), "a").await.unwrap().revision, edited.revision);
        let filter = AuditFilter { kind: Some(Kind::Power), ..AuditFilter::default() };
        assert_eq!(control.audit(&bob(), &filter).await.unwrap().len(), 3);
        let kept = control.power(&ann(), "a").await.unwrap().unwrap();
        assert_eq!((kept.by.as_str(), kept.at), ("ann", at(1)));
        control.delete_experiment(&ann(), "a", edited.revision, "", at(2)).await.unwrap();
        control.create_experiment(&ann(), stands, at(2)).await.unwrap();
        assert_eq!(checklist(control).await.warnings, [unknown(PowerGap::NeverComputed)]);
        let stranger = Actor { projects: Projects::Only(vec!["lab".to_owned()]), ..ann() };
        let refused = control.keep_power(&stranger, &file, found(&file, None), at(2)).await.unwrap_err();
        assert_eq!(code(&refused), "other_project Refused");
    }
}

fn group(values: &[&str]) -> Thing {
    let values = values.iter().map(|value| Value::from(*value)).collect();
    Thing::Group(SavedGroup { key: "staff".into(), description: None, values })
}

/// An approval is bound to what the groups held that the audience names.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_grows_is_another_audience() {
    let conditions =
        ["{ id = { '$inGroup' = 'staff' } }", "{ '$not' = { '$savedGroup' = { id = 'staff', attributeKey = 'id' } } }"];
    for store in stores().await {
        let control = &store.control;
        let edit = async |values: &[&str]| {
            let seen = control.thing(&admin(), Kind::Group, "staff").await.ok().map(|stored| stored.revision);
            let edit = ThingEdit { thing: group(values), project: None, seen, reason: String::new() };
            control.put(&admin(), edit, at(0)).await.unwrap()
        };
        for (key, condition) in ["a", "b"].into_iter().zip(conditions) {
            edit(&["u1"]).await;
            let mut file = file_of(key, &format!("audience = {condition}"));
            file.assignment.coverage = 1.0;
            let record = control.create_experiment(&ann(), file, at(0)).await.unwrap();
            let record = walk(control, record, &[Step::Submit]).await;
            let approve = Step::Approve { up_to: None };
            let approved = control.step(&bob(), key, record.revision, &approve, &facts(), at(1)).await.unwrap();
            edit(&["u1", "u2"]).await;
            let error = control.step(&ann(), key, approved.revision, &Step::Start, &facts(), at(1)).await.unwrap_err();
            assert_eq!(code(&error), "needs_approval Refused");
            // As it was when it was read, it is approved again.
            edit(&["u1"]).await;
            walk(control, approved, &[Step::Start]).await;
            let stored = control.thing(&admin(), Kind::Group, "staff").await.unwrap();
            let refused = control.remove(&admin(), Kind::Group, "staff", stored.revision, "", at(1)).await.unwrap_err();
            assert_eq!(code(&refused), "in_use Conflict");
        }
    }
}

/// What grows between reading and approving was not read.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_of_the_groups_that_were_read() {
    for store in stores().await {
        let control = &store.control;
        let first = put(control, group(&["u1"])).await.unwrap();
        let file = file_of("a", "audience = { id = { '$inGroup' = 'staff' } }");
        let record = control.create_experiment(&ann(), file, at(0)).await.unwrap();
        let record = walk(control, record, &[Step::Submit]).await;
        let grown = ThingEdit { thing: group(&["u1", "u2"]), project: None, seen: Some(first), reason: String::new() };
        let grown = control.put(&admin(), grown, at(0)).await.unwrap().revision;
        let approve = Step::Approve { up_to: None };
        let refused = control.step(&bob(), "a", record.revision, &approve, &facts(), at(1)).await.unwrap_err();
        assert_eq!(code(&refused), "group_changed Conflict");
        let said = format!("`staff`, which the audience of `a` names, was changed by revision {grown}");
        assert!(refused.to_string().contains(&said), "{refused}");
        // The next step that it names is one.
        let reject = Step::Reject { reason: "the group has grown".to_owned() };
        let record = control.step(&bob(), "a", record.revision, &reject, &facts(), at(1)).await.unwrap();
        let record = walk(control, record, &[Step::Submit]).await;
        assert!(control.step(&bob(), "a", record.revision, &approve, &facts(), at(1)).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shared_is_for_those_who_act_in_all_projects() {
    for store in stores().await {
        let control = &store.control;
        let limited = |role| Actor { projects: Projects::Only(vec!["lab".to_owned()]), ..actor("jun", role) };
        let layer = |name: &str| Thing::Layer(Layer { name: name.into(), hash_attribute: "id".into(), seed: None });
        let edit = |thing, project: Option<&str>, seen| ThingEdit {
            thing,
            project: project.map(str::to_owned),
            seen,
            reason: String::new(),
        };
        let shared = put(control, layer("page")).await.unwrap();
        for (thing, project, seen) in [
            (layer("page"), None, Some(shared)),
            // To take it into the own project is to take it from the others.
            (layer("page"), Some("lab"), Some(shared)),
            (layer("other"), None, None),
        ] {
            let error = control.put(&limited(Role::Experimenter), edit(thing, project, seen), at(0)).await.unwrap_err();
            assert_eq!(code(&error), "other_project Refused", "{error}");
        }
        let error = control.remove(&limited(Role::Approver), Kind::Layer, "page", shared, "", at(0)).await.unwrap_err();
        assert!(error.to_string().contains("limited to some projects"), "{error}");
        control.put(&limited(Role::Experimenter), edit(layer("own"), Some("lab"), None), at(0)).await.unwrap();
        control.put(&ann(), edit(layer("page"), None, Some(shared)), at(0)).await.unwrap();
        // Experiments of a project may still take a slot of what is shared.
        let mut file = file_of("a", "slots = [{ layer = 'page', start = 0.0, end = 0.5 }]");
        file.about.project = Some("lab".to_owned());
        control.create_experiment(&limited(Role::Experimenter), file, at(0)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_hands_on_neither_rank_nor_time_that_it_has_not() {
    for store in stores().await {
        let control = &store.control;
        let person =
            |name: &str, role| Thing::Person(Person { name: name.into(), role, projects: Projects::All, active: true });
        put(control, person("ann", Role::Experimenter)).await.unwrap();
        put(control, person("root", Role::Admin)).await.unwrap();
        let request = |person: &str, expires_at| TokenRequest {
            person: person.to_owned(),
            name: "ci".to_owned(),
            role: None,
            projects: Projects::All,
            expires_at,
        };
        for maker in [ann(), admin()] {
            let first = control.create_token(&maker, request(&maker.person, Some(at(9))), at(0)).await.unwrap();
            let by_token = control.authenticate(&first.token, Via::Api, at(1)).await.unwrap();
            assert_eq!(by_token.expires_at, Some(at(9)));
            let later = control.create_token(&by_token, request(&maker.person, Some(at(10))), at(1)).await.unwrap_err();
            assert_eq!(code(&later), "invalid_value Invalid");
            let same = control.create_token(&by_token, request(&maker.person, None), at(1)).await.unwrap();
            assert_eq!(same.record.expires_at, Some(at(9)), "without an end it has its maker's");
            let earlier = control.create_token(&by_token, request(&maker.person, Some(at(2))), at(1)).await.unwrap();
            assert_eq!(earlier.record.expires_at, Some(at(2)));
        }
        // Nor for others.
        let first = control.create_token(&admin(), request("root", Some(at(9))), at(0)).await.unwrap();
        let by_token = control.authenticate(&first.token, Via::Api, at(1)).await.unwrap();
        let others = control.create_token(&by_token, request("ann", None), at(1)).await.unwrap();
        assert_eq!(others.record.expires_at, Some(at(9)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_treatment_for_everybody_is_not_one_experimenters_decision() {
    for store in stores().await {
        let control = &store.control;
        let record = running(control, "a", "").await;
        let error = control.step(&ann(), "a", record.revision, &ship("new"), &facts(), at(2)).await.unwrap_err();
        assert_eq!(code(&error), "needs_approval Refused");
        // To stop and to go back never needs anybody.
        let roll_back = Step::Decide {
            chosen: experiment::decision::Code::RollBack,
            arm: "old".to_owned(),
            reason: "it loses".to_owned(),
            proposed: None,
            results: serde_json::Value::Null,
            plan_hash: None,
        };
        walk(control, running(control, "b", "").await, &[Step::Stop { reason: String::new(), proposal: None }]).await;
        let b = control.experiment(&ann(), "b").await.unwrap();
        control.step(&ann(), "b", b.revision, &roll_back, &facts(), at(2)).await.unwrap();
        // A second person agrees beforehand, or decides.
        let approve = Step::Approve { up_to: Some(1.0) };
        let approved = control.step(&bob(), "a", record.revision, &approve, &facts(), at(2)).await.unwrap();
        control.step(&ann(), "a", approved.revision, &ship("new"), &facts(), at(2)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_exported_a_piece_at_a_time() {
    for store in stores().await {
        let control = &store.control;
        let mut record = control.create_experiment(&ann(), file_of("a", ""), at(0)).await.unwrap();
        for i in 0..204 {
            let mut file = record.course.file();
            file.about.title = Some(format!("title {i}"));
            record = control.edit_experiment(&ann(), "a", record.revision, file, "", at(1)).await.unwrap();
        }
        let csv = exported(control, &bob(), AuditFilter::default(), AuditFormat::Csv).await;
        // The head, and pieces of a hundred.
        let lines: Vec<usize> = csv.iter().map(|piece| piece.lines().count()).collect();
        assert_eq!(lines, [1, 100, 100, 5]);
        let numbers: Vec<u64> =
            csv[1..].concat().lines().map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
        assert_eq!(numbers, (1..=205).rev().collect::<Vec<u64>>());
        let some = AuditFilter { limit: Some(150), ..AuditFilter::default() };
        let json = exported(control, &bob(), some, AuditFormat::Json).await.concat();
        let entries: Vec<control::AuditEntry> = serde_json::from_str(&json).unwrap();
        assert_eq!((entries.len(), entries[149].sequence), (150, 56));
        let nothing = AuditFilter { key: Some("x".to_owned()), ..AuditFilter::default() };
        assert_eq!(exported(control, &bob(), nothing.clone(), AuditFormat::Json).await.concat(), "[\n]\n");
        assert_eq!(exported(control, &bob(), nothing, AuditFormat::Csv).await.concat().lines().count(), 1);
        assert!(control.export_audit(&actor("min", Role::Viewer), AuditFilter::default(), AuditFormat::Csv).is_err());
    }
}
