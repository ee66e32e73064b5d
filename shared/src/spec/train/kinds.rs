//! The choices of a training run that have names.

use serde::{Deserialize, Serialize};

use crate::spec::{SpecError, bounded};

/// What the loss is taken on.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Conversations through the chat template; assistant turns only.
    #[default]
    Chat,
    /// Plain documents joined by the end-of-text token and cut into windows; every token.
    Documents,
}

/// What of a model is trained.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Tuning {
    /// Low-rank adapters (Hu 2021)
    #[default]
    Lora,
    /// Every weight, or all behind the frozen layers
    Full,
    /// One factor for each key, value and inner feed-forward unit (Liu 2022)
    Ia3,
    /// Keys and values of virtual tokens in every layer (Li & Liang 2021)
    Prefix,
    /// Embeddings of virtual tokens (Lester 2021)
    Prompt,
    /// A small network behind both halves of every block (Houlsby 2019)
    Bottleneck,
}

/// What a teacher adds to the loss: `(1 - s) · CE + s · τ² · KL(teacher ‖ student)`, both models' logits divided by τ (Hinton 2015).
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct DistillSpec {
    /// τ, 0.1..=20: above 1 the teacher's unlikely tokens tell more.
    pub temperature: f64,
    /// s, 0..=1: the teacher's share of the loss; the rest is the data's.
    pub share: f64,
}

impl Default for DistillSpec {
    fn default() -> Self {
        Self { temperature: 2.0, share: 0.5 }
    }
}

impl DistillSpec {
    /// # Errors
    /// The first field outside its bounds.
    pub fn validate(&self) -> Result<(), SpecError> {
        bounded("temperature", self.temperature, 0.1, 20.0)?;
        bounded("share", self.share, 0.0, 1.0)
    }
}

/// How a gradient moves a weight.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Loshchilov & Hutter 2019
    #[default]
    Adamw,
    /// Jordan 2024: orthogonal steps for the matrices of the blocks, AdamW for the rest
    Muon,
    /// Chen 2023: signs only
    Lion,
    /// Shazeer & Stern 2018: little memory
    Adafactor,
    /// With Nesterov momentum
    Sgd,
}

/// What the learning rate does behind its warm-up.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Half a cosine (Loshchilov & Hutter 2017)
    #[default]
    Cosine,
    Linear,
    Constant,
    /// Warm-up, stable, decay (Hu 2024): the peak until the last `decay_ratio` of the steps, which fall linearly
    Wsd,
    /// `√(warm-up / step)` (Vaswani 2017)
    InverseSqrt,
}

/// Which number format products are computed in. Master weights, norms, softmax and the loss are f32 always.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// What is fastest without being less exact than it must: f32 on a CPU.
    #[default]
    Auto,
    F32,
    /// Emulated on a CPU: inputs, outputs and gradients of every product are rounded, sums are kept in f32.
    Bf16,
    /// The same, with a loss scale against underflow (Micikevicius 2018).
    F16,
    /// E4M3 forward and E5M2 backward, each tensor with a scale of its own (Micikevicius 2022).
    Fp8,
}

impl Precision {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Fp8 => "fp8",
        }
    }
}

/// What happens when a step's loss is no number, or a spike.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Watchdog {
    /// The run fails; its last checkpoint stays.
    #[default]
    Stop,
    /// The step's examples are left out and the run goes on.
    Skip,
    /// Back to the last checkpoint; all examples since then are left out (Chowdhery 2022, section 5.1).
    RollBack,
}
