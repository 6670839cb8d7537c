//! People, roles, tokens.
//!
//! In: empty stores.  Out: nothing.
//! Never here: what roles do with experiments in detail (see `decisions`).
//! Start at `the_matrix_of_permissions`.

use control::{AuditFilter, Kind, Permission, Person, Projects, Role, Thing, ThingEdit, TokenRequest, Via};
use domain::SdkConnection;

use crate::{actor, admin, ann, at, bob, code, file_of, put, stores};

/// Who may, written by hand: v(iewer) a(nalyst) e(xperimenter) p (approver) A(dmin).
const MATRIX: &str = "\
read vaepA
read_audit .aepA
add_exploratory_metric .aepA
edit_experiment ..epA
delete_own_experiment ..epA
delete_experiment ...pA
run_experiment ..epA
decide_experiment ..epA
approve_experiment ...pA
force_variant ..epA
edit_flag ..epA
delete_flag ...pA
edit_group ..epA
delete_group ...pA
edit_layer ..epA
delete_layer ...pA
edit_holdout ....A
edit_connection ....A
edit_policy ....A
edit_people ....A
own_tokens vaepA
others_tokens ....A";

#[test]
fn the_matrix_of_permissions() {
    let roles = [Role::Viewer, Role::Analyst, Role::Experimenter, Role::Approver, Role::Admin];
    assert_eq!(MATRIX.lines().count(), Permission::ALL.len());
    for (permission, line) in Permission::ALL.into_iter().zip(MATRIX.lines()) {
        let may: String = roles
            .into_iter()
            .zip("vaepA".chars())
            .map(|(role, letter)| if actor("x", role).require(permission, None).is_ok() { letter } else { '.' })
            .collect();
        let name = serde_json::to_value(permission).unwrap();
        assert_eq!(format!("{} {may}", name.as_str().unwrap()), line);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_of_another_project_sees_and_changes_nothing() {
    for store in stores().await {
        let control = &store.control;
        let mut shop = file_of("a", "");
        shop.about.project = Some("shop".to_owned());
        let record = control.create_experiment(&ann(), shop.clone(), at(0)).await.unwrap();
        let mut other = ann();
        other.projects = Projects::Only(vec!["search".to_owned()]);
        assert_eq!(code(&control.experiment(&other, "a").await.unwrap_err()), "not_found NotFound");
        assert!(control.experiments(&other, &Default::default()).await.unwrap().is_empty());
        assert!(control.audit(&other, &AuditFilter::default()).await.unwrap().is_empty());
        shop.assignment.seed = Some("x".to_owned());
        let error = control.edit_experiment(&other, "a", record.revision, shop, "", at(0)).await.unwrap_err();
        assert_eq!(code(&error), "other_project Refused");
        let mut taken = file_of("b", "");
        taken.about.project = Some("shop".to_owned());
        assert_eq!(code(&control.create_experiment(&other, taken, at(0)).await.unwrap_err()), "other_project Refused");
    }
}

fn person(name: &str, role: Role) -> Thing {
    Thing::Person(Person { name: name.to_owned(), role, projects: Projects::All, active: true })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_admin_is_made_once_and_the_last_one_stays() {
    for store in stores().await {
        let control = &store.control;
        let issued = control.bootstrap("root", at(0)).await.unwrap().unwrap();
        assert!(control.bootstrap("eve", at(0)).await.unwrap().is_none());
        let root = control.authenticate(&issued.token, Via::Api, at(0)).await.unwrap();
        assert_eq!((root.person.as_str(), root.role), ("root", Role::Admin));
        let stored = control.thing(&root, Kind::Person, "root").await.unwrap();
        let demote = ThingEdit {
            thing: person("root", Role::Viewer),
            project: None,
            seen: Some(stored.revision),
            reason: String::new(),
        };
        assert_eq!(code(&control.put(&root, demote.clone(), at(0)).await.unwrap_err()), "in_use Conflict");
        put(control, person("second", Role::Admin)).await.unwrap();
        control.put(&root, demote, at(0)).await.unwrap();
        let less = control.authenticate(&issued.token, Via::Api, at(0)).await.unwrap();
        assert_eq!(less.role, Role::Viewer, "a token holds no more than its person");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_works_until_it_expires_or_is_revoked_and_its_secret_is_nowhere() {
    for store in stores().await {
        let control = &store.control;
        put(control, person("ann", Role::Experimenter)).await.unwrap();
        let request = |role, expires_at| TokenRequest {
            person: "ann".to_owned(),
            name: "ci".to_owned(),
            role,
            projects: Projects::Only(vec!["shop".to_owned()]),
            expires_at,
        };
        let error = control.create_token(&ann(), request(Some(Role::Admin), None), at(0)).await.unwrap_err();
        assert_eq!(code(&error), "invalid_value Invalid");
        let error = control.create_token(&bob(), request(None, None), at(0)).await.unwrap_err();
        assert_eq!(code(&error), "forbidden Refused");
        let issued = control.create_token(&ann(), request(Some(Role::Analyst), Some(at(9))), at(0)).await.unwrap();
        let parts: Vec<&str> = issued.token.split('_').collect();
        assert_eq!((parts[0], parts[1], parts[2].len()), ("mtk", issued.record.id.as_str(), 64));
        assert!(!format!("{issued:?}").contains(parts[2]));
        let actor = control.authenticate(&issued.token, Via::Api, at(8)).await.unwrap();
        assert_eq!((actor.role, actor.projects.hold("shop"), actor.projects.hold("x")), (Role::Analyst, true, false));
        assert_eq!(control.tokens(&ann()).await.unwrap()[0].last_used_at, Some(at(8)));
        let mut wrong = issued.token.clone();
        wrong.replace_range(wrong.len() - 1.., if wrong.ends_with('0') { "1" } else { "0" });
        for token in [wrong.as_str(), "", "mtk_", "mtk_x_y", &issued.token[..20]] {
            let error = control.authenticate(token, Via::Api, at(8)).await.unwrap_err();
            assert_eq!(code(&error), "unauthenticated Refused", "{token}");
        }
        assert!(control.authenticate(&issued.token, Via::Api, at(9)).await.is_err(), "it has expired");
        control.revoke_token(&ann(), &issued.record.id, "leaked", at(1)).await.unwrap();
        assert!(control.authenticate(&issued.token, Via::Api, at(2)).await.is_err(), "it is revoked");
        let log = serde_json::to_string(&control.audit(&admin(), &AuditFilter::default()).await.unwrap()).unwrap();
        assert!(log.contains("leaked") && !log.contains(parts[2]));
        if let Some(path) = store.url.strip_prefix("sqlite://") {
            let file = std::fs::read(path.split('?').next().unwrap()).unwrap();
            let holds = |text: &str| file.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!holds(parts[2]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connections_key_is_made_here_and_shown_to_admins_only() {
    for store in stores().await {
        let control = &store.control;
        let thing = Thing::Connection(SdkConnection {
            client_key: String::new(),
            name: "web shop".to_owned(),
            encryption_key: Some(String::new()),
            remote_evaluation: false,
        });
        put(control, thing).await.unwrap();
        let key = |stored: &control::Stored| {
            let Thing::Connection(connection) = &stored.thing else { panic!("{stored:?}") };
            (connection.client_key.clone(), connection.encryption_key.clone().unwrap())
        };
        let (client_key, secret) = key(&control.things(&admin(), Kind::Connection).await.unwrap()[0]);
        assert!(
            client_key.starts_with("sdk-") && client_key.len() == 20 && secret.len() == 24,
            "{client_key} {secret}"
        );
        assert_eq!(key(&control.things(&bob(), Kind::Connection).await.unwrap()[0]).1, "…");
        let log = serde_json::to_string(&control.audit(&admin(), &AuditFilter::default()).await.unwrap()).unwrap();
        assert!(log.contains(&client_key) && !log.contains(&secret));
    }
}
