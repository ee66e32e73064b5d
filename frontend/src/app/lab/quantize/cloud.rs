//! Every setting tried on this model, as a point: size across, perplexity up. The line joins those that nothing else beats in both.

use hearth_shared::lab::quantize::rise;
use leptos::html::Div;
use leptos::prelude::*;

use super::scale::{HEIGHT, LEFT, RIGHT, Scale, WIDTH, frontier, room, width_of};
use super::summary::{bits_word, change, perplexity};
use super::{Point, use_lab};
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

#[component]
pub fn Cloud() -> impl IntoView {
    let i18n = use_i18n();
    let lab = use_lab();
    let frame: NodeRef<Div> = NodeRef::new();
    let width = RwSignal::new(WIDTH);
    // As many units as the place has pixels: on a phone, too, all of it is seen and its numbers can be read.
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
    let drawing = move || {
        let (full, base) = lab.tried.with(|tried| tried.as_ref().map(|tried| (tried.full_bytes, tried.base.nll)))?;
        let points = lab.points.get();
        let values: Vec<(u64, f64)> = points.iter().map(|point| (point.bytes, point.loss.nll)).collect();
        let scale = Scale::of(&values, full, base, width.get());
        let best = frontier(&values);
        let at = |&(bytes, nll): &(u64, f64)| (scale.x(bytes as f64), scale.y(nll));
        let places: Vec<(f64, f64)> = values.iter().map(at).collect();
        let line: Vec<(f64, f64)> = best.iter().map(|&i| places[i]).collect();
        let name = t_string!(i18n, quantize.cloud_base, perplexity = perplexity(base.exp()));
        let (x, y) = room((width_of(&name), scale.width), scale.y(base), &places, &line);
        let line: Vec<String> = line.into_iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let dots = points.into_iter().zip(places).enumerate();
        let dots = dots.map(|(i, (point, place))| view! { <Dot on_line=best.contains(&i) point base place/> });
        Some(view! {
            {axes(scale, base)}
            <text class="cloud-base-name" x=x y=y>{name}</text>
            <polyline class="cloud-line" points=line.join(" ")></polyline>
            {dots.collect_view()}
        })
    };
    view! {
        <section class="card" aria-labelledby="cloud-title">
            <div class="section-head">
                <h2 id="cloud-title">{t!(i18n, quantize.cloud)}</h2>
                <span class="badge num">{move || lab.points.with(Vec::len)}</span>
            </div>
            <p class="hint">{t!(i18n, quantize.cloud_hint)}</p>
            <div class="cloud" node_ref=frame>
                <svg
                    viewBox=move || format!("0 0 {} {HEIGHT}", width.get())
                    height=HEIGHT
                    role="group"
                    aria-label=move || t_string!(i18n, quantize.cloud)
                >
                    {drawing}
                </svg>
            </div>
        </section>
    }
}

fn axes(scale: Scale, base: f64) -> impl IntoView {
    let right = scale.width - RIGHT;
    let columns = scale.columns().into_iter().map(|(x, size)| {
        view! {
            <text x=x y=HEIGHT - 8.0 text-anchor="middle">{size}</text>
        }
    });
    let rows = scale.rows().into_iter().map(|(y, perplexity)| {
        view! {
            <line class="cloud-grid" x1=LEFT x2=right y1=y y2=y></line>
            <text x=LEFT - 8.0 y=y + 3.5 text-anchor="end">{perplexity}</text>
        }
    });
    let y = scale.y(base);
    view! {
        {columns.collect_view()}
        {rows.collect_view()}
        <line class="cloud-base" x1=LEFT x2=right y1=y y2=y></line>
    }
}

/// A circle, or a square on its corner for a mixture.
fn mark((x, y): (f64, f64), mixed: bool) -> String {
    if mixed {
        format!("M{x:.1} {:.1}l7 7l-7 7l-7 -7z", y - 7.0)
    } else {
        format!("M{:.1} {y:.1}a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z", x - 5.0)
    }
}

/// A point that brings its setting back.
#[component]
fn Dot(point: Point, on_line: bool, base: f64, place: (f64, f64)) -> impl IntoView {
    let i18n = use_i18n();
    let lab = use_lab();
    let setting = point.setting;
    let mixed = !setting.mixed.is_empty();
    let bits = bits_word(i18n, setting.spec.weight_bits);
    let (bytes, rise) = (format::bytes(point.bytes), change(rise(base, point.loss.nll)));
    let label = if mixed {
        let few = setting.mixed.len();
        t_string!(i18n, quantize.point_mixed, few = few, rest = bits, bytes = bytes, rise = rise)
    } else {
        t_string!(i18n, quantize.point, bits = bits, bytes = bytes, rise = rise)
    };
    let title = label.clone();
    let here = {
        let setting = setting.clone();
        move || lab.setting.with(|now| now.rounds_like(&setting))
    };
    let (x, y) = place;
    let restore = Callback::new(move |()| lab.apply(&setting));
    view! {
        <g
            class="cloud-dot"
            class:best=on_line
            class:mixed=mixed
            class:here=here
            role="button"
            tabindex="0"
            aria-label=label
            on:click=move |_| restore.run(())
            on:keydown=move |event| {
                if matches!(event.key().as_str(), "Enter" | " ") {
                    event.prevent_default();
                    restore.run(());
                }
            }
        >
            <title>{title}</title>
            <circle class="cloud-touch" cx=x cy=y r="12"></circle>
            <path class="cloud-mark" d=mark(place, mixed)></path>
        </g>
    }
}
