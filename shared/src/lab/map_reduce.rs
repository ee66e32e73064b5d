//! Attention planned as a big-data job: keys are mapped to scores, scores are combined to a maximum and a sum, weighted values are
//! reduced to one vector, and a projection writes it. Plain arithmetic on counts; it knows no tensor and runs nothing.
//!
//! What is read comes from the store: keys, values, weights. What is shuffled comes from the tasks of the stage before. Only numbers
//! count as bytes, f32 each; the addresses of records don't.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::ModelFacts;

/// Bytes of a number.
const F32: u64 = 4;
/// Of each score on its way to a weight: compared, subtracted from, raised to a power of e, added, divided.
const SOFTMAX: u64 = 5;

/// Which tokens ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Queries {
    /// The one at this index, counted from 0.
    One(u64),
    /// Every token of a text of so many.
    All(u64),
}

impl Queries {
    #[must_use]
    pub fn count(self) -> u64 {
        match self {
            Self::One(_) => 1,
            Self::All(time) => time,
        }
    }

    /// Keys that any of them sees.
    #[must_use]
    pub fn keys(self) -> u64 {
        match self {
            Self::One(index) => index + 1,
            Self::All(time) => time,
        }
    }

    /// Pairs of a query and a key that it sees: itself and all before it.
    #[must_use]
    pub fn pairs(self) -> u64 {
        match self {
            Self::One(index) => index + 1,
            Self::All(time) => time * (time + 1) / 2,
        }
    }
}

/// One layer's attention, or a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub queries: Queries,
    /// Query heads that take part: one, or all of the layer.
    pub heads: u64,
    /// Key/value heads that they read: each is read once, however many query heads share it.
    pub kv_heads: u64,
    /// `E`
    pub head_dim: u64,
    /// `D`
    pub d_model: u64,
}

/// The stages in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Map,
    Combine,
    Reduce,
    Project,
}

/// What one stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    pub kind: Kind,
    pub tasks: u64,
    pub records_in: u64,
    pub records_out: u64,
    /// Bytes from the store.
    pub read: u64,
    /// Bytes from the stage before.
    pub shuffled: u64,
    /// Floating point operations, a multiplication and its addition counted as two.
    pub flops: u64,
}

/// All stages together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub tasks: u64,
    pub read: u64,
    pub shuffled: u64,
    pub flops: u64,
}

impl Job {
    /// Of one head, or of all of a layer.
    #[must_use]
    pub fn of(facts: &ModelFacts, queries: Queries, all_heads: bool) -> Self {
        let (heads, kv_heads) = if all_heads { (facts.n_heads, facts.kv_heads) } else { (1, 1) };
        Self {
            queries,
            heads: u64::from(heads),
            kv_heads: u64::from(kv_heads),
            head_dim: u64::from(facts.head_dim),
            d_model: u64::from(facts.d_model),
        }
    }

    /// Map: a task for each key of each key/value head scores it against every query that sees it, for all query heads that share it.
    /// Combine: a task for each query and head folds its scores into their maximum and their sum of exponentials. Reduce: a task for
    /// each of them adds its values up by weight. Project: a task for each query joins its heads and multiplies by their columns of the
    /// output matrix.
    #[must_use]
    pub fn stages(&self) -> [Stage; 4] {
        let Self { queries, heads, kv_heads, head_dim, d_model } = *self;
        let (count, pairs) = (queries.count(), queries.pairs() * heads);
        let groups = count * heads;
        let stored = queries.keys() * kv_heads;
        [
            Stage {
                kind: Kind::Map,
                tasks: stored,
                records_in: stored,
                records_out: pairs,
                read: stored * head_dim * F32,
                // The queries, once.
                shuffled: groups * head_dim * F32,
                flops: 2 * head_dim * pairs,
            },
            Stage {
                kind: Kind::Combine,
                tasks: groups,
                records_in: pairs,
                records_out: groups,
                read: 0,
                shuffled: pairs * F32,
                flops: SOFTMAX * pairs,
            },
            Stage {
                kind: Kind::Reduce,
                tasks: groups,
                records_in: pairs,
                records_out: groups,
                read: stored * head_dim * F32,
                // The maximum and the sum; the scores are where the combiner left them.
                shuffled: groups * 2 * F32,
                flops: 2 * head_dim * pairs,
            },
            Stage {
                kind: Kind::Project,
                tasks: count,
                records_in: groups,
                records_out: count,
                read: heads * head_dim * d_model * F32,
                shuffled: groups * head_dim * F32,
                flops: 2 * groups * head_dim * d_model,
            },
        ]
    }

    #[must_use]
    pub fn totals(&self) -> Totals {
        self.stages().into_iter().fold(Totals::default(), |sum, stage| Totals {
            tasks: sum.tasks + stage.tasks,
            read: sum.read + stage.read,
            shuffled: sum.shuffled + stage.shuffled,
            flops: sum.flops + stage.flops,
        })
    }

    /// Bytes of keys and values that are read.
    #[must_use]
    pub fn keys_and_values(&self) -> u64 {
        2 * self.queries.keys() * self.kv_heads * self.head_dim * F32
    }

    /// The same where every query head has its own.
    #[must_use]
    pub fn unshared(&self) -> u64 {
        Self { kv_heads: self.heads, ..*self }.keys_and_values()
    }
}

/// What a combiner knows of some scores: their maximum, and the sum of e to the power of each less the maximum. Two of them merge in any
/// order, so a combiner may run wherever scores lie (Milakov and Gimelshein 2018, "Online normalizer calculation for softmax").
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Partial {
    pub max: f64,
    pub sum: f64,
}

impl Partial {
    /// Of one score.
    #[must_use]
    pub fn one(score: f32) -> Self {
        Self { max: f64::from(score), sum: 1.0 }
    }

    /// None of no scores.
    #[must_use]
    pub fn of(scores: &[f32]) -> Option<Self> {
        scores.iter().copied().map(Self::one).reduce(Self::merge)
    }

    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let max = self.max.max(other.max);
        Self { max, sum: self.sum * (self.max - max).exp() + other.sum * (other.max - max).exp() }
    }

    /// What a score's weight is, once everything is merged.
    #[must_use]
    pub fn weight(&self, score: f32) -> f64 {
        (f64::from(score) - self.max).exp() / self.sum
    }
}

/// So many records cut into at most `most` neighbouring partitions of about one size, none of them empty.
#[must_use]
pub fn partitions(records: usize, most: usize) -> Vec<Range<usize>> {
    let size = records.div_ceil(most.max(1)).max(1);
    (0..records).step_by(size).map(|start| start..records.min(start + size)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// hearth-nano: width 128, 4 query heads of 32 over 2 key/value heads.
    fn nano() -> ModelFacts {
        ModelFacts {
            architecture: "llama".into(),
            position: "rope".into(),
            parameters: 1,
            vocab_size: 4096,
            d_model: 128,
            n_layers: 4,
            n_heads: 4,
            kv_heads: 2,
            head_dim: 32,
            max_positions: 512,
        }
    }

    fn stage(kind: Kind, counts: [u64; 6]) -> Stage {
        let [tasks, records_in, records_out, read, shuffled, flops] = counts;
        Stage { kind, tasks, records_in, records_out, read, shuffled, flops }
    }

    #[test]
    fn one_token_and_head_is_counted_by_hand() {
        // The tenth token sees ten keys of 32 numbers.
        let job = Job::of(&nano(), Queries::One(9), false);
        let expected = [
            stage(Kind::Map, [10, 10, 10, 1_280, 128, 640]),
            stage(Kind::Combine, [1, 10, 1, 0, 40, 50]),
            stage(Kind::Reduce, [1, 10, 1, 1_280, 8, 640]),
            stage(Kind::Project, [1, 1, 1, 16_384, 128, 8_192]),
        ];
        assert_eq!(job.stages(), expected);
        assert_eq!(job.totals(), Totals { tasks: 13, read: 18_944, shuffled: 304, flops: 9_522 });
        assert_eq!((job.keys_and_values(), job.unshared()), (2_560, 2_560));
    }

    #[test]
    fn shared_keys_are_read_once() {
        let job = Job::of(&nano(), Queries::One(9), true);
        let expected = [
            // Two key/value heads are read, four query heads scored.
            stage(Kind::Map, [20, 20, 40, 2_560, 512, 2_560]),
            stage(Kind::Combine, [4, 40, 4, 0, 160, 200]),
            stage(Kind::Reduce, [4, 40, 4, 2_560, 32, 2_560]),
            stage(Kind::Project, [1, 4, 1, 65_536, 512, 32_768]),
        ];
        assert_eq!(job.stages(), expected);
        assert_eq!((job.keys_and_values(), job.unshared()), (5_120, 10_240));
    }

    #[test]
    fn a_sentence_is_counted_by_hand() {
        // Four tokens see 1 + 2 + 3 + 4 keys.
        let job = Job::of(&nano(), Queries::All(4), true);
        let expected = [
            stage(Kind::Map, [8, 8, 40, 1_024, 2_048, 2_560]),
            stage(Kind::Combine, [16, 40, 16, 0, 160, 200]),
            stage(Kind::Reduce, [16, 40, 16, 1_024, 128, 2_560]),
            stage(Kind::Project, [4, 16, 4, 65_536, 2_048, 131_072]),
        ];
        assert_eq!(job.stages(), expected);
        // The same by hand for one head of it.
        let one = Job::of(&nano(), Queries::All(4), false);
        assert_eq!(
            one.totals(),
            Totals {
                tasks: 4 + 4 + 4 + 4,
                read: 512 + 512 + 16_384,
                shuffled: 512 + 40 + 32 + 512,
                flops: 640 + 50 + 640 + 32_768
            }
        );
    }

    #[test]
    fn partitions_hold_every_record_once() {
        assert_eq!(partitions(10, 4), [0..3, 3..6, 6..9, 9..10]);
        assert_eq!(partitions(2, 4), [0..1, 1..2]);
        assert!(partitions(0, 4).is_empty());
    }

    proptest! {
        #[test]
        fn combiners_merge_in_any_cut(scores in prop::collection::vec(-30.0_f32..30.0, 1..40), most in 1_usize..9) {
            let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = scores.iter().map(|score| (f64::from(*score) - f64::from(max)).exp()).sum();
            let parts = partitions(scores.len(), most).into_iter().filter_map(|part| Partial::of(&scores[part]));
            let merged = parts.reduce(Partial::merge).unwrap_or(Partial { max: 0.0, sum: 0.0 });
            prop_assert_eq!(merged.max, f64::from(max));
            prop_assert!((merged.sum / sum - 1.0).abs() < 1e-9);
            let weights: f64 = scores.iter().map(|score| merged.weight(*score)).sum();
            prop_assert!((weights - 1.0).abs() < 1e-9);
        }
    }
}
