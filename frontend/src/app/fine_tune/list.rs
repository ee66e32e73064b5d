//! All runs of a kind, the newest first.

use gloo::timers::future::TimeoutFuture;
use hearth_shared::api::List;
use hearth_shared::api::fine_tuning::Job;
use hearth_shared::api::jobs::JobKind;
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::names::{self, Files};
use super::{ALL_JOBS, Status, clock};
use crate::app::client;
use crate::app::components::icons::Icon;
use crate::app::components::{Failure, Skeleton};
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::store::Load;

const POLL_MS: u32 = 3_000;

#[component]
pub fn FineTune() -> impl IntoView {
    let i18n = use_i18n();
    let empty = move || view! { <Empty/> }.into_any();
    view! {
        <div class="page">
            <header class="page-head">
                <div>
                    <h1>{t!(i18n, tune.title)}</h1>
                    <p>{t!(i18n, tune.lead)}</p>
                </div>
                <div class="head-actions">
                    <a class="button" href="/fine-tune/compare">
                        <Icon name="plan" size=18/>
                        {t!(i18n, tune.compare)}
                    </a>
                    <a class="button primary" href="/fine-tune/new">
                        <Icon name="plus" size=18/>
                        {t!(i18n, tune.new)}
                    </a>
                </div>
            </header>
            <Runs kind=JobKind::FineTune place="/fine-tune" empty/>
        </div>
    }
}

/// The runs of a kind, kept up to date. `place`: where the page of one is.
#[component]
pub fn Runs(kind: JobKind, place: &'static str, #[prop(into)] empty: ViewFn) -> impl IntoView {
    let jobs = RwSignal::new(Load::<Vec<Job>>::Waiting);
    let files = Files::new();
    let load = move || async move {
        let answer = client::get::<List<Job>>(&format!("{ALL_JOBS}?kind={}&limit=100", kind.as_str())).await;
        match answer {
            // A poll that changes nothing must not rebuild the rows.
            Ok(list) => {
                if jobs.try_with_untracked(|now| now.ready() != Some(&list.data)) == Some(true) {
                    files.learn(&list.data);
                    let _ = jobs.try_set(Load::Ready(list.data));
                }
            }
            Err(error) => {
                if jobs.try_with_untracked(|now| now.ready().is_none()) == Some(true) {
                    let _ = jobs.try_set(Load::Failed(error));
                }
            }
        }
    };
    spawn_local(async move {
        while !jobs.is_disposed() {
            if !document().hidden() {
                load().await;
            }
            TimeoutFuture::new(POLL_MS).await;
        }
    });
    move || match jobs.get() {
        Load::Waiting => view! { <div class="card"><Skeleton lines=5/></div> }.into_any(),
        Load::Failed(error) => {
            view! { <Failure error=Signal::stored(error) retry=Callback::new(move |()| spawn_local(load()))/> }
                .into_any()
        }
        Load::Ready(jobs) if jobs.is_empty() => empty.run(),
        Load::Ready(jobs) => {
            let rows = jobs.into_iter().map(|job| view! { <Row job place files/> }).collect_view();
            view! { <ul class="runs">{rows}</ul> }.into_any()
        }
    }
}

#[component]
fn Row(job: Job, place: &'static str, files: Files) -> impl IntoView {
    let i18n = use_i18n();
    let share = job.hearth.total_steps.filter(|&total| total > 0).map(|total| job.hearth.step as f64 / total as f64);
    let created = job.created_at;
    let (called, about) = (job.clone(), job.clone());
    let named = names::given(&job).is_some();
    let steps =
        job.hearth.total_steps.map(|total| format!("{} / {}", format::group(job.hearth.step), format::group(total)));
    let ended = job.status.ended();
    view! {
        <li>
            <a class="run-row" href=format!("{place}/{}", job.id)>
                <div class="run-row-name">
                    <strong>{move || names::name(i18n, &called, files)}</strong>
                    <span class="soft run-row-about">
                        // A name that was made says all of this already.
                        {named.then(|| view! { <span>{move || names::about(i18n, &about, files)}</span> })}
                        <code class="run-id">{job.id.clone()}</code>
                    </span>
                </div>
                <Status status=job.status/>
                <span class="run-row-steps num soft">{steps}</span>
                <span class="run-row-time num soft">
                    {move || clock(created, i18n.get_locale())}
                </span>
                {(!ended)
                    .then(|| {
                        let width = format!("{:.1}%", share.unwrap_or(0.0) * 100.0);
                        view! {
                            <span class="run-row-bar" aria-label=move || t_string!(i18n, tune.progress)>
                                <span style:width=width></span>
                            </span>
                        }
                    })}
            </a>
        </li>
    }
}

#[component]
fn Empty() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <div class="empty">
            <Icon name="tune" size=40/>
            <h2>{t!(i18n, tune.empty_title)}</h2>
            <p>{t!(i18n, tune.empty_text)}</p>
            <a class="button primary" href="/fine-tune/new">{t!(i18n, tune.empty_action)}</a>
        </div>
    }
}
