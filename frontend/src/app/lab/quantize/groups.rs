//! What takes many measurements: which layer suffers most, and which matrices can do with 4 bits within a bound.

use hearth_shared::lab::Progress as Told;
use hearth_shared::lab::quantize::{GroupLoss, Task, rise};
use leptos::prelude::*;

use super::controls::{group_name, toggle};
use super::mixture::Found;
use super::summary::change;
use super::{Long, Parts, use_lab};
use crate::app::components::Progress;
use crate::app::components::field::Slider;
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

#[component]
pub fn Groups() -> impl IntoView {
    view! {
        <div class="quantize-pair">
            <Sensitivity/>
            <Search/>
        </div>
    }
}

#[component]
fn Sensitivity() -> impl IntoView {
    let i18n = use_i18n();
    let lab = use_lab();
    let busy = move || lab.is_busy();
    let stale = Memo::new(move |_| {
        lab.parts
            .with(|parts| parts.as_ref().is_some_and(|parts| lab.setting.with(|now| now.of_parts() != parts.under)))
    });
    let bars = move || {
        lab.parts.get().map(|Parts { base, groups, .. }| {
            let rises: Vec<f64> = groups.iter().map(|group| rise(base.nll, group.loss.nll)).collect();
            let most = rises.iter().copied().fold(1e-9, f64::max);
            let bar = |(group, cost): (GroupLoss, f64)| view! { <GroupBar group cost most/> };
            let bars = groups.into_iter().zip(rises).map(bar).collect_view();
            view! { <ol class="group-bars" class:stale=move || stale.get()>{bars}</ol> }
        })
    };
    view! {
        <section class="card" aria-labelledby="sensitivity-title">
            <h2 id="sensitivity-title">{t!(i18n, quantize.sensitivity)}</h2>
            <p class="hint">{t!(i18n, quantize.sensitivity_hint)}</p>
            <div class="quantize-run">
                <button
                    class="button"
                    data-action="sensitivity"
                    disabled=busy
                    on:click=move |_| lab.run_long(Task::Sensitivity)
                >
                    {t!(i18n, quantize.sensitivity_run)}
                </button>
                <Running search=false/>
                <div aria-live="polite">
                    <Show when=move || stale.get() && !lab.is_measuring_parts()>
                        <span class="badge ember">{t!(i18n, quantize.parts_changed)}</span>
                    </Show>
                </div>
            </div>
            {bars}
        </section>
    }
}

#[component]
fn GroupBar(group: GroupLoss, cost: f64, most: f64) -> impl IntoView {
    let i18n = use_i18n();
    let lab = use_lab();
    let name = group_name(&group.group);
    let width = format!("{:.1}%", cost.max(0.0) / most * 100.0);
    let saved = t_string!(i18n, quantize.saves, bytes = format::bytes(group.saved_bytes));
    let id = group.group;
    view! {
        <li>
            <button class="matrix-row" title=saved on:click=move |_| toggle(lab, &id)>
                <span class="matrix-name">{name}</span>
                <span class="matrix-bar" aria-hidden="true"><i style:width=width></i></span>
                <span class="num">{change(cost)}</span>
            </button>
        </li>
    }
}

#[component]
fn Search() -> impl IntoView {
    let i18n = use_i18n();
    let lab = use_lab();
    let busy = move || lab.is_busy();
    let start = move |_| lab.run_long(Task::Search { bound: lab.bound.get_untracked() / 100.0 });
    view! {
        <section class="card" aria-labelledby="search-title">
            <h2 id="search-title">{t!(i18n, quantize.search)}</h2>
            <p class="hint">{t!(i18n, quantize.search_hint)}</p>
            <Slider
                label=Signal::derive(move || t_string!(i18n, quantize.bound).to_owned())
                hint=Signal::derive(move || t_string!(i18n, quantize.bound_hint).to_owned())
                value=lab.bound
                min=0.1
                max=10.0
                step=0.1
                digits=1
            />
            <div class="quantize-run">
                <button class="button primary" data-action="search" disabled=busy on:click=start>
                    {t!(i18n, quantize.search_run)}
                </button>
                <Running search=true/>
            </div>
            <Found/>
        </section>
    }
}

/// How far the long one is, and a way to stop it.
#[component]
fn Running(search: bool) -> impl IntoView {
    let i18n = use_i18n();
    let lab = use_lab();
    let told = move || match lab.long.get() {
        Long::Running { search: which, progress, .. } if which == search => Some(progress),
        _ => None,
    };
    let share = Signal::derive(move || {
        let Told { done, total, .. } = told()??;
        total.filter(|total| *total > 0).map(|total| done as f64 / total as f64)
    });
    let label = Signal::derive(move || match told().flatten() {
        Some(Told { done, total: Some(total), .. }) => t_string!(i18n, quantize.measured, done = done, total = total),
        _ => t_string!(i18n, lab.computing).to_owned(),
    });
    view! {
        <Show when=move || told().is_some()>
            <div class="quantize-progress">
                <span class="hint num">{label}</span>
                <Progress value=share label=label/>
            </div>
            <button class="button small" data-action="cancel" on:click=move |_| lab.cancel()>
                {t!(i18n, common.cancel)}
            </button>
        </Show>
    }
}
