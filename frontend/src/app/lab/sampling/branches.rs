//! What would have followed, as a tree: edges are as wide as what goes through them is likely, and a node takes everything up to it into
//! the text.

use hearth_shared::lab::sampling::{BRANCHES, DEPTH, Node, Tree};
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement};

use super::address::FLOORS;
use super::job::{HowFar, Job};
use super::layout::{Drawing, short};
use super::session::use_session;
use super::word;
use crate::app::components::after_drawing;
use crate::app::components::field::Slider;
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::lab::{percent, visible};

#[component]
pub fn Branches() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let stale = move || session.growing.with(|job| *job != Job::Done);
    // A node was chosen by a key: the tree that comes then has the focus, or the reader would begin at the page's top again.
    let by_key = StoredValue::new(false);
    let empty = move || session.tree.with(|tree| tree.as_ref().is_some_and(|tree| tree.nodes.is_empty()));
    let took = move || {
        session.tree.with(|tree| {
            let tree = tree.as_ref()?;
            let (count, ms) = (tree.forwarded, session.host.measured(tree.ms)?);
            Some(t_string!(i18n, sampling.tree_took, nodes = tree.nodes.len(), count = count, ms = ms))
        })
    };
    view! {
        <section class="card sampling-tree" aria-labelledby="tree-title">
            <div class="section-head">
                <h2 id="tree-title">{t!(i18n, sampling.tree_title)}</h2>
                <HowFar job=session.growing label=word!(i18n, growing) again=move |()| session.retry()/>
            </div>
            <p class="sampling-help">{t!(i18n, sampling.tree_help)}</p>
            <div class="sampling-dials">
                <Slider
                    label=word!(i18n, branches) hint=word!(i18n, branches_hint) value=session.branches
                    min=f64::from(BRANCHES.0) max=f64::from(BRANCHES.1) step=1.0 digits=0
                />
                <Slider
                    label=word!(i18n, depth) hint=word!(i18n, depth_hint) value=session.depth
                    min=f64::from(DEPTH.0) max=f64::from(DEPTH.1) step=1.0 digits=0
                />
                <Slider
                    label=word!(i18n, floor) hint=word!(i18n, floor_hint) value=session.floor
                    min=FLOORS.0 max=FLOORS.1 step=0.1 digits=1
                />
            </div>
            <Show when=empty>
                <p class="hint" role="status">{t!(i18n, sampling.tree_empty)}</p>
            </Show>
            <div class="tree-scroll" class:stale=stale>
                {move || session.tree.with(|tree| tree.as_ref().map(|tree| view! { <Picture tree=tree.clone() by_key/> }))}
            </div>
            <p class="hint num">{took}</p>
        </section>
    }
}

#[component]
fn Picture(tree: Tree, by_key: StoredValue<bool>) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    if by_key.get_value() {
        by_key.set_value(false);
        after_drawing(focus_first);
    }
    let words: Vec<String> = tree.nodes.iter().map(|node| visible(&session.host.word(node.id))).collect();
    let names: Vec<String> = words.iter().map(|word| short(word)).collect();
    let Drawing { root, dots, edges, size } = Drawing::of(&tree, &names);
    let edges = edges
        .into_iter()
        .map(|(path, width)| view! { <path class="tree-edge" d=path stroke-width=format!("{width:.2}")></path> })
        .collect_view();
    let nodes = (0_u32..)
        .zip(tree.nodes.iter().copied().zip(names).zip(dots))
        .map(|(place, ((node, name), at))| {
            let path = tree.path(place);
            let taken = Taken { path, by_key };
            view! { <Leaf place node name at taken/> }
        })
        .collect_view();
    let (width, height) = size;
    let label = move || t_string!(i18n, sampling.tree_label, nodes = words.len());
    view! {
        <svg
            class="tree"
            width=width
            height=height
            viewBox=format!("0 0 {width:.0} {height:.0}")
            role="group"
            aria-label=label
        >
            {edges}
            <circle class="tree-root" cx=root.0 cy=root.1 r="6"></circle>
            {nodes}
        </svg>
    }
}

/// The likeliest follower, unless the reader has gone somewhere else meanwhile.
fn focus_first() {
    let document = document();
    let is_here =
        |active: &Element| active.tag_name() == "BODY" || active.closest(".tree").is_ok_and(|tree| tree.is_some());
    let lost = document.active_element().is_none_or(|active| is_here(&active));
    let first = document.query_selector(".tree [data-node]").ok().flatten();
    if let (true, Some(first)) = (lost, first) {
        // A part of a drawing can have the focus, too, by the same method.
        let _ = first.unchecked_into::<HtmlElement>().focus();
    }
}

/// What choosing a node takes into the text, and where it is noted that it was chosen by a key.
struct Taken {
    path: Vec<u32>,
    by_key: StoredValue<bool>,
}

/// A node: a button, unless what it says would end inside a character.
#[component]
fn Leaf(place: u32, node: Node, name: String, at: (f64, f64), taken: Taken) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let Taken { path, by_key } = taken;
    let says = session.says(&path);
    let whole = says.is_some();
    let text = says.map_or_else(|| name.clone(), |says| visible(&says));
    let label = {
        let text = text.clone();
        move || {
            let (share, in_all) = (percent(node.share), percent(node.in_all));
            t_string!(i18n, sampling.node_label, text = text.clone(), share = share, in_all = in_all)
        }
    };
    let path = StoredValue::new(path);
    let take = move || path.with_value(|path| session.append(path));
    let (x, y) = at;
    let share = if node.share < 0.01 { "<1 %".to_owned() } else { format!("{:.0} %", node.share * 100.0) };
    view! {
        <g
            class="tree-node"
            class:ends=node.ends
            class:lit=move || session.cursor.get() == Some(node.id)
            role="button"
            tabindex="0"
            aria-disabled=(!whole).then_some("true")
            data-node=place
            data-parent=node.parent
            data-token=node.id
            data-share=node.share
            on:click=move |_| take()
            on:keydown=move |event| {
                if matches!(event.key().as_str(), "Enter" | " ") {
                    event.prevent_default();
                    by_key.set_value(whole);
                    take();
                }
            }
        >
            <title>{label}</title>
            <rect class="tree-touch" x=x - 8.0 y=y - 12.0 width="128" height="24" rx="6"></rect>
            <circle class="tree-dot" cx=x cy=y r="4"></circle>
            <text x=x + 9.0 y=y + 4.0>
                <tspan class="tree-name">{name}</tspan>
                <tspan class="tree-share" dx="6">{share}</tspan>
            </text>
        </g>
    }
}
