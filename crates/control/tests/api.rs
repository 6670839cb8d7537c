//! The JSON API over a store of its own: who may, what is answered, what is published, and the document that describes it.
//!
//! In: requests.  Out: nothing.
//! Never here: rules of the lifecycle (tested where they are).
//! Start at `from_a_draft_to_a_decision`.

#![expect(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use chrono::{DateTime, Utc};
use control::api::{Analyst, Api, openapi};
use control::{Control, ControlError, PowerFound};
use experiment::lifecycle::{Course, LaunchFacts};
use experiment::metric::MetricFile;
use experiment::plan::ExperimentFile;
use experiment::planning::power_hash;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

/// Knows one metric, and results once they were computed.
#[derive(Debug, Default)]
struct Known {
    results: std::sync::Mutex<BTreeMap<String, Value>>,
}

fn metrics() -> BTreeMap<String, MetricFile> {
    let metric = json!({ "kind": "proportion", "fact": { "table": "marts.events" } });
    BTreeMap::from([("bought".to_owned(), serde_json::from_value(metric).unwrap())])
}

#[async_trait]
impl Analyst for Known {
    async fn metrics(&self) -> Result<BTreeMap<String, MetricFile>, ControlError> {
        Ok(metrics())
    }
    async fn facts(&self, _: &ExperimentFile) -> Result<LaunchFacts, ControlError> {
        Ok(LaunchFacts { metrics: metrics(), ..LaunchFacts::default() })
    }
    async fn results(&self, key: &str) -> Result<Option<Value>, ControlError> {
        Ok(self.results.lock().unwrap().get(key).cloned())
    }
    async fn analyze(&self, course: &Course, until: Option<DateTime<Utc>>) -> Result<Value, ControlError> {
        let plan_hash = course.plan_hash(&metrics()).unwrap();
        let found = json!({ "key": course.key(), "until": until, "plan_hash": plan_hash, "results": { "rows": [] } });
        self.results.lock().unwrap().insert(course.key().to_owned(), found.clone());
        Ok(found)
    }
    async fn power(&self, file: &ExperimentFile, history_days: u32) -> Result<PowerFound, ControlError> {
        Ok(PowerFound {
            hash: power_hash(file, &metrics()).unwrap(),
            power: Some(0.5),
            planned_days: Some(20.0),
            report: json!({ "key": file.assignment.key, "history_days": history_days }),
        })
    }
}

/// A store with its first admin.
struct Site {
    router: Router,
    admin: String,
    analyst: Arc<Known>,
    dir: TempDir,
}

impl Site {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let control = Control::open_file(&dir.path().join("control.db")).await.unwrap();
        let admin = control.bootstrap("mina", Utc::now()).await.unwrap().unwrap().token;
        let analyst = Arc::new(Known::default());
        let api = Api::new(control, Arc::<Known>::clone(&analyst), dir.path().join("experiments"));
        Self { router: api.routes(), admin, analyst, dir }
    }

    async fn send(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send(&self.admin, Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    async fn post(&self, token: &str, path: &str, body: Value) -> (StatusCode, Value) {
        self.send(token, Method::POST, path, Some(body)).await
    }

    /// Does a verb at the revision that stands.
    async fn step(&self, token: &str, key: &str, step: Value) -> (StatusCode, Value) {
        let revision = self.get(&format!("/api/v1/experiments/{key}")).await["revision"].clone();
        let path = format!("/api/v1/experiments/{key}/steps");
        self.post(token, &path, json!({ "revision": revision, "step": step })).await
    }

    /// Somebody with a role, and his token.
    async fn person(&self, name: &str, role: &str) -> String {
        let edit = json!({ "thing": { "kind": "person", "name": name, "role": role } });
        let (status, body) = self.send(&self.admin, Method::PUT, "/api/v1/things", Some(edit)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let (status, body) = self.post(&self.admin, "/api/v1/tokens", json!({ "person": name, "name": "test" })).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        body["token"].as_str().unwrap().to_owned()
    }

    /// The newest published payload.
    fn published(&self) -> Value {
        let files = std::fs::read_dir(self.dir.path().join("experiments")).unwrap();
        let newest =
            files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "json")).max();
        serde_json::from_str(&std::fs::read_to_string(newest.unwrap()).unwrap()).unwrap()
    }
}

fn file(key: &str) -> Value {
    json!({
        "assignment": {
            "key": key,
            "variants": [{ "key": "control", "value": false }, { "key": "short", "value": true }],
        },
        "analysis": {
            "exposures": "marts.exposures",
            "start": "2026-11-01T00:00:00Z",
            "end": "2026-11-29T00:00:00Z",
            "goals": ["bought"],
        },
    })
}

#[tokio::test]
async fn from_a_draft_to_a_decision() {
    let site = Site::open().await;
    let (author, approver) = (site.person("jun", "experimenter").await, site.person("yuna", "approver").await);
    let (status, made) = site.post(&author, "/api/v1/experiments", file("checkout")).await;
    assert_eq!((status, &made["state"], &made["owner"]), (StatusCode::CREATED, &json!("draft"), &json!("jun")));

    assert_eq!(site.step(&author, "checkout", json!({ "verb": "submit" })).await.0, StatusCode::OK);
    let (status, refused) = site.step(&author, "checkout", json!({ "verb": "start" })).await;
    assert_eq!((status, &refused["code"]), (StatusCode::FORBIDDEN, &json!("needs_approval")), "{refused}");
    let (status, refused) = site.step(&author, "checkout", json!({ "verb": "approve" })).await;
    assert_eq!((status, &refused["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")), "{refused}");
    assert_eq!(site.step(&approver, "checkout", json!({ "verb": "approve" })).await.0, StatusCode::OK);
    let (status, running) = site.step(&author, "checkout", json!({ "verb": "start" })).await;
    assert_eq!((status, &running["state"]), (StatusCode::OK, &json!("running")), "{running}");
    let rules = &site.published()["payload"]["features"]["checkout"]["rules"];
    assert_eq!(rules[0]["key"], "checkout", "{rules}");

    let (status, tried) = site.post(&author, "/api/v1/experiments/checkout/simulation", json!({ "units": 1000 })).await;
    assert_eq!((status, &tried["outside"]), (StatusCode::OK, &json!(0)), "{tried}");
    let results = "/api/v1/experiments/checkout/results";
    let (status, none) = site.send(&author, Method::GET, results, None).await;
    assert_eq!((status, &none["code"]), (StatusCode::NOT_FOUND, &json!("not_analyzed")));
    let (status, found) = site.post(&author, results, json!({})).await;
    assert_eq!(status, StatusCode::OK, "{found}");
    assert_eq!(site.get(results).await, found);

    // Results that were computed before the plan was another one decide nothing.
    let mut other = found.clone();
    other["plan_hash"] = json!("another");
    site.analyst.results.lock().unwrap().insert("checkout".to_owned(), other);
    let stop = json!({ "verb": "decide", "chosen": "roll_back", "arm": "control", "reason": "x" });
    let (status, refused) = site.step(&author, "checkout", stop).await;
    assert_eq!((status, &refused["code"]), (StatusCode::CONFLICT, &json!("other_plan")), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("`another`"), "{refused}");
    assert_eq!(site.post(&author, results, json!({})).await.0, StatusCode::OK);

    let decide = json!({ "verb": "decide", "chosen": "ship", "arm": "short", "reason": "more bought",
        "results": { "rows": [1] }, "plan_hash": "x", "proposed": { "code": "ship", "reasons": [], "days_left": null } });
    let (status, decided) = site.step(&author, "checkout", decide).await;
    assert_eq!((status, &decided["decision"]["arm"]), (StatusCode::OK, &json!("short")), "{decided}");
    // Not what the request says of them: nobody has computed a verdict.
    assert_eq!(decided["decision"]["proposed"], Value::Null, "{decided}");
    assert_eq!(decided["decision"]["results"], json!({ "rows": [] }), "{decided}");
    let rules = site.published()["payload"]["features"]["checkout"]["rules"].clone();
    assert_eq!(rules[0]["force"], json!(true), "{rules}");

    let audit = site.get("/api/v1/audit?key=checkout").await;
    let verbs: Vec<&str> =
        audit.as_array().unwrap().iter().rev().map(|entry| entry["verb"].as_str().unwrap()).collect();
    assert_eq!(verbs, ["create", "submit", "approve", "start", "decide"]);
}

/// One mechanism: what is computed over HTTP is what the checklist knows.
#[tokio::test]
async fn power_is_computed_and_kept_for_the_checklist() {
    let site = Site::open().await;
    site.post(&site.admin, "/api/v1/experiments", file("checkout")).await;
    let (path, list) = ("/api/v1/experiments/checkout/power", "/api/v1/experiments/checkout/checklist");
    let warning = site.get(list).await["warnings"][0].clone();
    let next = "montauk experiment power checkout";
    assert_eq!(warning, json!({ "code": "power_unknown", "why": "never_computed", "next": next }));
    let (status, none) = site.send(&site.admin, Method::GET, path, None).await;
    assert_eq!((status, &none["code"]), (StatusCode::NOT_FOUND, &json!("no_power")), "{none}");
    let (status, found) = site.post(&site.admin, &format!("{path}?history_days=14"), json!({})).await;
    assert_eq!((status, &found["power"], &found["by"]), (StatusCode::OK, &json!(0.5), &json!("mina")), "{found}");
    assert_eq!((site.get(path).await, &found["report"]["history_days"]), (found.clone(), &json!(14)));
    assert_eq!(site.get(list).await["warnings"][0]["code"], "low_power");
    let viewer = site.person("min", "viewer").await;
    assert_eq!(site.post(&viewer, path, json!({})).await.0, StatusCode::FORBIDDEN);
}

/// As many as there are processors, whatever else was asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn simulations_beyond_the_processors_are_told_to_come_again() {
    let site = Site::open().await;
    site.post(&site.admin, "/api/v1/experiments", file("checkout")).await;
    let most = std::thread::available_parallelism().unwrap().get();
    let ask = || site.post(&site.admin, "/api/v1/experiments/checkout/simulation", json!({ "units": 100_000 }));
    let answers = futures::future::join_all((0..most + 6).map(|_| ask())).await;
    let of = |wanted| answers.iter().filter(|(status, _)| *status == wanted).count();
    let busy = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(of(StatusCode::OK) + of(busy), most + 6, "{answers:?}");
    assert!(of(StatusCode::OK) >= most && of(busy) > 0, "{answers:?}");
    let refused = answers.iter().find(|(status, _)| *status == busy).unwrap();
    assert_eq!(refused.1["code"], "busy");
    // Whoever comes again is served.
    assert_eq!(ask().await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_log_comes_as_csv() {
    let site = Site::open().await;
    site.post(&site.admin, "/api/v1/experiments", file("checkout")).await;
    let text = site.get("/api/v1/audit.csv?key=checkout").await;
    let lines: Vec<&str> = text.as_str().unwrap().lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("sequence,at,person") && lines[1].contains("\"create\""), "{text}");
    let viewer = site.person("min", "viewer").await;
    assert_eq!(site.send(&viewer, Method::GET, "/api/v1/audit.csv", None).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_change_has_to_have_seen_the_newest_revision() {
    let site = Site::open().await;
    let (_, made) = site.post(&site.admin, "/api/v1/experiments", file("checkout")).await;
    let mut edited = file("checkout");
    edited["about"] = json!({ "title": "One form" });
    let edit = json!({ "revision": made["revision"], "file": edited });
    let path = "/api/v1/experiments/checkout";
    assert_eq!(site.send(&site.admin, Method::PUT, path, Some(edit.clone())).await.0, StatusCode::OK);
    let mut other = edit;
    other["file"]["about"]["title"] = json!("Another form");
    let (status, stale) = site.send(&site.admin, Method::PUT, path, Some(other)).await;
    assert_eq!((status, &stale["code"]), (StatusCode::CONFLICT, &json!("stale_revision")), "{stale}");
    assert_eq!(site.get(path).await["about"]["title"], "One form");
}

#[tokio::test]
async fn strangers_and_viewers_are_told_what_to_do() {
    let site = Site::open().await;
    for token in ["", "mtk_0_0", "nonsense"] {
        let (status, problem) = site.send(token, Method::GET, "/api/v1/experiments", None).await;
        assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("unauthenticated")));
    }
    let viewer = site.person("min", "viewer").await;
    assert_eq!(site.send(&viewer, Method::GET, "/api/v1/experiments", None).await.0, StatusCode::OK);
    let (status, problem) = site.post(&viewer, "/api/v1/experiments", file("checkout")).await;
    assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")));
    assert_eq!(site.get("/api/v1/me").await["person"], "mina");
}

#[tokio::test]
async fn people_of_one_project_do_not_decide_a_flag_of_another() {
    let site = Site::open().await;
    let flag = json!({
        "thing": { "kind": "flag", "key": "checkout", "value_type": "boolean", "default": false },
        "project": "shop",
    });
    assert_eq!(site.send(&site.admin, Method::PUT, "/api/v1/things", Some(flag)).await.0, StatusCode::OK);
    let person = json!({ "thing": { "kind": "person", "name": "jun", "role": "experimenter", "projects": ["lab"] } });
    assert_eq!(site.send(&site.admin, Method::PUT, "/api/v1/things", Some(person)).await.0, StatusCode::OK);
    let (_, issued) = site.post(&site.admin, "/api/v1/tokens", json!({ "person": "jun", "name": "test" })).await;
    let token = issued["token"].as_str().unwrap();
    let mut own = file("search");
    own["about"] = json!({ "project": "lab" });
    assert_eq!(site.post(token, "/api/v1/experiments", own).await.0, StatusCode::CREATED);
    let mut others = file("one-form");
    others["about"] = json!({ "project": "lab" });
    others["assignment"]["feature"] = json!("checkout");
    let (status, refused) = site.post(token, "/api/v1/experiments", others).await;
    assert_eq!((status, &refused["code"]), (StatusCode::FORBIDDEN, &json!("other_project")), "{refused}");
}

/// Another project may have another policy: an experiment does not leave the one that it was submitted under.
#[tokio::test]
async fn an_experiment_moves_between_projects_as_a_draft_only() {
    let site = Site::open().await;
    let (_, made) = site.post(&site.admin, "/api/v1/experiments", file("checkout")).await;
    let mut moved = file("checkout");
    moved["about"] = json!({ "project": "lab" });
    let path = "/api/v1/experiments/checkout";
    let edit = |revision: &Value, file: &Value| json!({ "revision": revision, "file": file });
    let (status, draft) = site.send(&site.admin, Method::PUT, path, Some(edit(&made["revision"], &moved))).await;
    assert_eq!((status, &draft["project"]), (StatusCode::OK, &json!("lab")));
    let (_, submitted) = site.step(&site.admin, "checkout", json!({ "verb": "submit" })).await;
    moved["about"]["project"] = json!("shop");
    let (status, refused) = site.send(&site.admin, Method::PUT, path, Some(edit(&submitted["revision"], &moved))).await;
    assert_eq!((status, &refused["code"]), (StatusCode::BAD_REQUEST, &json!("invalid_value")), "{refused}");
}

#[tokio::test]
async fn what_cannot_be_read_names_its_place() {
    let site = Site::open().await;
    let check = async |method, path: &str, body: Value, expected: &str| {
        let (status, problem) = site.send(&site.admin, method, path, Some(body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(expected), "{problem}");
    };
    let mut unknown = file("checkout");
    unknown["assignment"]["varaints"] = json!([]);
    check(Method::POST, "/api/v1/experiments", unknown, "varaints").await;
    check(Method::POST, "/api/v1/experiments", json!("x"), "body").await;
    let mut negative = file("checkout");
    negative["assignment"]["variants"][0]["weight"] = json!(-1);
    check(Method::POST, "/api/v1/experiments", negative, "-1").await;
    check(Method::GET, "/api/v1/experiments?state=asleep", json!({}), "asleep").await;
    check(Method::GET, "/api/v1/things/token", json!({}), "token").await;
    check(Method::GET, "/api/v1/things/nothing", json!({}), "nothing").await;
    let mut hostile = file("checkout");
    hostile["assignment"]["audience"] = json!({ "name": { "$regex": "(?=a)a" } });
    check(Method::POST, "/api/v1/experiments", hostile, "audience").await;
}

#[tokio::test]
async fn a_forced_unit_is_published_and_released() {
    let site = Site::open().await;
    site.post(&site.admin, "/api/v1/experiments", file("checkout")).await;
    let path = "/api/v1/experiments/checkout/forced";
    let (status, entry) = site.post(&site.admin, path, json!({ "unit": "u1", "variant": "short" })).await;
    assert_eq!(status, StatusCode::CREATED, "{entry}");
    let rules = site.published()["payload"]["features"]["checkout"]["rules"].clone();
    assert_eq!((&rules[0]["force"], &rules[0]["condition"]), (&json!(true), &json!({ "id": "u1" })));
    let (status, _) = site.send(&site.admin, Method::DELETE, &format!("{path}/u1"), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(site.published()["payload"]["features"]["checkout"]["rules"], json!([]));
}

/// Every operation has a summary, needs a token, and may answer with a problem; every reference leads somewhere.
#[test]
fn the_document_is_whole() {
    let document: Value = serde_json::from_str(&openapi().to_json().unwrap()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut operations = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            operations += 1;
            assert!(operation["summary"].is_string(), "{method} {path}");
            assert!(
                operation["responses"]["default"]["content"]["application/problem+json"].is_object(),
                "{method} {path}"
            );
        }
    }
    assert!(operations >= 25, "{operations}");
    let text = document.to_string();
    for reference in text.split("\"#/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(&format!("/{reference}")).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn a_preview_link_is_published_and_taken_back() {
    let site = Site::open().await;
    site.post(&site.admin, "/api/v1/experiments", file("checkout")).await;
    let path = "/api/v1/experiments/checkout/previews";
    let (status, link) = site.post(&site.admin, path, json!({ "variant": "short" })).await;
    assert_eq!((status, &link["is_link"]), (StatusCode::CREATED, &json!(true)), "{link}");
    let rules = site.published()["payload"]["features"]["checkout"]["rules"].clone();
    assert_eq!(rules[0]["condition"]["montauk_preview"], link["unit"], "{rules}");
    assert_eq!(rules[0]["force"], json!(true));
    let viewer = site.person("vic", "viewer").await;
    assert_eq!(site.post(&viewer, path, json!({ "variant": "short" })).await.0, StatusCode::FORBIDDEN);
    let (status, wrong) = site.post(&site.admin, path, json!({ "variant": "short", "unit": "u1" })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "a link's token is not chosen: {wrong}");
    let token = link["unit"].as_str().unwrap();
    let entry = format!("/api/v1/experiments/checkout/forced/{token}");
    assert_eq!(site.send(&site.admin, Method::DELETE, &entry, None).await.0, StatusCode::NO_CONTENT);
    assert!(!site.published().to_string().contains(token));
}

#[tokio::test]
async fn a_schedule_comes_and_goes_with_its_experiment() {
    let site = Site::open().await;
    let mut made = file("checkout");
    let ramp = json!([{ "at": "2026-11-03T00:00:00Z", "coverage": 1.0 }]);
    made["assignment"]["coverage"] = json!(0.05);
    made["schedule"] = json!({ "start": "2026-11-02T00:00:00Z", "ramp": ramp, "refresh": "hourly" });
    let (status, record) = site.post(&site.admin, "/api/v1/experiments", made.clone()).await;
    assert_eq!((status, &record["schedule"]), (StatusCode::CREATED, &made["schedule"]), "{record}");
    let mut edit = json!({ "revision": record["revision"], "file": made });
    edit["file"]["schedule"]["refresh"] = json!("monthly");
    let path = "/api/v1/experiments/checkout";
    let (status, refused) = site.send(&site.admin, Method::PUT, path, Some(edit.clone())).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("monthly"), "{refused}");
    // What cannot be followed is found when it is to be read by somebody else.
    edit["file"]["schedule"] = json!({ "ramp": [{ "at": "2026-12-03T00:00:00Z", "coverage": 1.0 }] });
    assert_eq!(site.send(&site.admin, Method::PUT, path, Some(edit)).await.0, StatusCode::OK);
    let (status, refused) = site.step(&site.admin, "checkout", json!({ "verb": "submit" })).await;
    assert_eq!((status, &refused["code"]), (StatusCode::BAD_REQUEST, &json!("invalid_plan")), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("`schedule.ramp`"), "{refused}");
    let checklist = site.get("/api/v1/experiments/checkout/checklist").await;
    assert_eq!(checklist["blockers"][0]["field"], "schedule.ramp", "{checklist}");
}
