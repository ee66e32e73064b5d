//! One sequence: prompt in, steps out. A step is bounded work, so that a caller can run many sequences in turn and stop
//! any of them between two steps. It does not know chat, HTTP or the page.

use burn::tensor::{Int, Tensor, TensorData};
use hearth_shared::spec::{Sampling, SpecError};

use crate::bundle::ModelBundle;
use crate::cache::KvCache;
use crate::device;
use crate::projection::floats;
use crate::sampler::{Sampler, log_sum_exp, top};
use crate::tokenizer::{Tokenizer, Utf8Stream};
use crate::transformer::{Forward, Transformer};

/// Prompt tokens of one step: under a second for a small model on two cores. Half as many cost a fifth of the speed there, because a
/// product of few rows spends its time arranging the weight.
const PREFILL: usize = 512;

/// Why a generation can't start.
#[derive(thiserror::Error, Clone, Debug, PartialEq)]
pub enum GenerateError {
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    #[error("the prompt has {tokens} tokens, and the model's context holds {context}")]
    TooLong { tokens: usize, context: usize },
    #[error("token {id} is not in the vocabulary of {vocab_size}")]
    UnknownToken { id: u32, vocab_size: usize },
    #[error(transparent)]
    Sampling(#[from] SpecError),
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// An end-of-turn token or a stop string.
    Stop,
    /// `max_tokens`, or the end of the context.
    Length,
}

/// What one step did.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Read a piece of the prompt; nothing to show yet.
    Prefilled,
    Token(TokenStep),
    /// Ends the sequence; every later step says the same.
    Finished(FinishReason),
}

/// One generated token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenStep {
    pub id: u32,
    /// Text that is certain now: whole characters, and nothing that may still become a stop string. Often this token's
    /// text, sometimes empty, sometimes that of several tokens. The pieces of all steps together are the answer.
    pub text: String,
    /// Natural logarithm of the model's own probability.
    pub logprob: f32,
    /// As many of the most likely tokens as `logprobs` asks for, best first.
    pub top: Vec<(u32, f32)>,
}

/// A sequence being generated. Owns its cache; the model is lent to each step.
#[derive(Debug)]
pub struct Generation {
    cache: KvCache,
    sampler: Sampler,
    text: StopText,
    /// Prompt and answer.
    tokens: Vec<u32>,
    prompt: usize,
    /// Tokens the cache has seen.
    forwarded: usize,
    /// Length of `tokens` at which to end.
    limit: usize,
    ended: Option<FinishReason>,
}

impl Generation {
    /// `max_tokens` counts answer tokens; none goes to the end of the context. The context is the
    /// model's. A spec without a seed gets a fresh one.
    ///
    /// # Errors
    /// The prompt is empty, too long for the context, or has an unknown token; a sampling value is out of its bounds.
    pub fn new(
        bundle: &ModelBundle,
        prompt: &[u32],
        sampling: &Sampling,
        max_tokens: Option<usize>,
    ) -> Result<Self, GenerateError> {
        sampling.validate()?;
        check_prompt(bundle, prompt)?;
        let context = bundle.transformer.context();
        let limit = match max_tokens {
            Some(n) => context.min(prompt.len().saturating_add(n)),
            None => context,
        };
        // Room for a usual answer; a long one grows it.
        let room = limit.min(prompt.len() + 256);
        Ok(Self {
            cache: KvCache::new(&bundle.config, 1, room),
            sampler: Sampler::new(sampling, rand::random()),
            text: StopText::new(&sampling.stop),
            tokens: prompt.to_vec(),
            prompt: prompt.len(),
            forwarded: 0,
            limit,
            ended: (limit == prompt.len()).then_some(FinishReason::Length),
        })
    }

    /// Prompt tokens.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt
    }

    /// The answer's tokens so far, an end-of-turn token not among them.
    pub fn generated(&self) -> &[u32] {
        &self.tokens[self.prompt..]
    }

    /// Does one piece of work. Blocks on the device, so not for WebGPU.
    pub fn step(&mut self, bundle: &ModelBundle) -> Step {
        device::compute(&bundle.transformer.device(), || match self.forward(bundle) {
            Work::Ended(reason) => Step::Finished(reason),
            Work::Read => Step::Prefilled,
            Work::Logits(logits) => self.take(&floats(logits.into_data()), bundle),
        })
    }

    /// The same on any device.
    pub async fn step_async(&mut self, bundle: &ModelBundle) -> Step {
        match self.forward(bundle) {
            Work::Ended(reason) => Step::Finished(reason),
            Work::Read => Step::Prefilled,
            Work::Logits(logits) => {
                let logits = logits.into_data_async().await;
                let logits = logits.expect("the device that computed the logits can read them");
                self.take(&floats(logits), bundle)
            }
        }
    }

    /// Feeds the next unseen tokens; logits once all are seen.
    fn forward(&mut self, bundle: &ModelBundle) -> Work {
        if let Some(reason) = self.ended {
            return Work::Ended(reason);
        }
        let to = self.tokens.len().min(self.forwarded + PREFILL);
        let tokens = ids(&bundle.transformer, &self.tokens[self.forwarded..to]);
        self.forwarded = to;
        let ctx = Forward { cache: Some(&mut self.cache), last_only: true, ..Forward::default() };
        if to < self.tokens.len() {
            // The head's logits are not needed yet: stop below it.
            bundle.transformer.hidden(tokens, ctx);
            return Work::Read;
        }
        Work::Logits(bundle.transformer.forward(tokens, ctx))
    }

    /// Draws the next token from one row of logits.
    fn take(&mut self, logits: &[f32], bundle: &ModelBundle) -> Step {
        let draw = self.sampler.draw(logits, &self.tokens);
        let mut step = TokenStep { id: draw.id, text: String::new(), logprob: draw.logprob, top: draw.top };
        if bundle.eos.contains(&draw.id) {
            self.ended = Some(FinishReason::Stop);
            step.text = self.text.finish();
            // What was held back as the possible start of a stop string belongs to the answer after all.
            return if step.text.is_empty() { Step::Finished(FinishReason::Stop) } else { Step::Token(step) };
        }
        self.tokens.push(draw.id);
        let (text, stopped) = self.text.push(&bundle.tokenizer, draw.id);
        step.text = text;
        if stopped {
            self.ended = Some(FinishReason::Stop);
        } else if self.tokens.len() >= self.limit {
            self.ended = Some(FinishReason::Length);
            step.text.push_str(&self.text.finish());
        }
        Step::Token(step)
    }
}

#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack")]
enum Work {
    Ended(FinishReason),
    Read,
    Logits(Tensor<3>),
}

fn check_prompt(bundle: &ModelBundle, prompt: &[u32]) -> Result<(), GenerateError> {
    if prompt.is_empty() {
        return Err(GenerateError::EmptyPrompt);
    }
    let (context, vocab_size) = (bundle.transformer.context(), bundle.config.vocab_size);
    if prompt.len() > context {
        return Err(GenerateError::TooLong { tokens: prompt.len(), context });
    }
    match prompt.iter().find(|id| **id as usize >= vocab_size) {
        Some(&id) => Err(GenerateError::UnknownToken { id, vocab_size }),
        None => Ok(()),
    }
}

/// `[1, T]`
fn ids(model: &Transformer, tokens: &[u32]) -> Tensor<2, Int> {
    let ids: Vec<i32> = tokens.iter().map(|id| *id as i32).collect();
    let data = TensorData::new(ids, [1, tokens.len()]);
    Tensor::from_data(data, &model.device())
}

/// How likely the model found one token of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenScore {
    pub id: u32,
    /// Natural logarithm of its probability given everything before; none for the first token.
    pub logprob: Option<f32>,
    /// The most likely tokens in its place, best first; empty for the first.
    pub top: Vec<(u32, f32)>,
}

/// The log-probability of each token given those before it (echo, perplexity), in bounded steps as [`Generation`]: a whole
/// context times a whole vocabulary is too much to hold, and too long to keep others waiting.
#[derive(Debug)]
pub struct Scoring {
    cache: KvCache,
    tokens: Vec<u32>,
    /// Tokens the cache has seen.
    forwarded: usize,
    /// Most likely tokens to report in each place.
    top: usize,
    scores: Vec<TokenScore>,
}

impl Scoring {
    /// # Errors
    /// As [`Generation::new`].
    pub fn new(bundle: &ModelBundle, tokens: &[u32], top: usize) -> Result<Self, GenerateError> {
        check_prompt(bundle, tokens)?;
        Ok(Self {
            cache: KvCache::new(&bundle.config, 1, tokens.len()),
            tokens: tokens.to_vec(),
            forwarded: 0,
            top,
            scores: vec![TokenScore { id: tokens[0], logprob: None, top: Vec::new() }],
        })
    }

    /// Does one piece of work; `true` when all is scored. Blocks on the device, so not for WebGPU.
    pub fn step(&mut self, bundle: &ModelBundle) -> bool {
        device::compute(&bundle.transformer.device(), || {
            if let Some(logits) = self.forward(bundle) {
                self.take(&floats(logits.into_data()), bundle);
            }
        });
        self.is_done()
    }

    /// The same on any device.
    pub async fn step_async(&mut self, bundle: &ModelBundle) -> bool {
        if let Some(logits) = self.forward(bundle) {
            let rows = logits.into_data_async().await;
            self.take(&floats(rows.expect("the device that computed the logits can read them")), bundle);
        }
        self.is_done()
    }

    /// The scores so far, one for each token in order.
    pub fn scores(self) -> Vec<TokenScore> {
        self.scores
    }

    fn is_done(&self) -> bool {
        self.scores.len() == self.tokens.len()
    }

    /// Logits of the next rows, `[1, n, V]`; the last token predicts nothing that is asked for.
    fn forward(&mut self, bundle: &ModelBundle) -> Option<Tensor<3>> {
        const ROWS: usize = 128;
        let to = (self.tokens.len() - 1).min(self.forwarded + ROWS);
        if self.forwarded == to {
            return None;
        }
        let tokens = ids(&bundle.transformer, &self.tokens[self.forwarded..to]);
        self.forwarded = to;
        Some(bundle.transformer.forward(tokens, Forward { cache: Some(&mut self.cache), ..Forward::default() }))
    }

    fn take(&mut self, logits: &[f32], bundle: &ModelBundle) {
        for row in logits.chunks_exact(bundle.config.vocab_size) {
            let id = self.tokens[self.scores.len()];
            let normaliser = log_sum_exp(row);
            self.scores.push(TokenScore {
                id,
                logprob: Some(row[id as usize] - normaliser),
                top: top(row, self.top).into_iter().map(|id| (id, row[id as usize] - normaliser)).collect(),
            });
        }
    }
}

/// A whole [`Scoring`].
///
/// # Errors
/// As [`Generation::new`].
pub fn score(bundle: &ModelBundle, tokens: &[u32], top: usize) -> Result<Vec<TokenScore>, GenerateError> {
    let mut scoring = Scoring::new(bundle, tokens, top)?;
    while !scoring.step(bundle) {}
    Ok(scoring.scores())
}

/// A whole [`Scoring`] on any device.
///
/// # Errors
/// As [`Generation::new`].
pub async fn score_async(bundle: &ModelBundle, tokens: &[u32], top: usize) -> Result<Vec<TokenScore>, GenerateError> {
    let mut scoring = Scoring::new(bundle, tokens, top)?;
    while !scoring.step_async(bundle).await {}
    Ok(scoring.scores())
}

/// The answer's text between tokens and the reader: whole characters only, and never a part of a stop string.
#[derive(Debug)]
struct StopText {
    stop: Vec<String>,
    characters: Utf8Stream,
    /// Text that may be the start of a stop string.
    held: String,
}

impl StopText {
    fn new(stop: &[String]) -> Self {
        Self { stop: stop.to_vec(), characters: Utf8Stream::default(), held: String::new() }
    }

    /// The text that is certain after this token, and whether a stop string ended it.
    fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> (String, bool) {
        if tokenizer.is_special(id) {
            // A mark of the template, not a part of what is said.
            return (String::new(), false);
        }
        self.push_bytes(tokenizer.decode_bytes(id))
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> (String, bool) {
        self.held.push_str(&self.characters.push(bytes));
        let found = self.stop.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = found {
            let text = self.held[..at].to_owned();
            self.held.clear();
            self.characters = Utf8Stream::default();
            return (text, true);
        }
        let certain = self.held.len() - self.possible_stop();
        let rest = self.held.split_off(certain);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// Bytes at the end of the held text that begin a stop string.
    fn possible_stop(&self) -> usize {
        let begins = |n: &usize| {
            let at = self.held.len() - n;
            self.held.is_char_boundary(at) && self.stop.iter().any(|stop| stop.starts_with(&self.held[at..]))
        };
        let longest = self.stop.iter().map(String::len).max().unwrap_or(0);
        (1..=longest.min(self.held.len())).rev().find(begins).unwrap_or(0)
    }

    /// Everything that was held back; half a character becomes U+FFFD.
    fn finish(&mut self) -> String {
        let mut text = std::mem::take(&mut self.held);
        text.push_str(&self.characters.finish());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(stop: &[&str], pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let stop: Vec<String> = stop.iter().map(|s| (*s).to_owned()).collect();
        let mut text = StopText::new(&stop);
        let mut out = Vec::new();
        for piece in pieces {
            let (part, stopped) = text.push_bytes(piece);
            out.push(part);
            if stopped {
                return (out, true);
            }
        }
        out.push(text.finish());
        (out, false)
    }

    #[test]
    fn holds_back_what_may_become_a_stop_string() {
        assert_eq!(
            stream(&["END"], &[b"a E", b"N", b"x"]),
            (vec!["a ".into(), String::new(), "ENx".into(), String::new()], false)
        );
        assert_eq!(stream(&["END"], &[b"a E", b"ND", b"x"]), (vec!["a ".into(), String::new()], true));
        assert_eq!(stream(&["b", "abc"], &[b"a", b"b"]), (vec![String::new(), "a".into()], true));
    }

    #[test]
    fn never_splits_a_character() {
        let bytes = "日".as_bytes();
        let (out, _) = stream(&[], &[&bytes[..1], &bytes[1..2], &bytes[2..]]);
        assert_eq!(out, ["", "", "日", ""]);
        assert_eq!(stream(&[], &[&bytes[..2]]).0, ["", "\u{fffd}"]);
    }

    proptest! {
        #[test]
        fn pieces_join_to_the_text_before_the_first_stop(
            text in "[ab日é]{0,24}",
            stop in prop::collection::vec("[ab日]{1,3}", 0..3),
            cuts in prop::collection::vec(0usize..60, 0..8),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let stops: Vec<&str> = stop.iter().map(String::as_str).collect();
            let (out, stopped) = stream(&stops, &pieces);
            let joined = out.concat();
            prop_assert!(text.starts_with(&joined));
            prop_assert!(stops.iter().all(|s| !joined.contains(s)));
            prop_assert_eq!(stopped, stops.iter().any(|s| text.contains(s)));
            if !stopped {
                prop_assert_eq!(joined, text);
            }
        }
    }
}
