//! Training requests: what a client may leave to us (`"auto"`), and the fully decided form that an engine runs.

use serde::{Deserialize, Serialize};

use super::{AdapterSpec, BaseWeights, LoraSpec, SpecError, bounded};

mod kinds;
mod pretrain;
mod request;

pub use kinds::{DistillSpec, Objective, OptimizerKind, Precision, ScheduleKind, Tuning, Watchdog};
pub use pretrain::{LEAST_VOCABULARY, PretrainSpec, Split, TextFacts, TextSpec, TokenizerSpec, bytes_per_token};
pub use request::{Auto, DataFacts, FineTuneSpec, HearthOptions};

/// 2^40
const MOST_LOSS_SCALE: f64 = 1_099_511_627_776.0;
const NO_PACKING: &str = "virtual tokens stand in front of a row, so each row holds one example: leave it out";
const NO_ADAPTER: &str = "weights in 4 bits can't be trained themselves: choose an adapter, or `f32`";

/// A prompt that is answered again and again, so that people see what the numbers mean.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SampleSpec {
    pub prompt: String,
    #[serde(default = "SampleSpec::default_tokens")]
    pub max_tokens: u32,
}

impl SampleSpec {
    fn default_tokens() -> u32 {
        48
    }
}

/// A run with every value decided. This is what stands in a job's `spec.json` and in a checkpoint, and what makes two runs
/// the same run.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
// A stored run of another version must not silently become another run.
#[serde(deny_unknown_fields)]
pub struct TrainSpec {
    pub objective: Objective,
    /// What is put on the model and trained; none trains the model's own weights.
    pub adapter: Option<AdapterSpec>,
    /// With an adapter: how the weights below it are kept.
    #[serde(default)]
    pub base_weights: BaseWeights,
    /// Without an adapter: the first blocks, with the embeddings, that stay as they are.
    #[serde(default)]
    pub frozen_layers: u32,
    /// Direct preference optimization with this β (Rafailov 2023), on pairs of answers; none learns what the data says.
    #[serde(default)]
    pub dpo_beta: Option<f64>,
    /// Whoever begins the run brings the teacher; none learns from the data alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distill: Option<DistillSpec>,
    pub n_epochs: u32,
    pub max_steps: Option<u64>,
    /// Examples (or windows) per optimizer step.
    pub batch_size: u32,
    /// Longest row in tokens.
    pub max_length: u32,
    pub micro_batch_tokens: u32,
    pub packing: bool,
    #[serde(default)]
    pub optimizer: OptimizerKind,
    #[serde(default)]
    pub schedule: ScheduleKind,
    /// Peak of the schedule.
    pub learning_rate: f64,
    /// Where the schedule ends, as a share of the peak.
    pub final_lr_ratio: f64,
    /// Share of the steps in which `wsd` falls.
    #[serde(default = "TrainSpec::default_decay_ratio")]
    pub decay_ratio: f64,
    pub warmup_steps: u64,
    pub weight_decay: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// Of SGD and Muon; AdamW and Lion have their betas.
    #[serde(default = "TrainSpec::default_momentum")]
    pub momentum: f64,
    /// Share of each target that is spread over the whole vocabulary.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Weight of the squared log of the softmax's denominator.
    #[serde(default)]
    pub z_loss: f64,
    /// 0 is off.
    pub max_grad_norm: f64,
    #[serde(default)]
    pub gradient_checkpointing: bool,
    #[serde(default)]
    pub precision: Precision,
    /// The first loss scale of `f16`; 0 is none.
    #[serde(default = "TrainSpec::default_loss_scale")]
    pub loss_scale: f64,
    /// Steps without an overflow after which the loss scale doubles.
    #[serde(default = "TrainSpec::default_loss_scale_window")]
    pub loss_scale_window: u32,
    /// Of the moving average of the weights; none keeps no average.
    #[serde(default)]
    pub ema_decay: Option<f64>,
    /// Evaluations without a better validation loss after which the run stops.
    #[serde(default)]
    pub early_stop: Option<u32>,
    #[serde(default)]
    pub early_stop_delta: f64,
    #[serde(default)]
    pub watchdog: Watchdog,
    /// A loss of more than this times the usual is a spike.
    #[serde(default)]
    pub spike_factor: Option<f64>,
    #[serde(default = "TrainSpec::default_keep_checkpoints")]
    pub keep_checkpoints: u32,
    pub seed: u64,
    /// 0 is never, but the last step is always saved.
    pub checkpoint_every: u64,
    /// 0 is never.
    pub eval_every: u64,
    pub samples: Vec<SampleSpec>,
    /// 0 is with every checkpoint; the last step is sampled in any case.
    #[serde(default)]
    pub samples_every: u64,
}

impl Default for TrainSpec {
    fn default() -> Self {
        Self {
            objective: Objective::Chat,
            adapter: Some(AdapterSpec::Lora(LoraSpec::default())),
            base_weights: BaseWeights::F32,
            frozen_layers: 0,
            dpo_beta: None,
            distill: None,
            n_epochs: 3,
            max_steps: None,
            batch_size: 4,
            max_length: 1024,
            micro_batch_tokens: 1024,
            packing: false,
            optimizer: OptimizerKind::Adamw,
            schedule: ScheduleKind::Cosine,
            learning_rate: 2e-4,
            final_lr_ratio: 0.1,
            decay_ratio: Self::default_decay_ratio(),
            warmup_steps: 0,
            weight_decay: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            momentum: Self::default_momentum(),
            label_smoothing: 0.0,
            z_loss: 0.0,
            max_grad_norm: 1.0,
            gradient_checkpointing: false,
            precision: Precision::Auto,
            loss_scale: Self::default_loss_scale(),
            loss_scale_window: Self::default_loss_scale_window(),
            ema_decay: None,
            early_stop: None,
            early_stop_delta: 0.0,
            watchdog: Watchdog::Stop,
            spike_factor: None,
            keep_checkpoints: Self::default_keep_checkpoints(),
            seed: 0,
            checkpoint_every: 0,
            eval_every: 0,
            samples: Vec::new(),
            samples_every: 0,
        }
    }
}

impl TrainSpec {
    fn default_decay_ratio() -> f64 {
        0.2
    }

    /// The low-rank adapter, where that is what is trained.
    pub fn lora(&self) -> Option<&LoraSpec> {
        self.adapter.as_ref()?.lora()
    }

    fn default_momentum() -> f64 {
        0.95
    }

    /// As torch's `GradScaler` begins.
    fn default_loss_scale() -> f64 {
        65536.0
    }

    fn default_loss_scale_window() -> u32 {
        2000
    }

    fn default_keep_checkpoints() -> u32 {
        3
    }

    /// # Errors
    /// The first field outside its bounds.
    pub fn validate(&self) -> Result<(), SpecError> {
        if let Some(adapter) = &self.adapter {
            adapter.validate().map_err(|error| error.within("adapter"))?;
            if self.packing && adapter.virtual_tokens() > 0 {
                return Err(SpecError::new("packing", NO_PACKING));
            }
        } else if self.base_weights != BaseWeights::F32 {
            return Err(SpecError::new("base_weights", NO_ADAPTER));
        }
        bounded("n_epochs", self.n_epochs, 1, 100_000)?;
        bounded("batch_size", self.batch_size, 1, 65_536)?;
        bounded("max_length", self.max_length, 2, 1 << 20)?;
        bounded("micro_batch_tokens", self.micro_batch_tokens, 1, 1 << 24)?;
        bounded("learning_rate", self.learning_rate, 0.0, 1.0)?;
        bounded("final_lr_ratio", self.final_lr_ratio, 0.0, 1.0)?;
        bounded("decay_ratio", self.decay_ratio, 0.0, 1.0)?;
        bounded("weight_decay", self.weight_decay, 0.0, 1.0)?;
        bounded("label_smoothing", self.label_smoothing, 0.0, 0.999)?;
        bounded("z_loss", self.z_loss, 0.0, 1.0)?;
        bounded("momentum", self.momentum, 0.0, 0.999_999)?;
        bounded("beta1", self.beta1, 0.0, 0.999_999)?;
        bounded("beta2", self.beta2, 0.0, 0.999_999)?;
        bounded("epsilon", self.epsilon, 1e-20, 1.0)?;
        bounded("max_grad_norm", self.max_grad_norm, 0.0, 1e6)?;
        if let Some(beta) = self.dpo_beta {
            bounded("dpo_beta", beta, 0.001, 10.0)?;
            if self.label_smoothing > 0.0 || self.z_loss > 0.0 {
                return Err(SpecError::new("dpo_beta", "label smoothing and z-loss have no meaning with preferences"));
            }
            if self.distill.is_some() {
                return Err(SpecError::new("distill", "a teacher has no say in preferences: leave it out"));
            }
        }
        if let Some(distill) = &self.distill {
            distill.validate().map_err(|error| error.within("distill"))?;
        }
        bounded("loss_scale", self.loss_scale, 0.0, MOST_LOSS_SCALE)?;
        bounded("loss_scale_window", self.loss_scale_window, 1, 1_000_000)?;
        bounded("keep_checkpoints", self.keep_checkpoints, 1, 100)?;
        watch_bounds("", self.ema_decay, self.early_stop, self.early_stop_delta, self.spike_factor)
    }
}

fn watch_bounds(
    parent: &str,
    ema_decay: Option<f64>,
    early_stop: Option<u32>,
    early_stop_delta: f64,
    spike_factor: Option<f64>,
) -> Result<(), SpecError> {
    let name = |field: &str| format!("{parent}{field}");
    ema_decay.map_or(Ok(()), |decay| bounded(&name("ema_decay"), decay, 0.0, 0.999_99))?;
    early_stop.map_or(Ok(()), |most| bounded(&name("early_stop"), most, 1, 1000))?;
    bounded(&name("early_stop_delta"), early_stop_delta, 0.0, 10.0)?;
    spike_factor.map_or(Ok(()), |factor| bounded(&name("spike_factor"), factor, 1.0, 1000.0))
}
