//! What a training run says while it runs. The job layer numbers and stores these; the run itself knows no clock, so times
//! come with the metrics that need them.

use serde::{Deserialize, Deserializer, Serialize};

use crate::spec::TrainSpec;

/// One thing that happened in a run.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RunEvent {
    /// After every optimizer step.
    Metrics(Metrics),
    /// Text the model wrote, to see what it has learned.
    Sample { step: u64, prompt: String, text: String },
    /// A whole checkpoint stands on disk. `name` is its folder under the job's `checkpoints/`.
    Checkpoint {
        step: u64,
        name: String,
        train_loss: Option<f64>,
        valid_loss: Option<f64>,
        valid_accuracy: Option<f64>,
    },
    /// A sentence for the log.
    Message { level: Level, text: String },
    /// What comes before the first step, in bytes of text.
    Stage { stage: Stage, done: u64, total: u64 },
    /// Everything about a model from nothing, once its texts are tokens.
    Decided { spec: Box<TrainSpec>, parameters: u64, vocab_size: u64, documents: u64, tokens: u64 },
    /// The last event of a run that went to its end; the result stands in the job's `result/`.
    Done {
        step: u64,
        trained_tokens: u64,
        #[serde(default)]
        measured: Option<Measured>,
    },
}

/// What a run from nothing does before it trains.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Reading texts to learn a vocabulary from.
    Reading,
    /// Learning merges.
    Vocabulary,
    /// Turning texts into token ids.
    Tokenizing,
}

/// What a run's process took, to be held against its plan.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Measured {
    /// Bytes at its fullest, above what the process held before it had a model.
    pub peak_memory: Option<u64>,
    /// Bytes of the whole process at its fullest.
    #[serde(default)]
    pub peak_process: Option<u64>,
    /// Median of the steps, evaluations and checkpoints left out.
    pub step_seconds: Option<f64>,
    /// Floating point operations a second of a large f32 matrix product on this device, or of the fastest step where that was faster.
    pub speed: f64,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Info,
    Warn,
    Error,
}

/// Numbers of one optimizer step. Steps count from 1.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Metrics {
    pub step: u64,
    pub total_steps: u64,
    /// Mean cross entropy in nats over the step's unmasked tokens.
    pub train_loss: f64,
    /// Share of the step's unmasked tokens whose most likely prediction was right.
    pub train_accuracy: f64,
    /// Only at steps that evaluate.
    pub valid_loss: Option<f64>,
    pub valid_accuracy: Option<f64>,
    pub lr: f64,
    /// Global norm before clipping; infinite (`null` in JSON) when a gradient overflowed.
    #[serde(deserialize_with = "null_is_infinite")]
    pub grad_norm: f64,
    /// What the loss was multiplied by against underflow, with f16.
    #[serde(default)]
    pub loss_scale: Option<f64>,
    /// Share of the gradients' numbers that are 0, in other precisions than f32.
    #[serde(default)]
    pub zero_gradients: Option<f64>,
    /// Unmasked tokens trained on since the run began.
    pub trained_tokens: u64,
    /// All tokens that went through the model since the run began, padding left out.
    pub tokens: u64,
    /// Of the last steps, padding left out.
    pub tokens_per_second: f64,
    /// Bytes that the run's process holds.
    #[serde(default)]
    pub memory: Option<u64>,
    /// Model FLOPs utilisation: the share of the speed of a large f32 matrix product, measured on this device, at which the last
    /// steps computed what the model asks for (Chowdhery 2022).
    #[serde(default)]
    pub utilisation: Option<f64>,
    pub seconds_left: Option<f64>,
    /// When the step was done: Unix seconds with their fraction, for steps may take milliseconds. Older runs don't say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<f64>,
    /// Passes over the data, fractional.
    pub epoch: f64,
    /// Steps whose examples the watchdog left out. A run that went back does steps again, on other examples.
    #[serde(default)]
    pub skipped: u64,
}

/// JSON has no infinity; serde_json writes `null`.
fn null_is_infinite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
}
