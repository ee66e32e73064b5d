//! What is put on a frozen model to be trained, and how the model below is kept.

use serde::{Deserialize, Serialize};

use super::{SpecError, bounded};

/// Low-rank adapters (Hu 2021): `W + scale · B A`, with `scale = alpha / r`, or `alpha / √r` with rsLoRA.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct LoraSpec {
    /// Rank, 1..=512. Default 16.
    pub r: u32,
    /// Default 32: twice the rank.
    pub alpha: f32,
    /// Probability that an input of the adapter is dropped while training, 0..1. Default 0.
    pub dropout: f32,
    /// Projections by Hugging Face's short names: `q_proj` … `down_proj`; GPT-2: `c_attn`, `c_proj`, `c_fc`.
    /// Empty means every projection of every block.
    pub target_modules: Vec<String>,
    /// Rank-stabilised scale (Kalajdzievski 2023).
    pub rslora: bool,
    /// Weight-decomposed (Liu 2024): the adapter turns each row of the weight, and a trained magnitude says how long it is.
    pub dora: bool,
}

impl Default for LoraSpec {
    fn default() -> Self {
        Self { r: 16, alpha: 32.0, dropout: 0.0, target_modules: Vec::new(), rslora: false, dora: false }
    }
}

/// Trained vectors in front of every text.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct VirtualTokensSpec {
    /// 1..=1024. Default 16.
    pub virtual_tokens: u32,
}

impl Default for VirtualTokensSpec {
    fn default() -> Self {
        Self { virtual_tokens: 16 }
    }
}

impl VirtualTokensSpec {
    /// # Errors
    /// The first field outside its bounds.
    pub fn validate(&self) -> Result<(), SpecError> {
        bounded("virtual_tokens", self.virtual_tokens, 1, 1024)
    }
}

/// A small network behind both halves of every block (Houlsby 2019).
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct BottleneckSpec {
    /// Units between the model's width and itself, 1..=4096. Default 64.
    pub width: u32,
}

impl Default for BottleneckSpec {
    fn default() -> Self {
        Self { width: 64 }
    }
}

impl BottleneckSpec {
    /// # Errors
    /// The first field outside its bounds.
    pub fn validate(&self) -> Result<(), SpecError> {
        bounded("width", self.width, 1, 4096)
    }
}

/// What is put on a frozen model to be trained.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AdapterSpec {
    Lora(LoraSpec),
    /// (IA)³ (Liu 2022): one number for each key, value and inner feed-forward unit.
    Ia3,
    /// Prefix tuning (Li & Liang 2021): keys and values of virtual tokens in every layer.
    Prefix(VirtualTokensSpec),
    /// Prompt tuning (Lester 2021): embeddings of virtual tokens.
    Prompt(VirtualTokensSpec),
    Bottleneck(BottleneckSpec),
}

impl AdapterSpec {
    /// # Errors
    /// The first field outside its bounds.
    pub fn validate(&self) -> Result<(), SpecError> {
        match self {
            Self::Lora(lora) => lora.validate(),
            Self::Ia3 => Ok(()),
            Self::Prefix(spec) | Self::Prompt(spec) => spec.validate(),
            Self::Bottleneck(spec) => spec.validate(),
        }
    }

    pub fn lora(&self) -> Option<&LoraSpec> {
        match self {
            Self::Lora(lora) => Some(lora),
            _ => None,
        }
    }

    /// Virtual tokens in front of every row.
    pub fn virtual_tokens(&self) -> u32 {
        match self {
            Self::Prefix(spec) | Self::Prompt(spec) => spec.virtual_tokens,
            _ => 0,
        }
    }
}

/// How the frozen weights below an adapter are kept while it is trained.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BaseWeights {
    #[default]
    F32,
    /// QLoRA (Dettmers 2023): 4-bit NormalFloat in blocks of 64 with double quantization, an eighth of the memory. Each product
    /// unpacks its weight, forward and backward.
    Nf4,
}

impl LoraSpec {
    /// Every name a block's projections can have, over all families.
    pub const MODULES: [&'static str; 19] = [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
        "c_attn",
        "c_proj",
        "c_fc",
        "qkv_proj",
        "gate_up_proj",
        "query_key_value",
        "dense",
        "dense_h_to_4h",
        "dense_4h_to_h",
        "out_proj",
        "fc_in",
        "fc_out",
    ];

    /// What the product `B A` is multiplied by.
    pub fn scale(&self) -> f32 {
        let r = self.r as f32;
        self.alpha / if self.rslora { r.sqrt() } else { r }
    }

    /// Whether the projection of this short name gets an adapter.
    pub fn targets(&self, module: &str) -> bool {
        self.target_modules.is_empty() || self.target_modules.iter().any(|target| target == module)
    }

    /// # Errors
    /// The first field outside its bounds.
    pub fn validate(&self) -> Result<(), SpecError> {
        bounded("r", self.r, 1, 512)?;
        bounded("alpha", self.alpha, 0.001, 4096.0)?;
        bounded("dropout", self.dropout, 0.0, 0.95)?;
        for module in &self.target_modules {
            if !Self::MODULES.contains(&module.as_str()) {
                return Err(SpecError::new(
                    "target_modules",
                    format!("`{module}` is not one of {}", Self::MODULES.join(", ")),
                ));
            }
        }
        Ok(())
    }
}
