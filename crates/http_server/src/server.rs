//! The accept loop: from a bound port to the last drained connection.
//!
//! In: an address, routes, an order to stop.  Out: the bound address (port 0 is fine), and a [`DrainReport`].
//! Phases: serving → readiness fails → grace → accepting ends → drain → cut.
//! Never here: what happens on one connection (`connection`) or to one request (`gate`).
//! Start at [`HttpServer::bind`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use domain::{ErrorKind, Problem};
use metrics::{Counter, Gauge};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::connection::{Order, serve_connection};
use crate::{Limits, Readiness, Rejection, Shutdown, Telemetry, gate, health};

/// Refusals being written at once; beyond them sockets are dropped without a word, so that a flood costs nothing.
const MAX_REFUSALS: usize = 64;
/// Time to tell one client that the server is full.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after a failed accept: the usual cause, too many open files, does not pass at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often raw latencies are folded into buckets: at 100,000 answers a second this holds 4 MB.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HttpServerError {
    #[error("cannot listen on `{address}`: {source}")]
    Listen { address: String, source: std::io::Error },
}

impl Problem for HttpServerError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Listen { source, .. } if source.kind() == std::io::ErrorKind::InvalidInput => ErrorKind::Invalid,
            Self::Listen { .. } => ErrorKind::Unavailable,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "cannot_listen",
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Listen { .. } => {
                Some("stop the program that holds the port, or choose another: `--listen 127.0.0.1:0`".to_owned())
            }
        }
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that were still open at the end of the drain time and were cut.
    pub cut: usize,
}

/// A bound port that does not answer yet.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    limits: Limits,
    telemetry: Telemetry,
    readiness: Readiness,
}

/// What the accept loop counts.
struct Figures {
    open: Gauge,
    accepted: Counter,
    refused: Counter,
}

impl HttpServer {
    /// Binds `listen`, such as `127.0.0.1:8080` or `localhost:0`.
    pub async fn bind(listen: &str, limits: Limits) -> Result<Self, HttpServerError> {
        let failed = |source| HttpServerError::Listen { address: listen.to_owned(), source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, limits, telemetry: Telemetry::new(), readiness: Readiness::new() })
    }

    /// The address that was bound, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The counters behind `/metrics`, for rooms to add their own.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// What `/readyz` says, for rooms to set their part.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Serves `routes`, `/livez`, `/readyz` and `/metrics` until `shutdown`, then drains.
    pub async fn serve(self, routes: Router, mut shutdown: Shutdown) -> DrainReport {
        let routes = routes.merge(health::routes(self.readiness.clone(), self.telemetry.clone()));
        let router = gate::wrap(routes, self.limits.clone(), self.telemetry.clone());
        let permits = Arc::new(Semaphore::new(self.limits.max_connections));
        let (orders, order) = watch::channel(Order::Serve);
        let grace = self.limits.shutdown_grace;
        let (mut patient, readiness) = (shutdown.clone(), self.readiness.clone());
        let stop_accepting = async move {
            patient.draining().await;
            readiness.start_draining();
            tokio::select! {
                () = tokio::time::sleep(grace) => {}
                () = patient.immediate() => {}
            }
        };
        tokio::select! {
            () = self.accept(&router, &permits, &order) => {}
            () = stop_accepting => {}
        }
        // Frees the port: another process may bind it while we drain.
        let Self { listener, limits, .. } = self;
        drop(listener);
        drain(&limits, &permits, &orders, &mut shutdown).await
    }

    /// Accepts for ever.
    async fn accept(&self, router: &Router, permits: &Arc<Semaphore>, order: &watch::Receiver<Order>) {
        let figures = self.figures();
        let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
        let mut upkeep = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = upkeep.tick() => {
                    self.telemetry.upkeep();
                    continue;
                }
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
                figures.refused.increment(1);
                if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
                    tokio::spawn(refuse(stream, permit));
                }
                continue;
            };
            // Answers are small and complete: waiting to fill a packet (Nagle) would only add delay.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
            }
            figures.accepted.increment(1);
            let open = OpenConnection { _permit: permit, open: figures.open.clone() };
            open.open.increment(1.0);
            let (router, limits, order) = (router.clone(), self.limits.clone(), order.clone());
            tokio::spawn(async move {
                serve_connection(stream, peer, router, limits, order).await;
                drop(open);
            });
        }
    }

    fn figures(&self) -> Figures {
        let telemetry = &self.telemetry;
        Figures {
            open: telemetry.gauge("montauk_http_connections_open", "Open connections.", &[]),
            accepted: telemetry.counter("montauk_http_connections_total", "Connections accepted.", &[]),
            refused: telemetry.counter(
                "montauk_http_connections_refused_total",
                "Connections refused because the limit was reached.",
                &[],
            ),
        }
    }
}

/// Holds a place under the connection cap; gives it back however the connection ends, a panic included.
struct OpenConnection {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.open.decrement(1.0);
    }
}

/// Waits until every connection has given its permit back, at most for the drain time.
async fn drain(
    limits: &Limits,
    permits: &Arc<Semaphore>,
    orders: &watch::Sender<Order>,
    shutdown: &mut Shutdown,
) -> DrainReport {
    orders.send_replace(Order::Drain);
    let all = u32::try_from(limits.max_connections).unwrap_or(u32::MAX);
    tokio::select! {
        drained = permits.acquire_many(all) => {
            // The semaphore is never closed, so this is always the good end.
            drop(drained);
            return DrainReport { cut: 0 };
        }
        () = tokio::time::sleep(limits.drain_timeout) => {}
        () = shutdown.immediate() => {}
    }
    let cut = limits.max_connections - permits.available_permits();
    orders.send_replace(Order::Cut);
    DrainReport { cut }
}

/// Tells a client that the server is full: a whole answer, then a close that does not reset it away.
async fn refuse(mut stream: TcpStream, _permit: OwnedSemaphorePermit) {
    let body = Rejection::TooManyConnections.problem().body(None);
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // Unread bytes at the close would turn it into a reset, and the client might never see the answer.
        let mut scratch = [0_u8; 1024];
        while stream.read(&mut scratch).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    // Whatever goes wrong here, the client is refused all the same.
    let _ = tokio::time::timeout(REFUSAL_TIMEOUT, exchange).await;
}
