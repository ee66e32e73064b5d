//! Server-sent events as a body: lines of text from a stream, and a comment while there is nothing to say.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use futures::{Stream, StreamExt as _};

/// Proxies close a connection that is silent for long.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// An answer of type `text/event-stream`.
pub fn response(lines: impl Stream<Item = String> + Send + 'static) -> Response {
    let body = Body::from_stream(lines.map(|text| Ok::<_, Infallible>(Bytes::from(text))));
    let headers = [(CONTENT_TYPE, "text/event-stream; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    // Buffering proxies would hold tokens back.
    (headers, [("x-accel-buffering", "no")], body).into_response()
}

/// One `data:` event. JSON has no raw line breaks, so it is one line.
pub fn data(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_string(value).unwrap_or_else(|_| "null".into());
    format!("data: {json}\n\n")
}
