//! `/livez`, `/readyz`, `/metrics`: what a balancer, an orchestrator and Prometheus ask.
//!
//! In: the state of each component, set by its room.  Out: 200 or 503 with every reason.
//! Never here: checks that reach out; a component says how it is when that changes, so that asking costs nothing.
//! Start at [`Readiness`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::Telemetry;

/// How one component is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ComponentState {
    Ready {
        detail: String,
    },
    /// It answers, but not as it should: stays in the balancer, wants a look.
    Degraded {
        detail: String,
    },
    /// It cannot answer.
    NotReady {
        detail: String,
    },
}

/// Whether this process should get requests, and why. Clones share the state.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    is_draining: AtomicBool,
    components: RwLock<BTreeMap<&'static str, ComponentState>>,
}

#[derive(serde::Serialize)]
struct Report<'a> {
    status: &'static str,
    components: &'a BTreeMap<&'static str, ComponentState>,
}

impl Readiness {
    /// Ready, with no components.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the state of a component. Name it before the server starts, or it counts as ready until then.
    pub fn set(&self, component: &'static str, state: ComponentState) {
        self.inner.components.write().unwrap_or_else(PoisonError::into_inner).insert(component, state);
    }

    /// From here on `/readyz` fails, whatever the components say.
    pub(crate) fn start_draining(&self) {
        self.inner.is_draining.store(true, Ordering::Relaxed);
    }

    /// True when no component is `NotReady` and the server is not draining.
    pub fn is_ready(&self) -> bool {
        let components = self.inner.components.read().unwrap_or_else(PoisonError::into_inner);
        let all_answer = !components.values().any(|state| matches!(state, ComponentState::NotReady { .. }));
        all_answer && !self.inner.is_draining.load(Ordering::Relaxed)
    }

    fn report(&self) -> Response {
        let is_ready = self.is_ready();
        let status = match (is_ready, self.inner.is_draining.load(Ordering::Relaxed)) {
            (_, true) => "draining",
            (true, false) => "ready",
            (false, false) => "not_ready",
        };
        let components = self.inner.components.read().unwrap_or_else(PoisonError::into_inner);
        let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        // Texts in a map always have a JSON form.
        let body = serde_json::to_string(&Report { status, components: &components }).unwrap_or_default();
        (code, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// The three routes.
pub(crate) fn routes(readiness: Readiness, telemetry: Telemetry) -> Router {
    Router::new()
        .route(
            "/livez",
            get(|| std::future::ready(([(header::CONTENT_TYPE, "application/json")], r#"{"status":"live"}"#))),
        )
        .route("/readyz", get(move || std::future::ready(readiness.report())))
        .route(
            "/metrics",
            get(move || {
                let text = telemetry.render();
                std::future::ready(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
            }),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_component_that_cannot_answer_fails_readiness_and_degraded_does_not() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        readiness.set("artefact", ComponentState::Degraded { detail: "old".into() });
        assert!(readiness.is_ready());
        readiness.set("feed", ComponentState::NotReady { detail: "none".into() });
        assert!(!readiness.is_ready());
        readiness.set("feed", ComponentState::Ready { detail: "feed 1".into() });
        assert!(readiness.is_ready());
        readiness.start_draining();
        assert!(!readiness.is_ready());
    }
}
