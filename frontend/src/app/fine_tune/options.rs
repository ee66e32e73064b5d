//! The settings of a run. Every one may be left to Hearth; the automatic value and its reason stand beside it, decided by the
//! same code that the server runs.

use hearth_shared::api::fine_tuning::{CreateJob, Hyperparameters, JobOptions, Method};
use hearth_shared::spec::{Auto, DataFacts, FineTuneSpec, HearthOptions, LoraSpec, SampleSpec, TrainSpec};
use leptos::prelude::*;

use crate::app::components::field::NumberField;
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

/// Prompts that a run answers at checkpoints, at most.
pub const MOST_SAMPLES: usize = 8;

#[derive(Clone, Copy)]
pub struct Options {
    pub suffix: RwSignal<String>,
    epochs: RwSignal<Option<f64>>,
    batch_size: RwSignal<Option<f64>>,
    learning_rate: RwSignal<Option<f64>>,
    rank: RwSignal<Option<f64>>,
    dropout: RwSignal<Option<f64>>,
    max_length: RwSignal<Option<f64>>,
    checkpoint_every: RwSignal<Option<f64>>,
    seed: RwSignal<Option<f64>>,
    /// One prompt a line.
    pub prompts: RwSignal<String>,
    /// The data are pairs of answers.
    pub preferences: RwSignal<bool>,
}

fn auto<T>(value: Option<f64>, convert: impl Fn(f64) -> T) -> Auto<T> {
    value.map_or(Auto::Auto, |value| Auto::Value(convert(value)))
}

impl Options {
    pub fn new() -> Self {
        Self {
            suffix: RwSignal::new(String::new()),
            epochs: RwSignal::new(None),
            batch_size: RwSignal::new(None),
            learning_rate: RwSignal::new(None),
            rank: RwSignal::new(None),
            dropout: RwSignal::new(None),
            max_length: RwSignal::new(None),
            checkpoint_every: RwSignal::new(None),
            seed: RwSignal::new(None),
            prompts: RwSignal::new(String::new()),
            preferences: RwSignal::new(false),
        }
    }

    fn spec(self) -> FineTuneSpec {
        let lora = LoraSpec::default();
        let r = self.rank.get().map_or(lora.r, |rank| rank as u32);
        FineTuneSpec {
            n_epochs: auto(self.epochs.get(), |value| value as u32),
            batch_size: auto(self.batch_size.get(), |value| value as u32),
            learning_rate_multiplier: Auto::Auto,
            dpo_beta: self.preferences.get().then_some(Auto::Auto),
            seed: self.seed.get().map(|seed| seed as u64),
            hearth: HearthOptions {
                lora: LoraSpec {
                    r,
                    alpha: 2.0 * r as f32,
                    dropout: self.dropout.get().map_or(lora.dropout, |dropout| dropout as f32),
                    ..lora
                },
                learning_rate: auto(self.learning_rate.get(), |value| value),
                max_length: auto(self.max_length.get(), |value| value as u32),
                checkpoint_every: auto(self.checkpoint_every.get(), |value| value as u64),
                samples: self
                    .prompts
                    .get()
                    .lines()
                    .map(str::trim)
                    .filter(|line| !line.is_empty())
                    .take(MOST_SAMPLES)
                    .map(|prompt| SampleSpec { prompt: prompt.to_owned(), max_tokens: 48 })
                    .collect(),
                ..HearthOptions::default()
            },
        }
    }

    /// The values a run would get, or which one is out of bounds.
    pub fn decide(self, facts: &DataFacts) -> Result<TrainSpec, String> {
        self.spec().resolve(facts).map_err(|error| error.to_string())
    }

    pub fn request(self, model: String, training_file: String, validation_file: Option<String>) -> CreateJob {
        let spec = untrack(|| self.spec());
        let suffix = self.suffix.get_untracked().trim().to_owned();
        CreateJob {
            model,
            training_file,
            validation_file,
            suffix: (!suffix.is_empty()).then_some(suffix),
            seed: spec.seed,
            metadata: None,
            hyperparameters: None,
            method: Some(Method::new(
                spec.dpo_beta.is_some(),
                Hyperparameters {
                    batch_size: spec.batch_size,
                    learning_rate_multiplier: spec.learning_rate_multiplier,
                    n_epochs: spec.n_epochs,
                    beta: spec.dpo_beta,
                },
            )),
            hearth: Some(JobOptions { options: spec.hearth, dry_run: false }),
        }
    }
}

#[component]
pub fn OptionsForm(
    options: Options,
    /// What the automatic values come to; none while there is no data.
    #[prop(into)]
    decided: Signal<Option<TrainSpec>>,
    #[prop(into)] facts: Signal<Option<DataFacts>>,
) -> impl IntoView {
    let i18n = use_i18n();
    let automatic = move |pick: fn(&TrainSpec) -> String| {
        Signal::derive(move || {
            let value = decided.with(|decided| decided.as_ref().map(pick));
            match value {
                Some(value) => t_string!(i18n, tune.auto_value, value = value),
                None => t_string!(i18n, tune.auto).to_owned(),
            }
        })
    };
    macro_rules! word {
        ($key:ident) => {
            Signal::derive(move || t_string!(i18n, tune.$key).to_owned())
        };
    }
    let batch_reason = Signal::derive(move || match facts.get() {
        Some(facts) => t_string!(i18n, tune.batch_reason, count = format::group(facts.examples)),
        None => t_string!(i18n, tune.batch_hint).to_owned(),
    });
    let lr_reason = Signal::derive(move || match facts.get() {
        Some(facts) => t_string!(i18n, tune.lr_reason, count = format::count(facts.parameters)),
        None => t_string!(i18n, tune.lr_hint).to_owned(),
    });
    view! {
        <div class="options">
            <NumberField
                label=word!(epochs) hint=word!(epochs_reason) value=options.epochs name="n_epochs"
                automatic=automatic(|spec| spec.n_epochs.to_string()) min=1.0 max=100.0
            />
            <NumberField
                label=word!(batch) hint=batch_reason value=options.batch_size name="batch_size"
                automatic=automatic(|spec| spec.batch_size.to_string()) min=1.0 max=1024.0
            />
            <NumberField
                label=word!(lr) hint=lr_reason value=options.learning_rate name="learning_rate"
                automatic=automatic(|spec| format::small(spec.learning_rate)) min=1e-7 max=1.0
            />
            <NumberField
                label=word!(rank) hint=word!(rank_reason) value=options.rank name="r"
                automatic=automatic(|spec| {
                    spec.lora.as_ref().map_or(0, |lora| lora.r).to_string()
                }) min=1.0 max=512.0
            />
        </div>
        <details class="more-options">
            <summary>{t!(i18n, tune.more_options)}</summary>
            <div class="options">
                <NumberField
                    label=word!(length) hint=word!(length_reason) value=options.max_length name="max_length"
                    automatic=automatic(|spec| spec.max_length.to_string()) min=16.0
                />
                <NumberField
                    label=word!(dropout) hint=word!(dropout_reason) value=options.dropout name="dropout"
                    automatic=automatic(|spec| {
                        spec.lora.as_ref().map_or(0.0, |lora| lora.dropout).to_string()
                    }) min=0.0 max=0.95
                />
                <NumberField
                    label=word!(checkpoint) hint=word!(checkpoint_reason)
                    value=options.checkpoint_every name="checkpoint_every"
                    automatic=automatic(|spec| spec.checkpoint_every.to_string()) min=1.0
                />
                <NumberField
                    label=word!(seed) hint=word!(seed_reason) value=options.seed name="seed"
                    automatic=automatic(|spec| spec.seed.to_string())
                />
            </div>
        </details>
        <label class="field">
            <span class="field-label">{t!(i18n, tune.prompts)}</span>
            <textarea
                class="textarea"
                rows="3"
                prop:value=options.prompts
                on:input=move |event| options.prompts.set(event_target_value(&event))
            ></textarea>
            <span class="hint">{t!(i18n, tune.prompts_hint)}</span>
        </label>
    }
}
