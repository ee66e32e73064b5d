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
        let [d_model, n_layers, ffn_dim, experts] =
            [sizes.d_model, sizes.n_layers, sizes.ffn_dim, sizes.experts].map(u64::from);
        let (q_width, kv_width) =
            (u64::from(sizes.n_heads * sizes.head_dim), u64::from(sizes.kv_heads * sizes.head_dim));
        let projections = projections(self.preset, &sizes);
        let matrices: u64 = projections.iter().map(|p| p.inputs * p.outputs).sum();
        let biases: u64 = if self.preset == Preset::Gpt2 { projections.iter().map(|p| p.outputs).sum() } else { 0 };
        let norm = if self.preset == Preset::Gpt2 { 2 * d_model } else { d_model };
        let norms = if self.preset == Preset::Palm { 1 } else { 2 };
        // Each expert's three matrices, and its row of the router.
        let mixture = experts * (3 * d_model * ffn_dim + d_model);
        let positions = if self.preset == Preset::Gpt2 { u64::from(sizes.max_positions) * d_model } else { 0 };
        let tied = self.preset != Preset::Moe;
        let ends = vocab_size * d_model * if tied { 1 } else { 2 } + positions + norm;
        Ok(ModelShape {
            parameters: ends + n_layers * (matrices + biases + norms * norm + mixture),
            vocab_size,
            d_model,
            n_layers,
            q_width,
            kv_width,
            ffn_dim,
            gated: self.preset != Preset::Gpt2,
            experts,
            active_experts: if experts > 0 { u64::from(ACTIVE_EXPERTS) } else { 1 },
            tied,
            projections,
        })
    }
}

/// What an adapter can sit on in a block, under the names of the family's checkpoints.
fn projections(preset: Preset, sizes: &Sizes) -> Vec<ProjectionShape> {
    let (d, f) = (u64::from(sizes.d_model), u64::from(sizes.ffn_dim));
    let (q, kv) = (u64::from(sizes.n_heads * sizes.head_dim), u64::from(sizes.kv_heads * sizes.head_dim));
    let plain = |name: &str, inputs, outputs| ProjectionShape {
        name: name.to_owned(),
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
    if preset != Preset::Moe {
        out.extend([plain("gate_proj", d, f), plain("up_proj", d, f), down("down_proj")]);
    }
    out
}
