//! The shape of a model that does not exist yet, from what a person asks for.

use super::{ModelShape, ProjectionShape};
use crate::spec::{ACTIVE_EXPERTS, ArchitectureSpec, Preset, Sizes, SpecError};

impl ArchitectureSpec {
    /// With a vocabulary of so many tokens.
    ///
    /// # Errors
    /// As [`ArchitectureSpec::sizes`].
    pub fn shape(&self, vocab_size: u64) -> Result<ModelShape, SpecError> {
        let sizes = self.sizes()?;
        let [d_model, n_layers, ffn_dim, experts, moe_layers] =
            [sizes.d_model, sizes.n_layers, sizes.ffn_dim, sizes.experts, sizes.moe_layers].map(u64::from);
        let (q_width, kv_width) =
            (u64::from(sizes.n_heads * sizes.head_dim), u64::from(sizes.kv_heads * sizes.head_dim));
        let projections = projections(self.preset, &sizes);
        let matrices: u64 = projections.iter().map(|p| p.layers * p.inputs * p.outputs).sum();
        let biases: u64 =
            if self.preset == Preset::Gpt2 { projections.iter().map(|p| p.layers * p.outputs).sum() } else { 0 };
        let norm = if self.preset == Preset::Gpt2 { 2 * d_model } else { d_model };
        let norms = if self.preset == Preset::Palm { 1 } else { 2 };
        // Each expert's three matrices, and its row of the router.
        let mixture = experts * (3 * d_model * ffn_dim + d_model);
        let positions = if self.preset == Preset::Gpt2 { u64::from(sizes.max_positions) * d_model } else { 0 };
        let tied = self.preset != Preset::Moe;
        let ends = vocab_size * d_model * if tied { 1 } else { 2 } + positions + norm;
        Ok(ModelShape {
            parameters: ends + matrices + biases + n_layers * norms * norm + moe_layers * mixture,
            vocab_size,
            d_model,
            n_layers,
            n_heads: u64::from(sizes.n_heads),
            q_width,
            kv_width,
            ffn_dim,
            gated: self.preset != Preset::Gpt2,
            experts,
            moe_layers,
            active_experts: if experts > 0 { u64::from(ACTIVE_EXPERTS) } else { 1 },
            tied,
            layer_norm: matches!(self.preset, Preset::Gpt2 | Preset::Palm),
            // GPT-2 drops a tenth of both.
            attention_dropout: self.preset == Preset::Gpt2,
            residual_dropout: self.preset == Preset::Gpt2,
            projections,
        })
    }
}

/// What an adapter can sit on in the blocks, under the names of the family's checkpoints.
fn projections(preset: Preset, sizes: &Sizes) -> Vec<ProjectionShape> {
    let (d, f) = (u64::from(sizes.d_model), u64::from(sizes.ffn_dim));
    let (q, kv) = (u64::from(sizes.n_heads * sizes.head_dim), u64::from(sizes.kv_heads * sizes.head_dim));
    let (all, dense) = (u64::from(sizes.n_layers), u64::from(sizes.n_layers - sizes.moe_layers));
    let plain = |name: &str, inputs, outputs| ProjectionShape {
        name: name.to_owned(),
        layers: all,
        inputs,
        outputs,
        factors: 0,
        ends_half: false,
    };
    let scaled = |name: &str, inputs, outputs| ProjectionShape { factors: outputs, ..plain(name, inputs, outputs) };
    let last = |name: &str, inputs, outputs| ProjectionShape { ends_half: true, ..plain(name, inputs, outputs) };
    let down = |name: &str| ProjectionShape { factors: f, ..last(name, f, d) };
    if preset == Preset::Gpt2 {
        return vec![scaled("c_attn", d, q + 2 * kv), last("c_proj", q, d), plain("c_fc", d, f), down("c_proj")];
    }
    let mut out = vec![plain("q_proj", d, q), scaled("k_proj", d, kv), scaled("v_proj", d, kv), last("o_proj", q, d)];
    if dense > 0 {
        let mlp = [plain("gate_proj", d, f), plain("up_proj", d, f), down("down_proj")];
        out.extend(mlp.map(|projection| ProjectionShape { layers: dense, ..projection }));
    }
    out
}
