//! `/openapi.json`, made from the handlers and types themselves.

use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

use crate::app::App;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Hearth",
        description = "OpenAI's API for models, completions, files and fine-tuning, and Hearth's own beside it."
    ),
    components(schemas(
        hearth_shared::api::ErrorBody,
        hearth_shared::api::chat::ChatChunk,
        hearth_shared::event::RunEvent,
    ))
)]
struct Head;

/// The document before the routers add their paths.
pub fn document() -> Document {
    Head::openapi()
}

/// Serves the finished document.
pub fn router(mut document: Document) -> Router<App> {
    // The router's `{*id}` takes ids with slashes; OpenAPI knows `{id}` only.
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    Router::new().route("/openapi.json", get(move || std::future::ready(Json(document.clone()))))
}
