//! The mass of a distribution as it goes through the stages: a column for each, ribbons between them. What a stage cuts ends on the way,
//! and what is left grows by as much.

use hearth_shared::lab::sampling::{Distribution, Step};
use leptos::prelude::*;

use super::layout::{HEIGHT, Segment, WIDTH, stacked};
use super::session::use_session;
use super::waterfall::{reason, step_name};
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::lab::{percent, visible};

/// A name stands beside a part of the first and the last column that is higher than this share of it.
const NAMED: f64 = 0.05;

/// Tokens, and the rest without one; and the shares of each from stage to stage.
type Rows = (Vec<Option<u32>>, Vec<Vec<f64>>);

fn rows(found: &Distribution) -> Rows {
    let tokens = found.tokens.iter().map(|chance| (Some(chance.id), chance.shares.clone()));
    let rest = (None, found.stages.iter().map(|stage| stage.rest).collect());
    tokens.chain([rest]).unzip()
}

#[component]
pub fn Flow() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let shares = Memo::new(move |_| {
        session.answered.with(|answered| answered.as_ref().map(|known| rows(&known.found))).unwrap_or_default()
    });
    let drawing = move || {
        shares.with(|(tokens, rows)| {
            let (segments, ribbons) = stacked(rows);
            let tint = |row: usize| tint(row, tokens[row].is_none(), rows.len());
            let ribbons: Vec<_> = ribbons
                .into_iter()
                .map(|ribbon| {
                    let token = tokens[ribbon.row];
                    view! {
                        <path
                            class="ribbon"
                            class:falls=ribbon.falls
                            class:lit=move || token.is_some() && session.cursor.get() == token
                            style=tint(ribbon.row)
                            d=ribbon.path
                            on:pointerenter=move |_| session.cursor.set(token)
                        ></path>
                    }
                })
                .collect();
            let segments: Vec<_> = segments
                .into_iter()
                .map(|Segment { row, x, y, height, .. }| {
                    let token = tokens[row];
                    view! {
                        <rect
                            class="segment"
                            class:lit=move || token.is_some() && session.cursor.get() == token
                            style=tint(row)
                            x=x
                            y=y
                            width=Segment::WIDTH
                            height=height
                            on:pointerenter=move |_| session.cursor.set(token)
                        ></rect>
                    }
                })
                .collect();
            (ribbons, segments)
        })
    };
    let label = move || {
        session.answered.with(|answered| {
            let found = &answered.as_ref()?.found;
            let best = found.tokens.iter().max_by(|a, b| a.drawn_with().total_cmp(&b.drawn_with()))?;
            let kept = found.stages.last()?.kept;
            let (token, share) = (visible(&session.host.word(best.id)), percent(best.drawn_with()));
            Some(t_string!(i18n, sampling.flow_label, kept = kept, token = token, share = share))
        })
    };
    view! {
        <figure class="flow" on:pointerleave=move |event| session.point_away(&event)>
            <div class="flow-frame">
                <Names shares last=false/>
                <svg
                    class:pointing=move || session.cursor.with(Option::is_some)
                    viewBox=format!("0 0 {WIDTH} {HEIGHT}")
                    preserveAspectRatio="none"
                    role="img"
                    aria-label=label
                >
                    {drawing}
                </svg>
                <Names shares last=true/>
            </div>
            <figcaption class="hint flow-told num"><Told/></figcaption>
        </figure>
    }
}

/// The colour of a row: the likelier the stronger.
fn tint(row: usize, rest: bool, rows: usize) -> String {
    if rest {
        return "--tint: var(--line-strong)".to_owned();
    }
    let strength = 92.0 - 66.0 * (row as f64 / rows.max(1) as f64).sqrt();
    format!("--tint: color-mix(in srgb, var(--data-1) {strength:.0}%, var(--surface))")
}

/// What the parts of the first or the last column are called, where they are high enough for a name.
#[component]
fn Names(shares: Memo<Rows>, last: bool) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let names = move || {
        shares.with(|(tokens, rows)| {
            let share = |row: &Vec<f64>| if last { row.last() } else { row.first() }.copied().unwrap_or_default();
            let mut above = 0.0;
            let mut names = Vec::new();
            for (token, share) in tokens.iter().zip(rows.iter().map(share)) {
                if share >= NAMED {
                    let name = match token {
                        Some(token) => visible(&session.host.word(*token)),
                        None => t_string!(i18n, sampling.rest).to_owned(),
                    };
                    let style = format!("top: {:.2}%", (above + share / 2.0) * 100.0);
                    names.push(view! { <span style=style>{name}</span> });
                }
                above += share;
            }
            names
        })
    };
    // Of the drawing's width: what lies right of the last column's left edge, what lies right of its right edge (and left of the first
    // column), and what lies between two columns.
    let column = WIDTH / Step::ALL.len() as f64;
    let beside = (column + Segment::WIDTH) / 2.0 / WIDTH;
    let between = (column - Segment::WIDTH) / WIDTH;
    let behind = between / 2.0;
    let style = format!("--beside: {beside:.4}; --behind: {behind:.4}; --between: {between:.4}");
    view! { <div class="flow-names" class:last=last style=style aria-hidden="true">{names}</div> }
}

/// The way of the token under the pointer, in words.
#[component]
fn Told() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let told = move || {
        let chance = session.chance(session.cursor.get()?)?;
        let shares = chance.shares.iter().copied().map(percent).collect::<Vec<_>>();
        let shares = match chance.cut_at() {
            Some(at) => shares[..at].join(" → "),
            None => shares.join(" → "),
        };
        let cut = chance.cut_at().and_then(|at| Step::ALL.get(at).copied());
        let ends = cut.map(|step| {
            let sampling =
                session.answered.with(|answered| answered.as_ref().map(|known| known.asked.sampling.clone()));
            let why = reason(i18n, step, &sampling.unwrap_or_default());
            t_string!(i18n, sampling.cut_by, step = step_name(i18n, step), why = why)
        });
        Some(view! {
            <strong class="flow-token">{visible(&session.host.word(chance.id))}</strong>
            " "
            {shares}
            {ends.map(|ends| view! { <span class="flow-cut">{ends}</span> })}
        })
    };
    move || match told() {
        Some(told) => told.into_any(),
        None => t!(i18n, sampling.flow_hint).into_any(),
    }
}
