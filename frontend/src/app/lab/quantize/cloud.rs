//! Every setting tried on this model, as a point: size across, perplexity up. The line joins those that nothing else beats in both.

use hearth_shared::lab::quantize::rise;
use leptos::prelude::*;

use super::summary::change;
use super::{Point, use_lab};
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
/// Left, right, top, bottom.
const MARGIN: (f64, f64, f64, f64) = (58.0, 16.0, 14.0, 30.0);

/// Those that no other point beats in size and loss, by size.
fn frontier(points: &[(u64, f64)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&a, &b| points[a].0.cmp(&points[b].0).then(points[a].1.total_cmp(&points[b].1)));
    let mut least = f64::INFINITY;
    order.retain(|&i| {
        let better = points[i].1 < least;
        least = least.min(points[i].1);
        better
    });
    order
}

/// Where values go: size from nothing to the whole, perplexity by its logarithm.
#[derive(Clone, Copy)]
struct Scale {
    bytes: f64,
    nll: (f64, f64),
}

impl Scale {
    fn of(points: &[Point], full: u64, base: f64) -> Self {
        let nll = points.iter().fold((base, base), |(low, high), p| (low.min(p.loss.nll), high.max(p.loss.nll)));
        let margin = ((nll.1 - nll.0) * 0.08).max(0.01);
        Self { bytes: full as f64 * 1.04, nll: (nll.0 - margin, nll.1 + margin) }
    }

    fn x(self, bytes: u64) -> f64 {
        MARGIN.0 + bytes as f64 / self.bytes * (WIDTH - MARGIN.0 - MARGIN.1)
    }

    fn y(self, nll: f64) -> f64 {
        MARGIN.2 + (self.nll.1 - nll) / (self.nll.1 - self.nll.0) * (HEIGHT - MARGIN.2 - MARGIN.3)
    }
}

#[component]
pub fn Cloud() -> impl IntoView {
    let i18n = use_i18n();
    let lab = use_lab();
    let drawing = move || {
        let (full, base) = lab.tried.with(|tried| tried.as_ref().map(|tried| (tried.full_bytes, tried.base.nll)))?;
        let points = lab.points.get();
        let scale = Scale::of(&points, full, base);
        let best = frontier(&points.iter().map(|point| (point.bytes, point.loss.nll)).collect::<Vec<_>>());
        let line: Vec<String> = best
            .iter()
            .map(|&i| format!("{:.1},{:.1}", scale.x(points[i].bytes), scale.y(points[i].loss.nll)))
            .collect();
        let dots = points.into_iter().enumerate();
        let dots = dots.map(|(i, point)| view! { <Dot on_line=best.contains(&i) point base scale/> }).collect_view();
        Some(view! {
            {axes(scale, full, base)}
            <polyline class="cloud-line" points=line.join(" ")></polyline>
            {dots}
        })
    };
    view! {
        <section class="card" aria-labelledby="cloud-title">
            <div class="section-head">
                <h2 id="cloud-title">{t!(i18n, quantize.cloud)}</h2>
                <span class="badge num">{move || lab.points.with(Vec::len)}</span>
            </div>
            <p class="hint">{t!(i18n, quantize.cloud_hint)}</p>
            <div class="cloud">
                <svg
                    viewBox=format!("0 0 {WIDTH} {HEIGHT}")
                    role="group"
                    aria-label=move || t_string!(i18n, quantize.cloud)
                >
                    {drawing}
                </svg>
            </div>
        </section>
    }
}

fn axes(scale: Scale, full: u64, base: f64) -> impl IntoView {
    let quarters = (0..=4_u64).map(|i| full * i / 4);
    let columns = quarters.map(|bytes| {
        view! {
            <text x=scale.x(bytes) y=HEIGHT - 8.0 text-anchor="middle">{format::bytes(bytes)}</text>
        }
    });
    let rows = (0..4).map(|i| scale.nll.0 + (scale.nll.1 - scale.nll.0) * (f64::from(i) + 0.5) / 4.0);
    let rows = rows.map(|nll| {
        let y = scale.y(nll);
        view! {
            <line class="cloud-grid" x1=MARGIN.0 x2=WIDTH - MARGIN.1 y1=y y2=y></line>
            <text x=MARGIN.0 - 8.0 y=y + 3.5 text-anchor="end">{format!("{:.1}", nll.exp())}</text>
        }
    });
    let y = scale.y(base);
    let name = t_string!(use_i18n(), quantize.cloud_base, perplexity = format!("{:.2}", base.exp()));
    view! {
        {columns.collect_view()}
        {rows.collect_view()}
        <line class="cloud-base" x1=MARGIN.0 x2=WIDTH - MARGIN.1 y1=y y2=y></line>
        <text class="cloud-base-name" x=MARGIN.0 + 6.0 y=y - 5.0>{name}</text>
    }
}

/// A point that brings its setting back.
#[component]
fn Dot(point: Point, on_line: bool, base: f64, scale: Scale) -> impl IntoView {
    let i18n = use_i18n();
    let lab = use_lab();
    let spec = point.setting.spec;
    let bits = spec.weight_bits.map_or_else(|| "f32".to_owned(), |bits| format!("{bits} bit"));
    let label = t_string!(
        i18n,
        quantize.point,
        bits = bits,
        bytes = format::bytes(point.bytes),
        rise = change(rise(base, point.loss.nll))
    );
    let title = label.clone();
    let (x, y) = (scale.x(point.bytes), scale.y(point.loss.nll));
    let setting = point.setting.clone();
    let here = {
        let setting = setting.clone();
        move || lab.setting.with(|now| now.spec == setting.spec && now.spared == setting.spared)
    };
    let back = StoredValue::new(setting);
    let restore = move || {
        lab.setting.update(|now| {
            let matrix = std::mem::take(&mut now.matrix);
            *now = super::Setting { matrix, ..back.get_value() };
        });
    };
    view! {
        <g
            class="cloud-dot"
            class:best=on_line
            class:here=here
            role="button"
            tabindex="0"
            aria-label=label
            on:click=move |_| restore()
            on:keydown=move |event| {
                if matches!(event.key().as_str(), "Enter" | " ") {
                    event.prevent_default();
                    restore();
                }
            }
        >
            <title>{title}</title>
            <circle class="cloud-touch" cx=x cy=y r="12"></circle>
            <circle cx=x cy=y r="5"></circle>
        </g>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frontier_is_what_nothing_beats() {
        let points = [(10, 3.0), (5, 4.0), (7, 4.5), (5, 5.0), (12, 3.0), (20, 2.0)];
        assert_eq!(frontier(&points), [1, 0, 5]);
        assert!(frontier(&[]).is_empty());
    }
}
