//! The shape of a model: everything a [`Transformer`](crate::transformer::Transformer) needs to know before it has weights.
//! Close to Hugging Face's `config.json`; the mapping is in [`hf`].

mod hf;
pub use hf::ConfigError;

use serde::{Deserialize, Serialize};

/// The families whose checkpoints load.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    Llama,
    Qwen2,
    Mistral,
    Gpt2,
}

/// Normalisation before each half of a block and before the head.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Root mean square, weight only (Zhang & Sennrich 2019).
    Rms,
    /// Mean and variance, weight and bias (Ba 2016).
    Layer,
}

/// Which pairs of a head's dimensions rotate together (Su 2021).
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum RopeStyle {
    /// `(i, i + E/2)`: Hugging Face's checkpoints.
    HalfSplit,
    /// `(2i, 2i + 1)`: the paper, and GGUF files of the llama family.
    Interleaved,
}

/// How the model knows where a token stands.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// Queries and keys are rotated by `position · theta^(-2i/E)`.
    Rope { theta: f64, style: RopeStyle },
    /// A learned vector per position is added to the embedding.
    Learned,
}

/// The feed-forward nonlinearity.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    Silu,
    Gelu,
    /// GELU's tanh approximation (`gelu_new`, `gelu_pytorch_tanh`).
    GeluTanh,
    Relu,
}

/// Every number that fixes a model's computation and the shapes of its weights.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ModelConfig {
    pub model_type: Architecture,
    /// `V`
    pub vocab_size: usize,
    /// `D`
    pub d_model: usize,
    pub n_layers: usize,
    /// `H`
    pub n_heads: usize,
    /// `K`; fewer than `H` is grouped-query attention (Ainslie 2023)
    pub kv_heads: usize,
    /// `E`
    pub head_dim: usize,
    /// `F`
    pub ffn_dim: usize,
    /// Positions the model was made for.
    pub max_positions: usize,
    pub norm: Norm,
    pub norm_eps: f64,
    pub position: Position,
    pub activation: Activation,
    /// `down(act(gate(x)) · up(x))` instead of `down(act(up(x)))`.
    pub mlp_gated: bool,
    /// Biases on query, key and value.
    pub attention_bias: bool,
    /// A bias on attention's output projection.
    pub output_bias: bool,
    pub mlp_bias: bool,
    /// A query sees this many positions back, itself included; none sees all.
    pub sliding_window: Option<usize>,
    /// The head is the embedding, transposed.
    pub tied: bool,
    pub bos: Option<u32>,
    pub eos: Vec<u32>,
}

impl ModelConfig {
    /// A Llama-shaped model: RMSNorm, half-split RoPE, SwiGLU, no biases, tied, head size `D / H`.
    pub fn llama(
        vocab_size: usize,
        d_model: usize,
        n_layers: usize,
        heads: (usize, usize),
        max_positions: usize,
    ) -> Self {
        let (n_heads, kv_heads) = heads;
        Self {
            model_type: Architecture::Llama,
            vocab_size,
            d_model,
            n_layers,
            n_heads,
            kv_heads,
            head_dim: d_model / n_heads.max(1),
            // SwiGLU has three matrices where a plain block has two: 8/3 D keeps the count, rounded up for vector units.
            ffn_dim: (d_model * 8).div_ceil(3).next_multiple_of(32),
            max_positions,
            norm: Norm::Rms,
            norm_eps: 1e-5,
            position: Position::Rope { theta: 10_000.0, style: RopeStyle::HalfSplit },
            activation: Activation::Silu,
            mlp_gated: true,
            attention_bias: false,
            output_bias: false,
            mlp_bias: false,
            sliding_window: None,
            tied: true,
            bos: None,
            eos: Vec::new(),
        }
    }

    /// `H · E`, the width of all queries of one position.
    pub fn q_width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// `K · E`, the width of all keys (or values) of one position.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// # Errors
    /// The first field with a value no model can have.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let positive = [
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("n_layers", self.n_layers),
            ("n_heads", self.n_heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("ffn_dim", self.ffn_dim),
            ("max_positions", self.max_positions),
        ];
        for (field, value) in positive {
            // A generous ceiling: products of two such sizes still fit 64 bits, so no later sum can overflow.
            if value == 0 || value > 1 << 28 {
                return Err(ConfigError::invalid(field, value));
            }
        }
        if !self.n_heads.is_multiple_of(self.kv_heads) {
            return Err(ConfigError::invalid("kv_heads", self.kv_heads));
        }
        if let Position::Rope { theta, .. } = self.position {
            if !self.head_dim.is_multiple_of(2) {
                return Err(ConfigError::invalid("head_dim", self.head_dim));
            }
            if !(theta.is_finite() && theta > 0.0) {
                return Err(ConfigError::invalid("theta", theta));
            }
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return Err(ConfigError::invalid("norm_eps", self.norm_eps));
        }
        if self.sliding_window == Some(0) {
            return Err(ConfigError::invalid("sliding_window", 0));
        }
        Ok(())
    }

    /// How many numbers the weights are.
    pub fn parameters(&self) -> u64 {
        let [v, d, f, q, kv] =
            [self.vocab_size, self.d_model, self.ffn_dim, self.q_width(), self.kv_width()].map(|n| n as u64);
        let when = |condition: bool, n: u64| if condition { n } else { 0 };
        let norm = d + when(self.norm == Norm::Layer, d);
        let attention = d * (2 * q + 2 * kv) + when(self.attention_bias, q + 2 * kv) + when(self.output_bias, d);
        let wide = if self.mlp_gated { 2 } else { 1 };
        let mlp = (wide + 1) * d * f + when(self.mlp_bias, wide * f + d);
        v * d
            + when(self.position == Position::Learned, self.max_positions as u64 * d)
            + self.n_layers as u64 * (2 * norm + attention + mlp)
            + norm
            + when(!self.tied, v * d)
    }
}
