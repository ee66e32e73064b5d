//! What a person sets in the cache lab: the beginning, how much is generated, the window, the model, the engine; and how far the
//! run is.

use hearth_shared::lab::cache::NEW;
use leptos::prelude::*;

use super::session::{PLACE, Session, use_session};
use super::{EXAMPLES, word};
use crate::app::components::Progress;
use crate::app::components::field::Slider;
use crate::app::components::icons::Icon;
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::lab::examples::Examples;
use crate::app::lab::host::Status;
use crate::app::lab::opening::{EngineSwitch, ModelChoice};
use crate::app::lab::prompt::Prompt;
use crate::app::lab::share::Share;

#[component]
pub fn Controls() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let begin = move |text: &str| {
        session.text.set(text.to_owned());
        if session.host.opened.with_untracked(Option::is_some) {
            session.start();
        }
    };
    view! {
        <section class="lab-controls card">
            <div class="lab-text">
                <Prompt id="cache-prompt" class="cache-prompt" label=word!(i18n, prompt) text=session.text/>
                <Examples examples=&EXAMPLES choose=begin/>
                <Slider
                    label=word!(i18n, count)
                    hint=word!(i18n, count_hint)
                    value=session.count
                    min=f64::from(NEW.0)
                    max=f64::from(NEW.1)
                    step=1.0
                    digits=0
                />
            </div>
            <div class="lab-settings">
                <ModelChoice/>
                <EngineSwitch/>
            </div>
            <Line/>
        </section>
    }
}

/// Run, stop, and what can be done with a run; how far it is.
#[component]
fn Line() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let status = session.host.status;
    let runs = Memo::new(move |_| status.get() == Status::Computing);
    let open = move || session.host.opened.with(Option::is_some);
    let changed = Memo::new(move |_| {
        let wanted = session.wanted();
        session.run.with(|run| run.as_ref().is_some_and(|run| run.wanted != wanted))
    });
    let stopped = move || session.run.with(|run| run.as_ref().is_some_and(|run| run.stopped));
    let cut = move || {
        session.run.with(|run| {
            let begun = &run.as_ref()?.begun;
            let whole = begun.cut_from?;
            Some(t_string!(i18n, cache.cut, shown = begun.prompt.len(), whole = whole))
        })
    };
    let fewer = move || {
        session.run.with(|run| {
            let run = run.as_ref().filter(|run| run.begun.count < run.wanted.count)?;
            Some(t_string!(i18n, cache.fewer, count = run.begun.count))
        })
    };
    view! {
        <div class="lab-line">
            <RunButton/>
            <Share
                place=PLACE
                pairs=move |()| session.address().pairs()
                name="hearth-kv-cache"
                export=move |()| session.document()
                reset=move |()| session.reset()
                rehearsal=session.host.rehearsal
            />
            <Show when=move || runs.get()>
                <HowFar session/>
            </Show>
            <div class="cache-state" aria-live="polite">
                <Show when=move || changed.get() && !runs.get() && open()>
                    <span class="badge ember">{t!(i18n, cache.changed)}</span>
                </Show>
                <Show when=move || stopped() && !runs.get()>
                    <span class="badge warn">{t!(i18n, cache.stopped)}</span>
                </Show>
                {move || cut().map(|text| view! { <span class="badge warn">{text}</span> })}
                {move || fewer().map(|text| view! { <span class="badge warn">{text}</span> })}
            </div>
        </div>
    }
}

/// Runs, or stops what runs.
#[component]
pub fn RunButton() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let runs = Memo::new(move |_| session.host.status.get() == Status::Computing);
    let open = move || session.host.opened.with(Option::is_some);
    view! {
        <Show
            when=move || runs.get()
            fallback=move || {
                view! {
                    <button
                        class="button primary"
                        data-action="run"
                        disabled=move || !open()
                        on:click=move |_| session.start()
                    >
                        <Icon name="play" size=16/>
                        {t!(i18n, cache.run)}
                    </button>
                }
            }
        >
            <button class="button" data-action="stop" on:click=move |_| session.stop()>
                <Icon name="stop" size=16/>
                {t!(i18n, common.cancel)}
            </button>
        </Show>
    }
}

/// The bar of a run.
#[component]
fn HowFar(session: Session) -> impl IntoView {
    let i18n = use_i18n();
    let parts = move || {
        session.run.with(|run| {
            let run = run.as_ref().filter(|run| !run.is_done())?;
            Some((run.steps.len(), run.begun.count))
        })
    };
    let share = Signal::derive(move || parts().map(|(done, count)| done as f64 / f64::from(count.max(1))));
    let label = Signal::derive(move || match parts() {
        Some((done, count)) => t_string!(i18n, cache.how_far, done = done, count = count),
        None => t_string!(i18n, cache.beginning).to_owned(),
    });
    view! {
        <div class="cache-progress">
            <span class="hint num" aria-hidden="true">{label}</span>
            <Progress value=share label=label/>
        </div>
    }
}
