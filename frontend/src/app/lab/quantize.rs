//! The quantization lab: the open model's numbers on few levels, and at once what that does to its size, its errors and its perplexity
//! on held-out text. The worker computes; this file holds the state and moves it, the views are in `quantize/`.

mod cloud;
mod controls;
mod groups;
mod matrices;
mod setting;
mod summary;

use gloo::timers::future::TimeoutFuture;
use hearth_shared::lab::{
    LabError, Progress, Reply, Request, held_out,
    quantize::{Ask, CHARACTERS, Found, GroupLoss, Loss, Searched, TEXTS, Task, Tried},
};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use wasm_bindgen_futures::spawn_local;

use super::engine::{Answer, engine};
use super::host::{self, Host, Status};
use super::opening::{EngineSwitch, ModelChoice, Notices};
use super::share::Share;
use super::{address::choice_word, keep, publish};
use crate::app::address::{self, Pairs};
use crate::app::client;
use crate::app::i18n::{t, use_i18n};
use setting::Setting;

/// Where this lab is.
const PLACE: &str = "/lab/quantization";
/// Pause after a change before the model is measured.
const PAUSE_MS: u32 = 60;

/// A setting and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    setting: Setting,
    bytes: u64,
    loss: Loss,
}

/// What takes many measurements, and how far it is.
#[derive(Clone, Debug, Default, PartialEq)]
enum Long {
    #[default]
    Idle,
    Running {
        call: u64,
        search: bool,
        progress: Option<Progress>,
    },
}

/// See the top of the file. Copies are handles to the same state.
#[derive(Clone, Copy)]
struct Lab {
    host: Host,
    setting: RwSignal<Setting>,
    tried: RwSignal<Option<Tried>>,
    /// All that was tried on this model, each setting once.
    points: RwSignal<Vec<Point>>,
    sensitivity: RwSignal<Option<(Loss, Vec<GroupLoss>)>>,
    searched: RwSignal<Option<Searched>>,
    /// Per cent that the perplexity may rise by in a search.
    bound: RwSignal<f64>,
    long: RwSignal<Long>,
    texts: RwSignal<Vec<String>>,
}

/// What was tried on a model outlives a reload under this name.
fn list_of(model: &str) -> String {
    format!("tried.{model}")
}

fn use_lab() -> Lab {
    expect_context::<Lab>()
}

/// The page at `/lab/quantization`.
#[component]
pub fn Quantize() -> impl IntoView {
    let i18n = use_i18n();
    let lab = provide();
    let state = move || lab.host.state();
    let engine = move || lab.host.engine_word();
    let long = move || lab.long.with(|long| (*long != Long::Idle).then_some("running"));
    view! {
        <div class="page lab quantize" data-lab=state data-engine=engine data-long=long>
            <super::tabs::Tabs/>
            <header class="lab-head">
                <h1>{t!(i18n, quantize.title)}</h1>
                <p>{t!(i18n, quantize.lead)}</p>
            </header>
            <section class="card quantize-model">
                <ModelChoice/>
                <EngineSwitch/>
                <Share
                    place=PLACE
                    pairs=move |()| lab.pairs()
                    name="hearth-quantization"
                    export=move |()| lab.export()
                    reset=move |()| lab.setting.set(Setting::default())
                    rehearsal=lab.host.rehearsal
                />
            </section>
            <Notices/>
            <div class="quantize-body">
                <controls::Controls/>
                <div class="quantize-results">
                    <Show when=move || lab.tried.with(Option::is_some)>
                        <summary::Summary/>
                        <cloud::Cloud/>
                        <matrices::Matrices/>
                        <groups::Groups/>
                    </Show>
                </div>
            </div>
        </div>
    }
}

fn provide() -> Lab {
    let pairs = address::query();
    let word = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    let choice = super::address::choice_of(&word("engine").unwrap_or_default());
    let lab = Lab {
        host: host::provide_with_example(word("model"), choice, "quantization"),
        setting: RwSignal::new(Setting::read(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))),
        tried: RwSignal::new(None),
        points: RwSignal::new(Vec::new()),
        sensitivity: RwSignal::new(None),
        searched: RwSignal::new(None),
        bound: RwSignal::new(1.0),
        long: RwSignal::new(Long::Idle),
        texts: RwSignal::new(Vec::new()),
    };
    provide_context(lab);
    lab.keep_measured();
    lab.keep_address();
    lab
}

impl Lab {
    /// Fetches what is measured on, once a model is open; a failure is tried again with the model.
    fn fetch_texts(self) {
        spawn_local(async move {
            match client::get_text(held_out::SAMPLE).await {
                Ok(lines) => {
                    let _ = self.texts.try_set(held_out::beginnings(&lines, TEXTS, CHARACTERS));
                }
                Err(error) => {
                    let error = LabError::Fetch { url: held_out::SAMPLE.to_owned(), message: error.to_string() };
                    let _ = self.host.status.try_set(Status::Failed(error));
                }
            }
        });
    }

    /// Measures whenever the setting or the model changes; what was found for another model is forgotten.
    fn keep_measured(self) {
        let asked = StoredValue::new(0_u32);
        let model = Memo::new(move |_| self.host.opened.with(|opened| opened.as_ref().map(|opened| opened.id.clone())));
        Effect::new(move |before: Option<Option<String>>| {
            let now = model.get();
            // What the example answered is measured again once the model is open.
            self.host.opened.track();
            let setting = self.setting.get();
            if before.flatten() != now {
                self.tried.set(None);
                self.points.set(now.as_deref().map(|model| keep::load(&list_of(model))).unwrap_or_default());
                self.sensitivity.set(None);
                self.searched.set(None);
            }
            if now.is_none() {
                return now;
            }
            if self.texts.with(Vec::is_empty) {
                self.fetch_texts();
                return now;
            }
            asked.update_value(|count| *count += 1);
            let mine = asked.get_value();
            spawn_local(async move {
                TimeoutFuture::new(PAUSE_MS).await;
                if asked.try_get_value() == Some(mine) {
                    self.measure(setting).await;
                }
            });
            now
        });
    }

    fn ask(self, setting: &Setting, task: Task) -> Request {
        Request::Quantize(Ask {
            texts: self.texts.get_untracked(),
            spec: setting.spec,
            spared: setting.spared.clone(),
            task,
        })
    }

    async fn measure(self, setting: Setting) {
        // Newer calls stop older ones, a long one among them.
        self.long.set(Long::Idle);
        self.host.status.set(Status::Computing);
        let request = self.ask(&setting, Task::Try { matrix: setting.matrix.clone() });
        let (_, answer) = engine().call(request, Vec::new(), |_| {});
        match answer.await.map(|answer| answer.reply) {
            Ok(Reply::Quantize(found)) => {
                if let Found::Tried(tried) = *found {
                    self.take(setting, tried);
                }
            }
            Ok(_) | Err(LabError::Superseded | LabError::Crashed { .. }) => {}
            Err(error) => self.host.status.set(Status::Failed(error)),
        }
    }

    fn take(self, setting: Setting, tried: Tried) {
        let plain = Setting { matrix: String::new(), ..setting };
        let point = Point { setting: plain, bytes: tried.bytes, loss: tried.loss };
        self.points.update(|points| {
            points.retain(|known| known.setting != point.setting);
            points.push(point);
        });
        self.host.answered();
        // What the example shows was not tried here.
        let model = self.host.opened.with_untracked(|opened| opened.as_ref().map(|opened| opened.id.clone()));
        if let Some(model) = model.filter(|_| !self.host.rehearsal.get_untracked()) {
            self.points.with_untracked(|points| keep::store(&list_of(&model), points));
        }
        if let Ok(json) = serde_json::to_string(&tried) {
            publish::publish_numbers("quantize", &json, self.host.rehearsal.get_untracked());
        }
        self.tried.set(Some(tried));
    }

    /// Runs what takes many measurements; its progress stands in `long`.
    fn run_long(self, task: Task) {
        let search = matches!(task, Task::Search { .. });
        let request = self.ask(&self.setting.get_untracked(), task);
        let on_progress = move |told: Progress| {
            let _ = self.long.try_update(|long| {
                if let Long::Running { progress, .. } = long {
                    *progress = Some(told);
                }
            });
        };
        let (call, answer) = engine().call(request, Vec::new(), on_progress);
        self.long.set(Long::Running { call, search, progress: None });
        spawn_local(async move {
            let outcome = answer.await;
            let mine = self.long.with_untracked(|long| matches!(long, Long::Running { call: now, .. } if *now == call));
            if mine {
                self.long.set(Long::Idle);
            }
            match outcome {
                Ok(Answer { reply: Reply::Quantize(found), .. }) => match *found {
                    Found::Sensitivity { base, groups } => {
                        publish::publish_value("sensitivity", &groups);
                        self.sensitivity.set(Some((base, groups)));
                    }
                    Found::Searched(searched) => {
                        publish::publish_value("searched", &searched);
                        self.searched.set(Some(searched));
                    }
                    Found::Tried(_) => {}
                },
                Ok(_) | Err(LabError::Superseded | LabError::Cancelled | LabError::Crashed { .. }) => {}
                Err(error) => self.host.status.set(Status::Failed(error)),
            }
        });
    }

    /// A long one would stop the measurement that runs, or another long one.
    fn is_busy(self) -> bool {
        self.host.state() != "ready" || self.long.with(|long| *long != Long::Idle)
    }

    fn cancel(self) {
        if let Long::Running { call, .. } = self.long.get_untracked() {
            self.long.set(Long::Idle);
            engine().cancel(call);
        }
    }

    /// Everything that was found, as JSON.
    fn export(self) -> Option<String> {
        let tried = self.tried.get_untracked()?;
        let points: Vec<serde_json::Value> = self.points.with_untracked(|points| {
            let line = |point: &Point| {
                serde_json::json!({
                    "spec": point.setting.spec, "spared": point.setting.spared,
                    "bytes": point.bytes, "nll": point.loss.nll, "perplexity": point.loss.perplexity(),
                })
            };
            points.iter().map(line).collect()
        });
        let all = serde_json::json!({
            "model": self.host.model.get_untracked(),
            "tried": tried,
            "points": points,
            "sensitivity": self.sensitivity.get_untracked().map(|(_, groups)| groups),
            "searched": self.searched.get_untracked(),
        });
        serde_json::to_string_pretty(&all).ok()
    }

    /// What the address says.
    fn pairs(self) -> Pairs {
        let mut pairs = self.setting.with(Setting::pairs);
        pairs.extend(self.host.model_word().map(|model| ("model", model)));
        let choice = choice_word(self.host.choice.get());
        pairs.extend((choice != "auto").then(|| ("engine", choice.to_owned())));
        pairs
    }

    fn keep_address(self) {
        address::follow(move || self.pairs(), |pairs| address::replace(PLACE, pairs));
    }
}
