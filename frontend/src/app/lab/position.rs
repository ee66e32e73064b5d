//! The position lab: four small models that differ in one thing, how they know where a token stands, measured where training never
//! reached. The state is in `position/session.rs`; everything else here shows it.

mod dials;
mod distances;
mod losses;
mod numbers;
mod question;
mod session;
mod siblings;
mod stretch;
mod work;

use hearth_shared::lab::{LabError, Progress as Told, Stage};
use leptos::prelude::*;

use super::engine::{Life, engine};
use super::milliseconds;
use super::opening::{EngineNotices, ExampleNotice};
use super::share::Share;
use crate::app::components::{Progress, icons::Icon};
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};
use question::Question;
use session::{Status, use_session};
use siblings::SIBLINGS;

/// Where this lab is.
const PLACE: &str = "/lab/position";

/// A word of this page in the reader's language, as a signal.
macro_rules! word {
    ($i18n:ident, $key:ident) => {
        Signal::derive(move || t_string!($i18n, position.$key).to_owned())
    };
}
use word;

/// The page at `/lab/position`.
#[component]
pub fn Position() -> impl IntoView {
    let i18n = use_i18n();
    let session = session::provide();
    view! {
        <div
            class="page lab position"
            data-lab=move || session.state()
            data-engine=move || session.engine_word()
        >
            <super::tabs::Tabs/>
            <header class="lab-head position-head">
                <div>
                    <h1>{t!(i18n, position.title)}</h1>
                    <p>{t!(i18n, position.lead)}</p>
                </div>
                <Share
                    place=PLACE
                    pairs=move |()| session.question().pairs()
                    name="hearth-position"
                    export=move |()| serde_json::to_string_pretty(&numbers::numbers(&session)).ok()
                    reset=move |()| session.set(&Question::default())
                    rehearsal=Signal::derive(move || session.is_example())
                />
            </header>
            <Notices/>
            <losses::Siblings/>
            <losses::LossCard/>
            <div class="position-pair">
                <stretch::Stretch/>
                <dials::Dials/>
            </div>
            <distances::DistanceCard/>
        </div>
    }
}

/// What stands in the way: an engine that is down, a failure.
#[component]
fn Notices() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let borrows = Memo::new(move |_| session.is_example());
    let failure = move || match session.status.get() {
        Status::Failed(error) => Some(error),
        _ => None,
    };
    view! {
        <EngineNotices/>
        <Show when=move || borrows.get()>
            <ExampleNotice/>
        </Show>
        {move || {
            failure()
                .map(|error: LabError| {
                    view! {
                        <div class="notice bad" role="alert">
                            <Icon name="warn"/>
                            <div>
                                <strong>{t!(i18n, lab.failed_title)}</strong>
                                <p>{error.to_string()}</p>
                            </div>
                            <button class="button small" on:click=move |_| session.retry()>
                                {t!(i18n, common.retry)}
                            </button>
                        </div>
                    }
                })
        }}
    }
}

/// What is being computed now. The line keeps its place when nothing is.
#[component]
fn Doing() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let life = engine().life();
    let starting = Memo::new(move |_| matches!(life.get(), Life::Starting));
    let doing = move || match session.status.get() {
        // The call waits for the worker.
        _ if starting.get() => None,
        Status::Computing { job, progress } => Some((SIBLINGS.get(job.sibling())?.label(i18n), progress)),
        _ => None,
    };
    let stopped = Memo::new(move |_| session.is_stopped());
    let line = move || match doing() {
        None if stopped.get() => t_string!(i18n, position.stopped).to_owned(),
        None if session.state() == "ready" => t_string!(i18n, position.done).to_owned(),
        None => t_string!(i18n, lab.starting).to_owned(),
        Some((model, Some(Told { stage: Stage::Fetch, done, total, .. }))) => t_string!(
            i18n,
            lab.fetching,
            model = model,
            done = format::bytes(done),
            total = format::bytes(total.unwrap_or(done))
        ),
        Some((model, Some(Told { stage: Stage::Forward, done, total: Some(total), .. }))) => {
            t_string!(i18n, position.window_of, model = model, window = done + 1, windows = total)
        }
        Some((model, _)) => t_string!(i18n, position.computing, model = model),
    };
    let engine_line = move || {
        session.engine_word()?;
        let ms = milliseconds(session.measured_ms()?);
        Some(t_string!(i18n, position.engine_line, ms = ms))
    };
    // One button, so that the focus stays on it.
    let act = move || {
        if stopped.get() {
            ("go-on", t_string!(i18n, lab.fetch_again))
        } else {
            ("stop", t_string!(i18n, common.cancel))
        }
    };
    let press = move |_| if stopped.get_untracked() { session.retry() } else { session.stop() };
    let label = Signal::derive(line);
    let share = Signal::derive(move || {
        let told = doing()?.1?;
        let total = told.total.filter(|total| *total > 0)?;
        Some(told.done as f64 / total as f64)
    });
    view! {
        <div class="position-doing" class:idle=move || doing().is_none() class:stopped=move || stopped.get()>
            <div class="position-doing-line">
                <p class="hint num">{label}</p>
                <button class="button small" data-action=move || act().0 on:click=press>
                    {move || act().1}
                </button>
            </div>
            <Progress value=share label=label/>
            <p class="hint num position-engine">{engine_line}</p>
        </div>
        <p class="visually-hidden" aria-live="polite">
            {move || (session.state() == "ready").then(|| t_string!(i18n, position.done))}
        </p>
    }
}
