//! What should not come and does: damaged snapshots, bodies that are too much, keys that are no text, ten thousand flags.
//!
//! In: bad input.  Out: an error in the protocol's form, or a defined answer; what serves goes on serving.
//! Start at [`a_broken_revision_is_refused_and_the_older_one_serves_on`].

use domain::Problem;
use edge::EdgeConfig;
use serde_json::json;

use crate::client::{Client, Running};
use crate::experiments::{publish, snapshot, write};
use crate::flags::{BEARER, header, serve};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_revision_is_refused_and_the_older_one_serves_on() {
    let (directory, running) = serve(1).await;
    let state = directory.path().join(".montauk");
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = serde_json::to_value(snapshot(2)).unwrap();
        change(&mut value);
        value.to_string()
    };
    let broken = [
        ("{\"format_version\":1,".to_owned(), "serving_file_damaged"),
        (with(&|value| value["format_version"] = json!(99)), "serving_format_version"),
        (with(&|value| value["revision"] = json!(7)), "serving_file_damaged"),
        (with(&|value| value["unheard"] = json!(1)), "serving_file_damaged"),
        (with(&|value| value["payload"]["features"]["checkout"] = json!([1])), "experiments_unusable"),
        (with(&|value| value["connections"][1]["encryption_key"] = json!("short")), "experiments_unusable"),
        (with(&|value| value["connections"][1]["client_key"] = json!("sdk-plain")), "experiments_unusable"),
        (with(&|value| value["connections"][1]["client_key"] = json!("")), "experiments_unusable"),
        (format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)), "serving_file_damaged"),
    ];
    for (nth, (text, code)) in broken.iter().enumerate() {
        let revision = 2 + nth as u64;
        let text =
            if nth == 2 { text.clone() } else { text.replace("\"revision\":2", &format!("\"revision\":{revision}")) };
        write(&state, revision, &text);
        let refusal = format!("revision {revision} was refused: {code}");
        let ready = running.wait_until("/readyz", |answer| answer.body.contains(&refusal)).await;
        assert_eq!((ready.status, &ready.json()["components"]["experiments"]["state"]), (200, &json!("degraded")));
        assert!(!ready.body.contains(directory.path().to_str().unwrap()), "paths stay inside: {}", ready.body);
        let features = running.get("/api/features/sdk-plain").await.json()["features"].clone();
        assert_eq!(features["motd"]["defaultValue"], "revision 1");
    }
    let text = running.get("/metrics").await.body;
    assert!(text.contains("montauk_serving_load_failures_total{what=\"experiments\"}"), "{text}");
    publish(&state, &snapshot(50));
    running
        .wait_until("/readyz", |answer| answer.body.contains("revision 50, ") && answer.body.contains("\"ready\""))
        .await;
    // What was lower all along, and what appears only now, changes nothing.
    publish(&state, &snapshot(49));
    std::fs::remove_file(state.join(format!("experiments/{:020}.json", 50))).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let features = running.get("/api/features/sdk-plain").await.json()["features"].clone();
    assert_eq!(features["motd"]["defaultValue"], "revision 50");
    // The next start takes the highest that is whole, over what is broken.
    write(&state, 60, "no json");
    let again = Running::start(EdgeConfig::new(directory.path())).await.unwrap();
    let body = again.get("/api/features/sdk-plain").await.json();
    assert_eq!(body["features"]["motd"]["defaultValue"], "revision 49");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_nothing_whole_says_so_or_waits() {
    let directory = tempfile::tempdir().unwrap();
    let code = |outcome: Result<Running, edge::EdgeError>| {
        let error = outcome.err().expect("an error");
        assert!(error.help().is_some());
        error.code()
    };
    let config = EdgeConfig::new(directory.path());
    assert_eq!(code(Running::start(config.clone()).await), "nothing_promoted");
    write(&directory.path().join(".montauk"), 1, "no json");
    assert_eq!(code(Running::start(config.clone()).await), "serving_file_damaged");
    let running = Running::start(EdgeConfig { wait: true, ..config }).await.unwrap();
    assert_eq!(running.get("/readyz").await.status, 503);
    publish(&directory.path().join(".montauk"), &snapshot(2));
    running.wait_until("/readyz", |answer| answer.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_and_keys_that_are_too_much_are_answered_in_the_protocols_form() {
    let (_directory, running) = serve(1).await;
    let mut client = Client::connect(running.address).await;
    let flag = "/ofrep/v1/evaluate/flags/motd";
    let long = |bytes: usize| format!("{{\"context\":{{\"targetingKey\":\"u\",\"x\":\"{}\"}}}}", "x".repeat(bytes));
    assert_eq!(running.post(flag, BEARER, &long(10_000)).await.status, 200);
    let answer = running.post(flag, BEARER, &long(70_000)).await;
    assert_eq!(
        (answer.status, &answer.json()["errorCode"], &answer.json()["key"]),
        (413, &json!("INVALID_CONTEXT"), &json!("motd"))
    );
    let answer = running.post("/api/eval/sdk-remote", "", &long(70_000).replace("context", "attributes")).await;
    assert_eq!((answer.status, &answer.json()["status"]), (413, &json!(413)));
    assert_eq!(
        running.post("/api/eval/sdk-remote", "", &long(10_000).replace("context", "attributes")).await.status,
        200
    );
    assert_eq!(client.send("POST", flag, &format!("{BEARER}Expect: x\r\n"), &[b'x'; 10]).await.status, 400);

    let deep = format!("{{\"context\":{{\"a\":{}1{}}}}}", "[".repeat(5_000), "]".repeat(5_000));
    let latin = b"{\"context\":{\"targetingKey\":\"\xe9\"}}".to_vec();
    for body in [deep.as_bytes(), &latin, b"", b"null", b"[]", b"\"x\"", b"{}x"] {
        let answer = client.send("POST", flag, BEARER, body).await;
        assert_eq!((answer.status, &answer.json()["errorCode"]), (400, &json!("PARSE_ERROR")), "{}", answer.body);
        let answer = client.send("POST", "/api/eval/sdk-remote", "", body).await;
        assert_eq!((answer.status, &answer.json()["status"]), (400, &json!(400)), "{}", answer.body);
    }
    for body in
        [r#"{"attributes":[]}"#, r#"{"forcedFeatures":{"a":1}}"#, r#"{"forcedFeatures":[["a"]]}"#, r#"{"url":1}"#]
    {
        let answer = running.post("/api/eval/sdk-remote", "", body).await;
        assert!(answer.status == 400 && answer.json()["error"].as_str().unwrap().contains('`'), "{}", answer.body);
    }
    for (path, shape) in [("/api/features/%FF", "error"), ("/sub/%FF", "error"), ("/api/features/%E2%9C%93", "error")] {
        let answer = running.get(path).await;
        assert!(answer.status == 400 && answer.json()[shape].is_string(), "{}", answer.body);
    }
    for (key, status, code) in
        [("%FF", 400, "PARSE_ERROR"), ("%E2%9C%93", 404, "FLAG_NOT_FOUND"), ("%00", 404, "FLAG_NOT_FOUND")]
    {
        let answer = running.post(&format!("/ofrep/v1/evaluate/flags/{key}"), BEARER, "{}").await;
        assert_eq!((answer.status, &answer.json()["errorCode"]), (status, &json!(code)), "{}", answer.body);
    }
    for path in ["/v1/assignments/%FF", "/v1/assignments/u?attribute.=1"] {
        assert_eq!(running.get(path).await.status, 400, "{path}");
    }
    let name = "x".repeat(257);
    assert_eq!(running.get(&format!("/v1/assignments/{name}")).await.json()["code"], "bad_id");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_asks_too_often_waits_and_the_others_do_not() {
    let directory = tempfile::tempdir().unwrap();
    publish(&directory.path().join(".montauk"), &snapshot(1));
    let mut config = EdgeConfig::new(directory.path());
    config.service.flags.evaluations_per_second = 1;
    let running = Running::start(config).await.unwrap();
    let flag = "/ofrep/v1/evaluate/flags/motd";
    let mut last = running.post(flag, BEARER, "{}").await;
    for _ in 0..100 {
        if last.status == 429 {
            break;
        }
        last = running.post(flag, BEARER, "{}").await;
    }
    assert_eq!((last.status, header(&last, "retry-after")), (429, Some("1")), "{}", last.body);
    assert_eq!(last.json()["errorCode"], "GENERAL");
    assert_eq!(running.post(flag, "X-API-Key: sdk-remote\r\n", "{}").await.status, 200);
    // A new revision does not fill the bucket: the same quota goes on.
    publish(&directory.path().join(".montauk"), &snapshot(2));
    running.wait_until("/readyz", |answer| answer.body.contains("revision 2")).await;
    let text = running.get("/metrics").await.body;
    assert!(text.contains("montauk_flag_quota_refused_total 1\n"), "{text}");
    assert!(text.contains("montauk_flag_evaluations_total{protocol=\"ofrep\"}"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_flags_are_answered_whole() {
    let directory = tempfile::tempdir().unwrap();
    let mut many = snapshot(1);
    let rule = json!([{ "key": "x", "variations": [false, true], "hashVersion": 2, "condition": { "plan": "pro" } }]);
    let features = many.payload["features"].as_object_mut().unwrap();
    features.extend((0..10_000).map(|nth| (format!("flag-{nth}"), json!({ "defaultValue": false, "rules": rule }))));
    let count = features.len();
    publish(&directory.path().join(".montauk"), &many);
    let running = Running::start(EdgeConfig::new(directory.path())).await.unwrap();
    let context = r#"{"context":{"targetingKey":"u","plan":"pro"}}"#;
    let bulk = running.post("/ofrep/v1/evaluate/flags", BEARER, context).await.json();
    assert_eq!(bulk["flags"].as_array().unwrap().len(), count);
    assert!(
        bulk["flags"].as_array().unwrap().iter().all(|flag| flag["metadata"]["revision"] == 1 || flag["key"] == "loop")
    );
    let remote = running.post("/api/eval/sdk-remote", "", r#"{"attributes":{"id":"u","plan":"pro"}}"#).await.json();
    assert_eq!(remote["features"].as_object().unwrap().len(), count);
    assert_eq!(running.get("/api/features/sdk-encrypted").await.json()["features"], json!({}));
}
