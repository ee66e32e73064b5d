//! The model in the engine's hands, as every lab has one: which, on which engine, its words, and how far opening it is. The
//! worker is asked to open it from here; what is then done with it is each lab's own affair.

use gloo::timers::callback::Timeout;
use hearth_shared::api::models::Model;
use hearth_shared::lab::{
    EngineChoice, EngineReason, LabError, LabFile, LabModel, OpenModel, Opened, Place, Progress, Reply, Request,
    TensorName,
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
        let model = match find(self.store, id) {
            Ok(model) => model,
            Err(LabError::UnknownModel { name }) => {
                self.look_up(name);
                return;
            }
            Err(error) => {
                self.status.set(Status::Failed(error));
                return;
            }
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

    /// Asks the server for a model that the list doesn't have. One that comes is opened, as [`find`] has been listening.
    fn look_up(self, name: String) {
        if !self.rehearsal.get_untracked() {
            self.opened.set(None);
        }
        self.status.set(Status::Waiting);
        spawn_local(async move {
            let found = self.store.load_unlisted(&name).await;
            // The lab may be gone by now, or has another model.
            let is_asked = self.model.try_get_untracked().is_some_and(|model| model == name);
            if found.is_err() && is_asked {
                self.status.set(Status::Failed(LabError::UnknownModel { name }));
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

/// The model of this name as the worker needs it, an adapter with its base's files; one that is not listed only once it was looked up.
///
/// # Errors
/// There is no such model, or its base is not here.
pub fn find(store: Store, id: &str) -> Result<LabModel, LabError> {
    let mut models = store.models.with(|models| models.ready().cloned().unwrap_or_default());
    // One that is listed by now counts as listed.
    store.unlisted.with(|unlisted| models.extend(unlisted.iter().cloned()));
    let model = models.iter().find(|model| model.id == id);
    let model = model.ok_or_else(|| LabError::UnknownModel { name: id.to_owned() })?;
    let base = base_of(model, &models);
    if base.is_none() && model.hearth.base_hash.is_some() {
        let base = model.hearth.base.clone().unwrap_or_default();
        return Err(LabError::NoBase { name: id.to_owned(), base });
    }
    Ok(lab_model(model, base))
}

/// A registry model as the worker needs it; of an adapter its base is needed, too.
#[must_use]
pub fn lab_model(model: &Model, base: Option<&Model>) -> LabModel {
    LabModel {
        id: model.id.clone(),
        hash: model.hearth.hash.clone(),
        base: store::file_url(&model.hearth.hash, ""),
        key: client::key(),
        parameters: model.hearth.parameters,
        files: files(model, base),
    }
}

/// The model that an adapter was trained on, whatever it is called now.
#[must_use]
pub fn base_of<'a>(model: &Model, models: &'a [Model]) -> Option<&'a Model> {
    let hash = model.hearth.base_hash.as_ref()?;
    models.iter().find(|other| other.hearth.base_hash.is_none() && other.hearth.hash == *hash)
}

/// The model's own files and, in their places, its base's. A whole model's folder may hold an adapter that nobody asked for.
fn files(model: &Model, base: Option<&Model>) -> Vec<LabFile> {
    let of = |model: &Model, place: Option<&Place>| -> Vec<LabFile> {
        let is_whole = model.hearth.base_hash.is_none();
        let files = model.hearth.files.iter().filter(|file| !(is_whole && file.name.starts_with("adapter_")));
        files.map(|file| LabFile { name: file.name.clone(), bytes: file.bytes, place: place.cloned() }).collect()
    };
    let lent = base.map(|base| {
        let hash = base.hearth.hash.clone();
        of(base, Some(&Place { base: store::file_url(&hash, ""), hash }))
    });
    lent.into_iter().flatten().chain(of(model, None)).collect()
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

#[cfg(test)]
mod tests {
    use hearth_shared::api::models::{ModelFile, ModelInfo};

    use super::*;

    fn model(id: &str, hash: &str, base_hash: Option<&str>, names: &[&str]) -> Model {
        Model {
            id: id.to_owned(),
            object: "model".to_owned(),
            created: 0,
            owned_by: "hearth".to_owned(),
            hearth: ModelInfo {
                base: base_hash.map(|_| "base".to_owned()),
                base_hash: base_hash.map(str::to_owned),
                job: None,
                hash: hash.to_owned(),
                bytes: 1,
                parameters: 7,
                architecture: "llama".to_owned(),
                context: 128,
                memory: 28,
                chat: true,
                format: "huggingface".to_owned(),
                loaded: false,
                files: names.iter().map(|name| ModelFile { name: (*name).to_owned(), bytes: 1 }).collect(),
            },
        }
    }

    #[test]
    fn an_adapter_comes_with_the_files_of_the_model_it_was_trained_on() {
        let models = [
            model("ft:base:org::2", "b", Some("a"), &["adapter_config.json", "adapter_model.safetensors"]),
            // The name that the adapter was trained under is another model's by now.
            model("base", "c", None, &["config.json"]),
            model("older", "a", None, &["adapter_config.json", "config.json", "model.safetensors"]),
        ];
        let base = base_of(&models[0], &models);
        assert_eq!(base.map(|base| base.id.as_str()), Some("older"));
        let files = files(&models[0], base);
        let places: Vec<(&str, Option<&str>)> = files
            .iter()
            .map(|file| (file.name.as_str(), file.place.as_ref().map(|place| place.base.as_str())))
            .collect();
        let there = Some("/v1/hearth/files/a/");
        let own = [("adapter_config.json", None), ("adapter_model.safetensors", None)];
        assert_eq!(places, [&[("config.json", there), ("model.safetensors", there)][..], &own].concat());
        assert_eq!(base_of(&models[1], &models), None);
        assert_eq!(base_of(&models[0], &models[..2]), None, "its base is gone");
    }
}
