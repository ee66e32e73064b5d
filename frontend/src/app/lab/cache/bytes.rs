//! Bytes: what this run's cache holds, and what any other would, by layer and in all, beside the model's weights. Pure arithmetic
//! that follows the dials.

use hearth_shared::lab::cache::WhatIf;
use hearth_shared::plan::ModelShape;
use leptos::prelude::*;

use super::address::{Imagined, MOST_BATCH, MOST_CONTEXT, Sharing};
use super::dial::Dial;
use super::document::FORMATS;
use super::session::use_session;
use super::word;
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

const CONTEXTS: [u32; 18] =
    [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, MOST_CONTEXT];
const WINDOWS: [u32; 12] = [0, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, MOST_CONTEXT];
const BATCHES: [u32; 13] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, MOST_BATCH];

#[component]
pub fn Bytes() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <section class="card cache-bytes" aria-labelledby="bytes-title">
            <div class="section-head">
                <h2 id="bytes-title">{t!(i18n, cache.bytes_title)}</h2>
            </div>
            <p class="cache-help">{t!(i18n, cache.bytes_help)}</p>
            <Here/>
            <div class="cache-what-if">
                <Dials/>
                <Bars/>
            </div>
        </section>
    }
}

/// What the run itself holds.
#[component]
fn Here() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let line = move || {
        session.run.with(|run| {
            let run = run.as_ref().filter(|run| run.held.positions > 0)?;
            let used = run.begun.shape.kv_cache(u64::from(run.held.positions), 4.0) as u64;
            let facts = &run.begun.facts;
            Some(t_string!(
                i18n,
                cache.bytes_here,
                layers = facts.n_layers,
                heads = facts.kv_heads,
                size = facts.head_dim,
                positions = run.held.positions,
                bytes = format::bytes(used),
                buffer = format::bytes(run.held.bytes)
            ))
        })
    };
    view! { <p class="cache-here num">{line}</p> }
}

#[component]
fn Dials() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let imagined = session.imagined;
    let get = move |read: fn(&Imagined) -> u32| Signal::derive(move || imagined.with(read));
    let set = move |write: fn(&mut Imagined, u32)| {
        Callback::new(move |value: u32| imagined.update(|imagined| write(imagined, value)))
    };
    view! {
        <div class="cache-dials" role="group" aria-label=move || t_string!(i18n, cache.what_if)>
            <h3>{t!(i18n, cache.what_if)}</h3>
            <Dial
                label=word!(i18n, context) hint=word!(i18n, context_hint) name="context" stops=&CONTEXTS
                value=get(|imagined| imagined.context) set=set(|imagined, value| imagined.context = value)
            />
            <Heads/>
            <Dial
                label=word!(i18n, ring) hint=word!(i18n, ring_hint) name="ring" stops=&WINDOWS
                value=get(|imagined| imagined.window) set=set(|imagined, value| imagined.window = value)
            />
            <Dial
                label=word!(i18n, batch) hint=word!(i18n, batch_hint) name="batch" stops=&BATCHES
                value=get(|imagined| imagined.batch) set=set(|imagined, value| imagined.batch = value)
            />
        </div>
    }
}

/// How many heads have keys and values of their own.
#[component]
fn Heads() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let imagined = session.imagined;
    let name = move |sharing| match sharing {
        Sharing::All => t_string!(i18n, cache.heads_mha),
        Sharing::Model => t_string!(i18n, cache.heads_own),
        Sharing::One => t_string!(i18n, cache.heads_mqa),
    };
    let count = move |sharing: Sharing| session.run.with(|run| run.as_ref().map(|run| sharing.heads(&run.begun.facts)));
    view! {
        <div class="field">
            <span class="field-label" id="cache-heads">{t!(i18n, cache.heads)}</span>
            <div class="segments" role="group" aria-labelledby="cache-heads">
                {Sharing::ALL
                    .map(|sharing| {
                        view! {
                            <button
                                data-heads=sharing.word()
                                aria-pressed=move || imagined.with(|now| now.sharing == sharing).to_string()
                                on:click=move |_| imagined.update(|now| now.sharing = sharing)
                            >
                                {move || name(sharing)}
                                " "
                                <span class="num">{move || count(sharing)}</span>
                            </button>
                        }
                    })
                    .collect_view()}
            </div>
            <span class="hint">{t!(i18n, cache.heads_hint)}</span>
        </div>
    }
}

/// The arithmetic's question and the model it is about.
#[derive(Clone, Debug, PartialEq)]
struct Question {
    what_if: WhatIf,
    shape: ModelShape,
}

/// Cache and weights in each number format, all on one scale.
#[component]
fn Bars() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let question = Memo::new(move |_| {
        let imagined = session.imagined.get();
        session.run.with(|run| {
            let begun = &run.as_ref()?.begun;
            Some(Question { what_if: imagined.of(&begun.facts), shape: begun.shape.clone() })
        })
    });
    let formula = move || {
        let Question { what_if, shape } = question.get()?;
        Some(t_string!(
            i18n,
            cache.formula,
            layers = shape.n_layers,
            heads = what_if.kv_heads,
            size = what_if.head_dim,
            positions = format::group(what_if.kept()),
            batch = format::group(what_if.batch)
        ))
    };
    let outgrows = move || {
        let Question { what_if, shape } = question.get()?;
        Some(match what_if.outgrows(&shape) {
            Some(context) => t_string!(i18n, cache.outgrows, context = format::group(context)),
            None => t_string!(i18n, cache.never_outgrows).to_owned(),
        })
    };
    let over = move || {
        question.with(|question| {
            question.as_ref().is_some_and(|Question { what_if, shape }| what_if.bytes(shape, 1) > shape.parameters)
        })
    };
    view! {
        <div class="cache-bars">
            <p class="cache-formula num">{formula}</p>
            {FORMATS.map(|(format, number)| view! { <Format question format number/> }).collect_view()}
            <p class="cache-outgrows" class:over=over aria-live="polite" id="cache-outgrows">{outgrows}</p>
            <p class="hint">{t!(i18n, cache.bars_hint)}</p>
        </div>
    }
}

/// One number format: the cache layer by layer, then the weights.
#[component]
fn Format(question: Memo<Option<Question>>, format: &'static str, number: u64) -> impl IntoView {
    let i18n = use_i18n();
    let sizes = Memo::new(move |_| {
        question.with(|question| {
            let Question { what_if, shape } = question.as_ref()?;
            // The longest of all bars is of the widest numbers.
            let widest = what_if.bytes(shape, FORMATS[0].1).max(shape.parameters * FORMATS[0].1).max(1);
            Some(Sizes {
                cache: what_if.bytes(shape, number),
                layer: what_if.layer_bytes(shape, number),
                layers: shape.n_layers,
                weights: shape.parameters * number,
                widest,
            })
        })
    });
    let sizes = move || sizes.get().unwrap_or_default();
    let layers = Memo::new(move |_| sizes().layers);
    let width = move |part: u64| format!("{:.3}%", part as f64 / sizes().widest as f64 * 100.0);
    let title = move |layer: u64| {
        move || t_string!(i18n, cache.layer_bytes, layer = layer + 1, bytes = format::bytes(sizes().layer))
    };
    let each = move || t_string!(i18n, cache.each_layer, bytes = format::bytes(sizes().layer));
    view! {
        <div class="cache-format" data-format=format data-cache=move || sizes().cache data-layer=move || sizes().layer>
            <strong class="cache-format-name">{format}</strong>
            <span class="hint">{t!(i18n, cache.bar_cache)}</span>
            <div class="cache-bar" aria-hidden="true">
                <div style:width=move || width(sizes().cache)>
                    {move || (0..layers.get()).map(|layer| view! { <i title=title(layer)></i> }).collect_view()}
                </div>
            </div>
            <span class="cache-size num">{move || format::bytes(sizes().cache)}</span>
            <span class="hint">{t!(i18n, cache.bar_weights)}</span>
            <div class="cache-bar weights" aria-hidden="true">
                <div style:width=move || width(sizes().weights)></div>
            </div>
            <span class="cache-size num">{move || format::bytes(sizes().weights)}</span>
            <span class="hint num cache-each">{each}</span>
        </div>
    }
}

/// Bytes of one number format.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sizes {
    cache: u64,
    layer: u64,
    layers: u64,
    weights: u64,
    /// Of the longest bar.
    widest: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { cache: 0, layer: 0, layers: 0, weights: 0, widest: 1 }
    }
}
