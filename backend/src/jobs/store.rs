//! The rows of jobs, their events and checkpoints.

use anyhow::Result;
use hearth_shared::api::fine_tuning::{Checkpoint, CheckpointMetrics, JobStatus};
use hearth_shared::api::jobs::JobKind;
use sqlx::{Sqlite, Transaction};

use crate::db::{Db, from_row};
use crate::ids;

/// What a job is when it is made.
pub struct NewJob<'a> {
    pub id: &'a str,
    pub kind: JobKind,
    /// The request as JSON.
    pub request: &'a str,
    pub model_hash: &'a str,
    pub seed: i64,
}

/// A job's row; texts ending in JSON are read by [`super::view`].
#[derive(Clone, Debug)]
pub struct Row {
    pub id: String,
    pub created_at: i64,
    pub finished_at: Option<i64>,
    pub status: String,
    pub request: String,
    pub model_hash: String,
    pub seed: i64,
    pub spec: Option<String>,
    pub report: Option<String>,
    pub validation_report: Option<String>,
    pub error: Option<String>,
    pub fine_tuned_model: Option<String>,
    pub result_file: Option<String>,
    pub trained_tokens: Option<i64>,
    pub step: i64,
    pub total_steps: Option<i64>,
    pub estimated_finish: Option<i64>,
    pub attempt: i64,
    pub planned: Option<String>,
    pub measured: Option<String>,
    pub kind: String,
}

from_row!(Row {
    id,
    created_at,
    finished_at,
    status,
    request,
    model_hash,
    seed,
    spec,
    report,
    validation_report,
    error,
    fine_tuned_model,
    result_file,
    trained_tokens,
    step,
    total_steps,
    estimated_finish,
    attempt,
    planned,
    measured,
    kind,
});

/// An event's row.
#[derive(Clone, Debug)]
pub struct EventRow {
    pub job: String,
    pub seq: i64,
    pub created_at: i64,
    pub level: String,
    pub kind: String,
    pub message: String,
    pub data: Option<String>,
}

from_row!(EventRow { job, seq, created_at, level, kind, message, data });

/// An event to be numbered; a second one with the same key falls away.
#[derive(Clone, Debug, Default)]
pub struct NewEvent {
    pub key: String,
    pub at: i64,
    pub level: &'static str,
    pub kind: &'static str,
    pub message: String,
    pub data: Option<String>,
    /// Where the run stands, for events that say so.
    pub progress: Option<Progress>,
}

#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub step: i64,
    pub total_steps: Option<i64>,
    pub trained_tokens: i64,
    pub estimated_finish: Option<i64>,
}

/// Makes the job. With an idempotency key that was used before, the earlier job's id comes back, or the hash of the other
/// body that used it.
pub async fn insert(db: &Db, job: &NewJob<'_>, idempotency: Option<(&str, &str)>) -> Result<Inserted> {
    let mut write = db.write().await?;
    if let Some((key, body_hash)) = idempotency {
        let earlier: Option<(String, String)> = sqlx::query_as("SELECT job, body_hash FROM idempotency WHERE key = ?")
            .bind(key)
            .fetch_optional(&mut *write)
            .await?;
        if let Some((id, hash)) = earlier {
            return Ok(if hash == body_hash { Inserted::Before(id) } else { Inserted::KeyTaken });
        }
        sqlx::query("INSERT INTO idempotency (key, body_hash, job, created_at) VALUES (?, ?, ?, ?)")
            .bind(key)
            .bind(body_hash)
            .bind(job.id)
            .bind(ids::now())
            .execute(&mut *write)
            .await?;
    }
    sqlx::query(
        "INSERT INTO jobs (id, kind, created_at, status, request, model_hash, seed) \
         VALUES (?, ?, ?, 'validating_files', ?, ?, ?)",
    )
    .bind(job.id)
    .bind(job.kind.as_str())
    .bind(ids::now())
    .bind(job.request)
    .bind(job.model_hash)
    .bind(job.seed)
    .execute(&mut *write)
    .await?;
    write.commit().await?;
    Ok(Inserted::New)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    New,
    /// The same request made this job before.
    Before(String),
    /// Another request used the key.
    KeyTaken,
}

pub async fn get(db: &Db, id: &str) -> Result<Option<Row>> {
    Ok(sqlx::query_as("SELECT * FROM jobs WHERE id = ?").bind(id).fetch_optional(db.pool()).await?)
}

/// Newest first; `after` is the last id of the page before. `kind`: none lists all.
pub async fn list(db: &Db, kind: Option<JobKind>, after: Option<&str>, limit: u32) -> Result<(Vec<Row>, bool)> {
    let mut rows: Vec<Row> = sqlx::query_as(
        "SELECT * FROM jobs WHERE (?1 IS NULL OR number < (SELECT number FROM jobs WHERE id = ?1)) \
         AND (?3 IS NULL OR kind = ?3) ORDER BY number DESC LIMIT ?2",
    )
    .bind(after)
    .bind(i64::from(limit) + 1)
    .bind(kind.map(JobKind::as_str))
    .fetch_all(db.pool())
    .await?;
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    Ok((rows, has_more))
}

/// Ids in the given state, oldest first.
pub async fn ids_in(db: &Db, status: &str) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar("SELECT id FROM jobs WHERE status = ? ORDER BY number")
        .bind(status)
        .fetch_all(db.pool())
        .await?)
}

/// How many jobs are in each state.
pub async fn counts(db: &Db) -> Result<Vec<(String, i64)>> {
    Ok(sqlx::query_as("SELECT status, COUNT(*) FROM jobs GROUP BY status").fetch_all(db.pool()).await?)
}

/// Jobs that have not ended and use the model.
pub async fn using_model(db: &Db, hash: &str) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT id FROM jobs WHERE model_hash = ? AND status NOT IN ('succeeded', 'failed', 'cancelled')",
    )
    .bind(hash)
    .fetch_all(db.pool())
    .await?)
}

/// What the validator found and, if the data is good, what was decided; each as JSON.
#[derive(Clone, Debug, Default)]
pub struct Validated {
    pub spec: Option<String>,
    pub planned: Option<String>,
    pub report: Option<String>,
    pub validation_report: Option<String>,
}

pub async fn set_validated(db: &Db, id: &str, found: &Validated) -> Result<()> {
    sqlx::query("UPDATE jobs SET spec = ?2, planned = ?3, report = ?4, validation_report = ?5 WHERE id = ?1")
        .bind(id)
        .bind(&found.spec)
        .bind(&found.planned)
        .bind(&found.report)
        .bind(&found.validation_report)
        .execute(db.pool())
        .await?;
    Ok(())
}

/// What was decided when the texts were counted, as JSON.
pub async fn set_spec(db: &Db, id: &str, spec: &str) -> Result<()> {
    sqlx::query("UPDATE jobs SET spec = ?2 WHERE id = ?1").bind(id).bind(spec).execute(db.pool()).await?;
    Ok(())
}

/// What the run took, as JSON.
pub async fn set_measured(db: &Db, id: &str, measured: &str) -> Result<()> {
    sqlx::query("UPDATE jobs SET measured = ?2 WHERE id = ?1").bind(id).bind(measured).execute(db.pool()).await?;
    Ok(())
}

/// Numbers and stores events in order, in one transaction; returns how many were new. A job that has ended says nothing
/// more: its process may still be leaving.
pub async fn append(db: &Db, job: &str, events: &[NewEvent]) -> Result<usize> {
    let mut write = db.write().await?;
    let status: Option<String> =
        sqlx::query_scalar("SELECT status FROM jobs WHERE id = ?").bind(job).fetch_optional(&mut *write).await?;
    if status.as_deref().and_then(JobStatus::parse).is_some_and(JobStatus::ended) {
        return Ok(0);
    }
    let new = append_in(&mut write, job, events).await?;
    write.commit().await?;
    Ok(new)
}

/// The same as a part of a larger change.
pub async fn append_in(write: &mut Transaction<'static, Sqlite>, job: &str, events: &[NewEvent]) -> Result<usize> {
    let mut new = 0;
    for event in events {
        let done = sqlx::query(
            "INSERT INTO events (job, seq, key, created_at, level, kind, message, data) \
             SELECT ?1, COALESCE(MAX(seq), 0) + 1, ?2, ?3, ?4, ?5, ?6, ?7 FROM events WHERE job = ?1 \
             ON CONFLICT (job, key) DO NOTHING",
        )
        .bind(job)
        .bind(&event.key)
        .bind(event.at)
        .bind(event.level)
        .bind(event.kind)
        .bind(&event.message)
        .bind(&event.data)
        .execute(&mut **write)
        .await?;
        if done.rows_affected() == 0 {
            continue;
        }
        new += 1;
        if let Some(progress) = event.progress {
            sqlx::query(
                "UPDATE jobs SET step = ?2, total_steps = COALESCE(?3, total_steps), trained_tokens = ?4, \
                 estimated_finish = ?5, losses = 0 WHERE id = ?1",
            )
            .bind(job)
            .bind(progress.step)
            .bind(progress.total_steps)
            .bind(progress.trained_tokens)
            .bind(progress.estimated_finish)
            .execute(&mut **write)
            .await?;
        }
    }
    Ok(new)
}

/// Events with `seq` above `after`, oldest first.
pub async fn events_after(db: &Db, job: &str, after: i64, limit: u32) -> Result<Vec<EventRow>> {
    Ok(sqlx::query_as(
        "SELECT job, seq, created_at, level, kind, message, data FROM events WHERE job = ? AND seq > ? \
         ORDER BY seq LIMIT ?",
    )
    .bind(job)
    .bind(after)
    .bind(limit)
    .fetch_all(db.pool())
    .await?)
}

/// Events with `seq` below `before`, newest first, as OpenAI lists them.
pub async fn events_before(db: &Db, job: &str, before: i64, limit: u32) -> Result<(Vec<EventRow>, bool)> {
    let mut rows: Vec<EventRow> = sqlx::query_as(
        "SELECT job, seq, created_at, level, kind, message, data FROM events WHERE job = ? AND seq < ? \
         ORDER BY seq DESC LIMIT ?",
    )
    .bind(job)
    .bind(before)
    .bind(i64::from(limit) + 1)
    .fetch_all(db.pool())
    .await?;
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    Ok((rows, has_more))
}

pub async fn insert_checkpoint(db: &Db, job: &str, model: &str, metrics: &CheckpointMetrics) -> Result<()> {
    sqlx::query(
        "INSERT OR IGNORE INTO checkpoints (id, job, step, created_at, model, metrics) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(ids::new("ftckpt_"))
    .bind(job)
    .bind(metrics.step.unwrap_or_default() as i64)
    .bind(ids::now())
    .bind(model)
    .bind(serde_json::to_string(metrics)?)
    .execute(db.pool())
    .await?;
    Ok(())
}

/// Newest first.
pub async fn checkpoints(db: &Db, job: &str, after: Option<&str>, limit: u32) -> Result<(Vec<Checkpoint>, bool)> {
    let rows: Vec<(String, i64, i64, String, String)> = sqlx::query_as(
        "SELECT id, step, created_at, model, metrics FROM checkpoints WHERE job = ?1 \
         AND (?2 IS NULL OR step < (SELECT step FROM checkpoints WHERE id = ?2)) ORDER BY step DESC LIMIT ?3",
    )
    .bind(job)
    .bind(after)
    .bind(i64::from(limit) + 1)
    .fetch_all(db.pool())
    .await?;
    let has_more = rows.len() > limit as usize;
    let page = rows.into_iter().take(limit as usize).map(|(id, step, created_at, model, metrics)| {
        Ok(Checkpoint {
            id,
            object: "fine_tuning.job.checkpoint".into(),
            created_at,
            fine_tuned_model_checkpoint: model,
            fine_tuning_job_id: job.to_owned(),
            metrics: serde_json::from_str(&metrics)?,
            step_number: step as u64,
        })
    });
    Ok((page.collect::<Result<_>>()?, has_more))
}
