//! The cache lab: the same tokens generated with keys and values kept and without, and by arithmetic what keeping them saves in
//! work and costs in memory. It knows no tensor and no clock.

use serde::{Deserialize, Serialize};

use super::{Engine, ModelFacts};
use crate::plan::ModelShape;

/// Tokens of a prompt that are read; the ones behind them are left out.
pub const PROMPT: u32 = 128;
/// The fewest and the most tokens that are generated, unless the model's positions end earlier.
pub const NEW: (u32, u32) = (8, 128);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// A new run in the place of the last one; nothing is computed yet. Answered by [`Found::Begun`].
    Begin {
        text: String,
        /// Tokens to generate.
        count: u32,
        /// Positions that a third side sees, its own included; none is no third side.
        window: Option<u32>,
    },
    /// The run's next tokens: at least one, and as many as fit into a moment. Answered by [`Found::Advanced`].
    Advance,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "found", rename_all = "snake_case")]
pub enum Found {
    Begun(Box<Begun>),
    Advanced(Advanced),
}

/// A run before its first token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    pub model: String,
    pub engine: Engine,
    /// Token ids.
    pub prompt: Vec<u32>,
    /// Length of the whole prompt in tokens when only its beginning is read.
    pub cut_from: Option<u32>,
    /// Tokens that will be generated: what was asked for, as far as the model's positions reach.
    pub count: u32,
    pub window: Option<u32>,
    pub facts: ModelFacts,
    pub shape: ModelShape,
}

/// New tokens of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advanced {
    pub steps: Vec<Step>,
    /// What the cache holds now.
    pub held: Held,
    pub done: bool,
}

/// One token of every side, in the order in which they were computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// With keys and values kept.
    pub kept: Token,
    /// With the whole text through the model again.
    pub again: Token,
    /// With keys and values kept, and only the window's seen.
    pub windowed: Option<Token>,
    /// The largest difference between any two logits of the first two sides; none once their texts have parted.
    pub apart: Option<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    pub id: u32,
    /// Milliseconds by the worker's clock, up to the moment the logits are in memory.
    pub ms: f64,
    /// Positions that went through the layers for it.
    pub positions: u32,
    /// How far its logit is above the second best: a tie is what rounding can decide.
    pub margin: f32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Positions whose keys and values are in the cache.
    pub positions: u32,
    /// Bytes of the cache's buffers, unused room included.
    pub bytes: u64,
}

/// Work of the model, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Positions that went through the layers.
    pub positions: u64,
    /// Products of a query with a key, over all layers and heads.
    pub pairs: u64,
    /// Floating point operations: two for each weight that a position goes through, four for each pair and dimension of a head (the
    /// score, and the weighted value), and the head once.
    pub flops: f64,
}

impl Work {
    /// Of one step that computes the last `computed` of `length` positions in a model with `heads` query heads.
    #[must_use]
    pub fn of_step(shape: &ModelShape, heads: u64, computed: u64, length: u64) -> Self {
        let before = length.saturating_sub(computed);
        // A position sees itself and all before it: the sum of before + 1 to length.
        let seen = triangle(length) - triangle(before);
        let (products, _) = shape.blocks_forward(0.0);
        let attention = (4 * shape.n_layers * shape.q_width * seen) as f64;
        let head = 2.0 * (shape.d_model * shape.vocab_size) as f64;
        Self {
            positions: computed,
            pairs: shape.n_layers * heads * seen,
            flops: computed as f64 * products + attention + head,
        }
    }

    /// Of a whole run: `prompt` positions, then `positions[i]` of those of step `i`, which is one longer than the step before.
    #[must_use]
    pub fn of_run(shape: &ModelShape, heads: u64, prompt: u64, positions: impl Iterator<Item = u64>) -> Self {
        positions.zip(prompt..).map(|(computed, length)| Self::of_step(shape, heads, computed, length)).sum()
    }
}

impl std::iter::Sum for Work {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, work| Self {
            positions: sum.positions + work.positions,
            pairs: sum.pairs + work.pairs,
            flops: sum.flops + work.flops,
        })
    }
}

/// `1 + 2 + … + n`
fn triangle(n: u64) -> u64 {
    n * (n + 1) / 2
}

/// A cache that nobody has to make: how large it would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhatIf {
    /// Positions of each sequence.
    pub context: u64,
    pub kv_heads: u64,
    pub head_dim: u64,
    /// Positions that are kept at most; none keeps all.
    pub window: Option<u64>,
    /// Sequences at once.
    pub batch: u64,
}

impl WhatIf {
    /// Positions of one sequence whose keys and values are kept.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.window.map_or(self.context, |window| window.min(self.context))
    }

    /// Bytes of all layers, in numbers of so many bytes.
    #[must_use]
    pub fn bytes(&self, shape: &ModelShape, number: u64) -> u64 {
        self.shaped(shape).kv_cache(self.kept(), number as f64) as u64 * self.batch
    }

    /// Bytes of one layer: all are alike.
    #[must_use]
    pub fn layer_bytes(&self, shape: &ModelShape, number: u64) -> u64 {
        self.bytes(shape, number) / shape.n_layers.max(1)
    }

    /// The first context whose cache is larger than the weights, both in numbers of one size; none where the window keeps it smaller.
    #[must_use]
    pub fn outgrows(&self, shape: &ModelShape) -> Option<u64> {
        let position = self.shaped(shape).kv_cache(1, 1.0) as u64 * self.batch;
        let context = shape.parameters.checked_div(position)? + 1;
        self.window.is_none_or(|window| window >= context).then_some(context)
    }

    /// The model with as many key/value heads.
    fn shaped(&self, shape: &ModelShape) -> ModelShape {
        ModelShape { kv_width: self.kv_heads * self.head_dim, ..shape.clone() }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::lab::Reply;
    use crate::spec::{ArchitectureSpec, Auto, Preset};
    use proptest::prelude::*;

    /// hearth-nano: 4 layers, width 128, 4 heads of 32, 2 key/value heads, feed-forward 384, 4096 words.
    fn nano() -> ModelShape {
        let spec = ArchitectureSpec {
            preset: Preset::Llama,
            depth: 4,
            d_model: Auto::Value(128),
            n_heads: Auto::Value(4),
            kv_heads: Auto::Value(2),
            ffn_dim: Auto::Value(384),
            ..ArchitectureSpec::default()
        };
        spec.shape(4096).unwrap()
    }

    const HEADS: u64 = 4;

    /// Added up in the plainest way: each position of each step through every matrix, every pair one by one.
    fn slowly(prompt: u64, steps: u64, keeps: bool) -> Work {
        let mut work = Work::default();
        for step in 0..steps {
            let length = prompt + step;
            for position in 1..=length {
                let computed = !keeps || step == 0 || position == length;
                if computed {
                    let matrices = 4 * (128 * 128 * 2 + 128 * 64 * 2 + 3 * 128 * 384);
                    work.positions += 1;
                    work.pairs += position * 4 * HEADS;
                    work.flops += 2.0 * f64::from(matrices) + (position * 4 * 4 * 128) as f64;
                }
            }
            work.flops += 2.0 * 128.0 * 4096.0;
        }
        work
    }

    #[test]
    fn work_is_what_is_counted_one_by_one() {
        let (shape, prompt, steps) = (nano(), 7, 5);
        let kept = Work::of_run(&shape, HEADS, prompt, [7, 1, 1, 1, 1].into_iter());
        let again = Work::of_run(&shape, HEADS, prompt, prompt..prompt + steps);
        assert_eq!(kept, slowly(prompt, steps, true));
        assert_eq!(again, slowly(prompt, steps, false));
        assert_eq!((kept.positions, again.positions), (11, 45));
    }

    #[test]
    fn a_cache_is_counted_by_hand() {
        let shape = nano();
        let what_if = WhatIf { context: 100, kv_heads: 2, head_dim: 32, window: None, batch: 1 };
        // Keys and values, 4 layers, 2 heads of 32, 100 positions, 4 bytes.
        assert_eq!(what_if.bytes(&shape, 4), 2 * 4 * 2 * 32 * 100 * 4);
        assert_eq!(what_if.layer_bytes(&shape, 4), 2 * 2 * 32 * 100 * 4);
        let all = WhatIf { kv_heads: 4, batch: 3, ..what_if };
        assert_eq!(all.bytes(&shape, 1), 2 * 4 * 4 * 32 * 100 * 3);
        let rolling = WhatIf { window: Some(16), ..what_if };
        assert_eq!(rolling.bytes(&shape, 2), 2 * 4 * 2 * 32 * 16 * 2);
        assert_eq!(WhatIf { window: Some(500), ..what_if }.bytes(&shape, 2), what_if.bytes(&shape, 2));
    }

    proptest! {
        #[test]
        fn a_cache_outgrows_the_weights_where_it_is_said(
            kv_heads in 1_u64..9, batch in 1_u64..300, window in prop::option::of(1_u64..400_000)
        ) {
            let shape = nano();
            let at = |context| WhatIf { context, kv_heads, head_dim: 32, window, batch };
            let weights = shape.parameters * 2;
            match at(1).outgrows(&shape) {
                Some(context) => {
                    prop_assert!(at(context).bytes(&shape, 2) > weights);
                    prop_assert!(context == 1 || at(context - 1).bytes(&shape, 2) <= weights);
                }
                None => prop_assert!(at(1 << 40).bytes(&shape, 2) <= weights),
            }
        }
    }

    #[test]
    fn answers_survive_the_crossing() {
        let token = Token { id: 3, ms: 1.25, positions: 1, margin: 0.5 };
        let step = Step { kept: token, again: token, windowed: None, apart: Some(1e-6) };
        let held = Held { positions: 9, bytes: 4096 };
        let advanced = Advanced { steps: vec![step], held, done: true };
        let reply = Reply::Cache(Box::new(Found::Advanced(advanced)));
        let text = serde_json::to_string(&reply).unwrap();
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply);
    }
}
