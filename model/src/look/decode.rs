//! Greedy decoding taken apart, one token at a time: with keys and values kept, or with the whole text through the model again
//! for every token. Both give the same text; what differs is the work.
//!
//! It reads asynchronously, as all of [`look`](super). It knows no tokenizer, no clock, and no token that ends a text.

use super::{LookError, numbers, tokens};
use crate::cache::KvCache;
use crate::config::ModelConfig;
use crate::transformer::{Forward, Transformer};

/// A text that grows by its most likely token. The model is lent to each step.
#[derive(Clone, Debug)]
pub struct Decoder {
    tokens: Vec<u32>,
    /// None computes every position again.
    cache: Option<KvCache>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub id: u32,
    /// Positions that went through the layers.
    pub positions: usize,
    /// `[V]`
    pub logits: Vec<f32>,
    /// How far the token's logit is above the second best.
    pub margin: f32,
}

impl Decoder {
    /// Keeps keys and values, with room for `count` tokens behind the prompt. The prompt has at least one token.
    pub fn keeping(config: &ModelConfig, prompt: &[u32], count: usize) -> Self {
        // The last token is never read.
        let room = (prompt.len() + count).saturating_sub(1);
        Self { tokens: prompt.to_vec(), cache: Some(KvCache::new(config, 1, room)) }
    }

    /// Keeps nothing but the text.
    pub fn forgetting(prompt: &[u32]) -> Self {
        Self { tokens: prompt.to_vec(), cache: None }
    }

    /// Prompt and what was generated.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub fn cache(&self) -> Option<&KvCache> {
        self.cache.as_ref()
    }

    /// Adds the most likely token; of equal ones the first.
    ///
    /// # Errors
    /// The device was lost or refused the work; the decoder is of no more use then.
    pub async fn step(&mut self, model: &Transformer) -> Result<Decoded, LookError> {
        let seen = self.cache.as_ref().map_or(0, KvCache::len);
        let unseen = tokens(&self.tokens[seen..], &model.device()); // [1, T]
        let positions = self.tokens.len() - seen;
        let ctx = Forward { cache: self.cache.as_mut(), last_only: true, ..Forward::default() };
        let logits = model.forward(unseen, ctx); // [1, 1, V]
        let read = logits.into_data_async().await;
        let logits = numbers(read.map_err(|error| LookError(format!("{error:?}")))?)?;
        let (id, margin) = best(&logits);
        self.tokens.push(id);
        Ok(Decoded { id, positions, logits, margin })
    }
}

/// The place of the largest number, and how far it is above the second largest.
fn best(logits: &[f32]) -> (u32, f32) {
    let (mut id, mut first, mut second) = (0, f32::NEG_INFINITY, f32::NEG_INFINITY);
    for (place, &logit) in (0_u32..).zip(logits) {
        if logit > first {
            (id, second, first) = (place, first, logit);
        } else if logit > second {
            second = logit;
        }
    }
    (id, first - second)
}

/// The largest difference between two rows of logits.
pub fn furthest(left: &[f32], right: &[f32]) -> f32 {
    left.iter().zip(right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use futures::executor::block_on;

    use super::super::small::model;
    use super::*;

    const PROMPT: [u32; 5] = [3, 17, 4, 44, 9];
    const COUNT: usize = 24;

    fn decoded(model: &Transformer, mut decoder: Decoder) -> Vec<Decoded> {
        (0..COUNT).map(|_| block_on(decoder.step(model)).unwrap()).collect()
    }

    fn keeping(model: &Transformer) -> Vec<Decoded> {
        decoded(model, Decoder::keeping(model.config(), &PROMPT, COUNT))
    }

    fn assert_same(left: &[Decoded], right: &[Decoded]) {
        for (step, (left, right)) in left.iter().zip(right).enumerate() {
            assert_eq!(left.id, right.id, "token {step}");
            let apart = furthest(&left.logits, &right.logits);
            assert!(apart < 1e-4, "the logits of token {step} are {apart} apart");
        }
    }

    #[test]
    fn kept_keys_and_values_change_no_token_and_no_logit() {
        let model = model();
        let kept = keeping(&model);
        let again = decoded(&model, Decoder::forgetting(&PROMPT));
        assert_same(&kept, &again);
        let positions = |steps: &[Decoded]| steps.iter().map(|step| step.positions).collect::<Vec<_>>();
        assert_eq!(positions(&kept)[..3], [PROMPT.len(), 1, 1]);
        assert_eq!(positions(&again), (PROMPT.len()..PROMPT.len() + COUNT).collect::<Vec<_>>());
        // Logits that hardly vary would agree whatever is wrong.
        let spread = kept.windows(2).map(|pair| furthest(&pair[0].logits, &pair[1].logits)).fold(0.0, f32::max);
        assert!(spread > 0.5, "the logits move by {spread} from token to token");
    }

    #[test]
    fn a_window_is_the_same_with_and_without_a_cache_and_not_the_whole() {
        let model = model();
        let whole = keeping(&model);
        let windowed = |window| {
            let mut model = model.clone();
            model.set_window(Some(window));
            (keeping(&model), decoded(&model, Decoder::forgetting(&PROMPT)))
        };
        let (narrow, again) = windowed(3);
        assert_same(&narrow, &again);
        assert!(furthest(&narrow[0].logits, &whole[0].logits) > 1e-2, "the window hides nothing");
        let (wide, _) = windowed(PROMPT.len() + COUNT);
        assert_same(&wide, &whole);
    }

    #[test]
    fn the_first_of_equals_is_taken_and_the_margin_is_to_the_second() {
        assert_eq!(best(&[1.0, 4.0, 2.5]), (1, 1.5));
        assert_eq!(best(&[4.0, 1.0, 4.0]), (0, 0.0));
        assert_eq!(best(&[-3.0, -2.0]), (1, 1.0));
    }
}
