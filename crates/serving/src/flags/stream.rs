//! Streams of server-sent events: GrowthBook's, which carry the payload, and OpenFeature's, which carry notices.
//!
//! In: a client key, the last event that the client has seen.  Out: events for ever, a sign of life when there are none, an end when the server stops.
//! What is current is sent first, so that nothing is missed between a fetch and the stream, or while a client was away.
//! Never here: what an event says (`connection`, `set`); limits (`streams`).
//! Start at [`subscribe`]. Source: HTML Living Standard, section 9.2.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http_server::PeerAddress;
use tokio::sync::watch;

use super::address::Client;
use super::current::{Change, Flags};
use super::growthbook::{ClientKey, Refusal, open};
use super::streams::{Full, Place};

/// A comment: no client sees it, and no proxy takes the stream for dead.
const HEARTBEAT: &[u8] = b": heartbeat\n\n";

/// Clients that lose their stream come back after 1 to 3 s, each at its own time: a restart must not bring all of them in one moment.
const RETRY_MS: u64 = 1_000;
const RETRY_SPREAD_MS: u64 = 2_000;

/// How long a stream lasts that is opened while the server stops. An error would end streaming for good in GrowthBook's Python SDK, and an end at once would be
/// answered by the next attempt.
const LAST_STREAM: Duration = Duration::from_secs(1);

/// Seconds after which a client that was refused a stream may ask again; until then it polls.
const RETRY_AFTER_S: u64 = 30;

/// Which of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Definitions,
    Notices,
}

/// `GET /sub/{client_key}` — GrowthBook's stream.
pub(crate) fn subscribe(
    State(flags): State<Arc<Flags>>,
    key: ClientKey,
    peer: Option<Extension<PeerAddress>>,
    headers: HeaderMap,
) -> Ready<Result<Response, Refusal>> {
    ready(start(&flags, Kind::Definitions, key, peer, &headers))
}

/// `GET /ofrep/v1/events/{client_key}` — OpenFeature's stream. A browser's `EventSource` sends no headers, so the key stands in the path.
pub(crate) fn notices(
    State(flags): State<Arc<Flags>>,
    key: ClientKey,
    peer: Option<Extension<PeerAddress>>,
    headers: HeaderMap,
) -> Ready<Result<Response, Refusal>> {
    ready(start(&flags, Kind::Notices, key, peer, &headers))
}

fn start(
    flags: &Arc<Flags>,
    kind: Kind,
    key: ClientKey,
    peer: Option<Extension<PeerAddress>>,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let (key, _) = open(flags, key)?;
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let client = Client::of(peer.map_or(unknown, |Extension(PeerAddress(address))| address));
    let place = flags.streams.enter(client).map_err(|full| {
        flags.figures.streams_refused.increment(1);
        let (status, error) = match full {
            Full::Client => (StatusCode::TOO_MANY_REQUESTS, "too many streams from this address: share one, or poll"),
            Full::Server => (StatusCode::SERVICE_UNAVAILABLE, "the server has reached its limit of streams: poll"),
        };
        Refusal { status, error: error.to_owned(), retry_after_s: Some(RETRY_AFTER_S) }
    })?;
    let last_seen = headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(|id| id.parse().ok());
    let changes = flags.changes();
    let is_closing = changes.borrow().is_closing;
    let stream = EventStream {
        flags: Arc::clone(flags),
        kind,
        key,
        is_closing,
        changes,
        sent: last_seen,
        is_new: true,
        _place: place,
    };
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        // nginx would keep events until its buffer is full.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(stream.events())).into_response())
}

struct EventStream {
    flags: Arc<Flags>,
    kind: Kind,
    key: String,
    changes: watch::Receiver<Change>,
    /// The revision that the client knows.
    sent: Option<u64>,
    is_new: bool,
    /// The server was stopping already when the stream began.
    is_closing: bool,
    /// Given back when the stream is dropped, however it ends.
    _place: Place,
}

impl EventStream {
    fn events(self) -> impl stream::Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut stream| async move {
            let bytes = stream.next().await?;
            Some((Ok(bytes), stream))
        })
    }

    /// `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_closing {
            tokio::time::sleep(LAST_STREAM).await;
            return None;
        }
        if std::mem::take(&mut self.is_new) {
            let mut first = retry().into_bytes();
            first.extend_from_slice(&self.news()?);
            return Some(first.into());
        }
        loop {
            match tokio::time::timeout(self.flags.limits.heartbeat, self.changes.changed()).await {
                Err(_) => return Some(Bytes::from_static(HEARTBEAT)),
                Ok(Err(_)) => return None,
                Ok(Ok(())) if self.changes.borrow_and_update().is_closing => return None,
                Ok(Ok(())) => {
                    let news = self.news()?;
                    if !news.is_empty() {
                        return Some(news);
                    }
                }
            }
        }
    }

    /// The current event, empty if the client has it; `None` when its connection is gone.
    fn news(&mut self) -> Option<Bytes> {
        let set = self.flags.current()?;
        let connection = set.connection(&self.key)?;
        // A client that comes from a server which is ahead of us is not taken back.
        if self.sent >= Some(set.revision) {
            return Some(Bytes::new());
        }
        self.sent = Some(set.revision);
        Some(match self.kind {
            Kind::Definitions => connection.event.clone(),
            Kind::Notices => set.notice.clone(),
        })
    }
}

/// When to come back, spread evenly (the golden ratio's multiples lie apart as far as they can; Knuth, TAOCP 3, section 6.4).
fn retry() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nth = NEXT.fetch_add(1, Ordering::Relaxed);
    let spread = (nth as f64 * 0.618_033_988_749_895).fract() * RETRY_SPREAD_MS as f64;
    format!("retry: {}\n\n", RETRY_MS + spread as u64)
}
