//! Ways of looking at the enlarged matrix: nearer, moved by hand, with its numbers in the cells where they have room, or as a table. The
//! numbers are drawn on a canvas of their own that lies over what is in sight, so that no cell is an element and no canvas is larger
//! than the screen; the table is elements, and so has an end.

use std::ops::Range;

use leptos::ev::{PointerEvent, WheelEvent};
use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{CanvasRenderingContext2d, DomRect, Element, HtmlCanvasElement};

use super::forward::{Cell, Forward, Head, Step};
use super::heat::{Palette, Scale};
use super::session::{Session, use_session};
use super::{figure, visible};
use crate::app::components::after_drawing;
use crate::app::components::icons::Icon;
use crate::app::i18n::{t, t_string, use_i18n};

/// How many times larger than its box any matrix can be, and one of many cells.
const NEAREST: [u32; 2] = [8, 32];
/// Cells along the longer side of a large matrix that are still in sight at the nearest.
const LEAST_SEEN: u32 = 4;
/// CSS pixels of a cell that has room for a number.
const ROOM: [f64; 2] = [36.0, 15.0];
/// CSS pixels that the tokens at the left edge and at the lower one take. As in `lab.css`.
const LABELS: [f64; 2] = [60.0, 66.0];
/// Rows and columns of the table.
const TABLE_SIDE: usize = 64;
/// Turns of a wheel that double the size, in CSS pixels: less than a notch of a mouse's, a short pinch on a touchpad.
const TURN: f64 = 40.0;
/// CSS pixels of a line, which some wheels count in.
const LINE: f64 = 16.0;
/// CSS pixels that a hand may tremble in a click.
const TREMBLE: i32 = 4;

/// The hand on the matrix since the button went down.
#[derive(Clone, Copy)]
struct Grip {
    at: [i32; 2],
    scrolled: [i32; 2],
    /// It has pulled the matrix, so letting go chooses no cell.
    pulled: bool,
}

/// How the matrix is looked at.
#[derive(Clone, Copy)]
pub struct View {
    pub zoom: RwSignal<u32>,
    pub as_table: RwSignal<bool>,
    /// Counts how often another part of it came into sight.
    pub moved: RwSignal<u32>,
    /// Turned by the wheel, but not yet far enough.
    turned: StoredValue<f64>,
    grip: StoredValue<Option<Grip>>,
}

impl View {
    pub fn new(as_table: RwSignal<bool>) -> Self {
        Self {
            zoom: RwSignal::new(1),
            as_table,
            moved: RwSignal::new(0),
            turned: StoredValue::new(0.0),
            grip: StoredValue::new(None),
        }
    }

    /// Twice as near, or half. The cell in hand stays in sight.
    pub fn step(self, session: Session, nearer: bool) {
        session.hovered.set(None);
        if self.resize(session, nearer) {
            let (_, cell) = session.active();
            let sides = sides(session);
            after_drawing(move || follow(cell, sides));
        }
    }

    /// Whether the size changed.
    fn resize(self, session: Session, nearer: bool) -> bool {
        let zoom = self.zoom.get_untracked();
        let next = if nearer { (zoom * 2).min(nearest(sides(session)).max(zoom)) } else { (zoom / 2).max(1) };
        if next != zoom {
            self.zoom.set(next);
        }
        next != zoom
    }

    /// The wheel with Ctrl, or a pinch on a touchpad: nearer or further away around what is under the pointer.
    pub fn turn(self, session: Session, event: &WheelEvent) {
        if !(event.ctrl_key() || event.meta_key()) {
            return;
        }
        // The browser would enlarge the page.
        event.prevent_default();
        let pixels = event.delta_y() * if event.delta_mode() == WheelEvent::DOM_DELTA_PIXEL { 1.0 } else { LINE };
        let turned = self.turned.get_value() + pixels;
        if turned.abs() < TURN {
            self.turned.set_value(turned);
            return;
        }
        self.turned.set_value(0.0);
        let at = [f64::from(event.client_x()), f64::from(event.client_y())];
        let Some([_, picture]) = boxes() else {
            return;
        };
        let [across, down] = [(at[0] - picture.left()) / picture.width(), (at[1] - picture.top()) / picture.height()];
        if self.resize(session, turned < 0.0) {
            after_drawing(move || {
                if let Some([_, now]) = boxes() {
                    scroll(now.left() + across * now.width() - at[0], now.top() + down * now.height() - at[1]);
                }
            });
        }
    }

    /// The button went down. A finger moves the box by itself.
    pub fn grab(self, event: &PointerEvent) {
        let movable = self.zoom.get_untracked() > 1 && event.button() == 0 && event.pointer_type() != "touch";
        let grip = stage_view().filter(|_| movable).map(|view| Grip {
            at: pixels_of(event),
            scrolled: [view.scroll_left(), view.scroll_top()],
            pulled: false,
        });
        self.grip.set_value(grip);
    }

    /// The pointer moved on `element`: whether it pulls the matrix along.
    pub fn pull(self, element: &Element, event: &PointerEvent) -> bool {
        let Some(mut grip) = self.grip.get_value().filter(|_| event.buttons() & 1 == 1) else {
            return false;
        };
        let at = pixels_of(event);
        let [across, down] = [at[0] - grip.at[0], at[1] - grip.at[1]];
        if !grip.pulled {
            if across.abs().max(down.abs()) < TREMBLE {
                return false;
            }
            grip.pulled = true;
            self.grip.set_value(Some(grip));
            // Without it the pull ends where the pointer leaves the matrix.
            let _ = element.set_pointer_capture(event.pointer_id());
        }
        if let Some(view) = stage_view() {
            view.set_scroll_left(grip.scrolled[0] - across);
            view.set_scroll_top(grip.scrolled[1] - down);
        }
        true
    }

    /// Whether the click that comes now ends a pull.
    pub fn let_go(self) -> bool {
        self.grip.try_update_value(Option::take).flatten().is_some_and(|grip| grip.pulled)
    }
}

fn pixels_of(event: &PointerEvent) -> [i32; 2] {
    [event.client_x(), event.client_y()]
}

/// Rows and columns of the enlarged matrix.
fn sides(session: Session) -> [usize; 2] {
    untrack(|| {
        session.forward().map_or([1, 1], |forward| {
            let picture = forward.picture(session.at.get(), session.step.get());
            [picture.rows.max(1), picture.cols.max(1)]
        })
    })
}

/// How many times larger than its box a matrix of so many rows and columns can be.
fn nearest([rows, cols]: [usize; 2]) -> u32 {
    let longest = u32::try_from(rows.max(cols)).unwrap_or(u32::MAX);
    let mut zoom = NEAREST[0];
    while zoom < NEAREST[1] && zoom * 2 * LEAST_SEEN <= longest {
        zoom *= 2;
    }
    zoom
}

#[component]
pub fn Tools(view: View) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let View { zoom, as_table, .. } = view;
    let is_nearest = move || {
        let step = session.step.get();
        session.forward().is_none_or(|forward| {
            let picture = forward.picture(session.at.get(), step);
            zoom.get() >= nearest([picture.rows, picture.cols])
        })
    };
    view! {
        <div class="stage-tools" role="group" aria-label=move || t_string!(i18n, lab.view_title)>
            <Zoom
                id="stage-out"
                icon="minus"
                label=Signal::derive(move || t_string!(i18n, lab.zoom_out))
                disabled=Signal::derive(move || as_table.get() || zoom.get() == 1)
                press=Callback::new(move |()| view.step(session, false))
            />
            <span class="hint num" aria-live="polite">{move || format!("{} ×", zoom.get())}</span>
            <Zoom
                id="stage-in"
                icon="plus"
                label=Signal::derive(move || t_string!(i18n, lab.zoom_in))
                disabled=Signal::derive(move || as_table.get() || is_nearest())
                press=Callback::new(move |()| view.step(session, true))
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

fn stage_view() -> Option<Element> {
    document().query_selector(".stage-view").ok().flatten()
}

/// Of what scrolls and of the enlarged picture in it, on the screen. None while neither is drawn.
fn boxes() -> Option<[DomRect; 2]> {
    let picture = document().query_selector("#stage .picture").ok().flatten()?.get_bounding_client_rect();
    (picture.width() > 0.0 && picture.height() > 0.0).then_some([stage_view()?.get_bounding_client_rect(), picture])
}

fn scroll(across: f64, down: f64) {
    if let Some(view) = stage_view() {
        view.set_scroll_left(view.scroll_left() + across.round() as i32);
        view.set_scroll_top(view.scroll_top() + down.round() as i32);
    }
}

/// Brings a cell into sight of a matrix that is larger than its box. The browser's own way would move the page too.
pub fn follow(cell: Cell, [rows, cols]: [usize; 2]) {
    let Some([around, whole]) = boxes() else {
        return;
    };
    let [width, height] = [whole.width() / cols as f64, whole.height() / rows as f64];
    let [left, top] = [whole.left() + cell.col as f64 * width, whole.top() + cell.row as f64 * height];
    let across = shift([left, left + width], [around.left() + LABELS[0], around.right()]);
    let down = shift([top, top + height], [around.top(), around.bottom() - LABELS[1]]);
    scroll(across, down);
}

/// How far a part must go back to lie inside a room: least way, its beginning first where it is larger than the room.
pub fn shift([from, to]: [f64; 2], [start, end]: [f64; 2]) -> f64 {
    if from < start || to - from > end - start { (from - start).floor() } else { (to - end).max(0.0).ceil() }
}

/// The numbers in the cells of the enlarged picture, where they have room.
#[component]
pub fn Numbers(#[prop(into)] step: Signal<Step>, view: View) -> impl IntoView {
    let session = use_session();
    let canvas = NodeRef::<html::Canvas>::new();
    let resize = window_event_listener(leptos::ev::resize, move |_| view.moved.update(|times| *times += 1));
    on_cleanup(move || resize.remove());
    Effect::new(move |_| {
        view.zoom.track();
        view.moved.track();
        view.as_table.track();
        let (at, step, palette) = (session.at.get(), step.get(), session.host.palette.get());
        if let (Some(canvas), Some(forward)) = (canvas.get(), session.forward()) {
            after_drawing(move || draw(&canvas, &forward, (at, step), palette));
        }
    });
    view! { <canvas node_ref=canvas class="cell-numbers" aria-hidden="true"></canvas> }
}

/// What of the picture is in sight, in its own CSS pixels: from left to right, from top to bottom.
fn in_sight([around, whole]: &[DomRect; 2]) -> [[f64; 2]; 2] {
    let across = [(around.left() - whole.left()).max(0.0), (around.right() - whole.left()).min(whole.width())];
    let down = [(around.top() - whole.top()).max(0.0), (around.bottom() - whole.top()).min(whole.height())];
    [across, down].map(|[from, to]| [from, to.max(from)])
}

/// The cells, each `size` long, that a stretch touches.
fn touched([from, to]: [f64; 2], size: f64, count: usize) -> Range<usize> {
    let start = ((from / size).floor().max(0.0) as usize).min(count);
    start..((to / size).ceil().max(0.0) as usize).clamp(start, count)
}

fn draw(canvas: &HtmlCanvasElement, forward: &Forward, (at, step): (Head, Step), palette: Palette) {
    let picture = forward.picture(at, step);
    let placed = boxes().filter(|[_, whole]| {
        whole.width() / picture.cols as f64 >= ROOM[0] && whole.height() / picture.rows as f64 >= ROOM[1]
    });
    let Some(placed) = placed else {
        // No size is also an empty canvas.
        canvas.set_width(0);
        canvas.set_height(0);
        return;
    };
    let cell = [placed[1].width() / picture.cols as f64, placed[1].height() / picture.rows as f64];
    let [across, down] = in_sight(&placed);
    let Some(context) = sheet(canvas, across, down) else {
        return;
    };
    let scale = Scale::of(step, picture);
    for row in touched(down, cell[1], picture.rows) {
        for col in touched(across, cell[0], picture.cols) {
            if is_hidden(step, Cell { row, col }) {
                continue;
            }
            let value = picture.at(row, col);
            context.set_fill_style_str(palette.ink_on(scale.share(value)));
            let (x, y) = ((col as f64 + 0.5) * cell[0], (row as f64 + 0.5) * cell[1]);
            // A canvas of our own refuses nothing.
            let _ = context.fill_text(&short(value), x, y);
        }
    }
}

/// Lays the canvas over a part of the picture, wiped, and lets it be drawn on in the picture's own CSS pixels.
fn sheet(canvas: &HtmlCanvasElement, across: [f64; 2], down: [f64; 2]) -> Option<CanvasRenderingContext2d> {
    let (width, height) = (across[1] - across[0], down[1] - down[0]);
    let style = web_sys::HtmlElement::style(canvas);
    for (name, value) in [("left", across[0]), ("top", down[0]), ("width", width), ("height", height)] {
        // The names are the sheet's own.
        let _ = style.set_property(name, &format!("{value:.2}px"));
    }
    let sharp = window().device_pixel_ratio().clamp(1.0, 2.0);
    // A new size also wipes the canvas.
    canvas.set_width((width * sharp).ceil() as u32);
    canvas.set_height((height * sharp).ceil() as u32);
    let context = canvas.get_context("2d").ok()??.dyn_into::<CanvasRenderingContext2d>().ok()?;
    // A canvas of our own refuses nothing.
    let _ = context.scale(sharp, sharp);
    let _ = context.translate(-across[0], -down[0]);
    context.set_font("11px ui-monospace, monospace");
    context.set_text_align("center");
    context.set_text_baseline("middle");
    Some(context)
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

    #[test]
    fn a_large_matrix_can_be_looked_at_from_nearer() {
        assert_eq!([[12, 12], [12, 32], [64, 64], [128, 128], [9, 512]].map(nearest), [8, 8, 16, 32, 32]);
        // In a box of 340 pixels each of 128 cells has room for its number at the nearest.
        assert!(340.0 / 128.0 * f64::from(nearest([128, 128])) >= ROOM[0]);
    }

    #[test]
    fn a_cell_comes_into_sight_by_the_least_way() {
        let room = [100.0, 300.0];
        assert_eq!(shift([150.0, 180.0], room), 0.0);
        assert_eq!(shift([280.0, 320.5], room), 21.0);
        assert_eq!(shift([60.5, 90.0], room), -40.0);
        assert_eq!(shift([150.0, 500.0], room), 50.0, "the beginning of what is larger than the room");
    }

    #[test]
    fn only_cells_in_sight_get_numbers() {
        assert_eq!(touched([0.0, 400.0], 40.0, 10), 0..10);
        assert_eq!(touched([75.0, 165.0], 40.0, 128), 1..5);
        assert_eq!(touched([80.0, 160.0], 40.0, 128), 2..4);
        assert_eq!(touched([5_000.0, 6_000.0], 40.0, 128), 125..128);
        assert!(touched([9_000.0, 9_500.0], 40.0, 128).is_empty());
    }
}
