//! The shape of a model: everything a [`Transformer`](crate::transformer::Transformer) needs to know before it has weights.
//! Close to Hugging Face's `config.json`; the mapping is in [`hf`], ready-made shapes in `presets`.

mod families;
mod hf;
mod presets;
pub(crate) use families::{InputNames, MlpNames};
pub use hf::ConfigError;
pub use presets::Gpt2Size;

use serde::{Deserialize, Serialize};

/// More than anybody trains; a file that asks for more is refused before a list with an entry for each is made.
const MAX_LAYERS: usize = 1 << 16;

/// The families whose checkpoints load. A family fixes how weights are cut into matrices and what they are called; what
/// is computed is said by the other fields of [`ModelConfig`] alone.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    Llama,
    Qwen2,
    Mistral,
    Gpt2,
    GptNeox,
    Gptj,
    Bloom,
    Mixtral,
    Qwen3,
    Gemma2,
    Phi3,
    Smollm3,
    /// Our own: for what no other family can express.
    Hearth,
}

/// Normalisation before each half of a block and before the head.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Root mean square, weight only (Zhang & Sennrich 2019).
    Rms,
    /// Mean and variance, weight and bias (Ba 2016).
    Layer,
    /// Mean and variance, weight only (PaLM).
    LayerNoBias,
}

/// Where a block normalises.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum NormPlacement {
    /// What goes into each half (Xiong 2020).
    #[default]
    Pre,
    /// What goes into each half, and what comes out before it is added (Gemma 2).
    PreAndPost,
}

/// How the halves of a block are put together.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// The feed-forward half reads what attention wrote.
    #[default]
    Serial,
    /// Both read the block's input, each through its own norm (GPT-NeoX).
    Parallel,
    /// Both read the block's input through one norm (GPT-J, PaLM).
    ParallelShared,
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
    /// Queries and keys are rotated.
    Rope(Rope),
    /// A learned vector per position is added to the embedding.
    Learned,
    /// A fixed vector of sines and cosines per position is added to the embedding (Vaswani 2017).
    Sinusoidal,
    /// Scores fall linearly with distance, in each head by another slope (Press 2021).
    Alibi,
    /// Only through the causal mask (Haviv 2022).
    None,
}

/// Rotary position embedding: pair `i` of `n` dimensions turns by `position · theta^(-2i/n)` (Su 2021).
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    pub theta: f64,
    pub style: RopeStyle,
    /// How many dimensions at the start of each head rotate; none is all of them.
    #[serde(default)]
    pub dims: Option<usize>,
    #[serde(default)]
    pub scaling: RopeScaling,
}

impl Rope {
    /// Half-split rotation of whole heads.
    pub fn new(theta: f64) -> Self {
        Self { theta, style: RopeStyle::HalfSplit, dims: None, scaling: RopeScaling::None }
    }
}

/// How RoPE is stretched to more positions than the model was trained on. `original` counts those.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum RopeScaling {
    #[default]
    None,
    /// Position interpolation: positions are divided by the factor (Chen 2023).
    Linear { factor: f64 },
    /// NTK-aware: theta is multiplied by `factor^(n / (n - 2))`, at every length (bloc97 2023).
    Ntk { factor: f64 },
    /// NTK-aware by the length of the text so far, and not before it is longer than `max_positions`. With a cache, keys keep
    /// the rotation of the call that wrote them, as in transformers.
    Dynamic { factor: f64 },
    /// Slow pairs are interpolated, fast ones kept, and scores scaled by `attention_factor²` (Peng 2023).
    Yarn { factor: f64, original: usize, beta_fast: f64, beta_slow: f64, attention_factor: f64, truncate: bool },
    /// Llama 3.1's: by wavelength, with a smooth passage between.
    Llama3 { factor: f64, low_freq_factor: f64, high_freq_factor: f64, original: usize },
}

impl RopeScaling {
    /// YaRN with the bounds its paper found for llama, and `0.1 · ln(factor) + 1` (Peng 2023, equation 22).
    pub fn yarn(factor: f64, original: usize) -> Self {
        let attention_factor = 0.1 * factor.max(1.0).ln() + 1.0;
        Self::Yarn { factor, original, beta_fast: 32.0, beta_slow: 1.0, attention_factor, truncate: true }
    }
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

/// A mixture of experts in place of the feed-forward half (Shazeer 2017; GLaM, Du 2022; Mixtral, Jiang 2024).
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct Moe {
    pub experts: usize,
    /// Experts that each token goes to.
    pub top_k: usize,
    /// The chosen experts' probabilities are divided by their sum.
    pub renormalize: bool,
    /// Weight of the load-balancing loss (Fedus 2021, equations 4 to 6).
    pub balance: f64,
    /// While training, an expert takes at most `capacity_factor · tokens · top_k / experts` tokens of a micro-batch; those beyond
    /// pass it by. None takes all.
    pub capacity_factor: Option<f64>,
    /// Every how many layers: 1 is all, 2 every second one, starting with the second (GLaM).
    pub every: usize,
}

impl Moe {
    pub fn is_in(&self, layer: usize) -> bool {
        (layer + 1).is_multiple_of(self.every.max(1))
    }
}

/// Probabilities that a number is dropped while training (Srivastava 2014).
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
pub struct Dropout {
    /// Of the sum of embeddings.
    pub embedding: f32,
    /// Of attention's weights.
    pub attention: f32,
    /// Of what each half of a block adds.
    pub residual: f32,
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
    /// `K`; fewer than `H` is grouped-query attention (Ainslie 2023), 1 multi-query attention (Shazeer 2019)
    pub kv_heads: usize,
    /// `E`
    pub head_dim: usize,
    /// `F`
    pub ffn_dim: usize,
    /// Positions the model was made for.
    pub max_positions: usize,
    pub norm: Norm,
    pub norm_eps: f64,
    /// Added to the weight of every norm (Gemma stores weights around 0).
    #[serde(default)]
    pub norm_offset: f64,
    #[serde(default)]
    pub norm_placement: NormPlacement,
    /// A norm right behind the embedding (Bloom).
    #[serde(default)]
    pub embedding_norm: bool,
    /// Embeddings are multiplied by this (Gemma: `√D`).
    #[serde(default)]
    pub embedding_scale: Option<f64>,
    #[serde(default)]
    pub block: BlockKind,
    pub position: Position,
    pub activation: Activation,
    /// `down(act(gate(x)) · up(x))` instead of `down(act(up(x)))`.
    pub mlp_gated: bool,
    #[serde(default)]
    pub moe: Option<Moe>,
    /// Biases on query, key and value.
    pub attention_bias: bool,
    /// A bias on attention's output projection.
    pub output_bias: bool,
    pub mlp_bias: bool,
    #[serde(default)]
    pub head_bias: bool,
    /// RMSNorm of every query and key head before the rotation (Henry 2020).
    #[serde(default)]
    pub qk_norm: bool,
    /// Scores are divided by the root of this instead of the root of `E`.
    #[serde(default)]
    pub query_scalar: Option<f64>,
    /// Scores become `cap · tanh(score / cap)` (Gemma 2).
    #[serde(default)]
    pub attention_softcap: Option<f64>,
    /// Logits become `cap · tanh(logit / cap)`.
    #[serde(default)]
    pub logit_softcap: Option<f64>,
    /// A query sees this many positions back, itself included; none sees all.
    pub sliding_window: Option<usize>,
    /// Which layers have the window; empty is all of them.
    #[serde(default)]
    pub sliding_layers: Vec<bool>,
    /// Which layers don't rotate (SmolLM3); empty is none.
    #[serde(default)]
    pub unrotated_layers: Vec<bool>,
    #[serde(default)]
    pub dropout: Dropout,
    /// The head is the embedding, transposed.
    pub tied: bool,
    pub bos: Option<u32>,
    pub eos: Vec<u32>,
}

impl ModelConfig {
    /// `H · E`, the width of all queries of one position.
    pub fn q_width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// `K · E`, the width of all keys (or values) of one position.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The window of one layer.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.sliding_window.filter(|_| self.sliding_layers.get(layer).copied().unwrap_or(true))
    }

    /// Whether this layer rotates its queries and keys.
    pub fn rotates(&self, layer: usize) -> bool {
        matches!(self.position, Position::Rope(_)) && !self.unrotated_layers.get(layer).copied().unwrap_or(false)
    }

    /// The mixture of experts of one layer.
    pub fn moe_in(&self, layer: usize) -> Option<Moe> {
        self.moe.filter(|moe| moe.is_in(layer))
    }

    /// How many layers have one.
    pub fn moe_layers(&self) -> usize {
        (0..self.n_layers).filter(|layer| self.moe_in(*layer).is_some()).count()
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
        if self.n_layers > MAX_LAYERS {
            return Err(ConfigError::invalid("n_layers", self.n_layers));
        }
        if !self.n_heads.is_multiple_of(self.kv_heads) {
            return Err(ConfigError::invalid("kv_heads", self.kv_heads));
        }
        if let Position::Rope(rope) = self.position {
            self.validate_rope(&rope)?;
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return Err(ConfigError::invalid("norm_eps", self.norm_eps));
        }
        if !self.norm_offset.is_finite() {
            return Err(ConfigError::invalid("norm_offset", self.norm_offset));
        }
        if self.sliding_window == Some(0) {
            return Err(ConfigError::invalid("sliding_window", 0));
        }
        for (field, layers) in [("sliding_layers", &self.sliding_layers), ("unrotated_layers", &self.unrotated_layers)]
        {
            if !layers.is_empty() && layers.len() != self.n_layers {
                return Err(ConfigError::invalid(
                    field,
                    format!("{} layers, the model has {}", layers.len(), self.n_layers),
                ));
            }
        }
        self.validate_scales()?;
        self.moe.map_or(Ok(()), |moe| self.validate_moe(&moe))
    }

    fn validate_scales(&self) -> Result<(), ConfigError> {
        let scales = [
            ("embedding_scale", self.embedding_scale),
            ("query_scalar", self.query_scalar),
            ("attention_softcap", self.attention_softcap),
            ("logit_softcap", self.logit_softcap),
        ];
        for (field, value) in scales {
            if let Some(value) = value.filter(|v| !(v.is_finite() && *v > 0.0)) {
                return Err(ConfigError::invalid(field, value));
            }
        }
        let rates = [
            ("dropout.embedding", self.dropout.embedding),
            ("dropout.attention", self.dropout.attention),
            ("dropout.residual", self.dropout.residual),
        ];
        match rates.into_iter().find(|(_, rate)| !(0.0..1.0).contains(rate)) {
            Some((field, rate)) => Err(ConfigError::invalid(field, rate)),
            None => Ok(()),
        }
    }

    fn validate_rope(&self, rope: &Rope) -> Result<(), ConfigError> {
        let dims = rope.dims.unwrap_or(self.head_dim);
        if dims == 0 || dims > self.head_dim || !dims.is_multiple_of(2) {
            let field = if rope.dims.is_some() { "rope.dims" } else { "head_dim" };
            return Err(ConfigError::invalid(field, dims));
        }
        if !(rope.theta.is_finite() && rope.theta > 0.0) {
            return Err(ConfigError::invalid("theta", rope.theta));
        }
        let (factor, original) = match rope.scaling {
            RopeScaling::None => return Ok(()),
            RopeScaling::Linear { factor } => (factor, 1),
            RopeScaling::Ntk { factor } | RopeScaling::Dynamic { factor } => {
                if dims <= 2 {
                    return Err(ConfigError::invalid("rope.dims", dims));
                }
                (factor, 1)
            }
            RopeScaling::Yarn { factor, original, beta_fast, beta_slow, attention_factor, .. } => {
                for (field, value) in
                    [("beta_fast", beta_fast), ("beta_slow", beta_slow), ("attention_factor", attention_factor)]
                {
                    if !(value.is_finite() && value > 0.0) {
                        return Err(ConfigError::invalid(&format!("rope.scaling.{field}"), value));
                    }
                }
                (factor, original)
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
                if !(low_freq_factor > 0.0 && high_freq_factor > low_freq_factor && high_freq_factor.is_finite()) {
                    return Err(ConfigError::invalid("rope.scaling.high_freq_factor", high_freq_factor));
                }
                (factor, original)
            }
        };
        if !(factor.is_finite() && factor >= 1.0) {
            return Err(ConfigError::invalid("rope.scaling.factor", factor));
        }
        if original == 0 {
            return Err(ConfigError::invalid("rope.scaling.original", original));
        }
        Ok(())
    }

    fn validate_moe(&self, moe: &Moe) -> Result<(), ConfigError> {
        if moe.experts == 0 || moe.experts > 1 << 12 {
            return Err(ConfigError::invalid("moe.experts", moe.experts));
        }
        if moe.top_k == 0 || moe.top_k > moe.experts {
            return Err(ConfigError::invalid("moe.top_k", moe.top_k));
        }
        if moe.every == 0 || moe.every > self.n_layers {
            return Err(ConfigError::invalid("moe.every", moe.every));
        }
        if !(moe.balance.is_finite() && moe.balance >= 0.0) {
            return Err(ConfigError::invalid("moe.balance", moe.balance));
        }
        match moe.capacity_factor {
            Some(factor) if !(factor.is_finite() && factor > 0.0) => {
                Err(ConfigError::invalid("moe.capacity_factor", factor))
            }
            _ => Ok(()),
        }
    }

    /// How many numbers the weights are.
    pub fn parameters(&self) -> u64 {
        let [v, d, f, q, kv] =
            [self.vocab_size, self.d_model, self.ffn_dim, self.q_width(), self.kv_width()].map(|n| n as u64);
        let when = |condition: bool, n: u64| if condition { n } else { 0 };
        let norm = d + when(self.norm == Norm::Layer, d);
        let attention = d * (2 * q + 2 * kv)
            + when(self.attention_bias, q + 2 * kv)
            + when(self.output_bias, d)
            + when(self.qk_norm, 2 * self.head_dim as u64);
        let wide = if self.mlp_gated { 2 } else { 1 };
        let mlp = (wide + 1) * d * f + when(self.mlp_bias, wide * f + d);
        let norms = match (self.norm_placement, self.block) {
            (NormPlacement::Pre, BlockKind::ParallelShared) => 1,
            (NormPlacement::Pre, _) => 2,
            (NormPlacement::PreAndPost, BlockKind::ParallelShared) => 3,
            (NormPlacement::PreAndPost, _) => 4,
        };
        let layer = |i: usize| match self.moe_in(i) {
            Some(moe) => moe.experts as u64 * (mlp + d),
            None => mlp,
        };
        v * d
            + when(self.position == Position::Learned, self.max_positions as u64 * d)
            + when(self.embedding_norm, norm)
            + self.n_layers as u64 * (norms * norm + attention)
            + (0..self.n_layers).map(layer).sum::<u64>()
            + norm
            + when(!self.tied, v * d)
            + when(self.head_bias, v)
    }
}
