//! Attention as a job in map, combine, reduce and project, as a cluster's page would show it: the plan drawn and counted, and the
//! chosen token's own records running through it.

use hearth_shared::lab::map_reduce::{Kind, Stage};
use leptos::prelude::*;

use super::looks::Looks;
use super::planned::{Partition, Planned, Record};
use super::state::use_inside;
use crate::app::format;
use crate::app::i18n::{I18nContext, Locale, t, t_string, use_i18n};
use crate::app::lab::forward::Head;
use crate::app::lab::{figure, percent, visible};

/// Tasks that are drawn one by one.
const DRAWN: u64 = 24;

#[component]
pub fn JobPart() -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let planned = Memo::new(move |_| Planned::of(inside));
    let token = move || {
        let index = inside.session.row();
        let forward = inside.session.forward()?;
        let text = visible(&forward.tokens().get(index)?.text);
        let Head { layer, head } = inside.session.at.get();
        Some(t_string!(i18n, inside.job_name, layer = layer + 1, head = head + 1, index = index + 1, token = text))
    };
    let layers = move || {
        let count = inside.session.forward()?.facts.n_layers;
        Some(t_string!(i18n, inside.job_layers, count = count))
    };
    view! {
        <div class="section-head">
            <h3>{t!(i18n, inside.job_title)}</h3>
            <bdi class="badge ember num">{token}</bdi>
        </div>
        <p class="inside-help">{t!(i18n, inside.job_help)}</p>
        <Scopes/>
        {move || planned.get().map(|planned| view! { <Plan planned/> })}
        <h3>{t!(i18n, inside.records_title)}</h3>
        <p class="inside-help">{t!(i18n, inside.records_help)}</p>
        {move || planned.get().map(|planned| view! { <Records planned/> })}
        <ul class="job-notes">
            <li>{t!(i18n, inside.note_combiner)}</li>
            <li>{t!(i18n, inside.note_skew)}</li>
            <li>{t!(i18n, inside.note_broadcast)}</li>
            <li>{t!(i18n, inside.note_flash)}</li>
            <li>{layers}</li>
        </ul>
        <p class="hint">{t!(i18n, inside.job_counted)}</p>
    }
}

/// How much of the job is planned.
#[component]
fn Scopes() -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let (scope, looks) = (inside.scope, inside.session.looks);
    let tokens = move |whole| {
        if whole { t_string!(i18n, inside.scope_text) } else { t_string!(i18n, inside.scope_token) }
    };
    let heads = move |all| if all { t_string!(i18n, inside.scope_heads) } else { t_string!(i18n, inside.scope_head) };
    view! {
        <div class="job-scopes">
            <div class="segments" role="group" aria-label=move || t_string!(i18n, inside.scope_tokens_label)>
                {[false, true]
                    .map(|whole| {
                        view! {
                            <button
                                data-scope=if whole { "text" } else { "token" }
                                aria-pressed=move || (scope.get().whole_text == whole).to_string()
                                on:click=move |_| looks.update(|looks: &mut Looks| looks.scope.whole_text = whole)
                            >
                                {move || tokens(whole)}
                            </button>
                        }
                    })
                    .collect_view()}
            </div>
            <div class="segments" role="group" aria-label=move || t_string!(i18n, inside.scope_heads_label)>
                {[false, true]
                    .map(|all| {
                        view! {
                            <button
                                data-scope=if all { "heads" } else { "head" }
                                aria-pressed=move || (scope.get().all_heads == all).to_string()
                                on:click=move |_| looks.update(|looks: &mut Looks| looks.scope.all_heads = all)
                            >
                                {move || heads(all)}
                            </button>
                        }
                    })
                    .collect_view()}
            </div>
        </div>
    }
}

fn kind_name(i18n: I18nContext<Locale>, kind: Kind) -> &'static str {
    match kind {
        Kind::Map => t_string!(i18n, inside.stage_map),
        Kind::Combine => t_string!(i18n, inside.stage_combine),
        Kind::Reduce => t_string!(i18n, inside.stage_reduce),
        Kind::Project => t_string!(i18n, inside.stage_project),
    }
}

fn kind_words(i18n: I18nContext<Locale>, kind: Kind) -> &'static str {
    match kind {
        Kind::Map => t_string!(i18n, inside.about_map),
        Kind::Combine => t_string!(i18n, inside.about_combine),
        Kind::Reduce => t_string!(i18n, inside.about_reduce),
        Kind::Project => t_string!(i18n, inside.about_project),
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Map => "map",
        Kind::Combine => "combine",
        Kind::Reduce => "reduce",
        Kind::Project => "project",
    }
}

/// The stages drawn in their order, then counted.
#[component]
fn Plan(planned: Planned) -> impl IntoView {
    let i18n = use_i18n();
    let Planned { stages, totals, keys_and_values, unshared, .. } = planned;
    let boxes = stages.into_iter().enumerate();
    let boxes = boxes.map(|(index, stage)| view! { <StageBox index stage/> }).collect_view();
    let rows = stages.into_iter().enumerate().map(|(index, stage)| row(index, stage)).collect_view();
    let shared = move || {
        let (read, without) = (format::bytes(keys_and_values), format::bytes(unshared));
        if unshared > keys_and_values {
            t_string!(i18n, inside.job_shared, read = read, unshared = without)
        } else {
            t_string!(i18n, inside.job_unshared, read = read)
        }
    };
    view! {
        <ol class="job-stages">{boxes}</ol>
        <div class="inside-scroll" tabindex="0" role="region" aria-label=move || t_string!(i18n, inside.job_table)>
            <table class="inside-table num">
                <thead>
                    <tr>
                        <th scope="col">{t!(i18n, inside.stage)}</th>
                        <th scope="col">{t!(i18n, inside.tasks)}</th>
                        <th scope="col">{t!(i18n, inside.records_in)}</th>
                        <th scope="col">{t!(i18n, inside.records_out)}</th>
                        <th scope="col">{t!(i18n, inside.read)}</th>
                        <th scope="col">{t!(i18n, inside.shuffled)}</th>
                        <th scope="col">{t!(i18n, inside.flops)}</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
                <tfoot>
                    <tr data-stage="total">
                        <th scope="row">{t!(i18n, inside.total)}</th>
                        <td>{format::count(totals.tasks)}</td>
                        <td></td>
                        <td></td>
                        <td>{format::bytes(totals.read)}</td>
                        <td>{format::bytes(totals.shuffled)}</td>
                        <td>{format::count(totals.flops)}</td>
                    </tr>
                </tfoot>
            </table>
        </div>
        <p class="inside-sum num" id="job-shared">{shared}</p>
    }
}

fn row(index: usize, stage: Stage) -> impl IntoView {
    let i18n = use_i18n();
    let name = move || kind_name(i18n, stage.kind);
    view! {
        <tr data-stage=word(stage.kind)>
            <th scope="row">{index} " · " {name}</th>
            <td>{format::count(stage.tasks)}</td>
            <td>{format::count(stage.records_in)}</td>
            <td>{format::count(stage.records_out)}</td>
            <td>{bytes(stage.read)}</td>
            <td>{bytes(stage.shuffled)}</td>
            <td>{format::count(stage.flops)}</td>
        </tr>
    }
}

/// A dash where there is nothing.
fn bytes(count: u64) -> String {
    if count == 0 { "–".to_owned() } else { format::bytes(count) }
}

/// A stage: its name, its tasks as squares, and what it does.
#[component]
fn StageBox(index: usize, stage: Stage) -> impl IntoView {
    let i18n = use_i18n();
    let kind = stage.kind;
    let squares = (0..stage.tasks.min(DRAWN)).map(|_| view! { <i></i> }).collect_view();
    let tasks = move || t_string!(i18n, inside.task_count, count = format::group(stage.tasks));
    view! {
        <li class="job-stage" data-kind=word(kind)>
            <span class="job-index num" aria-hidden="true">{index}</span>
            <strong>{move || kind_name(i18n, kind)}</strong>
            <span class="hint num">{tasks}</span>
            <span class="job-squares" aria-hidden="true">
                {squares}
                {(stage.tasks > DRAWN).then_some("…")}
            </span>
            <span class="job-words">{move || kind_words(i18n, kind)}</span>
        </li>
    }
}

/// The chosen token's own records: partitions with their partials, their merge, and the keys that score highest.
#[component]
fn Records(planned: Planned) -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let words: Vec<String> = untrack(|| inside.session.forward())
        .map_or_else(Vec::new, |forward| forward.tokens().iter().map(|token| visible(&token.text)).collect());
    let Planned { partitions, merged, records, .. } = planned;
    let parts = partitions.into_iter().enumerate().map(|(index, part)| partition(index, part)).collect_view();
    let most = records.iter().map(|record| record.weight).fold(f64::MIN_POSITIVE, f64::max);
    let rows = records
        .into_iter()
        .map(|record| {
            let key = words.get(record.key).cloned().unwrap_or_default();
            record_row(record, key, most)
        })
        .collect_view();
    let whole = move || {
        let (max, sum) = (figure(merged.max), figure(merged.sum));
        t_string!(i18n, inside.merged, max = max, sum = sum)
    };
    view! {
        <div class="job-records">
            <ol class="job-partitions" aria-label=move || t_string!(i18n, inside.partitions)>
                {parts}
                <li class="job-merged">
                    <strong>{t!(i18n, inside.merge)}</strong>
                    <span class="num">{whole}</span>
                </li>
            </ol>
            <div
                class="inside-scroll"
                tabindex="0"
                role="region"
                aria-label=move || t_string!(i18n, inside.records_title)
            >
                <table class="inside-table num">
                    <thead>
                        <tr>
                            <th scope="col">{t!(i18n, inside.key)}</th>
                            <th scope="col">{t!(i18n, inside.score)}</th>
                            <th scope="col">{t!(i18n, inside.weight)}</th>
                            <th scope="col">{t!(i18n, inside.by_model)}</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        </div>
    }
}

fn partition(index: usize, part: Partition) -> impl IntoView {
    let i18n = use_i18n();
    let keys = move || t_string!(i18n, inside.partition_keys, first = part.first + 1, last = part.last + 1);
    let partial = move || {
        let (max, sum) = (figure(part.partial.max), figure(part.partial.sum));
        t_string!(i18n, inside.partial, max = max, sum = sum)
    };
    view! {
        <li>
            <strong>{move || t_string!(i18n, inside.partition, index = index + 1)}</strong>
            <span class="hint num">{keys}</span>
            <span class="num">{partial}</span>
        </li>
    }
}

fn record_row(record: Record, key: String, most: f64) -> impl IntoView {
    let width = format!("{:.1}%", record.weight / most * 100.0);
    view! {
        <tr data-key=record.key>
            <th scope="row">
                <span class="hint">{record.key + 1}</span>
                " "
                <bdi class="lens-word">{key}</bdi>
            </th>
            <td>{figure(f64::from(record.score))}</td>
            <td>
                <span class="inside-bar" aria-hidden="true"><i style:width=width></i></span>
                {percent(record.weight)}
            </td>
            <td>{percent(f64::from(record.computed))}</td>
        </tr>
    }
}
