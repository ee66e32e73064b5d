//! A text that was read, its keys and values kept: another text that begins like it costs only what is new, and many continuations are
//! read at once. It reads asynchronously, as all of [`look`](super). It knows no tokenizer and no sampling.

use burn::tensor::Tensor;

use super::{LookError, numbers, rows, tokens};
use crate::cache::KvCache;
use crate::config::ModelConfig;
use crate::transformer::{Forward, Transformer};

/// Positions of one piece: short enough that whoever waits for a large model hears of it.
const PIECE: usize = 32;
/// Continuations that should be read at once at most: each has a copy of the text's keys and values.
pub const ROWS: usize = 16;

/// See the top of the file. The model is lent to every call.
#[derive(Clone, Debug)]
pub struct Reading {
    tokens: Vec<u32>,
    /// Of the tokens that were read.
    cache: KvCache,
    /// `[V]`, what follows the last token; empty before that is read.
    logits: Vec<f32>,
}

impl Reading {
    /// Nothing of it is read yet. A text has at least one token.
    pub fn new(config: &ModelConfig, tokens: &[u32]) -> Self {
        Self { tokens: tokens.to_vec(), cache: KvCache::new(config, 1, tokens.len()), logits: Vec::new() }
    }

    /// The reading of another text: what it begins with in common counts as read.
    pub fn turned_to(&self, tokens: &[u32]) -> Self {
        if self.is_done() && self.tokens == tokens {
            return self.clone();
        }
        let common = self.tokens.iter().zip(tokens).take_while(|(ours, theirs)| ours == theirs).count();
        let mut cache = self.cache.clone();
        // The last token is read anew, because its logits are wanted.
        cache.truncate(common.min(tokens.len().saturating_sub(1)));
        Self { tokens: tokens.to_vec(), cache, logits: Vec::new() }
    }

    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens that were read.
    pub fn read(&self) -> usize {
        self.cache.len()
    }

    pub fn is_done(&self) -> bool {
        !self.logits.is_empty()
    }

    /// `[V]`, what follows the text; empty until all is read.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    pub(super) fn cache(&self) -> &KvCache {
        &self.cache
    }

    /// Reads the next piece.
    ///
    /// # Errors
    /// The device was lost or refused the work; the reading is of no more use then.
    pub async fn read_on(&mut self, model: &Transformer) -> Result<(), LookError> {
        if self.is_done() {
            return Ok(());
        }
        let from = self.cache.len();
        let to = self.tokens.len().min(from + PIECE);
        let piece = tokens(&self.tokens[from..to], &model.device()); // [1, T]
        let ctx = Forward { cache: Some(&mut self.cache), last_only: true, ..Forward::default() };
        if to < self.tokens.len() {
            // Logits of its last token are not needed: stop below the head.
            model.hidden(piece, ctx);
            return Ok(());
        }
        self.logits = read(model.forward(piece, ctx)).await?;
        Ok(())
    }

    /// Logits `[V]` behind each of some continuations, which are equally long and have at least one token, in one pass.
    ///
    /// # Errors
    /// The device was lost or refused the work.
    pub async fn after(&self, model: &Transformer, continuations: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, LookError> {
        let length = continuations.first().map_or(0, Vec::len);
        let mut cache = self.cache.repeated(continuations.len(), length);
        next(model, &mut cache, continuations).await
    }
}

/// Logits `[V]` behind each row of a batch, whose new tokens enter the cache.
pub(super) async fn next(
    model: &Transformer,
    cache: &mut KvCache,
    new: &[Vec<u32>],
) -> Result<Vec<Vec<f32>>, LookError> {
    let ctx = Forward { cache: Some(cache), last_only: true, ..Forward::default() };
    let logits = read(model.forward(rows(new, &model.device()), ctx)).await?; // [B, 1, V]
    Ok(logits.chunks_exact(model.config().vocab_size).map(<[f32]>::to_vec).collect())
}

async fn read(logits: Tensor<3>) -> Result<Vec<f32>, LookError> {
    let read = logits.into_data_async().await;
    numbers(read.map_err(|error| LookError::new(&error))?)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
pub(super) mod tests {
    use futures::executor::block_on;

    use super::super::decode::furthest;
    use super::super::last_logits;
    use super::super::small::model;
    use super::*;

    /// The whole text in one reading.
    pub(in super::super) fn read_whole(model: &Transformer, mut reading: Reading) -> Reading {
        while !reading.is_done() {
            block_on(reading.read_on(model)).unwrap();
        }
        reading
    }

    /// `count` tokens that depend on where they begin.
    fn text(from: u32, count: u32) -> Vec<u32> {
        (from..from + count).map(|place| (place * 23 + 7) % 60).collect()
    }

    fn assert_near(found: &[f32], model: &Transformer, text: &[u32]) {
        let whole = block_on(last_logits(model, text)).unwrap();
        let apart = furthest(found, &whole);
        assert!(found.len() == whole.len() && apart < 1e-4, "the logits behind {text:?} are {apart} apart");
    }

    #[test]
    fn pieces_and_what_is_kept_change_no_logit() {
        let model = model();
        let long = text(0, 50);
        let mut reading = Reading::new(model.config(), &long);
        block_on(reading.read_on(&model)).unwrap();
        assert!(!reading.is_done() && reading.read() == PIECE);
        let reading = read_whole(&model, reading);
        assert_eq!(reading.read(), long.len());
        assert_near(reading.logits(), &model, &long);
        // Longer, shorter, another end, another beginning, the same again.
        let other_end = [&long[..40], &text(9, 4)].concat();
        for (other, kept) in [
            ([&long[..], &text(3, 5)].concat(), 50),
            (long[..20].to_vec(), 19),
            (other_end, 40),
            (text(31, 6), 0),
            (long.clone(), 50),
        ] {
            let turned = reading.turned_to(&other);
            assert_eq!((turned.read(), turned.is_done()), (kept, other == long), "{other:?}");
            let turned = read_whole(&model, turned);
            assert_near(turned.logits(), &model, &other);
        }
        // The first one is as it was.
        assert_near(read_whole(&model, reading).logits(), &model, &long);
    }

    #[test]
    fn continuations_read_at_once_are_those_read_alone() {
        let model = model();
        let prompt = text(4, 9);
        let reading = read_whole(&model, Reading::new(model.config(), &prompt));
        for length in [1, 3] {
            let continuations: Vec<Vec<u32>> = (0..5).map(|from| text(10 * from, length)).collect();
            let all = block_on(reading.after(&model, &continuations)).unwrap();
            assert_eq!(all.len(), continuations.len());
            for (found, continuation) in all.iter().zip(&continuations) {
                assert_near(found, &model, &[&prompt[..], continuation].concat());
            }
        }
    }
}
