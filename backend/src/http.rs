//! The HTTP side: one router, made of the routers of its modules. Handlers are thin; what they do lives elsewhere.

mod body;
mod chat;
mod completions;
mod files;
mod fine_tuning;
mod generation;
pub mod guard;
mod hearth;
mod jobs;
mod models;
mod openapi;
mod pages;
mod sse;
mod system;
mod wrap;

use std::future::Future;

use anyhow::Result;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use tokio::net::TcpListener;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;

/// Most bytes of a JSON body. Uploads have a limit of their own.
const JSON_LIMIT: usize = 16 << 20;

/// The whole service.
pub fn router(app: App) -> Router {
    let (api, document) = OpenApiRouter::with_openapi(openapi::document())
        .merge(models::router())
        .merge(chat::router())
        .merge(completions::router())
        .merge(fine_tuning::router())
        .merge(jobs::router())
        .merge(hearth::router())
        .merge(system::router())
        .layer(DefaultBodyLimit::max(JSON_LIMIT))
        .merge(files::router())
        .split_for_parts();
    api.merge(openapi::router(document))
        .fallback(pages::page)
        .method_not_allowed_fallback(wrap::method_not_allowed)
        .layer(middleware::from_fn_with_state(app.clone(), guard::guard))
        // Outermost, so that refusals too are numbered and counted.
        .layer(middleware::from_fn_with_state(app.clone(), wrap::wrap))
        .with_state(app)
}

/// Serves until `stop`, then lets running answers end.
pub async fn serve(app: App, listener: TcpListener, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    Ok(axum::serve(listener, router(app)).with_graceful_shutdown(stop).await?)
}
