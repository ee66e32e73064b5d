//! What both completion endpoints share: from a request's fields to a sampling spec, from a model's name to its streams,
//! from what went wrong to the client's words.

use hearth_model::generate::GenerateError;
use hearth_shared::api::{SamplingExtension, Stop};
use hearth_shared::spec::{Sampling, SpecError};
use tokio::sync::mpsc::Receiver;

use crate::app::App;
use crate::error::{Error, Result};
use crate::serving::{Input, Piece, Request, ServeError, Token};

/// Most answers of one request.
const MOST: u32 = 16;
/// OpenAI's limit.
const MOST_STOPS: usize = 4;

/// The fields both requests have.
pub struct Common<'a> {
    pub model: &'a str,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub stop: Option<Stop>,
    pub seed: Option<i64>,
    pub n: Option<u32>,
    pub logprobs: Option<u8>,
    pub max_tokens: Option<u32>,
    pub hearth: Option<SamplingExtension>,
    /// What a fault of the prompt is called: `messages` or `prompt`.
    pub prompt_field: &'static str,
}

/// An answer that has begun.
pub struct Answer {
    pub index: u32,
    pub prompt_tokens: usize,
    pub prompt_text: String,
    pub prompt: Vec<Token>,
    pub pieces: Receiver<Piece>,
}

impl Common<'_> {
    pub fn n(&self) -> Result<u32> {
        match self.n.unwrap_or(1) {
            n @ 1..=MOST => Ok(n),
            n => Err(Error::invalid("n", format!("{n} is not between 1 and {MOST}"))),
        }
    }

    fn sampling(&self) -> Result<Sampling> {
        let ours = self.hearth.unwrap_or_default();
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(1.0),
            top_p: self.top_p.unwrap_or(1.0),
            top_k: ours.top_k,
            min_p: ours.min_p.unwrap_or(0.0),
            repetition_penalty: ours.repetition_penalty.unwrap_or(1.0),
            seed: self.seed.map(|seed| seed as u64),
            stop: self.stop.clone().map(Stop::into_vec).unwrap_or_default(),
            max_tokens: self.max_tokens,
            logprobs: self.logprobs,
        };
        if sampling.stop.len() > MOST_STOPS {
            return Err(Error::invalid("stop", format!("at most {MOST_STOPS} stop sequences")));
        }
        sampling.validate().map_err(outside)?;
        Ok(sampling)
    }

    /// Begins `n` answers to each prompt, and returns when all of them have begun: a fault becomes an error here, before
    /// the first byte of a stream.
    pub async fn begin(&self, app: &App, inputs: Vec<Input>, score_prompt: Option<usize>) -> Result<Vec<Answer>> {
        let n = self.n()?;
        let sampling = self.sampling()?;
        let entry = app.registry.find(self.model).await?;
        let location = app.registry.location(&entry)?;
        let mut begun = Vec::new();
        for (prompt, input) in inputs.into_iter().enumerate() {
            for choice in 0..n {
                let mut sampling = sampling.clone();
                // Answers to one prompt would all be the same.
                sampling.seed = sampling.seed.map(|seed| seed.wrapping_add(u64::from(choice)));
                let request = Request {
                    location: location.clone(),
                    memory: entry.memory(),
                    input: input.clone(),
                    sampling,
                    max_tokens: self.max_tokens.map(|tokens| tokens as usize),
                    score_prompt,
                };
                let pieces = app.serving.generate(request).await.map_err(|error| self.fault(error))?;
                begun.push((prompt as u32 * n + choice, pieces));
            }
        }
        let mut answers = Vec::new();
        for (index, mut pieces) in begun {
            match pieces.recv().await {
                Some(Piece::Started { prompt_tokens, text, prompt }) => {
                    answers.push(Answer { index, prompt_tokens, prompt_text: text, prompt, pieces });
                }
                Some(Piece::Failed(error)) => return Err(self.fault(error)),
                _ => {
                    return Err(Error::Internal(anyhow::anyhow!("the device thread is gone")));
                }
            }
        }
        Ok(answers)
    }

    fn fault(&self, error: ServeError) -> Error {
        let context = |error: &dyn std::fmt::Display| {
            Error::coded(self.prompt_field, "context_length_exceeded", error.to_string())
        };
        match error {
            ServeError::ContextLength { .. } => context(&error),
            ServeError::Generate(GenerateError::TooLong { tokens, context: most }) => {
                context(&ServeError::ContextLength { prompt: tokens, completion: 0, context: most })
            }
            ServeError::Generate(GenerateError::Sampling(error)) => outside(error),
            ServeError::Generate(_) | ServeError::NoTemplate | ServeError::Template(_) => {
                Error::invalid(self.prompt_field, error.to_string())
            }
            ServeError::Broken(_) => Error::Internal(anyhow::Error::new(error)),
            ServeError::NoRoom(_) | ServeError::Load(_) | ServeError::Stopping => {
                tracing::warn!(model = self.model, "{error}");
                Error::Unavailable(error.to_string())
            }
        }
    }
}

/// The words of an error in the middle of a stream.
pub fn broken(error: ServeError) -> Error {
    Error::Internal(anyhow::Error::new(error))
}

pub fn finish_reason(stopped: bool) -> &'static str {
    if stopped { "stop" } else { "length" }
}

pub fn fingerprint() -> Option<String> {
    Some(format!("hearth_{}", env!("CARGO_PKG_VERSION").replace('.', "_")))
}

/// Our own options sit in `hearth`.
fn outside(error: SpecError) -> Error {
    let ours = ["top_k", "min_p", "repetition_penalty"].contains(&error.field.as_str());
    let param = if ours { format!("hearth.{}", error.field) } else { error.field.clone() };
    Error::Invalid { message: error.to_string(), param: Some(param), code: None }
}
