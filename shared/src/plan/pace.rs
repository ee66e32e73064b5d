//! What a step of training on a CPU takes beside its products, from what small steps took there: attention that goes in steps, and numbers
//! that are rounded.

use serde::{Deserialize, Serialize};

use super::ModelShape;
use super::kept::Format;
use crate::spec::TrainSpec;

/// What training was measured to take on a CPU, with a model of its own for that.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pace {
    /// Share of a large product's speed that a step reaches whose attention is fused and whose numbers are f32.
    pub utilisation: f64,
    /// Seconds that a score (row, head, query, key, layer) takes longer where weights of attention are dropped, forward and backward.
    pub dropped: f64,
    /// The same where products are rounded.
    pub rounded_score: f64,
    /// Seconds for a number that is rounded on its way into or out of a matrix's product, or back.
    pub rounded: f64,
}

impl ModelShape {
    /// Seconds of a step with rows of `length` tokens beyond what its fused f32 counterpart takes.
    pub(super) fn detours(&self, spec: &TrainSpec, length: f64, pace: &Pace) -> f64 {
        let rounds = Format::of(spec.precision, false).rounds;
        let [rounds, drops] = [rounds, self.attention_dropout].map(|is| f64::from(u8::from(is)));
        // Checkpointing goes forward once more, a third of a step's work.
        let again = if spec.gradient_checkpointing { 4.0 / 3.0 } else { 1.0 };
        let score = drops * pace.dropped + rounds * pace.rounded_score;
        again * (self.scores_of(spec, length) * score + rounds * self.rounded_numbers(spec, length) * pace.rounded)
    }

    /// Of a step, through all layers.
    pub fn scores_of(&self, spec: &TrainSpec, length: f64) -> f64 {
        f64::from(spec.batch_size) * (self.n_layers * self.n_heads) as f64 * length * length
    }

    /// What matrices' products of a step read, give, and hand back: each number of a token twice, and the weights of every pass.
    pub fn rounded_numbers(&self, spec: &TrainSpec, length: f64) -> f64 {
        let matrices: u64 = self.projections.iter().map(|p| p.layers * (p.inputs + p.outputs)).sum();
        let experts = self.moe_layers * self.active_experts * 3 * (self.d_model + self.ffn_dim);
        let token = 2 * (matrices + experts + self.d_model + self.vocab_size);
        let tokens = f64::from(spec.batch_size) * length;
        let passes = (tokens / f64::from(spec.micro_batch_tokens.max(spec.max_length))).ceil().max(1.0);
        let weights = if spec.adapter.is_none() { 2 } else { 1 } * self.parameters;
        tokens * token as f64 + passes * weights as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::smollm2;
    use super::*;
    use crate::spec::Precision;

    const PACE: Pace = Pace { utilisation: 0.9, dropped: 3e-9, rounded_score: 5e-9, rounded: 1e-9 };

    fn full(precision: Precision) -> TrainSpec {
        let (batch_size, max_length, micro_batch_tokens) = (8, 256, 1024);
        TrainSpec { adapter: None, batch_size, max_length, micro_batch_tokens, precision, ..TrainSpec::default() }
    }

    #[test]
    fn only_what_is_not_fused_takes_longer() {
        let (shape, spec) = (smollm2(), full(Precision::Auto));
        assert_eq!(shape.detours(&spec, 256.0, &PACE), 0.0);
        let dropping = ModelShape { attention_dropout: true, ..shape };
        let scores = 8.0 * 30.0 * 9.0 * 256.0 * 256.0;
        assert!((dropping.detours(&spec, 256.0, &PACE) / (scores * 3e-9) - 1.0).abs() < 1e-9);
        let again = TrainSpec { gradient_checkpointing: true, ..spec };
        assert!((dropping.detours(&again, 256.0, &PACE) / (scores * 4e-9) - 1.0).abs() < 1e-9);
    }

    /// By hand, of SmolLM2-135M: two passes' weights and their gradients, and for a token, both ways, both ends of seven matrices in 30
    /// layers and of the head.
    #[test]
    fn rounded_numbers_are_counted_by_hand() {
        let (shape, spec) = (smollm2(), full(Precision::Bf16));
        let block = 2 * (576 + 576) + 2 * (576 + 192) + 3 * (576 + 1536);
        let numbers = 2048.0 * 2.0 * f64::from(30 * block + 576 + 49_152) + 2.0 * 2.0 * 134_515_008.0;
        assert_eq!(shape.rounded_numbers(&spec, 256.0), numbers);
        let scores = 8.0 * 30.0 * 9.0 * 256.0 * 256.0;
        let seconds = shape.detours(&spec, 256.0, &PACE);
        assert!((seconds / (numbers * 1e-9 + scores * 5e-9) - 1.0).abs() < 1e-9);
    }
}
