//! `/v1/fine_tuning/jobs`: the request, the job, its events and checkpoints.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::event::{Level, Measured};
use crate::plan::Memory;
use crate::spec::{Auto, HearthOptions, TrainSpec};

use super::ErrorDetail;
use super::jobs::{CreateWork, JobKind, TextReport};

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateJob {
    /// The model to tune.
    pub model: String,
    /// The id of an uploaded file with purpose `fine-tune`.
    pub training_file: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_file: Option<String>,
    /// Goes into the tuned model's id; 64 characters at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// OpenAI's older place for `method.supervised.hyperparameters`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hyperparameters: Option<Hyperparameters>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hearth: Option<JobOptions>,
}

/// Hearth's options of a job, beside `method`.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobOptions {
    #[serde(flatten)]
    pub options: HearthOptions,
    /// Answer with the plan (data report, decided values, memory, warnings) and make no job.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Method {
    /// `supervised`, or `dpo` on pairs of answers.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervised: Option<MethodOptions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpo: Option<MethodOptions>,
}

impl Method {
    /// Preferences or examples, with these hyperparameters.
    pub fn new(is_dpo: bool, hyperparameters: Hyperparameters) -> Self {
        let options = Some(MethodOptions { hyperparameters: Some(hyperparameters) });
        match is_dpo {
            true => Self { kind: "dpo".to_owned(), supervised: None, dpo: options },
            false => Self { kind: "supervised".to_owned(), supervised: options, dpo: None },
        }
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MethodOptions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hyperparameters: Option<Hyperparameters>,
}

/// OpenAI's three (four with `dpo`); each a number or `"auto"`, and numbers on a job whose data has been read.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Hyperparameters {
    pub batch_size: Auto<u32>,
    pub learning_rate_multiplier: Auto<f64>,
    pub n_epochs: Auto<u32>,
    /// Of `dpo`: how dearly an answer pays for leaving the first model, 0.001..=10. Auto: 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta: Option<Auto<f64>>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    ValidatingFiles,
    Queued,
    Running,
    Paused,
    Succeeded,
    Failed,
    Cancelled,
}

impl JobStatus {
    pub const ALL: [Self; 7] = [
        Self::ValidatingFiles,
        Self::Queued,
        Self::Running,
        Self::Paused,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ValidatingFiles => "validating_files",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// No way leads out of this state.
    pub fn ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// OpenAI's fine-tuning job object; every nullable field is present.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Job {
    pub id: String,
    /// `fine_tuning.job`, or `job` for other kinds.
    pub object: String,
    pub created_at: i64,
    pub finished_at: Option<i64>,
    /// Set while the status is `failed`.
    pub error: Option<JobError>,
    pub fine_tuned_model: Option<String>,
    pub hyperparameters: Hyperparameters,
    pub model: String,
    pub organization_id: String,
    pub result_files: Vec<String>,
    pub status: JobStatus,
    pub trained_tokens: Option<u64>,
    pub training_file: String,
    pub validation_file: Option<String>,
    pub seed: u64,
    /// Unix seconds.
    pub estimated_finish: Option<i64>,
    pub integrations: Option<Vec<serde_json::Value>>,
    pub metadata: Option<BTreeMap<String, String>>,
    pub method: Method,
    pub user_provided_suffix: Option<String>,
    pub hearth: JobInfo,
}

/// Why a job failed.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobError {
    pub code: String,
    pub message: String,
    pub param: Option<String>,
}

impl From<JobError> for ErrorDetail {
    fn from(error: JobError) -> Self {
        Self {
            message: error.message,
            kind: "invalid_request_error".to_owned(),
            param: error.param,
            code: Some(error.code),
        }
    }
}

/// What Hearth knows of a job beyond OpenAI's fields.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobInfo {
    #[serde(default)]
    pub kind: JobKind,
    /// What was asked for, where that was no fine-tune.
    #[serde(default)]
    pub request: Option<CreateWork>,
    /// What was found in the texts, where that was no fine-tune.
    #[serde(default)]
    pub texts: Option<TextReport>,
    /// As asked for.
    pub options: HearthOptions,
    /// As decided, once the data has been read.
    pub spec: Option<TrainSpec>,
    /// The last step whose metrics are known.
    pub step: u64,
    pub total_steps: Option<u64>,
    /// How often a process has taken the job up.
    pub attempt: u32,
    /// What the run was expected to need, before it began.
    pub planned: Option<Planned>,
    /// What it took, once it has ended well.
    pub measured: Option<Measured>,
    /// The validator's report on the training file (see `POST /v1/validate`).
    pub report: Option<serde_json::Value>,
    /// The report on the validation file.
    pub validation_report: Option<serde_json::Value>,
}

/// What a run is expected to need, by [`crate::plan`].
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Planned {
    /// Bytes at its fullest, above the idle process.
    pub memory: Memory,
    /// Floating point operations of one step, what gradient checkpointing computes again included.
    pub step_flops: f64,
    /// Of one step on this machine's device, as measured before the run; none where it was not.
    #[serde(default)]
    pub step_seconds: Option<f64>,
}

/// Something that happened to a job. `seq` counts from 1 without gaps; it is also the SSE id.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobEvent {
    pub id: String,
    /// Always `fine_tuning.job.event`.
    pub object: String,
    pub created_at: i64,
    pub level: Level,
    pub message: String,
    /// `message` or `metrics`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For an event of the run itself, [`crate::event::RunEvent`] with OpenAI's names of the metrics added.
    pub data: Option<serde_json::Value>,
    pub seq: u64,
}

/// A point the run can be taken up from, and a model to talk to.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Checkpoint {
    pub id: String,
    /// Always `fine_tuning.job.checkpoint`.
    pub object: String,
    pub created_at: i64,
    /// The id under which the checkpoint answers.
    pub fine_tuned_model_checkpoint: String,
    pub fine_tuning_job_id: String,
    pub metrics: CheckpointMetrics,
    pub step_number: u64,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckpointMetrics {
    pub step: Option<f64>,
    pub train_loss: Option<f64>,
    pub train_mean_token_accuracy: Option<f64>,
    pub valid_loss: Option<f64>,
    pub valid_mean_token_accuracy: Option<f64>,
    pub full_valid_loss: Option<f64>,
    pub full_valid_mean_token_accuracy: Option<f64>,
}

/// `POST /v1/validate`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ValidateRequest {
    /// The id of an uploaded file.
    pub file: String,
    /// The model whose tokenizer and template count the tokens.
    pub model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
}

/// The answer to a `dry_run`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Plan {
    /// Always `fine_tuning.plan`.
    pub object: String,
    /// Null where the data was refused.
    pub spec: Option<TrainSpec>,
    pub hyperparameters: Hyperparameters,
    /// Bytes that the training process will hold at its fullest, by part.
    pub memory: Option<Memory>,
    /// Bytes that this machine, or the server's `max_job_bytes`, leaves a job; and bytes that are free now.
    pub memory_limit: Option<u64>,
    pub memory_available: Option<u64>,
    /// Numbers that are trained.
    pub trained_parameters: Option<u64>,
    /// Floating point operations of the whole run.
    pub flops: Option<f64>,
    /// Seconds that all steps take on this machine's device, as measured; checkpoints and evaluations come on top.
    pub seconds: Option<f64>,
    pub total_steps: Option<u64>,
    pub tokens: Option<u64>,
    pub warnings: Vec<String>,
    pub error: Option<ErrorDetail>,
    pub report: serde_json::Value,
    pub validation_report: Option<serde_json::Value>,
}
