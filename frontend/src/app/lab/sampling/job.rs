//! A call on its way: whether it runs, how far it is, how it ended; and the line that says so, with a way to stop it or to begin again.

use hearth_shared::lab::{LabError, Progress as Told};
use leptos::prelude::*;

use crate::app::components::icons::Icon;
use crate::app::components::{Progress, Retry};
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::lab::engine::engine;

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Job {
    #[default]
    Idle,
    Running {
        call: u64,
        progress: Option<Told>,
    },
    Done,
    /// A person stopped it.
    Stopped,
    Failed(LabError),
}

impl Job {
    /// The word for it in the page's attributes.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running { .. } => "running",
            Self::Done => "ready",
            Self::Stopped => "stopped",
            Self::Failed(_) => "failed",
        }
    }

    pub fn is_call(&self, id: u64) -> bool {
        matches!(self, Self::Running { call, .. } if *call == id)
    }

    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// Done and all of how many, where it is known.
    fn parts(&self) -> Option<(u64, u64)> {
        match self {
            Self::Running { progress: Some(told), .. } => Some((told.done, told.total.filter(|total| *total > 0)?)),
            _ => None,
        }
    }
}

/// Ends what nobody waits for any more; what comes back for it is dropped.
pub fn halt(job: RwSignal<Job>) {
    if let Job::Running { call, .. } = job.get_untracked() {
        engine().abandon(call);
    }
    job.set(Job::Idle);
}

/// Ends what a person stopped.
fn stop(job: RwSignal<Job>) {
    if let Job::Running { call, .. } = job.get_untracked() {
        engine().cancel(call);
    }
    job.set(Job::Stopped);
}

/// How far a call is, with a button to stop it; once it was stopped or failed, with a button to begin again.
#[component]
pub fn HowFar(
    job: RwSignal<Job>,
    /// What is done.
    #[prop(into)]
    label: Signal<String>,
    #[prop(into)] again: Callback<()>,
) -> impl IntoView {
    let i18n = use_i18n();
    let kind = Memo::new(move |_| job.with(Job::word));
    let share = Signal::derive(move || job.with(Job::parts).map(|(done, total)| done as f64 / total as f64));
    let line = Signal::derive(move || match job.with(Job::parts) {
        Some((done, total)) => t_string!(i18n, sampling.how_far, what = label.get(), done = done, total = total),
        None => label.get(),
    });
    let failure = move || match job.get() {
        Job::Failed(error) => error.to_string(),
        _ => String::new(),
    };
    let retry = move || view! { <Retry retry=again/> };
    move || match kind.get() {
        "running" => view! {
            <div class="sampling-far">
                <span class="hint num" aria-hidden="true">{line}</span>
                <Progress value=share label=line/>
                <button class="button small" on:click=move |_| stop(job)>
                    <Icon name="stop" size=16/>
                    {t!(i18n, common.cancel)}
                </button>
            </div>
        }
        .into_any(),
        "stopped" => view! {
            <p class="sampling-stopped" role="status">
                <span class="badge warn">{t!(i18n, sampling.stopped)}</span>
                {retry()}
            </p>
        }
        .into_any(),
        "failed" => view! {
            <p class="sampling-stopped" role="alert">
                <span class="badge bad">{failure}</span>
                {retry()}
            </p>
        }
        .into_any(),
        _ => ().into_any(),
    }
}
