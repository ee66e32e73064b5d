//! Ways of looking at the enlarged matrix: nearer, with its numbers in the cells where they have room, or as a table. The numbers are
//! drawn on a canvas of their own, so that no cell is an element; the table is elements, and so has an end.

use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement};

use super::forward::{Cell, Forward, Head, Step};
use super::heat::{Palette, Scale};
use super::session::use_session;
use super::{figure, visible};
use crate::app::components::after_drawing;
use crate::app::components::icons::Icon;
use crate::app::i18n::{t, t_string, use_i18n};

/// How many times larger than its box the matrix can be.
const NEAREST: u32 = 8;
/// CSS pixels of a cell that has room for a number.
const ROOM: [f64; 2] = [36.0, 15.0];
/// Cells of which each gets its number; a matrix of more has none.
const MOST_NUMBERS: usize = 64 * 64;
/// CSS pixels that the tokens at the left edge and at the lower one take. As in `lab.css`.
const LABELS: [f64; 2] = [60.0, 66.0];
/// Rows and columns of the table.
const TABLE_SIDE: usize = 64;

/// How the matrix is looked at.
#[derive(Clone, Copy)]
pub struct View {
    pub zoom: RwSignal<u32>,
    pub as_table: RwSignal<bool>,
}

impl View {
    pub fn new() -> Self {
        Self { zoom: RwSignal::new(1), as_table: RwSignal::new(false) }
    }
}

#[component]
pub fn Tools(view: View) -> impl IntoView {
    let i18n = use_i18n();
    let View { zoom, as_table } = view;
    view! {
        <div class="stage-tools" role="group" aria-label=move || t_string!(i18n, lab.view_title)>
            <Zoom
                id="stage-out"
                icon="minus"
                label=Signal::derive(move || t_string!(i18n, lab.zoom_out))
                disabled=Signal::derive(move || as_table.get() || zoom.get() == 1)
                press=Callback::new(move |()| zoom.update(|zoom| *zoom = (*zoom / 2).max(1)))
            />
            <span class="hint num" aria-live="polite">{move || format!("{} ×", zoom.get())}</span>
            <Zoom
                id="stage-in"
                icon="plus"
                label=Signal::derive(move || t_string!(i18n, lab.zoom_in))
                disabled=Signal::derive(move || as_table.get() || zoom.get() >= NEAREST)
                press=Callback::new(move |()| zoom.update(|zoom| *zoom = (*zoom * 2).min(NEAREST)))
            />
            <button
                type="button"
                class="button small quiet"
                id="stage-table"
                aria-pressed=move || as_table.get().to_string()
                on:click=move |_| as_table.update(|as_table| *as_table = !*as_table)
            >
                {t!(i18n, lab.as_table)}
            </button>
        </div>
    }
}

#[component]
fn Zoom(
    id: &'static str,
    icon: &'static str,
    label: Signal<&'static str>,
    disabled: Signal<bool>,
    press: Callback<()>,
) -> impl IntoView {
    view! {
        <button
            type="button"
            class="icon-button small"
            id=id
            aria-label=label
            title=label
            disabled=disabled
            on:click=move |_| press.run(())
        >
            <Icon name=icon size=16/>
        </button>
    }
}

/// Brings a cell into sight of a matrix that is larger than its box. The browser's own way would move the page too.
pub fn follow(cell: Cell, [rows, cols]: [usize; 2]) {
    let found = |css: &str| document().query_selector(css).ok().flatten();
    let (Some(view), Some(picture)) = (found(".stage-view"), found("#stage .picture")) else {
        return;
    };
    let (around, whole) = (view.get_bounding_client_rect(), picture.get_bounding_client_rect());
    let [width, height] = [whole.width() / cols as f64, whole.height() / rows as f64];
    let [left, top] = [whole.left() + cell.col as f64 * width, whole.top() + cell.row as f64 * height];
    let across = (left - around.left() - LABELS[0]).min(0.0) + (left + width - around.right()).max(0.0);
    let down = (top - around.top()).min(0.0) + (top + height - around.bottom() + LABELS[1]).max(0.0);
    view.set_scroll_left(view.scroll_left() + across.ceil() as i32);
    view.set_scroll_top(view.scroll_top() + down.ceil() as i32);
}

/// The numbers in the cells of the enlarged picture, where they have room.
#[component]
pub fn Numbers(#[prop(into)] step: Signal<Step>, zoom: RwSignal<u32>) -> impl IntoView {
    let session = use_session();
    let canvas = NodeRef::<html::Canvas>::new();
    let resized = RwSignal::new(0_u32);
    let resize = window_event_listener(leptos::ev::resize, move |_| resized.update(|times| *times += 1));
    on_cleanup(move || resize.remove());
    Effect::new(move |_| {
        zoom.track();
        resized.track();
        let (at, step, palette) = (session.at.get(), step.get(), session.host.palette.get());
        if let (Some(canvas), Some(forward)) = (canvas.get(), session.forward()) {
            after_drawing(move || draw(&canvas, &forward, (at, step), palette));
        }
    });
    view! { <canvas node_ref=canvas class="cell-numbers" aria-hidden="true"></canvas> }
}

fn draw(canvas: &HtmlCanvasElement, forward: &Forward, (at, step): (Head, Step), palette: Palette) {
    let picture = forward.picture(at, step);
    let (width, height) = (f64::from(canvas.client_width()), f64::from(canvas.client_height()));
    let [cell_width, cell_height] = [width / picture.cols as f64, height / picture.rows as f64];
    let room = cell_width >= ROOM[0] && cell_height >= ROOM[1] && picture.rows * picture.cols <= MOST_NUMBERS;
    let sharp = if room { window().device_pixel_ratio().clamp(1.0, 2.0) } else { 0.0 };
    // A new size also wipes the canvas.
    canvas.set_width((width * sharp) as u32);
    canvas.set_height((height * sharp) as u32);
    let context =
        canvas.get_context("2d").ok().flatten().and_then(|context| context.dyn_into::<CanvasRenderingContext2d>().ok());
    let Some(context) = context.filter(|_| room) else {
        return;
    };
    // A canvas of our own refuses nothing.
    let _ = context.scale(sharp, sharp);
    context.set_font("11px ui-monospace, monospace");
    context.set_text_align("center");
    context.set_text_baseline("middle");
    let scale = Scale::of(step, picture);
    for row in 0..picture.rows {
        for (col, &value) in picture.row(row).iter().enumerate() {
            if is_hidden(step, Cell { row, col }) {
                continue;
            }
            context.set_fill_style_str(palette.ink_on(scale.share(value)));
            let (x, y) = ((col as f64 + 0.5) * cell_width, (row as f64 + 0.5) * cell_height);
            let _ = context.fill_text(&short(value), x, y);
        }
    }
}

/// Whether the mask takes a cell.
fn is_hidden(step: Step, cell: Cell) -> bool {
    matches!(step, Step::Mask | Step::Weights) && cell.col > cell.row
}

/// Two digits behind the point.
fn short(value: f32) -> String {
    let text = format!("{value:.2}");
    if text == "-0.00" { "0.00".to_owned() } else { text.replace('-', "−") }
}

/// The same matrix as a table, its beginning where it is large.
#[component]
pub fn Table(#[prop(into)] step: Signal<Step>, #[prop(into)] caption: Signal<String>) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let body = move || {
        let forward = session.forward()?;
        let (at, step) = (session.at.get(), step.get());
        let picture = forward.picture(at, step);
        let [rows, cols] = [picture.rows, picture.cols].map(|side| side.min(TABLE_SIDE));
        let name = |index: usize| forward.tokens().get(index).map_or_else(String::new, |token| visible(&token.text));
        let heads: Vec<String> =
            (0..cols).map(|col| if step.is_square() { name(col) } else { col.to_string() }).collect();
        let value = |row: usize, col: usize| match is_hidden(step, Cell { row, col }) {
            true => String::new(),
            false => figure(f64::from(picture.at(row, col))),
        };
        let lines: Vec<(String, Vec<String>)> =
            (0..rows).map(|row| (name(row), (0..cols).map(|col| value(row, col)).collect())).collect();
        let rest = (picture.rows > rows || picture.cols > cols)
            .then(|| t_string!(i18n, lab.table_rest, shown = TABLE_SIDE, rows = picture.rows, cols = picture.cols));
        Some(view! { <Cells heads lines/> {rest.map(|rest| view! { <p class="hint">{rest}</p> })} })
    };
    view! {
        <div class="stage-table" role="region" tabindex="0" aria-label=move || caption.get()>
            {body}
        </div>
    }
}

#[component]
fn Cells(heads: Vec<String>, lines: Vec<(String, Vec<String>)>) -> impl IntoView {
    let lines = lines.into_iter().map(|(name, values)| {
        let cells = values.into_iter().map(|value| view! { <td>{value}</td> }).collect_view();
        view! { <tr><th scope="row">{name}</th>{cells}</tr> }
    });
    view! {
        <table class="num">
            <thead>
                <tr>
                    <td></td>
                    {heads.into_iter().map(|head| view! { <th scope="col">{head}</th> }).collect_view()}
                </tr>
            </thead>
            <tbody>{lines.collect_view()}</tbody>
        </table>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_no_negative_zero() {
        assert_eq!([short(-0.001), short(-1.256), short(0.5)], ["0.00", "−1.26", "0.50"]);
        assert!(is_hidden(Step::Weights, Cell { row: 1, col: 2 }) && !is_hidden(Step::Scores, Cell { row: 1, col: 2 }));
    }
}
