//! The text without a head: a map of what every head's absence costs, and the chosen one token by token.

use std::iter;

use hearth_shared::lab::inside::{At, mean};
use leptos::ev::KeyboardEvent;
use leptos::prelude::*;

use super::difference;
use super::part::Part;
use super::state::{Doing, at, use_inside};
use super::working::Working;
use crate::app::components::icons::Icon;
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::lab::forward::Head;
use crate::app::lab::heads::Shape;
use crate::app::lab::{tokens, visible};

/// More heads than this leave no room for numbers in the map.
const NUMBERED: usize = 9;

#[component]
pub fn AblatePart() -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let sizes =
        Memo::new(move |_| inside.session.forward().map(|forward| Shape::of(&forward.facts)).unwrap_or_default());
    let complete = move || {
        let Shape { layers, heads, .. } = sizes.get();
        inside.ablated.with(|ablated| ablated.as_ref().is_some_and(|ablated| ablated.heads.len() == layers * heads))
    };
    let runs_all = move || inside.doing.with(|doing| matches!(doing, Doing::Running { all: true, .. }));
    let possible = Memo::new(move |_| inside.can(Part::Ablate));
    view! {
        <div class="section-head">
            <h3 id="ablate-title">{t!(i18n, inside.ablate_title)}</h3>
            <button
                class="button small"
                data-action="ablate-all"
                disabled=move || complete() || runs_all() || !possible.get()
                on:click=move |_| inside.ablate_all()
            >
                <Icon name="play" size=16/>
                {t!(i18n, inside.ablate_all)}
            </button>
        </div>
        <p class="inside-help">{t!(i18n, inside.ablate_help)}</p>
        <Working part=Part::Ablate/>
        <Show when=move || possible.get()>
            <div class="ablate-body">
                <Map sizes/>
                <Chosen/>
            </div>
        </Show>
    }
}

/// Layers by heads, each in the colour of what its absence costs.
#[component]
fn Map(sizes: Memo<Shape>) -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let session = inside.session;
    let on_key = move |event: KeyboardEvent| {
        if let Some(head) = sizes.get_untracked().step(session.at.get_untracked(), &event.key()) {
            event.prevent_default();
            session.at.set(head);
        }
    };
    let rows = move || {
        let Shape { layers, heads, .. } = sizes.get();
        let numbered = heads <= NUMBERED;
        let row = |layer: usize| {
            let cells = (0..heads).map(|head| view! { <Cell head=Head { layer, head } numbered=numbered/> });
            view! {
                <span class="heads-layer num" aria-hidden="true">{layer + 1}</span>
                {cells.collect_view()}
            }
        };
        (0..layers).map(row).collect_view()
    };
    view! {
        <div class="ablate-map">
            <div class="inside-scroll">
                <div
                    class="ablate-grid"
                    id="ablate-grid"
                    role="listbox"
                    tabindex="0"
                    aria-labelledby="ablate-title"
                    aria-activedescendant=move || id(session.at.get())
                    style:--heads=move || sizes.get().heads.to_string()
                    on:keydown=on_key
                >
                    {rows}
                </div>
            </div>
            <p class="hint stage-legend">
                <i class="ramp"></i>
                {t!(i18n, inside.ablate_scale)}
            </p>
            <p class="hint">{t!(i18n, inside.ablate_axes)}</p>
        </div>
    }
}

fn id(head: Head) -> String {
    format!("ablate-{}-{}", head.layer, head.head)
}

#[component]
fn Cell(head: Head, numbered: bool) -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let session = inside.session;
    let found = Memo::new(move |_| {
        inside.ablated.with(|ablated| {
            let ablated = ablated.as_ref()?;
            Some((ablated.cost(at(head))?, ablated.largest()))
        })
    });
    let heat = move || {
        let share = found.get().map_or(0.0, |(cost, most)| if most > 0.0 { (cost.abs() / most).sqrt() } else { 0.0 });
        format!("{:.1}%", share * 100.0)
    };
    let words = move || match found.get() {
        Some((cost, _)) => difference(cost),
        None => "·".to_owned(),
    };
    let label = move || {
        let (layer, index) = (head.layer + 1, head.head + 1);
        match found.get() {
            Some((cost, _)) => {
                let cost = difference(cost);
                t_string!(i18n, inside.ablate_cell, layer = layer, head = index, cost = cost)
            }
            None => t_string!(i18n, inside.ablate_unknown, layer = layer, head = index),
        }
    };
    view! {
        <span
            id=id(head)
            class="ablate-cell inside-heat num"
            class:below=move || found.get().is_some_and(|(cost, _)| cost < 0.0)
            class:known=move || found.get().is_some()
            class:chosen=move || session.at.get() == head
            role="option"
            aria-selected=move || (session.at.get() == head).to_string()
            aria-label=label
            title=label
            style:--heat=heat
            on:click=move |_| session.at.set(head)
        >
            {numbered.then_some(words)}
        </span>
    }
}

/// The chosen head: both losses, and which tokens its absence costs most.
#[component]
fn Chosen() -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let session = inside.session;
    let title = move || {
        let Head { layer, head } = session.at.get();
        t_string!(i18n, lab.head_title, layer = layer + 1, head = head + 1)
    };
    let losses = Memo::new(move |_| {
        let chosen: At = at(session.at.get());
        inside.ablated.with(|ablated| {
            let ablated = ablated.as_ref()?;
            Some((mean(&ablated.base), mean(&ablated.head(chosen)?.losses)))
        })
    });
    let with = move || losses.get().map(|(with, _)| format!("{with:.4}"));
    let without = move || losses.get().map(|(_, without)| format!("{without:.4}"));
    let cost = move || losses.get().map(|(with, without)| without - with);
    let verdict = move || {
        Some(match cost()? {
            cost if cost > 0.0 => t_string!(i18n, inside.ablate_helps),
            cost if cost < 0.0 => t_string!(i18n, inside.ablate_harms),
            _ => t_string!(i18n, inside.ablate_nothing),
        })
    };
    view! {
        <div class="ablate-chosen">
            <h4>{title}</h4>
            <dl class="inside-figures num" aria-live="polite">
                <div>
                    <dt>{t!(i18n, inside.loss_with)}</dt>
                    <dd>{with}</dd>
                </div>
                <div>
                    <dt>{t!(i18n, inside.loss_without)}</dt>
                    <dd>{without}</dd>
                </div>
                <div>
                    <dt>{t!(i18n, inside.loss_difference)}</dt>
                    <dd id="ablate-cost">{move || cost().map(difference)}</dd>
                </div>
            </dl>
            <p class="inside-help">{verdict}</p>
            <h4>{t!(i18n, inside.ablate_tokens)}</h4>
            <ByToken/>
            <p class="hint">{t!(i18n, inside.ablate_tokens_help)}</p>
        </div>
    }
}

/// The text, every token in the colour of what it costs more.
#[component]
fn ByToken() -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let session = inside.session;
    let list = move || {
        let forward = session.forward()?;
        let chosen = at(session.at.get());
        let costs = inside.ablated.with(|ablated| ablated.as_ref().map(|ablated| ablated.costs(chosen)))?;
        let most = costs.iter().map(|cost| cost.abs()).fold(f32::MIN_POSITIVE, f32::max);
        // Nobody predicts the first token; of a head that isn't measured yet nothing is known.
        let costs = iter::once(None).chain(costs.into_iter().map(Some)).chain(iter::repeat(None));
        let rows = forward.tokens().iter().zip(costs).enumerate().map(|(index, (token, cost))| {
            let heat = format!("{:.1}%", (cost.unwrap_or(0.0).abs() / most).sqrt() * 100.0);
            let title = cost.map(|cost| difference(f64::from(cost)));
            view! {
                <li
                    class="inside-token inside-heat"
                    class:below=cost.is_some_and(|cost| cost < 0.0)
                    style:--heat=heat
                    title=title
                    on:click=move |_| tokens::choose(session, index)
                >
                    <bdi>{visible(&token.text)}</bdi>
                </li>
            }
        });
        Some(rows.collect_view())
    };
    view! {
        <ol class="inside-tokens" aria-label=move || t_string!(i18n, inside.ablate_tokens)>
            {list}
        </ol>
    }
}
