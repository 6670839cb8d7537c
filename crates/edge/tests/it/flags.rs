//! Flags from outside: GrowthBook's and OpenFeature's endpoints, and what our own services ask, over real HTTP.
//!
//! In: the experiments of `experiments`.  Out: what each protocol promises; values that equal those of the evaluator.
//! Start at [`definitions_are_given_out_with_their_tag`].

use experiment::assign::{Context, Log, Object, Payload};
use recommend::RecommenderKind;
use serde_json::{Value, json};

use crate::client::{Answer, Client, Running};
use crate::experiments::{ENCRYPTION_KEY, publish, snapshot};
use crate::project::Project;

pub const BEARER: &str = "Authorization: Bearer sdk-plain\r\n";

/// A project with nothing but flags, served.
pub async fn serve(revision: u64) -> (tempfile::TempDir, Running) {
    let directory = tempfile::tempdir().unwrap();
    publish(&directory.path().join(".montauk"), &snapshot(revision));
    let running = Running::start(edge::EdgeConfig::new(directory.path())).await.unwrap();
    (directory, running)
}

pub fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let mut lines = answer.head.lines();
    lines.find_map(|line| {
        line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_are_given_out_with_their_tag() {
    let (_directory, running) = serve(1).await;
    let answer = running.get("/api/features/sdk-plain").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = answer.json();
    assert_eq!((&body["status"], &body["dateUpdated"]), (&json!(200), &json!("2026-01-01T00:00:00.000000001Z")));
    assert_eq!(body["features"], snapshot(1).payload["features"]);
    assert_eq!(body["savedGroups"], json!({ "staff": ["unit-1", "unit-7"] }));
    assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
    assert_eq!(header(&answer, "x-sse-support"), Some("enabled"));
    assert!(header(&answer, "access-control-expose-headers").unwrap().contains("x-sse-support"));
    let cache = "public, max-age=30, stale-while-revalidate=3600, stale-if-error=36000";
    assert_eq!(header(&answer, "cache-control"), Some(cache));
    let etag = header(&answer, "etag").unwrap();
    let mut client = Client::connect(running.address).await;
    let known = format!("If-None-Match: \"x\", W/{etag}\r\n");
    let again = client.send("GET", "/api/features/sdk-plain", &known, b"").await;
    assert_eq!((again.status, again.body.as_str(), header(&again, "etag")), (304, "", Some(etag)));

    let body = running.get("/api/features/sdk-encrypted").await.json();
    assert_eq!((&body["features"], body.get("savedGroups")), (&json!({}), None));
    let plain = |part: &str| {
        let text = experiment::assign::decrypt(body[part].as_str().unwrap(), ENCRYPTION_KEY).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    assert_eq!(plain("encryptedFeatures"), snapshot(1).payload["features"]);
    assert_eq!(plain("encryptedSavedGroups"), snapshot(1).payload["savedGroups"]);

    for (key, words) in [("sdk-none", "no connection"), ("sdk-remote", "remote evaluation")] {
        let answer = running.get(&format!("/api/features/{key}")).await;
        let body = answer.json();
        assert_eq!((answer.status, &body["status"]), (400, &json!(400)));
        assert!(body["error"].as_str().unwrap().contains(words), "{body}");
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_may_ask_for_flags_and_not_for_assignments() {
    let (_directory, running) = serve(1).await;
    let mut client = Client::connect(running.address).await;
    for path in ["/api/features/sdk-plain", "/api/eval/sdk-plain", "/sub/sdk-plain", "/ofrep/v1/evaluate/flags"] {
        let answer = client.send("OPTIONS", path, "Origin: http://shop\r\n", b"").await;
        assert_eq!((answer.status, header(&answer, "access-control-allow-origin")), (204, Some("*")), "{path}");
        assert!(header(&answer, "access-control-allow-headers").unwrap().contains("authorization"));
    }
    let answer = running.get("/v1/assignments/u1").await;
    assert_eq!((answer.status, header(&answer, "access-control-allow-origin")), (200, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remote_evaluation_gives_values_and_exposures_and_no_rules() {
    let (_directory, running) = serve(1).await;
    let compiled = Payload::compile(&serde_json::to_string(&snapshot(1).payload).unwrap()).unwrap();
    for unit in 0..200 {
        let attributes = json!({ "id": format!("unit-{unit}"), "country": "DE", "age": unit, "company": "acme" });
        let answer = running.post("/api/eval/sdk-remote", "", &json!({ "attributes": attributes }).to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let body = answer.json();
        let attributes = Object::parse(&attributes.to_string()).unwrap();
        for key in compiled.features() {
            let mut log = Log::new();
            let expected = compiled.evaluate(key, &Context::new(&attributes), &mut log);
            let feature = &body["features"][key];
            assert_eq!(feature["defaultValue"], serde_json::to_value(expected.value).unwrap(), "{key}");
            let tracks = feature["rules"][0]["tracks"].as_array().map_or(0, Vec::len);
            assert_eq!(tracks, log.exposures().count(), "{key}: {feature}");
        }
        for hidden in ["condition", "filters", "parentConditions", "$in", "savedGroups"] {
            assert!(!answer.body.contains(&format!("\"{hidden}\"")), "{hidden} is in {}", answer.body);
        }
    }
    let forced = json!({ "attributes": { "id": "x" }, "forcedVariations": { "search": 1 }, "forcedFeatures": [["motd", "hi"]],
        "url": "http://shop/?price=1" });
    let features = running.post("/api/eval/sdk-remote", "", &forced.to_string()).await.json()["features"].clone();
    // Forced, so that it is no exposure; that of the holdout before it is one.
    assert_eq!(features["search"]["defaultValue"], true);
    assert_eq!(features["search"]["rules"][0]["tracks"].as_array().unwrap().len(), 1);
    assert_eq!(features["motd"], json!({ "defaultValue": "hi" }));
    assert_eq!(features["price"], json!({ "defaultValue": 7.25 }));
    let track = &running.post("/api/eval/sdk-plain", "", r#"{"attributes":{"id":"unit-3"}}"#).await.json()["features"]
        ["price"]["rules"][0]["tracks"][0];
    let variation = track["result"]["variationId"].as_u64().unwrap() as usize;
    assert_eq!(track["experiment"]["variations"][1 - variation], json!({}), "{track}");
}

async fn evaluate(running: &Running, key: &str, context: Value) -> Answer {
    running.post(&format!("/ofrep/v1/evaluate/flags/{key}"), BEARER, &json!({ "context": context }).to_string()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_flag_says_its_value_and_why() {
    let (_directory, running) = serve(4).await;
    let check = async |key: &str, context: Value, reason: &str, variant: &str, value: Value| {
        let answer = evaluate(&running, key, context).await;
        let body = answer.json();
        let found = (answer.status, &body["reason"], &body["variant"], &body["value"]);
        assert_eq!(found, (200, &json!(reason), &json!(variant), &value), "{key}: {body}");
        assert_eq!(body["metadata"]["revision"], 4);
        body
    };
    check("motd", json!({}), "STATIC", "default", json!("revision 4")).await;
    check("asleep", json!({ "targetingKey": "u" }), "DISABLED", "default", json!(false)).await;
    check("limits", json!({ "targetingKey": "unit-7" }), "TARGETING_MATCH", "staff", json!({ "n": 100 })).await;
    check("limits", json!({ "targetingKey": "unit-8" }), "UNKNOWN", "default", json!({ "n": 1 })).await;
    let forced =
        check("checkout", json!({ "targetingKey": "qa-1" }), "TARGETING_MATCH", "checkout/allow_list", json!("C"));
    assert_eq!(forced.await["metadata"]["forced"], true);
    let teams = json!({ "targetingKey": "u", "company": "acme" });
    let body = evaluate(&running, "teams", teams).await.json();
    assert_eq!(
        (&body["metadata"]["hashAttribute"], &body["metadata"]["hashValue"]),
        (&json!("company"), &json!("acme"))
    );
    // A targeting key stands for the attribute that an experiment hashes.
    let body = evaluate(&running, "teams", json!({ "targetingKey": "acme" })).await.json();
    assert_eq!(body["metadata"]["hashValue"], "acme");
    let body = evaluate(&running, "%EA%B2%B0%EC%A0%9C%20%C3%A9/1", json!({ "targetingKey": "u" })).await.json();
    assert_eq!((&body["metadata"]["experiment"], &body["reason"]), (&json!("결제 é/1"), &json!("SPLIT")));
    let body = evaluate(&running, "search", json!({ "targetingKey": "unit-2" })).await.json();
    assert_eq!(body["metadata"]["holdout"], "global", "{body}");
    // A gate that is closed: no value, so that the default in code is used.
    let closed = (0..50).map(|unit| json!({ "targetingKey": format!("unit-{unit}") }));
    for context in closed {
        let (search, child) =
            (evaluate(&running, "search", context.clone()).await, evaluate(&running, "child", context).await);
        let is_open = search.json()["value"] == true;
        assert_eq!(child.json().get("value").is_some(), is_open, "{}", child.body);
        assert_eq!(child.json()["reason"], if is_open { "TARGETING_MATCH" } else { "DISABLED" });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_have_the_codes_of_the_protocol() {
    let (_directory, running) = serve(1).await;
    let check = |answer: Answer, status: u16, code: &str| {
        let body = answer.json();
        assert_eq!((answer.status, &body["errorCode"]), (status, &json!(code)), "{body}");
        assert!(!body["errorDetails"].as_str().unwrap().is_empty());
        body
    };
    let user = json!({ "targetingKey": "u" });
    assert_eq!(check(evaluate(&running, "nothing", user.clone()).await, 404, "FLAG_NOT_FOUND")["key"], "nothing");
    check(evaluate(&running, "loop", user.clone()).await, 400, "GENERAL");
    check(evaluate(&running, "checkout", json!({})).await, 400, "TARGETING_KEY_MISSING");
    check(evaluate(&running, "checkout", json!({ "targetingKey": 7 })).await, 400, "INVALID_CONTEXT");
    check(evaluate(&running, "checkout", json!([1])).await, 400, "INVALID_CONTEXT");
    let flag = "/ofrep/v1/evaluate/flags/motd";
    check(running.post(flag, BEARER, "{\"context\":").await, 400, "PARSE_ERROR");
    for headers in ["", "Authorization: Basic c2RrLXBsYWlu\r\n", "X-API-Key: sdk-none\r\n"] {
        let answer = running.post(flag, headers, "{}").await;
        assert_eq!(header(&answer, "www-authenticate"), Some("Bearer"));
        check(answer, 401, "GENERAL");
    }
    check(running.post(flag, "X-API-Key: sdk-encrypted\r\n", "{}").await, 403, "GENERAL");
    assert_eq!(running.post(flag, "x-api-key: sdk-remote\r\n", "{}").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_flags_come_with_a_tag_for_this_context() {
    let (directory, running) = serve(1).await;
    let path = "/ofrep/v1/evaluate/flags";
    let ask = async |context: &str, tag: &str| {
        let headers = if tag.is_empty() { BEARER.to_owned() } else { format!("{BEARER}If-None-Match: {tag}\r\n") };
        running.post(path, &headers, &format!("{{\"context\":{context}}}")).await
    };
    let first = ask(r#"{"targetingKey":"unit-1","country":"DE"}"#, "").await;
    let body = first.json();
    assert_eq!(body["flags"].as_array().unwrap().len(), snapshot(1).payload["features"].as_object().unwrap().len());
    let stream = &body["eventStreams"][0];
    assert_eq!(
        (&stream["type"], &stream["endpoint"]["requestUri"]),
        (&json!("sse"), &json!("/ofrep/v1/events/sdk-plain"))
    );
    let tag = header(&first, "etag").unwrap().to_owned();
    // The order of fields says nothing; another value does.
    assert_eq!(ask(r#"{"country":"DE","targetingKey":"unit-1"}"#, &tag).await.status, 304);
    assert_eq!(ask(r#"{"targetingKey":"unit-1","country":"FR"}"#, &tag).await.status, 200);
    publish(&directory.path().join(".montauk"), &snapshot(2));
    running.wait_until("/readyz", |answer| answer.body.contains("revision 2")).await;
    let newer = ask(r#"{"targetingKey":"unit-1","country":"DE"}"#, &tag).await;
    assert_eq!((newer.status, &newer.json()["metadata"]["revision"]), (200, &json!(2)));
    // Without a key, flags that need one are failures among successes.
    let body = ask("{}", "").await.json();
    let code = |key: &str| {
        body["flags"].as_array().unwrap().iter().find(|flag| flag["key"] == key).unwrap()["errorCode"].clone()
    };
    assert_eq!((code("checkout"), code("motd")), (json!("TARGETING_KEY_MISSING"), Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assignments_say_why_a_unit_is_in_or_out() {
    let (_directory, running) = serve(3).await;
    let mut reasons = std::collections::BTreeMap::<(String, String), usize>::new();
    for unit in 0..300 {
        let age = 10 + unit % 60;
        let path =
            format!("/v1/assignments/unit-{unit}?attribute.country={}&attribute.age={age}", ["DE", "US"][unit % 2]);
        let body = running.get(&path).await.json();
        assert_eq!((&body["revision"], &body["attributes"]["age"]), (&json!(3), &json!(age)));
        for one in body["assignments"].as_array().unwrap() {
            let key = one["experiment"].as_str().unwrap();
            *reasons.entry((key.to_owned(), one["reason"].as_str().unwrap().to_owned())).or_default() += 1;
            let context =
                json!({ "targetingKey": format!("unit-{unit}"), "country": (["DE", "US"][unit % 2]), "age": age });
            if unit < 20 && key != "결제 é/1" {
                let flag = evaluate(&running, key, context).await.json();
                assert_eq!(flag["value"], one["value"], "{one}");
                let counts = flag["metadata"]["experiment"] == key;
                assert_eq!(
                    (&one["in_experiment"], one["variant"].is_null()),
                    (&json!(counts), !counts),
                    "{one} {flag}"
                );
                if counts {
                    assert_eq!(one["bucket"], flag["metadata"]["bucket"]);
                }
            }
        }
    }
    let expected = [
        ("asleep", "paused"),
        ("banner", "audience"),
        ("banner", "holdout"),
        ("banner", "winner"),
        ("checkout", "assigned"),
        ("checkout", "audience"),
        ("checkout", "coverage"),
        ("checkout", "holdout"),
        ("checkout", "layer_slot"),
        ("price", "assigned"),
        ("search", "assigned"),
        ("search", "holdout"),
        ("search", "layer_slot"),
        ("sketch", "not_running"),
        ("teams", "assigned"),
        ("결제 é/1", "assigned"),
    ];
    let found: Vec<_> = reasons.keys().map(|(key, reason)| (key.as_str(), reason.as_str())).collect();
    assert_eq!(found, expected, "{reasons:?}");
    let body = running.get("/v1/assignments/qa-1").await.json();
    let forced: Vec<_> = body["assignments"].as_array().unwrap().iter().filter(|one| one["forced"] == true).collect();
    assert_eq!(forced.iter().map(|one| &one["experiment"]).collect::<Vec<_>>(), ["checkout", "sketch"]);
    assert!(forced.iter().all(|one| one["reason"] == "forced" && one["in_experiment"] == false));
    let wrong = running.get("/v1/assignments/u?country=DE").await;
    assert_eq!((wrong.status, &wrong.json()["code"]), (400, &json!("unknown_parameter")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_and_recommendations_are_ready_each_alone_or_both() {
    let (_directory, running) = serve(1).await;
    let ready = running.get("/readyz").await;
    assert_eq!(ready.status, 200, "{}", ready.body);
    let part = |name: &str| ready.json()["components"][name].clone();
    assert_eq!((&part("experiments")["state"], &part("recommendations")["state"]), (&json!("ready"), &json!("ready")));
    assert_eq!(running.get("/v1/users/u1/recommendations").await.json()["code"], "not_ready");
    let project = Project::ready(60, 50);
    let running = Running::start(project.config()).await.unwrap();
    assert_eq!(running.get("/readyz").await.status, 200);
    for (path, status) in [("/api/features/sdk-plain", 503), ("/v1/assignments/u", 503)] {
        assert_eq!(running.get(path).await.status, status, "{path}");
    }
    let answer = running.post("/ofrep/v1/evaluate/flags", BEARER, "{}").await;
    assert_eq!((answer.status, header(&answer, "retry-after")), (503, Some("1")));
    publish(&project.state(), &snapshot(1));
    running.wait_until("/api/features/sdk-plain", |answer| answer.status == 200).await;
    // Who serves flags does not leave the balancer while the first recommender is on its way.
    let project = Project::new(60, 50);
    publish(&project.state(), &snapshot(1));
    let flags_first = Running::start(project.config()).await.unwrap();
    let popularity = project.train(RecommenderKind::Popularity, "");
    project.promote("popularity", 1, &popularity, None);
    let ready = flags_first.wait_until("/readyz", |answer| answer.body.contains("no_feed")).await;
    assert_eq!((ready.status, &ready.json()["components"]["recommendations"]["state"]), (200, &json!("degraded")));
    project.publish(1, |_| true);
    flags_first.wait_until("/v1/users/u1/recommendations", |answer| answer.status == 200).await;
    assert_eq!(running.get("/v1/users/u1/recommendations").await.status, 200);
}
