//! Counters for Prometheus. What other parts count for themselves is read when the page of metrics is asked for.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::app::App;
use crate::system;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Route {
    route: String,
}

/// What the HTTP layer counts.
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    seconds: Family<Route, Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("hearth");
        let requests = Family::default();
        let seconds =
            Family::new_with_constructor((|| Histogram::new(exponential_buckets(0.001, 4.0, 9))) as fn() -> _);
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register("http_request_seconds", "Seconds to the first byte of the answer", seconds.clone());
        Self { registry, requests, seconds }
    }
}

impl Metrics {
    /// `route` is the route's pattern, not the path: paths hold ids without number.
    pub fn answered(&self, method: &str, route: &str, status: u16, elapsed: Duration) {
        self.requests.get_or_create(&Labels { method: method.to_owned(), route: route.to_owned(), status }).inc();
        self.seconds.get_or_create(&Route { route: route.to_owned() }).observe(elapsed.as_secs_f64());
    }

    /// The page of metrics, in the OpenMetrics text format.
    pub async fn render(app: &App) -> Result<String> {
        let mut text = String::new();
        encode(&mut text, &app.metrics.registry)?;
        let end = text.rfind("# EOF").unwrap_or(text.len());
        text.truncate(end);
        let stats = &app.serving.stats;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let mut counter = |name: &str, help: &str, value: f64| {
            let _ = writeln!(
                text,
                "# HELP hearth_{name} {help}\n# TYPE hearth_{name} counter\nhearth_{name}_total {value}"
            );
        };
        counter("prompt_tokens", "Prompt tokens read", read(&stats.prompt_tokens));
        counter("completion_tokens", "Tokens generated", read(&stats.completion_tokens));
        counter("abandoned_generations", "Generations whose client left", read(&stats.abandoned));
        let mut gauge = |name: &str, help: &str, value: f64| {
            let _ = writeln!(text, "# HELP hearth_{name} {help}\n# TYPE hearth_{name} gauge\nhearth_{name} {value}");
        };
        gauge("active_generations", "Generations under way", read(&stats.active));
        gauge("resident_bytes", "Memory of the server process", system::memory().process.unwrap_or(0) as f64);
        gauge("uptime_seconds", "Seconds since the start", app.started.elapsed().as_secs_f64());
        let _ = writeln!(text, "# HELP hearth_jobs Jobs by state\n# TYPE hearth_jobs gauge");
        let counts = app.jobs.counts().await.map_err(anyhow::Error::from)?;
        for status in hearth_shared::api::fine_tuning::JobStatus::ALL {
            let word = status.as_str();
            let count = counts.get(word).copied().unwrap_or(0);
            let _ = writeln!(text, "hearth_jobs{{status=\"{word}\"}} {count}");
        }
        text.push_str("# EOF\n");
        Ok(text)
    }
}
