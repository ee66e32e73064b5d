//! Identical and timed: both token sequences, how far their logits are apart, and milliseconds a token against the length of the
//! text.

use leptos::prelude::*;

use super::run::{Run, Side};
use super::session::use_session;
use super::word;
use super::words::Words;
use crate::app::components::chart::{Chart, Series, Stroke};
use crate::app::components::icons::Icon;
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::lab::{figure, milliseconds};

/// Logits further apart than this are no rounding.
const ROUNDING: f32 = 1e-3;

#[component]
pub fn Timed() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    view! {
        <section class="card cache-timed" aria-labelledby="timed-title">
            <div class="section-head">
                <h2 id="timed-title">{t!(i18n, cache.timed_title)}</h2>
                <Verdict/>
            </div>
            <p class="cache-help">{t!(i18n, cache.timed_help)}</p>
            <Figures/>
            <Show
                when=move || !session.host.rehearsal.get()
                fallback=move || view! { <p class="hint">{t!(i18n, cache.times_later)}</p> }
            >
                <Times/>
            </Show>
            <div class="cache-sides">
                <Words side=Side::Kept title=word!(i18n, kept) name="kept"/>
                <Words side=Side::Again title=word!(i18n, again) name="again"/>
            </div>
        </section>
    }
}

/// Whether the two are the same.
#[component]
fn Verdict() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let parts = Memo::new(move |_| {
        session.run.with(|run| {
            let run = run.as_ref().filter(|run| !run.steps.is_empty())?;
            let parts = run.parts_at(Side::Again);
            Some((run.steps.len(), parts.map(|step| (step, run.steps[step].kept.margin))))
        })
    });
    view! {
        <span aria-live="polite" id="cache-verdict">
            {move || match parts.get() {
                None => ().into_any(),
                Some((count, None)) => {
                    view! {
                        <span class="badge good">
                            <Icon name="check" size=14/>
                            {t_string!(i18n, cache.equal, count = count)}
                        </span>
                    }
                        .into_any()
                }
                Some((_, Some((step, margin)))) => {
                    let margin = figure(f64::from(margin));
                    view! {
                        <span class="badge warn">
                            {t_string!(i18n, cache.parted, index = step + 1, margin = margin)}
                        </span>
                    }
                        .into_any()
                }
            }}
        </span>
    }
}

/// Totals, their ratio, and the logits.
#[component]
fn Figures() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let of_run = move |read: fn(&Run) -> Option<f64>| session.run.with(|run| read(run.as_ref()?));
    // An example has no times: they would be another machine's.
    let is_own = move || !session.host.rehearsal.get();
    let total =
        move |side: Side| session.host.measured(session.run.with(|run| run.as_ref().map(|run| run.total_ms(side)))?);
    let late = move |side: Side| {
        let ms = session.host.measured(session.run.with(|run| run.as_ref()?.late_ms(side))?)?;
        Some(t_string!(i18n, cache.each_at_end, ms = ms))
    };
    let ratio = move || of_run(Run::ratio).filter(|_| is_own()).map(|ratio| format!("{ratio:.1} ×"));
    let apart = move || of_run(|run| run.apart().map(f64::from));
    let same = move || apart().is_none_or(|apart| apart < f64::from(ROUNDING));
    view! {
        <dl class="cache-figures num">
            <div>
                <dt class="chart-key" style=format!("--key: {}", Side::Kept.colour())>{t!(i18n, cache.kept)}</dt>
                <dd>{move || total(Side::Kept)}</dd>
                <dd class="hint">{move || late(Side::Kept)}</dd>
            </div>
            <div>
                <dt class="chart-key" style=format!("--key: {}", Side::Again.colour())>{t!(i18n, cache.again)}</dt>
                <dd>{move || total(Side::Again)}</dd>
                <dd class="hint">{move || late(Side::Again)}</dd>
            </div>
            <div>
                <dt>{t!(i18n, cache.ratio)}</dt>
                <dd id="cache-ratio">{ratio}</dd>
                <dd class="hint">{t!(i18n, cache.ratio_hint)}</dd>
            </div>
            <div>
                <dt>{t!(i18n, cache.apart)}</dt>
                <dd id="cache-apart" class:cache-bad=move || !same()>{move || apart().map(figure)}</dd>
                <dd class="hint">
                    {move || if same() { t_string!(i18n, cache.apart_hint) } else { t_string!(i18n, cache.apart_bad) }}
                </dd>
            </div>
        </dl>
    }
}

/// Milliseconds a token, side by side.
#[component]
fn Times() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let has_window =
        Memo::new(move |_| session.run.with(|run| run.as_ref().is_some_and(|run| run.begun.window.is_some())));
    let name = move |side| match side {
        Side::Kept => t_string!(i18n, cache.kept),
        Side::Again => t_string!(i18n, cache.again),
        Side::Windowed => t_string!(i18n, cache.windowed),
    };
    let series = Signal::derive(move || {
        session.run.with(|run| {
            let Some(run) = run else {
                return Vec::new();
            };
            let line = |side: Side| Series {
                label: name(side).to_owned(),
                colour: side.colour(),
                stroke: Stroke::Line,
                points: run.tokens(side).enumerate().map(|(step, token)| (run.length(step) as f64, token.ms)).collect(),
                format: milliseconds,
            };
            let mut lines = vec![line(Side::Again), line(Side::Kept)];
            lines.extend(run.begun.window.map(|_| line(Side::Windowed)));
            lines
        })
    });
    let x_end = Signal::derive(move || {
        session.run.with(|run| run.as_ref().map(|run| (run.prompt() + u64::from(run.begun.count)) as f64 - 1.0))
    });
    let label = Signal::derive(move || {
        let late = |side| session.run.with(|run| run.as_ref()?.late_ms(side)).map(milliseconds).unwrap_or_default();
        t_string!(i18n, cache.chart_label, kept = late(Side::Kept), again = late(Side::Again))
    });
    view! {
        <figure class="cache-chart">
            <figcaption class="section-head">
                <h3>{t!(i18n, cache.per_token)}</h3>
                <div class="chart-legend">
                    {[Side::Again, Side::Kept]
                        .map(|side| {
                            view! {
                                <span class="chart-key" style=format!("--key: {}", side.colour())>
                                    {move || name(side)}
                                </span>
                            }
                        })
                        .collect_view()}
                    <Show when=move || has_window.get()>
                        <span class="chart-key" style=format!("--key: {}", Side::Windowed.colour())>
                            {move || name(Side::Windowed)}
                        </span>
                    </Show>
                </div>
            </figcaption>
            <Chart series label cursor=session.cursor x_label=word!(i18n, position) x_end height=240.0 from_zero=true/>
            <p class="hint cache-axis" aria-hidden="true">{t!(i18n, cache.position)} " →"</p>
            <p class="hint">{t!(i18n, cache.chart_hint)}</p>
        </figure>
    }
}
