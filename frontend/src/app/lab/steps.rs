//! One head, step by step: a row of linked pictures, one of them enlarged with its tokens at the edges, and the numbers
//! behind the cell in hand.

use leptos::ev::{KeyboardEvent, PointerEvent};
use leptos::html;
use leptos::prelude::*;

use super::forward::{Cell, Focus, Step};
use super::session::{Session, use_session};
use super::{figure, heat, inspect, matrix, visible};
use crate::app::components::after_drawing;
use crate::app::i18n::{I18nContext, Locale, t, t_string, use_i18n};

/// More labels than this at an edge would be unreadable: then some are left out, so that about [`APART`] of them are shown.
const LABELS: usize = 40;
/// Labels that stand apart even where the matrix is small.
const APART: usize = 22;
/// Width of the strip's faded edges. As in `lab.css`.
const FADE: f64 = 32.0;

#[component]
pub fn Steps() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let title = move || {
        let at = session.at.get();
        t_string!(i18n, lab.head_title, layer = at.layer + 1, head = at.head + 1)
    };
    let kv = move || {
        let forward = session.forward()?;
        (forward.facts.kv_heads < forward.facts.n_heads).then(|| {
            let kv = forward.kv_head(session.at.get().head) + 1;
            t_string!(i18n, lab.head_kv, kv = kv)
        })
    };
    view! {
        <section class="lab-steps card" data-picture="whole" aria-labelledby="steps-title">
            <div class="section-head">
                <h2 id="steps-title">{title}</h2>
                {move || kv().map(|kv| view! { <span class="badge ember">{kv}</span> })}
            </div>
            <p class="hint">{t!(i18n, lab.steps_help)}</p>
            <Strip/>
            <div class="stage-and-numbers">
                <Stage/>
                <inspect::Inspector/>
            </div>
        </section>
    }
}

/// A step's short name.
pub fn name(i18n: I18nContext<Locale>, step: Step) -> &'static str {
    match step {
        Step::Queries => t_string!(i18n, lab.step_q),
        Step::Keys => t_string!(i18n, lab.step_k),
        Step::Scores => t_string!(i18n, lab.step_scores),
        Step::Mask => t_string!(i18n, lab.step_mask),
        Step::Weights => t_string!(i18n, lab.step_weights),
        Step::Values => t_string!(i18n, lab.step_v),
        Step::Output => t_string!(i18n, lab.step_output),
    }
}

fn long_name(i18n: I18nContext<Locale>, step: Step, size: u32) -> String {
    match step {
        Step::Queries => t_string!(i18n, lab.long_q).to_owned(),
        Step::Keys => t_string!(i18n, lab.long_k).to_owned(),
        Step::Scores => t_string!(i18n, lab.long_scores, size = size),
        Step::Mask => t_string!(i18n, lab.long_mask).to_owned(),
        Step::Weights => t_string!(i18n, lab.long_weights).to_owned(),
        Step::Values => t_string!(i18n, lab.long_v).to_owned(),
        Step::Output => t_string!(i18n, lab.long_output).to_owned(),
    }
}

/// The sign between a step and the next one.
fn sign(step: Step) -> &'static str {
    match step {
        Step::Queries => "·",
        Step::Keys => "÷√d",
        Step::Scores | Step::Mask => "→",
        Step::Weights => "×",
        Step::Values => "=",
        Step::Output => "",
    }
}

/// The row of pictures. Where it is too narrow for them it scrolls: its edges fade where there is more, and the chosen step is in sight.
#[component]
fn Strip() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let strip = NodeRef::<html::Div>::new();
    let more = keep_in_sight(session, strip);
    let on_key = move |event: KeyboardEvent| {
        let step = session.step.get_untracked();
        let place = Step::ALL.iter().position(|&s| s == step).unwrap_or_default();
        let to = match event.key().as_str() {
            "ArrowLeft" => place.checked_sub(1),
            "ArrowRight" => Some(place + 1),
            _ => return,
        };
        event.prevent_default();
        if let Some(&step) = to.and_then(|to| Step::ALL.get(to)) {
            session.step.set(step);
            if let Some(tab) = document().get_element_by_id(&format!("step-{}", step.word())) {
                use wasm_bindgen::JsCast;
                if let Ok(tab) = tab.dyn_into::<web_sys::HtmlElement>() {
                    // A tab that is on the page takes the focus.
                    let _ = tab.focus();
                }
            }
        }
    };
    let tab = move |step: Step| {
        let chosen = move || session.step.get() == step;
        view! {
            <button
                id=format!("step-{}", step.word())
                class="strip-step"
                role="tab"
                aria-selected=move || chosen().to_string()
                aria-controls="stage"
                tabindex=move || if chosen() { "0" } else { "-1" }
                on:click=move |_| session.step.set(step)
            >
                <Picture step=step/>
                <span class="strip-name">{move || name(i18n, step)}</span>
            </button>
            <span class="strip-sign" aria-hidden="true">{sign(step)}</span>
        }
    };
    view! {
        <div
            node_ref=strip
            class="strip"
            class:more-left=move || more.get().0
            class:more-right=move || more.get().1
            role="tablist"
            aria-label=move || t_string!(i18n, lab.steps_title)
            on:keydown=on_key
            on:scroll=move |_| measure(strip, more)
        >
            {Step::ALL.into_iter().map(tab).collect_view()}
        </div>
    }
}

/// Keeps the chosen step in sight. Gives whether the strip has more on its left and on its right.
fn keep_in_sight(session: Session, strip: NodeRef<html::Div>) -> RwSignal<(bool, bool)> {
    let more = RwSignal::new((false, false));
    Effect::new(move |_| {
        strip.track();
        let step = session.step.get();
        // When the strip has its size.
        after_drawing(move || {
            if let Some(shown) = strip.try_get_untracked().flatten() {
                reveal(&shown, step);
                measure(strip, more);
            }
        });
    });
    let resize = window_event_listener(leptos::ev::resize, move |_| measure(strip, more));
    on_cleanup(move || resize.remove());
    more
}

fn measure(strip: NodeRef<html::Div>, more: RwSignal<(bool, bool)>) {
    if let Some(strip) = strip.get_untracked() {
        let (left, hidden) = (strip.scroll_left(), strip.scroll_width() - strip.client_width());
        let now = (left > 1, left + 1 < hidden);
        if more.get_untracked() != now {
            more.set(now);
        }
    }
}

/// Scrolls the strip sideways until a step's tab is in sight. The browser's own way would scroll the page to the strip as well.
fn reveal(strip: &web_sys::HtmlDivElement, step: Step) {
    let Some(tab) = document().get_element_by_id(&format!("step-{}", step.word())) else {
        return;
    };
    let (around, tab) = (strip.get_bounding_client_rect(), tab.get_bounding_client_rect());
    let before = (tab.left() - around.left() - FADE).min(0.0);
    let behind = (tab.right() - around.right() + FADE).max(0.0);
    strip.set_scroll_left(strip.scroll_left() + (before + behind) as i32);
}

/// A step's heatmap with the marks of the cell in hand.
#[component]
fn Picture(
    #[prop(into)] step: Signal<Step>,
    /// How the enlarged one is looked at, in which a click chooses the cell; none for a small one.
    #[prop(optional)]
    view: Option<matrix::View>,
) -> impl IntoView {
    let session = use_session();
    let canvas = NodeRef::<html::Canvas>::new();
    Effect::new(move |_| {
        if let (Some(canvas), Some(forward)) = (canvas.get(), session.forward()) {
            let at = session.at.get();
            heat::paint(&canvas, &forward, at, step.get(), session.host.palette.get());
        }
    });
    let sides = Memo::new(move |_| {
        session.forward().map_or((1, 1), |forward| {
            let picture = forward.picture(session.at.get(), step.get());
            (picture.rows.max(1), picture.cols.max(1))
        })
    });
    let locate = move |event: &web_sys::MouseEvent| {
        let rect = canvas.get_untracked()?.get_bounding_client_rect();
        let (rows, cols) = sides.get_untracked();
        let place = |at: f64, start: f64, length: f64, count: usize| {
            (((at - start) / length * count as f64).max(0.0) as usize).min(count - 1)
        };
        (rect.width() > 0.0 && rect.height() > 0.0).then(|| Cell {
            row: place(f64::from(event.client_y()), rect.top(), rect.height(), rows),
            col: place(f64::from(event.client_x()), rect.left(), rect.width(), cols),
        })
    };
    let point = move |event: PointerEvent| {
        let pulls = view.zip(canvas.get_untracked()).is_some_and(|(view, canvas)| view.pull(&canvas, &event));
        let hovered = locate(&event).filter(|_| !pulls).map(|cell| (step.get_untracked(), cell));
        if session.hovered.get_untracked() != hovered {
            session.hovered.set(hovered);
        }
    };
    let press = move |event: PointerEvent| {
        if let Some(view) = view {
            view.grab(&event);
        }
        point(event);
    };
    let pin = move |event: leptos::ev::MouseEvent| {
        if view.is_some_and(|view| !view.let_go())
            && let Some(cell) = locate(&event)
        {
            session.pin(cell);
        }
    };
    let marks = move || {
        let (from, cell) = session.active();
        Focus::of(from, cell).within(step.get())
    };
    let share = |index: usize, count: usize| format!("{:.4}%", index as f64 / count as f64 * 100.0);
    let row = Memo::new(move |_| marks().0);
    let col = Memo::new(move |_| marks().1);
    view! {
        <span
            class="picture"
            on:pointermove=point
            on:pointerdown=press
            on:pointerleave=move |_| session.hovered.set(None)
            on:click=pin
        >
            <canvas node_ref=canvas aria-hidden="true"></canvas>
            {view.map(|view| view! { <matrix::Numbers step view/> })}
            {move || {
                let rows = sides.get().0;
                row.get().filter(|&row| row < rows)
                    .map(|row| {
                        view! {
                            <i class="mark-row" style:top=share(row, rows) style:height=share(1, rows)></i>
                        }
                    })
            }}
            {move || {
                let cols = sides.get().1;
                col.get().filter(|&col| col < cols)
                    .map(|col| {
                        view! {
                            <i class="mark-col" style:left=share(col, cols) style:width=share(1, cols)></i>
                        }
                    })
            }}
        </span>
    }
}

#[component]
fn Stage() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let view = matrix::View::new(session.as_table);
    let step = Signal::derive(move || session.step.get());
    let caption = move || {
        let size = session.forward().map_or(0, |forward| forward.facts.head_dim);
        long_name(i18n, step.get(), size)
    };
    let legend = move || {
        let Some(forward) = session.forward() else {
            return String::new();
        };
        if step.get() == Step::Weights {
            return t_string!(i18n, lab.scale_root).to_owned();
        }
        let limit = f64::from(heat::limit(step.get(), forward.picture(session.at.get(), step.get())));
        t_string!(i18n, lab.scale_to, low = figure(-limit), high = figure(limit))
    };
    let label = move || {
        let (_, cell) = session.active();
        t_string!(i18n, lab.stage_label, step = name(i18n, step.get()), row = cell.row + 1, col = cell.col + 1)
    };
    let axes = move || {
        let rows = match step.get() {
            Step::Keys => t_string!(i18n, lab.axis_key),
            Step::Values => t_string!(i18n, lab.axis_token),
            _ => t_string!(i18n, lab.axis_query),
        };
        let cols = if step.get().is_square() { t_string!(i18n, lab.axis_key) } else { t_string!(i18n, lab.axis_dim) };
        format!("{rows} ↓ · {cols} →")
    };
    view! {
        <figure class="stage-figure">
            <figcaption>
                <strong>{caption}</strong>
                <span class="hint">{axes}</span>
                <matrix::Tools view/>
            </figcaption>
            <div
                class="stage-view"
                class:zoomed=move || { view.zoom.get() > 1 }
                hidden=move || view.as_table.get()
                on:scroll=move |_| view.moved.update(|times| *times += 1)
                on:wheel=move |event| view.turn(session, &event)
            >
                <div
                    id="stage"
                    class="stage"
                    class:square=move || step.get().is_square()
                    style=move || format!("--zoom: {}", view.zoom.get())
                    role="tabpanel"
                    tabindex="0"
                    aria-label=label
                    aria-describedby="numbers"
                    aria-keyshortcuts="Plus -"
                    on:keydown=move |event| move_cell(session, view, &event)
                >
                    <Labels along_rows=true zoom=view.zoom/>
                    <Picture step=step view=view/>
                    <Labels along_rows=false zoom=view.zoom/>
                </div>
            </div>
            {move || view.as_table.get().then(|| view! { <matrix::Table step caption=Signal::derive(caption)/> })}
            <p class="hint stage-legend">
                <i class="ramp" class:root=move || step.get() == Step::Weights></i>
                {legend}
            </p>
        </figure>
    }
}

fn move_cell(session: Session, view: matrix::View, event: &KeyboardEvent) {
    // With Ctrl and its like these keys are the browser's.
    let plain = !(event.ctrl_key() || event.meta_key() || event.alt_key());
    if plain && let key @ ("+" | "=" | "-") = event.key().as_str() {
        event.prevent_default();
        view.step(session, key != "-");
        return;
    }
    let Some(forward) = session.forward() else {
        return;
    };
    let step = session.step.get_untracked();
    let picture = forward.picture(session.at.get_untracked(), step);
    session.hovered.set(None);
    let (_, Cell { row, col }) = session.active();
    let cell = match event.key().as_str() {
        "ArrowUp" => Cell { row: row.saturating_sub(1), col },
        "ArrowDown" => Cell { row: row + 1, col },
        "ArrowLeft" => Cell { row, col: col.saturating_sub(1) },
        "ArrowRight" => Cell { row, col: col + 1 },
        "Home" => Cell { row, col: 0 },
        "End" => Cell { row, col: usize::MAX },
        _ => return,
    };
    event.prevent_default();
    let cell =
        Cell { row: cell.row.min(picture.rows.saturating_sub(1)), col: cell.col.min(picture.cols.saturating_sub(1)) };
    session.pin(cell);
    if view.zoom.get_untracked() > 1 {
        matrix::follow(cell, [picture.rows, picture.cols]);
    }
}

/// Of so many labels along an edge every how many-th is shown.
fn stride(count: usize, zoom: usize) -> usize {
    if count <= LABELS * zoom { 1 } else { count.div_ceil(APART * zoom) }
}

/// Whether a label is shown where every so many-th is: not beside the one in hand, which is shown anyway.
fn is_named(index: usize, lit: Option<usize>, every: usize) -> bool {
    index.is_multiple_of(every) && lit.is_none_or(|lit| lit.abs_diff(index) >= every)
}

/// The tokens (or dimension numbers) along an edge of the enlarged picture.
#[component]
fn Labels(along_rows: bool, zoom: RwSignal<u32>) -> impl IntoView {
    let session = use_session();
    let names = Memo::new(move |_| {
        let Some(forward) = session.forward() else {
            return Vec::new();
        };
        if along_rows || session.step.get().is_square() {
            return forward.tokens().iter().map(|token| visible(&token.text)).collect();
        }
        (0..forward.facts.head_dim).map(|dim| dim.to_string()).collect()
    });
    let mine = Memo::new(move |_| {
        let (from, cell) = session.active();
        let (row, col) = Focus::of(from, cell).within(session.step.get());
        if along_rows { row } else { col }
    });
    let every = Memo::new(move |_| {
        let zoom = zoom.get();
        let dims = !along_rows && !session.step.get().is_square();
        // Dimensions have no names, only numbers.
        if dims && zoom == 1 { None } else { Some(stride(names.with(Vec::len), zoom as usize)) }
    });
    let labels = move || {
        let names = names.get();
        names
            .into_iter()
            .enumerate()
            .map(|(index, name)| {
                let lit = move || mine.get() == Some(index);
                let sparse = move || !every.get().is_some_and(|every| is_named(index, mine.get(), every));
                view! {
                    <span class:lit=lit class:sparse=sparse>
                        <span>{name}</span>
                    </span>
                }
            })
            .collect_view()
    };
    view! {
        <div class=if along_rows { "labels rows" } else { "labels cols" } aria-hidden="true">
            {labels}
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_have_no_room_are_left_out_evenly() {
        assert_eq!([stride(40, 1), stride(46, 1), stride(512, 1), stride(46, 2), stride(512, 8)], [1, 3, 24, 1, 3]);
        let shown: Vec<usize> = (0..12).filter(|&index| is_named(index, Some(4), 3)).collect();
        assert_eq!(shown, [0, 9], "those beside the one in hand are left out too");
        assert!((0..12).all(|index| is_named(index, Some(4), 1) || index == 4));
    }
}
