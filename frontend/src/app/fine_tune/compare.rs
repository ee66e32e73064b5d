//! Any curve of any runs on one drawing, and what sets their settings apart. What is chosen stands in the address.

use std::collections::BTreeMap;

use gloo::timers::callback::Timeout;
use hearth_shared::api::List;
use hearth_shared::api::fine_tuning::Job;
use hearth_shared::event::Metrics;
use leptos::prelude::*;
use serde_json::Value;
use wasm_bindgen_futures::spawn_local;

use super::ALL_JOBS;
use super::feed::{self, Feed, Record};
use super::names::{self, Files};
use super::run_charts::smooth;
use crate::app::components::chart::{Chart, Log, Series, Stroke};
use crate::app::components::field::{CheckField, ChoiceField, Slider};
use crate::app::components::icons::Icon;
use crate::app::i18n::{I18nContext, Locale, t, t_string, use_i18n};
use crate::app::{address, client, format};

/// One colour a run; more than these can't be told apart.
const COLOURS: [&str; 6] =
    ["var(--data-1)", "var(--data-2)", "var(--data-3)", "var(--warn)", "var(--good)", "var(--ink-faint)"];
/// Runs that are chosen where an address chooses none.
const FIRST: usize = 2;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum What {
    #[default]
    Train,
    Valid,
    Accuracy,
    Rate,
    Norm,
    Speed,
    Memory,
}

impl What {
    const WORDS: [(Self, &'static str); 7] = [
        (Self::Train, "train_loss"),
        (Self::Valid, "valid_loss"),
        (Self::Accuracy, "accuracy"),
        (Self::Rate, "lr"),
        (Self::Norm, "grad_norm"),
        (Self::Speed, "tokens_per_second"),
        (Self::Memory, "memory"),
    ];

    fn of(self, metrics: &Metrics) -> Option<f64> {
        match self {
            Self::Train => Some(metrics.train_loss),
            Self::Valid => metrics.valid_loss,
            Self::Accuracy => Some(metrics.train_accuracy),
            Self::Rate => Some(metrics.lr),
            Self::Norm => Some(metrics.grad_norm).filter(|norm| norm.is_finite()),
            Self::Speed => feed::speed(metrics),
            Self::Memory => metrics.memory.map(|bytes| bytes as f64),
        }
    }

    fn format(self) -> fn(f64) -> String {
        match self {
            Self::Train | Self::Valid | Self::Norm => |value| format!("{value:.3}"),
            Self::Accuracy => |value| format!("{:.0}%", value * 100.0),
            Self::Rate => format::small,
            Self::Speed => format::rate,
            Self::Memory => |value| format::bytes(value as u64),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Over {
    #[default]
    Steps,
    Tokens,
    Time,
}

impl Over {
    const WORDS: [(Self, &'static str); 3] = [(Self::Steps, "steps"), (Self::Tokens, "tokens"), (Self::Time, "time")];
}

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

fn of_word<T: Copy + Default>(words: &[(T, &'static str)], word: &str) -> T {
    words.iter().find(|(_, known)| *known == word).map(|(value, _)| *value).unwrap_or_default()
}

fn word_of<T: Copy + PartialEq>(words: &[(T, &'static str)], value: T) -> &'static str {
    words.iter().find(|(known, _)| *known == value).map_or("", |(_, word)| word)
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
    let jobs = RwSignal::new(Vec::<Job>::new());
    spawn_local(async move {
        if let Ok(list) = client::get::<List<Job>>(&format!("{ALL_JOBS}?limit=100")).await {
            let newest =
                list.data.iter().filter(|job| job.hearth.step > 0).take(FIRST).map(|job| job.id.clone()).collect();
            if view.runs.try_with_untracked(Vec::is_empty) == Some(true) {
                view.runs.set(newest);
            }
            view.files.learn(&list.data);
            let _ = jobs.try_set(list.data);
        }
    });
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
            <Chooser jobs/>
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

/// What a person calls a run, and the start of its id, for many are called the same.
fn name_of(i18n: I18nContext<Locale>, job: &Job, files: Files) -> String {
    let tail: String = job.id.trim_start_matches("ftjob-").chars().take(8).collect();
    format!("{} · {tail}", names::name(i18n, job, files))
}

#[component]
fn Chooser(jobs: RwSignal<Vec<Job>>) -> impl IntoView {
    let i18n = use_i18n();
    let View { runs, files, .. } = expect_context::<View>();
    let colour = move |id: &str| {
        let at = runs.with(|runs| runs.iter().position(|run| run == id))?;
        Some(COLOURS[at % COLOURS.len()])
    };
    let toggle = move |id: &str| {
        runs.update(|runs| match runs.iter().position(|run| run == id) {
            Some(at) => drop(runs.remove(at)),
            None if runs.len() < COLOURS.len() => runs.push(id.to_owned()),
            None => {}
        });
    };
    view! {
        <fieldset class="compare-runs">
            <legend class="field-label">{t!(i18n, tune.compare_choose)}</legend>
            <For each=move || jobs.get() key=|job| job.id.clone() let:job>
                {
                    let (id, paint, check) = (job.id.clone(), job.id.clone(), job.id.clone());
                    let name = move || name_of(i18n, &job, files);
                    view! {
                        <label class="chip" style:--key=move || colour(&paint).unwrap_or("var(--line-strong)")>
                            <input
                                type="checkbox"
                                value=id.clone()
                                prop:checked=move || colour(&check).is_some()
                                on:change=move |_| toggle(&id)
                            />
                            <span class="chart-key">{name}</span>
                        </label>
                    }
                }
            </For>
        </fieldset>
    }
}

/// The curves of these runs, the last numbers of each, and their settings.
#[component]
fn Overlay(runs: Vec<String>) -> impl IntoView {
    let i18n = use_i18n();
    let view = expect_context::<View>();
    let feeds: Vec<Feed> = runs.into_iter().map(feed::follow).collect();
    let feeds = StoredValue::new(feeds);
    let job = |feed: Feed| feed.job.with(|job| job.ready().cloned());
    let series = Signal::derive(move || {
        let (what, over, share) = (view.what.get(), view.over.get(), view.smoothing.get() / 100.0);
        let mut out = Vec::new();
        for (at, feed) in feeds.get_value().into_iter().enumerate() {
            let label = job(feed).map(|job| name_of(i18n, &job, view.files)).unwrap_or_default();
            let raw = feed.record.with(|record| points(record, what, over));
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
    let drawn =
        move || series.with(|series| series.iter().map(|series| series.points.len()).sum::<usize>().to_string());
    view! {
        <section class="card charts" data-points=drawn>
            <Controls/>
            <Chart
                series label log x_label
                cursor=RwSignal::new(None)
                x_end=Signal::stored(None)
                height=360.0
            />
        </section>
        <Ends feeds/>
        <Differences feeds/>
    }
}

fn points(record: &Record, what: What, over: Over) -> Vec<(f64, f64)> {
    let start = record.times.first().copied().unwrap_or(0);
    let x = |at: usize, metrics: &Metrics| match over {
        Over::Steps => metrics.step as f64,
        Over::Tokens => metrics.tokens as f64,
        Over::Time => (record.times[at] - start) as f64,
    };
    let all = record.metrics.iter().enumerate();
    all.filter_map(|(at, metrics)| Some((x(at, metrics), what.of(metrics)?))).collect()
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
                    (What::Memory, word!(memory)),
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
    let View { files, .. } = expect_context::<View>();
    let row = move |(at, feed): (usize, Feed)| {
        let number =
            move |read: fn(&Record) -> Option<String>| move || feed.record.with(read).unwrap_or_else(|| "—".to_owned());
        let name = move || feed.job.with(|job| job.ready().map(|job| name_of(i18n, job, files)));
        let key = format!("--key: {}", COLOURS[at % COLOURS.len()]);
        view! {
            <tr>
                <td><span class="chart-key" style=key>{name}</span></td>
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
fn Differences(feeds: StoredValue<Vec<Feed>>) -> impl IntoView {
    let i18n = use_i18n();
    let View { files, .. } = expect_context::<View>();
    let rows = Memo::new(move |_| {
        let settings = |feed: &Feed| feed.job.with(|job| job.ready().map(settings).unwrap_or_default());
        differing(&feeds.with_value(|feeds| feeds.iter().map(settings).collect::<Vec<_>>()))
    });
    let heads = move || {
        feeds
            .get_value()
            .into_iter()
            .enumerate()
            .map(|(at, feed)| {
                let key = format!("--key: {}", COLOURS[at % COLOURS.len()]);
                let name = move || feed.job.with(|job| job.ready().map(|job| name_of(i18n, job, files)));
                view! { <th><span class="chart-key" style=key>{name}</span></th> }
            })
            .collect_view()
    };
    view! {
        <section
            class="card compare-scroll"
            tabindex="0"
            data-differences=move || rows.with(|rows| rows.len().to_string())
        >
            <div class="section-head">
                <h2>{t!(i18n, tune.compare_settings)}</h2>
                <p class="soft">{t!(i18n, tune.compare_only)}</p>
            </div>
            <Show
                when=move || rows.with(|rows| !rows.is_empty())
                fallback=move || view! { <p class="soft">{t!(i18n, tune.compare_same)}</p> }
            >
                <table class="num">
                    <thead><tr><th>{t!(i18n, tune.setting)}</th>{heads()}</tr></thead>
                    <tbody>
                        {move || {
                            rows.get()
                                .into_iter()
                                .map(|(name, values)| {
                                    let values = values.into_iter().map(|value| view! { <td>{value}</td> }).collect_view();
                                    view! { <tr><td><code>{name}</code></td>{values}</tr> }
                                })
                                .collect_view()
                        }}
                    </tbody>
                </table>
            </Show>
        </section>
    }
}

/// What a run was given, every value under its path.
fn settings(job: &Job) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    out.insert("model".to_owned(), job.model.clone());
    out.insert("training_file".to_owned(), job.training_file.clone());
    if let Some(file) = &job.validation_file {
        out.insert("validation_file".to_owned(), file.clone());
    }
    if let Some(spec) = job.hearth.spec.as_ref().and_then(|spec| serde_json::to_value(spec).ok()) {
        flatten("", &spec, &mut out);
    }
    out
}

fn flatten(path: &str, value: &Value, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, out);
            }
        }
        Value::String(text) => drop(out.insert(path.to_owned(), text.clone())),
        Value::Null => {}
        other => drop(out.insert(path.to_owned(), other.to_string())),
    }
}

/// The names that don't have one value in all, with the value in each.
fn differing(all: &[BTreeMap<String, String>]) -> Vec<(String, Vec<String>)> {
    let mut names: Vec<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| all.windows(2).any(|pair| pair[0].get(*name) != pair[1].get(*name)))
        .map(|name| (name.clone(), all.iter().map(|one| one.get(name).cloned().unwrap_or("—".to_owned())).collect()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        let run = |json: Value| {
            let mut out = BTreeMap::new();
            flatten("", &json, &mut out);
            out
        };
        let a = run(serde_json::json!({"lr": 0.1, "adapter": {"kind": "lora", "r": 4}, "seed": 1, "ema": null}));
        let b = run(serde_json::json!({"lr": 0.1, "adapter": {"kind": "ia3"}, "seed": 2}));
        let rows = differing(&[a, b]);
        let words: Vec<_> = rows.iter().map(|(name, values)| format!("{name}: {}", values.join("|"))).collect();
        assert_eq!(words, ["adapter.kind: lora|ia3", "adapter.r: 4|—", "seed: 1|2"]);
    }

    #[test]
    fn curves_run_over_steps_tokens_or_time() {
        let metrics = |step, tokens| Metrics { step, tokens, train_loss: 2.0, ..Metrics::default() };
        let record =
            Record { metrics: vec![metrics(1, 10), metrics(2, 30)], times: vec![100, 107], ..Record::default() };
        let x = |over| points(&record, What::Train, over).into_iter().map(|point| point.0).collect::<Vec<_>>();
        assert_eq!(
            (x(Over::Steps), x(Over::Tokens), x(Over::Time)),
            (vec![1.0, 2.0], vec![10.0, 30.0], vec![0.0, 7.0])
        );
        assert!(points(&record, What::Valid, Over::Steps).is_empty());
        assert_eq!(of_word(&What::WORDS, word_of(&What::WORDS, What::Speed)), What::Speed);
    }
}
