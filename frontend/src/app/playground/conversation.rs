//! The conversation as data: prompts, and for each prompt one answer a model. It streams answers in and can stop them.

use hearth_shared::api::chat::{ChatChunk, ChatRequest};
use hearth_shared::api::{ErrorBody, StreamOptions};
use hearth_shared::text::{Message, Role};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use wasm_bindgen_futures::spawn_local;
use web_sys::AbortController;

use super::settings::Settings;
use crate::app::client::{Call, ClientError, sse};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum State {
    /// Sent; no token yet.
    #[default]
    Waiting,
    Streaming,
    /// Ended by the model (`stop`) or by the token limit (`length`).
    Done(String),
    Stopped,
    Failed(ClientError),
}

/// Milliseconds below which the arrival of tokens says nothing of their speed.
const LEAST_MS: f64 = 100.0;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    pub model: String,
    pub text: String,
    pub state: State,
    pub tokens: u64,
    /// Milliseconds from sending to the first token.
    pub first_ms: f64,
    /// Milliseconds from the first token to the last.
    pub stream_ms: f64,
}

impl Answer {
    pub fn is_busy(&self) -> bool {
        matches!(self.state, State::Waiting | State::Streaming)
    }

    /// None until there is enough time between the first token and the last to measure: a short answer comes in one piece.
    pub fn tokens_per_second(&self) -> Option<f64> {
        (self.tokens > 1 && self.stream_ms >= LEAST_MS).then(|| (self.tokens - 1) as f64 / (self.stream_ms / 1000.0))
    }
}

/// A prompt and its answers, one a seat. The answers are counted references: they live as long as something shows them.
#[derive(Clone)]
pub struct Exchange {
    pub id: u64,
    pub prompt: String,
    pub answers: Vec<ArcRwSignal<Answer>>,
}

/// An exchange as data, for a storage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    pub prompt: String,
    pub answers: Vec<Answer>,
}

impl From<&Exchange> for Turn {
    fn from(exchange: &Exchange) -> Self {
        let answers = exchange.answers.iter().map(|answer| answer.get_untracked()).collect();
        Self { prompt: exchange.prompt.clone(), answers }
    }
}

#[derive(Clone, Copy)]
pub struct Conversation {
    pub exchanges: RwSignal<Vec<Exchange>>,
    /// The models that answer.
    pub seats: RwSignal<Vec<String>>,
    pub busy: RwSignal<usize>,
    next: StoredValue<u64>,
    running: StoredValue<Vec<AbortController>, LocalStorage>,
    /// The page is going away, and takes its connections with it.
    leaving: StoredValue<bool>,
}

impl Conversation {
    pub fn new() -> Self {
        Self {
            exchanges: RwSignal::new(Vec::new()),
            seats: RwSignal::new(Vec::new()),
            busy: RwSignal::new(0),
            next: StoredValue::new(0),
            running: StoredValue::new_local(Vec::new()),
            leaving: StoredValue::new(false),
        }
    }

    /// Sends the prompt to every seat.
    pub fn say(self, prompt: String, settings: Settings) {
        let seats = self.seats.get_untracked();
        if prompt.trim().is_empty() || seats.is_empty() || self.busy.get_untracked() > 0 {
            return;
        }
        let id = self.next.get_value();
        self.next.set_value(id + 1);
        let answers: Vec<_> =
            seats.iter().map(|model| ArcRwSignal::new(Answer { model: model.clone(), ..Answer::default() })).collect();
        let before = self.exchanges.get_untracked();
        for (seat, answer) in answers.iter().enumerate() {
            let messages = history(&before, seat, &prompt, &settings.system.get_untracked());
            self.stream(messages, answer.clone(), settings);
        }
        self.exchanges.update(|all| all.push(Exchange { id, prompt, answers }));
    }

    /// Asks the last prompt again, of the model that sits there now.
    pub fn retry(self, seat: usize, settings: Settings) {
        let mut before = self.exchanges.get_untracked();
        let Some(last) = before.pop() else { return };
        let Some(answer) = last.answers.get(seat) else {
            return;
        };
        if answer.with_untracked(Answer::is_busy) {
            return;
        }
        let model = self
            .seats
            .with_untracked(|seats| seats.get(seat).cloned())
            .unwrap_or_else(|| answer.with_untracked(|answer| answer.model.clone()));
        answer.set(Answer { model, ..Answer::default() });
        let messages = history(&before, seat, &last.prompt, &settings.system.get_untracked());
        self.stream(messages, answer.clone(), settings);
    }

    /// Stops every answer that is being written; what is there stays.
    pub fn stop(self) {
        self.running.update_value(|running| {
            for abort in running.drain(..) {
                abort.abort();
            }
        });
    }

    /// Takes up the turns of an earlier page in this tab.
    pub fn restore(self, turns: Vec<Turn>) {
        let first = self.next.get_value();
        self.next.set_value(first + turns.len() as u64);
        let exchanges = (first..).zip(turns).map(|(id, turn)| Exchange {
            id,
            prompt: turn.prompt,
            answers: turn.answers.into_iter().map(ArcRwSignal::new).collect(),
        });
        self.exchanges.set(exchanges.collect());
    }

    /// What breaks off from now on does so because the page is left, which is no fault of the server's.
    pub fn leave(self) {
        self.leaving.set_value(true);
    }

    /// Empties the conversation and gives back what was in it.
    pub fn clear(self) -> Vec<Exchange> {
        self.stop();
        let old = self.exchanges.get_untracked();
        self.exchanges.set(Vec::new());
        old
    }

    fn stream(self, messages: Vec<Message>, answer: ArcRwSignal<Answer>, settings: Settings) {
        let Ok(abort) = AbortController::new() else {
            return;
        };
        self.running.update_value(|running| running.push(abort.clone()));
        self.leaving.set_value(false);
        self.busy.update(|busy| *busy += 1);
        let request = ChatRequest {
            stream: Some(true),
            stream_options: Some(StreamOptions { include_usage: true }),
            ..settings.request(answer.with_untracked(|answer| answer.model.clone()), messages)
        };
        spawn_local(async move {
            let result = receive(&request, &answer, &abort).await;
            let result = result.or_else(|error| if self.leaving.get_value() { Ok(()) } else { Err(error) });
            answer.update(|answer| finish(answer, result));
            self.busy.update(|busy| *busy = busy.saturating_sub(1));
        });
    }
}

/// What the model at this seat has seen: the system prompt, every prompt it answered with its answer, and the new prompt.
fn history(before: &[Exchange], seat: usize, prompt: &str, system: &str) -> Vec<Message> {
    let mut messages = Vec::new();
    if !system.trim().is_empty() {
        messages.push(Message::new(Role::System, system.trim()));
    }
    for exchange in before {
        let Some(answer) = exchange.answers.get(seat) else {
            continue;
        };
        let text = answer.with_untracked(|answer| answer.text.clone());
        if !text.is_empty() {
            messages.push(Message::new(Role::User, exchange.prompt.clone()));
            messages.push(Message::new(Role::Assistant, text));
        }
    }
    messages.push(Message::new(Role::User, prompt));
    messages
}

async fn receive(
    request: &ChatRequest,
    answer: &ArcRwSignal<Answer>,
    abort: &AbortController,
) -> Result<(), ClientError> {
    let call = Call::new("POST", "/v1/chat/completions").json(request)?;
    let begun = now();
    let mut first = None;
    let mut failure = None;
    sse::follow(call, abort, |event| {
        if event.data == "[DONE]" {
            return false;
        }
        let Ok(chunk) = serde_json::from_str::<ChatChunk>(&event.data) else {
            // An error in the middle of a stream comes as an error object in place of a chunk.
            if let Ok(body) = serde_json::from_str::<ErrorBody>(&event.data) {
                failure = Some(ClientError::Refused {
                    status: 500,
                    message: body.error.message,
                    param: body.error.param,
                    code: body.error.code,
                });
                return false;
            }
            return true;
        };
        let time = now();
        answer.update(|answer| {
            let choice = chunk.choices.into_iter().next();
            if let Some(text) = choice.as_ref().and_then(|choice| choice.delta.content.as_deref())
                && !text.is_empty()
            {
                let first = *first.get_or_insert(time);
                answer.first_ms = first - begun;
                answer.stream_ms = time - first;
                answer.tokens += 1;
                answer.text.push_str(text);
                answer.state = State::Streaming;
            }
            if let Some(reason) = choice.and_then(|choice| choice.finish_reason) {
                answer.state = State::Done(reason);
            }
            if let Some(Some(usage)) = chunk.usage {
                answer.tokens = usage.completion_tokens;
            }
        });
        true
    })
    .await?;
    failure.map_or(Ok(()), Err)
}

fn finish(answer: &mut Answer, result: Result<(), ClientError>) {
    match result {
        // The page itself aborts after the last event; only an unfinished answer was stopped by the person.
        Ok(()) | Err(ClientError::Aborted) => {
            if answer.is_busy() {
                answer.state = State::Stopped;
            }
        }
        Err(error) => answer.state = State::Failed(error),
    }
}

fn now() -> f64 {
    window().performance().map_or(0.0, |performance| performance.now())
}
