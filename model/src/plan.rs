//! A model as the arithmetic of [`hearth_shared::plan`] sees it.

use hearth_shared::plan::{ModelShape, ProjectionShape};

use crate::adapter;
use crate::config::{ModelConfig, Norm};
use crate::device;
use crate::transformer::{Half, Transformer};

/// The shape of models of this configuration. Builds none.
pub fn shape(config: &ModelConfig) -> ModelShape {
    // Without weights until they are read.
    let empty = Transformer::empty(&ModelConfig { n_layers: 1, ..config.clone() }, &device::cpu());
    let (layers, moe_layers) = (config.n_layers as u64, config.moe_layers() as u64);
    // The one layer is a dense one, where there are any.
    let projections = empty.projections().into_iter().map(|(path, projection)| {
        let [outputs, inputs] = projection.shape().map(|n| n as u64);
        let factors = match adapter::ia3_of_input(path) {
            Some(true) => inputs,
            Some(false) => outputs,
            None => 0,
        };
        ProjectionShape {
            name: path.name.to_owned(),
            layers: if path.half == Half::Mlp { layers - moe_layers } else { layers },
            inputs,
            outputs,
            factors,
            ends_half: adapter::ends_half(path),
        }
    });
    ModelShape {
        parameters: config.parameters(),
        vocab_size: config.vocab_size as u64,
        d_model: config.d_model as u64,
        n_layers: layers,
        n_heads: config.n_heads as u64,
        q_width: config.q_width() as u64,
        kv_width: config.kv_width() as u64,
        ffn_dim: config.ffn_dim as u64,
        gated: config.mlp_gated,
        experts: config.moe.map_or(0, |moe| moe.experts as u64),
        moe_layers,
        active_experts: config.moe.map_or(1, |moe| moe.top_k as u64),
        tied: config.tied,
        layer_norm: config.norm != Norm::Rms,
        attention_dropout: config.dropout.attention > 0.0,
        residual_dropout: config.dropout.residual > 0.0,
        projections: projections.collect(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use hearth_shared::spec::{
        AdapterSpec, ArchitectureSpec, Auto, BottleneckSpec, LoraSpec, Preset, TrainSpec, VirtualTokensSpec,
    };

    use super::*;
    use crate::config::{Gpt2Size, Moe};
    use crate::projection::is_adapter;

    /// A plan for a model that does not exist yet is the plan of the model.
    #[test]
    fn a_shape_is_known_before_the_model() {
        let base = ArchitectureSpec { depth: 3, max_positions: 96, ..ArchitectureSpec::default() };
        let narrow = ArchitectureSpec { d_model: Auto::Value(48), n_heads: Auto::Value(6), depth: 2, ..base.clone() };
        for preset in [Preset::Llama, Preset::Gpt2, Preset::Moe, Preset::Palm] {
            for spec in [&base, &narrow, &ArchitectureSpec { ffn_dim: Auto::Value(40), ..narrow.clone() }] {
                let spec = ArchitectureSpec { preset, ..spec.clone() };
                let config = ModelConfig::asked(&spec, 70).unwrap();
                assert_eq!(spec.shape(70).unwrap(), shape(&config), "{spec:?}");
            }
        }
        // The third of five layers has experts only, or the second and the fourth.
        for moe_every in [2, 3] {
            let spec = ArchitectureSpec { preset: Preset::Moe, depth: 5, moe_every, ..narrow.clone() };
            let config = ModelConfig::asked(&spec, 70).unwrap();
            let planned = spec.shape(70).unwrap();
            assert_eq!(planned, shape(&config), "{spec:?}");
            let model = Transformer::empty(&config, &device::cpu());
            let count: usize = model.params().iter().map(|(_, param)| param.shape().iter().product::<usize>()).sum();
            assert_eq!(planned.parameters, count as u64, "{spec:?}");
        }
    }

    /// What the arithmetic counts is what is put on a model.
    #[test]
    fn adapters_are_as_large_as_planned() {
        let llama = ModelConfig::llama(50, 24, 3, (4, 2), 64);
        let gpt2 = ModelConfig {
            n_layers: 2,
            d_model: 24,
            n_heads: 4,
            kv_heads: 4,
            head_dim: 6,
            ffn_dim: 40,
            ..ModelConfig::gpt2(Gpt2Size::Small, 50)
        };
        let some = LoraSpec { r: 3, target_modules: vec!["c_attn".into(), "q_proj".into()], ..LoraSpec::default() };
        let tokens = VirtualTokensSpec { virtual_tokens: 5 };
        let adapters = [
            AdapterSpec::Lora(LoraSpec::default()),
            AdapterSpec::Lora(LoraSpec { r: 4, dora: true, ..LoraSpec::default() }),
            AdapterSpec::Ia3,
            AdapterSpec::Prefix(tokens),
            AdapterSpec::Prompt(tokens),
            AdapterSpec::Bottleneck(BottleneckSpec { width: 7 }),
        ];
        let mut alternating = ModelConfig::moe(4, 50, 24, 3, (4, 2));
        alternating.moe = alternating.moe.map(|moe| Moe { every: 2, ..moe });
        for config in [&llama, &gpt2, &ModelConfig::palm(50, 24, 2, 4, 64), &alternating] {
            let shape = shape(config);
            assert_eq!(shape.trained(&TrainSpec { adapter: None, ..TrainSpec::default() }), config.parameters());
            for adapter in &adapters {
                // A prompt would count in the experts' balance.
                if config.moe.is_some() && matches!(adapter, AdapterSpec::Prompt(_)) {
                    continue;
                }
                let mut model = Transformer::new(config, 1, &device::cpu());
                adapter::apply(&mut model, adapter, 1, &device::cpu()).unwrap();
                let params = model.params().into_iter().filter(|(path, _)| is_adapter(path));
                let count: usize = params.map(|(_, param)| param.shape().iter().product::<usize>()).sum();
                let spec = TrainSpec { adapter: Some(adapter.clone()), ..TrainSpec::default() };
                assert_eq!(shape.trained(&spec), count as u64, "{adapter:?} on {:?}", config.model_type);
            }
        }
        let chosen = TrainSpec { adapter: Some(AdapterSpec::Lora(some)), ..TrainSpec::default() };
        assert_eq!(shape(&llama).trained(&chosen), 3 * 3 * (24 + 24));
    }
}
