//! One block from near: which query heads share a key/value head, what it does to the token in hand, and every step with its shapes,
//! parameters and floating point operations.

use hearth_shared::lab::inside::{Block, Place, Step};
use leptos::prelude::*;

use super::stack::shape;
use super::state::use_inside;
use super::{amount, operations};
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::lab::forward::Head;
use crate::app::lab::heads::Shape;

/// Units of the drawing of a block's heads: from one query head to the next, and its height.
const STEP: f64 = 34.0;
const HEIGHT: f64 = 116.0;

#[component]
pub fn Opened(index: usize, block: Block, before: Vec<f32>) -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let Block { steps, attention, mlp, after } = block;
    let story = move || {
        let token = inside.token();
        let of = |sizes: &[f32]| sizes.get(token).map(|size| amount(f64::from(*size)));
        let (was, attends, feeds, is) = (of(&before)?, of(&attention)?, of(&mlp)?, of(&after)?);
        Some(t_string!(i18n, inside.block_story, before = was, attention = attends, mlp = feeds, after = is))
    };
    view! {
        <p class="inside-help num">{story}</p>
        <Sharing layer=index/>
        <Steps steps/>
    }
}

/// Query heads above, key/value heads below, and who reads whom. The chosen head is lit.
#[component]
fn Sharing(layer: usize) -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let sizes = Memo::new(move |_| inside.session.forward().map(|forward| Shape::of(&forward.facts)));
    let words = move || {
        let Shape { heads, kv_heads, .. } = sizes.get().unwrap_or_default();
        if heads == kv_heads {
            t_string!(i18n, inside.sharing_none, heads = heads)
        } else {
            t_string!(i18n, inside.sharing, heads = heads, kv = kv_heads, group = heads / kv_heads.max(1))
        }
    };
    view! {
        <figure class="stack-sharing">
            <figcaption class="hint">{words}</figcaption>
            <div class="inside-scroll" tabindex="0" role="region" aria-label=words>
                {move || sizes.get().map(|sizes| drawing(sizes, layer))}
            </div>
        </figure>
    }
}

fn drawing(sizes: Shape, layer: usize) -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let Shape { heads, kv_heads, .. } = sizes;
    let group = sizes.group();
    let width = STEP * heads as f64;
    let query_x = |head: usize| STEP * (head as f64 + 0.5);
    let kv_x = |kv: usize| STEP * group as f64 * (kv as f64 + 0.5);
    let lit = move |head: usize| inside.session.at.get() == Head { layer, head };
    let lines = (0..heads)
        .map(|head| {
            let path = format!("M{:.1} 34C{0:.1} 62 {1:.1} 54 {1:.1} 80", query_x(head), kv_x(head / group));
            view! { <path class="sharing-line" class:lit=move || lit(head) d=path></path> }
        })
        .collect_view();
    let queries = (0..heads)
        .map(|head| {
            let title = move || t_string!(i18n, lab.head_title, layer = layer + 1, head = head + 1);
            view! {
                <g
                    class="sharing-query"
                    class:lit=move || lit(head)
                    on:click=move |_| inside.session.at.set(Head { layer, head })
                >
                    <title>{title}</title>
                    <circle cx=query_x(head) cy="22" r="12"></circle>
                    <text x=query_x(head) y="26" text-anchor="middle">{head + 1}</text>
                </g>
            }
        })
        .collect_view();
    let keys = (0..kv_heads)
        .map(|kv| {
            let wide = STEP * group as f64 - 8.0;
            view! {
                <g class="sharing-kv">
                    <rect x=kv_x(kv) - wide / 2.0 y="80" width=wide height="28" rx="7"></rect>
                    <text x=kv_x(kv) y="98" text-anchor="middle">{format!("K·V {}", kv + 1)}</text>
                </g>
            }
        })
        .collect_view();
    view! {
        <svg
            class="sharing"
            viewBox=format!("0 0 {width} {HEIGHT}")
            width=width
            height=HEIGHT
            role="img"
            aria-label=move || t_string!(i18n, inside.sharing_label, heads = heads, kv = kv_heads)
        >
            {lines}
            {queries}
            {keys}
        </svg>
    }
}

#[component]
fn Steps(steps: Vec<Step>) -> impl IntoView {
    let i18n = use_i18n();
    let rows = steps
        .into_iter()
        .map(|step| {
            let place = move || match step.place {
                Place::Norm => t_string!(i18n, inside.place_norm),
                Place::Attention => t_string!(i18n, inside.place_attention),
                Place::Mlp => t_string!(i18n, inside.place_mlp),
                Place::Embedding => t_string!(i18n, inside.embedding),
                Place::Head => t_string!(i18n, inside.head),
            };
            let kind = match step.place {
                Place::Attention => "attention",
                Place::Mlp => "mlp",
                _ => "norm",
            };
            let weight = if step.weight.is_empty() { "–".to_owned() } else { shape(&step.weight) };
            view! {
                <tr data-step=step.name.clone()>
                    <th scope="row">
                        <i class="stack-kind" data-row=kind aria-hidden="true"></i>
                        <code>{step.name.clone()}</code>
                        " "
                        <span class="hint">{place}</span>
                    </th>
                    <td>{weight}</td>
                    <td>{shape(&step.output)}</td>
                    <td>{format::count(step.parameters)}</td>
                    <td>{operations(step.flops)}</td>
                </tr>
            }
        })
        .collect_view();
    view! {
        <div class="inside-scroll" tabindex="0" role="region" aria-label=move || t_string!(i18n, inside.steps_title)>
            <table class="inside-table num">
                <thead>
                    <tr>
                        <th scope="col">{t!(i18n, inside.step)}</th>
                        <th scope="col">{t!(i18n, inside.weights)}</th>
                        <th scope="col">{t!(i18n, inside.output)}</th>
                        <th scope="col">{t!(i18n, inside.parameters)}</th>
                        <th scope="col">{t!(i18n, inside.flops)}</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
        <p class="hint">{t!(i18n, inside.flops_hint)}</p>
    }
}
