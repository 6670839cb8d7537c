//! The counters of one server, in Prometheus' text format. No process-wide recorder: each server has its own.
//!
//! In: names, labels, values.  Out: handles to count with, and the text of `/metrics`.
//! Never here: pushing figures anywhere, or a second listener; whoever wants them reads `/metrics`.
//! Start at [`Telemetry`].

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// Upper bounds in seconds: 100 µs (a cheap answer) to 10 s (the request timeout), three per decade.
const LATENCY_BUCKETS_S: [f64; 16] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// Counts, and renders what was counted. Clones count together.
#[derive(Debug, Clone)]
pub struct Telemetry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// Handles by route, method and status: registering one costs several allocations, finding it here none.
    routes: RwLock<HashMap<Arc<str>, HashMap<Series, RouteFigures>>>,
}

/// Method and status.
type Series = (&'static str, u16);

#[derive(Debug, Clone)]
struct RouteFigures {
    requests: Counter,
    seconds: Histogram,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry {
    /// An empty set of counters.
    pub fn new() -> Self {
        // `set_buckets` fails for an empty list only, and the list is a constant.
        let builder = PrometheusBuilder::new();
        let recorder = match builder.set_buckets(&LATENCY_BUCKETS_S) {
            Ok(builder) => builder.build_recorder(),
            Err(_) => PrometheusBuilder::new().build_recorder(),
        };
        let handle = recorder.handle();
        recorder.describe_counter(
            "montauk_http_requests_total".into(),
            None,
            "Answers by route, method, status.".into(),
        );
        recorder.describe_histogram(
            "montauk_http_request_seconds".into(),
            None,
            "From the end of the request head to the start of the answer.".into(),
        );
        Self { inner: Arc::new(Inner { recorder, handle, routes: RwLock::default() }) }
    }

    /// A counter; the same name and labels give the same counter. `help` is shown once per name.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: &[(&'static str, String)]) -> Counter {
        self.inner.recorder.describe_counter(name.into(), None, help.into());
        self.inner.recorder.register_counter(&key(name, labels), &METADATA)
    }

    /// A gauge; the same name and labels give the same gauge.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[(&'static str, String)]) -> Gauge {
        self.inner.recorder.describe_gauge(name.into(), None, help.into());
        self.inner.recorder.register_gauge(&key(name, labels), &METADATA)
    }

    /// Everything counted so far.
    pub fn render(&self) -> String {
        self.inner.handle.render()
    }

    /// Moves raw latencies into their buckets; to be called every few seconds, else they pile up until `/metrics` is read.
    pub(crate) fn upkeep(&self) {
        self.inner.handle.run_upkeep();
    }

    /// Counts one answer. `route` is the pattern, never the path: a path would make a series per user.
    pub(crate) fn record(&self, route: &str, method: &Method, status: StatusCode, elapsed: Duration) {
        let series = (method_label(method), status.as_u16());
        let known = {
            let routes = self.inner.routes.read().unwrap_or_else(PoisonError::into_inner);
            routes.get(route).and_then(|by_series| by_series.get(&series)).cloned()
        };
        let figures = known.unwrap_or_else(|| self.register(route, series));
        figures.requests.increment(1);
        figures.seconds.record(elapsed.as_secs_f64());
    }

    fn register(&self, route: &str, (method, status): Series) -> RouteFigures {
        let by_route = [("route", route.to_owned()), ("method", method.to_owned())];
        let mut by_status = by_route.to_vec();
        by_status.push(("status", status.to_string()));
        let recorder = &self.inner.recorder;
        let figures = RouteFigures {
            requests: recorder.register_counter(&key("montauk_http_requests_total", &by_status), &METADATA),
            seconds: recorder.register_histogram(&key("montauk_http_request_seconds", &by_route), &METADATA),
        };
        let mut routes = self.inner.routes.write().unwrap_or_else(PoisonError::into_inner);
        routes.entry(route.into()).or_default().insert((method, status), figures.clone());
        figures
    }
}

fn key(name: &'static str, labels: &[(&'static str, String)]) -> Key {
    Key::from_parts(name, labels.iter().map(|(key, value)| Label::new(*key, value.clone())).collect::<Vec<_>>())
}

/// Methods that clients invent share one series.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_per_route_method_and_status() {
        let telemetry = Telemetry::new();
        for status in [StatusCode::OK, StatusCode::OK, StatusCode::NOT_FOUND] {
            telemetry.record("/v1/things/{id}", &Method::GET, status, Duration::from_millis(3));
        }
        telemetry.counter("montauk_swaps_total", "Swaps.", &[]).increment(2);
        let text = telemetry.render();
        for line in [
            r#"montauk_http_requests_total{route="/v1/things/{id}",method="GET",status="200"} 2"#,
            r#"montauk_http_requests_total{route="/v1/things/{id}",method="GET",status="404"} 1"#,
            r#"montauk_http_request_seconds_bucket{route="/v1/things/{id}",method="GET",le="0.005"} 3"#,
            r#"montauk_http_request_seconds_count{route="/v1/things/{id}",method="GET"} 3"#,
            "montauk_swaps_total 2",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
