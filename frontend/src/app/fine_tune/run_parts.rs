//! The lower half of a run's page: what the model wrote, its checkpoints, the settings it got, and its log.

use hearth_shared::api::List;
use hearth_shared::api::fine_tuning::{Checkpoint, Job};
use hearth_shared::api::jobs::{CreateWork, JobKind};
use hearth_shared::event::Level;
use hearth_shared::spec::{AdapterSpec, BaseWeights, Precision, TrainSpec};
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::feed::{Record, Sample, Saved};
use super::names::Files;
use super::settings::{self, FileName, word};
use super::{JOBS, clock, log_words};
use crate::app::client;
use crate::app::components::icons::Icon;
use crate::app::format;
use crate::app::i18n::{t, use_i18n};

/// Answers to the same prompts, checkpoint after checkpoint.
#[component]
pub fn Samples(record: RwSignal<Record>) -> impl IntoView {
    let i18n = use_i18n();
    let samples = Memo::new(move |_| record.with(|record| record.samples.clone()));
    let prompts = Memo::new(move |_| {
        let mut prompts: Vec<String> = Vec::new();
        for sample in samples.get() {
            if !prompts.contains(&sample.prompt) {
                prompts.push(sample.prompt);
            }
        }
        prompts
    });
    let of = move |prompt: &str| -> Vec<Sample> {
        samples.with(|samples| samples.iter().rev().filter(|sample| sample.prompt == prompt).cloned().collect())
    };
    view! {
        <section class="card">
            <div class="section-head">
                <h2>{t!(i18n, tune.samples)}</h2>
            </div>
            <Show
                when=move || prompts.with(|prompts| !prompts.is_empty())
                fallback=move || view! { <p class="soft">{t!(i18n, tune.no_samples)}</p> }
            >
                <For each=move || prompts.get() key=String::clone let:prompt>
                    <div class="sample">
                        <p class="sample-prompt">{prompt.clone()}</p>
                        <ol class="sample-texts" tabindex="0">
                            <For each=move || of(&prompt) key=|sample| sample.step let:sample>
                                <li>
                                    <span class="sample-step num">{sample.step}</span>
                                    <p>{sample.text}</p>
                                </li>
                            </For>
                        </ol>
                    </div>
                </For>
            </Show>
        </section>
    }
}

/// What the run can be gone on from.
#[component]
pub fn Checkpoints(job: Memo<Option<Job>>, record: RwSignal<Record>) -> impl IntoView {
    let i18n = use_i18n();
    let count = Memo::new(move |_| record.with(|record| record.saved.len()));
    let rows = RwSignal::new(Vec::<Checkpoint>::new());
    let id = Memo::new(move |_| job.with(|job| job.as_ref().map(|job| job.id.clone())));
    let tuned =
        Memo::new(move |_| job.with(|job| job.as_ref().is_some_and(|job| job.hearth.kind == JobKind::FineTune)));
    Effect::new(move |_| {
        count.track();
        // Only adapters answer by themselves.
        let Some(id) = id.get().filter(|_| tuned.get()) else { return };
        spawn_local(async move {
            let path = format!("{JOBS}/{id}/checkpoints?limit=100");
            if let Ok(list) = client::get::<List<Checkpoint>>(&path).await {
                let _ = rows.try_set(list.data);
            }
        });
    });
    // Adapters answer under names of their own; whole models are only gone on from.
    let shown = Memo::new(move |_| -> Vec<Shown> {
        if tuned.get() {
            rows.get().into_iter().map(Shown::from).collect()
        } else {
            record.with(|record| record.saved.iter().rev().map(Shown::from).collect())
        }
    });
    view! {
        <section class="card compare-scroll" tabindex="0">
            <div class="section-head">
                <h2>{t!(i18n, tune.checkpoints)}</h2>
            </div>
            <Show
                when=move || shown.with(|shown| !shown.is_empty())
                fallback=move || view! { <p class="soft">{t!(i18n, tune.no_checkpoints)}</p> }
            >
                <table class="checkpoints num">
                    <thead>
                        <tr>
                            <th>{t!(i18n, tune.step)}</th>
                            <th>{t!(i18n, tune.train_loss)}</th>
                            <th>{t!(i18n, tune.valid_loss)}</th>
                            <th></th>
                        </tr>
                    </thead>
                    <tbody>
                        <For each=move || shown.get() key=|row| row.step let:row>
                            <ShownRow row/>
                        </For>
                    </tbody>
                </table>
            </Show>
        </section>
    }
}

/// A checkpoint's line.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    step: u64,
    train_loss: Option<f64>,
    valid_loss: Option<f64>,
    /// The name it answers under.
    model: Option<String>,
}

impl From<Checkpoint> for Shown {
    fn from(row: Checkpoint) -> Self {
        Self {
            step: row.step_number,
            train_loss: row.metrics.train_loss,
            valid_loss: row.metrics.full_valid_loss.or(row.metrics.valid_loss),
            model: Some(row.fine_tuned_model_checkpoint),
        }
    }
}

impl From<&Saved> for Shown {
    fn from(saved: &Saved) -> Self {
        Self { step: saved.step, train_loss: saved.train_loss, valid_loss: saved.valid_loss, model: None }
    }
}

#[component]
fn ShownRow(row: Shown) -> impl IntoView {
    let i18n = use_i18n();
    let loss = |loss: Option<f64>| loss.map_or_else(|| "—".to_owned(), |loss| format!("{loss:.3}"));
    let talk = row.model.map(|model| {
        let href = format!("/playground?model={}", js_sys::encode_uri_component(&model));
        view! {
            <a class="button quiet small" href=href>
                <Icon name="chat" size=16/>
                {t!(i18n, tune.try_it)}
            </a>
        }
    });
    view! {
        <tr>
            <td>{row.step}</td>
            <td>{loss(row.train_loss)}</td>
            <td>{loss(row.valid_loss)}</td>
            <td>{talk}</td>
        </tr>
    }
}

/// The values the run got.
#[component]
pub fn Decided(job: Memo<Option<Job>>, files: Files) -> impl IntoView {
    let i18n = use_i18n();
    let facts = Memo::new(move |_| job.with(|job| facts(job.as_ref()?, &|id: &str| files.name(id))));
    move || {
        facts.get().map(|facts| {
            view! {
                <details class="card decided">
                    <summary><h2>{t!(i18n, tune.settings)}</h2></summary>
                    <dl class="figures num">
                        {facts
                            .into_iter()
                            .map(|(name, value)| {
                                let setting = name.clone();
                                view! {
                                    <div data-setting=setting><dt><code>{name}</code></dt><dd>{value}</dd></div>
                                }
                            })
                            .collect_view()}
                    </dl>
                </details>
            }
        })
    }
}

/// An adapter's kind as it stands in the API.
fn kind(adapter: &AdapterSpec) -> String {
    let value = serde_json::to_value(adapter).ok();
    value.and_then(|value| value["kind"].as_str().map(str::to_owned)).unwrap_or_default()
}

/// Settings under their names in the API; none before they are decided.
fn facts(job: &Job, name: FileName<'_>) -> Option<Vec<(String, String)>> {
    let spec = job.hearth.spec.as_ref()?;
    let mut training = training(spec);
    let mut facts = Vec::new();
    if let Some(CreateWork::Pretrain(asked)) = &job.hearth.request {
        facts = settings::of_new_model(asked, spec, name);
        // What begins from nothing is trained whole, in rows that are always full.
        training.retain(|(name, _)| !["tuning", "packing"].contains(name));
    }
    facts.extend(training.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Some(facts)
}

fn training(spec: &TrainSpec) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("tuning", spec.adapter.as_ref().map_or("full".to_owned(), kind)),
        ("n_epochs", spec.n_epochs.to_string()),
        ("batch_size", spec.batch_size.to_string()),
        ("optimizer", word(&spec.optimizer)),
        ("learning_rate", format::small(spec.learning_rate)),
        ("schedule", word(&spec.schedule)),
        ("warmup_steps", spec.warmup_steps.to_string()),
        ("weight_decay", format::small(spec.weight_decay)),
        ("max_grad_norm", format::small(spec.max_grad_norm)),
        ("max_length", spec.max_length.to_string()),
        ("packing", spec.packing.to_string()),
        ("seed", spec.seed.to_string()),
    ];
    if let Some(beta) = spec.dpo_beta {
        facts.push(("dpo_beta", format::small(beta)));
    }
    if let Some(decay) = spec.ema_decay {
        facts.push(("ema_decay", decay.to_string()));
    }
    if spec.precision != Precision::Auto {
        facts.push(("precision", word(&spec.precision)));
    }
    if spec.base_weights != BaseWeights::F32 {
        facts.push(("base_weights", word(&spec.base_weights)));
    }
    match &spec.adapter {
        Some(AdapterSpec::Prefix(tokens) | AdapterSpec::Prompt(tokens)) => {
            facts.push(("virtual_tokens", tokens.virtual_tokens.to_string()));
        }
        Some(AdapterSpec::Bottleneck(bottleneck)) => facts.push(("bottleneck_width", bottleneck.width.to_string())),
        None if spec.frozen_layers > 0 => facts.push(("frozen_layers", spec.frozen_layers.to_string())),
        _ => {}
    }
    if let Some(lora) = spec.lora() {
        if lora.dora {
            facts.push(("lora.dora", "true".to_owned()));
        }
        if lora.rslora {
            facts.push(("lora.rslora", "true".to_owned()));
        }
        facts.push(("lora.r", lora.r.to_string()));
        facts.push(("lora.alpha", lora.alpha.to_string()));
        facts.push(("lora.dropout", lora.dropout.to_string()));
    }
    facts
}

#[component]
pub fn Log(record: RwSignal<Record>) -> impl IntoView {
    let i18n = use_i18n();
    let lines = Memo::new(move |_| record.with(|record| record.log.clone()));
    view! {
        <details class="card log" open>
            <summary><h2>{t!(i18n, tune.log)}</h2></summary>
            <div class="log-lines" role="log" tabindex="0">
                <ol>
                    <For
                        each=move || lines.get().into_iter().rev()
                        key=|line| line.seq
                        let:line
                    >
                        <li class:warn=line.level == Level::Warn class:bad=line.level == Level::Error>
                            <time class="num">{move || clock(line.time, i18n.get_locale())}</time>
                            <span>{move || log_words::say(i18n, &line.text)}</span>
                        </li>
                    </For>
                </ol>
            </div>
        </details>
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn names(kind: &str, request: Value) -> Vec<String> {
        let spec = TrainSpec { adapter: None, ..TrainSpec::default() };
        let job = json!({
            "id": "", "object": "job", "created_at": 0, "hyperparameters": {}, "model": "", "organization_id": "",
            "result_files": [], "status": "succeeded", "training_file": "", "seed": 0, "method": {"type": kind},
            "hearth": {"kind": kind, "request": request, "options": {}, "spec": spec, "step": 1, "attempt": 1},
        });
        let job: Job = serde_json::from_value(job).unwrap();
        facts(&job, &|_: &str| None).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_model_from_nothing_says_its_shape_and_not_how_it_is_tuned() {
        let request = json!({"kind": "pretrain", "training_files": [], "architecture": {"depth": 2}});
        let new = names("pretrain", request);
        let has = |name: &str| new.iter().any(|known| known == name);
        assert!(
            has("architecture.depth") && has("architecture.d_model") && has("tokenizer.train.vocab_size"),
            "{new:?}"
        );
        assert!(has("learning_rate") && !has("tuning") && !has("packing"), "{new:?}");
        let tuned = names("fine_tune", Value::Null);
        assert!(tuned.iter().any(|name| name == "tuning") && !tuned.iter().any(|name| name.contains('.')), "{tuned:?}");
    }
}
