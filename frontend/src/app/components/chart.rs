//! A line chart over training steps, drawn as SVG. One cursor may be shared by several charts, so that a step is read in all
//! of them at once. It knows no training: it draws the series it is given.

use leptos::html::Div;
use leptos::prelude::*;
use wasm_bindgen::JsCast;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stroke {
    Line,
    /// A thin line behind the others, for raw values beside their mean.
    Faint,
    /// Points joined by a line, for values measured now and then.
    Dots,
}

#[derive(Clone, Debug)]
pub struct Series {
    pub label: String,
    /// A CSS colour.
    pub colour: &'static str,
    pub stroke: Stroke,
    /// Ascending in x.
    pub points: Vec<(f64, f64)>,
    /// How a value reads.
    pub format: fn(f64) -> String,
}

impl Series {
    /// The point at x or the last before it.
    pub fn at(&self, x: f64) -> Option<(f64, f64)> {
        let after = self.points.partition_point(|point| point.0 <= x);
        after.checked_sub(1).map(|index| self.points[index])
    }
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;
/// More points than this are thinned: a screen has no more columns.
const MOST_POINTS: usize = 600;
/// Fewer marks than this say too little of a logarithmic axis.
const LEAST_TICKS: usize = 3;

/// Where values go on the drawing.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scale {
    /// In units of the axis: logarithms where it is logarithmic.
    x: (f64, f64),
    y: (f64, f64),
    log: Log,
    width: f64,
    height: f64,
    /// The power of ten that an x is read to: 0 where all of them are whole.
    grain: i32,
}

/// Which axes are logarithmic. Values of 0 and less are not on such an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    pub x: bool,
    pub y: bool,
}

fn unit(value: f64, log: bool) -> f64 {
    if log { value.log10() } else { value }
}

fn value(unit: f64, log: bool) -> f64 {
    if log { 10f64.powf(unit) } else { unit }
}

/// `value · 10^power` without the noise of a power below 1, which no binary number is: 6 and -1 give 0.6.
fn decimal(value: f64, power: i32) -> f64 {
    if power < 0 { value / 10f64.powi(-power) } else { value * 10f64.powi(power) }
}

impl Scale {
    fn of(series: &[Series], x_end: Option<f64>, from_zero: bool, log: Log, size: (f64, f64)) -> Self {
        let all = || {
            let points = series.iter().flat_map(|series| &series.points);
            points.map(|&(px, py)| (unit(px, log.x), unit(py, log.y))).filter(|(px, _)| px.is_finite())
        };
        let mut x = (f64::MAX, f64::MIN);
        let mut y = (f64::MAX, f64::MIN);
        for (px, py) in all() {
            x = (x.0.min(px), x.1.max(px));
            if py.is_finite() {
                y = (y.0.min(py), y.1.max(py));
            }
        }
        if x.0 > x.1 {
            x = (0.0, 1.0);
            y = (0.0, 1.0);
        }
        if let Some(end) = x_end {
            x.1 = x.1.max(unit(end, log.x));
        }
        let from_zero = from_zero && !log.y;
        if from_zero {
            y.0 = 0.0;
        }
        let margin = ((y.1 - y.0) * 0.06).max(y.1.abs() * 1e-3).max(1e-12);
        y = (if from_zero { 0.0 } else { y.0 - margin }, y.1 + margin);
        let whole = series.iter().flat_map(|series| &series.points).all(|point| point.0.fract() == 0.0);
        let least = match (log.x, whole) {
            (true, _) => 0.1,
            (false, true) => 1.0,
            (false, false) => 1e-6,
        };
        x.1 = x.1.max(x.0 + least);
        let range = value(x.1, log.x) - value(x.0, log.x);
        // A thousandth of the drawing is about a pixel.
        let grain = if whole { 0 } else { ((range / 1e3).log10().floor() as i32).clamp(-9, 0) };
        Self { x, y, log, width: size.0, height: size.1, grain }
    }

    /// Where a cursor stands that is put at x: between whole numbers there is nothing.
    fn stop(&self, x: f64) -> f64 {
        if self.grain == 0 { x.round() } else { x }
    }

    /// An x as it is read.
    fn x_text(&self, x: f64) -> String {
        decimal(decimal(x, -self.grain).round(), self.grain).to_string()
    }

    fn px(&self, x: f64) -> f64 {
        LEFT + (unit(x, self.log.x) - self.x.0) / (self.x.1 - self.x.0) * (self.width - LEFT - RIGHT)
    }

    fn py(&self, y: f64) -> f64 {
        TOP + (self.y.1 - unit(y, self.log.y)) / (self.y.1 - self.y.0) * (self.height - TOP - BOTTOM)
    }

    /// The x under a pixel.
    fn x_at(&self, px: f64) -> f64 {
        let share = (px - LEFT) / (self.width - LEFT - RIGHT);
        value((self.x.0 + share * (self.x.1 - self.x.0)).clamp(self.x.0, self.x.1), self.log.x)
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let stride = points.len().div_ceil(MOST_POINTS).max(1);
        let last = points.len().saturating_sub(1);
        let mut path = String::new();
        for (index, &(x, y)) in points.iter().enumerate() {
            let (px, py) = (self.px(x), self.py(y));
            if px.is_finite() && py.is_finite() && (index % stride == 0 || index == last) {
                let command = if path.is_empty() { 'M' } else { 'L' };
                path.push_str(&format!("{command}{px:.1} {py:.1}"));
            }
        }
        path
    }
}

/// Round values inside a range, about `count` of them, and two where it can be: one alone says nothing of the distance.
pub fn ticks(range: (f64, f64), count: f64) -> Vec<f64> {
    let found = multiples(range, (range.1 - range.0) / count);
    if found.len() == 1 { multiples(range, (range.1 - range.0) / (2.0 * count)) } else { found }
}

/// Multiples of the first round number that is no less than `least`.
fn multiples(range: (f64, f64), least: f64) -> Vec<f64> {
    if !least.is_finite() || least <= 0.0 {
        return Vec::new();
    }
    let power = least.log10().floor() as i32;
    let factor = [1.0, 2.0, 5.0].into_iter().find(|&factor| decimal(factor, power) >= least);
    let (factor, power) = factor.map_or((1.0, power + 1), |factor| (factor, power));
    let step = decimal(factor, power);
    let first = (range.0 / step).ceil() as i64;
    let last = (range.1 / step).floor() as i64;
    (first..=last).map(|index| decimal(index as f64 * factor, power)).collect()
}

/// The same on a logarithmic axis, whose range is of exponents: decades, with 2 and 5 between while there are few, and even steps
/// within a range that holds hardly any of those.
pub fn log_ticks(range: (f64, f64), count: f64) -> Vec<f64> {
    let marks = |steps: &[f64]| -> Vec<f64> {
        let decades = range.0.floor() as i32..=range.1.ceil() as i32;
        let all = decades.flat_map(|power| steps.iter().map(move |&step| decimal(step, power)));
        all.filter(|tick| (range.0..=range.1).contains(&tick.log10())).collect()
    };
    let decades = marks(&[1.0]);
    if decades.len() >= LEAST_TICKS && range.1 - range.0 >= count / 2.0 {
        return decades;
    }
    let finer = marks(&[1.0, 2.0, 5.0]);
    if finer.len() >= LEAST_TICKS {
        return finer;
    }
    ticks((value(range.0, true), value(range.1, true)), count)
}

#[component]
pub fn Chart(
    #[prop(into)] series: Signal<Vec<Series>>,
    /// What the drawing shows, for those who cannot see it.
    #[prop(into)]
    label: Signal<String>,
    /// The step under the pointer, here or in another chart.
    cursor: RwSignal<Option<f64>>,
    /// What x counts.
    #[prop(into)]
    x_label: Signal<String>,
    /// Where x will end, if that is known.
    #[prop(into)]
    x_end: Signal<Option<f64>>,
    #[prop(default = 260.0)] height: f64,
    #[prop(default = false)] from_zero: bool,
    #[prop(optional, into)] log: Signal<Log>,
    /// A place on the x axis with a name, where there is one.
    #[prop(optional, into)]
    mark: Signal<Option<(f64, String)>>,
    /// Whether the numbers under the cursor float over the drawing; a small one shows them elsewhere.
    #[prop(default = true)]
    reading: bool,
) -> impl IntoView {
    let frame: NodeRef<Div> = NodeRef::new();
    let width = RwSignal::new(WIDTH);
    // The drawing has as many units as the element has pixels, so that text keeps its size.
    let measure = move || {
        if let Some(frame) = frame.get_untracked() {
            let now = f64::from(frame.client_width());
            if now > 0.0 && (now - width.get_untracked()).abs() > 1.0 {
                width.set(now);
            }
        }
    };
    Effect::new(move |_| {
        frame.track();
        request_animation_frame(measure);
    });
    let resize = window_event_listener(leptos::ev::resize, move |_| measure());
    on_cleanup(move || resize.remove());

    let scale = Memo::new(move |_| {
        series.with(|series| Scale::of(series, x_end.get(), from_zero, log.get(), (width.get(), height)))
    });
    let follow = move |event: web_sys::PointerEvent| {
        let target = event.current_target().and_then(|target| target.dyn_into::<web_sys::Element>().ok());
        if let Some(target) = target {
            let px = f64::from(event.client_x()) - target.get_bounding_client_rect().left();
            let scale = scale.get_untracked();
            cursor.set(Some(scale.stop(scale.x_at(px))));
        }
    };
    let on_key = move |event: web_sys::KeyboardEvent| {
        let scale = scale.get_untracked();
        let range = (value(scale.x.0, scale.log.x), value(scale.x.1, scale.log.x));
        let now = cursor.get_untracked().unwrap_or(range.1);
        let stride = scale.stop(((range.1 - range.0) / 50.0).max(decimal(1.0, scale.grain)));
        let next = match event.key().as_str() {
            "ArrowLeft" => now - stride,
            "ArrowRight" => now + stride,
            "Home" => range.0,
            "End" => range.1,
            "Escape" => {
                cursor.set(None);
                return;
            }
            _ => return,
        };
        event.prevent_default();
        cursor.set(Some(next.clamp(range.0, range.1)));
    };
    view! {
        <div
            class="chart"
            node_ref=frame
            tabindex="0"
            role="img"
            aria-label=label
            on:pointermove=follow
            on:pointerdown=follow
            on:pointerleave=move |_| cursor.set(None)
            on:blur=move |_| cursor.set(None)
            on:keydown=on_key
        >
            <svg viewBox=move || format!("0 0 {} {height}", width.get()) height=height>
                {move || axes(&scale.get(), series.with(|series| series.first().map(|first| first.format)))}
                {move || mark.get().map(|(x, name)| marked(&scale.get(), x, name))}
                {move || series.with(|series| lines(&scale.get(), series))}
                {move || cursor_mark(&scale.get(), cursor.get(), &series.get())}
            </svg>
            {reading.then(|| view! { <Reading series scale cursor x_label/> })}
        </div>
    }
}

fn axes(scale: &Scale, format: Option<fn(f64) -> String>) -> impl IntoView + use<> {
    let scale = *scale;
    let format = format.unwrap_or(|value| value.to_string());
    let on = |range, log, count: f64| if log { log_ticks(range, count) } else { ticks(range, count) };
    let rows = on(scale.y, scale.log.y, (scale.height / 48.0).max(2.0))
        .into_iter()
        .map(|value| {
            let y = scale.py(value);
            view! {
                <line class="grid-line" x1=LEFT x2=scale.width - RIGHT y1=y y2=y></line>
                <text x=LEFT - 8.0 y=y + 3.5 text-anchor="end">{format(value)}</text>
            }
        })
        .collect_view();
    let columns = on(scale.x, scale.log.x, (scale.width / 110.0).max(2.0))
        .into_iter()
        .map(|value| {
            view! {
                <text x=scale.px(value) y=scale.height - 6.0 text-anchor="middle">{value.to_string()}</text>
            }
        })
        .collect_view();
    (rows, columns)
}

/// Nothing where the place is not on the drawing.
fn marked(scale: &Scale, x: f64, name: String) -> impl IntoView + use<> {
    let (px, bottom) = (scale.px(x), scale.height - BOTTOM);
    // The name stands on the side that has room.
    let right = px < scale.width / 2.0;
    (LEFT..=scale.width - RIGHT).contains(&px).then(|| {
        view! {
            <line class="mark-line" x1=px x2=px y1=TOP y2=bottom></line>
            <text
                class="mark-name"
                x=if right { px + 6.0 } else { px - 6.0 }
                y=TOP + 9.0
                text-anchor=if right { "start" } else { "end" }
            >
                {name}
            </text>
        }
    })
}

fn lines(scale: &Scale, series: &[Series]) -> impl IntoView + use<> {
    let scale = *scale;
    series
        .iter()
        .map(|series| {
            let class = if series.stroke == Stroke::Faint { "series faint" } else { "series" };
            let dots = (series.stroke == Stroke::Dots).then(|| {
                series
                    .points
                    .iter()
                    .map(|&(x, y)| {
                        view! { <circle cx=scale.px(x) cy=scale.py(y) r="3" fill=series.colour></circle> }
                    })
                    .collect_view()
            });
            view! {
                <path class=class d=scale.path(&series.points) style:stroke=series.colour></path>
                {dots}
            }
        })
        .collect_view()
}

fn cursor_mark(scale: &Scale, cursor: Option<f64>, series: &[Series]) -> impl IntoView + use<> {
    let scale = *scale;
    let marks: Vec<((f64, f64), &'static str)> = cursor
        .map(|x| {
            series
                .iter()
                .filter(|series| series.stroke != Stroke::Faint)
                .filter_map(|series| Some((series.at(x)?, series.colour)))
                .collect()
        })
        .unwrap_or_default();
    cursor.map(|x| {
        let px = scale.px(x);
        view! {
            <line class="cursor-line" x1=px x2=px y1=TOP y2=scale.height - BOTTOM></line>
            {marks
                .into_iter()
                .map(|((x, y), colour)| {
                    view! {
                        <circle
                            cx=scale.px(x) cy=scale.py(y) r="4" fill=colour
                            stroke="var(--surface)" stroke-width="2"
                        ></circle>
                    }
                })
                .collect_view()}
        }
    })
}

/// The numbers under the cursor, on the side that has room.
#[component]
fn Reading(
    series: Signal<Vec<Series>>,
    scale: Memo<Scale>,
    cursor: RwSignal<Option<f64>>,
    x_label: Signal<String>,
) -> impl IntoView {
    let rows = move |x: f64| {
        series.with(|series| {
            series
                .iter()
                .filter_map(|series| {
                    let value = (series.format)(series.at(x)?.1);
                    Some(view! { <dt>{series.label.clone()}</dt> <dd>{value}</dd> })
                })
                .collect_view()
        })
    };
    move || {
        cursor.get().map(|x| {
            let scale = scale.get();
            let px = scale.px(x);
            let place = if px > scale.width / 2.0 {
                format!("right: {:.0}px", scale.width - px + 12.0)
            } else {
                format!("left: {:.0}px", px + 12.0)
            };
            view! {
                <div class="chart-read" style=place role="status">
                    <dl>
                        <dt>{x_label}</dt>
                        <dd>{scale.x_text(x)}</dd>
                        {rows(x)}
                    </dl>
                </div>
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks((0.0, 10.0), 5.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert!(ticks((2.3, 2.9), 4.0).iter().all(|tick| (2.3..=2.9).contains(tick)));
        assert!(ticks((1.0, 1.0), 4.0).is_empty());
        assert_eq!(log_ticks((0.0, 1.0), 5.0), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(log_ticks((-2.0, 4.0), 5.0).len(), 7);
    }

    #[test]
    fn a_tick_reads_as_it_is_meant() {
        let words = |ticks: Vec<f64>| ticks.iter().map(f64::to_string).collect::<Vec<_>>();
        assert_eq!(words(ticks((0.0, 0.69), 5.0)), ["0", "0.2", "0.4", "0.6"]);
        assert_eq!(words(ticks((1.0, 72.0), 3.0)), ["20", "40", "60"], "50 alone was there");
        assert_eq!(words(log_ticks((-3.1, -1.6), 7.0)), ["0.001", "0.002", "0.005", "0.01", "0.02"]);
    }

    #[test]
    fn a_logarithmic_axis_has_three_marks_however_short() {
        let between = |low: f64, high: f64, count| log_ticks((low.log10(), high.log10()), count);
        assert_eq!(between(2.1, 4.6, 7.5), [2.5, 3.0, 3.5, 4.0, 4.5]);
        assert_eq!(between(0.63, 12.6, 2.0), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(between(0.9, 1.2e6, 7.0).len(), 7);
    }

    fn falling(xs: &[f64]) -> Series {
        let points = xs.iter().map(|&x| (x, 3.0 - x)).collect();
        Series { label: String::new(), colour: "", stroke: Stroke::Line, points, format: |value| value.to_string() }
    }

    #[test]
    fn a_run_of_a_quarter_second_fills_the_drawing() {
        let scale = |xs: &[f64]| Scale::of(&[falling(xs)], None, false, Log::default(), (WIDTH, 260.0));
        let short = scale(&[0.0, 0.1, 0.25]);
        assert!((short.px(0.25) - (WIDTH - RIGHT)).abs() < 1e-6, "{}", short.px(0.25));
        assert_eq!((short.stop(0.123), short.x_text(0.123_46).as_str()), (0.123, "0.1235"));
        let steps = scale(&[1.0, 2.0, 9.0]);
        assert_eq!((steps.stop(3.4), steps.x_text(3.0).as_str()), (3.0, "3"));
        let only = scale(&[4.0]);
        assert!(only.px(4.0).is_finite());
    }

    #[test]
    fn a_series_answers_with_the_last_value_known() {
        let series = Series {
            label: String::new(),
            colour: "",
            stroke: Stroke::Line,
            points: vec![(10.0, 3.0), (20.0, 2.0)],
            format: |value| value.to_string(),
        };
        assert_eq!(series.at(9.0), None);
        assert_eq!(series.at(15.0), Some((10.0, 3.0)));
        assert_eq!(series.at(20.0), Some((20.0, 2.0)));
    }
}
