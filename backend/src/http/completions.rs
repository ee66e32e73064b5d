//! `/v1/completions`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures::stream::{self, Stream, StreamExt as _};
use hearth_shared::api::completions::{Completion, CompletionChoice, CompletionLogprobs, CompletionRequest, Prompt};
use hearth_shared::api::{ErrorBody, Usage};
use tokio_stream::wrappers::ReceiverStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Checked, HINTS, Json, Unsupported, empty, never, zero};
use super::generation::{self, Answer, Common, fingerprint, finish_reason};
use super::sse;
use crate::app::App;
use crate::error::{Error, Result};
use crate::ids;
use crate::serving::{Input, Piece, Token};

/// As OpenAI's.
const DEFAULT_MAX_TOKENS: u32 = 16;
const MOST_PROMPTS: usize = 64;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create))
}

impl Checked for CompletionRequest {
    const UNSUPPORTED: &'static [Unsupported] = &[
        never("suffix"),
        zero("frequency_penalty"),
        zero("presence_penalty"),
        empty("logit_bias"),
        Unsupported { field: "best_of", harmless: |value| value.as_u64() == Some(1) },
    ];
    const LOOSE: &'static [&'static [&'static str]] = &[&HINTS];
}

/// Continues a text. With `echo`, `logprobs` and `max_tokens: 0` it scores one.
#[utoipa::path(post, path = "/v1/completions", tag = "completions", request_body = CompletionRequest,
    responses((status = 200, body = Completion), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn create(State(app): State<App>, Json(request): Json<CompletionRequest>) -> Result<Response> {
    let inputs: Vec<Input> = match request.prompt {
        Prompt::Text(text) => vec![Input::Text(text)],
        Prompt::Tokens(ids) => vec![Input::Tokens(ids)],
        Prompt::Texts(texts) => texts.into_iter().map(Input::Text).collect(),
        Prompt::TokenLists(lists) => lists.into_iter().map(Input::Tokens).collect(),
    };
    if inputs.is_empty() || inputs.len() > MOST_PROMPTS {
        return Err(Error::invalid("prompt", format!("1 to {MOST_PROMPTS} prompts")));
    }
    if let Some(top) = request.logprobs.filter(|top| *top > 5) {
        return Err(Error::invalid("logprobs", format!("{top} is not between 0 and 5")));
    }
    let common = Common {
        model: &request.model,
        temperature: request.temperature,
        top_p: request.top_p,
        stop: request.stop,
        seed: request.seed,
        n: request.n,
        logprobs: request.logprobs,
        max_tokens: Some(request.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS)),
        hearth: request.hearth,
        prompt_field: "prompt",
    };
    let echo = request.echo.unwrap_or(false);
    let score = request.logprobs.filter(|_| echo).map(usize::from);
    let per_prompt = common.n()?;
    let answers = common.begin(&app, inputs, score).await?;
    let prompt_tokens = answers.iter().step_by(per_prompt as usize).map(|answer| answer.prompt_tokens as u64).sum();
    let head = Head {
        id: ids::new("cmpl-"),
        created: ids::now(),
        model: request.model,
        logprobs: request.logprobs.is_some(),
        echo,
        prompt_tokens,
    };
    if request.stream.unwrap_or(false) {
        let usage = request.stream_options.unwrap_or_default().include_usage;
        return Ok(sse::response(chunks(head, answers, usage)));
    }
    Ok(axum::Json(whole(head, answers).await?).into_response())
}

struct Head {
    id: String,
    created: i64,
    model: String,
    logprobs: bool,
    echo: bool,
    prompt_tokens: u64,
}

impl Head {
    fn completion(&self, choices: Vec<CompletionChoice>, usage: Option<Usage>) -> Completion {
        Completion {
            id: self.id.clone(),
            object: "text_completion".into(),
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: fingerprint(),
            choices,
            usage,
        }
    }
}

/// A choice's text and its columns, growing together.
#[derive(Default)]
struct Text {
    index: u32,
    text: String,
    columns: Option<CompletionLogprobs>,
    /// Characters before the next token.
    offset: u64,
}

impl Text {
    fn begin(head: &Head, answer: &mut Answer) -> Self {
        let mut text =
            Self { index: answer.index, columns: head.logprobs.then(CompletionLogprobs::default), ..Self::default() };
        if head.echo {
            text.text = std::mem::take(&mut answer.prompt_text);
            for token in std::mem::take(&mut answer.prompt) {
                text.column(token);
            }
            text.offset = text.text.chars().count() as u64;
        }
        text
    }

    fn push(&mut self, text: &str, token: Option<Token>) {
        self.text.push_str(text);
        if let Some(token) = token {
            self.column(token);
        }
    }

    fn column(&mut self, token: Token) {
        let Some(columns) = &mut self.columns else {
            return;
        };
        columns.text_offset.push(self.offset);
        self.offset += token.text.chars().count() as u64;
        columns.token_logprobs.push(token.logprob);
        let top: BTreeMap<_, _> = token.top.into_iter().map(|(text, _, logprob)| (text, logprob)).collect();
        columns.top_logprobs.push(token.logprob.map(|_| top));
        columns.tokens.push(token.text);
    }

    /// Hands over what has gathered; offsets go on counting.
    fn take(&mut self, finish_reason: Option<String>) -> CompletionChoice {
        CompletionChoice {
            index: self.index,
            text: std::mem::take(&mut self.text),
            logprobs: self.columns.as_mut().map(std::mem::take),
            finish_reason,
        }
    }
}

async fn whole(head: Head, answers: Vec<Answer>) -> Result<Completion> {
    let mut choices = Vec::new();
    let mut completion_tokens = 0;
    for mut answer in answers {
        let mut text = Text::begin(&head, &mut answer);
        let mut ended = None;
        while let Some(piece) = answer.pieces.recv().await {
            match piece {
                Piece::Started { .. } => {}
                Piece::Text { text: piece, token } => text.push(&piece, token),
                Piece::Finished { stopped, completion_tokens } => ended = Some((stopped, completion_tokens)),
                Piece::Failed(error) => return Err(generation::broken(error)),
            }
        }
        let (stopped, count) = ended.ok_or_else(|| Error::Unavailable("the server is stopping".into()))?;
        completion_tokens += count as u64;
        choices.push(text.take(Some(finish_reason(stopped).into())));
    }
    Ok(head.completion(choices, Some(Usage::new(head.prompt_tokens, completion_tokens))))
}

struct Streaming<S> {
    head: Head,
    texts: BTreeMap<u32, Text>,
    pieces: S,
    completion_tokens: u64,
    with_usage: bool,
    done: bool,
}

fn chunks(head: Head, mut answers: Vec<Answer>, with_usage: bool) -> impl Stream<Item = String> + Send {
    let texts: BTreeMap<u32, Text> =
        answers.iter_mut().map(|answer| (answer.index, Text::begin(&head, answer))).collect();
    let pieces = stream::select_all(answers.into_iter().map(|answer| {
        let index = answer.index;
        ReceiverStream::new(answer.pieces).map(move |piece| (index, piece)).boxed()
    }));
    let state = Streaming { head, texts, pieces, completion_tokens: 0, with_usage, done: false };
    stream::unfold(state, |mut state| async move {
        if state.done {
            return None;
        }
        let text = match state.pieces.next().await {
            Some((index, piece)) => state.take(index, piece),
            None => {
                state.done = true;
                let usage = Usage::new(state.head.prompt_tokens, state.completion_tokens);
                let last = state.with_usage.then(|| sse::data(&state.head.completion(Vec::new(), Some(usage))));
                last.unwrap_or_default() + "data: [DONE]\n\n"
            }
        };
        Some((text, state))
    })
    .filter(|text| std::future::ready(!text.is_empty()))
}

impl<S> Streaming<S> {
    fn take(&mut self, index: u32, piece: Piece) -> String {
        let Some(text) = self.texts.get_mut(&index) else {
            return String::new();
        };
        let choice = match piece {
            Piece::Started { .. } => return String::new(),
            Piece::Text { text: piece, token } => {
                text.push(&piece, token);
                if text.text.is_empty() {
                    return String::new();
                }
                text.take(None)
            }
            Piece::Finished { stopped, completion_tokens } => {
                self.completion_tokens += completion_tokens as u64;
                text.take(Some(finish_reason(stopped).into()))
            }
            Piece::Failed(error) => {
                self.done = true;
                return sse::data(&ErrorBody { error: generation::broken(error).detail() });
            }
        };
        sse::data(&self.head.completion(vec![choice], None))
    }
}
