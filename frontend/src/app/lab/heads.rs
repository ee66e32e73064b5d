//! All heads of all layers as small pictures of their weights; one is chosen. Query heads that share a key/value head stand
//! under one bracket.

use hearth_shared::lab::ModelFacts;
use leptos::ev::KeyboardEvent;
use leptos::html;
use leptos::prelude::*;
use web_sys::{ScrollIntoViewOptions, ScrollLogicalPosition};

use super::forward::{Head, Step};
use super::heat;
use super::session::use_session;
use crate::app::i18n::{t, t_string, use_i18n};

/// What a grid of heads is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Shape {
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
}

impl Shape {
    pub fn of(facts: &ModelFacts) -> Self {
        Self { layers: facts.n_layers as usize, heads: facts.n_heads as usize, kv_heads: facts.kv_heads as usize }
    }

    /// Query heads that share a key/value head.
    pub fn group(self) -> usize {
        (self.heads / self.kv_heads.max(1)).max(1)
    }

    /// The head that a key leads to from another one; none at an edge, and for other keys.
    pub fn step(self, at: Head, key: &str) -> Option<Head> {
        let Head { layer, head } = at;
        Some(match key {
            "ArrowLeft" => Head { head: head.checked_sub(1)?, layer },
            "ArrowRight" if head + 1 < self.heads => Head { head: head + 1, layer },
            "ArrowUp" => Head { layer: layer.checked_sub(1)?, head },
            "ArrowDown" if layer + 1 < self.layers => Head { layer: layer + 1, head },
            "Home" => Head { layer, head: 0 },
            "End" => Head { layer, head: self.heads.checked_sub(1)? },
            _ => return None,
        })
    }
}

#[component]
pub fn Heads() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let shape = Memo::new(move |_| session.forward().map_or_else(Shape::default, |forward| Shape::of(&forward.facts)));
    let grouped = move || shape.with(|shape| shape.group() > 1);
    let on_key = move |event: KeyboardEvent| {
        let keys = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];
        if !keys.contains(&event.key().as_str()) {
            return;
        }
        event.prevent_default();
        if let Some(at) = shape.get_untracked().step(session.at.get_untracked(), &event.key()) {
            session.at.set(at);
            reveal(at);
        }
    };
    view! {
        <section class="lab-heads card" aria-labelledby="heads-title">
            <h2 id="heads-title">{t!(i18n, lab.heads_title)}</h2>
            <p class="hint">{t!(i18n, lab.heads_help)}</p>
            <div class="heads-scroll">
                <div
                    class="heads"
                    role="listbox"
                    tabindex="0"
                    aria-labelledby="heads-title"
                    aria-activedescendant=move || id(session.at.get())
                    style:--heads=move || shape.get().heads.to_string()
                    on:keydown=on_key
                >
                    {move || grid(shape.get())}
                </div>
            </div>
            <p class="hint">
                {move || {
                    let Shape { heads, kv_heads, .. } = shape.get();
                    if grouped() {
                        t_string!(i18n, lab.heads_shared, heads = heads, groups = kv_heads)
                    } else {
                        t_string!(i18n, lab.heads_own).to_owned()
                    }
                }}
            </p>
        </section>
    }
}

fn grid(shape: Shape) -> impl IntoView {
    let i18n = use_i18n();
    let brackets = (shape.group() > 1).then(|| {
        let kv = (0..shape.kv_heads).map(|kv| {
            view! {
                <span class="heads-kv" style:grid-column=format!("span {}", shape.group())>
                    {t_string!(i18n, lab.heads_kv, index = kv + 1)}
                </span>
            }
        });
        view! {
            <span aria-hidden="true"></span>
            {kv.collect_view()}
        }
    });
    let rows = (0..shape.layers).map(|layer| {
        let thumbs = (0..shape.heads).map(|head| view! { <Thumb at=Head { layer, head } shape=shape/> });
        view! {
            <span class="heads-layer num" aria-hidden="true">{layer + 1}</span>
            {thumbs.collect_view()}
        }
    });
    view! {
        {brackets}
        {rows.collect_view()}
    }
}

#[component]
fn Thumb(at: Head, shape: Shape) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let canvas = NodeRef::<html::Canvas>::new();
    Effect::new(move |_| {
        if let (Some(canvas), Some(forward)) = (canvas.get(), session.forward()) {
            heat::paint(&canvas, &forward, at, Step::Weights, session.host.palette.get());
        }
    });
    let label = move || {
        t_string!(i18n, lab.head_label, layer = at.layer + 1, head = at.head + 1, kv = at.head / shape.group() + 1)
    };
    let sibling = move || {
        let now = session.at.get();
        shape.group() > 1 && now.layer == at.layer && now.head / shape.group() == at.head / shape.group()
    };
    let group_end = shape.group() > 1 && (at.head + 1).is_multiple_of(shape.group());
    view! {
        <span
            id=id(at)
            class="thumb"
            class:chosen=move || session.at.get() == at
            class:sibling=sibling
            class:group-end=group_end
            role="option"
            aria-selected=move || (session.at.get() == at).to_string()
            aria-label=label
            title=label
            on:click=move |_| session.at.set(at)
        >
            <canvas node_ref=canvas aria-hidden="true"></canvas>
        </span>
    }
}

fn id(at: Head) -> String {
    format!("head-{}-{}", at.layer, at.head)
}

fn reveal(at: Head) {
    if let Some(thumb) = document().get_element_by_id(&id(at)) {
        let options = ScrollIntoViewOptions::new();
        options.set_block(ScrollLogicalPosition::Nearest);
        options.set_inline(ScrollLogicalPosition::Nearest);
        thumb.scroll_into_view_with_scroll_into_view_options(&options);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_stay_inside_the_grid() {
        let shape = Shape { layers: 2, heads: 3, kv_heads: 1 };
        let corner = Head::default();
        assert_eq!(shape.step(corner, "ArrowLeft"), None);
        assert_eq!(shape.step(corner, "ArrowUp"), None);
        let last = Head { layer: 1, head: 2 };
        assert_eq!(shape.step(last, "ArrowRight"), None);
        assert_eq!(shape.step(last, "ArrowDown"), None);
        assert_eq!(shape.step(corner, "End"), Some(Head { layer: 0, head: 2 }));
        assert_eq!(shape.step(last, "ArrowUp"), Some(Head { layer: 0, head: 2 }));
    }
}
