//! The composed server: `serving` behind `http_server`, from configuration to the last drained connection.
//!
//! In: an [`EdgeConfig`].  Out: a bound address, answers, and at the end a [`DrainReport`].
//! Both doors, `montauk-edge` and `montauk serve`, call [`run`].
//! Never here: logic of answers; Arrow, Parquet, DataFusion, Delta or SQL drivers, also not below (tidy checks).
//! Start at [`run`].

mod signals;

pub use signals::{Signals, watch as watch_signals};

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::{ErrorKind, Problem};
use http_server::{HttpServer, HttpServerError};
use serving::{FlagLimits, Service, ServiceConfig, ServingError};

pub use http_server::{DrainReport, Limits, Shutdown, ShutdownTrigger, shutdown_channel};

/// Name of the state directory in a project.
const STATE_DIR: &str = ".montauk";

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// What to answer from; see [`ServiceConfig`].
    pub service: ServiceConfig,
    /// Address and port; port 0 takes a free one.
    pub listen: String,
    /// Start also when nothing can be served yet: `/readyz` fails until something is promoted and published.
    pub wait: bool,
    /// Limits of the server.
    pub limits: Limits,
}

impl EdgeConfig {
    /// Defaults for the project in `project_dir`: 127.0.0.1:8080, its only recommender, a look for news every second.
    pub fn new(project_dir: &Path) -> Self {
        Self {
            service: ServiceConfig {
                state_dir: project_dir.join(STATE_DIR),
                recommender: None,
                poll_interval: Duration::from_secs(1),
                flags: FlagLimits::default(),
            },
            listen: "127.0.0.1:8080".to_owned(),
            wait: false,
            limits: Limits::default(),
        }
    }
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error(transparent)]
    Http(#[from] HttpServerError),
    #[error(transparent)]
    Serving(#[from] ServingError),
    #[error("cannot listen to signals: {0}")]
    Signals(std::io::Error),
}

impl Problem for EdgeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Http(error) => error.kind(),
            Self::Serving(error) => error.kind(),
            Self::Signals(_) => ErrorKind::Internal,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Http(error) => error.code(),
            Self::Serving(error) => error.code(),
            Self::Signals(_) => "no_signals",
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Http(error) => error.help(),
            Self::Serving(error) => error.help(),
            Self::Signals(_) => None,
        }
    }
}

/// A server that is bound and loaded, and does not answer yet.
#[derive(Debug)]
pub struct Edge {
    server: HttpServer,
    service: Arc<Service>,
}

impl Edge {
    /// Binds, then loads. The port is taken first, so that a clash is told before seconds of loading.
    ///
    /// Errors: `Http` when the port cannot be had; `Serving` when there is nothing whole to serve and `wait` is off.
    pub async fn start(config: EdgeConfig) -> Result<Self, EdgeError> {
        let EdgeConfig { service, listen, wait, limits } = config;
        let server = HttpServer::bind(&listen, limits).await?;
        let service = Service::new(service, server.telemetry(), server.readiness());
        match service.load().await {
            Ok(()) => {}
            Err(error) if wait => tracing::warn!(%error, "waiting for something to serve"),
            Err(error) => return Err(error.into()),
        }
        Ok(Self { server, service })
    }

    /// The bound address, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What answers.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Serves until `shutdown`, then drains.
    pub async fn serve(self, shutdown: Shutdown) -> DrainReport {
        let follower = tokio::spawn(Arc::clone(&self.service).follow());
        let (service, mut end) = (Arc::clone(&self.service), shutdown.clone());
        let closer = tokio::spawn(async move {
            end.draining().await;
            service.close_streams();
        });
        let report = self.server.serve(self.service.routes(), shutdown).await;
        follower.abort();
        closer.abort();
        report
    }
}

/// The whole life: start, tell `on_ready` the server, serve until SIGTERM or SIGINT, drain. A second signal cuts at once.
///
/// Call it on a multi-thread runtime: ranking up to about 500 µs runs on the threads that also answer `/livez`.
pub async fn run(config: EdgeConfig, on_ready: impl FnOnce(&Edge)) -> Result<DrainReport, EdgeError> {
    let (trigger, shutdown) = shutdown_channel();
    let signals = tokio::spawn(signals::watch().map_err(EdgeError::Signals)?.forward(trigger));
    let edge = tokio::select! {
        started = Edge::start(config) => started?,
        // Asked to stop while loading: nobody was promised an answer.
        () = asked_to_stop(shutdown.clone()) => return Ok(DrainReport { cut: 0 }),
    };
    on_ready(&edge);
    let report = edge.serve(shutdown).await;
    signals.abort();
    tracing::info!(cut = report.cut, "stopped");
    Ok(report)
}

async fn asked_to_stop(mut shutdown: Shutdown) {
    shutdown.draining().await;
}
