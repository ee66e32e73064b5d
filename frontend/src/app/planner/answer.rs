//! The right half: what it comes to. Memory by part, the way out where it does not fit, time and what bounds it, the same run on other
//! devices, and what the budget would be best spent on.

use hearth_shared::plan::devices::sheets;
use hearth_shared::plan::estimate::{Bound, Estimate};
use hearth_shared::plan::sizing::Sizing;
use hearth_shared::plan::suggest::Change;
use hearth_shared::plan::{Memory, ModelShape};
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

use super::plan::{Plan, WayOut as Way};
use super::{Desk, word};
use crate::app::components::after_drawing;
use crate::app::components::icons::Icon;
use crate::app::format;
use crate::app::i18n::{Locale, t, t_string, use_i18n};

#[component]
pub(in crate::app) fn Answers(
    /// Only what this run is: no other devices, no other sizes.
    #[prop(optional)]
    brief: bool,
) -> impl IntoView {
    let i18n = use_i18n();
    let desk = expect_context::<Desk>();
    let plan = desk.plan;
    let fault = move || desk.shape.with(|shape| shape.as_ref().err().filter(|fault| !fault.is_empty()).cloned());
    let total = move || plan.with(|plan| plan.as_ref().map(|plan| plan.estimate.memory.total.to_string()));
    view! {
        <div class="planner-answers" data-total=total>
            {move || {
                fault()
                    .map(|fault| {
                        view! {
                            <div class="notice bad" role="alert">
                                <Icon name="warn"/>
                                <div><strong>{t!(i18n, plan.impossible)}</strong><p>{fault}</p></div>
                            </div>
                        }
                    })
            }}
            <Show when=move || plan.with(Option::is_some)>
                <Room plan/>
                <Time plan/>
                <Show when=move || !brief>
                    <Elsewhere plan/>
                    <Budget plan/>
                </Show>
            </Show>
        </div>
    }
}

/// One line of it for a narrow screen, where the dials push the rest far down.
#[component]
pub(super) fn Summary() -> impl IntoView {
    let i18n = use_i18n();
    let Desk { plan, .. } = expect_context::<Desk>();
    let fits = move || plan.with(|plan| plan.as_ref().is_some_and(Plan::fits));
    let line = move || {
        plan.with(|plan| {
            let plan = plan.as_ref()?;
            let memory = format::bytes(plan.estimate.memory.total);
            let step = time(plan.estimate.seconds, i18n.get_locale());
            Some(t_string!(i18n, plan.summary, memory = memory, step = step))
        })
    };
    view! {
        <Show when=move || plan.with(Option::is_some)>
            <p class="planner-summary num">
                <span class="badge" class:good=fits class:bad=move || !fits()>
                    {move || if fits() { t_string!(i18n, plan.yes) } else { t_string!(i18n, plan.no) }}
                </span>
                {line}
            </p>
        </Show>
    }
}

/// Part, colour.
const PARTS: [(&str, &str); 6] = [
    ("weights", "var(--data-1)"),
    ("gradients", "var(--data-2)"),
    ("optimizer", "var(--data-3)"),
    ("activations", "var(--warn)"),
    ("temporary", "var(--ink-faint)"),
    ("checkpoint", "var(--good)"),
];

fn part(memory: &Memory, name: &str) -> u64 {
    match name {
        "weights" => memory.weights,
        "gradients" => memory.gradients,
        "optimizer" => memory.optimizer,
        "activations" => memory.activations,
        "temporary" => memory.temporary,
        _ => memory.checkpoint,
    }
}

/// What one device holds, against what it has.
#[component]
fn Room(plan: Memo<Option<Plan>>) -> impl IntoView {
    let i18n = use_i18n();
    let label = move |name: &str| match name {
        "weights" => t_string!(i18n, plan.part_weights),
        "gradients" => t_string!(i18n, plan.part_gradients),
        "optimizer" => t_string!(i18n, plan.part_optimizer),
        "activations" => t_string!(i18n, plan.part_activations),
        "temporary" => t_string!(i18n, plan.part_temporary),
        _ => t_string!(i18n, plan.part_checkpoint),
    };
    let sizes = move || plan.with(|plan| plan.as_ref().map(|plan| (plan.estimate.memory, plan.device.memory)));
    let fits = move || plan.with(|plan| plan.as_ref().is_some_and(Plan::fits));
    let line = move || {
        let (memory, room) = sizes()?;
        let (needed, room) = (format::bytes(memory.total), format::bytes(room as u64));
        Some(match fits() {
            true => t_string!(i18n, plan.fits, needed = needed, room = room),
            false => t_string!(i18n, plan.too_large, needed = needed, room = room),
        })
    };
    // The bar is as long as the larger of what is needed and what is there.
    let whole = move || sizes().map_or(1.0, |(memory, room)| room.max(memory.total as f64).max(1.0));
    let width = move |name: &'static str| {
        move || sizes().map(|(memory, _)| format!("{:.3}%", part(&memory, name) as f64 / whole() * 100.0))
    };
    let limit = move || sizes().map(|(_, room)| format!("{:.3}%", (room / whole() * 100.0).min(100.0)));
    view! {
        <section class="card" aria-live="polite">
            <div class="section-head">
                <h2 id=MEMORY tabindex="-1">{t!(i18n, plan.memory)}</h2>
                <span class="badge" class:good=fits class:bad=move || !fits()>
                    {move || if fits() { t_string!(i18n, plan.yes) } else { t_string!(i18n, plan.no) }}
                </span>
            </div>
            <p class="planner-line num">{line}</p>
            <div class="planner-bar" role="img" aria-label=move || line().unwrap_or_default()>
                {PARTS
                    .into_iter()
                    .map(|(name, colour)| {
                        view! { <span style:width=width(name) style:background=colour title=move || label(name)></span> }
                    })
                    .collect_view()}
                <i class="planner-limit" style:left=limit></i>
            </div>
            <ul class="planner-parts num">
                {PARTS
                    .into_iter()
                    .map(|(name, colour)| {
                        view! {
                            <li>
                                <span class="chart-key" style=format!("--key: {colour}")>{move || label(name)}</span>
                                <strong>{move || sizes().map(|(memory, _)| format::bytes(part(&memory, name)))}</strong>
                            </li>
                        }
                    })
                    .collect_view()}
            </ul>
            {move || {
                plan.with(|plan| plan.as_ref().is_some_and(Plan::has_copies))
                    .then(|| view! { <p class="hint">{t!(i18n, plan.gradients_hint)}</p> })
            }}
            <Show when=fits fallback=move || view! { <WayOut plan/> }>
                <MoreRows plan/>
            </Show>
        </section>
    }
}

/// Where it stands on the page what one device holds.
const MEMORY: &str = "plan-memory";

/// Looks at what it came to: the button that was pressed is gone by then.
fn see_memory() {
    after_drawing(|| {
        let heading = document().get_element_by_id(MEMORY).and_then(|heading| heading.dyn_into::<HtmlElement>().ok());
        if let Some(heading) = heading {
            let _ = heading.focus();
        }
    });
}

/// The largest pass that fits: the same step in fewer of them.
#[component]
fn MoreRows(plan: Memo<Option<Plan>>) -> impl IntoView {
    let i18n = use_i18n();
    let Desk { question, .. } = expect_context::<Desk>();
    let rows = Memo::new(move |_| plan.with(|plan| plan.as_ref()?.more_rows()));
    let apply = move |_| {
        if let Some(rows) = rows.get_untracked() {
            question.update(|question| question.rows = rows);
            see_memory();
        }
    };
    view! {
        {move || {
            rows.get()
                .map(|rows| {
                    view! {
                        <div class="planner-more">
                            <p class="hint">{t_string!(i18n, plan.more_rows, count = rows)}</p>
                            <button type="button" class="button small" data-action="rows" on:click=apply>
                                {t!(i18n, plan.apply)}
                            </button>
                        </div>
                    }
                })
        }}
    }
}

/// The nearest run that fits.
#[component]
fn WayOut(plan: Memo<Option<Plan>>) -> impl IntoView {
    let i18n = use_i18n();
    let Desk { question, .. } = expect_context::<Desk>();
    let found = Memo::new(move |_| plan.with(|plan| plan.as_ref().filter(|plan| !plan.fits())?.way_out()));
    let words = move |change: Change| match change {
        Change::MicroBatch(tokens) => {
            let length = found.with_untracked(|found| found.as_ref().map_or(1, |way| way.found.spec.max_length));
            match (tokens / length.max(1)).max(1) {
                1 => t_string!(i18n, plan.change_rows_single).to_owned(),
                rows => t_string!(i18n, plan.change_rows, count = rows),
            }
        }
        Change::Precision(precision) => t_string!(i18n, plan.change_precision, name = precision.as_str()),
        Change::GradientCheckpointing => t_string!(i18n, plan.change_checkpointing).to_owned(),
        Change::Lora(rank) => t_string!(i18n, plan.change_lora, rank = rank),
        Change::Nf4 => t_string!(i18n, plan.change_nf4).to_owned(),
        Change::MaxLength(tokens) => t_string!(i18n, plan.change_length, count = tokens),
    };
    let depth = move |depth: u32| {
        let from = question.with_untracked(|question| question.depth);
        t_string!(i18n, plan.change_depth, depth = depth, from = from)
    };
    let apply = move |_| {
        if let Some(way) = found.get_untracked() {
            question.update(|question| way.apply(question));
            see_memory();
        }
    };
    let changes = move |way: &Way| {
        let all = way.depth.map(depth).into_iter().chain(way.found.changes.iter().map(|change| words(*change)));
        all.map(|words| view! { <li>{words}</li> }).collect_view()
    };
    view! {
        {move || match found.get() {
            Some(way) => {
                let needed = format::bytes(way.found.memory.total);
                view! {
                    <div class="notice">
                        <Icon name="compass"/>
                        <div>
                            <strong>{t_string!(i18n, plan.way_out, needed = needed)}</strong>
                            <ul class="planner-changes">{changes(&way)}</ul>
                        </div>
                        <button type="button" class="button primary small" data-action="fit" on:click=apply>
                            {t!(i18n, plan.apply)}
                        </button>
                    </div>
                }
                    .into_any()
            }
            None => view! { <p class="hint bad">{t!(i18n, plan.no_way_out)}</p> }.into_any(),
        }}
    }
}

/// How long, and what it waits for.
#[component]
fn Time(plan: Memo<Option<Plan>>) -> impl IntoView {
    let i18n = use_i18n();
    let bound = move || {
        plan.with(|plan| plan.as_ref().map(|plan| plan.estimate.bound)).map(|bound| match bound {
            Bound::Compute => t_string!(i18n, plan.bound_compute),
            Bound::Bandwidth => t_string!(i18n, plan.bound_bandwidth),
            Bound::Communication => t_string!(i18n, plan.bound_communication),
        })
    };
    view! {
        <section class="card">
            <div class="section-head">
                <h2>{t!(i18n, plan.time)}</h2>
                <p class="soft">{bound}</p>
            </div>
            <Figures plan/>
            <Bounds plan/>
            <p class="hint">{t!(i18n, plan.time_hint)}</p>
        </section>
    }
}

/// Tokens a second; none of a device that nobody has measured.
fn speed(rate: f64) -> String {
    match rate {
        rate if !rate.is_finite() || rate <= 0.0 => "—".to_owned(),
        rate if rate < 1000.0 => format::rate(rate),
        rate => format::count(rate as u64),
    }
}

/// A time, where the device's speed is known.
fn time(seconds: f64, locale: Locale) -> String {
    if seconds.is_finite() { format::span(seconds, locale) } else { "—".to_owned() }
}

/// A number of the plan in the reader's language.
type ReadFigure = fn(&Plan, Locale) -> String;
/// What a step could wait for.
type ReadSeconds = fn(&Estimate) -> f64;

#[component]
fn Figures(plan: Memo<Option<Plan>>) -> impl IntoView {
    let i18n = use_i18n();
    let figures: [(Signal<String>, ReadFigure); 9] = [
        (word!(i18n, whole_run), |plan, locale| time(plan.seconds(), locale)),
        (word!(i18n, one_step), |plan, locale| time(plan.estimate.seconds, locale)),
        (word!(i18n, tokens_per_second), |plan, _| speed(plan.estimate.tokens_per_second)),
        (word!(i18n, all_tokens), |plan, _| format::count(plan.tokens as u64)),
        (word!(i18n, parameters), |plan, _| format::count(plan.shape.parameters)),
        (word!(i18n, trained), |plan, _| format::count(plan.shape.trained(&plan.spec))),
        (word!(i18n, flops), |plan, _| format!("{:.1e}", plan.estimate.flops)),
        (word!(i18n, cache), |plan, _| {
            format::bytes(plan.shape.kv_cache(u64::from(plan.spec.max_length), plan.served()) as u64)
        }),
        (word!(i18n, decode), |plan, _| {
            let length = u64::from(plan.spec.max_length);
            format::rate(plan.shape.decode_bound(length, plan.served(), plan.device.bandwidth))
        }),
    ];
    view! {
        <dl class="figures num">
            {figures
                .into_iter()
                .map(|(label, read)| {
                    let value = move || plan.with(|plan| plan.as_ref().map(|plan| read(plan, i18n.get_locale())));
                    view! { <div><dt>{label}</dt><dd>{value}</dd></div> }
                })
                .collect_view()}
        </dl>
    }
}

/// The three things a step could wait for, side by side.
#[component]
fn Bounds(plan: Memo<Option<Plan>>) -> impl IntoView {
    let i18n = use_i18n();
    let bars: [(Signal<String>, ReadSeconds, &'static str); 3] = [
        (word!(i18n, compute), |estimate| estimate.compute_seconds, "var(--data-1)"),
        (word!(i18n, bandwidth), |estimate| estimate.bandwidth_seconds, "var(--data-2)"),
        (word!(i18n, communication), |estimate| estimate.communication_seconds, "var(--data-3)"),
    ];
    let estimate = move || plan.with(|plan| plan.as_ref().map(|plan| plan.estimate));
    let share = move |read: fn(&Estimate) -> f64| {
        let estimate = estimate()?;
        let all = estimate.compute_seconds.max(estimate.bandwidth_seconds).max(estimate.communication_seconds);
        Some(format!("{:.2}%", read(&estimate) / all.max(f64::MIN_POSITIVE) * 100.0))
    };
    let bar = move |(label, read, colour): (Signal<String>, fn(&Estimate) -> f64, &'static str)| {
        let seconds = move || estimate().map(|estimate| time(read(&estimate), i18n.get_locale()));
        view! {
            <li>
                <span>{label}</span>
                <div><i style:width=move || share(read) style:background=colour></i></div>
                <strong>{seconds}</strong>
            </li>
        }
    };
    view! { <ul class="planner-bounds num">{bars.into_iter().map(bar).collect_view()}</ul> }
}

/// The same run on every device of the table.
#[component]
fn Elsewhere(plan: Memo<Option<Plan>>) -> impl IntoView {
    let i18n = use_i18n();
    let Desk { question, here, .. } = expect_context::<Desk>();
    let rows = Memo::new(move |_| {
        let shape = plan.with(|plan| plan.as_ref().map(|plan| plan.shape.clone()));
        let devices = here
            .get()
            .into_iter()
            .map(|sheet| (None, sheet))
            .chain(sheets().into_iter().map(|sheet| (Some(sheet.name.clone()), sheet)));
        let of = |shape: ModelShape| {
            devices
                .map(|(name, sheet)| (name, question.with(|question| Plan::of(question, shape.clone(), sheet))))
                .collect::<Vec<_>>()
        };
        shape.map(of).unwrap_or_default()
    });
    let row = move |(name, plan): (Option<String>, Plan)| {
        let chosen = question.with_untracked(|question| question.device == name);
        let fits = plan.fits();
        let title = plan.device.name.clone();
        let choose = {
            let name = name.clone();
            move |_| question.update(|question| question.device.clone_from(&name))
        };
        view! {
            <tr class:chosen=chosen>
                <td>
                    <button type="button" class="planner-device" on:click=choose>{title}</button>
                </td>
                <td>
                    <span class="badge" class:good=fits class:bad=!fits>{format::bytes(plan.estimate.memory.total)}</span>
                </td>
                <td>{speed(plan.estimate.tokens_per_second)}</td>
                <td>{move || time(plan.seconds(), i18n.get_locale())}</td>
            </tr>
        }
    };
    view! {
        <section class="card">
            <div class="section-head">
                <h2>{t!(i18n, plan.elsewhere)}</h2>
                <p class="soft">{t!(i18n, plan.elsewhere_hint)}</p>
            </div>
            <div class="planner-scroll">
                <table class="num">
                    <thead>
                        <tr>
                            <th>{t!(i18n, plan.device)}</th>
                            <th>{t!(i18n, plan.memory)}</th>
                            <th>{t!(i18n, plan.tokens_per_second)}</th>
                            <th>{t!(i18n, plan.whole_run)}</th>
                        </tr>
                    </thead>
                    <tbody>{move || rows.get().into_iter().map(row).collect_view()}</tbody>
                </table>
            </div>
        </section>
    }
}

/// What the same computing would be best spent on.
#[component]
fn Budget(plan: Memo<Option<Plan>>) -> impl IntoView {
    let i18n = use_i18n();
    let sizes = Memo::new(move |_| {
        plan.with(|plan| {
            let plan = plan.as_ref().filter(|plan| plan.spec.adapter.is_none())?;
            let asked = Sizing { parameters: plan.shape.parameters as f64, tokens: plan.tokens };
            Some((asked, Sizing::for_flops(asked.flops())))
        })
    });
    let row = move |title: Signal<String>, sizing: Sizing| {
        view! {
            <tr>
                <td>{title}</td>
                <td>{format::count(sizing.parameters as u64)}</td>
                <td>{format::count(sizing.tokens as u64)}</td>
                <td>{format!("{:.3}", sizing.loss())}</td>
            </tr>
        }
    };
    view! {
        {move || {
            sizes
                .get()
                .map(|(asked, best)| {
                    view! {
                        <section class="card">
                            <div class="section-head">
                                <h2>{t!(i18n, plan.budget)}</h2>
                                <p class="soft">{t!(i18n, plan.budget_hint)}</p>
                            </div>
                            <div class="planner-scroll">
                                <table class="num">
                                    <thead>
                                        <tr>
                                            <th></th>
                                            <th>{t!(i18n, plan.parameters)}</th>
                                            <th>{t!(i18n, plan.all_tokens)}</th>
                                            <th>{t!(i18n, plan.loss)}</th>
                                        </tr>
                                    </thead>
                                    <tbody>
                                        {row(word!(i18n, as_asked), asked)} {row(word!(i18n, compute_optimal), best)}
                                    </tbody>
                                </table>
                            </div>
                        </section>
                    }
                })
        }}
    }
}
