//! Ready-made shapes. Sizes and settings are the papers'; a preset's vocabulary is the caller's.

use hearth_shared::spec::{ArchitectureSpec, Preset, SpecError};

use super::{
    Activation, Architecture, BlockKind, Dropout, ModelConfig, Moe, Norm, NormPlacement, Position, Rope, RopeStyle,
};

/// The sizes of GPT-2 (Radford 2019, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gpt2Size {
    /// 124 M
    Small,
    /// 355 M
    Medium,
    /// 774 M
    Large,
    /// 1.5 B
    Xl,
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
            norm_offset: 0.0,
            norm_placement: NormPlacement::Pre,
            embedding_norm: false,
            embedding_scale: None,
            block: BlockKind::Serial,
            position: Position::Rope(Rope::new(10_000.0)),
            activation: Activation::Silu,
            mlp_gated: true,
            moe: None,
            attention_bias: false,
            output_bias: false,
            mlp_bias: false,
            head_bias: false,
            qk_norm: false,
            query_scalar: None,
            attention_softcap: None,
            logit_softcap: None,
            sliding_window: None,
            sliding_layers: Vec::new(),
            unrotated_layers: Vec::new(),
            dropout: Dropout::default(),
            tied: true,
            bos: None,
            eos: Vec::new(),
        }
    }

    /// The model that a person asks for, with a vocabulary of so many tokens.
    ///
    /// # Errors
    /// The first size no model can have.
    pub fn asked(spec: &ArchitectureSpec, vocab_size: usize) -> Result<Self, SpecError> {
        let sizes = spec.sizes()?;
        let [d_model, n_layers, n_heads, kv_heads] =
            [sizes.d_model, sizes.n_layers, sizes.n_heads, sizes.kv_heads].map(|n| n as usize);
        let (heads, max_positions) = ((n_heads, kv_heads), sizes.max_positions as usize);
        let family = match spec.preset {
            Preset::Llama => Self::llama(vocab_size, d_model, n_layers, heads, max_positions),
            Preset::Gpt2 => Self::gpt2(Gpt2Size::Small, vocab_size),
            Preset::Moe => {
                let all = Self::moe(sizes.experts as usize, vocab_size, d_model, n_layers, heads);
                let (every, capacity_factor) = (spec.moe_every as usize, spec.capacity_factor);
                Self { moe: all.moe.map(|moe| Moe { every, capacity_factor, ..moe }), ..all }
            }
            Preset::Palm => Self::palm(vocab_size, d_model, n_layers, n_heads, max_positions),
        };
        let config = Self {
            d_model,
            n_layers,
            n_heads,
            kv_heads,
            head_dim: sizes.head_dim as usize,
            ffn_dim: sizes.ffn_dim as usize,
            max_positions,
            ..family
        };
        // Mixtral has experts in every layer, and no capacity.
        Ok(config.settled())
    }

    /// GPT-2: LayerNorm, learned positions, GELU, biases everywhere, tied, dropout 0.1.
    pub fn gpt2(size: Gpt2Size, vocab_size: usize) -> Self {
        let (d_model, n_layers, n_heads) = match size {
            Gpt2Size::Small => (768, 12, 12),
            Gpt2Size::Medium => (1024, 24, 16),
            Gpt2Size::Large => (1280, 36, 20),
            Gpt2Size::Xl => (1600, 48, 25),
        };
        Self {
            model_type: Architecture::Gpt2,
            ffn_dim: 4 * d_model,
            norm: Norm::Layer,
            position: Position::Learned,
            activation: Activation::GeluTanh,
            mlp_gated: false,
            attention_bias: true,
            output_bias: true,
            mlp_bias: true,
            dropout: Dropout { embedding: 0.1, attention: 0.1, residual: 0.1 },
            ..Self::llama(vocab_size, d_model, n_layers, (n_heads, n_heads), 1024)
        }
    }

    /// A mixture of experts over a Llama-shaped model, as Mixtral has it: `experts` in every layer, two for each token. Each
    /// expert is half as wide as the dense block, so that a token costs what it costs there.
    pub fn moe(experts: usize, vocab_size: usize, d_model: usize, n_layers: usize, heads: (usize, usize)) -> Self {
        let dense = Self::llama(vocab_size, d_model, n_layers, heads, 2048);
        Self {
            model_type: Architecture::Mixtral,
            ffn_dim: (dense.ffn_dim / 2).next_multiple_of(32),
            moe: Some(Moe { experts, top_k: 2, renormalize: true, balance: 0.01, capacity_factor: None, every: 1 }),
            tied: false,
            ..dense
        }
    }

    /// PaLM's shape (Chowdhery 2022): parallel blocks behind one norm, SwiGLU, one key head, RoPE in the paper's pairs, no
    /// biases, tied, embeddings scaled by `√D`.
    pub fn palm(vocab_size: usize, d_model: usize, n_layers: usize, n_heads: usize, max_positions: usize) -> Self {
        let rope = Rope { style: RopeStyle::Interleaved, ..Rope::new(10_000.0) };
        Self {
            model_type: Architecture::Hearth,
            ffn_dim: 4 * d_model,
            norm: Norm::LayerNoBias,
            block: BlockKind::ParallelShared,
            position: Position::Rope(rope),
            embedding_scale: Some((d_model as f64).sqrt()),
            ..Self::llama(vocab_size, d_model, n_layers, (n_heads, 1), max_positions)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transformer::Transformer;

    /// Counted in the papers and in the published checkpoints.
    #[test]
    fn gpt2_has_its_published_sizes() {
        let count = |size| ModelConfig::gpt2(size, 50_257).parameters();
        assert_eq!(count(Gpt2Size::Small), 124_439_808);
        assert_eq!(count(Gpt2Size::Medium), 354_823_168);
        assert_eq!(count(Gpt2Size::Large), 774_030_080);
        assert_eq!(count(Gpt2Size::Xl), 1_557_611_200);
    }

    fn asked(preset: Preset, depth: u32) -> ModelConfig {
        let spec = ArchitectureSpec { preset, depth, max_positions: 64, ..ArchitectureSpec::default() };
        ModelConfig::asked(&spec, 100).expect("a preset is possible")
    }

    /// What Mixtral can't say is kept under our own name, and read again.
    #[test]
    fn a_mixture_in_every_second_layer_is_our_own() {
        let spec = ArchitectureSpec { preset: Preset::Moe, depth: 4, moe_every: 2, ..ArchitectureSpec::default() };
        let config = ModelConfig::asked(&ArchitectureSpec { capacity_factor: Some(1.25), ..spec }, 100);
        let config = config.expect("the preset is possible");
        config.validate().expect("the preset is possible");
        assert_eq!(config.model_type, Architecture::Hearth);
        assert_eq!((0..4).map(|layer| config.moe_in(layer).is_some()).collect::<Vec<_>>(), [false, true, false, true]);
        assert_eq!(config.moe.and_then(|moe| moe.capacity_factor), Some(1.25));
        let written = config.to_json().expect("our own names say everything");
        assert_eq!(ModelConfig::from_json(&written), Ok(config));
    }

    #[test]
    fn every_preset_is_a_model() {
        let shapes = [
            ModelConfig::llama(100, 32, 2, (4, 2), 64),
            asked(Preset::Llama, 1),
            asked(Preset::Llama, 6),
            asked(Preset::Gpt2, 2),
            asked(Preset::Moe, 2),
            asked(Preset::Palm, 3),
            ModelConfig::moe(4, 100, 32, 2, (4, 2)),
            ModelConfig::palm(100, 32, 2, 4, 64),
        ];
        for config in shapes {
            config.validate().expect("a preset is possible");
            let model = Transformer::empty(&config, &crate::device::cpu());
            let count: usize = model.params().iter().map(|(_, p)| p.shape().iter().product::<usize>()).sum();
            assert_eq!(count as u64, config.parameters(), "{config:?}");
        }
        assert_eq!(asked(Preset::Llama, 12).kv_heads, 4);
        assert_eq!(asked(Preset::Moe, 2).model_type, Architecture::Mixtral);
    }
}
