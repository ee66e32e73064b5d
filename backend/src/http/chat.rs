//! `/v1/chat/completions`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures::stream::{self, Stream, StreamExt as _};
use hearth_shared::api::chat::{
    AssistantMessage, ChatChoice, ChatChunk, ChatCompletion, ChatLogprobs, ChatRequest, ChunkChoice, Delta,
    TokenLogprob, TopLogprob,
};
use hearth_shared::api::{ErrorBody, Usage};
use serde_json::Value;
use tokio_stream::wrappers::ReceiverStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Checked, HINTS, Json, Unsupported, empty, never, off, zero};
use super::generation::{self, Answer, Common, fingerprint, finish_reason};
use super::sse;
use crate::app::App;
use crate::error::{Error, Result};
use crate::ids;
use crate::serving::{Input, Piece, Token};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create))
}

impl Checked for ChatRequest {
    const UNSUPPORTED: &'static [Unsupported] = &[
        empty("tools"),
        Unsupported { field: "tool_choice", harmless: |value| matches!(value.as_str(), Some("none" | "auto")) },
        empty("functions"),
        never("function_call"),
        Unsupported {
            field: "response_format",
            harmless: |value| value.get("type").and_then(Value::as_str) == Some("text"),
        },
        zero("frequency_penalty"),
        zero("presence_penalty"),
        empty("logit_bias"),
        never("audio"),
        Unsupported { field: "modalities", harmless: |value| *value == serde_json::json!(["text"]) },
        never("prediction"),
        never("reasoning_effort"),
        never("verbosity"),
        off("store"),
        never("web_search_options"),
        Unsupported { field: "service_tier", harmless: |value| matches!(value.as_str(), Some("auto" | "default")) },
    ];
    // An earlier answer comes back as a message with all that was said of it.
    const LOOSE: &'static [&'static [&'static str]] = &[&HINTS, &["messages"]];
}

/// Answers a conversation, whole or as a stream of `chat.completion.chunk`s.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "chat", request_body = ChatRequest,
    responses((status = 200, body = ChatCompletion), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn create(State(app): State<App>, Json(request): Json<ChatRequest>) -> Result<Response> {
    if request.messages.is_empty() {
        return Err(Error::invalid("messages", "at least one message"));
    }
    let wants_logprobs = request.logprobs.unwrap_or(false);
    if request.top_logprobs.is_some() && !wants_logprobs {
        return Err(Error::invalid("top_logprobs", "`top_logprobs` needs `logprobs: true`"));
    }
    if request.max_completion_tokens.or(request.max_tokens) == Some(0) {
        return Err(Error::invalid("max_completion_tokens", "at least 1"));
    }
    let common = Common {
        model: &request.model,
        temperature: request.temperature,
        top_p: request.top_p,
        stop: request.stop,
        seed: request.seed,
        n: request.n,
        logprobs: wants_logprobs.then(|| request.top_logprobs.unwrap_or(0)),
        max_tokens: request.max_completion_tokens.or(request.max_tokens),
        hearth: request.hearth,
        prompt_field: "messages",
    };
    if let Some(top) = request.top_logprobs.filter(|top| *top > 20) {
        return Err(Error::invalid("top_logprobs", format!("{top} is not between 0 and 20")));
    }
    let answers = common.begin(&app, vec![Input::Chat(request.messages)], None).await?;
    let head = Head { id: ids::new("chatcmpl-"), created: ids::now(), model: request.model, wants_logprobs };
    if request.stream.unwrap_or(false) {
        let usage = request.stream_options.unwrap_or_default().include_usage;
        return Ok(sse::response(chunks(head, answers, usage)));
    }
    Ok(axum::Json(whole(head, answers).await?).into_response())
}

/// What all parts of an answer repeat.
struct Head {
    id: String,
    created: i64,
    model: String,
    wants_logprobs: bool,
}

async fn whole(head: Head, answers: Vec<Answer>) -> Result<ChatCompletion> {
    let mut usage = Usage::default();
    let mut choices = Vec::new();
    for mut answer in answers {
        let mut text = String::new();
        let mut logprobs = ChatLogprobs::default();
        let mut ended = None;
        while let Some(piece) = answer.pieces.recv().await {
            match piece {
                Piece::Started { .. } => {}
                Piece::Text { text: piece, token } => {
                    text.push_str(&piece);
                    logprobs.content.extend(token.map(logprob));
                }
                Piece::Finished { stopped, completion_tokens } => ended = Some((stopped, completion_tokens)),
                Piece::Failed(error) => return Err(generation::broken(error)),
            }
        }
        let (stopped, completion) = ended.ok_or_else(|| Error::Unavailable("the server is stopping".into()))?;
        usage = Usage::new(answer.prompt_tokens as u64, usage.completion_tokens + completion as u64);
        choices.push(ChatChoice {
            index: answer.index,
            message: AssistantMessage { role: "assistant".into(), content: Some(text), refusal: None },
            logprobs: head.wants_logprobs.then_some(logprobs),
            finish_reason: finish_reason(stopped).into(),
        });
    }
    Ok(ChatCompletion {
        id: head.id,
        object: "chat.completion".into(),
        created: head.created,
        model: head.model,
        choices,
        usage,
        system_fingerprint: fingerprint(),
        service_tier: None,
    })
}

fn chunks(head: Head, answers: Vec<Answer>, with_usage: bool) -> impl Stream<Item = String> + Send {
    let prompt_tokens = answers.first().map_or(0, |answer| answer.prompt_tokens) as u64;
    let wants_logprobs = head.wants_logprobs;
    let chunk = move |choices, usage| ChatChunk {
        id: head.id.clone(),
        object: "chat.completion.chunk".into(),
        created: head.created,
        model: head.model.clone(),
        system_fingerprint: fingerprint(),
        service_tier: None,
        choices,
        usage,
    };
    let none = with_usage.then_some(None);
    let openings: Vec<String> = answers
        .iter()
        .map(|answer| {
            let delta = Delta { role: Some("assistant".into()), content: Some(String::new()) };
            sse::data(&chunk(vec![choice(answer.index, delta, None, None)], none))
        })
        .collect();
    let pieces = stream::select_all(answers.into_iter().map(|answer| {
        let index = answer.index;
        ReceiverStream::new(answer.pieces).map(move |piece| (index, piece)).boxed()
    }));
    // Carries the counts of ended choices, and whether something broke.
    let state = (BTreeMap::new(), false, pieces, chunk, false);
    let rest = stream::unfold(state, move |(mut counts, broken, mut pieces, chunk, done)| async move {
        if done {
            return None;
        }
        if broken {
            return Some((String::new(), (counts, broken, pieces, chunk, true)));
        }
        let (text, broken, done) = match pieces.next().await {
            Some((index, Piece::Text { text, token })) => {
                let logprobs = wants_logprobs
                    .then(|| ChatLogprobs { content: token.map(logprob).into_iter().collect(), refusal: None });
                let quiet = text.is_empty() && logprobs.as_ref().is_none_or(|logprobs| logprobs.content.is_empty());
                let delta = Delta { role: None, content: Some(text) };
                let line = sse::data(&chunk(vec![choice(index, delta, logprobs, None)], none));
                (if quiet { String::new() } else { line }, false, false)
            }
            Some((index, Piece::Finished { stopped, completion_tokens })) => {
                counts.insert(index, completion_tokens as u64);
                let end = choice(index, Delta::default(), None, Some(finish_reason(stopped).into()));
                (sse::data(&chunk(vec![end], none)), false, false)
            }
            Some((_, Piece::Started { .. })) => (String::new(), false, false),
            Some((_, Piece::Failed(error))) => {
                let error = generation::broken(error);
                tracing::error!("stream failed: {error}");
                (sse::data(&ErrorBody { error: error.detail() }), true, false)
            }
            None => {
                let usage = Usage::new(prompt_tokens, counts.values().sum());
                let usage = with_usage.then(|| sse::data(&chunk(Vec::new(), Some(Some(usage)))));
                (usage.unwrap_or_default() + "data: [DONE]\n\n", false, true)
            }
        };
        Some((text, (counts, broken, pieces, chunk, done)))
    });
    stream::iter(openings).chain(rest).filter(|text| std::future::ready(!text.is_empty()))
}

fn choice(index: u32, delta: Delta, logprobs: Option<ChatLogprobs>, finish_reason: Option<String>) -> ChunkChoice {
    ChunkChoice { index, delta, logprobs, finish_reason }
}

fn logprob(token: Token) -> TokenLogprob {
    TokenLogprob {
        token: token.text,
        logprob: token.logprob.unwrap_or(0.0),
        bytes: Some(token.bytes),
        top_logprobs: token
            .top
            .into_iter()
            .map(|(token, bytes, logprob)| TopLogprob { token, logprob, bytes: Some(bytes) })
            .collect(),
    }
}
