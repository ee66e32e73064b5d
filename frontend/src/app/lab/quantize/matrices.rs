//! One matrix from near: how its numbers lie and which levels they may take; and the error of every matrix, to choose from.

use hearth_shared::lab::quantize::{Histogram, MatrixError, Picture};
use leptos::prelude::*;

use super::controls::counted;
use super::use_lab;
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 150.0;
const FLOOR: f64 = 128.0;
/// More levels than this would be a grey wall.
const MOST_TICKS: usize = 64;

#[component]
pub fn Matrices() -> impl IntoView {
    let i18n = use_i18n();
    let lab = use_lab();
    let path = move || lab.tried.with(|tried| tried.as_ref().map(|tried| tried.picture.path.clone()));
    let picture = move || lab.tried.with(|tried| tried.as_ref().map(|tried| tried.picture.clone()));
    view! {
        <section class="card" aria-labelledby="matrix-title">
            <div class="section-head">
                <h2 id="matrix-title">{t!(i18n, quantize.matrix)}</h2>
                <code class="badge">{path}</code>
            </div>
            <p class="hint">{t!(i18n, quantize.matrix_hint)}</p>
            <div class="matrix-body">
                <div class="matrix-pictures">
                    {move || picture().map(pictures)}
                </div>
                <List/>
            </div>
        </section>
    }
}

fn pictures(picture: Picture) -> impl IntoView {
    let i18n = use_i18n();
    let Picture { weights, errors, levels, row_errors, .. } = picture;
    let shown = if levels.len() <= MOST_TICKS { levels.clone() } else { Vec::new() };
    let count = levels.len();
    let weights_label = t_string!(i18n, quantize.weights_picture, levels = count);
    let note = match count {
        0 => t_string!(i18n, quantize.no_levels).to_owned(),
        count if count > MOST_TICKS => t_string!(i18n, quantize.many_levels, levels = count),
        count => t_string!(i18n, quantize.few_levels, levels = count),
    };
    let has_errors = errors.to > 0.0;
    view! {
        <figure>
            <figcaption>{t!(i18n, quantize.weights)} " " <span class="hint">{note}</span></figcaption>
            {bars(&weights, &shown, "weights", weights_label)}
        </figure>
        {has_errors
            .then(|| {
                let label = t_string!(i18n, quantize.errors).to_owned();
                view! {
                    <figure>
                        <figcaption>{t!(i18n, quantize.errors)}</figcaption>
                        {bars(&errors, &[], "errors", label)}
                    </figure>
                    <figure>
                        <figcaption>{t!(i18n, quantize.spectrum)}</figcaption>
                        {spectrum(&row_errors)}
                    </figure>
                }
            })}
    }
}

/// Bars by the square root of their counts, so that tails are seen, and a tick for each level.
fn bars(histogram: &Histogram, levels: &[f32], class: &'static str, label: String) -> impl IntoView + use<> {
    let most = histogram.counts.iter().copied().max().unwrap_or(1).max(1);
    let step = WIDTH / histogram.counts.len().max(1) as f64;
    let bar = |(i, &count): (usize, &u32)| {
        let height = (f64::from(count) / f64::from(most)).sqrt() * (FLOOR - 6.0);
        let x = i as f64 * step;
        view! { <rect x=x y=FLOOR - height width=(step - 1.0).max(0.6) height=height></rect> }
    };
    let bars = histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(bar).collect_view();
    let span = f64::from(histogram.to - histogram.from).max(f64::MIN_POSITIVE);
    let at = |value: f32| f64::from(value - histogram.from) / span * WIDTH;
    let ticks = levels.iter().map(|&level| at(level)).filter(|x| (0.0..=WIDTH).contains(x));
    let ticks = ticks.map(|x| view! { <line class="level" x1=x x2=x y1="4" y2=FLOOR></line> }).collect_view();
    let ends = [(0.0, "start", histogram.from), (WIDTH / 2.0, "middle", 0.0), (WIDTH, "end", histogram.to)];
    let ends = ends.map(|(x, anchor, value)| {
        view! { <text x=x y=HEIGHT - 6.0 text-anchor=anchor>{format::small(f64::from(value)).replace('-', "−")}</text> }
    });
    view! {
        <svg class=format!("histogram {class}") viewBox=format!("0 0 {WIDTH} {HEIGHT}") role="img" aria-label=label>
            {bars}
            {ticks}
            {ends.into_iter().collect_view()}
        </svg>
    }
}

/// Errors of the rows, largest first.
fn spectrum(rows: &[f32]) -> impl IntoView + use<> {
    let most = rows.first().copied().unwrap_or(0.0).max(f32::MIN_POSITIVE);
    let last = rows.len().saturating_sub(1).max(1) as f64;
    let points: Vec<String> = rows
        .iter()
        .enumerate()
        .map(|(i, error)| {
            let (x, y) = (i as f64 / last * WIDTH, FLOOR - f64::from(error / most) * (FLOOR - 8.0));
            format!("{x:.1},{y:.1}")
        })
        .collect();
    let i18n = use_i18n();
    let per_cent = |error: f32| format!("{:.2} %", error * 100.0);
    let ends = [(0.0, "start", rows.first()), (WIDTH, "end", rows.last())];
    let ends = ends.map(|(x, anchor, error)| {
        let text = error.map(|error| per_cent(*error));
        view! { <text x=x y=HEIGHT - 6.0 text-anchor=anchor>{text}</text> }
    });
    view! {
        <svg
            class="histogram spectrum"
            viewBox=format!("0 0 {WIDTH} {HEIGHT}")
            role="img"
            aria-label=t_string!(i18n, quantize.spectrum).to_owned()
        >
            <polyline points=points.join(" ")></polyline>
            {ends.into_iter().collect_view()}
        </svg>
    }
}

/// `layers.0.attention.q_proj.weight` as `1 · q_proj`, an expert's with its number; the part it belongs to is told by its name.
fn short(path: &str) -> String {
    let path = path.trim_end_matches(".weight");
    let layer = path.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
    let Some((layer, rest)) = layer else {
        return path.to_owned();
    };
    let name = rest.split_once('.').map_or(rest, |(_, name)| name);
    format!("{} · {}", counted(layer), name.replace('.', " "))
}

/// Every matrix with its error as a bar; a click looks at it from near.
#[component]
fn List() -> impl IntoView {
    let i18n = use_i18n();
    let lab = use_lab();
    let rows = move || {
        lab.tried.with(|tried| {
            let tried = tried.as_ref()?;
            let most = tried.matrices.iter().map(|matrix| matrix.error).fold(1e-9, f64::max);
            let shown = tried.picture.path.clone();
            let row = |matrix: &MatrixError| {
                let chosen = matrix.path == shown;
                view! { <Row matrix=matrix.clone() most chosen/> }
            };
            Some(tried.matrices.iter().map(row).collect_view())
        })
    };
    let count = move || lab.tried.with(|tried| tried.as_ref().map_or(0, |tried| tried.matrices.len()));
    view! {
        <div class="matrix-choice">
            <p class="hint num">{move || t_string!(i18n, quantize.matrix_count, all = count())}</p>
            <ol class="matrix-list" aria-label=move || t_string!(i18n, quantize.matrix_list)>
                {rows}
            </ol>
        </div>
    }
}

#[component]
fn Row(matrix: MatrixError, most: f64, chosen: bool) -> impl IntoView {
    let lab = use_lab();
    let name = short(&matrix.path);
    let width = format!("{:.1}%", matrix.error / most * 100.0);
    let bits = matrix.bits.map_or_else(|| "f32".to_owned(), |bits| format!("{bits}"));
    let title = format!("{} × {} · {}", matrix.rows, matrix.cols, format::bytes(matrix.bytes));
    let path = matrix.path.clone();
    view! {
        <li>
            <button
                class="matrix-row"
                class:chosen=chosen
                aria-pressed=chosen.to_string()
                title=title
                data-matrix=matrix.path.clone()
                on:click=move |_| lab.setting.update(|setting| setting.matrix.clone_from(&path))
            >
                <span class="matrix-name">{name}</span>
                <span class="matrix-bar" aria-hidden="true"><i style:width=width></i></span>
                <span class="num">{format!("{:.2} %", matrix.error * 100.0)}</span>
                <span class="badge num">{bits}</span>
            </button>
        </li>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_of_a_layer_can_be_told_apart() {
        assert_eq!(short("layers.0.attention.q_proj.weight"), "1 · q_proj");
        assert_eq!(short("layers.11.mlp.experts.3.up_proj.weight"), "12 · experts 3 up_proj");
        assert_eq!(short("embed.weight"), "embed");
    }
}
