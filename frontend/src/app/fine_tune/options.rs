//! The settings of a run, as the form holds them. Every one may be left to Hearth.

use hearth_shared::api::fine_tuning::{CreateJob, Hyperparameters, JobOptions, Method};
use hearth_shared::spec::{
    Auto, BaseWeights, DataFacts, FineTuneSpec, HearthOptions, LoraSpec, OptimizerKind, Precision, SampleSpec,
    ScheduleKind, TrainSpec, Tuning, Watchdog,
};
use leptos::prelude::*;

/// Prompts that a run answers while it learns, at most.
pub const MOST_SAMPLES: usize = 8;

#[derive(Clone, Copy)]
pub struct Options {
    pub suffix: RwSignal<String>,
    pub tuning: RwSignal<Tuning>,
    pub epochs: RwSignal<Option<f64>>,
    pub batch_size: RwSignal<Option<f64>>,
    pub learning_rate: RwSignal<Option<f64>>,
    pub rank: RwSignal<Option<f64>>,
    pub dropout: RwSignal<Option<f64>>,
    pub dora: RwSignal<bool>,
    pub rslora: RwSignal<bool>,
    pub virtual_tokens: RwSignal<Option<f64>>,
    pub bottleneck_width: RwSignal<Option<f64>>,
    pub frozen_layers: RwSignal<Option<f64>>,
    /// Keep the base in 4 bits.
    pub packed: RwSignal<bool>,
    pub optimizer: RwSignal<OptimizerKind>,
    pub schedule: RwSignal<ScheduleKind>,
    pub precision: RwSignal<Precision>,
    pub weight_decay: RwSignal<Option<f64>>,
    pub gradient_checkpointing: RwSignal<bool>,
    pub ema_decay: RwSignal<Option<f64>>,
    pub early_stop: RwSignal<Option<f64>>,
    pub watchdog: RwSignal<Watchdog>,
    pub max_length: RwSignal<Option<f64>>,
    pub checkpoint_every: RwSignal<Option<f64>>,
    pub samples_every: RwSignal<Option<f64>>,
    pub seed: RwSignal<Option<f64>>,
    /// One prompt a line.
    pub prompts: RwSignal<String>,
    /// The data are pairs of answers.
    pub preferences: RwSignal<bool>,
    /// With pairs: how dearly an answer pays for leaving the first model.
    pub beta: RwSignal<Option<f64>>,
}

fn auto<T>(value: Option<f64>, convert: impl Fn(f64) -> T) -> Auto<T> {
    value.map_or(Auto::Auto, |value| Auto::Value(convert(value)))
}

impl Options {
    pub fn new() -> Self {
        Self {
            suffix: RwSignal::new(String::new()),
            tuning: RwSignal::new(Tuning::Lora),
            epochs: RwSignal::new(None),
            batch_size: RwSignal::new(None),
            learning_rate: RwSignal::new(None),
            rank: RwSignal::new(None),
            dropout: RwSignal::new(None),
            dora: RwSignal::new(false),
            rslora: RwSignal::new(false),
            virtual_tokens: RwSignal::new(None),
            bottleneck_width: RwSignal::new(None),
            frozen_layers: RwSignal::new(None),
            packed: RwSignal::new(false),
            optimizer: RwSignal::new(OptimizerKind::Adamw),
            schedule: RwSignal::new(ScheduleKind::Cosine),
            precision: RwSignal::new(Precision::Auto),
            weight_decay: RwSignal::new(None),
            gradient_checkpointing: RwSignal::new(false),
            ema_decay: RwSignal::new(None),
            early_stop: RwSignal::new(None),
            watchdog: RwSignal::new(Watchdog::Stop),
            max_length: RwSignal::new(None),
            checkpoint_every: RwSignal::new(None),
            samples_every: RwSignal::new(None),
            seed: RwSignal::new(None),
            prompts: RwSignal::new(String::new()),
            preferences: RwSignal::new(false),
            beta: RwSignal::new(None),
        }
    }

    /// What is asked, with everything that is left to Hearth.
    pub fn spec(self) -> FineTuneSpec {
        let lora = LoraSpec::default();
        let r = self.rank.get().map_or(lora.r, |rank| rank as u32);
        let tuning = self.tuning.get();
        let full = tuning == Tuning::Full;
        FineTuneSpec {
            n_epochs: auto(self.epochs.get(), |value| value as u32),
            batch_size: auto(self.batch_size.get(), |value| value as u32),
            learning_rate_multiplier: Auto::Auto,
            dpo_beta: self.preferences.get().then(|| auto(self.beta.get(), |value| value)),
            seed: self.seed.get().map(|seed| seed as u64),
            hearth: HearthOptions {
                tuning,
                lora: LoraSpec {
                    r,
                    alpha: 2.0 * r as f32,
                    dropout: self.dropout.get().map_or(lora.dropout, |dropout| dropout as f32),
                    dora: self.dora.get(),
                    rslora: self.rslora.get(),
                    ..lora
                },
                virtual_tokens: auto(self.virtual_tokens.get(), |value| value as u32),
                bottleneck_width: auto(self.bottleneck_width.get(), |value| value as u32),
                // What is hidden does not count.
                frozen_layers: self.frozen_layers.get().filter(|_| full).map_or(0, |value| value as u32),
                base_weights: if self.packed.get() && !full { BaseWeights::Nf4 } else { BaseWeights::F32 },
                optimizer: self.optimizer.get(),
                schedule: self.schedule.get(),
                precision: self.precision.get(),
                weight_decay: auto(self.weight_decay.get(), |value| value),
                gradient_checkpointing: self.gradient_checkpointing.get(),
                ema_decay: self.ema_decay.get(),
                early_stop: self.early_stop.get().map(|value| value as u32),
                watchdog: self.watchdog.get(),
                learning_rate: auto(self.learning_rate.get(), |value| value),
                max_length: auto(self.max_length.get(), |value| value as u32),
                checkpoint_every: auto(self.checkpoint_every.get(), |value| value as u64),
                samples_every: auto(self.samples_every.get(), |value| value as u64),
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
