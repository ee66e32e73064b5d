//! The quantization lab: the open model's numbers on few levels, and at once what that does to its size, its errors and its perplexity
//! on held-out text. The worker computes; this file holds the state and moves it, the views are in `quantize/`.

mod cloud;
mod controls;
mod groups;
mod matrices;
mod mixture;
mod scale;
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
use crate::app::components::toast::use_toasts;
use crate::app::i18n::{t, tu_string, use_i18n};
use setting::Setting;

/// Where this lab is.
const PLACE: &str = "/lab/quantization";
/// Pause after a change before the model is measured.
const PAUSE_MS: u32 = 60;
/// Per cent that a search may let the perplexity rise by, unless told otherwise.
const BOUND: f64 = 1.0;

/// A setting and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    setting: Setting,
    bytes: u64,
    loss: Loss,
}

/// What each part costs alone.
#[derive(Clone, Debug, PartialEq)]
struct Parts {
    /// As [`Setting::of_parts`] has it.
    under: Setting,
    base: Loss,
    groups: Vec<GroupLoss>,
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq)]
struct Mixture {
    /// As [`Setting::of_search`] has it.
    under: Setting,
    /// Per cent that the perplexity was allowed to rise by.
    bound: f64,
    /// It brings the mixture back.
    setting: Setting,
    found: Searched,
}

/// What a reset takes away, for those who want it back.
struct Taken {
    model: Option<String>,
    setting: Setting,
    points: Vec<Point>,
    parts: Option<Parts>,
    mixture: Option<Mixture>,
    bound: f64,
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
    parts: RwSignal<Option<Parts>>,
    mixture: RwSignal<Option<Mixture>>,
    /// Per cent that the perplexity may rise by in a search.
    bound: RwSignal<f64>,
    long: RwSignal<Long>,
    texts: RwSignal<Vec<String>>,
}

/// What was tried on a model outlives a reload under this name.
fn list_of(model: &str) -> String {
    format!("tried.{model}")
}

/// Each setting once, the newest last.
fn add(points: &mut Vec<Point>, point: Point) {
    points.retain(|known| !known.setting.rounds_like(&point.setting));
    points.push(point);
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
    let toasts = use_toasts();
    let reset = move |()| {
        if let Some(taken) = lab.reset() {
            let back = move || lab.bring_back(&taken);
            toasts.offer(tu_string!(i18n, quantize.forgotten), tu_string!(i18n, common.undo), back);
        }
    };
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
                    reset=reset
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
        parts: RwSignal::new(None),
        mixture: RwSignal::new(None),
        bound: RwSignal::new(BOUND),
        long: RwSignal::new(Long::Idle),
        texts: RwSignal::new(Vec::new()),
    };
    provide_context(lab);
    on_cleanup(move || {
        let running = lab.long.try_with_untracked(|long| match long {
            Long::Running { call, .. } => Some(*call),
            _ => None,
        });
        if let Some(Some(call)) = running {
            engine().abandon(call);
        }
    });
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
        let known = StoredValue::new(None::<String>);
        let model = Memo::new(move |_| self.host.opened.with(|opened| opened.as_ref().map(|opened| opened.id.clone())));
        Effect::new(move |before: Option<Option<String>>| {
            let now = model.get();
            // What the example answered is measured again once the model is open.
            self.host.opened.track();
            if let Some(model) = &now {
                // Another model has other matrices.
                if known.with_value(|known| known.as_ref().is_some_and(|known| known != model)) {
                    self.unmix();
                }
                known.set_value(now.clone());
            }
            let setting = self.setting.get();
            if before.flatten() != now {
                self.tried.set(None);
                self.points.set(now.as_deref().map(|model| keep::load(&list_of(model))).unwrap_or_default());
                self.parts.set(None);
                self.mixture.set(None);
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
            mixed: setting.mixed.clone(),
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
                // What has changed since is about to be measured.
                if let Found::Tried(tried) = *found
                    && self.setting.try_with_untracked(|now| *now == setting) == Some(true)
                {
                    self.take(setting, tried);
                }
            }
            Ok(_) | Err(LabError::Superseded | LabError::Crashed { .. }) => {}
            Err(error) => self.host.status.set(Status::Failed(error)),
        }
    }

    fn take(self, setting: Setting, tried: Tried) {
        let mut plain = Setting { matrix: String::new(), ..setting };
        // A link may name matrices that this model has not.
        let asked = plain.mixed.len();
        plain.mixed.retain(|path, _| tried.matrices.iter().any(|matrix| matrix.path == *path));
        if plain.mixed.len() < asked {
            self.setting.update(|now| now.mixed.clone_from(&plain.mixed));
        }
        self.host.answered();
        self.add(Point { setting: plain, bytes: tried.bytes, loss: tried.loss });
        if let Ok(json) = serde_json::to_string(&tried) {
            publish::publish_numbers("quantize", &json, self.host.rehearsal.get_untracked());
        }
        self.tried.set(Some(tried));
    }

    fn add(self, point: Point) {
        self.points.update(|points| add(points, point));
        self.keep_points();
    }

    fn keep_points(self) {
        // What the example shows was not tried here.
        if let Some(model) = self.model().filter(|_| !self.host.rehearsal.get_untracked()) {
            self.points.with_untracked(|points| keep::store(&list_of(&model), points));
        }
    }

    /// The model that is open; none where the lab was left.
    fn model(self) -> Option<String> {
        self.host.opened.try_with_untracked(|opened| opened.as_ref().map(|opened| opened.id.clone())).flatten()
    }

    /// Gives all matrices the same bits again.
    fn unmix(self) {
        if self.setting.with_untracked(|setting| !setting.mixed.is_empty()) {
            self.setting.update(|setting| setting.mixed.clear());
        }
    }

    /// Rounds as `setting` does, and goes on looking at the same matrix.
    fn apply(self, setting: &Setting) {
        self.setting.update(|now| {
            let matrix = std::mem::take(&mut now.matrix);
            *now = Setting { matrix, ..setting.clone() };
        });
    }

    /// The state that the lab begins with. Gives back what went, where that is more than a measurement of this state.
    fn reset(self) -> Option<Taken> {
        let taken = Taken {
            model: self.model(),
            setting: self.setting.get_untracked(),
            points: self.points.get_untracked(),
            parts: self.parts.get_untracked(),
            mixture: self.mixture.get_untracked(),
            bound: self.bound.get_untracked(),
        };
        let first = Setting::default();
        let others = taken.points.iter().any(|point| !point.setting.rounds_like(&first));
        self.parts.set(None);
        self.mixture.set(None);
        self.bound.set(BOUND);
        self.points.set(Vec::new());
        self.keep_points();
        // Measured anew, even where it is the same.
        self.setting.set(first);
        (others || taken.parts.is_some() || taken.mixture.is_some()).then_some(taken)
    }

    /// Undoes a reset; what was tried since stays. The lab may have been left, or have another model, by then.
    fn bring_back(self, taken: &Taken) {
        let Some(model) = &taken.model else { return };
        if self.model().as_ref() != Some(model) {
            keep::store(&list_of(model), &taken.points);
            return;
        }
        self.points.update(|points| {
            let since = std::mem::replace(points, taken.points.clone());
            since.into_iter().for_each(|point| add(points, point));
        });
        self.keep_points();
        self.parts.set(taken.parts.clone());
        self.mixture.set(taken.mixture.clone());
        self.bound.set(taken.bound);
        self.setting.set(taken.setting.clone());
    }

    /// Runs what takes many measurements; its progress stands in `long`.
    fn run_long(self, task: Task) {
        let search = matches!(task, Task::Search { .. });
        let (setting, bound) = (self.setting.get_untracked(), self.bound.get_untracked());
        let request = self.ask(&setting, task);
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
            let mine =
                self.long.try_with_untracked(|long| matches!(long, Long::Running { call: now, .. } if *now == call));
            // The lab may have been left.
            let Some(mine) = mine else { return };
            if mine {
                self.long.set(Long::Idle);
            }
            match outcome {
                Ok(Answer { reply: Reply::Quantize(found), .. }) => self.take_long(*found, &setting, bound),
                Ok(_) | Err(LabError::Superseded | LabError::Cancelled | LabError::Crashed { .. }) => {}
                Err(error) => self.host.status.set(Status::Failed(error)),
            }
        });
    }

    /// Keeps what a long measurement found, and under which setting; a mixture is a point like any other.
    fn take_long(self, found: Found, setting: &Setting, bound: f64) {
        match found {
            Found::Sensitivity { base, groups } => {
                publish::publish_value("sensitivity", &groups);
                self.parts.set(Some(Parts { under: setting.of_parts(), base, groups }));
            }
            Found::Searched(found) => {
                let mixed = setting.with_bits(&found.bits);
                self.add(Point { setting: mixed.clone(), bytes: found.bytes, loss: found.loss });
                publish::publish_value("searched", &found);
                self.mixture.set(Some(Mixture { under: setting.of_search(), bound, setting: mixed, found }));
            }
            Found::Tried(_) => {}
        }
    }

    /// A long one would stop the measurement that runs, or another long one.
    fn is_busy(self) -> bool {
        self.host.state() != "ready" || self.long.with(|long| *long != Long::Idle)
    }

    fn is_searching(self) -> bool {
        self.long.with(|long| matches!(long, Long::Running { search: true, .. }))
    }

    fn is_measuring_parts(self) -> bool {
        self.long.with(|long| matches!(long, Long::Running { search: false, .. }))
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
                    "spec": point.setting.spec, "spared": point.setting.spared, "mixed": point.setting.mixed,
                    "bytes": point.bytes, "nll": point.loss.nll, "perplexity": point.loss.perplexity(),
                })
            };
            points.iter().map(line).collect()
        });
        let (parts, mixture) = (self.parts.get_untracked(), self.mixture.get_untracked());
        let all = serde_json::json!({
            "model": self.host.model.get_untracked(),
            "tried": tried,
            "points": points,
            "sensitivity_spec": parts.as_ref().map(|parts| parts.under.spec),
            "sensitivity_mixed": parts.as_ref().map(|parts| &parts.under.mixed),
            "sensitivity": parts.as_ref().map(|parts| &parts.groups),
            "searched_spec": mixture.as_ref().map(|mixture| mixture.under.spec),
            "searched_bound": mixture.as_ref().map(|mixture| mixture.bound),
            "searched": mixture.as_ref().map(|mixture| &mixture.found),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_one_point_however_often_it_is_measured() {
        let loss = |nll| Loss { nll, tokens: 512, ms: 1.0 };
        let point = |setting: &Setting, nll| Point { setting: setting.clone(), bytes: 1, loss: loss(nll) };
        let plain = Setting::default();
        let mixed = plain.with_bits(&[("embed.weight".to_owned(), 4), ("head.weight".to_owned(), 8)]);
        let mut points = Vec::new();
        for (setting, nll) in [(&plain, 1.0), (&mixed, 2.0), (&plain, 3.0)] {
            add(&mut points, point(setting, nll));
        }
        assert_eq!(points, [point(&mixed, 2.0), point(&plain, 3.0)]);
    }
}
