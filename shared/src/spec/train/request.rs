//! What a client asks of a fine-tune, and how everything it leaves open is decided.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    MOST_LOSS_SCALE, NO_ADAPTER, NO_PACKING, Objective, OptimizerKind, Precision, SampleSpec, ScheduleKind, TrainSpec,
    Tuning, Watchdog, watch_bounds,
};
use crate::spec::{AdapterSpec, BaseWeights, BottleneckSpec, LoraSpec, SpecError, VirtualTokensSpec, bounded};

/// A value, or the word `"auto"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auto<T> {
    #[default]
    Auto,
    Value(T),
}

impl<T: Copy> Auto<T> {
    pub fn or(self, automatic: T) -> T {
        match self {
            Self::Auto => automatic,
            Self::Value(value) => value,
        }
    }

    /// The same where the automatic value takes computing.
    pub fn or_else(self, automatic: impl FnOnce() -> T) -> T {
        match self {
            Self::Auto => automatic(),
            Self::Value(value) => value,
        }
    }

    pub fn value(self) -> Option<T> {
        match self {
            Self::Auto => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl<T: Serialize> Serialize for Auto<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Value(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Auto<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw<T> {
            Value(T),
            Word(String),
            Null(()),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Value(value) => Ok(Self::Value(value)),
            Raw::Word(word) if word == "auto" => Ok(Self::Auto),
            Raw::Word(word) => Err(D::Error::custom(format!("`{word}` is neither a number nor \"auto\""))),
            Raw::Null(()) => Ok(Self::Auto),
        }
    }
}

/// The few numbers of (IA)³ want larger steps than a low-rank adapter's (Liu 2022: 3e-3).
const IA3_RATE: f64 = 10.0;
/// So do virtual tokens (Li & Liang 2021; Lester 2021: 0.3 with Adafactor).
const PREFIX_RATE: f64 = 5.0;
const PROMPT_RATE: f64 = 20.0;
/// Preferences move a model with a smaller rate than examples do (Rafailov 2023, appendix B; Tunstall 2023).
const DPO_RATE: f64 = 0.1;
/// A fine-tune as a client asks for it: OpenAI's three hyperparameters, and everything of ours in `hearth`.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct FineTuneSpec {
    /// Passes over the data, 1..=100. Auto aims at about 100 steps, between 1 and 10 passes.
    pub n_epochs: Auto<u32>,
    /// Examples per optimizer step, 1..=1024. Auto: a twentieth of the examples, between 1 and 8.
    pub batch_size: Auto<u32>,
    /// Scales the learning rate that `auto` would take, 0.01..=100. Auto: 1.
    pub learning_rate_multiplier: Auto<f64>,
    /// β of direct preference optimization, 0.001..=10; none learns what the examples say. Auto: 0.1.
    pub dpo_beta: Option<Auto<f64>>,
    pub seed: Option<u64>,
    pub hearth: HearthOptions,
}

/// Hearth's own options, beside OpenAI's `method`. Every field may be left out.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct HearthOptions {
    pub tuning: Tuning,
    /// With `lora`.
    pub lora: LoraSpec,
    /// With `prefix` and `prompt`, 1..=1024. Auto: 16.
    pub virtual_tokens: Auto<u32>,
    /// With `bottleneck`, 1..=4096. Auto: 64.
    pub bottleneck_width: Auto<u32>,
    /// With an adapter: `nf4` keeps the weights below it in 4 bits (QLoRA, Dettmers 2023).
    pub base_weights: BaseWeights,
    /// With `full`: the first blocks, with the embeddings, that stay as they are. 0 trains all.
    pub frozen_layers: u32,
    /// Peak learning rate, overriding the automatic one, 1e-7..=1. Auto: 2e-4 for adapters times √(1e9 / parameters), kept
    /// within 2e-4..=2e-3; a tenth of that for `full`, 5 times for `prefix`, 10 for `ia3`, 20 for `prompt`; for other optimizers than AdamW and Muon times 0.2 (Lion), 10 (Adafactor) or
    /// 100 (SGD).
    pub learning_rate: Auto<f64>,
    /// Longest example in tokens; a longer one is refused by the validator. Auto: the model's context, 2048 at most.
    pub max_length: Auto<u32>,
    /// Tokens, padding included, that one forward and backward pass holds; a step of more is split. Auto: 1024.
    pub micro_batch_tokens: Auto<u32>,
    /// Join short examples in one row, without attention across them. Auto: on when it saves a fifth or more.
    pub packing: Auto<bool>,
    pub optimizer: OptimizerKind,
    pub schedule: ScheduleKind,
    /// Share of the steps that warm the learning rate up, 0..=0.5. Auto: 0.05.
    pub warmup_ratio: Auto<f64>,
    /// 0..=1. Auto: 0 for adapters, 0.1 for `full`.
    pub weight_decay: Auto<f64>,
    /// Share of each target that is spread over the whole vocabulary, 0..=0.9.
    pub label_smoothing: f64,
    /// Weight of the squared log of the softmax's denominator, 0..=1; 1e-4 is usual in pretraining.
    pub z_loss: f64,
    /// Gradients are scaled down to this global norm, 0 (off)..=100. Auto: 1.
    pub max_grad_norm: Auto<f64>,
    /// Keep only what each block reads, and compute a block again for its gradients: less memory, a third more work.
    pub gradient_checkpointing: bool,
    pub precision: Precision,
    /// With `f16`: what the loss is multiplied by at first, 0 (never)..=2^40. It is halved when a gradient overflows, whose step is
    /// then left out, and doubled after `loss_scale_window` steps without. Auto: 65536.
    pub loss_scale: Auto<f64>,
    /// 1..=1000000. Auto: 2000.
    pub loss_scale_window: Auto<u32>,
    /// Keep an exponential moving average of the trained weights with this decay, 0..=0.99999, and evaluate, sample and export that.
    pub ema_decay: Option<f64>,
    /// Stop after this many steps, whatever the epochs say.
    pub max_steps: Option<u64>,
    /// Stop after this many evaluations without a better validation loss, 1..=1000; the result is then the best checkpoint. Needs
    /// a validation file.
    pub early_stop: Option<u32>,
    /// A validation loss is better when it is lower by more than this, in nats, 0..=10.
    pub early_stop_delta: f64,
    /// What happens when a step's loss is no number, or a spike.
    pub watchdog: Watchdog,
    /// A loss of more than this times the median of the last 64 is a spike, 1..=1000. None looks for no spikes.
    pub spike_factor: Option<f64>,
    /// Newest checkpoints that are kept, 1..=100; the best one is kept beside them. Auto: 3.
    pub keep_checkpoints: Auto<u32>,
    /// Steps between checkpoints. Auto: a tenth of the run, at least 10.
    pub checkpoint_every: Auto<u64>,
    /// Steps between evaluations, if there is a validation file. Auto: as checkpoints.
    pub eval_every: Auto<u64>,
    /// Prompts that are answered while the model learns, 8 at most.
    pub samples: Vec<SampleSpec>,
    /// Steps between answers to them. Auto: with every checkpoint.
    pub samples_every: Auto<u64>,
}

/// What the automatic values depend on.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct DataFacts {
    pub examples: u64,
    pub tokens: u64,
    /// Tokens of the longest example.
    pub longest: u32,
    /// Parameters of the base model.
    pub parameters: u64,
    /// Positions the base model was made for.
    pub context: u32,
}

impl HearthOptions {
    /// What is put on the model; none with `full`.
    pub fn adapter(&self) -> Option<AdapterSpec> {
        let tokens = || {
            let automatic = VirtualTokensSpec::default().virtual_tokens;
            VirtualTokensSpec { virtual_tokens: self.virtual_tokens.or(automatic) }
        };
        Some(match self.tuning {
            Tuning::Full => return None,
            Tuning::Lora => AdapterSpec::Lora(self.lora.clone()),
            Tuning::Ia3 => AdapterSpec::Ia3,
            Tuning::Prefix => AdapterSpec::Prefix(tokens()),
            Tuning::Prompt => AdapterSpec::Prompt(tokens()),
            Tuning::Bottleneck => AdapterSpec::Bottleneck(BottleneckSpec {
                width: self.bottleneck_width.or(BottleneckSpec::default().width),
            }),
        })
    }

    /// Tokens an example may have: what is asked, and no more than virtual tokens leave of the model's context.
    pub fn longest_row(&self, context: u32) -> u32 {
        let context = context.saturating_sub(self.adapter().map_or(0, |adapter| adapter.virtual_tokens()));
        self.max_length.or(context.min(2048)).min(context)
    }
}

impl FineTuneSpec {
    /// Checks what can be checked without the data.
    ///
    /// # Errors
    /// The first field outside its bounds, named as the client wrote it.
    pub fn validate(&self) -> Result<(), SpecError> {
        fn check<T: Copy + PartialOrd + std::fmt::Display>(
            field: &str,
            value: Auto<T>,
            low: T,
            high: T,
        ) -> Result<(), SpecError> {
            value.value().map_or(Ok(()), |value| bounded(field, value, low, high))
        }
        check("n_epochs", self.n_epochs, 1, 100)?;
        check("batch_size", self.batch_size, 1, 1024)?;
        check("learning_rate_multiplier", self.learning_rate_multiplier, 0.01, 100.0)?;
        check("beta", self.dpo_beta.unwrap_or_default(), 0.001, 10.0)?;
        let ours = &self.hearth;
        check("hearth.virtual_tokens", ours.virtual_tokens, 1, 1024)?;
        check("hearth.bottleneck_width", ours.bottleneck_width, 1, 4096)?;
        if ours.base_weights != BaseWeights::F32 && ours.tuning == Tuning::Full {
            return Err(SpecError::new("hearth.base_weights", NO_ADAPTER));
        }
        if ours.packing == Auto::Value(true) && matches!(ours.tuning, Tuning::Prefix | Tuning::Prompt) {
            return Err(SpecError::new("hearth.packing", NO_PACKING));
        }
        if ours.frozen_layers > 0 && ours.tuning != Tuning::Full {
            return Err(SpecError::new("hearth.frozen_layers", "an adapter freezes every layer: it goes with `full`"));
        }
        if self.dpo_beta.is_some() && (ours.label_smoothing > 0.0 || ours.z_loss > 0.0) {
            let field = if ours.z_loss > 0.0 { "hearth.z_loss" } else { "hearth.label_smoothing" };
            return Err(SpecError::new(field, "it has no meaning with preferences: leave it out"));
        }
        ours.lora.validate().map_err(|error| error.within("hearth.lora"))?;
        check("hearth.learning_rate", ours.learning_rate, 1e-7, 1.0)?;
        check("hearth.max_length", ours.max_length, 16, 1 << 20)?;
        check("hearth.micro_batch_tokens", ours.micro_batch_tokens, 16, 1 << 20)?;
        check("hearth.warmup_ratio", ours.warmup_ratio, 0.0, 0.5)?;
        check("hearth.weight_decay", ours.weight_decay, 0.0, 1.0)?;
        bounded("hearth.label_smoothing", ours.label_smoothing, 0.0, 0.9)?;
        bounded("hearth.z_loss", ours.z_loss, 0.0, 1.0)?;
        check("hearth.max_grad_norm", ours.max_grad_norm, 0.0, 100.0)?;
        watch_bounds("hearth.", ours.ema_decay, ours.early_stop, ours.early_stop_delta, ours.spike_factor)?;
        check("hearth.loss_scale", ours.loss_scale, 0.0, MOST_LOSS_SCALE)?;
        check("hearth.loss_scale_window", ours.loss_scale_window, 1, 1_000_000)?;
        check("hearth.keep_checkpoints", ours.keep_checkpoints, 1, 100)?;
        check("hearth.checkpoint_every", ours.checkpoint_every, 1, u64::MAX)?;
        check("hearth.eval_every", ours.eval_every, 1, u64::MAX)?;
        check("hearth.samples_every", ours.samples_every, 1, u64::MAX)?;
        if let Some(steps) = ours.max_steps {
            bounded("hearth.max_steps", steps, 1, 10_000_000)?;
        }
        if ours.samples.len() > 8 {
            return Err(SpecError::new("hearth.samples", "at most 8 prompts"));
        }
        for sample in &ours.samples {
            bounded("hearth.samples.max_tokens", sample.max_tokens, 1, 1024)?;
        }
        Ok(())
    }

    /// Decides every `auto`.
    ///
    /// # Errors
    /// As [`Self::validate`], and an example count of 0.
    pub fn resolve(&self, facts: &DataFacts) -> Result<TrainSpec, SpecError> {
        self.validate()?;
        if facts.examples == 0 {
            return Err(SpecError::new("training_file", "holds no example"));
        }
        let ours = &self.hearth;
        let batch_size = self.batch_size.or((facts.examples / 20).clamp(1, 8) as u32);
        let steps_per_epoch = facts.examples.div_ceil(u64::from(batch_size));
        let n_epochs = self.n_epochs.or((100 / steps_per_epoch).clamp(1, 10) as u32);
        let all_steps = u64::from(n_epochs) * steps_per_epoch;
        let steps = ours.max_steps.map_or(all_steps, |most| most.min(all_steps));
        let adapter = ours.adapter();
        let virtual_tokens = adapter.as_ref().map_or(0, AdapterSpec::virtual_tokens);
        let max_length = ours.longest_row(facts.context);
        if max_length < 2 {
            let message = format!("{virtual_tokens} leave nothing of the model's context of {}", facts.context);
            return Err(SpecError::new("hearth.virtual_tokens", message));
        }
        let automatic_lr = automatic_learning_rate(facts.parameters, ours.tuning, ours.optimizer)
            * if self.dpo_beta.is_some() { DPO_RATE } else { 1.0 }
            * self.learning_rate_multiplier.or(1.0);
        let checkpoint_every = ours.checkpoint_every.or((steps / 10).max(10));
        Ok(TrainSpec {
            objective: Objective::Chat,
            adapter,
            base_weights: ours.base_weights,
            frozen_layers: ours.frozen_layers,
            dpo_beta: self.dpo_beta.map(|beta| beta.or(0.1)),
            n_epochs,
            max_steps: ours.max_steps,
            batch_size,
            max_length,
            micro_batch_tokens: ours.micro_batch_tokens.or(1024),
            packing: ours.packing.or(virtual_tokens == 0 && packing_pays(facts, max_length)),
            optimizer: ours.optimizer,
            schedule: ours.schedule,
            beta2: if ours.optimizer == OptimizerKind::Lion { 0.99 } else { 0.999 },
            learning_rate: ours.learning_rate.or(automatic_lr.min(1.0)),
            warmup_steps: (steps as f64 * ours.warmup_ratio.or(0.05)).round() as u64,
            weight_decay: ours.weight_decay.or(if ours.tuning == Tuning::Full { 0.1 } else { 0.0 }),
            label_smoothing: ours.label_smoothing,
            z_loss: ours.z_loss,
            max_grad_norm: ours.max_grad_norm.or(1.0),
            gradient_checkpointing: ours.gradient_checkpointing,
            precision: ours.precision,
            loss_scale: ours.loss_scale.or(TrainSpec::default_loss_scale()),
            loss_scale_window: ours.loss_scale_window.or(TrainSpec::default_loss_scale_window()),
            ema_decay: ours.ema_decay,
            early_stop: ours.early_stop,
            early_stop_delta: ours.early_stop_delta,
            watchdog: ours.watchdog,
            spike_factor: ours.spike_factor,
            keep_checkpoints: ours.keep_checkpoints.or(TrainSpec::default_keep_checkpoints()),
            seed: self.seed.unwrap_or(0),
            checkpoint_every,
            eval_every: ours.eval_every.or(checkpoint_every),
            samples: ours.samples.clone(),
            samples_every: ours.samples_every.or(0),
            ..TrainSpec::default()
        })
    }
}

/// Small models want larger steps: 2e-4 at a billion parameters and more, 2e-3 at ten million and fewer, √ between.
/// For AdamW and what is scaled to it; Lion's steps are all of full length (Chen 2023: 3 to 10 times smaller rates), Adafactor's are
/// relative to the weights, SGD's as short as the gradients.
fn automatic_learning_rate(parameters: u64, tuning: Tuning, optimizer: OptimizerKind) -> f64 {
    let adapter = (2e-4 * (1e9 / parameters.max(1) as f64).sqrt()).clamp(2e-4, 2e-3);
    // Two digits are as exact as the rule is.
    let rounded = (adapter * 1e5).round() / 1e5;
    rounded
        * match tuning {
            Tuning::Lora | Tuning::Bottleneck => 1.0,
            Tuning::Full => 0.1,
            Tuning::Ia3 => IA3_RATE,
            Tuning::Prefix => PREFIX_RATE,
            Tuning::Prompt => PROMPT_RATE,
        }
        * match optimizer {
            OptimizerKind::Adamw | OptimizerKind::Muon => 1.0,
            OptimizerKind::Lion => 0.2,
            OptimizerKind::Adafactor => 10.0,
            OptimizerKind::Sgd => 100.0,
        }
}

/// Length-sorted batches pad little; packing pays when even so most rows are much shorter than the longest.
fn packing_pays(facts: &DataFacts, max_length: u32) -> bool {
    let mean = facts.tokens as f64 / facts.examples as f64;
    mean < 0.125 * f64::from(facts.longest.min(max_length)) && facts.longest > 512
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: DataFacts =
        DataFacts { examples: 50, tokens: 10_000, longest: 400, parameters: 135_000_000, context: 8192 };

    fn asked(json: &str) -> FineTuneSpec {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    #[test]
    fn auto_is_filled_in() {
        let spec = asked(r#"{"n_epochs": "auto", "batch_size": null}"#).resolve(&FACTS);
        let spec = spec.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((spec.batch_size, spec.n_epochs, spec.max_length), (2, 4, 2048));
        assert!((spec.learning_rate - 5.4e-4).abs() < 1e-9 && spec.warmup_steps == 5);
        assert_eq!(spec.lora().map(|lora| (lora.r, lora.alpha)), Some((16, 32.0)));
        // A spec that was stored before samples had steps of their own is the same run.
        let mut stored = serde_json::to_value(&spec).unwrap_or_default();
        let removed = stored.as_object_mut().and_then(|fields| fields.remove("samples_every"));
        assert_eq!(removed, Some(0.into()));
        assert_eq!(serde_json::from_value::<TrainSpec>(stored).ok(), Some(spec));
    }

    #[test]
    fn what_a_client_says_wins() {
        let json = r#"{"n_epochs": 2, "batch_size": 5, "learning_rate_multiplier": 2, "seed": 9,
            "hearth": {"tuning": "full", "learning_rate": 0.01, "warmup_ratio": 0.5, "max_steps": 6}}"#;
        let spec = asked(json).resolve(&FACTS).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((spec.n_epochs, spec.batch_size, spec.seed, spec.max_steps), (2, 5, 9, Some(6)));
        assert_eq!((spec.learning_rate, spec.warmup_steps, spec.adapter), (0.01, 3, None));
    }

    #[test]
    fn errors_name_the_field_a_client_wrote() {
        let field = |json: &str| asked(json).validate().err().map(|error| error.field);
        let cases = [
            (r#"{"n_epochs": 0}"#, "n_epochs"),
            (r#"{"batch_size": 5000}"#, "batch_size"),
            (r#"{"learning_rate_multiplier": 1e9}"#, "learning_rate_multiplier"),
            (r#"{"hearth": {"lora": {"r": 0}}}"#, "hearth.lora.r"),
            (r#"{"hearth": {"lora": {"target_modules": ["x"]}}}"#, "hearth.lora.target_modules"),
            (r#"{"hearth": {"warmup_ratio": 0.9}}"#, "hearth.warmup_ratio"),
            (r#"{"hearth": {"virtual_tokens": 0}}"#, "hearth.virtual_tokens"),
            (r#"{"hearth": {"samples_every": 0}}"#, "hearth.samples_every"),
            (r#"{"hearth": {"tuning": "full", "base_weights": "nf4"}}"#, "hearth.base_weights"),
            (r#"{"hearth": {"tuning": "prefix", "packing": true}}"#, "hearth.packing"),
            (r#"{"hearth": {"frozen_layers": 2}}"#, "hearth.frozen_layers"),
        ];
        for (json, want) in cases {
            assert_eq!(field(json).as_deref(), Some(want));
        }
        assert!(serde_json::from_str::<FineTuneSpec>(r#"{"n_epochs": "many"}"#).is_err());
        let none = DataFacts { examples: 0, ..FACTS };
        assert_eq!(asked("{}").resolve(&none).err().map(|e| e.field).as_deref(), Some("training_file"));
    }

    #[test]
    fn auto_survives_a_round_trip() {
        let spec = asked(r#"{"n_epochs": 3, "hearth": {"packing": true}}"#);
        let json = serde_json::to_string(&spec).unwrap_or_default();
        assert!(json.contains(r#""batch_size":"auto""#), "{json}");
        assert_eq!(asked(&json), spec);
    }
}
