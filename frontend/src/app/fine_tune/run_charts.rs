//! The curves of a run. One cursor goes through all of them.

use hearth_shared::api::fine_tuning::JobStatus;
use hearth_shared::event::Metrics;
use leptos::prelude::*;

use super::counted;
use super::feed::{self, Record};
use crate::app::components::chart::{Chart, Series, Stroke};
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

/// The mean reaches this share of the run to either side.
const LOOK_AROUND: f64 = 0.03;

#[component]
pub fn Charts(record: RwSignal<Record>, status: Memo<JobStatus>) -> impl IntoView {
    let i18n = use_i18n();
    let cursor = RwSignal::new(None::<f64>);
    let points = move |pick: fn(&Metrics) -> Option<f64>| {
        record.with(|record| {
            record.metrics.iter().filter_map(|metrics| Some((metrics.step as f64, pick(metrics)?))).collect::<Vec<_>>()
        })
    };
    let loss = Signal::derive(move || {
        let raw = points(|metrics| Some(metrics.train_loss));
        let series = |label: &str, colour, stroke, points| Series {
            label: label.to_owned(),
            colour,
            stroke,
            points,
            format: |value| format!("{value:.2}"),
        };
        vec![
            series(t_string!(i18n, tune.train_smooth), "var(--data-1)", Stroke::Line, smooth(&raw, LOOK_AROUND)),
            series(t_string!(i18n, tune.train_raw), "var(--data-1)", Stroke::Faint, raw),
            series(
                t_string!(i18n, tune.valid_loss),
                "var(--data-2)",
                Stroke::Dots,
                points(|metrics| metrics.valid_loss),
            ),
        ]
    });
    let small = move |colour: &'static str,
                      pick: fn(&Metrics) -> Option<f64>,
                      show: fn(f64) -> String,
                      label: Signal<String>| {
        Signal::derive(move || {
            vec![Series { label: label.get(), colour, stroke: Stroke::Line, points: points(pick), format: show }]
        })
    };
    macro_rules! word {
        ($key:ident) => {
            Signal::derive(move || t_string!(i18n, tune.$key).to_owned())
        };
    }
    let memory = small(
        "var(--data-3)",
        |metrics| metrics.memory.map(|bytes| bytes as f64),
        |value| format::bytes(value as u64),
        word!(memory),
    );
    let utilisation = small(
        "var(--data-2)",
        |metrics| metrics.utilisation,
        |value| format!("{:.0}%", value * 100.0),
        word!(utilisation),
    );
    let scale = small("var(--data-1)", |metrics| metrics.loss_scale, format::small, word!(loss_scale));
    let lr = small("var(--data-3)", |metrics| Some(metrics.lr), format::small, word!(lr));
    let speed = small("var(--data-2)", feed::speed, format::rate, word!(speed));
    let norm = small(
        "var(--data-1)",
        |metrics| Some(metrics.grad_norm).filter(|norm| norm.is_finite()),
        |value| format!("{value:.2}"),
        word!(grad_norm),
    );
    let x_end = Signal::derive(move || record.with(|record| record.metrics.last().map(|last| last.total_steps as f64)));
    let small_charts = [
        ("lr", lr),
        ("speed", speed),
        ("grad-norm", norm),
        ("utilisation", utilisation),
        ("memory", memory),
        ("loss-scale", scale),
    ];
    let empty = Memo::new(move |_| record.with(|record| record.metrics.is_empty()));
    let nothing = move || match status.get().ended() {
        true => t_string!(i18n, tune.chart_none),
        false => t_string!(i18n, tune.chart_empty),
    };
    let summary = Signal::derive(move || {
        record.with(|record| match (record.metrics.first(), record.metrics.last()) {
            (Some(first), Some(last)) => t_string!(
                i18n,
                tune.chart_summary,
                first = format!("{:.2}", first.train_loss),
                last = format!("{:.2}", last.train_loss),
                steps = counted::steps(i18n, last.step)
            ),
            _ => nothing().to_owned(),
        })
    });
    view! {
        <section class="card charts">
            <div class="section-head">
                <h2>{t!(i18n, tune.loss)}</h2>
                <div class="chart-legend">
                    <span class="chart-key" style="--key: var(--data-1)">{t!(i18n, tune.train_loss)}</span>
                    <span class="chart-key dots" style="--key: var(--data-2)">{t!(i18n, tune.valid_loss)}</span>
                </div>
            </div>
            <Show
                when=move || !empty.get()
                fallback=move || view! { <p class="chart-empty soft">{nothing}</p> }
            >
                <Chart series=loss label=summary cursor x_label=word!(step) x_end height=300.0/>
                <div class="small-charts">
                    {small_charts
                        .map(|(name, series)| view! { <SmallChart name series cursor x_end/> })
                        .collect_view()}
                </div>
            </Show>
        </section>
    }
}

/// One curve with the value under the cursor, or the last one; nothing where there is none.
#[component]
fn SmallChart(
    name: &'static str,
    series: Signal<Vec<Series>>,
    cursor: RwSignal<Option<f64>>,
    x_end: Signal<Option<f64>>,
) -> impl IntoView {
    let i18n = use_i18n();
    let first = move |pick: fn(&Series) -> Option<String>| series.with(|series| series.first().and_then(pick));
    let label = Signal::derive(move || first(|series| Some(series.label.clone())).unwrap_or_default());
    let count = Memo::new(move |_| series.with(|series| series.first().map_or(0, |series| series.points.len())));
    let value = move || {
        let at = cursor.get().unwrap_or(f64::MAX);
        series.with(|series| {
            let first = series.first()?;
            first.at(at).map(|point| (first.format)(point.1))
        })
    };
    let step = Signal::derive(move || t_string!(i18n, tune.step).to_owned());
    view! {
        <Show when=move || count.get() != 0>
            <figure data-chart=name data-points=move || count.get()>
                <figcaption>{label} <strong class="num">{value}</strong></figcaption>
                <Chart series label cursor x_label=step x_end height=140.0 from_zero=true reading=false/>
            </figure>
        </Show>
    }
}

/// Each point's mean over a share of its neighbours to both sides, as many before as after, so that the curve does not lag behind.
pub(super) fn smooth(points: &[(f64, f64)], share: f64) -> Vec<(f64, f64)> {
    let reach = (share * points.len() as f64) as usize;
    (0..points.len())
        .map(|at| {
            let reach = reach.min(at).min(points.len() - 1 - at);
            let near = &points[at - reach..=at + reach];
            (points[at].0, near.iter().map(|point| point.1).sum::<f64>() / near.len() as f64)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_stays_what_it_is() {
        let points: Vec<_> = (0..5).map(|step| (f64::from(step), 2.5)).collect();
        assert!(smooth(&points, LOOK_AROUND).iter().all(|point| (point.1 - 2.5).abs() < 1e-12));
    }

    #[test]
    fn a_falling_line_is_not_lifted() {
        let points: Vec<_> = (0..200).map(|step| (f64::from(step), -f64::from(step))).collect();
        assert!(
            smooth(&points, LOOK_AROUND).iter().zip(&points).all(|(smooth, point)| (smooth.1 - point.1).abs() < 1e-9)
        );
    }
}
