//! The lower half of a run's page: what the model wrote, the settings it got, and its log.

use hearth_shared::api::fine_tuning::{Job, JobStatus};
use hearth_shared::api::jobs::CreateWork;
use hearth_shared::event::Level;
use hearth_shared::spec::{AdapterSpec, BaseWeights, Precision, TrainSpec};
use leptos::prelude::*;

use super::feed::{Record, Sample};
use super::names::Files;
use super::settings::{self, FileName, word};
use super::{clock, log_words};
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

/// Answers to the same prompts, checkpoint after checkpoint.
#[component]
pub fn Samples(record: RwSignal<Record>, status: Memo<JobStatus>) -> impl IntoView {
    let i18n = use_i18n();
    let none = move || match status.get().ended() {
        true => t_string!(i18n, tune.no_samples_ended),
        false => t_string!(i18n, tune.no_samples),
    };
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
                fallback=move || view! { <p class="soft">{none}</p> }
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
