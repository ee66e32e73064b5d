//! A run's model for other programs: a format is chosen, a job writes and compares the files, and they are handed to the browser.

use gloo::timers::future::TimeoutFuture;
use hearth_shared::api::List;
use hearth_shared::api::files::FileObject;
use hearth_shared::api::fine_tuning::{Job, JobEvent, JobStatus};
use hearth_shared::api::jobs::{CreateExport, CreateWork};
use hearth_shared::spec::{ExportDtype, ExportFormat, ExportSpec};
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::{ALL_JOBS, download, log_words};
use crate::app::client::{self, ClientError};
use crate::app::components::icons::Icon;
use crate::app::components::toast::use_toasts;
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

const POLL_MS: u32 = 500;

/// Format, numbers, what people call it.
const CHOICES: [(ExportFormat, ExportDtype, &str); 6] = [
    (ExportFormat::Safetensors, ExportDtype::F32, "Hugging Face · f32"),
    (ExportFormat::Safetensors, ExportDtype::Bf16, "Hugging Face · bf16"),
    (ExportFormat::Safetensors, ExportDtype::F16, "Hugging Face · f16"),
    (ExportFormat::Gguf, ExportDtype::F16, "GGUF · F16"),
    (ExportFormat::Gguf, ExportDtype::Q8_0, "GGUF · Q8_0"),
    (ExportFormat::Gguf, ExportDtype::Q4_0, "GGUF · Q4_0"),
];

#[derive(Clone, Debug, PartialEq)]
enum State {
    Idle,
    /// What the job says last.
    Working(String),
    Ready(Vec<FileObject>, String),
    Failed(String),
}

#[component]
pub fn Export(model: Memo<Option<String>>) -> impl IntoView {
    let i18n = use_i18n();
    let state = RwSignal::new(State::Idle);
    let working = move || state.with(|state| matches!(state, State::Working(_)));
    let start = move |format: ExportFormat, dtype: ExportDtype| {
        let Some(model) = model.get_untracked() else { return };
        state.set(State::Working(String::new()));
        spawn_local(async move {
            let end = match follow(model, ExportSpec { format, dtype: Some(dtype) }, state).await {
                Ok(end) => end,
                Err(error) => State::Failed(error.to_string()),
            };
            let _ = state.try_set(end);
        });
    };
    view! {
        <details class="export">
            <summary class="button">
                <Icon name="download" size=16/>
                {t!(i18n, tune.export)}
            </summary>
            <div class="export-menu card">
                <p class="hint">{t!(i18n, tune.export_hint)}</p>
                <div class="export-choices">
                    {CHOICES
                        .into_iter()
                        .map(|(format, dtype, label)| {
                            view! {
                                <button
                                    type="button"
                                    class="button small"
                                    data-export=label
                                    disabled=working
                                    on:click=move |_| start(format, dtype)
                                >
                                    {label}
                                </button>
                            }
                        })
                        .collect_view()}
                </div>
                <div aria-live="polite">{move || view! { <Answer state=state.get()/> }}</div>
            </div>
        </details>
    }
}

#[component]
fn Answer(state: State) -> impl IntoView {
    let i18n = use_i18n();
    match state {
        State::Idle => ().into_any(),
        State::Working(words) => {
            let words = move || match words.as_str() {
                "" => t_string!(i18n, tune.export_waiting).to_owned(),
                words => log_words::say(i18n, words),
            };
            view! { <p class="export-state"><span class="spinner" aria-hidden="true"></span> {words}</p> }.into_any()
        }
        State::Failed(error) => {
            let error = move || log_words::say(i18n, &error);
            view! { <p class="hint bad" role="alert">{error}</p> }.into_any()
        }
        State::Ready(files, words) => view! {
            <p class="hint num">{move || log_words::say(i18n, &words)}</p>
            <ul class="export-files">{files.into_iter().map(|file| view! { <Written file/> }).collect_view()}</ul>
        }
        .into_any(),
    }
}

#[component]
fn Written(file: FileObject) -> impl IntoView {
    let toasts = use_toasts();
    let label = format!("{} · {}", file.filename, format::bytes(file.bytes));
    let save = move |_| {
        let (id, name) = (file.id.clone(), file.filename.clone());
        spawn_local(async move {
            if let Err(error) = download::file(&id, &name).await {
                toasts.bad(error.to_string());
            }
        });
    };
    view! {
        <li>
            <button type="button" class="button quiet small" on:click=save>
                <Icon name="download" size=16/>
                {label}
            </button>
        </li>
    }
}

/// Makes the job and stays with it to its end.
async fn follow(model: String, spec: ExportSpec, state: RwSignal<State>) -> Result<State, ClientError> {
    let asked = CreateWork::Export(CreateExport { model, spec, metadata: None });
    let mut job: Job = client::post(ALL_JOBS, &asked).await?;
    let mut words = String::new();
    while !job.status.ended() {
        TimeoutFuture::new(POLL_MS).await;
        if state.is_disposed() {
            return Err(ClientError::Aborted);
        }
        let events: List<JobEvent> = client::get(&format!("{ALL_JOBS}/{}/events?limit=1", job.id)).await?;
        if let Some(event) = events.data.into_iter().next() {
            words = event.message;
            let _ = state.try_set(State::Working(words.clone()));
        }
        job = client::get(&format!("{ALL_JOBS}/{}", job.id)).await?;
    }
    if job.status != JobStatus::Succeeded {
        return Ok(State::Failed(job.error.map_or(words, |error| error.message)));
    }
    let mut files = Vec::new();
    for id in &job.result_files {
        files.push(client::get(&format!("/v1/files/{id}")).await?);
    }
    let events: List<JobEvent> = client::get(&format!("{ALL_JOBS}/{}/events?limit=20", job.id)).await?;
    // The comparison, by which the files were let through.
    let compared = events.data.into_iter().map(|event| event.message).find(|message| message.contains("NLL"));
    Ok(State::Ready(files, compared.unwrap_or_default()))
}
