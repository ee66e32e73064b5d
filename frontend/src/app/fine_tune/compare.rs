//! Any curve of any runs on one drawing, and what sets their settings apart. What is chosen stands in the address.

mod chooser;
mod curves;

use gloo::timers::callback::Timeout;
use hearth_shared::api::fine_tuning::Job;
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::feed::{self, Feed, Record};
use super::names::{self, Files};
use super::run_charts::smooth;
use super::settings::{self, Differences};
use crate::app::components::chart::{Chart, Log, Series, Stroke};
use crate::app::components::field::{CheckField, ChoiceField, Slider};
use crate::app::components::icons::Icon;
use crate::app::i18n::{I18nContext, Locale, t, t_string, use_i18n};
use crate::app::{address, format};
use chooser::{Chooser, Known};
use curves::{Over, What, of_word, points, word_of};

/// One colour a run; more than these can't be told apart.
const COLOURS: [&str; 6] =
    ["var(--data-1)", "var(--data-2)", "var(--data-3)", "var(--warn)", "var(--good)", "var(--ink-faint)"];

/// What is drawn, and how.
#[derive(Clone, Copy)]
struct View {
    runs: RwSignal<Vec<String>>,
    what: RwSignal<What>,
    over: RwSignal<Over>,
    log_x: RwSignal<bool>,
    log_y: RwSignal<bool>,
    /// Share of the run, percent.
    smoothing: RwSignal<f64>,
    /// What the runs learn from.
    files: Files,
}

impl View {
    fn from_address() -> Self {
        let pairs = address::query();
        let find = |name: &str| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let runs = find("runs").unwrap_or_default().split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect();
        Self {
            runs: RwSignal::new(runs),
            what: RwSignal::new(of_word(&What::WORDS, find("what").unwrap_or_default())),
            over: RwSignal::new(of_word(&Over::WORDS, find("over").unwrap_or_default())),
            log_x: RwSignal::new(find("log_x").is_some()),
            log_y: RwSignal::new(find("log_y").is_some()),
            smoothing: RwSignal::new(find("smoothing").and_then(|share| share.parse().ok()).unwrap_or(3.0)),
            files: Files::new(),
        }
    }

    fn pairs(self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![("runs", self.runs.with(|runs| runs.join(",")))];
        let mut say = |name, word: &str, usual: &str| {
            if word != usual {
                pairs.push((name, word.to_owned()));
            }
        };
        say("what", word_of(&What::WORDS, self.what.get()), "train_loss");
        say("over", word_of(&Over::WORDS, self.over.get()), "steps");
        say("log_x", if self.log_x.get() { "1" } else { "" }, "");
        say("log_y", if self.log_y.get() { "1" } else { "" }, "");
        say("smoothing", &self.smoothing.get().to_string(), "3");
        pairs
    }
}

#[component]
pub fn Compare() -> impl IntoView {
    let i18n = use_i18n();
    let view = View::from_address();
    provide_context(view);
    let known = Known::new();
    spawn_local(known.load(view));
    let pending = StoredValue::new_local(None::<Timeout>);
    Effect::new(move |_| {
        let pairs = view.pairs();
        pending.set_value(Some(Timeout::new(300, move || address::replace("/fine-tune/compare", &pairs))));
    });
    view! {
        <div class="page compare">
            <a class="back soft" href="/fine-tune">
                <Icon name="back" size=16/>
                {t!(i18n, tune.title)}
            </a>
            <header class="page-head">
                <div>
                    <h1>{t!(i18n, tune.compare_title)}</h1>
                    <p>{t!(i18n, tune.compare_lead)}</p>
                </div>
            </header>
            <Chooser known/>
            // Drawn anew for another choice: each run's stream lives as long as its drawing.
            {move || {
                let runs = view.runs.get();
                if runs.is_empty() {
                    view! { <p class="card soft">{t!(i18n, tune.compare_none)}</p> }.into_any()
                } else {
                    view! { <Overlay runs/> }.into_any()
                }
            }}
        </div>
    }
}

/// The curves of these runs, the last numbers of each, and their settings.
#[component]
fn Overlay(runs: Vec<String>) -> impl IntoView {
    let i18n = use_i18n();
    let view = expect_context::<View>();
    let feeds: Vec<Feed> = runs.into_iter().map(feed::follow).collect();
    let feeds = StoredValue::new(feeds);
    let series = Signal::derive(move || {
        let (what, over, share) = (view.what.get(), view.over.get(), view.smoothing.get() / 100.0);
        let mut out = Vec::new();
        for (at, feed) in feeds.get_value().into_iter().enumerate() {
            let label = feed.job.with(|job| job.ready().map(|job| names::apart(i18n, job, view.files)));
            let label = label.unwrap_or_default();
            let raw = feed.record.with(|record| points(&record.metrics, what, over));
            let make = |stroke, points| Series {
                label: label.clone(),
                colour: COLOURS[at % COLOURS.len()],
                stroke,
                points,
                format: what.format(),
            };
            if what == What::Valid {
                out.push(make(Stroke::Dots, raw));
            } else {
                out.push(make(Stroke::Line, smooth(&raw, share)));
            }
        }
        out
    });
    let log = Signal::derive(move || Log { x: view.log_x.get(), y: view.log_y.get() });
    let x_label = Signal::derive(move || {
        match view.over.get() {
            Over::Steps => t_string!(i18n, tune.over_steps),
            Over::Tokens => t_string!(i18n, tune.over_tokens),
            Over::Time => t_string!(i18n, tune.over_time),
        }
        .to_owned()
    });
    let label = Signal::derive(move || t_string!(i18n, tune.compare_title).to_owned());
    // Of each run: whether it has said anything, and how much of that is drawn.
    let drawn = Memo::new(move |_| {
        let (what, over) = (view.what.get(), view.over.get());
        let count = |feed: &Feed| {
            feed.record.with(|record| (!record.metrics.is_empty(), points(&record.metrics, what, over).len()))
        };
        feeds.with_value(|feeds| feeds.iter().map(count).collect::<Vec<(bool, usize)>>())
    });
    let all_points = move || drawn.with(|drawn| drawn.iter().map(|(_, points)| points).sum::<usize>().to_string());
    let lines = move || drawn.with(|drawn| drawn.iter().filter(|(_, points)| *points > 0).count().to_string());
    view! {
        <section
            class="card charts"
            data-points=all_points
            data-lines=lines
            data-what=move || word_of(&What::WORDS, view.what.get())
            data-over=move || word_of(&Over::WORDS, view.over.get())
        >
            <Legend feeds drawn/>
            <Chart
                series label log x_label
                cursor=RwSignal::new(None)
                x_end=Signal::stored(None)
                height=360.0
            />
            <Controls/>
        </section>
        <Ends feeds/>
        <Apart feeds/>
    }
}

/// The runs by their colours, and which of them have no such numbers.
#[component]
fn Legend(feeds: StoredValue<Vec<Feed>>, drawn: Memo<Vec<(bool, usize)>>) -> impl IntoView {
    let i18n = use_i18n();
    let entry = move |(at, feed): (usize, Feed)| {
        let none = move || drawn.with(|drawn| drawn.get(at).is_some_and(|&(said, points)| said && points == 0));
        view! {
            <li>
                <RunKey at feed/>
                <Show when=none>
                    <small class="soft" data-none=at.to_string()>{t!(i18n, tune.compare_no_values)}</small>
                </Show>
            </li>
        }
    };
    view! {
        <ul class="chart-legend compare-legend">
            {feeds.get_value().into_iter().enumerate().map(entry).collect_view()}
        </ul>
    }
}

/// A run's name beside its colour. `at`: its place among those that are chosen.
#[component]
fn RunKey(at: usize, feed: Feed) -> impl IntoView {
    let i18n = use_i18n();
    let View { files, .. } = expect_context::<View>();
    let name = move || feed.job.with(|job| job.ready().map(|job| names::apart(i18n, job, files)));
    let colour = COLOURS[at % COLOURS.len()];
    view! { <span class="chart-key" style:--key=colour>{name}</span> }
}

#[component]
fn Controls() -> impl IntoView {
    let i18n = use_i18n();
    let view = expect_context::<View>();
    macro_rules! word {
        ($key:ident) => {
            Signal::derive(move || t_string!(i18n, tune.$key).to_owned())
        };
    }
    let none = Signal::stored(String::new());
    view! {
        <div class="options compare-controls">
            <ChoiceField
                label=word!(compare_value) hint=none value=view.what name="what"
                choices=vec![
                    (What::Train, word!(train_loss)), (What::Valid, word!(valid_loss)), (What::Accuracy, word!(accuracy)),
                    (What::Rate, word!(lr)), (What::Norm, word!(grad_norm)), (What::Speed, word!(speed)),
                    (What::Utilisation, word!(utilisation)), (What::Memory, word!(memory)),
                    (What::LossScale, word!(loss_scale)),
                ]
            />
            <ChoiceField
                label=word!(compare_over) hint=none value=view.over name="over"
                choices=vec![
                    (Over::Steps, word!(over_steps)), (Over::Tokens, word!(over_tokens)), (Over::Time, word!(over_time)),
                ]
            />
            <Slider
                label=word!(smoothing) hint=word!(smoothing_hint) value=view.smoothing min=0.0 max=20.0 step=0.5 digits=1
            />
            <div class="compare-logs">
                <CheckField label=word!(log_x) hint=none value=view.log_x name="log_x"/>
                <CheckField label=word!(log_y) hint=none value=view.log_y name="log_y"/>
            </div>
        </div>
    }
}

/// Where each run stands.
#[component]
fn Ends(feeds: StoredValue<Vec<Feed>>) -> impl IntoView {
    let i18n = use_i18n();
    let row = move |(at, feed): (usize, Feed)| {
        let number =
            move |read: fn(&Record) -> Option<String>| move || feed.record.with(read).unwrap_or_else(|| "—".to_owned());
        view! {
            <tr>
                <td><RunKey at feed/></td>
                <td>{number(|record| record.metrics.last().map(|last| format::group(last.step)))}</td>
                <td>{number(|record| record.metrics.last().map(|last| format::count(last.tokens)))}</td>
                <td>{number(|record| record.metrics.last().map(|last| format!("{:.3}", last.train_loss)))}</td>
                <td>{number(|record| {
                    let all = record.metrics.iter().filter_map(|metrics| metrics.valid_loss);
                    all.min_by(f64::total_cmp).map(|loss| format!("{loss:.3}"))
                })}</td>
            </tr>
        }
    };
    view! {
        <section class="card compare-scroll" tabindex="0">
            <table class="num">
                <thead>
                    <tr>
                        <th>{t!(i18n, tune.run_name)}</th>
                        <th>{t!(i18n, tune.over_steps)}</th>
                        <th>{t!(i18n, tune.over_tokens)}</th>
                        <th>{t!(i18n, tune.last_loss)}</th>
                        <th>{t!(i18n, tune.best_valid)}</th>
                    </tr>
                </thead>
                <tbody>{feeds.get_value().into_iter().enumerate().map(row).collect_view()}</tbody>
            </table>
        </section>
    }
}

/// The settings that are not the same in all of them.
#[component]
fn Apart(feeds: StoredValue<Vec<Feed>>) -> impl IntoView {
    let i18n = use_i18n();
    let View { files, .. } = expect_context::<View>();
    let found = Memo::new(move |_| {
        let of = |job: &Job| settings::of(job, &|id: &str| files.name(id));
        let all = feeds.with_value(|feeds| {
            feeds.iter().map(|feed| feed.job.with(|job| job.ready().and_then(of))).collect::<Vec<_>>()
        });
        settings::differing(&all)
    });
    let rows = move || found.with(|found| found.rows.len());
    // A job that was never decided, or trains nothing.
    let without = Memo::new(move |_| {
        let found = found.get();
        let all = feeds.get_value().into_iter().enumerate();
        all.filter(|(at, feed)| !found.runs.contains(at) && feed.job.with(|job| job.ready().is_some()))
            .map(|(at, _)| at)
            .collect::<Vec<usize>>()
    });
    let known = move || found.with(|found| found.runs.len());
    let same = move || match known() {
        0 | 1 => t_string!(i18n, tune.compare_alone),
        _ => t_string!(i18n, tune.compare_same),
    };
    view! {
        <section class="card compare-scroll" tabindex="0" data-differences=move || rows().to_string()>
            <div class="section-head">
                <h2>{t!(i18n, tune.compare_settings)}</h2>
                <p class="soft">{t!(i18n, tune.compare_only)}</p>
            </div>
            <Show when=move || rows() != 0 fallback=move || view! { <p class="soft">{same}</p> }>
                {move || found.with(|found| table(i18n, found, feeds))}
            </Show>
            <Show when=move || without.with(|without| !without.is_empty())>
                <p class="soft compare-without">
                    {t!(i18n, tune.compare_without)}
                    {move || {
                        let keys = without.get().into_iter();
                        let key = |at: usize| feeds.with_value(|feeds| feeds.get(at).copied()).map(|feed| (at, feed));
                        keys.filter_map(key).map(|(at, feed)| view! { <RunKey at feed/> }).collect_view()
                    }}
                </p>
            </Show>
        </section>
    }
}

fn table(i18n: I18nContext<Locale>, found: &Differences, feeds: StoredValue<Vec<Feed>>) -> impl IntoView + use<> {
    let feeds = feeds.get_value();
    let heads = found.runs.iter().filter_map(|&at| feeds.get(at).map(|&feed| view! { <th><RunKey at feed/></th> }));
    let heads = heads.collect_view();
    let row = |(name, values): &(String, Vec<String>)| {
        let values = values.iter().map(|value| view! { <td>{value.clone()}</td> }).collect_view();
        view! { <tr data-setting=name.clone()><td><code>{name.clone()}</code></td>{values}</tr> }
    };
    let rows = found.rows.iter().map(row).collect_view();
    view! {
        <table class="num">
            <thead><tr><th>{t!(i18n, tune.setting)}</th>{heads}</tr></thead>
            <tbody>{rows}</tbody>
        </table>
    }
}
