//! `/v1/fine_tuning/jobs`, and the validator.

use axum::Json as Answer;
use axum::extract::{Path, Request, State};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::Stream;
use futures::stream;
use hearth_shared::api::fine_tuning::{Checkpoint, CreateJob, Job, JobEvent, Plan, ValidateRequest};
use hearth_shared::api::jobs::JobKind;
use hearth_shared::api::{ErrorBody, List};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{self, Checked, Json, Page, Params, Unsupported, empty, never};
use super::sse;
use crate::app::App;
use crate::error::{Error, Result};
use crate::keys::hex;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(retrieve))
        .routes(routes!(cancel))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(events))
        .routes(routes!(checkpoints))
        .routes(routes!(validate))
}

impl Checked for CreateJob {
    const UNSUPPORTED: &'static [Unsupported] = &[empty("integrations"), never("method.reinforcement")];
}

impl Checked for ValidateRequest {
    const UNSUPPORTED: &'static [Unsupported] = &[];
}

/// A job, or with `hearth.dry_run` the plan of one.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[serde(untagged)]
enum Made {
    Job(Box<Job>),
    Plan(Box<Plan>),
}

/// Makes a job. An `Idempotency-Key` makes the same request safe to repeat. With `hearth.dry_run` the answer is a plan.
#[utoipa::path(post, path = "/v1/fine_tuning/jobs", tag = "fine-tuning", request_body = CreateJob,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Made), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody)))]
async fn create(State(app): State<App>, request: Request) -> Result<Answer<Made>> {
    let key = Key::of(&request);
    let bytes = body::bytes(request, &app).await?;
    let request: CreateJob = body::parse(&bytes)?;
    if request.hearth.as_ref().is_some_and(|hearth| hearth.dry_run) {
        let plan = app.jobs.plan(&request).await?;
        return Ok(Answer(Made::Plan(plan.into())));
    }
    let hash = hex(&Sha256::digest(&bytes));
    let job = app.jobs.create(request, key.with(&hash)).await?;
    Ok(Answer(Made::Job(job.into())))
}

/// A request's `Idempotency-Key`.
pub(super) struct Key(Option<String>);

impl Key {
    pub(super) fn of(request: &Request) -> Self {
        let key = request.headers().get("idempotency-key").and_then(|key| key.to_str().ok());
        Self(key.filter(|key| !key.is_empty() && key.len() <= 255).map(str::to_owned))
    }

    /// With the hash of the body that it stands for.
    pub(super) fn with<'a>(&'a self, hash: &'a str) -> Option<(&'a str, &'a str)> {
        self.0.as_deref().map(|key| (key, hash))
    }
}

/// Jobs, newest first.
#[utoipa::path(get, path = "/v1/fine_tuning/jobs", tag = "fine-tuning", params(Page), responses((status = 200, body = List<Job>)))]
async fn list(State(app): State<App>, Params(page): Params<Page>) -> Result<Answer<List<Job>>> {
    let kind = Some(JobKind::FineTune);
    let (jobs, more) = app.jobs.list(kind, page.after.as_deref(), page.limit(20, 100)?).await?;
    Ok(Answer(List::new(jobs, more, |job| job.id.clone())))
}

/// One job.
#[utoipa::path(get, path = "/v1/fine_tuning/jobs/{id}", tag = "fine-tuning", params(("id" = String, Path)),
    responses((status = 200, body = Job), (status = 404, body = ErrorBody)))]
async fn retrieve(State(app): State<App>, Path(id): Path<String>) -> Result<Answer<Job>> {
    Ok(Answer(app.jobs.get_tune(&id).await?))
}

/// Ends a job without a result.
#[utoipa::path(post, path = "/v1/fine_tuning/jobs/{id}/cancel", tag = "fine-tuning", params(("id" = String, Path)),
    responses((status = 200, body = Job), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn cancel(State(app): State<App>, Path(id): Path<String>) -> Result<Answer<Job>> {
    app.jobs.get_tune(&id).await?;
    Ok(Answer(app.jobs.cancel(&id).await?))
}

/// Saves a checkpoint and frees the device.
#[utoipa::path(post, path = "/v1/fine_tuning/jobs/{id}/pause", tag = "fine-tuning", params(("id" = String, Path)),
    responses((status = 200, body = Job), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn pause(State(app): State<App>, Path(id): Path<String>) -> Result<Answer<Job>> {
    app.jobs.get_tune(&id).await?;
    Ok(Answer(app.jobs.pause(&id).await?))
}

/// Queues a paused job again; it goes on from its checkpoint.
#[utoipa::path(post, path = "/v1/fine_tuning/jobs/{id}/resume", tag = "fine-tuning", params(("id" = String, Path)),
    responses((status = 200, body = Job), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn resume(State(app): State<App>, Path(id): Path<String>) -> Result<Answer<Job>> {
    app.jobs.get_tune(&id).await?;
    Ok(Answer(app.jobs.resume(&id).await?))
}

/// Events, newest first; with `Accept: text/event-stream` all of them in order and then live, after `Last-Event-ID`.
#[utoipa::path(get, path = "/v1/fine_tuning/jobs/{id}/events", tag = "fine-tuning",
    params(("id" = String, Path), Page, ("Last-Event-ID" = Option<u64>, Header)),
    responses((status = 200, body = List<JobEvent>), (status = 204, description = "The job has ended and every event was sent"),
        (status = 404, body = ErrorBody)))]
async fn events(
    State(app): State<App>,
    Path(id): Path<String>,
    Params(page): Params<Page>,
    headers: HeaderMap,
) -> Result<Response> {
    app.jobs.get_tune(&id).await?;
    job_events(app, id, &page, &headers).await
}

/// A page of a job's events, or the stream of them.
pub(super) async fn job_events(app: App, id: String, page: &Page, headers: &HeaderMap) -> Result<Response> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if !text(ACCEPT.as_str()).is_some_and(|accept| accept.contains("text/event-stream")) {
        let (events, more) = app.jobs.events(&id, page.after.as_deref(), page.limit(20, 100)?).await?;
        return Ok(Answer(List::new(events, more, |event| event.id.clone())).into_response());
    }
    let seq = match text("last-event-id") {
        None => 0,
        Some(last) => last.parse().map_err(|_| Error::invalid("Last-Event-ID", "not the number of an event"))?,
    };
    let job = app.jobs.get(&id).await?;
    if seq > 0 && job.status.ended() && app.jobs.events_since(&id, seq).await?.is_empty() {
        // A browser's EventSource asks again and again otherwise.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(sse::response(follow(app, id, seq)))
}

/// Replays what is stored after `seq`, then sends what comes, until the job has ended or the server stops.
fn follow(app: App, id: String, seq: u64) -> impl Stream<Item = String> + Send {
    let changes = app.jobs.changes();
    let state = Some((app, id, seq, changes, true));
    stream::unfold(state, |state| async move {
        let (app, id, mut seq, mut changes, first) = state?;
        if first {
            return Some(("retry: 3000\n\n".to_owned(), Some((app, id, seq, changes, false))));
        }
        loop {
            changes.borrow_and_update();
            // The state is read before the events: nothing can be added after an end.
            let ended = app.jobs.get(&id).await.map_or(true, |job| job.status.ended());
            let events = app.jobs.events_since(&id, seq).await.unwrap_or_default();
            if let Some(last) = events.last() {
                seq = last.seq;
                let text = events.iter().map(|event| format!("id: {}\n{}", event.seq, sse::data(event))).collect();
                return Some((text, Some((app, id, seq, changes, false))));
            }
            if ended {
                return Some(("event: end\ndata: {}\n\n".to_owned(), None));
            }
            let draining = app.jobs.draining();
            tokio::select! {
                () = draining.cancelled() => return None,
                news = timeout(sse::HEARTBEAT, changes.changed()) => match news {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return None,
                    Err(_) => return Some((": beat\n\n".to_owned(), Some((app, id, seq, changes, false)))),
                },
            }
        }
    })
}

/// Points the run can be taken up from, newest first.
#[utoipa::path(get, path = "/v1/fine_tuning/jobs/{id}/checkpoints", tag = "fine-tuning", params(("id" = String, Path), Page),
    responses((status = 200, body = List<Checkpoint>), (status = 404, body = ErrorBody)))]
async fn checkpoints(
    State(app): State<App>,
    Path(id): Path<String>,
    Params(page): Params<Page>,
) -> Result<Answer<List<Checkpoint>>> {
    app.jobs.get_tune(&id).await?;
    let (rows, more) = app.jobs.checkpoints(&id, page.after.as_deref(), page.limit(10, 100)?).await?;
    Ok(Answer(List::new(rows, more, |checkpoint| checkpoint.id.clone())))
}

/// The validator's report on an uploaded file: the same bytes the page shows before the upload.
#[utoipa::path(post, path = "/v1/validate", tag = "fine-tuning", request_body = ValidateRequest,
    responses((status = 200, body = serde_json::Value, description = "hearth_shared::text::Report"), (status = 404, body = ErrorBody)))]
async fn validate(
    State(app): State<App>,
    Json(request): Json<ValidateRequest>,
) -> Result<Answer<hearth_shared::text::Report>> {
    Ok(Answer(app.jobs.report(&request.file, &request.model, request.max_length).await?))
}
