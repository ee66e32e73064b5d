//! The attention job of the pass in hand: its counts by arithmetic, and the chosen token's own records out of the traced tensors. It
//! draws nothing.

use hearth_shared::lab::map_reduce::{Job, Partial, Queries, Stage, Totals, partitions};
use leptos::prelude::*;
use serde::Serialize;

use super::looks::Scope;
use super::state::Inside;
use crate::app::lab::forward::{Forward, Head, Step};

/// Records that are shown one by one.
const RECORDS: usize = 8;
/// Partitions that the chosen token's keys lie in.
const PARTITIONS: usize = 4;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Planned {
    pub layer: usize,
    pub head: usize,
    /// The chosen token, counted from 0.
    pub token: usize,
    pub job: Job,
    pub stages: [Stage; 4],
    pub totals: Totals,
    /// Bytes of keys and values that are read.
    pub keys_and_values: u64,
    /// The same where every query head has its own.
    pub unshared: u64,
    pub partitions: Vec<Partition>,
    /// All partitions' partials, merged.
    pub merged: Partial,
    /// What the map says of the chosen token's keys, the highest scores first.
    pub records: Vec<Record>,
}

/// Neighbouring keys, and what a combiner makes of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Partition {
    pub first: usize,
    pub last: usize,
    pub partial: Partial,
}

/// One key of the chosen token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Record {
    pub key: usize,
    /// What the map emits.
    pub score: f32,
    /// By the merged partials.
    pub weight: f64,
    /// The pass's own.
    pub computed: f32,
}

impl Planned {
    /// Of what is chosen now; none before there is a pass.
    pub fn of(inside: Inside) -> Option<Self> {
        let session = inside.session;
        let forward = session.forward()?;
        Self::new(&forward, session.at.get(), session.row(), inside.scope.get())
    }

    fn new(forward: &Forward, at: Head, token: usize, scope: Scope) -> Option<Self> {
        let pictured = forward.picture(at, Step::Scores);
        let weights = forward.picture(at, Step::Weights);
        if token >= pictured.rows || token >= weights.rows {
            return None;
        }
        let scores = &pictured.row(token)[..=token];
        let partitions: Vec<Partition> = partitions(scores.len(), PARTITIONS)
            .into_iter()
            .filter_map(|keys| {
                let (first, last) = (keys.start, keys.end - 1);
                Some(Partition { first, last, partial: Partial::of(&scores[keys])? })
            })
            .collect();
        let merged = partitions.iter().map(|partition| partition.partial).reduce(Partial::merge)?;
        let mut records: Vec<Record> = scores
            .iter()
            .enumerate()
            .map(|(key, &score)| Record { key, score, weight: merged.weight(score), computed: weights.at(token, key) })
            .collect();
        records.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.key.cmp(&b.key)));
        records.truncate(RECORDS);
        let queries = match scope.whole_text {
            true => Queries::All(forward.tokens().len() as u64),
            false => Queries::One(token as u64),
        };
        let job = Job::of(&forward.facts, queries, scope.all_heads);
        Some(Self {
            layer: at.layer,
            head: at.head,
            token,
            job,
            stages: job.stages(),
            totals: job.totals(),
            keys_and_values: job.keys_and_values(),
            unshared: job.unshared(),
            partitions,
            merged,
            records,
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::app::lab::forward::tests::small;

    /// One layer, two heads over one key head, two tokens of two dimensions.
    #[test]
    fn a_job_is_about_the_tokens_own_scores() {
        let forward = small();
        let at = Head { layer: 0, head: 1 };
        let planned = Planned::new(&forward, at, 1, Scope::default()).unwrap();
        assert_eq!((planned.stages[0].tasks, planned.stages[0].flops), (2, 8));
        assert_eq!(planned.partitions.len(), 2);
        let scores = forward.picture(at, Step::Scores);
        let best = scores.row(1).iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(planned.records[0].score, best);
        for record in &planned.records {
            assert!((record.weight as f32 - record.computed).abs() < 1e-6, "{record:?}");
        }
        let all = Scope { whole_text: true, all_heads: true };
        let planned = Planned::new(&forward, at, 1, all).unwrap();
        // Two keys of one key head; 1 + 2 pairs in two heads.
        assert_eq!((planned.stages[0].records_in, planned.stages[0].records_out), (2, 6));
        assert_eq!((planned.keys_and_values, planned.unshared), (2 * 2 * 2 * 4, 2 * 2 * 2 * 2 * 4));
        assert_eq!(Planned::new(&forward, at, 2, all), None);
    }
}
