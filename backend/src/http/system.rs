//! Health, readiness, metrics.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use hearth_shared::api::system::Health;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::error::Result;
use crate::metrics::Metrics;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz)).routes(routes!(metrics))
}

/// The process lives.
#[utoipa::path(get, path = "/healthz", tag = "system", responses((status = 200, body = Health)))]
async fn healthz() -> Json<Health> {
    Json(Health { status: "ok".into() })
}

/// The server can take work: its database answers, the model that comes with it is there, and it is not stopping.
#[utoipa::path(get, path = "/readyz", tag = "system",
    responses((status = 200, body = Health), (status = 503, body = Health)))]
async fn readyz(State(app): State<App>) -> Response {
    let (status, word) = match (app.jobs.draining().is_cancelled(), app.db.ping().await) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "no database"),
        (false, true) if !app.settled.load(Ordering::Acquire) => {
            (StatusCode::SERVICE_UNAVAILABLE, "registering models")
        }
        (false, true) => (StatusCode::OK, "ok"),
    };
    (status, Json(Health { status: word.into() })).into_response()
}

/// Counters in the text format of OpenMetrics, which Prometheus reads.
#[utoipa::path(get, path = "/metrics", tag = "system", responses((status = 200, body = String)))]
async fn metrics(State(app): State<App>) -> Result<Response> {
    let text = Metrics::render(&app).await?;
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}
