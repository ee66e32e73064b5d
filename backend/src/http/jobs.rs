//! `/v1/jobs`: every kind of job under one life cycle. Fine-tunes are made under `/v1/fine_tuning/jobs` and can be followed here.

use axum::Json as Answer;
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use hearth_shared::api::fine_tuning::{Job, JobEvent};
use hearth_shared::api::jobs::{CreateWork, JobKind, PretrainPlan};
use hearth_shared::api::{ErrorBody, List};
use hearth_shared::spec::Tuning;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{self, Checked, Page, Params, Unsupported};
use super::fine_tuning::{Key, job_events};
use crate::app::App;
use crate::error::{Error, Result};
use crate::jobs::works::refuse_tuning;
use crate::keys::hex;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(retrieve))
        .routes(routes!(cancel))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(events))
}

impl Checked for CreateWork {
    const UNSUPPORTED: &'static [Unsupported] = &[];

    fn refuse(body: &Value) -> Result<()> {
        Ok(refuse_tuning(body)?)
    }
}

/// A job, or with `dry_run` the plan of one.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[serde(untagged)]
enum MadeWork {
    Job(Box<Job>),
    Plan(Box<PretrainPlan>),
}

#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// `fine_tune`, `pretrain` or `tokenizer`; all if absent.
    kind: Option<String>,
    /// The last id of the page before.
    after: Option<String>,
    /// 1 to 100; 20 if absent.
    limit: Option<u32>,
}

/// Makes a job. An `Idempotency-Key` makes the same request safe to repeat. With `dry_run` the answer is a plan.
#[utoipa::path(post, path = "/v1/jobs", tag = "jobs", request_body = CreateWork,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = MadeWork), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
async fn create(State(app): State<App>, request: Request) -> Result<Answer<MadeWork>> {
    let key = Key::of(&request);
    let bytes = body::bytes(request, &app).await?;
    let mut request: CreateWork = body::parse(&bytes)?;
    if let CreateWork::Pretrain(asked) = &mut request {
        // No choice here, and said so in the stored request: it can be posted again.
        asked.spec.options.tuning = Tuning::Full;
    }
    if let CreateWork::Pretrain(asked) = &request
        && asked.dry_run
    {
        let plan = app.jobs.plan_pretrain(asked).await?;
        return Ok(Answer(MadeWork::Plan(plan.into())));
    }
    let hash = hex(&Sha256::digest(&bytes));
    let job = app.jobs.create_work(request, key.with(&hash)).await?;
    Ok(Answer(MadeWork::Job(job.into())))
}

/// Jobs, newest first.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", params(Wanted), responses((status = 200, body = List<Job>)))]
async fn list(State(app): State<App>, Params(wanted): Params<Wanted>) -> Result<Answer<List<Job>>> {
    let Wanted { kind, after, limit } = wanted;
    let kind = kind
        .map(|word| {
            let known = JobKind::ALL.map(JobKind::as_str).join(", ");
            JobKind::parse(&word).ok_or_else(|| Error::invalid("kind", format!("`{word}` is none of: {known}")))
        })
        .transpose()?;
    let page = Page { after, limit };
    let (jobs, more) = app.jobs.list(kind, page.after.as_deref(), page.limit(20, 100)?).await?;
    Ok(Answer(List::new(jobs, more, |job| job.id.clone())))
}

/// One job.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = Job), (status = 404, body = ErrorBody)))]
async fn retrieve(State(app): State<App>, Path(id): Path<String>) -> Result<Answer<Job>> {
    Ok(Answer(app.jobs.get(&id).await?))
}

/// Ends a job without a result.
#[utoipa::path(post, path = "/v1/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = Job), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn cancel(State(app): State<App>, Path(id): Path<String>) -> Result<Answer<Job>> {
    Ok(Answer(app.jobs.cancel(&id).await?))
}

/// Saves what is done and frees the device.
#[utoipa::path(post, path = "/v1/jobs/{id}/pause", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = Job), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn pause(State(app): State<App>, Path(id): Path<String>) -> Result<Answer<Job>> {
    Ok(Answer(app.jobs.pause(&id).await?))
}

/// Queues a paused job again; it goes on where it was.
#[utoipa::path(post, path = "/v1/jobs/{id}/resume", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = Job), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn resume(State(app): State<App>, Path(id): Path<String>) -> Result<Answer<Job>> {
    Ok(Answer(app.jobs.resume(&id).await?))
}

/// Events, newest first; with `Accept: text/event-stream` all of them in order and then live, after `Last-Event-ID`.
#[utoipa::path(get, path = "/v1/jobs/{id}/events", tag = "jobs",
    params(("id" = String, Path), Page, ("Last-Event-ID" = Option<u64>, Header)),
    responses((status = 200, body = List<JobEvent>), (status = 204, description = "The job has ended and every event was sent"),
        (status = 404, body = ErrorBody)))]
async fn events(
    State(app): State<App>,
    Path(id): Path<String>,
    Params(page): Params<Page>,
    headers: HeaderMap,
) -> Result<Response> {
    job_events(app, id, &page, &headers).await
}
