//! What a person asks for: sampling, adapters, training. Defaults and bounds stand here, so that page, API and command line
//! refuse the same values with the same words. It does not know what runs the request.

mod adapter;
mod architecture;
mod export;
mod prune;
mod quantize;
mod train;
mod work;

pub use adapter::{AdapterSpec, BaseWeights, BottleneckSpec, LoraSpec, VirtualTokensSpec};
pub use architecture::{ACTIVE_EXPERTS, ArchitectureSpec, Preset, Sizes};
pub use export::{ExportDtype, ExportFormat, ExportSpec};
pub use prune::{PrunePattern, PruneScore, PruneSpec};
pub use quantize::{BLOCK as QUANTIZE_BLOCK, Calibration, Grain, QuantizeSpec};
use serde::{Deserialize, Serialize};
pub use train::{
    Auto, DataFacts, DistillSpec, FineTuneSpec, HearthOptions, LEAST_VOCABULARY, Objective, OptimizerKind, Precision,
    PretrainSpec, SampleSpec, ScheduleKind, Split, TextFacts, TextSpec, TokenizerSpec, TrainSpec, Tuning, Watchdog,
    bytes_per_token,
};
pub use work::{ExportJob, JobSpec, PretrainJob, TeacherJob, TokenizerJob, WorkSpec};

/// A value outside its bounds. `field` is the path a client wrote, e.g. `hearth.lora.r`.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[error("{field}: {message}")]
pub struct SpecError {
    pub field: String,
    pub message: String,
}

impl SpecError {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }

    /// The same error seen from the object that holds this one.
    pub fn within(mut self, parent: &str) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }
}

/// `value` must lie in `low..=high`; NaN never does.
pub(crate) fn bounded<T: PartialOrd + std::fmt::Display>(
    field: &str,
    value: T,
    low: T,
    high: T,
) -> Result<(), SpecError> {
    if value >= low && value <= high {
        return Ok(());
    }
    Err(SpecError::new(field, format!("{value} is not between {low} and {high}")))
}

/// How the next token is drawn. The defaults leave the model's own distribution alone.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Sampling {
    /// Divides the logits; 0 is greedy. 0..=2, default 1.
    pub temperature: f32,
    /// Keep the k most likely tokens; none keeps all.
    pub top_k: Option<u32>,
    /// Keep the smallest set of tokens whose probability reaches this (nucleus). Default 1: all.
    pub top_p: f32,
    /// Drop tokens less likely than this times the most likely one's probability. Default 0: none.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens seen before (CTRL, Keskar 2019). Default 1: off.
    pub repetition_penalty: f32,
    /// The same seed and the same request draw the same tokens; none draws a new seed.
    pub seed: Option<u64>,
    /// Generation ends before any of these strings.
    pub stop: Vec<String>,
    /// Tokens to generate at most; none goes to the end of the context.
    pub max_tokens: Option<u32>,
    /// Report this many of the most likely tokens with their log-probabilities (0: the drawn one only); none reports nothing.
    pub logprobs: Option<u8>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: None,
            stop: Vec::new(),
            max_tokens: None,
            logprobs: None,
        }
    }
}

impl Sampling {
    /// The most likely token every time.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// # Errors
    /// The first field outside its bounds.
    pub fn validate(&self) -> Result<(), SpecError> {
        bounded("temperature", self.temperature, 0.0, 2.0)?;
        bounded("top_p", self.top_p, 0.0, 1.0)?;
        bounded("min_p", self.min_p, 0.0, 1.0)?;
        bounded("repetition_penalty", self.repetition_penalty, 0.1, 10.0)?;
        if let Some(k) = self.top_k {
            bounded("top_k", k, 1, u32::MAX)?;
        }
        if let Some(n) = self.logprobs {
            bounded("logprobs", n, 0, 20)?;
        }
        if self.stop.len() > 16 {
            return Err(SpecError::new("stop", "at most 16 stop strings"));
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(SpecError::new("stop", "a stop string must not be empty"));
        }
        Ok(())
    }
}
