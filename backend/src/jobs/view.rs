//! A job's row as OpenAI's object.

use anyhow::Result;
use hearth_shared::api::fine_tuning::{CreateJob, Hyperparameters, Job, JobEvent, JobInfo, JobStatus, Method};
use hearth_shared::api::jobs::{CreateWork, JobKind};
use hearth_shared::event::Level;
use hearth_shared::spec::{Auto, HearthOptions, TrainSpec};
use serde::de::DeserializeOwned;

use super::store::{EventRow, Row};

/// The object of a row.
pub fn job(row: Row, organization: &str) -> Result<Job> {
    match JobKind::parse(&row.kind) {
        Some(JobKind::FineTune) | None => tune(row, organization),
        Some(kind) => work(row, kind, organization),
    }
}

/// The same object for what is no fine-tune: `model` is what comes of it.
fn work(row: Row, kind: JobKind, organization: &str) -> Result<Job> {
    let request: CreateWork = serde_json::from_str(&row.request)?;
    let spec: Option<TrainSpec> = json(row.spec.as_deref())?;
    let hyperparameters = spec.as_ref().map(decided).unwrap_or_default();
    let status = status(&row)?;
    let model = row.fine_tuned_model.clone().or_else(|| request.name().map(str::to_owned)).unwrap_or_default();
    Ok(Job {
        object: "job".into(),
        created_at: row.created_at,
        finished_at: row.finished_at,
        error: json(row.error.as_deref())?,
        fine_tuned_model: row.fine_tuned_model.clone(),
        hyperparameters,
        model,
        organization_id: format!("org-{organization}"),
        result_files: row.result_file.iter().flat_map(|files| files.split(',')).map(str::to_owned).collect(),
        status,
        trained_tokens: row.trained_tokens.filter(|_| status.ended()).map(|tokens| tokens as u64),
        training_file: request.training_files().first().cloned().unwrap_or_default(),
        validation_file: request.validation_file().map(str::to_owned),
        seed: row.seed as u64,
        estimated_finish: row.estimated_finish,
        integrations: None,
        metadata: request.metadata().cloned(),
        method: Method { kind: kind.as_str().into(), ..Method::default() },
        user_provided_suffix: request.name().map(str::to_owned),
        hearth: JobInfo {
            kind,
            texts: json(row.report.as_deref())?,
            spec,
            options: match &request {
                CreateWork::Pretrain(asked) => asked.spec.options.clone(),
                CreateWork::Tokenizer(_) | CreateWork::Export(_) => HearthOptions::default(),
            },
            request: Some(request),
            ..info(&row)?
        },
        id: row.id,
    })
}

/// What every kind of job has.
fn info(row: &Row) -> Result<JobInfo> {
    Ok(JobInfo {
        step: row.step as u64,
        total_steps: row.total_steps.map(|steps| steps as u64),
        attempt: row.attempt as u32,
        planned: json(row.planned.as_deref())?,
        measured: json(row.measured.as_deref())?,
        ..JobInfo::default()
    })
}

fn status(row: &Row) -> Result<JobStatus> {
    JobStatus::parse(&row.status).ok_or_else(|| anyhow::anyhow!("unknown status `{}`", row.status))
}

fn decided(spec: &TrainSpec) -> Hyperparameters {
    Hyperparameters {
        batch_size: Auto::Value(spec.batch_size),
        n_epochs: Auto::Value(spec.n_epochs),
        learning_rate_multiplier: Auto::Value(1.0),
        beta: spec.dpo_beta.map(Auto::Value),
    }
}

fn tune(row: Row, organization: &str) -> Result<Job> {
    let request: CreateJob = serde_json::from_str(&row.request)?;
    let spec: Option<TrainSpec> = json(row.spec.as_deref())?;
    let status = status(&row)?;
    let asked = asked_hyperparameters(&request);
    let is_dpo = request.method.as_ref().is_some_and(|method| method.kind == "dpo");
    let hyperparameters = match &spec {
        Some(spec) => Hyperparameters {
            learning_rate_multiplier: Auto::Value(asked.learning_rate_multiplier.or(1.0)),
            ..decided(spec)
        },
        None => asked,
    };
    let (info, report) = (info(&row)?, json(row.report.as_deref())?);
    let validation_report = json(row.validation_report.as_deref())?;
    Ok(Job {
        id: row.id,
        object: "fine_tuning.job".into(),
        created_at: row.created_at,
        finished_at: row.finished_at,
        error: json(row.error.as_deref())?,
        fine_tuned_model: row.fine_tuned_model,
        hyperparameters: hyperparameters.clone(),
        model: request.model,
        organization_id: format!("org-{organization}"),
        result_files: row.result_file.into_iter().collect(),
        status,
        trained_tokens: row.trained_tokens.filter(|_| status.ended()).map(|tokens| tokens as u64),
        training_file: request.training_file,
        validation_file: request.validation_file,
        seed: row.seed as u64,
        estimated_finish: row.estimated_finish,
        integrations: Some(Vec::new()),
        metadata: request.metadata,
        method: Method::new(is_dpo, hyperparameters),
        user_provided_suffix: request.suffix,
        hearth: JobInfo {
            options: request.hearth.unwrap_or_default().options,
            spec,
            report,
            validation_report,
            ..info
        },
    })
}

/// The hyperparameters of the method that is asked for, or their older place.
pub fn asked_hyperparameters(request: &CreateJob) -> Hyperparameters {
    let method = request.method.as_ref();
    method
        .and_then(|method| if method.kind == "dpo" { method.dpo.as_ref() } else { method.supervised.as_ref() })
        .and_then(|options| options.hyperparameters.clone())
        .or_else(|| request.hyperparameters.clone())
        .unwrap_or_default()
}

/// The object of an event's row.
pub fn event(row: EventRow) -> Result<JobEvent> {
    Ok(JobEvent {
        id: event_id(&row.job, row.seq),
        object: "fine_tuning.job.event".into(),
        created_at: row.created_at,
        level: match row.level.as_str() {
            "error" => Level::Error,
            "warn" => Level::Warn,
            _ => Level::Info,
        },
        message: row.message,
        kind: row.kind,
        data: json(row.data.as_deref())?,
        seq: row.seq as u64,
    })
}

fn event_id(job: &str, seq: i64) -> String {
    format!("ftevent-{}-{seq}", job.trim_start_matches("ftjob-"))
}

/// The number in an event's id, if it is one of this job's.
pub fn event_seq(job: &str, id: &str) -> Option<i64> {
    let seq = id.rsplit_once('-')?.1.parse().ok()?;
    (event_id(job, seq) == id).then_some(seq)
}

fn json<T: DeserializeOwned>(text: Option<&str>) -> Result<Option<T>> {
    Ok(text.map(serde_json::from_str).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_carry_their_number() {
        assert_eq!(event_seq("ftjob-abc", &event_id("ftjob-abc", 17)), Some(17));
        assert_eq!(event_seq("ftjob-abc", "ftevent-xyz-17"), None);
        assert_eq!(event_seq("ftjob-abc", "nonsense"), None);
    }
}
