//! Around every request: its number (`x-request-id`), its line in the log, its place in the metrics.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::app::App;
use crate::error::Error;
use crate::ids;

/// Numbers, times and counts a request.
pub async fn wrap(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = ids::new("req_");
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map_or("other", |path| path.as_str()).to_owned();
    let mut response = next.run(request).await;
    let elapsed = started.elapsed();
    let status = response.status().as_u16();
    app.metrics.answered(method.as_str(), &route, status, elapsed);
    tracing::debug!(%method, path, status, ms = elapsed.as_millis() as u64, id, "request");
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert("x-request-id", value);
    }
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// The path is known and the method is not.
pub async fn method_not_allowed(request: Request) -> Response {
    let message = format!("Not allowed to {} on {}", request.method(), request.uri().path());
    let error = Error::Invalid { message, param: None, code: Some("method_not_allowed") };
    let mut response = error.into_response();
    *response.status_mut() = axum::http::StatusCode::METHOD_NOT_ALLOWED;
    response
}
