//! The logit lens (nostalgebraist 2020, "interpreting GPT: the logit lens"): the last norm and the head applied to the residual stream
//! at any depth, as if the blocks behind it weren't there.

use hearth_shared::lab::inside::{Follower, Guess, Reading, TOP};

use super::losses::POSITIONS;
use super::stream::Stream;
use super::{LookError, numbers};
use crate::transformer::Transformer;

/// Logits of the tokens from `start` on at one state of the stream, at most 128 of them: `[P, V]`. The last state gives the model's own.
///
/// # Errors
/// The device was lost or refused the work.
///
/// # Panics
/// There is no such state or token.
pub async fn logits(model: &Transformer, stream: &Stream, state: usize, start: usize) -> Result<Vec<f32>, LookError> {
    let normed = stream.normed(model, state); // [1, T, D]
    let count = POSITIONS.min(normed.dims()[1] - start);
    let logits = model.logits(normed.narrow(1, start, count)); // [1, P, V]
    let read = logits.into_data_async().await;
    numbers(read.map_err(|error| LookError::new(&error))?)
}

/// What every token of `ids` would be followed by at one state of the stream that they made.
///
/// # Errors
/// As [`logits`].
///
/// # Panics
/// There is no such state.
pub async fn readings(
    model: &Transformer,
    stream: &Stream,
    state: usize,
    ids: &[u32],
) -> Result<Vec<Reading>, LookError> {
    let vocab = model.config().vocab_size;
    let mut out = Vec::with_capacity(ids.len());
    while out.len() < ids.len() {
        let rows = logits(model, stream, state, out.len()).await?;
        for row in rows.chunks_exact(vocab) {
            let next = ids.get(out.len() + 1).copied();
            out.push(reading(row, next));
        }
    }
    Ok(out)
}

/// The likeliest tokens of a row of logits, of equal ones the first, and the place of the one that follows.
fn reading(logits: &[f32], next: Option<u32>) -> Reading {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let power = |logit: f32| (f64::from(logit) - max).exp();
    let sum: f64 = logits.iter().copied().map(power).sum();
    let probability = |logit: f32| (power(logit) / sum) as f32;
    let mut top: Vec<(u32, f32)> = Vec::with_capacity(TOP + 1);
    for (id, &logit) in (0_u32..).zip(logits) {
        let place = top.partition_point(|&(_, held)| held >= logit);
        if place < TOP {
            top.insert(place, (id, logit));
            top.truncate(TOP);
        }
    }
    let follower = |id: u32| {
        let own = *logits.get(id as usize)?;
        let ahead = |&(other, &logit): &(u32, &f32)| logit > own || (logit == own && other < id);
        let rank = (0_u32..).zip(logits).filter(ahead).count() as u32;
        Some(Follower { id, rank, probability: probability(own) })
    };
    Reading {
        top: top.into_iter().map(|(id, logit)| Guess { id, probability: probability(logit) }).collect(),
        next: next.and_then(follower),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_ranked_by_hand() {
        // Probabilities 1/16, 8/16, 1/16, 2/16, 2/16, 1/16, 1/16.
        let logits: Vec<f32> = [1.0_f32, 8.0, 1.0, 2.0, 2.0, 1.0, 1.0].map(f32::ln).to_vec();
        let found = reading(&logits, Some(5));
        assert_eq!(found.top.iter().map(|guess| guess.id).collect::<Vec<_>>(), [1, 3, 4, 0, 2]);
        assert!((found.top[0].probability - 0.5).abs() < 1e-6 && (found.top[2].probability - 0.125).abs() < 1e-6);
        let next = found.next.unwrap();
        // Behind 1, 3, 4, and before 6, which is no likelier.
        assert_eq!((next.id, next.rank), (5, 5));
        assert!((next.probability - 1.0 / 16.0).abs() < 1e-6);
        assert_eq!(reading(&logits, Some(1)).next.unwrap().rank, 0);
        assert_eq!((reading(&logits, None).next, reading(&logits, Some(7)).next), (None, None));
    }
}
