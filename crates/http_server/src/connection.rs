//! One connection: the socket under watch, and hyper on top of it.
//!
//! In: an accepted socket.  Out: nothing; it ends when the peer leaves, a limit is hit, or the server drains.
//! Never here: routing, answers.
//! Start at [`serve_connection`].

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Sleep;
use tower::ServiceExt;

use crate::Limits;
use crate::framing::{FramingScanner, Violation};

/// What the server wants of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Serve,
    /// Finish the request under way, then close.
    Drain,
    Cut,
}

/// The address of the other end of a request's connection: a client's, or that of a balancer before it. Among a request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// What requests know of their connection.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    violation: OnceLock<Violation>,
}

impl ConnectionState {
    /// The first fault in the framing of this connection. It is seen when its bytes arrive, so it may strike a request
    /// that was pipelined before the faulty one: a client that sends such bytes gets no further answers.
    pub(crate) fn violation(&self) -> Option<Violation> {
        self.violation.get().copied()
    }
}

/// Answers requests on `stream` until it ends.
pub(crate) async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    mut order: watch::Receiver<Order>,
) {
    let state = Arc::new(ConnectionState { violation: OnceLock::new() });
    let watched = WatchedStream {
        stream,
        scanner: FramingScanner::new(),
        state: Arc::clone(&state),
        write_timeout: limits.write_timeout,
        stalled: None,
    };
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&state));
        request.extensions_mut().insert(PeerAddress(peer));
        router.clone().oneshot(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .max_headers(limits.max_headers)
        .max_header_size(limits.max_head_bytes)
        .serve_connection(TokioIo::new(watched), service);
    let mut connection = pin!(connection);
    let mut is_watching = true;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%peer, %error, "connection ended early");
                }
                return;
            }
            changed = order.changed(), if is_watching => {
                is_watching = changed.is_ok();
                let now = *order.borrow_and_update();
                match now {
                    Order::Serve => {}
                    Order::Drain => connection.as_mut().graceful_shutdown(),
                    Order::Cut => return,
                }
            }
        }
    }
}

/// A socket whose incoming bytes are scanned and whose outgoing bytes must move.
struct WatchedStream {
    stream: TcpStream,
    scanner: FramingScanner,
    state: Arc<ConnectionState>,
    write_timeout: Duration,
    /// Runs while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl WatchedStream {
    /// Passes `outcome` on, or an error when the peer has taken nothing for too long.
    fn watch_stall<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let write_timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(write_timeout)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes no bytes")))
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if let Some(violation) = self.scanner.push(&buffer.filled()[before..]) {
            // Only the first one counts; setting it again changes nothing.
            let _ = self.state.violation.set(violation);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch_stall(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch_stall(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
