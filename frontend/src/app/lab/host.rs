//! The model in the engine's hands, as every lab has one: which, on which engine, its words, and how far opening it is. The
//! worker is asked to open it from here; what is then done with it is each lab's own affair.

use gloo::timers::callback::Timeout;
use hearth_shared::api::models::Model;
use hearth_shared::lab::{
    EngineChoice, EngineReason, LabError, LabFile, LabModel, OpenModel, Opened, Progress, Reply, Request, TensorName,
};
use js_sys::{ArrayBuffer, Uint8Array, Uint32Array};
use leptos::prelude::*;
use std::rc::Rc;
use wasm_bindgen_futures::spawn_local;

use super::engine::{Answer, Life, engine};
use super::heat::Palette;
use super::{milliseconds, publish, rehearsal};
use crate::app::{
    address, client,
    store::{self, NANO, Store, use_store},
    theme::use_theme,
};

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
    Computing,
    Ready,
    Failed(LabError),
}

impl Status {
    /// The word for it in the page's attributes.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting | Self::Opening { .. } => "opening",
            Self::Computing => "computing",
            Self::Ready => "ready",
            Self::Failed(_) => "failed",
        }
    }
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
pub struct Host {
    pub model: RwSignal<String>,
    pub choice: RwSignal<EngineChoice>,
    pub status: RwSignal<Status>,
    pub opened: RwSignal<Option<Opened>>,
    /// What is shown was computed beforehand: the engine is not there yet.
    pub rehearsal: RwSignal<bool>,
    pub palette: RwSignal<Palette>,
    vocabulary: StoredValue<Rc<Vocabulary>, LocalStorage>,
    store: Store,
}

/// As [`provide`]; until the engine is there, a lab that no link opened shows what it computed once: the example of this name.
pub fn provide_with_example(model: Option<String>, choice: EngineChoice, example: &'static str) -> Host {
    let host = provide(model, choice);
    if address::query().is_empty() {
        rehearsal::begin(example, host.rehearsal);
    }
    host
}

/// Opens `model`, or hearth-nano, as soon as the engine is there, and again whenever it, the choice or the worker changes.
pub fn provide(model: Option<String>, choice: EngineChoice) -> Host {
    let host = Host {
        model: RwSignal::new(model.unwrap_or_else(|| NANO.to_owned())),
        choice: RwSignal::new(choice),
        status: RwSignal::new(Status::Waiting),
        opened: RwSignal::new(None),
        rehearsal: RwSignal::new(false),
        palette: RwSignal::new(Palette::current()),
        vocabulary: StoredValue::new_local(Rc::default()),
        store: use_store(),
    };
    provide_context(host);
    host.keep_open();
    host.keep_colours();
    host
}

pub fn use_host() -> Host {
    expect_context::<Host>()
}

impl Host {
    pub fn word(&self, token: u32) -> String {
        self.vocabulary.with_value(|words| words.text(token))
    }

    /// The model's name for an address: nothing for the one that every lab begins with.
    pub fn model_word(&self) -> Option<String> {
        Some(self.model.get()).filter(|model| model != NANO)
    }

    /// The word for the lab's state in the page's attributes.
    pub fn state(&self) -> &'static str {
        match self.status.with(Status::word) {
            "ready" if self.rehearsal.get() => "example",
            word => word,
        }
    }

    /// The lab has its answer.
    pub fn answered(&self) {
        self.heard();
        self.status.set(Status::Ready);
    }

    /// The lab has a part of its answer: from the first one of this tab's own engine on, nothing is an example any more.
    pub fn heard(&self) {
        if self.rehearsal.get_untracked() && !matches!(engine().life().get_untracked(), Life::Starting) {
            self.rehearsal.set(false);
        }
    }

    /// A time that was measured in this tab; one of the example is none.
    pub fn measured(&self, ms: f64) -> Option<String> {
        (!self.rehearsal.get()).then(|| milliseconds(ms))
    }

    /// The word for the engine that has the model; none before it is open.
    pub fn engine_word(&self) -> Option<&'static str> {
        if self.rehearsal.get() {
            return None;
        }
        self.opened.with(|opened| opened.as_ref().map(|opened| opened.engine.engine.word()))
    }

    /// Opens the model again, after a failure or a cancel.
    pub fn reopen(&self) {
        self.model.notify();
    }

    /// The same where what was cancelled has taken the worker with it: the next one is not held back.
    pub fn open_anew(&self) {
        self.status.set(Status::Waiting);
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
                    if reason.is_some() {
                        crashed.set_value(reason);
                    }
                    self.rehearsal.set(false);
                    self.opened.set(None);
                    return before.unwrap_or_default();
                }
                // The example's model; it is opened once.
                Life::Starting if models_known && self.rehearsal.get() => {
                    if before.as_ref().is_none_or(|(_, opened, _)| *opened != model) {
                        self.open(&model, choice, None);
                    }
                    return (0, model, choice);
                }
                _ => return before.unwrap_or_default(),
            };
            if !models_known {
                return before.unwrap_or_default();
            }
            if let Some((known, before, chosen)) = before {
                if chosen != choice {
                    crashed.set_value(None);
                }
                // Another worker in the place of one that did not stop: what was cancelled stays so.
                let cancelled = self.status.with_untracked(|status| *status == Status::Failed(LabError::Cancelled));
                if cancelled && known != epoch && before == model && chosen == choice {
                    return (epoch, model, choice);
                }
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
        // An example stays until there is something to take its place.
        let is_example = self.rehearsal.get_untracked();
        if !is_example {
            self.opened.set(None);
        }
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
                    self.status.set(Status::Computing);
                    self.opened.set(Some(*opened));
                }
                Ok(_) | Err(LabError::Superseded) => {}
                Err(error) => {
                    if is_example {
                        self.rehearsal.set(false);
                        self.opened.set(None);
                    }
                    self.status.set(Status::Failed(error));
                }
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
