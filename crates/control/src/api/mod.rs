//! The JSON API of what people decide, under `/api/v1`, and its description as OpenAPI 3.1.
//!
//! In: a [`Control`], an [`Analyst`], the directory of snapshots.  Out: routes for `http_server`; the document.
//! Life of a request: a bearer token → an [`crate::Actor`] → one call of [`Control`] → after a change, the snapshot that flags are answered from →
//! JSON. Whatever goes wrong is a problem (RFC 9457).
//! Never here: rules (they are the room's), words for people, HTML.
//! Start at [`Api::routes`]; the document is [`openapi`].

mod analyst;
mod audit;
mod auth;
mod experiments;
mod input;
mod metrics;
mod plans;
mod problem;
mod qa;
mod schema;
mod things;
mod tokens;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use chrono::Utc;
use tokio::sync::Semaphore;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;

use crate::{Control, ControlError, Published};

pub use analyst::{Analyst, MetricCard};
pub use problem::Problem;

/// Entries of the allow-list end by themselves: nobody changes anything, and still another snapshot is due.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(60);

/// What the routes share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    control: Control,
    analyst: Arc<dyn Analyst>,
    /// Where snapshots are put for whoever answers flags.
    snapshots: PathBuf,
    /// Simulations that may still begin.
    simulations: Arc<Semaphore>,
}

/// A simulation keeps one processor busy for up to a second: more at once would only make each of them slower, and everything else.
fn most_simulations() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Montauk",
        description = "What people decide: experiments, flags, layers, holdouts, people, tokens, and who decided what when. \
                       Every operation may answer with a problem (RFC 9457): `code` is stable, `next` says what to do.",
    ),
    modifiers(&BearerToken),
    security(("token" = [])),
    tags(
        (name = "experiments", description = "From draft to decision."),
        (name = "things", description = "What experiments stand on: flags, layers, holdouts, groups, connections of SDKs; people and policies."),
        (name = "metrics", description = "What experiments are judged by."),
        (name = "access", description = "Tokens, and whose this one is."),
        (name = "audit", description = "Who changed what, when and why."),
    )
)]
struct Document;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("`mtk_…`, made with `montauk token create`"));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme.build()));
    }
}

fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(experiments::router())
        .merge(qa::router())
        .merge(plans::router())
        .merge(metrics::router())
        .merge(things::router())
        .merge(tokens::router())
        .merge(audit::router())
}

/// The API as OpenAPI 3.1.
pub fn openapi() -> utoipa::openapi::OpenApi {
    router().into_openapi()
}

impl Api {
    /// Routes over a store; `snapshots` is `.montauk/experiments` of a project.
    pub fn new(control: Control, analyst: Arc<dyn Analyst>, snapshots: PathBuf) -> Self {
        let simulations = Arc::new(Semaphore::new(most_simulations()));
        Self { control, analyst, snapshots, simulations }
    }

    /// `/api/v1/…` and `/api/v1/openapi.json`.
    pub fn routes(self) -> Router {
        let (router, document) = router().split_for_parts();
        let document: Arc<str> = document.to_pretty_json().unwrap_or_default().into();
        let show = move || {
            let document = Arc::clone(&document);
            async move { ([(header::CONTENT_TYPE, "application/json")], document.to_string()).into_response() }
        };
        router.with_state(self).route("/api/v1/openapi.json", get(show))
    }

    /// Puts a new snapshot if what is served has changed.
    pub async fn publish(&self) -> Result<Published, ControlError> {
        self.control.publish_snapshot(&self.snapshots, Utc::now()).await
    }

    /// Publishes now and then for ever: forced variants expire by themselves. Give it a task of its own, and abort that to end it.
    pub async fn keep_published(self) {
        loop {
            if let Err(error) = self.publish().await {
                tracing::error!(%error, "the snapshot of experiments was not published");
            }
            tokio::time::sleep(PUBLISH_INTERVAL).await;
        }
    }

    /// After a change. The change stands whatever comes of this: the next publication completes it.
    async fn publish_change(&self) {
        if let Err(error) = self.publish().await {
            tracing::error!(%error, "a change is stored and its snapshot is not published yet");
        }
    }
}
