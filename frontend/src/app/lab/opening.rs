//! The model and the engine, to choose; and what stands between a person and the pictures: progress, failures, an engine that is
//! down. Every lab shows them.

use hearth_shared::api::models::Model;
use hearth_shared::lab::{EngineChoice, EngineReason, EngineReport, LabError, Stage, WebGpu};
use leptos::prelude::*;

use super::engine::{Life, engine};
use super::host::{Status, base_of, use_host};
use super::milliseconds;
use crate::app::components::{Failure, Progress, icons::Icon};
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::store::{Load, NANO, use_store};

#[component]
pub fn ModelChoice() -> impl IntoView {
    let i18n = use_i18n();
    let host = use_host();
    let store = use_store();
    // What the list leaves out stands in the menu while it is chosen.
    let unlisted = Memo::new(move |_| {
        let chosen = host.model.get();
        let listed = store.models.with(|all| all.ready().is_some_and(|all| all.iter().any(|model| model.id == chosen)));
        store.unlisted.with(|all| all.iter().find(|model| !listed && model.id == chosen).cloned())
    });
    let options = move || {
        let models = store.models.get().into_ready().unwrap_or_default();
        let mut offered = offered(&models);
        offered.extend(unlisted.get());
        offered
            .into_iter()
            .map(|model| {
                let label = t_string!(
                    i18n,
                    lab.model_option,
                    id = model.id.clone(),
                    parameters = format::count(model.hearth.parameters),
                    bytes = format::bytes(model.hearth.bytes)
                );
                let id = model.id.clone();
                let chosen = move || host.model.get() == id;
                view! { <option value=model.id.clone() selected=chosen>{label}</option> }
            })
            .collect_view()
    };
    view! {
        <label class="field">
            <span class="field-label">{t!(i18n, lab.model)}</span>
            <select
                id="lab-model"
                class="select"
                on:change=move |event| host.model.set(event_target_value(&event))
            >
                {options}
            </select>
        </label>
    }
}

/// What can be opened: what has files, an adapter only beside its base. The model that every lab begins with comes first, then the newest.
fn offered(models: &[Model]) -> Vec<Model> {
    let is_whole = |model: &Model| model.hearth.base_hash.is_none() || base_of(model, models).is_some();
    let can_open = |model: &&Model| !model.hearth.files.is_empty() && is_whole(model);
    let mut offered: Vec<Model> = models.iter().filter(can_open).cloned().collect();
    offered.sort_by_key(|model| model.id != NANO);
    offered
}

#[component]
pub fn EngineSwitch() -> impl IntoView {
    let i18n = use_i18n();
    let host = use_host();
    let choices = [EngineChoice::Auto, EngineChoice::Cpu, EngineChoice::WebGpu];
    let name = move |choice| match choice {
        EngineChoice::Auto => t_string!(i18n, lab.engine_auto),
        EngineChoice::Cpu => t_string!(i18n, lab.engine_cpu),
        EngineChoice::WebGpu => t_string!(i18n, lab.engine_webgpu),
    };
    let has_webgpu = move || match engine().life().get() {
        Life::Ready { webgpu, .. } => matches!(webgpu, WebGpu::Adapter(_)),
        _ => true,
    };
    // An address may ask for what this browser has not: the CPU computes.
    let shown = move || match host.choice.get() {
        EngineChoice::WebGpu if !has_webgpu() => EngineChoice::Cpu,
        choice => choice,
    };
    let why = move || host.opened.get().filter(|_| !host.rehearsal.get()).map(|opened| why(opened.engine));
    view! {
        <div class="field">
            <span class="field-label" id="lab-engine">{t!(i18n, lab.engine)}</span>
            <div class="segments" role="group" aria-labelledby="lab-engine">
                {choices
                    .into_iter()
                    .map(|choice| {
                        let pressed = move || (shown() == choice).to_string();
                        view! {
                            <button
                                data-engine-choice=super::address::choice_word(choice)
                                aria-pressed=pressed
                                disabled=move || choice == EngineChoice::WebGpu && !has_webgpu()
                                on:click=move |_| host.choice.set(choice)
                            >
                                {move || name(choice)}
                            </button>
                        }
                    })
                    .collect_view()}
            </div>
            <p class="hint lab-why">{why}</p>
        </div>
    }
}

/// Why this engine computes, with the measured times.
fn why(report: EngineReport) -> String {
    let i18n = use_i18n();
    let tokens = report.measured_tokens;
    let time = |ms: Option<f64>| ms.map(milliseconds).unwrap_or_default();
    let cpu = time(report.cpu_ms);
    match (report.reason, report.webgpu) {
        (EngineReason::Faster, _) => {
            t_string!(i18n, lab.why_faster, tokens = tokens, cpu = cpu, gpu = time(report.webgpu_ms))
        }
        (EngineReason::Chosen, _) => {
            let ms = time(report.cpu_ms.or(report.webgpu_ms));
            t_string!(i18n, lab.why_chosen, tokens = tokens, ms = ms)
        }
        (EngineReason::NoWebGpu, WebGpu::Missing { secure_context: false }) => {
            t_string!(i18n, lab.why_insecure, tokens = tokens, ms = cpu)
        }
        (EngineReason::NoWebGpu, _) => {
            t_string!(i18n, lab.why_no_webgpu, tokens = tokens, ms = cpu)
        }
        (EngineReason::SoftwareAdapter, WebGpu::Adapter(adapter)) => {
            let adapter = adapter.architecture;
            t_string!(i18n, lab.why_software, tokens = tokens, ms = cpu, adapter = adapter)
        }
        (EngineReason::WebGpuFailed { message }, _) => {
            t_string!(i18n, lab.why_failed, tokens = tokens, ms = cpu, message = message)
        }
        (EngineReason::TooLarge | EngineReason::SoftwareAdapter, _) => t_string!(i18n, lab.why_too_large).to_owned(),
    }
}

/// What stands between the person and the pictures: progress, failures, an engine that is down.
#[component]
pub fn Notices() -> impl IntoView {
    let i18n = use_i18n();
    let host = use_host();
    let store = use_store();
    let models_error = Signal::derive(move || match store.models.get() {
        Load::Failed(error) => Some(error),
        _ => None,
    });
    view! {
        <EngineNotices/>
        {move || {
            models_error
                .get()
                .map(|error| view! { <Failure error=error retry=move |()| store.refresh()/> })
        }}
        {move || match host.status.get() {
            Status::Waiting if models_error.get().is_none() => {
                view! { <p class="lab-wait soft">{t!(i18n, lab.starting)}</p> }.into_any()
            }
            Status::Opening { .. } => view! { <Opening/> }.into_any(),
            Status::Failed(error) => failed(error).into_any(),
            _ if host.rehearsal.get() => view! { <ExampleNotice/> }.into_any(),
            _ => ().into_any(),
        }}
    }
}

/// Says that what is shown was computed beforehand, and until when; an engine that is down promises nothing.
#[component]
pub fn ExampleNotice() -> impl IntoView {
    let i18n = use_i18n();
    let life = engine().life();
    let until = move || match life.get() {
        Life::Starting | Life::Restarting { .. } => Some(t_string!(i18n, lab.example_until)),
        Life::Ready { .. } => Some(t_string!(i18n, lab.example_replaced)),
        Life::Down { .. } => None,
    };
    view! {
        <p class="notice lab-example">
            <Icon name="info"/>
            <span>{t!(i18n, lab.example)} {move || until().map(|until| format!(" {until}"))}</span>
        </p>
    }
}

/// An engine that is down, or on its way back.
#[component]
pub fn EngineNotices() -> impl IntoView {
    let i18n = use_i18n();
    let life = engine().life();
    view! {
        {move || match life.get() {
            Life::Down { reason } => {
                view! {
                    <div class="notice bad" role="alert">
                        <Icon name="warn"/>
                        <div>
                            <strong>{t!(i18n, lab.down_title)}</strong>
                            <p>{reason}</p>
                        </div>
                        <button class="button small" on:click=move |_| engine().restart()>
                            {t!(i18n, lab.down_action)}
                        </button>
                    </div>
                }
                    .into_any()
            }
            Life::Restarting { reason } => {
                let words = match reason {
                    Some(reason) => t_string!(i18n, lab.restarting, reason = reason),
                    None => t_string!(i18n, lab.restarting_stopped).to_owned(),
                };
                view! {
                    <p class="notice warn">
                        <Icon name="retry"/>
                        {words}
                    </p>
                }
                    .into_any()
            }
            _ => ().into_any(),
        }}
    }
}

/// The bar while a model is fetched and loaded.
#[component]
fn Opening() -> impl IntoView {
    let i18n = use_i18n();
    let host = use_host();
    let parts = move || match host.status.get() {
        Status::Opening { model, progress, .. } => Some((model, progress)),
        _ => None,
    };
    let line = move || {
        let Some((model, Some(progress))) = parts() else {
            return t_string!(i18n, lab.starting).to_owned();
        };
        match progress.stage {
            Stage::Fetch => t_string!(
                i18n,
                lab.fetching,
                model = model,
                done = format::bytes(progress.done),
                total = format::bytes(progress.total.unwrap_or(progress.done))
            ),
            Stage::Measure => t_string!(i18n, lab.measuring).to_owned(),
            _ => t_string!(i18n, lab.loading).to_owned(),
        }
    };
    let share = Signal::derive(move || {
        let progress = parts()?.1?;
        let total = progress.total.filter(|&total| total > 0)?;
        Some(progress.done as f64 / total as f64)
    });
    let label = Signal::derive(line);
    view! {
        <div class="lab-opening card">
            <div>
                <p class="num">{label}</p>
                <Progress value=share label=label/>
            </div>
            <button class="button small" on:click=move |_| host.cancel()>
                {t!(i18n, common.cancel)}
            </button>
        </div>
    }
}

/// Why a model was not opened, in the reader's language as far as it is a sentence of ours.
fn reason(error: &LabError) -> String {
    let i18n = use_i18n();
    match error {
        LabError::UnknownModel { name } => t_string!(i18n, lab.unknown_model, name = name.clone()),
        LabError::NoBase { name, base } => t_string!(i18n, lab.no_base, name = name.clone(), base = base.clone()),
        LabError::VirtualTokens => t_string!(i18n, lab.virtual_tokens).to_owned(),
        LabError::Load { message } => t_string!(i18n, lab.does_not_load, message = message.clone()),
        other => other.to_string(),
    }
}

fn failed(error: LabError) -> impl IntoView {
    let i18n = use_i18n();
    let host = use_host();
    let is_open = host.opened.with_untracked(Option::is_some);
    let (title, text) = match &error {
        LabError::EmptyText => (t_string!(i18n, lab.empty_title), t_string!(i18n, lab.empty_text).to_owned()),
        LabError::Cancelled => (
            t_string!(i18n, lab.cancelled_title),
            // A model that is open was not what was cancelled.
            if is_open { t_string!(i18n, lab.cancelled_pass) } else { t_string!(i18n, lab.cancelled_text) }.to_owned(),
        ),
        LabError::Memory { needed, available } => (
            t_string!(i18n, lab.memory_title),
            t_string!(i18n, lab.memory_text, needed = format::bytes(*needed), available = format::bytes(*available)),
        ),
        LabError::Storage { needed, available } => (
            t_string!(i18n, lab.storage_title),
            t_string!(i18n, lab.storage_text, needed = format::bytes(*needed), available = format::bytes(*available)),
        ),
        other => (t_string!(i18n, lab.failed_title), reason(other)),
    };
    let is_stopped = error == LabError::Cancelled;
    let again = match error {
        LabError::EmptyText | LabError::Memory { .. } => None,
        LabError::Cancelled if !is_open => Some(t_string!(i18n, lab.fetch_again)),
        _ => Some(t_string!(i18n, common.retry)),
    };
    let to_nano = error != LabError::EmptyText && host.model.get_untracked() != NANO;
    view! {
        <div class="notice bad" role="alert" data-lab-error=title>
            <Icon name="warn"/>
            <div>
                <strong>{title}</strong>
                <p>{text}</p>
            </div>
            <div class="lab-actions">
                {again
                    .map(|label| {
                        view! {
                            <button
                                class="button small"
                                on:click=move |_| {
                                    // A pass was stopped: its model is there.
                                    if is_stopped && host.opened.with_untracked(Option::is_some) {
                                        host.opened.notify();
                                    } else {
                                        host.reopen();
                                    }
                                }
                            >
                                {label}
                            </button>
                        }
                    })}
                {to_nano
                    .then(|| {
                        view! {
                            <button
                                class="button small"
                                on:click=move |_| host.model.set(NANO.to_owned())
                            >
                                {t!(i18n, lab.back_to_nano)}
                            </button>
                        }
                    })}
            </div>
        </div>
    }
}
