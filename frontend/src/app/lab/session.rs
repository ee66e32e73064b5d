//! The lab's state and what moves it: which model is open, which text was traced, which head, step and cell are in hand.
//! Views read it; the worker is reached through `engine` only from here. Tensors stay out of the signals: a signal says
//! that there is a new pass, the pass itself stands beside it.

use std::rc::Rc;

use gloo::timers::{callback::Timeout, future::TimeoutFuture};
use hearth_shared::api::models::Model;
use hearth_shared::lab::{
    EngineChoice, EngineReason, LabError, LabFile, LabModel, OpenModel, Opened, Progress, Reply, Request, TensorName,
};
use js_sys::{ArrayBuffer, Float32Array, Uint8Array, Uint32Array};
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::address::Address;
use super::engine::{Answer, Life, engine};
use super::forward::{Cell, Forward, Head, Step};
use super::heat::Palette;
use super::next::{Ranking, Sliders};
use super::publish;
use crate::app::{
    client,
    store::{self, NANO, Store, use_store},
    theme::use_theme,
};

/// The page waits this long for the next keystroke before it asks for a pass.
const PAUSE_MS: u32 = 90;
/// The address follows the state after this long.
const ADDRESS_MS: u32 = 300;

/// What the lab is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Status {
    /// The engine or the list of models is not there yet.
    #[default]
    Waiting,
    Opening {
        model: String,
        call: u64,
        progress: Option<Progress>,
    },
    Tracing,
    Ready,
    Failed(LabError),
}

/// A model's words.
#[derive(Debug, Default)]
pub struct Vocabulary {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Vocabulary {
    #[must_use]
    pub fn text(&self, token: u32) -> String {
        let end = |index: usize| self.ends.get(index).map_or(0, |&end| end as usize);
        let index = token as usize;
        let start = if index == 0 { 0 } else { end(index - 1) };
        let bytes = self.bytes.get(start..end(index)).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }
}

/// See the top of the file. Copies are handles to the same state.
#[derive(Clone, Copy)]
pub struct Session {
    pub text: RwSignal<String>,
    pub model: RwSignal<String>,
    pub choice: RwSignal<EngineChoice>,
    pub at: RwSignal<Head>,
    pub step: RwSignal<Step>,
    /// The cell that was clicked or reached by keys. Its row is the chosen token.
    pub pinned: RwSignal<Cell>,
    /// The cell under the pointer and the step it is in.
    pub hovered: RwSignal<Option<(Step, Cell)>>,
    pub temperature: RwSignal<f64>,
    pub top_k: RwSignal<f64>,
    pub top_p: RwSignal<f64>,
    pub status: RwSignal<Status>,
    pub opened: RwSignal<Option<Opened>>,
    /// Milliseconds from asking to having the numbers on the page.
    pub answer_ms: RwSignal<Option<f64>>,
    pub palette: RwSignal<Palette>,
    /// Counts passes; [`Session::forward`] is the pass itself.
    version: RwSignal<u32>,
    forward: StoredValue<Option<Rc<Forward>>, LocalStorage>,
    ranking: StoredValue<Option<(u32, usize, Rc<Ranking>)>, LocalStorage>,
    vocabulary: StoredValue<Rc<Vocabulary>, LocalStorage>,
    /// The row was never chosen: it follows the end of the text.
    follows_end: StoredValue<bool>,
    store: Store,
}

/// Makes the state from the address, and keeps engine and address in step with it.
pub fn provide(first_text: String) -> Session {
    let address = publish::address();
    let sliders = address.sliders;
    let session = Session {
        text: RwSignal::new(address.text.unwrap_or(first_text)),
        model: RwSignal::new(address.model.unwrap_or_else(|| NANO.to_owned())),
        choice: RwSignal::new(address.choice),
        at: RwSignal::new(address.at),
        step: RwSignal::new(address.step),
        pinned: RwSignal::new(address.cell.unwrap_or_default()),
        hovered: RwSignal::new(None),
        temperature: RwSignal::new(round(sliders.temperature)),
        top_k: RwSignal::new(f64::from(sliders.top_k)),
        top_p: RwSignal::new(round(sliders.top_p)),
        status: RwSignal::new(Status::Waiting),
        opened: RwSignal::new(None),
        answer_ms: RwSignal::new(None),
        palette: RwSignal::new(Palette::current()),
        version: RwSignal::new(0),
        forward: StoredValue::new_local(None),
        ranking: StoredValue::new_local(None),
        vocabulary: StoredValue::new_local(Rc::default()),
        follows_end: StoredValue::new(address.cell.is_none()),
        store: use_store(),
    };
    provide_context(session);
    session.keep_open();
    session.keep_traced();
    session.keep_address();
    session.keep_colours();
    session
}

pub fn use_session() -> Session {
    expect_context::<Session>()
}

/// A slider's f32 as the f64 a person wrote.
fn round(value: f32) -> f64 {
    (f64::from(value) * 1e4).round() / 1e4
}

impl Session {
    /// The pass in hand. Reading it in an effect or a view follows new passes.
    pub fn forward(&self) -> Option<Rc<Forward>> {
        self.version.track();
        self.forward.get_value()
    }

    pub fn sliders(&self) -> Sliders {
        Sliders {
            temperature: self.temperature.get() as f32,
            top_k: self.top_k.get() as u32,
            top_p: self.top_p.get() as f32,
        }
    }

    /// The chosen token, inside the pass in hand.
    pub fn row(&self) -> usize {
        let last = self.forward().map_or(0, |forward| forward.tokens().len().saturating_sub(1));
        self.pinned.get().row.min(last)
    }

    /// The cell under the pointer, else the chosen one, inside the picture it is in.
    pub fn active(&self) -> (Step, Cell) {
        if let Some(hovered) = self.hovered.get() {
            return hovered;
        }
        let (step, pinned) = (self.step.get(), self.pinned.get());
        let (rows, cols) = self.forward().map_or((1, 1), |forward| {
            let picture = forward.picture(self.at.get(), step);
            (picture.rows.max(1), picture.cols.max(1))
        });
        let cell = Cell { row: pinned.row.min(rows - 1), col: pinned.col.min(cols - 1) };
        (step, cell)
    }

    pub fn pin(&self, cell: Cell) {
        self.follows_end.set_value(false);
        self.pinned.set(cell);
    }

    /// Adds a token to the text, and follows the end again.
    pub fn append(&self, token: u32) {
        self.follows_end.set_value(true);
        let word = self.word(token);
        self.text.update(|text| text.push_str(&word));
    }

    pub fn word(&self, token: u32) -> String {
        self.vocabulary.with_value(|words| words.text(token))
    }

    /// All tokens by logit after token `row`: sorted once, however the sliders move.
    pub fn ranking(&self, forward: &Forward, row: usize) -> Rc<Ranking> {
        let version = self.version.get_untracked();
        let known = self.ranking.with_value(|known| known.clone().filter(|(v, r, _)| (*v, *r) == (version, row)));
        if let Some((_, _, ranking)) = known {
            return ranking;
        }
        let ranking = Rc::new(Ranking::new(forward.logits(row)));
        self.ranking.set_value(Some((version, row, ranking.clone())));
        ranking
    }

    /// Opens the model again, after a failure or a cancel.
    pub fn reopen(&self) {
        self.model.notify();
    }

    pub fn cancel(&self) {
        if let Status::Opening { call, .. } = self.status.get_untracked() {
            engine().cancel(call);
        }
    }

    /// Opens the chosen model whenever it, the engine choice or the worker changes.
    fn keep_open(self) {
        let life = engine().life();
        // Why the last worker died, until the person chooses an engine anew.
        let crashed = StoredValue::new(None::<String>);
        let models_known = Memo::new(move |_| self.store.models.with(|models| models.ready().is_some()));
        Effect::new(move |before: Option<(u32, String, EngineChoice)>| {
            let model = self.model.get();
            let choice = self.choice.get();
            let models_known = models_known.get();
            let epoch = match life.get() {
                Life::Ready { epoch, .. } => epoch,
                Life::Restarting { reason } => {
                    crashed.set_value(Some(reason));
                    self.opened.set(None);
                    return before.unwrap_or_default();
                }
                _ => return before.unwrap_or_default(),
            };
            if !models_known {
                return before.unwrap_or_default();
            }
            if before.is_some_and(|(.., chosen)| chosen != choice) {
                crashed.set_value(None);
            }
            self.open(&model, choice, crashed.get_value());
            (epoch, model, choice)
        });
    }

    /// `crashed`: why the last worker died. On the graphics device the next one would die again, so it stays on the CPU.
    fn open(self, id: &str, choice: EngineChoice, crashed: Option<String>) {
        let crashed = crashed.filter(|_| choice != EngineChoice::Cpu);
        let choice = if crashed.is_some() { EngineChoice::Cpu } else { choice };
        let Some(model) = self.store.model(id).map(lab_model) else {
            let message = format!("there is no model {id:?}");
            self.status.set(Status::Failed(LabError::Other { message }));
            return;
        };
        self.opened.set(None);
        let request = Request::Open(OpenModel { model, engine: choice });
        let on_progress = move |told: Progress| {
            self.status.update(|status| {
                if let Status::Opening { progress, .. } = status {
                    *progress = Some(told);
                }
            });
        };
        let (call, answer) = engine().call(request, Vec::new(), on_progress);
        self.status.set(Status::Opening { model: id.to_owned(), call, progress: None });
        spawn_local(async move {
            match answer.await {
                Ok(Answer { reply: Reply::Opened(mut opened), buffers }) => {
                    if let Some(message) = crashed {
                        opened.engine.reason = EngineReason::WebGpuFailed { message };
                    }
                    self.vocabulary.set_value(Rc::new(words(&opened, &buffers)));
                    self.status.set(Status::Tracing);
                    self.opened.set(Some(*opened));
                }
                Ok(_) | Err(LabError::Superseded) => {}
                Err(error) => self.status.set(Status::Failed(error)),
            }
        });
    }

    /// Traces the text whenever it or the model changes, after a short pause in typing.
    fn keep_traced(self) {
        let asked = StoredValue::new(0_u32);
        Effect::new(move |_| {
            let text = self.text.get();
            if self.opened.with(Option::is_none) {
                return;
            }
            asked.update_value(|count| *count += 1);
            let mine = asked.get_value();
            spawn_local(async move {
                if self.version.get_untracked() > 0 {
                    TimeoutFuture::new(PAUSE_MS).await;
                }
                if asked.try_get_value() == Some(mine) {
                    self.trace(text).await;
                }
            });
        });
    }

    async fn trace(self, text: String) {
        if text.is_empty() {
            self.status.set(Status::Failed(LabError::EmptyText));
            return;
        }
        let start = publish::now();
        self.status.set(Status::Tracing);
        let (_, answer) = engine().call(Request::Trace { text }, Vec::new(), |_| {});
        match answer.await {
            Ok(Answer { reply: Reply::Traced(traced), buffers }) => {
                let Some(opened) = self.opened.get_untracked() else {
                    return;
                };
                let data = buffers.iter().map(|b| Float32Array::new(b).to_vec()).collect();
                match Forward::new(opened.facts, *traced, data) {
                    Ok(forward) => self.take(forward, publish::now() - start),
                    Err(message) => self.status.set(Status::Failed(LabError::Other { message })),
                }
            }
            Ok(_) | Err(LabError::Superseded) => {}
            // The supervisor is on it, and the model is opened again.
            Err(LabError::Crashed { .. }) => {}
            Err(error) => self.status.set(Status::Failed(error)),
        }
    }

    /// A new pass: what is in hand stays where it was as far as the new pass reaches.
    fn take(self, forward: Forward, answer_ms: f64) {
        let facts = &forward.facts;
        let last = forward.tokens().len().saturating_sub(1);
        let at = self.at.get_untracked();
        let inside =
            Head { layer: at.layer.min(facts.n_layers as usize - 1), head: at.head.min(facts.n_heads as usize - 1) };
        if inside != at {
            self.at.set(inside);
        }
        self.hovered.set(None);
        let pinned = self.pinned.get_untracked();
        if self.follows_end.get_value() || pinned.row > last {
            self.pinned.set(Cell { row: last, col: pinned.col.min(last) });
        }
        publish::publish_pass(&forward, answer_ms);
        self.forward.set_value(Some(Rc::new(forward)));
        self.answer_ms.set(Some(answer_ms));
        self.version.update(|version| *version += 1);
        self.status.set(Status::Ready);
    }

    fn keep_address(self) {
        let timer = StoredValue::new_local(None::<Timeout>);
        Effect::new(move |first: Option<()>| {
            let pinned = self.pinned.get();
            let address = Address {
                text: Some(self.text.get()),
                model: Some(self.model.get()).filter(|model| model != NANO),
                choice: self.choice.get(),
                at: self.at.get(),
                step: self.step.get(),
                cell: (!self.follows_end.get_value()).then_some(pinned),
                sliders: self.sliders(),
            };
            if first.is_some() {
                let later = Timeout::new(ADDRESS_MS, move || publish::set_address(&address));
                timer.set_value(Some(later));
            }
        });
    }

    /// Canvases do not follow the theme by themselves.
    fn keep_colours(self) {
        let theme = use_theme();
        let refresh = move || {
            // After the frame in which the theme's attribute lands.
            Timeout::new(30, move || {
                if self.palette.try_get_untracked().is_some() {
                    self.palette.set(Palette::current());
                }
            })
            .forget();
        };
        Effect::new(move |_| {
            theme.track();
            refresh();
        });
        publish::on_system_theme(refresh);
    }
}

/// A registry model as the worker needs it.
#[must_use]
pub fn lab_model(model: Model) -> LabModel {
    LabModel {
        base: store::file_url(&model.hearth.hash, ""),
        hash: model.hearth.hash,
        key: client::key(),
        parameters: model.hearth.parameters,
        files: model.hearth.files.into_iter().map(|file| LabFile { name: file.name, bytes: file.bytes }).collect(),
        id: model.id,
    }
}

fn words(opened: &Opened, buffers: &[ArrayBuffer]) -> Vocabulary {
    let buffer = |name| {
        let place = opened.tensors.iter().position(|info| info.name == name)?;
        buffers.get(place)
    };
    Vocabulary {
        bytes: buffer(TensorName::VocabularyBytes).map(|b| Uint8Array::new(b).to_vec()).unwrap_or_default(),
        ends: buffer(TensorName::VocabularyEnds).map(|b| Uint32Array::new(b).to_vec()).unwrap_or_default(),
    }
}
