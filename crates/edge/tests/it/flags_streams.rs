//! Streams of flags: what is sent and when, limits, heartbeats, drains.
//!
//! In: published revisions.  Out: events as a client reads them.
//! Start at [`a_new_revision_reaches_every_stream`].

use std::time::Duration;

use edge::EdgeConfig;
use serde_json::{Value, json};

use crate::client::{Events, PATIENCE, Running};
use crate::experiments::{publish, snapshot};
use crate::flags::{header, serve};

fn data(event: &str) -> Value {
    let lines: Vec<_> = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    serde_json::from_str(&lines.join("\n")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_revision_reaches_every_stream() {
    let (directory, running) = serve(1).await;
    let open = async |path: &str, headers: &str| Events::open(running.address, path, headers).await;
    let mut plain = open("/sub/sdk-plain", "").await;
    assert!(
        plain.head.starts_with("HTTP/1.1 200") && plain.head.contains("content-type: text/event-stream"),
        "{}",
        plain.head
    );
    assert!(plain.head.contains("access-control-allow-origin: *"), "{}", plain.head);
    let (mut encrypted, mut remote) = (open("/sub/sdk-encrypted", "").await, open("/sub/sdk-remote", "").await);
    let (mut notices, mut knows) =
        (open("/ofrep/v1/events/sdk-plain", "").await, open("/sub/sdk-plain", "Last-Event-ID: 1\r\n").await);
    let mut ahead = open("/sub/sdk-plain", "Last-Event-ID: 9\r\n").await;
    assert!(plain.next().await.unwrap().starts_with("retry: "));
    for revision in [1, 2, 5] {
        if revision > 1 {
            publish(&directory.path().join(".montauk"), &snapshot(revision));
        }
        let event = plain.next_data().await.unwrap();
        assert!(event.starts_with(&format!("id: {revision}\nevent: features\n")), "{event}");
        let body = running.get("/api/features/sdk-plain").await.json();
        assert_eq!(data(&event), body);
        assert_eq!(body["features"]["motd"]["defaultValue"], format!("revision {revision}"));
        assert!(data(&encrypted.next_data().await.unwrap())["encryptedFeatures"].is_string());
        let event = remote.next_data().await.unwrap();
        assert!(event.contains("\nevent: features-updated\n") && !event.contains("checkout"), "{event}");
        let event = notices.next_data().await.unwrap();
        assert!(event.starts_with(&format!("id: {revision}\nevent: message\n")), "{event}");
        let notice = data(&event);
        assert_eq!((&notice["type"], &notice["lastModified"]), (&json!("refetchEvaluation"), &json!(1_767_225_600)));
        assert!(notice["etag"].as_str().unwrap().starts_with('"'));
        if revision > 1 {
            assert!(knows.next_data().await.unwrap().starts_with(&format!("id: {revision}\n")));
        }
    }
    // A lower revision is not taken back, and a stream that has seen more is not led back either.
    publish(&directory.path().join(".montauk"), &snapshot(3));
    publish(&directory.path().join(".montauk"), &snapshot(10));
    assert!(plain.next_data().await.unwrap().starts_with("id: 10\n"));
    assert!(ahead.next_data().await.unwrap().starts_with("id: 10\n"));
    // A connection that is taken away ends its streams.
    let mut without = snapshot(11);
    without.connections.retain(|connection| connection.client_key != "sdk-remote");
    publish(&directory.path().join(".montauk"), &without);
    while remote.next().await.is_some() {}
    let text =
        running.wait_until("/metrics", |answer| answer.body.contains("montauk_flag_streams_open 5\n")).await.body;
    assert!(
        text.contains("montauk_experiments_revision 11\n") && text.contains("montauk_experiments_swaps_total 5\n"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_limited_by_address_and_by_server_and_show_life() {
    let directory = tempfile::tempdir().unwrap();
    publish(&directory.path().join(".montauk"), &snapshot(1));
    let mut config = EdgeConfig::new(directory.path());
    config.service.flags.heartbeat = Duration::from_millis(20);
    config.service.flags.max_streams_per_address = 2;
    let running = Running::start(config.clone()).await.unwrap();
    let mut first = Events::open(running.address, "/sub/sdk-plain", "").await;
    let _second = Events::open(running.address, "/ofrep/v1/events/sdk-plain", "").await;
    first.next_data().await.unwrap();
    assert_eq!(first.next().await.unwrap(), ": heartbeat");
    let refused = running.get("/sub/sdk-plain").await;
    assert_eq!((refused.status, header(&refused, "retry-after")), (429, Some("30")), "{}", refused.body);
    assert_eq!(refused.json()["status"], 429);
    drop(first);
    running.wait_until("/metrics", |answer| answer.body.contains("montauk_flag_streams_open 1\n")).await;
    assert!(Events::open(running.address, "/sub/sdk-plain", "").await.head.starts_with("HTTP/1.1 200"));

    config.service.flags.max_streams_per_address = 9;
    config.service.flags.max_streams = 1;
    let running = Running::start(config).await.unwrap();
    let _only = Events::open(running.address, "/sub/sdk-plain", "").await;
    let refused = running.get("/sub/sdk-plain").await;
    assert_eq!((refused.status, header(&refused, "retry-after")), (503, Some("30")), "{}", refused.body);
    let text = running.get("/metrics").await.body;
    assert!(text.contains("montauk_flag_streams_refused_total 1\n"), "{text}");
    assert_eq!(running.get("/sub/sdk-none").await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_streams_and_cuts_none() {
    let directory = tempfile::tempdir().unwrap();
    publish(&directory.path().join(".montauk"), &snapshot(1));
    let mut config = EdgeConfig::new(directory.path());
    config.limits.shutdown_grace = Duration::from_millis(300);
    let running = Running::start(config).await.unwrap();
    let mut streams = Vec::new();
    for path in ["/sub/sdk-plain", "/sub/sdk-remote", "/ofrep/v1/events/sdk-plain"] {
        let mut events = Events::open(running.address, path, "").await;
        events.next_data().await.unwrap();
        streams.push(events);
    }
    running.trigger.drain();
    tokio::time::sleep(Duration::from_millis(50)).await;
    // While it still accepts, a stream is short and no error: an error would end streaming for good in one SDK.
    let mut late = Events::open(running.address, "/sub/sdk-plain", "").await;
    assert!(late.head.starts_with("HTTP/1.1 200"), "{}", late.head);
    assert_eq!(late.next_data().await, None);
    for mut events in streams {
        while events.next().await.is_some() {}
    }
    let report = tokio::time::timeout(PATIENCE, running.server).await.unwrap().unwrap();
    assert_eq!(report.cut, 0);
}
