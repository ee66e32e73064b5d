//! The sampler's way from a row of logits to what is drawn from, stage by stage, for people to look at. It goes through the sampler's own
//! functions, so that nothing shown is another program's. It knows no tensors, tokenizer or model.

use std::collections::BTreeMap;
use std::ops::Range;

use hearth_shared::lab::sampling::Step;
use hearth_shared::spec::Sampling;

use super::{Sampler, argmax, best, better, candidates, likeliest, near_the_best, nucleus, penalise, top, weight};

/// What could be drawn if the way ended here.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    pub step: Step,
    /// `[V]`, not normalised; 0 for what cannot be drawn.
    weights: Vec<f32>,
    total: f64,
    /// Tokens that can be drawn.
    pub kept: usize,
    /// Probability, before this stage, of what can't be drawn any more.
    pub removed: f64,
    /// `−Σ p log2 p`, in bits (Shannon 1948).
    pub entropy: f64,
}

impl Stage {
    fn new(step: Step, weights: Vec<f32>, before: Option<&Self>) -> Self {
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let drawn = || weights.iter().filter(|weight| **weight > 0.0).map(|weight| f64::from(*weight));
        let cut = |before: &Self| {
            let both = before.weights.iter().zip(&weights);
            let cut = both.filter(|(_, now)| **now == 0.0).map(|(then, _)| f64::from(*then));
            // Not `sum`: of nothing it is minus zero.
            cut.fold(0.0, |sum, weight| sum + weight) / before.total
        };
        let kept = drawn().count();
        let removed = before.map_or(0.0, cut);
        // The sum over p = w / total, with the total taken out of it.
        let entropy = (total.log2() - drawn().map(|weight| weight * weight.log2()).sum::<f64>() / total).max(0.0);
        Self { step, weights, total, kept, removed, entropy }
    }

    /// The next stage, which changes nothing.
    fn passed(&self, step: Step) -> Self {
        Self { step, removed: 0.0, ..self.clone() }
    }

    /// A token's probability if it were drawn now; 0 outside the vocabulary.
    pub fn share(&self, id: u32) -> f64 {
        self.weights.get(id as usize).map_or(0.0, |weight| f64::from(*weight) / self.total)
    }

    /// Tokens that can be drawn, by their ids.
    pub fn support(&self) -> impl Iterator<Item = u32> + '_ {
        (0_u32..).zip(&self.weights).filter(|(_, weight)| **weight > 0.0).map(|(id, _)| id)
    }
}

/// All stages in the order of [`Step::ALL`], for `logits` `[V]` behind the tokens `seen`. The last one is what
/// [`Sampler::draw`] draws from. V is at least 1.
pub fn stages(logits: &[f32], seen: &[u32], spec: &Sampling) -> Vec<Stage> {
    let size = logits.len();
    let model = Stage::new(Step::Model, whole(logits, 1.0), None);
    let penalised = penalise(logits, seen, spec.repetition_penalty);
    let penalty = match &penalised {
        Some(logits) => Stage::new(Step::Penalty, whole(logits, 1.0), Some(&model)),
        None => model.passed(Step::Penalty),
    };
    let logits = penalised.as_deref().unwrap_or(logits);
    if spec.temperature <= 0.0 {
        let greedy = Stage::new(Step::Temperature, scattered(size, &[(argmax(logits), 1.0)]), Some(&penalty));
        let rest = [Step::TopK, Step::TopP, Step::MinP].map(|step| greedy.passed(step));
        return [model, penalty, greedy].into_iter().chain(rest).collect();
    }
    let temperature = if spec.temperature == 1.0 {
        penalty.passed(Step::Temperature)
    } else {
        Stage::new(Step::Temperature, whole(logits, spec.temperature), Some(&penalty))
    };
    let mut left = likeliest(spec, logits);
    let top_k = if spec.top_k.is_some_and(|k| (k as usize) < size) {
        Stage::new(Step::TopK, scattered(size, &left), Some(&temperature))
    } else {
        temperature.passed(Step::TopK)
    };
    let top_p = if spec.top_p < 1.0 {
        nucleus(&mut left, spec.top_p);
        Stage::new(Step::TopP, scattered(size, &left), Some(&top_k))
    } else {
        top_k.passed(Step::TopP)
    };
    let min_p = if spec.min_p > 0.0 {
        near_the_best(&mut left, spec.min_p);
        Stage::new(Step::MinP, scattered(size, &left), Some(&top_p))
    } else {
        top_p.passed(Step::MinP)
    };
    vec![model, penalty, temperature, top_k, top_p, min_p]
}

/// The weight of every token.
fn whole(logits: &[f32], temperature: f32) -> Vec<f32> {
    let best = best(logits);
    logits.iter().map(|logit| weight(*logit, best, temperature)).collect()
}

/// `[V]`, from the tokens that are left.
fn scattered(size: usize, left: &[(u32, f32)]) -> Vec<f32> {
    let mut weights = vec![0.0; size];
    for (id, weight) in left {
        weights[*id as usize] = *weight;
    }
    weights
}

/// Tokens worth showing: the likeliest by the model and the likeliest behind the penalty, taken in turn until there are `count`; in the
/// model's order.
pub fn shown(stages: &[Stage], count: usize) -> Vec<u32> {
    let Some(model) = stages.first() else {
        return Vec::new();
    };
    let tops: Vec<Vec<u32>> = stages.iter().take(2).map(|stage| top(&stage.weights, count)).collect();
    let mut ids: Vec<u32> = Vec::new();
    for place in 0..count {
        for id in tops.iter().filter_map(|top| top.get(place)) {
            if ids.len() < count && !ids.contains(id) {
                ids.push(*id);
            }
        }
    }
    ids.sort_unstable_by(|a, b| better(&model.weights, *a, *b));
    ids
}

/// The `count` likeliest of what [`Sampler::draw`] draws from, with their probabilities, the likeliest first; of
/// equals the lower id.
pub fn chances(logits: &[f32], seen: &[u32], spec: &Sampling, count: usize) -> Vec<(u32, f64)> {
    let penalised = penalise(logits, seen, spec.repetition_penalty);
    let logits = penalised.as_deref().unwrap_or(logits);
    if spec.temperature <= 0.0 {
        return std::iter::once((argmax(logits), 1.0)).take(count).collect();
    }
    let mut left = candidates(spec, logits);
    let total: f64 = left.iter().map(|(_, weight)| f64::from(*weight)).sum();
    left.retain(|(_, weight)| *weight > 0.0);
    let likelier = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count < left.len() {
        left.select_nth_unstable_by(count, likelier);
        left.truncate(count);
    }
    left.sort_unstable_by(likelier);
    left.into_iter().map(|(id, weight)| (id, f64::from(weight) / total)).collect()
}

/// How often each token is the first that samplers of these seeds draw.
pub fn tally(logits: &[f32], seen: &[u32], spec: &Sampling, seeds: Range<u64>) -> BTreeMap<u32, u32> {
    let mut times = BTreeMap::new();
    for seed in seeds {
        let spec = Sampling { seed: Some(seed), ..spec.clone() };
        *times.entry(Sampler::new(&spec, seed).draw(logits, seen).id).or_default() += 1;
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DRAWS: u64 = 20_000;
    const SEEN: [u32; 4] = [3, 11, 3, 30];

    /// 40 tokens, no two alike, from likely to hardly possible.
    fn row() -> Vec<f32> {
        (0..40u32).map(|id| ((id * 17 + 5) % 40) as f32 / 6.0 - 1.5).collect()
    }

    fn with(change: impl FnOnce(&mut Sampling)) -> Sampling {
        let mut spec = Sampling::default();
        change(&mut spec);
        spec
    }

    fn specs() -> Vec<Sampling> {
        vec![
            Sampling::default(),
            Sampling::greedy(),
            with(|s| s.temperature = 2.0),
            with(|s| s.temperature = 0.05),
            with(|s| s.top_k = Some(7)),
            with(|s| s.top_p = 0.8),
            with(|s| s.top_p = 0.0),
            with(|s| s.min_p = 0.2),
            with(|s| s.repetition_penalty = 1.7),
            with(|s| {
                s.temperature = 0.0;
                s.repetition_penalty = 3.0;
            }),
            with(|s| {
                s.temperature = 1.4;
                s.top_k = Some(20);
                s.top_p = 0.9;
                s.min_p = 0.08;
                s.repetition_penalty = 1.3;
            }),
        ]
    }

    #[test]
    fn the_last_stage_is_what_the_sampler_draws_from() {
        let logits = row();
        for spec in specs() {
            let all = stages(&logits, &SEEN, &spec);
            let last = all.last().expect("there are six stages");
            // The very tokens.
            let mut exact: Vec<(u32, f64)> = chances(&logits, &SEEN, &spec, usize::MAX);
            exact.sort_by_key(|(id, _)| *id);
            let ids: Vec<u32> = exact.iter().map(|(id, _)| *id).collect();
            assert_eq!(last.support().collect::<Vec<_>>(), ids, "{spec:?}");
            assert_eq!(last.kept, ids.len(), "{spec:?}");
            for (id, share) in &exact {
                assert!((last.share(*id) - share).abs() < 1e-12, "{spec:?}: {id}");
            }
            // And as often as is said, within five standard deviations.
            let drawn = tally(&logits, &SEEN, &spec, 0..DRAWS);
            assert!(drawn.keys().all(|id| last.share(*id) > 0.0), "{spec:?} draws what was cut: {drawn:?}");
            for (id, share) in exact {
                let times = f64::from(drawn.get(&id).copied().unwrap_or_default());
                let expected = share * DRAWS as f64;
                let deviation = (expected * (1.0 - share)).sqrt();
                assert!(
                    (times - expected).abs() <= 5.0 * deviation + 1.0,
                    "{spec:?}: {id} {times} times, not {expected}"
                );
            }
        }
    }

    #[test]
    fn stages_are_counted_by_hand() {
        // Probabilities 1/8, 1/2, 1/4, 1/8.
        let logits = [0.125f32, 0.5, 0.25, 0.125].map(f32::ln);
        let spec = with(|s| {
            s.top_k = Some(3);
            s.top_p = 0.6;
            s.min_p = 0.6;
        });
        let all = stages(&logits, &[], &spec);
        assert_eq!(all.iter().map(|stage| stage.step).collect::<Vec<_>>(), Step::ALL);
        assert_eq!(all.iter().map(|stage| stage.kept).collect::<Vec<_>>(), [4, 4, 4, 3, 2, 1]);
        let removed: Vec<f64> = all.iter().map(|stage| stage.removed).collect();
        // 1/8 of all; 1/8 of the 7/8 that are left; 1/4 of the 3/4.
        for (found, expected) in removed.iter().zip([0.0, 0.0, 0.0, 0.125, 1.0 / 7.0, 1.0 / 3.0]) {
            assert!((found - expected).abs() < 1e-6, "{removed:?}");
        }
        assert!((all[0].entropy - 1.75).abs() < 1e-6 && all[5].entropy < 1e-9, "{all:?}");
        assert!((all[3].share(1) - 4.0 / 7.0).abs() < 1e-6 && all[3].share(3) == 0.0);
        assert_eq!((all[5].share(1), all[5].share(2), all[5].share(99)), (1.0, 0.0, 0.0));
    }

    #[test]
    fn greedy_cuts_at_the_temperature_and_the_penalty_at_nothing() {
        let logits = [2.0, 1.0, 0.0];
        let spec = Sampling { repetition_penalty: 4.0, ..Sampling::greedy() };
        let all = stages(&logits, &[0], &spec);
        assert_eq!(all.iter().map(|stage| stage.kept).collect::<Vec<_>>(), [3, 3, 1, 1, 1, 1]);
        assert_eq!(all[5].support().collect::<Vec<_>>(), [1]);
        assert!(all[1].removed == 0.0 && all[1].share(0) < all[0].share(0) && all[1].share(1) > all[0].share(1));
        assert!((all[2].removed - (1.0 - all[1].share(1))).abs() < 1e-9);
        assert_eq!(chances(&logits, &[0], &spec, 5), [(1, 1.0)]);
    }

    #[test]
    fn both_the_models_and_the_penalised_likeliest_are_shown() {
        let logits = [5.0, 4.0, 3.0, 2.0, 1.0];
        let spec = with(|s| s.repetition_penalty = 10.0);
        let all = stages(&logits, &[0, 1], &spec);
        // By the model 0, 1, 2; behind the penalty 2, 3, 4.
        assert_eq!(shown(&all, 3), [0, 1, 2]);
        assert_eq!(shown(&all, 4), [0, 1, 2, 3]);
        assert_eq!(shown(&all, 99), [0, 1, 2, 3, 4]);
        assert!(shown(&[], 3).is_empty());
    }

    proptest! {
        #[test]
        fn every_stage_is_a_distribution_and_none_brings_a_token_back(
            logits in prop::collection::vec(-9f32..9.0, 1..50),
            temperature in prop_oneof![Just(0f32), 0.05f32..2.0],
            top_k in prop::option::of(1u32..60),
            (top_p, min_p) in (0f32..1.2, 0f32..1.0),
            penalty in 0.5f32..3.0,
            count in 0usize..60,
        ) {
            let spec = Sampling {
                temperature, top_k, top_p: top_p.min(1.0), min_p, repetition_penalty: penalty, ..Sampling::default()
            };
            let all = stages(&logits, &[0, 2, 400], &spec);
            for stage in &all {
                let sum: f64 = (0..logits.len() as u32).map(|id| stage.share(id)).sum();
                prop_assert!((sum - 1.0).abs() < 1e-9, "{:?} sums to {sum}", stage.step);
                let most = (logits.len() as f64).log2() + 1e-6;
                prop_assert!((0.0..=most).contains(&stage.entropy), "{:?}: {} bits", stage.step, stage.entropy);
                prop_assert!((0.0..1.0).contains(&stage.removed), "{:?} cuts {}", stage.step, stage.removed);
            }
            for pair in all[2..].windows(2) {
                prop_assert!(pair[1].support().all(|id| pair[0].share(id) > 0.0));
            }
            let best = chances(&logits, &[0, 2, 400], &spec, count);
            let last = &all[5];
            prop_assert_eq!(best.len(), last.kept.min(count));
            prop_assert!(best.windows(2).all(|pair| pair[0].1 >= pair[1].1));
            prop_assert!(best.iter().all(|(id, share)| (last.share(*id) - share).abs() < 1e-12));
        }
    }
}
