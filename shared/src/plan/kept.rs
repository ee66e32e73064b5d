//! What a forward pass through a block keeps for the backward pass, counted from what the engine's operations leave on the tape: fused kernels
//! on the CPU, burn's own operations on a GPU and wherever products are rounded.

use super::{F32, ModelShape, ProjectionShape};
use crate::spec::{Precision, TrainSpec};

/// Where passes run, and whether their products are in a shorter format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub gpu: bool,
    pub rounds: bool,
}

impl Format {
    /// `auto` is f32 here; who knows of a device that it is not says so.
    pub fn of(precision: Precision, gpu: bool) -> Self {
        Self { gpu, rounds: !matches!(precision, Precision::F32 | Precision::Auto) }
    }

    /// Bytes of a number on its way into a product; on the CPU it is rounded, and stays as long as it was.
    pub fn input(self) -> u64 {
        if self.gpu && self.rounds { F32 / 2 } else { F32 }
    }
}

/// Bytes for each head, query and key of a layer whose attention makes tensors of that size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scores {
    pub kept: u64,
    /// Beside that, while the layer is computed.
    pub passing: u64,
}

impl ModelShape {
    /// Attention that goes in steps (`attend_in_steps` of `hearth_model`): with dropout of its weights, with rounded products, and on a
    /// GPU always. The fused kernel keeps nothing of the size.
    ///
    /// The tape keeps the scores less their row's largest (the exponential's gradient needs them), the exponentials (the quotient's),
    /// the mask of what is dropped, and the weights as they go into the product with the values. The scores before that, and the
    /// weights before they are dropped and before they are rounded, pass; the way back holds two gradients at once.
    pub(super) fn scores(&self, format: Format) -> Scores {
        if !(format.gpu || format.rounds || self.attention_dropout) {
            return Scores::default();
        }
        let [drops, rounds] = [self.attention_dropout, format.rounds].map(u64::from);
        Scores { kept: F32 * (2 + drops) + format.input(), passing: F32 * (1 + drops + rounds).max(2) }
    }

    /// Bytes of a position, without [`Self::scores`]: what both norms read and give; queries, keys, values and what attention gives; the
    /// feed-forward's units. Of a block with experts, or of a dense one.
    pub(super) fn block_kept(&self, spec: &TrainSpec, format: Format, experts: bool) -> u64 {
        let input = format.input();
        // A norm in burn's operations keeps what it scales and what it multiplies with its weight; a fused one only what it reads.
        let normed = if format.gpu || self.layer_norm { 4 } else { 2 };
        let dropped = if self.residual_dropout { 2 } else { 0 };
        // A norm's output is kept once, but every product that rounds it keeps a copy of its own.
        let readers = if format.rounds { self.readers(experts) } else { 2 };
        let heads = 2 * (self.q_width + self.kv_width);
        let inner = self.ffn_dim * if experts { self.active_experts } else { 1 };
        // Gate and units; burn's operations keep the gate's sigmoid and its product with the gate, too.
        let units = match (self.gated, format.gpu) {
            (true, true) => 4,
            (true, false) => 2,
            (false, _) => 1,
        };
        let lora = spec.lora().map_or(0, |lora| {
            self.inside(experts).filter(|p| lora.targets(&p.name)).count() as u64 * u64::from(lora.r)
        });
        let plain = self.d_model * (normed + dropped) + inner * units + lora;
        F32 * plain + input * (self.d_model * readers + heads + inner)
    }

    /// Products of a block that read a norm's output.
    fn readers(&self, experts: bool) -> u64 {
        let dense = self.inside(experts).filter(|p| !p.ends_half).count() as u64;
        dense + if experts { 2 * self.active_experts } else { 0 }
    }

    /// Matrices that a block with experts has beside them, or all of a dense one.
    fn inside(&self, experts: bool) -> impl Iterator<Item = &ProjectionShape> {
        self.projections.iter().filter(move |p| !experts || p.layers == self.n_layers)
    }
}

#[cfg(test)]
mod tests {
    use super::super::estimate::{Layout, Place};
    use super::super::tests::smollm2;
    use super::*;
    use crate::plan::devices::sheets;
    use crate::spec::{ArchitectureSpec, Auto, Preset};

    fn full() -> TrainSpec {
        let (batch_size, max_length, micro_batch_tokens) = (8, 256, 2048);
        TrainSpec { adapter: None, batch_size, max_length, micro_batch_tokens, ..TrainSpec::default() }
    }

    fn gpt2() -> ModelShape {
        let spec = ArchitectureSpec { preset: Preset::Gpt2, depth: 6, ..ArchitectureSpec::default() };
        spec.shape(4096).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Bytes of one tensor of a number for each row, head, query and key of `full`.
    fn tensor(shape: &ModelShape) -> u64 {
        4 * 8 * shape.n_heads * 256 * 256
    }

    #[test]
    fn dropped_attention_weights_cost_four_tensors_a_layer() {
        let dropping = gpt2();
        let fused = ModelShape { attention_dropout: false, ..dropping.clone() };
        let [with, without] = [&dropping, &fused].map(|shape| shape.memory(&full()).activations);
        assert_eq!(with - without, 6 * 4 * tensor(&dropping));
        // Nothing else of a run depends on it, and a llama of the same size has none of them.
        assert_eq!(dropping.memory(&full()).gradients, fused.memory(&full()).gradients);
        let llama = ArchitectureSpec { depth: 6, ..ArchitectureSpec::default() }.shape(4096);
        let llama = llama.unwrap_or_else(|error| panic!("{error}"));
        assert!(with > 2 * llama.memory(&full()).activations);
    }

    #[test]
    fn a_format_that_is_emulated_takes_more_than_f32() {
        let shape = smollm2();
        let of = |precision| shape.memory(&TrainSpec { precision, ..full() });
        let plain = of(Precision::F32);
        assert_eq!(plain, of(Precision::Auto));
        for precision in [Precision::Bf16, Precision::F16, Precision::Fp8] {
            let emulated = of(precision);
            // Three tensors of attention, three more copies of what norms give, and every weight rounded.
            let more = 30 * (3 * tensor(&shape) + 4 * 2048 * 3 * 576);
            assert_eq!(emulated.activations - plain.activations, more, "{precision:?}");
            assert_eq!(emulated.weights, 2 * plain.weights, "{precision:?}");
        }
    }

    #[test]
    fn checkpointing_counts_one_layer() {
        let dropping = gpt2();
        let fused = ModelShape { attention_dropout: false, ..dropping.clone() };
        let again = TrainSpec { gradient_checkpointing: true, ..full() };
        let [with, without] = [&dropping, &fused].map(|shape| shape.memory(&again));
        assert_eq!(with.activations - without.activations, 4 * tensor(&dropping));
        // And while that one is computed, the scores and the weights before the mask.
        assert!(with.temporary >= 2 * tensor(&dropping));
    }

    /// One H100, bf16 (docs/log.md): a model of 11.2 M on 64 x 512 tokens took 17.6 GB with all that the allocator and CUDA hold; one of
    /// 134.5 M on 16 x 1024 did not fit into 80 GB.
    #[test]
    fn a_card_holds_about_what_was_measured() {
        let sheets = sheets();
        let h100 = sheets.iter().find(|sheet| sheet.name.starts_with("H100")).unwrap_or_else(|| panic!("no H100"));
        let gigabytes = |shape: &ModelShape, rows: u32, length: u32| {
            let spec = TrainSpec { batch_size: rows, max_length: length, micro_batch_tokens: rows * length, ..full() };
            shape.memory_on(&spec, Place::usual(h100, Layout::SINGLE)).total as f64 / 1e9
        };
        let small = ArchitectureSpec {
            depth: 8,
            d_model: Auto::Value(320),
            n_heads: Auto::Value(5),
            kv_heads: Auto::Value(5),
            ..ArchitectureSpec::default()
        };
        let small = small.shape(4096).unwrap_or_else(|error| panic!("{error}"));
        let small = gigabytes(&small, 64, 512);
        assert!(small > 17.6 * 0.75 && small < 17.6, "{small}");
        let large = gigabytes(&smollm2(), 16, 1024);
        assert!(large > 80.0 * 0.75, "{large}");
    }
}
