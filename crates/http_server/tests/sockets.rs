//! The server as a client on the wire sees it: raw sockets against a real port.
//!
//! In: bytes.  Out: bytes, closes, and the time they took.
//! Start at [`start`].
#![expect(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{get, post};
use http_server::{ComponentState, DrainReport, HttpServer, Limits, Readiness, ShutdownTrigger, shutdown_channel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Far more than anything here takes, so that a hang fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    trigger: ShutdownTrigger,
    server: JoinHandle<DrainReport>,
    readiness: Readiness,
}

fn routes() -> Router {
    Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route(
            "/slow",
            get(|| async {
                tokio::time::sleep(Duration::from_millis(400)).await;
                "slow but sure"
            }),
        )
        .route("/stuck", get(std::future::pending::<String>))
        .route("/panic", get(|| async { if true { panic!("secret detail") } else { "" } }))
        .route("/large", get(|| async { "x".repeat(32 * 1024 * 1024) }))
        .route("/echo", post(|body: String| async move { body }))
}

fn short_limits() -> Limits {
    Limits {
        header_read_timeout: Duration::from_millis(300),
        request_timeout: Duration::from_millis(1_500),
        write_timeout: Duration::from_millis(500),
        drain_timeout: Duration::from_secs(3),
        max_body_bytes: 1_000,
        ..Limits::default()
    }
}

async fn start(limits: Limits) -> Running {
    let server = HttpServer::bind("127.0.0.1:0", limits).await.unwrap();
    let (address, readiness) = (server.address(), server.readiness().clone());
    let (trigger, shutdown) = shutdown_channel();
    Running { address, trigger, readiness, server: tokio::spawn(server.serve(routes(), shutdown)) }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `request` on a fresh connection and reads until the server closes it.
    async fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_close(&mut stream).await
    }

    async fn get(&self, path: &str) -> String {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await
    }
}

async fn read_to_close(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is as good an end as a close.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one answer of a connection that stays open; its body must be `body_end`.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut bytes = [0_u8; 4096];
    while !text.ends_with(end) {
        let count = timeout(PATIENCE, stream.read(&mut bytes)).await.expect("an answer").unwrap();
        assert!(count > 0, "closed after: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    text
}

fn check_problem(answer: &str, status: &str, code: &str) {
    let lower = answer.to_lowercase();
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    assert!(lower.contains("content-type: application/problem+json"), "{answer}");
    assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_carry_the_request_id_and_connections_are_reused() {
    let running = start(Limits::default()).await;
    let mut stream = running.connect().await;
    for id in ["one", "two"] {
        let request = format!("GET /hello HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "hello").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&format!("x-request-id: {id}")), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_error_is_a_problem() {
    let running = start(short_limits()).await;
    check_problem(&running.get("/nowhere").await, "404", "no_such_route");
    let answer =
        running.exchange("POST /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
    check_problem(&answer, "405", "method_not_allowed");
    assert!(answer.to_lowercase().contains("allow: get"), "{answer}");
    check_problem(&running.get("/stuck").await, "503", "request_timeout");
    let answer = running.get("/panic").await;
    check_problem(&answer, "500", "internal_fault");
    assert!(!answer.contains("secret"), "{answer}");
    assert!(answer.contains("\"request_id\":\""), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_body_is_refused_whether_its_length_is_told_or_not() {
    let running = start(short_limits()).await;
    let small = "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    assert!(running.exchange(small).await.ends_with("hello"));
    let told = running.exchange("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n").await;
    check_problem(&told, "413", "body_too_large");
    let chunk = format!("7d0\r\n{}\r\n0\r\n\r\n", "x".repeat(2_000));
    let untold =
        format!("POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
    check_problem(&running.exchange(&untold).await, "413", "body_too_large");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_slow_bodies_and_slow_readers_are_closed() {
    let running = start(short_limits()).await;
    let began = Instant::now();
    let mut sockets = Vec::new();
    for _ in 0..200 {
        let mut stream = running.connect().await;
        stream.write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\nX-Slow: ").await.unwrap();
        sockets.push(stream);
    }
    for stream in &mut sockets {
        read_to_close(stream).await;
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());

    let answer = running.exchange("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\nonly this").await;
    check_problem(&answer, "408", "slow_body");

    let mut stream = running.connect().await;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let answer = read_to_close(&mut stream).await;
    assert!(answer.len() < 32 * 1024 * 1024, "a reader that stalled got everything: {} bytes", answer.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ambiguous_framing_is_refused_and_the_connection_closed() {
    let running = start(Limits::default()).await;
    let smuggled = "0\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
    for (head, code) in [
        ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "bad_framing"),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", "bad_framing"),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "bad_framing"),
        ("GET /hello HTTP/1.1\nHost: a\n\n", "bad_framing"),
        ("GET /hello HTTP/1.1\r\n\r\n", "bad_host"),
        ("GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "bad_host"),
    ] {
        let answer = running.exchange(&format!("{head}{smuggled}")).await;
        check_problem(&answer, "400", code);
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "one answer, then the end: {answer}");
    }
    for head in [
        "GET /hello HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost : a\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
    ] {
        let answer = running.exchange(head).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head}{answer}");
    }
    let head = format!("GET /hello HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(20_000));
    assert!(running.exchange(&head).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_cap_are_told_and_the_place_is_given_back() {
    let running = start(Limits { max_connections: 2, ..Limits::default() }).await;
    let mut first = running.connect().await;
    let mut second = running.connect().await;
    for stream in [&mut first, &mut second] {
        stream.write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        read_until(stream, "hello").await;
    }
    check_problem(&running.get("/hello").await, "503", "too_many_connections");
    drop(first);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(running.get("/hello").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_fails_readiness_finishes_what_is_under_way_and_frees_the_port() {
    let limits = Limits { shutdown_grace: Duration::from_millis(200), ..short_limits() };
    let running = start(limits).await;
    running.readiness.set("model", ComponentState::Ready { detail: "v1".into() });
    assert!(running.get("/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(running.get("/livez").await.ends_with(r#"{"status":"live"}"#));

    let mut idle = running.connect().await;
    idle.write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut idle, "hello").await;
    let mut busy = running.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;

    running.trigger.drain();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let answer = running.get("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\"draining\""), "{answer}");

    assert!(read_to_close(&mut busy).await.ends_with("slow but sure"));
    assert_eq!(read_to_close(&mut idle).await, "");
    let report = timeout(PATIENCE, running.server).await.unwrap().unwrap();
    assert_eq!(report, DrainReport { cut: 0 });
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_finish_is_cut_after_the_drain_time_or_at_once_on_demand() {
    for is_immediate in [false, true] {
        let limits = Limits { drain_timeout: Duration::from_millis(600), ..Limits::default() };
        let running = start(limits).await;
        let mut stuck = running.connect().await;
        stuck.write_all(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let began = Instant::now();
        if is_immediate {
            running.trigger.stop_now();
        } else {
            running.trigger.drain();
        }
        let report = timeout(PATIENCE, running.server).await.unwrap().unwrap();
        assert_eq!(report, DrainReport { cut: 1 });
        assert_eq!(began.elapsed() < Duration::from_millis(500), is_immediate, "{:?}", began.elapsed());
        assert_eq!(read_to_close(&mut stuck).await, "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_count_by_route_and_not_by_path() {
    let running = start(Limits::default()).await;
    running.get("/hello").await;
    running.get("/nowhere/at/all").await;
    let text = running.get("/metrics").await;
    assert!(text.contains(r#"montauk_http_requests_total{route="/hello",method="GET",status="200"} 1"#), "{text}");
    assert!(text.contains(r#"montauk_http_requests_total{route="unmatched",method="GET",status="404"} 1"#), "{text}");
    assert!(!text.contains("/nowhere"), "{text}");
}
