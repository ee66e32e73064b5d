//! What a head looks at, in a few numbers: plain arithmetic on attention's weights, and two texts to take them from, one that a person
//! wrote and one of random tokens said twice.

use burn::tensor::{Tensor, Transaction};
use hearth_shared::lab::inside::{At, HeadFacts, Measures};

use super::{LookError, numbers, tokens};
use crate::trace::Trace;
use crate::transformer::{Forward, Transformer};

/// `[1, H, T, T]` of every layer, still on the device.
pub(crate) fn traced(model: &Transformer, ids: &[u32]) -> Vec<Tensor<4>> {
    let mut trace = Trace::default();
    model.hidden(tokens(ids, &model.device()), Forward { trace: Some(&mut trace), ..Forward::default() });
    trace.layers.into_iter().map(|layer| layer.weights).collect()
}

/// `[H, T, T]` of every layer.
///
/// # Errors
/// The device was lost or refused the work.
pub async fn weights(model: &Transformer, ids: &[u32]) -> Result<Vec<Vec<f32>>, LookError> {
    let reading = traced(model, ids).into_iter().fold(Transaction::default(), Transaction::register);
    let read = reading.execute_async().await.map_err(|error| LookError::new(&error))?;
    read.into_iter().map(numbers).collect()
}

/// Any fixed tokens without a pattern: a multiplicative walk through the vocabulary that leaves out its first three. No token comes
/// twice while there are fewer of them than a common vocabulary holds.
pub fn random(vocab_size: usize, count: usize) -> Vec<u32> {
    let span = (vocab_size as u64).saturating_sub(3).max(1);
    (1..=count as u64).map(|i| (i * 2_654_435_761 % span + 3) as u32).collect()
}

/// Two copies of a text, one behind the other.
pub fn twice(ids: &[u32]) -> Vec<u32> {
    ids.iter().chain(ids).copied().collect()
}

/// Mean weight on the token just before, from one head's `[T, T]`.
pub fn previous(weights: &[f32], time: usize) -> f64 {
    mean((1..time).map(|query| at(weights, time, query, query - 1)), time.saturating_sub(1))
}

/// Mean weight on the token after the last time the present one was seen (Olsson 2022), from one head's `[T, T]` over `T / 2` tokens
/// said twice.
pub fn induction(weights: &[f32], time: usize) -> f64 {
    let period = time / 2;
    if period == 0 {
        return 0.0;
    }
    mean((period..time).map(|query| at(weights, time, query, query - period + 1)), period)
}

/// From one head's `[T, T]`.
pub fn measures(weights: &[f32], time: usize) -> Measures {
    let mut sum = Measures::default();
    for query in 1..time {
        let row = &weights[query * time..=query * time + query];
        for (key, weight) in row.iter().map(|weight| f64::from(*weight)).enumerate() {
            sum.distance += weight * (query - key) as f64;
            if weight > 0.0 {
                sum.entropy -= weight * weight.log2();
            }
        }
        sum.first += f64::from(row[0]);
    }
    let queries = time.saturating_sub(1).max(1) as f64;
    Measures {
        entropy: sum.entropy / queries,
        distance: sum.distance / queries,
        first: sum.first / queries,
        previous: previous(weights, time),
    }
}

/// Weights of every layer, `[H, T, T]` each, and `T`.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub layers: &'a [Vec<f32>],
    pub time: usize,
}

impl<'a> Seen<'a> {
    /// Layer, head, and its `[T, T]`.
    fn heads(self) -> impl Iterator<Item = (At, &'a [f32])> {
        (0_u32..).zip(self.layers).flat_map(move |(layer, weights)| {
            let heads = weights.chunks_exact((self.time * self.time).max(1));
            (0_u32..).zip(heads).map(move |(head, weights)| (At { layer, head }, weights))
        })
    }
}

/// Every head's numbers, on a text and on tokens said twice.
pub fn facts(text: Seen<'_>, random: Seen<'_>) -> Vec<HeadFacts> {
    let both = text.heads().zip(random.heads());
    both.map(|((at, on_text), (_, on_random))| HeadFacts {
        at,
        text: measures(on_text, text.time),
        random: measures(on_random, random.time),
        induction: induction(on_random, random.time),
    })
    .collect()
}

fn at(weights: &[f32], time: usize, query: usize, key: usize) -> f64 {
    f64::from(weights[query * time + key])
}

fn mean(values: impl Iterator<Item = f64>, count: usize) -> f64 {
    values.sum::<f64>() / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tokens said twice.
    #[rustfmt::skip]
    const WEIGHTS: [f32; 16] = [
        1.0,   0.0,  0.0,  0.0,
        0.5,   0.5,  0.0,  0.0,
        0.25,  0.5,  0.25, 0.0,
        0.125, 0.25, 0.5,  0.125,
    ];

    #[test]
    fn a_head_is_measured_by_hand() {
        let found = measures(&WEIGHTS, 4);
        // Rows of 1, 1.5 and 1.75 bits.
        assert!((found.entropy - 4.25 / 3.0).abs() < 1e-12, "{found:?}");
        // 0.5; 0.5 + 0.5; 0.375 + 0.5 + 0.5.
        assert!((found.distance - (0.5 + 1.0 + 1.375) / 3.0).abs() < 1e-12, "{found:?}");
        assert!((found.first - 0.875 / 3.0).abs() < 1e-12, "{found:?}");
        assert!((found.previous - 1.5 / 3.0).abs() < 1e-12, "{found:?}");
        // The third token was seen first, so the second is behind its copy; the fourth was seen second, and behind that stands the third.
        assert!((induction(&WEIGHTS, 4) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn one_token_says_nothing() {
        assert_eq!(measures(&[1.0], 1), Measures::default());
        assert_eq!((previous(&[1.0], 1), induction(&[1.0], 1)), (0.0, 0.0));
    }

    #[test]
    fn heads_come_layer_by_layer() {
        let layers = [[WEIGHTS; 2].concat(), [WEIGHTS; 2].concat()];
        let seen = Seen { layers: &layers, time: 4 };
        let found = facts(seen, seen);
        let order: Vec<(u32, u32)> = found.iter().map(|facts| (facts.at.layer, facts.at.head)).collect();
        assert_eq!(order, [(0, 0), (0, 1), (1, 0), (1, 1)]);
        assert!(found.iter().all(|facts| facts.induction == 0.5 && facts.text == facts.random));
    }

    #[test]
    fn random_tokens_are_fixed_and_apart() {
        let tokens = random(4096, 64);
        assert_eq!(tokens, random(4096, 64));
        let mut sorted = tokens.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 64);
        assert!(sorted[0] >= 3 && sorted[63] < 4096);
        assert_eq!(twice(&[7, 8]), [7, 8, 7, 8]);
    }
}
