//! What stands between a person and the tokens: an engine that is down, a list of models that does not come, a vocabulary on
//! its way, a call that failed.

use hearth_shared::lab::{LabError, Stage};
use leptos::prelude::*;

use super::super::engine::{Life, engine};
use super::super::opening::{EngineNotices, ExampleNotice};
use super::session::{Status, use_session};
use crate::app::components::{Failure, Progress, icons::Icon};
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::store::Load;

#[component]
pub fn Notices() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let life = engine().life();
    let down = Memo::new(move |_| matches!(life.get(), Life::Down { .. }));
    let models_error = Signal::derive(move || match session.store.models.get() {
        Load::Failed(error) => Some(error),
        _ => None,
    });
    view! {
        <EngineNotices/>
        {move || {
            models_error
                .get()
                .map(|error| view! { <Failure error=error retry=move |()| session.retry()/> })
        }}
        {move || match session.status.get() {
            Status::Waiting if models_error.get().is_none() && !down.get() => {
                view! { <p class="lab-wait soft">{t!(i18n, lab.starting)}</p> }.into_any()
            }
            Status::Fetching { .. } => view! { <Fetching/> }.into_any(),
            Status::Failed(error) => view! { <Failed error=error/> }.into_any(),
            _ if session.rehearsal.get() => view! { <ExampleNotice/> }.into_any(),
            _ => ().into_any(),
        }}
    }
}

/// The bar while a vocabulary is fetched.
#[component]
fn Fetching() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let progress = move || match session.status.get() {
        Status::Fetching { progress, .. } if progress.stage == Stage::Fetch => Some(progress),
        _ => None,
    };
    let line = Signal::derive(move || {
        let Some(progress) = progress() else {
            return String::new();
        };
        let file = progress.item.unwrap_or_default();
        t_string!(i18n, words.fetching, file = file, done = format::bytes(progress.done))
    });
    let share = Signal::derive(move || {
        let progress = progress()?;
        let total = progress.total.filter(|&total| total > 0)?;
        Some(progress.done as f64 / total as f64)
    });
    let cancel = move |_| {
        if let Status::Fetching { call, .. } = session.status.get_untracked() {
            engine().cancel(call);
        }
    };
    view! {
        <div class="lab-opening card">
            <div>
                <p class="num">{line}</p>
                <Progress value=share label=line/>
            </div>
            <button class="button small" on:click=cancel>
                {t!(i18n, common.cancel)}
            </button>
        </div>
    }
}

#[component]
fn Failed(error: LabError) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let (title, text) = match &error {
        LabError::Cancelled => (t_string!(i18n, lab.cancelled_title), String::new()),
        other => (t_string!(i18n, lab.failed_title), other.to_string()),
    };
    view! {
        <div class="notice bad" role="alert">
            <Icon name="warn"/>
            <div>
                <strong>{title}</strong>
                <p>{text}</p>
            </div>
            <button class="button small" on:click=move |_| session.retry()>
                {t!(i18n, common.retry)}
            </button>
        </div>
    }
}
