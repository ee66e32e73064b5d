//! The page's files, from inside the program. Hashed names never change and are kept for ever; the rest is asked for again
//! with its ETag.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};

use crate::error::Error;
use crate::page::{self, Asset};

/// First words of the API's paths behind `/v1`, which clients with a wrong base address ask for.
const API: [&str; 6] = ["chat", "completions", "files", "fine_tuning", "jobs", "models"];

/// Whatever no route took: a file of the page, the page itself for one of its views, or nothing.
pub async fn page(request: Request) -> Response {
    let path = request.uri().path();
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    // The page brings models of its own, and a folder of that name.
    let misses_version = API.contains(&path.split('/').nth(1).unwrap_or_default()) && page::get(path).is_none();
    if !reading || misses_version || path.starts_with("/v1/") {
        let hint =
            if misses_version { format!(" The API's paths begin with /v1: try /v1{path}.") } else { String::new() };
        return Error::NotFound {
            message: format!("Unknown request URL: {} {path}.{hint}", request.method()),
            param: None,
            code: "unknown_url",
        }
        .into_response();
    }
    let mut response = match page::get(path).or_else(|| view(&request)) {
        Some(asset) => file(asset, request.headers()),
        None if page::all().is_empty() && view_wanted(&request) => {
            ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "no-cache")], page::NOTICE).into_response()
        }
        None => (StatusCode::NOT_FOUND, "not found").into_response(),
    };
    isolate(response.headers_mut());
    response
}

/// Shared memory between page and worker needs a page that lets nobody else in. Only the page itself may have itself in a frame: the
/// learning path shows the labs so.
fn isolate(headers: &mut HeaderMap) {
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-embedder-policy", HeaderValue::from_static("require-corp"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    headers.insert("x-frame-options", HeaderValue::from_static("SAMEORIGIN"));
    headers.insert("content-security-policy", HeaderValue::from_static("frame-ancestors 'self'"));
}

/// The page's own router takes paths such as `/lab/attention`.
fn view(request: &Request) -> Option<&'static Asset> {
    view_wanted(request).then(|| page::get("/")).flatten()
}

fn view_wanted(request: &Request) -> bool {
    let html = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let name = request.uri().path().rsplit('/').next().unwrap_or_default();
    !name.contains('.') && html.is_none_or(|accept| accept.contains("text/html") || accept.contains("*/*"))
}

fn file(asset: &'static Asset, request: &HeaderMap) -> Response {
    let text = |name| request.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let keep = if asset.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers =
        [(ETAG, asset.etag), (CACHE_CONTROL, keep), (VARY, "accept-encoding"), (CONTENT_TYPE, asset.content_type)];
    if text(IF_NONE_MATCH).split(',').any(|etag| etag.trim().trim_start_matches("W/") == asset.etag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let brotli = text(ACCEPT_ENCODING).split(',').any(|coding| coding.split(';').next().map(str::trim) == Some("br"));
    if brotli {
        return (headers, [(CONTENT_ENCODING, "br")], Body::from(asset.brotli)).into_response();
    }
    match asset.decoded() {
        Ok(bytes) => (headers, bytes).into_response(),
        Err(error) => Error::from(error).into_response(),
    }
}
