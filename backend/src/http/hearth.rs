//! `/v1/hearth`: what the page needs beyond OpenAI's API.

use anyhow::Context as _;
use axum::Json as Answer;
use axum::extract::{Path, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hearth_shared::api::models::{ImportRequest, Model, Pull, PullRequest, Pullable};
use hearth_shared::api::system::SystemInfo;
use hearth_shared::api::{ErrorBody, List};
use hearth_shared::plan::ModelShape;
use hearth_shared::plan::devices::DeviceSheet;
use tower::ServiceExt as _;
use tower_http::services::ServeFile;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Checked, Json, Unsupported};
use super::generation;
use crate::app::App;
use crate::error::{Error, Result};
use crate::jobs::inspect::Eye;
use crate::{page, registry, system};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(info))
        .routes(routes!(device))
        .routes(routes!(shape))
        .routes(routes!(pullable))
        .routes(routes!(pulls, pull))
        .routes(routes!(progress, cancel_pull))
        .routes(routes!(import))
        .routes(routes!(checkpoint))
        .routes(routes!(file))
}

impl Checked for PullRequest {
    const UNSUPPORTED: &'static [Unsupported] = &[];
}

impl Checked for ImportRequest {
    const UNSUPPORTED: &'static [Unsupported] = &[];
}

/// What is on this machine.
#[utoipa::path(get, path = "/v1/hearth/system", tag = "hearth", responses((status = 200, body = SystemInfo)))]
async fn info(State(app): State<App>) -> Result<Answer<SystemInfo>> {
    let entries = app.registry.list().await?;
    let loaded = entries
        .iter()
        .filter(|entry| app.registry.location(entry).is_ok_and(|location| app.serving.stats.is_loaded(&location)));
    let counts = app.jobs.counts().await?;
    let count = |word: &str| counts.get(word).copied().unwrap_or(0) as u64;
    Ok(Answer(SystemInfo {
        version: env!("CARGO_PKG_VERSION").into(),
        build: page::build_id().map(str::to_owned),
        device: app.serving.stats.device().ok_or_else(|| Error::Unavailable("the device is being opened".into()))?,
        memory: system::memory(),
        disk_available: system::disk_available(&app.config.data_dir),
        models: entries.len() as u64,
        loaded_models: loaded.map(|entry| entry.id.clone()).collect(),
        active_generations: app.serving.stats.active.load(std::sync::atomic::Ordering::Relaxed),
        jobs_running: count("running"),
        jobs_queued: count("queued") + count("validating_files"),
        uptime_seconds: app.started.elapsed().as_secs(),
        max_upload_bytes: app.config.max_upload_bytes,
    }))
}

/// What this machine's device delivers, for plans. The first call measures it, in a few tenths of a second.
#[utoipa::path(get, path = "/v1/hearth/device", tag = "hearth", responses((status = 200, body = DeviceSheet)))]
async fn device(State(app): State<App>) -> Result<Answer<DeviceSheet>> {
    app.serving.sheet().await.map(Answer).map_err(generation::broken)
}

/// A model as the planner's arithmetic sees it, by the model's content hash.
#[utoipa::path(get, path = "/v1/hearth/shapes/{hash}", tag = "hearth", params(("hash" = String, Path)),
    responses((status = 200, body = ModelShape), (status = 404, body = ErrorBody)))]
async fn shape(State(app): State<App>, Path(hash): Path<String>) -> Result<Answer<ModelShape>> {
    let entries = app.registry.list().await?;
    let entry = entries.iter().find(|entry| entry.hash == hash).ok_or_else(|| Error::model_not_found(&hash))?;
    let weights = app.registry.location(entry)?.weights;
    let shape = tokio::task::spawn_blocking(move || Eye::open(&weights).map(|eye| eye.shape()));
    Ok(Answer(shape.await.context("the reader of the configuration stopped")??))
}

/// Models that can be pulled.
#[utoipa::path(get, path = "/v1/hearth/pullable", tag = "hearth", responses((status = 200, body = List<Pullable>)))]
async fn pullable(State(app): State<App>) -> Result<Answer<List<Pullable>>> {
    let mut models = Vec::new();
    for known in registry::pull::CATALOGUE {
        let present = app.registry.get(known.name).await?.is_some();
        models.push(known.object(present));
    }
    Ok(Answer(List::new(models, false, |model| model.name.clone())))
}

/// Downloads of this server, running and ended.
#[utoipa::path(get, path = "/v1/hearth/pulls", tag = "hearth", responses((status = 200, body = List<Pull>)))]
async fn pulls(State(app): State<App>) -> Answer<List<Pull>> {
    Answer(List::new(app.pulls.list(), false, |pull| pull.name.clone()))
}

/// Starts a download, or finds the one under way.
#[utoipa::path(post, path = "/v1/hearth/pulls", tag = "hearth", request_body = PullRequest,
    responses((status = 200, body = Pull), (status = 404, body = ErrorBody)))]
async fn pull(State(app): State<App>, Json(request): Json<PullRequest>) -> Result<Answer<Pull>> {
    let known = registry::pull::known(&request.name).ok_or_else(|| Error::NotFound {
        message: format!("No model `{}` to pull; GET /v1/hearth/pullable lists them.", request.name),
        param: Some("name"),
        code: "model_not_found",
    })?;
    Ok(Answer(app.pulls.start(known)))
}

/// How far a download is.
#[utoipa::path(get, path = "/v1/hearth/pulls/{name}", tag = "hearth", params(("name" = String, Path)),
    responses((status = 200, body = Pull), (status = 404, body = ErrorBody)))]
async fn progress(State(app): State<App>, Path(name): Path<String>) -> Result<Answer<Pull>> {
    app.pulls.get(&name).map(Answer).ok_or_else(|| no_pull(&name))
}

/// Stops a download and removes what came so far.
#[utoipa::path(delete, path = "/v1/hearth/pulls/{name}", tag = "hearth", params(("name" = String, Path)),
    responses((status = 200, body = Pull), (status = 404, body = ErrorBody)))]
async fn cancel_pull(State(app): State<App>, Path(name): Path<String>) -> Result<Answer<Pull>> {
    app.pulls.cancel(&name).await.map(Answer).ok_or_else(|| no_pull(&name))
}

fn no_pull(name: &str) -> Error {
    Error::NotFound { message: format!("No download of `{name}`."), param: Some("name"), code: "pull_not_found" }
}

/// Takes in a folder or GGUF file on the server's own disk.
#[utoipa::path(post, path = "/v1/hearth/imports", tag = "hearth", request_body = ImportRequest,
    responses((status = 200, body = Model), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
async fn import(State(app): State<App>, Json(request): Json<ImportRequest>) -> Result<Answer<Model>> {
    // A path is the business of whoever sits at the machine.
    if !app.config.is_loopback() {
        return Err(Error::Forbidden {
            message: "Import on the server's own machine: `hearth model import PATH --name NAME`.".into(),
            code: "local_only",
        });
    }
    let entry = registry::import::import(&app.registry, request.path.as_ref(), &request.name)
        .await
        .map_err(|error| Error::invalid("path", format!("{error:#}")))?;
    Ok(Answer(app.registry.object(&entry, false)))
}

/// A training checkpoint as a model that answers under its name and is not listed. Of whole weights it is made now, unless it was before;
/// that takes about as long as loading the model twice. An adapter's checkpoint is a model already.
#[utoipa::path(post, path = "/v1/hearth/jobs/{id}/checkpoints/{step}/model", tag = "hearth",
    params(("id" = String, Path), ("step" = u64, Path)),
    responses((status = 200, body = Model), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 503, body = ErrorBody)))]
async fn checkpoint(State(app): State<App>, Path((id, step)): Path<(String, String)>) -> Result<Answer<Model>> {
    let step = step
        .parse::<u64>()
        .map_err(|_| Error::invalid("step", format!("`{step}` is no step: give a whole number, such as 100.")))?;
    let entry = app.jobs.checkpoint_model(&id, step).await?;
    let loaded = app.registry.location(&entry).is_ok_and(|location| app.serving.stats.is_loaded(&location));
    Ok(Answer(app.registry.object(&entry, loaded)))
}

/// A file of a model, by the model's content hash: what the worker in the tab loads, and how an adapter is downloaded.
/// Takes `Range`.
#[utoipa::path(get, path = "/v1/hearth/files/{hash}/{name}", tag = "hearth",
    params(("hash" = String, Path), ("name" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream", body = String), (status = 404, body = ErrorBody)))]
async fn file(
    State(app): State<App>,
    Path((hash, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response> {
    let missing =
        || Error::NotFound { message: format!("No file {name} in model {hash}."), param: None, code: "file_not_found" };
    let plain =
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) && !name.starts_with('.');
    let folder = app.registry.folder(&hash).map_err(|_| missing())?;
    if !plain {
        return Err(missing());
    }
    let answer = ServeFile::new(folder.join(&name)).oneshot(request).await;
    let mut response = answer.unwrap_or_else(|never| match never {}).into_response();
    if response.status() == StatusCode::NOT_FOUND {
        return Err(missing());
    }
    // The hash names the content, so it never changes.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable"));
    Ok(response)
}
