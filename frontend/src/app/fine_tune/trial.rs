//! A trial beside the form: hearth-nano learns the first examples in this tab, with the settings of the form, before any of them is
//! uploaded. The lab's worker trains; this file asks, and shows every step as it comes.

use hearth_shared::api::models::Model;
use hearth_shared::lab::trial::{Answers, Ask, EXAMPLES, Found, STEPS, Step};
use hearth_shared::lab::{LabError, Progress, Reply, Request, Stage};
use hearth_shared::text::Example;
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::counted;
use super::data::DataSet;
use super::options::Options;
use crate::app::components::chart::{Chart, Series, Stroke};
use crate::app::components::{Progress as Bar, icons::Icon};
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::lab::{engine::engine, host, publish};
use crate::app::store::{NANO, Store, use_store};

/// Where the trial is.
#[derive(Clone, Debug, Default, PartialEq)]
enum State {
    #[default]
    Idle,
    Running {
        call: u64,
    },
    Cancelled,
    Failed(String),
    Done(Box<Found>),
}

impl State {
    /// The word for it in the page's attributes.
    fn word(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running { .. } => "running",
            Self::Cancelled => "cancelled",
            Self::Failed(_) => "failed",
            Self::Done(_) => "done",
        }
    }

    fn found(&self) -> Option<Found> {
        match self {
            Self::Done(found) => Some((**found).clone()),
            _ => None,
        }
    }
}

/// Copies are handles to the same state.
#[derive(Clone, Copy)]
struct Session {
    data: RwSignal<Option<DataSet>>,
    options: Options,
    store: Store,
    state: RwSignal<State>,
    /// Those of the trial that runs, or of the last one.
    steps: RwSignal<Vec<Step>>,
    /// What is done before the first step.
    progress: RwSignal<Option<Progress>>,
    /// Until the last step.
    seconds_left: RwSignal<Option<f64>>,
    /// When the first step was done, by the page's clock.
    first_ms: StoredValue<Option<f64>>,
}

impl Session {
    /// There is something to learn, and someone to learn it.
    fn is_possible(self) -> bool {
        self.data.with(|data| data.as_ref().is_some_and(|data| data.report.is_valid() && !data.examples.is_empty()))
            && self.store.model(NANO).is_some()
    }

    fn is_running(self) -> bool {
        self.state.with(|state| matches!(state, State::Running { .. }))
    }

    fn start(self) {
        let model = untrack(|| host::find(self.store, NANO)).ok();
        let examples = self.data.with_untracked(|data| data.as_ref().map(|data| data.examples.clone()));
        let Some((model, examples)) = model.zip(examples) else {
            return;
        };
        self.clear();
        let ask = Ask { model, spec: untrack(|| self.options.spec()), examples };
        let on_progress = move |told: Progress| self.hear(told);
        let (call, answer) = engine().call(Request::Trial(Box::new(ask)), Vec::new(), on_progress);
        self.state.set(State::Running { call });
        spawn_local(async move {
            let outcome = answer.await;
            // The person may have stopped it, chosen other examples, or left.
            let now = self.state.try_get_untracked();
            if now == Some(State::Running { call }) {
                self.state.set(ended(outcome.map(|answer| answer.reply)));
            }
        });
    }

    fn hear(self, told: Progress) {
        let Some(step) = told.step else {
            let _ = self.progress.try_set(Some(told));
            return;
        };
        let now = publish::now();
        let first = self.first_ms.try_get_value().flatten();
        match first {
            None => {
                let _ = self.first_ms.try_set_value(Some(now));
            }
            Some(first) => {
                let left = told.total.unwrap_or(STEPS).saturating_sub(told.done);
                let each = (now - first) / 1000.0 / told.done.saturating_sub(1).max(1) as f64;
                let _ = self.seconds_left.try_set(Some(each * left as f64));
            }
        }
        let _ = self.steps.try_update(|steps| steps.push(step));
    }

    fn clear(self) {
        self.steps.set(Vec::new());
        self.progress.set(None);
        self.seconds_left.set(None);
        self.first_ms.set_value(None);
    }

    fn cancel(self) {
        if let State::Running { call } = self.state.get_untracked() {
            self.state.set(State::Cancelled);
            engine().cancel(call);
        }
    }

    /// What was learned from other examples says nothing of these.
    fn forget(self) {
        if let State::Running { call } = self.state.get_untracked() {
            engine().abandon(call);
        }
        self.state.set(State::Idle);
        self.clear();
    }
}

fn ended(outcome: Result<Reply, LabError>) -> State {
    match outcome {
        Ok(Reply::Trial(found)) => {
            publish::publish_value("trial", &found);
            State::Done(found)
        }
        Ok(_) => State::Failed("the worker answered something else".to_owned()),
        Err(LabError::Cancelled | LabError::Superseded) => State::Cancelled,
        Err(error) => State::Failed(error.to_string()),
    }
}

/// The name and the first rows of what is to be learned.
type Shown = Option<(String, Vec<(u64, Example)>)>;

fn provide(data: RwSignal<Option<DataSet>>, options: Options) -> Session {
    let session = Session {
        data,
        options,
        store: use_store(),
        state: RwSignal::new(State::Idle),
        steps: RwSignal::new(Vec::new()),
        progress: RwSignal::new(None),
        seconds_left: RwSignal::new(None),
        first_ms: StoredValue::new(None),
    };
    // The report changes when the tokens are counted; what is learned does not.
    let file =
        Memo::new(move |_| data.with(|data| data.as_ref().map(|data| (data.name.clone(), data.examples.clone()))));
    Effect::new(move |before: Option<Shown>| {
        let now = file.get();
        if before.is_some_and(|before| before != now) {
            session.forget();
        }
        now
    });
    on_cleanup(move || {
        if let Some(State::Running { call }) = session.state.try_get_untracked() {
            engine().abandon(call);
        }
    });
    session
}

/// Nothing until there are valid examples, and where the server has no hearth-nano.
#[component]
pub fn Trial(model: Memo<Option<Model>>, data: RwSignal<Option<DataSet>>, options: Options) -> impl IntoView {
    let i18n = use_i18n();
    let session = provide(data, options);
    let possible = Memo::new(move |_| session.is_possible());
    let is_chosen = move || model.with(|model| model.as_ref().is_some_and(|model| model.id == NANO));
    let lead = move || {
        let (examples, steps) = (counted::examples(i18n, EXAMPLES as u64), counted::steps(i18n, STEPS));
        if is_chosen() {
            t_string!(i18n, tune.trial_lead_chosen, model = NANO, examples = examples, steps = steps)
        } else {
            t_string!(i18n, tune.trial_lead, model = NANO, examples = examples, steps = steps)
        }
    };
    let found = move || session.state.with(State::found);
    view! {
        <Show when=move || possible.get()>
            <section
                class="card trial"
                data-trial=move || session.state.with(State::word)
                data-steps=move || session.steps.with(Vec::len).to_string()
                aria-labelledby="trial-title"
            >
                <div class="section-head">
                    <h2 id="trial-title">{t!(i18n, tune.trial)}</h2>
                    <Act session/>
                </div>
                <p class="soft">{lead}</p>
                <Show when=move || session.is_running()>
                    <Running session/>
                </Show>
                <Outcome session/>
                <Show when=move || session.steps.with(|steps| !steps.is_empty())>
                    <Curve session/>
                </Show>
                {move || found().map(|found| view! { <Learned found/> })}
            </section>
        </Show>
    }
}

/// Begin, or stop.
#[component]
fn Act(session: Session) -> impl IntoView {
    let i18n = use_i18n();
    let again = move || session.state.with(|state| *state != State::Idle);
    view! {
        <Show
            when=move || session.is_running()
            fallback=move || view! {
                <button class="button" data-act="trial" on:click=move |_| session.start()>
                    <Icon name="play" size=16/>
                    {move || if again() { t_string!(i18n, tune.trial_again) } else { t_string!(i18n, tune.trial_start) }}
                </button>
            }
        >
            <button class="button" data-act="cancel-trial" on:click=move |_| session.cancel()>
                <Icon name="stop" size=16/> {t!(i18n, tune.cancel)}
            </button>
        </Show>
    }
}

/// Steps done, and how long the others will take.
#[component]
fn Running(session: Session) -> impl IntoView {
    let i18n = use_i18n();
    let done = move || session.steps.with(Vec::len) as u64;
    let line = Signal::derive(move || {
        if done() > 0 {
            return t_string!(i18n, tune.step_of, now = done().to_string(), total = STEPS.to_string());
        }
        match session.progress.get() {
            Some(Progress { stage: Stage::Fetch, done, total, .. }) => t_string!(
                i18n,
                tune.trial_fetching,
                model = NANO,
                done = format::bytes(done),
                total = format::bytes(total.unwrap_or(done))
            ),
            _ => t_string!(i18n, tune.trial_preparing).to_owned(),
        }
    });
    let left = move || {
        let seconds = session.seconds_left.get()?;
        let time = format::duration(seconds, i18n.get_locale());
        Some(t_string!(i18n, tune.trial_left, time = time))
    };
    let share = Signal::derive(move || Some(done()).filter(|done| *done > 0).map(|done| done as f64 / STEPS as f64));
    view! {
        <div class="run-progress">
            <div class="num">
                <strong>{line}</strong>
                <span class="soft">{left}</span>
            </div>
            <Bar value=share label=line/>
        </div>
    }
}

/// Why there is no result.
#[component]
fn Outcome(session: Session) -> impl IntoView {
    let i18n = use_i18n();
    let done = move || session.steps.with(Vec::len) as u64;
    move || match session.state.get() {
        State::Failed(error) => Some(
            view! {
                <div class="notice bad" role="alert">
                    <Icon name="warn"/>
                    <div>
                        <strong>{t!(i18n, tune.trial_failed)}</strong>
                        <p>{error}</p>
                    </div>
                </div>
            }
            .into_any(),
        ),
        State::Cancelled => Some(
            view! {
                <p class="hint" role="status">
                    {move || t_string!(i18n, tune.trial_cancelled, steps = counted::steps(i18n, done()))}
                </p>
            }
            .into_any(),
        ),
        _ => None,
    }
}

/// The loss, step by step.
#[component]
fn Curve(session: Session) -> impl IntoView {
    let i18n = use_i18n();
    let cursor = RwSignal::new(None::<f64>);
    let series = Signal::derive(move || {
        let points = session.steps.with(|steps| steps.iter().map(|step| (step.step as f64, step.loss)).collect());
        let label = t_string!(i18n, tune.train_loss).to_owned();
        let format = |value: f64| format!("{value:.2}");
        vec![Series { label, colour: "var(--data-1)", stroke: Stroke::Dots, points, format }]
    });
    let label = Signal::derive(move || {
        session.steps.with(|steps| match (steps.first(), steps.last()) {
            (Some(first), Some(last)) => t_string!(
                i18n,
                tune.chart_summary,
                first = format!("{:.2}", first.loss),
                last = format!("{:.2}", last.loss),
                steps = counted::steps(i18n, last.step)
            ),
            _ => t_string!(i18n, tune.chart_empty).to_owned(),
        })
    });
    let x_label = Signal::derive(move || t_string!(i18n, tune.step).to_owned());
    let x_end = Signal::derive(move || Some(STEPS as f64));
    view! { <Chart series label cursor x_label x_end height=200.0/> }
}

/// What came of it.
#[component]
fn Learned(found: Found) -> impl IntoView {
    let i18n = use_i18n();
    let Found { examples, left_out, steps, answers, ms, .. } = found;
    let loss = |step: Option<&Step>| step.map_or_else(|| "—".to_owned(), |step| format!("{:.2}", step.loss));
    let (first, last) = (loss(steps.first()), loss(steps.last()));
    let tokens = steps.iter().map(|step| step.tokens).sum::<u64>();
    let left_out = (left_out > 0).then_some(move || {
        t_string!(i18n, tune.trial_left_out, examples = counted::examples(i18n, u64::from(left_out)))
    });
    view! {
        <dl class="figures num">
            <div>
                <dt>{t!(i18n, tune.trial_first_loss)}</dt>
                <dd data-figure="first-loss">{first}</dd>
            </div>
            <div>
                <dt>{t!(i18n, tune.last_loss)}</dt>
                <dd data-figure="last-loss">{last}</dd>
            </div>
            <div>
                <dt>{t!(i18n, tune.examples)}</dt>
                <dd>{examples}</dd>
            </div>
            <div>
                <dt>{t!(i18n, tune.tokens)}</dt>
                <dd>{format::group(tokens)}</dd>
            </div>
            <div>
                <dt>{t!(i18n, tune.trial_time)}</dt>
                <dd>{move || format::duration(ms / 1000.0, i18n.get_locale())}</dd>
            </div>
        </dl>
        {left_out.map(|words| view! { <p class="hint num">{words}</p> })}
        {answers.map(|answers| view! { <BeforeAfter answers/> })}
    }
}

/// What the model said to the first example's question, and what it says now.
#[component]
fn BeforeAfter(answers: Answers) -> impl IntoView {
    let i18n = use_i18n();
    let Answers { question, before, after } = answers;
    view! {
        <div class="preview-body trial-answers">
            <p class="turn">{question}</p>
            <div class="pair">
                <section class="pair-side">
                    <h4>{t!(i18n, tune.trial_before)}</h4>
                    <p class="turn" data-answer="before">{before}</p>
                </section>
                <section class="pair-side preferred">
                    <h4>{t!(i18n, tune.trial_after)}</h4>
                    <p class="turn trained" data-answer="after">{after}</p>
                </section>
            </div>
        </div>
    }
}
