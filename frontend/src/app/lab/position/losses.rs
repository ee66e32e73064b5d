//! What each sibling loses by position: who is shown, the curves, and two tables of means over the same tokens.

use hearth_shared::lab::position::{Losses, Method, lengths};
use leptos::prelude::*;

use super::question::{Curve, windows};
use super::session::{Session, use_session};
use super::siblings::{COLOURS, COUNT, SIBLINGS, STRETCHED, TRAINED, rope};
use super::work::WINDOWS;
use super::{Doing, stretch, word};
use crate::app::components::chart::{Chart, Series, Stroke};
use crate::app::format;
use crate::app::i18n::{I18nContext, Locale, t, t_string, use_i18n};

/// The four, each a switch for its curve.
#[component]
pub fn Siblings() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    view! {
        <div class="position-siblings" role="group" aria-label=move || t_string!(i18n, position.siblings)>
            {(0..COUNT)
                .map(|at| {
                    let sibling = &SIBLINGS[at];
                    let limit = move || {
                        let rows = format::group(u64::from(sibling.table_rows?));
                        Some(t_string!(i18n, position.table_limit, rows = rows, trained = TRAINED))
                    };
                    let pressed = move || session.shown.with(|shown| shown[at]);
                    let switch = move |_| session.shown.update(|shown| shown[at] = !shown[at]);
                    view! {
                        <button
                            class="position-sibling"
                            data-sibling=sibling.name
                            aria-pressed=move || pressed().to_string()
                            style:--key=COLOURS[at]
                            on:click=switch
                        >
                            <strong>{move || sibling.label(i18n)}</strong>
                            <span>{move || sibling.story(i18n)}</span>
                            {move || limit().map(|limit| view! { <em>{limit}</em> })}
                        </button>
                    }
                })
                .collect_view()}
        </div>
    }
}

/// A line of the chart and of the tables.
#[derive(Clone)]
struct Row {
    label: String,
    colour: &'static str,
    stroke: Stroke,
    /// None until they are computed.
    losses: Option<Losses>,
}

fn rows(i18n: I18nContext<Locale>, session: Session) -> Vec<Row> {
    let shown = session.shown.get();
    let mut rows: Vec<Row> = (0..COUNT)
        .filter(|at| shown[*at])
        .map(|at| Row {
            label: SIBLINGS[at].label(i18n).to_owned(),
            colour: COLOURS[at],
            stroke: Stroke::Line,
            losses: session.losses(at),
        })
        .collect();
    let scaling = session.scaling.get();
    if scaling.method != Method::None {
        let (model, method) = (SIBLINGS[rope()].label(i18n), stretch::name(i18n, scaling.method));
        rows.push(Row {
            label: format!("{model} · {method} ×{}", scaling.factor),
            colour: STRETCHED,
            stroke: Stroke::Dots,
            losses: session.stretched(),
        });
    }
    rows
}

/// A point in the middle of each stretch.
fn points(losses: &Losses, curve: Curve) -> Vec<(f64, f64)> {
    let (Some(read), Some(cut)) = (losses.longest(), losses.at(TRAINED)) else {
        return Vec::new();
    };
    let width = f64::from(read.length) / read.stretches.len() as f64;
    let both = read.stretches.iter().zip(&cut.stretches).enumerate();
    both.map(|(at, (whole, cut))| {
        let y = match curve {
            Curve::Loss => *whole,
            Curve::Extra => whole - cut,
        };
        ((at as f64 + 0.5) * width, y)
    })
    .collect()
}

/// Nats with a real minus sign.
fn nats(value: f64) -> String {
    format!("{value:.2}").replace('-', "−")
}

/// A difference always has a sign.
fn signed(value: f64) -> String {
    format!("{value:+.3}").replace('-', "−")
}

#[component]
pub fn LossCard() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let rows = Memo::new_with_compare(move |_| rows(i18n, session), |_, _| true);
    let has_rows = Memo::new(move |_| rows.with(|rows| !rows.is_empty()));
    let series = Signal::derive(move || {
        let curve = session.curve.get();
        let drawn = |row: &Row| Series {
            label: row.label.clone(),
            colour: row.colour,
            stroke: row.stroke,
            points: row.losses.as_ref().map(|losses| points(losses, curve)).unwrap_or_default(),
            format: nats,
        };
        rows.with(|rows| rows.iter().map(drawn).collect::<Vec<_>>())
    });
    let label = Signal::derive(move || {
        let ends = rows.with(|rows| {
            let of = |row: &Row| {
                let split = row.losses.as_ref()?.split(TRAINED)?;
                Some(format!("{} {} → {}", row.label, nats(split.inside), nats(split.beyond)))
            };
            rows.iter().filter_map(of).collect::<Vec<_>>().join(", ")
        });
        t_string!(i18n, position.chart_label, trained = TRAINED, ends = ends)
    });
    let mark =
        Signal::derive(move || Some((f64::from(TRAINED), t_string!(i18n, position.trained_mark, trained = TRAINED))));
    let x_end = Signal::derive(move || Some(f64::from(session.longest.get())));
    let help = move || match session.curve.get() {
        Curve::Loss => t_string!(i18n, position.loss_help).to_owned(),
        Curve::Extra => t_string!(i18n, position.extra_help, trained = TRAINED),
    };
    view! {
        <section class="card position-losses" aria-labelledby="position-losses">
            <div class="section-head">
                <h2 id="position-losses">{t!(i18n, position.loss_title)}</h2>
                <Choices/>
            </div>
            <Doing/>
            <div class="position-loss-body">
                <div class="position-chart">
                    <Legend rows/>
                    <Chart
                        series label x_end mark
                        x_label=word!(i18n, position)
                        cursor=RwSignal::new(None)
                        height=340.0
                    />
                    <p class="hint">{help}</p>
                </div>
                <div class="position-tables">
                    <Show
                        when=move || has_rows.get()
                        fallback=move || view! { <p class="soft">{t!(i18n, position.none_shown)}</p> }
                    >
                        <SplitTable rows/>
                        <LengthTable rows/>
                    </Show>
                </div>
            </div>
        </section>
    }
}

/// The window's length, and what the curves show.
#[component]
fn Choices() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let curve = move |curve| match curve {
        Curve::Loss => t_string!(i18n, position.curve_loss).to_owned(),
        Curve::Extra => t_string!(i18n, position.curve_extra, trained = TRAINED),
    };
    view! {
        <div class="position-choices">
            <span class="field-label" id="position-window">{t!(i18n, position.window)}</span>
            <div class="segments" role="group" aria-labelledby="position-window">
                {windows()
                    .into_iter()
                    .map(|window| {
                        view! {
                            <button
                                data-window=window
                                aria-pressed=move || (session.longest.get() == window).to_string()
                                on:click=move |_| session.longest.set(window)
                            >
                                {window}
                            </button>
                        }
                    })
                    .collect_view()}
            </div>
            <div class="segments" role="group" aria-label=move || t_string!(i18n, position.curves)>
                {[Curve::Loss, Curve::Extra]
                    .into_iter()
                    .map(|which| {
                        view! {
                            <button
                                aria-pressed=move || (session.curve.get() == which).to_string()
                                on:click=move |_| session.curve.set(which)
                            >
                                {move || curve(which)}
                            </button>
                        }
                    })
                    .collect_view()}
            </div>
        </div>
    }
}

#[component]
fn Legend(rows: Memo<Vec<Row>>) -> impl IntoView {
    view! {
        <div class="chart-legend">
            {move || {
                rows.get()
                    .into_iter()
                    .map(|row| {
                        let dots = row.stroke == Stroke::Dots;
                        view! {
                            <span class="chart-key" class:dots=dots style:--key=row.colour>
                                {row.label}
                            </span>
                        }
                    })
                    .collect_view()
            }}
        </div>
    }
}

/// Inside and beyond the training length, and what the tokens beyond cost when they are read in short windows.
#[component]
fn SplitTable(rows: Memo<Vec<Row>>) -> impl IntoView {
    let i18n = use_i18n();
    let line = |row: Row| {
        let split = row.losses.as_ref().and_then(|losses| losses.split(TRAINED));
        let cell = |value: Option<f64>, format: fn(f64) -> String| value.map_or_else(|| "…".to_owned(), format);
        let extra = split.map(|split| split.beyond - split.cut);
        // Differences below a hundredth of a nat are within what other windows would change.
        let tone = extra.map(|extra| if extra > 0.01 { "worse" } else { "fine" });
        view! {
            <tr>
                <th scope="row">
                    <span class="chart-key" style:--key=row.colour>
                        {row.label}
                    </span>
                </th>
                <td>{cell(split.map(|split| split.inside), nats)}</td>
                <td>{cell(split.map(|split| split.beyond), nats)}</td>
                <td>{cell(split.map(|split| split.cut), nats)}</td>
                <td class=tone>{cell(extra, signed)}</td>
            </tr>
        }
    };
    view! {
        <div class="position-scroll" tabindex="0" role="region" aria-label=word!(i18n, split_title)>
            <table class="position-table num">
                <caption>{t!(i18n, position.split_title)}</caption>
                <thead>
                    <tr>
                        <th scope="col">{t!(i18n, position.model)}</th>
                        <th scope="col">{move || t_string!(i18n, position.inside, trained = TRAINED)}</th>
                        <th scope="col">{t!(i18n, position.beyond)}</th>
                        <th scope="col">{move || t_string!(i18n, position.cut, trained = TRAINED)}</th>
                        <th scope="col">{t!(i18n, position.extra)}</th>
                    </tr>
                </thead>
                <tbody>{move || rows.get().into_iter().map(line).collect_view()}</tbody>
            </table>
        </div>
        <p class="hint">{move || t_string!(i18n, position.split_help, trained = TRAINED)}</p>
    }
}

/// Means over all tokens, by the length of the windows they are read in.
#[component]
fn LengthTable(rows: Memo<Vec<Row>>) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let read = move || lengths(TRAINED, session.longest.get());
    let line = move |row: Row| {
        let mean = |length: u32| row.losses.as_ref().and_then(|losses| losses.at(length)).map(|read| read.mean());
        let cells = read().into_iter().map(|length| {
            view! { <td>{mean(length).map_or_else(|| "…".to_owned(), |mean| format!("{mean:.3}"))}</td> }
        });
        let cells = cells.collect_view();
        view! {
            <tr>
                <th scope="row">
                    <span class="chart-key" style:--key=row.colour>
                        {row.label}
                    </span>
                </th>
                {cells}
            </tr>
        }
    };
    let about = move || {
        let windows = rows.with(|rows| rows.iter().find_map(|row| row.losses.as_ref().map(|losses| losses.windows)));
        let (windows, window) = (windows.unwrap_or(WINDOWS), session.longest.get());
        t_string!(
            i18n,
            position.length_help,
            windows = windows,
            tokens = format::group(u64::from(windows) * u64::from(window))
        )
    };
    view! {
        <div class="position-scroll" tabindex="0" role="region" aria-label=word!(i18n, length_title)>
            <table class="position-table num">
                <caption>{t!(i18n, position.length_title)}</caption>
                <thead>
                    <tr>
                        <th scope="col">{t!(i18n, position.model)}</th>
                        {move || {
                            read().into_iter().map(|length| view! { <th scope="col">{length}</th> }).collect_view()
                        }}
                    </tr>
                </thead>
                <tbody>{move || rows.get().into_iter().map(line).collect_view()}</tbody>
            </table>
        </div>
        <p class="hint">{about}</p>
    }
}

#[cfg(test)]
mod tests {
    use hearth_shared::lab::position::{LengthLoss, STRETCHES, Scaling};

    use super::*;

    #[test]
    fn curves_stand_in_the_middle_of_their_stretch() {
        let read = |length, loss| LengthLoss { length, stretches: vec![loss; STRETCHES] };
        let losses = Losses {
            model: "rope".into(),
            scaling: Scaling::NONE,
            windows: 1,
            lengths: vec![read(TRAINED, 4.0), read(4 * TRAINED, 4.5)],
            ms: 0.0,
        };
        let whole = points(&losses, Curve::Loss);
        let width = f64::from(4 * TRAINED) / STRETCHES as f64;
        assert_eq!((whole.len(), whole[0], whole[1]), (STRETCHES, (width / 2.0, 4.5), (width * 1.5, 4.5)));
        assert!(points(&losses, Curve::Extra).iter().all(|point| point.1 == 0.5));
    }

    #[test]
    fn differences_have_a_real_sign() {
        assert_eq!((signed(0.25), signed(-0.0312), nats(-0.5)), ("+0.250".into(), "−0.031".into(), "−0.50".into()));
    }
}
