//! From one row of logits to one token, on the CPU. It knows no tensors, tokenizer or model.

pub mod stages;

use hearth_shared::spec::Sampling;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::init::uniform;

/// Draws the tokens of one sequence. The same seed, spec and logits give the same tokens, on every device and machine.
#[derive(Clone, Debug)]
pub struct Sampler {
    spec: Sampling,
    rng: ChaCha8Rng,
}

/// One drawn token.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    pub id: u32,
    /// Natural logarithm of the model's own probability, before temperature, penalty and truncation.
    pub logprob: f32,
    /// The most likely tokens and their log-probabilities, best first; as many as the spec asks for.
    pub top: Vec<(u32, f32)>,
}

impl Sampler {
    /// Without a seed in the spec, `seed` (drawn by the caller) is used.
    pub fn new(spec: &Sampling, seed: u64) -> Self {
        Self { spec: spec.clone(), rng: ChaCha8Rng::seed_from_u64(spec.seed.unwrap_or(seed)) }
    }

    /// Draws from `logits` (one per token of the vocabulary); `seen` is prompt and answer so far.
    pub fn draw(&mut self, logits: &[f32], seen: &[u32]) -> Draw {
        let normaliser = log_sum_exp(logits);
        let id = self.choose(logits, seen);
        let wanted = usize::from(self.spec.logprobs.unwrap_or(0));
        let top = top(logits, wanted).into_iter().map(|id| (id, logits[id as usize] - normaliser)).collect();
        let logprob = logits[id as usize] - normaliser;
        Draw { id, logprob, top }
    }

    fn choose(&mut self, logits: &[f32], seen: &[u32]) -> u32 {
        let penalised = penalise(logits, seen, self.spec.repetition_penalty);
        let logits = penalised.as_deref().unwrap_or(logits);
        if self.spec.temperature <= 0.0 {
            return argmax(logits);
        }
        let candidates = candidates(&self.spec, logits);
        let total: f64 = candidates.iter().map(|(_, p)| f64::from(*p)).sum();
        let mut target = uniform(&mut self.rng) * total;
        for (id, p) in &candidates {
            target -= f64::from(*p);
            if target < 0.0 {
                return *id;
            }
        }
        // Rounding left a crumb of probability behind the last candidate.
        candidates.last().map_or(0, |(id, _)| *id)
    }
}

/// The tokens that may be drawn with their unnormalised probabilities, by transformers' order: temperature, top-k, top-p, min-p.
fn candidates(spec: &Sampling, logits: &[f32]) -> Vec<(u32, f32)> {
    let mut out = likeliest(spec, logits);
    nucleus(&mut out, spec.top_p);
    near_the_best(&mut out, spec.min_p);
    out
}

/// Temperature and top-k. The best token weighs exactly 1; where some will be cut, the best come first.
fn likeliest(spec: &Sampling, logits: &[f32]) -> Vec<(u32, f32)> {
    let best = best(logits);
    let weight = |logit: f32| weight(logit, best, spec.temperature);
    let k = spec.top_k.map_or(logits.len(), |k| k as usize);
    if k >= logits.len() && spec.top_p >= 1.0 {
        return (0..).zip(logits).map(|(id, logit)| (id, weight(*logit))).collect();
    }
    // Sorting a few hundred instead of a vocabulary: what weighs less than a millionth of a millionth can neither reach the
    // nucleus nor be drawn.
    let floor = if k < logits.len() { f32::NEG_INFINITY } else { best - 28.0 * spec.temperature };
    let mut ids: Vec<u32> = (0..logits.len() as u32).filter(|id| logits[*id as usize] >= floor).collect();
    if k < ids.len() {
        ids.select_nth_unstable_by(k, |a, b| better(logits, *a, *b));
        ids.truncate(k);
    }
    ids.sort_unstable_by(|a, b| better(logits, *a, *b));
    ids.into_iter().map(|id| (id, weight(logits[id as usize]))).collect()
}

fn best(logits: &[f32]) -> f32 {
    logits.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// What a token weighs beside the best one.
fn weight(logit: f32, best: f32, temperature: f32) -> f32 {
    ((logit - best) / temperature).exp()
}

/// Keeps the shortest front of a sorted list whose share reaches `top_p`; always the first. 1 keeps all.
fn nucleus(sorted: &mut Vec<(u32, f32)>, top_p: f32) {
    if top_p >= 1.0 {
        return;
    }
    let total: f64 = sorted.iter().map(|(_, p)| f64::from(*p)).sum();
    let mut before = 0.0;
    let keep = sorted
        .iter()
        .take_while(|(_, p)| {
            let kept = before < f64::from(top_p) * total;
            before += f64::from(*p);
            kept
        })
        .count();
    sorted.truncate(keep.max(1));
}

/// Keeps what weighs at least this share of the best token's weight, which is 1; 0 keeps all.
fn near_the_best(candidates: &mut Vec<(u32, f32)>, min_p: f32) {
    if min_p > 0.0 {
        candidates.retain(|(_, p)| *p >= min_p);
    }
}

/// None where nothing changes.
fn penalise(logits: &[f32], seen: &[u32], penalty: f32) -> Option<Vec<f32>> {
    if penalty == 1.0 || seen.is_empty() {
        return None;
    }
    let mut out = logits.to_vec();
    for &id in seen {
        let id = id as usize;
        // From the original row: a token seen twice is penalised once.
        if let (Some(to), Some(from)) = (out.get_mut(id), logits.get(id)) {
            *to = if *from > 0.0 { from / penalty } else { from * penalty };
        }
    }
    Some(out)
}

/// Higher logit first; of equals the lower id, so that the order never depends on the algorithm.
fn better(logits: &[f32], a: u32, b: u32) -> std::cmp::Ordering {
    logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b))
}

/// The most likely token; of equals the lowest id.
pub fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

/// The `n` most likely tokens, best first.
pub fn top(logits: &[f32], n: usize) -> Vec<u32> {
    if n == 0 || logits.is_empty() {
        return Vec::new();
    }
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    if n < ids.len() {
        ids.select_nth_unstable_by(n, |a, b| better(logits, *a, *b));
        ids.truncate(n);
    }
    ids.sort_unstable_by(|a, b| better(logits, *a, *b));
    ids
}

/// `ln Σ exp(x)`, without overflow.
pub fn log_sum_exp(logits: &[f32]) -> f32 {
    let best = best(logits);
    let sum: f64 = logits.iter().map(|x| f64::from((x - best).exp())).sum();
    best + sum.ln() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sampler(change: impl FnOnce(&mut Sampling)) -> Sampler {
        let mut spec = Sampling::default();
        change(&mut spec);
        Sampler::new(&spec, 1)
    }

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, 3.0, -1.0];

    #[test]
    fn greedy_takes_the_first_best() {
        let draw = sampler(|s| s.temperature = 0.0).draw(&LOGITS, &[]);
        assert_eq!(draw.id, 1);
        let expected = 3.0 - LOGITS.iter().map(|x| x.exp()).sum::<f32>().ln();
        assert!((draw.logprob - expected).abs() < 1e-6);
    }

    #[test]
    fn penalty_counts_a_token_once_and_pushes_negatives_down() {
        let out = penalise(&LOGITS, &[1, 1, 4], 2.0).expect("a penalty changes the row");
        assert_eq!(out, [1.0, 1.5, 2.0, 3.0, -2.0]);
        assert_eq!(
            sampler(|s| {
                s.temperature = 0.0;
                s.repetition_penalty = 2.0;
            })
            .draw(&LOGITS, &[1])
            .id,
            3
        );
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        let mut sampler = sampler(|s| s.seed = Some(3));
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let mut counts = [0; 3];
        for _ in 0..20_000 {
            counts[sampler.draw(&logits, &[]).id as usize] += 1;
        }
        for (count, p) in counts.iter().zip([0.5, 0.3, 0.2]) {
            assert!((f64::from(*count) / 20_000.0 - p).abs() < 0.015, "{counts:?}");
        }
    }

    #[test]
    fn top_p_keeps_the_token_that_crosses_the_line() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let ids = |top_p| {
            let spec = Sampling { top_p, ..Sampling::default() };
            candidates(&spec, &logits).iter().map(|c| c.0).collect::<Vec<_>>()
        };
        assert_eq!(ids(0.0), [0]);
        assert_eq!(ids(0.45), [0]);
        assert_eq!(ids(0.6), [0, 1]);
        assert_eq!(ids(0.95), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn only_allowed_tokens_are_drawn(
            logits in prop::collection::vec(-8f32..8.0, 1..60),
            k in 1u32..10,
            min_p in 0f32..1.0,
            seed in any::<u64>(),
        ) {
            let mut sampler = sampler(|s| { s.top_k = Some(k); s.min_p = min_p; s.seed = Some(seed); });
            let id = sampler.draw(&logits, &[]).id;
            prop_assert!(top(&logits, k as usize).contains(&id));
            let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert!((logits[id as usize] - best).exp() >= min_p);
        }

        #[test]
        fn log_sum_exp_normalises(logits in prop::collection::vec(-80f32..80.0, 1..40)) {
            let z = log_sum_exp(&logits);
            let total: f32 = logits.iter().map(|x| (x - z).exp()).sum();
            prop_assert!((total - 1.0).abs() < 1e-4);
        }
    }
}
