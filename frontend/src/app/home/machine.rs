//! What this machine has and what it is doing.

use hearth_shared::api::system::{DeviceKind, SystemInfo};
use leptos::prelude::*;

use crate::app::components::icons::Icon;
use crate::app::components::{Failure, Skeleton};
use crate::app::format;
use crate::app::i18n::{Locale, t, t_string, use_i18n};
use crate::app::store::{Load, use_store};

#[component]
pub fn Machine() -> impl IntoView {
    let i18n = use_i18n();
    let store = use_store();
    // Rebuilt only when the kind of answer changes; the numbers inside follow by themselves.
    let state = Memo::new(move |_| {
        store.system.with(|system| match system {
            Load::Waiting => 0,
            Load::Ready(_) => 1,
            Load::Failed(_) => 2,
        })
    });
    view! {
        <section class="home-section" id="machine" aria-labelledby="machine-title">
            <div class="section-head">
                <h2 id="machine-title">{t!(i18n, home.machine)}</h2>
                <p class="soft num">{move || version(&store.system.get(), i18n.get_locale())}</p>
            </div>
            {move || match state.get() {
                0 => view! { <div class="card"><Skeleton lines=4/></div> }.into_any(),
                1 => view! { <Facts/> }.into_any(),
                _ => {
                    let error = store
                        .system
                        .with_untracked(|system| match system {
                            Load::Failed(error) => Some(error.clone()),
                            _ => None,
                        });
                    error
                        .map(|error| {
                            view! {
                                <Failure
                                    error=Signal::stored(error)
                                    retry=Callback::new(move |()| store.refresh())
                                />
                            }
                        })
                        .into_any()
                }
            }}
        </section>
    }
}

fn version(system: &Load<SystemInfo>, locale: Locale) -> Option<String> {
    let system = system.ready()?;
    let up = format::duration(system.uptime_seconds as f64, locale);
    let up = match locale {
        Locale::en => format!("up {up}"),
        Locale::zh => format!("已运行 {up}"),
    };
    Some(format!("Hearth {} · {up}", system.version))
}

fn kind(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Cpu => "CPU",
        DeviceKind::Webgpu => "WebGPU",
        DeviceKind::Vulkan => "Vulkan",
        DeviceKind::Cuda => "CUDA",
    }
}

#[component]
fn Facts() -> impl IntoView {
    let i18n = use_i18n();
    let store = use_store();
    // One reader for every fact; empty text while there is none.
    let fact = move |read: fn(&SystemInfo) -> String| {
        move || store.system.with(|system| system.ready().map(read).unwrap_or_default())
    };
    let threads = move || {
        let count = store.system.with(|system| system.ready().map_or(0, |system| system.device.threads));
        match count {
            1 => t_string!(i18n, home.thread).to_owned(),
            _ => t_string!(i18n, home.threads, count = count),
        }
    };
    let disk = move || {
        let free = store.system.with(|system| system.ready()?.disk_available);
        free.map(|free| t_string!(i18n, home.disk_free, bytes = format::bytes(free)))
    };
    let work = move || {
        let (jobs, queued, chats) = store.system.with(|system| {
            system
                .ready()
                .map_or((0, 0, 0), |system| (system.jobs_running, system.jobs_queued, system.active_generations))
        });
        if jobs + queued + chats == 0 {
            return t_string!(i18n, home.work_idle).to_owned();
        }
        t_string!(i18n, home.work_line, jobs = jobs, queued = queued, chats = chats)
    };
    view! {
        <div class="card machine">
            <dl class="facts">
                <div class="fact">
                    <Icon name="cpu"/>
                    <dt>{t!(i18n, home.device)}</dt>
                    <dd>
                        {fact(|system| system.device.name.clone())}
                        <span class="badge">{fact(|system| kind(system.device.kind).to_owned())}</span>
                        <span class="soft num fact-note">{threads}</span>
                    </dd>
                </div>
                <div class="fact">
                    <Icon name="disk"/>
                    <dt>{t!(i18n, home.disk)}</dt>
                    <dd class="num">{disk}</dd>
                </div>
                <div class="fact">
                    <Icon name="clock"/>
                    <dt>{t!(i18n, home.work)}</dt>
                    <dd class="num">{work}</dd>
                </div>
            </dl>
            <Memory/>
        </div>
    }
}

/// Hearth's part, the others', what is free: one bar.
#[component]
fn Memory() -> impl IntoView {
    let i18n = use_i18n();
    let store = use_store();
    let memory = move || store.system.with(|system| Some(system.ready()?.memory));
    let parts = move || {
        let memory = memory()?;
        let (total, free) = (memory.total?, memory.available?);
        let ours = memory.process.unwrap_or(0).min(total);
        Some((total, free, ours, total.saturating_sub(free).saturating_sub(ours)))
    };
    let width = move |pick: fn((u64, u64, u64, u64)) -> u64| {
        move || parts().map(|parts| format!("{:.2}%", pick(parts) as f64 / parts.0.max(1) as f64 * 100.0))
    };
    let line = move || {
        parts().map(|(total, free, ..)| {
            t_string!(i18n, home.memory_free, free = format::bytes(free), total = format::bytes(total))
        })
    };
    let ours = move || parts().map(|(_, _, ours, _)| t_string!(i18n, home.memory_hearth, bytes = format::bytes(ours)));
    view! {
        <div class="memory">
            <div class="memory-head">
                <Icon name="memory"/>
                <span>{t!(i18n, home.memory)}</span>
                <strong class="num">{line}</strong>
            </div>
            <div class="memory-bar" role="img" aria-label=line>
                <span class="ours" style:width=width(|parts| parts.2)></span>
                <span class="others" style:width=width(|parts| parts.3)></span>
            </div>
            <div class="chart-legend num">
                <span class="chart-key" style="--key: var(--ember)">{ours}</span>
                <span class="chart-key" style="--key: var(--ink-faint)">{t!(i18n, home.memory_other)}</span>
                <span class="chart-key" style="--key: var(--line-strong)">
                    {t!(i18n, home.memory_available)}
                </span>
            </div>
        </div>
    }
}
