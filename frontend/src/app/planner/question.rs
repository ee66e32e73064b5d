//! What is planned: the form's values, their place in the address, and what they mean to the arithmetic. Pure.

use hearth_shared::plan::ModelShape;
use hearth_shared::plan::estimate::Layout;
use hearth_shared::plan::sizing::TOKENS_PER_PARAMETER;
use hearth_shared::spec::{
    ArchitectureSpec, Auto, BaseWeights, HearthOptions, LoraSpec, Objective, OptimizerKind, Precision, Preset,
    SpecError, TrainSpec, Tuning,
};

/// Frozen layers that an address may say; a model that is known has its own bound.
pub const MOST_FROZEN: u32 = 127;

/// Layers of a model that can stay as they are: one at least is trained.
pub fn most_frozen(shape: &ModelShape) -> u32 {
    u32::try_from(shape.n_layers.saturating_sub(1)).unwrap_or(MOST_FROZEN).min(MOST_FROZEN)
}

/// Every value of the form.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// A model of the server; none is a new one.
    pub model: Option<String>,
    pub preset: Preset,
    pub depth: u32,
    pub vocab: u32,
    pub experts: u32,
    /// Every how many layers has experts.
    pub moe_every: u32,
    pub tuning: Tuning,
    pub rank: u32,
    /// The low-rank adapter has a length for each row of a weight, too.
    pub dora: bool,
    /// The first blocks of a model that is here, with its embeddings, that stay as they are.
    pub frozen: u32,
    /// The base under an adapter in 4 bits.
    pub packed: bool,
    pub optimizer: OptimizerKind,
    pub precision: Precision,
    pub checkpointing: bool,
    /// Rows of a step.
    pub batch: u32,
    /// Tokens of a row.
    pub length: u32,
    /// Rows that go through at once.
    pub rows: u32,
    /// A device's name; none is this machine.
    pub device: Option<String>,
    pub layout: Layout,
    /// Training tokens, millions; none is what suits the size.
    pub tokens: Option<f64>,
}

impl Default for Question {
    fn default() -> Self {
        Self {
            model: None,
            preset: Preset::Llama,
            depth: 12,
            vocab: 32_768,
            experts: 8,
            moe_every: 1,
            tuning: Tuning::Full,
            rank: 16,
            dora: false,
            frozen: 0,
            packed: false,
            optimizer: OptimizerKind::Adamw,
            precision: Precision::Auto,
            checkpointing: false,
            batch: 32,
            length: 1024,
            rows: 4,
            device: None,
            layout: Layout::SINGLE,
            tokens: None,
        }
    }
}

/// An enum's word on the wire, and back.
fn word<T: serde::Serialize>(value: T) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn of_word<T: serde::de::DeserializeOwned>(word: &str, into: &mut T) {
    if let Ok(value) = serde_json::from_value(word.into()) {
        *into = value;
    }
}

fn number(text: &str, low: u32, high: u32, into: &mut u32) {
    if let Ok(value) = text.parse::<u32>() {
        *into = value.clamp(low, high);
    }
}

impl Question {
    /// From names and their decoded values. What does not parse is as if it were not there.
    pub fn read<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut asked = Self::default();
        for (name, value) in pairs {
            match name {
                "model" => asked.model = Some(value.to_owned()),
                "preset" => of_word(value, &mut asked.preset),
                "depth" => number(value, 1, 128, &mut asked.depth),
                "vocab" => number(value, 256, 1 << 20, &mut asked.vocab),
                "experts" => number(value, 2, 256, &mut asked.experts),
                "moe_every" => number(value, 1, 128, &mut asked.moe_every),
                "tuning" => of_word(value, &mut asked.tuning),
                "rank" => number(value, 1, 512, &mut asked.rank),
                "dora" => asked.dora = value == "1",
                "frozen" => number(value, 0, MOST_FROZEN, &mut asked.frozen),
                "packed" => asked.packed = value == "1",
                "optimizer" => of_word(value, &mut asked.optimizer),
                "precision" => of_word(value, &mut asked.precision),
                "checkpointing" => asked.checkpointing = value == "1",
                "batch" => number(value, 1, 65_536, &mut asked.batch),
                "length" => number(value, 16, 1 << 17, &mut asked.length),
                "rows" => number(value, 1, 65_536, &mut asked.rows),
                "device" => asked.device = Some(value.to_owned()),
                "data" => number(value, 1, 4096, &mut asked.layout.data),
                "tensor" => number(value, 1, 64, &mut asked.layout.tensor),
                "pipeline" => number(value, 1, 64, &mut asked.layout.pipeline),
                "zero" => asked.layout.zero = value.parse::<u8>().unwrap_or_default().min(3),
                "tokens" => asked.tokens = value.parse().ok().filter(|tokens: &f64| *tokens > 0.0 && *tokens < 1e12),
                _ => {}
            }
        }
        asked
    }

    /// The pairs that differ from the defaults, values not yet escaped.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let plain = Self::default();
        let mut pairs: Vec<(&'static str, String)> = Vec::new();
        let mut say = |name, value: String, usual: String| {
            if value != usual {
                pairs.push((name, value));
            }
        };
        let flag = |on: bool| if on { "1" } else { "0" }.to_owned();
        say("model", self.model.clone().unwrap_or_default(), String::new());
        say("preset", word(self.preset), word(plain.preset));
        say("depth", self.depth.to_string(), plain.depth.to_string());
        say("vocab", self.vocab.to_string(), plain.vocab.to_string());
        say("experts", self.experts.to_string(), plain.experts.to_string());
        say("moe_every", self.moe_every.to_string(), plain.moe_every.to_string());
        say("tuning", word(self.tuning), word(plain.tuning));
        say("rank", self.rank.to_string(), plain.rank.to_string());
        say("dora", flag(self.dora), flag(plain.dora));
        say("frozen", self.frozen.to_string(), plain.frozen.to_string());
        say("packed", flag(self.packed), flag(plain.packed));
        say("optimizer", word(self.optimizer), word(plain.optimizer));
        say("precision", word(self.precision), word(plain.precision));
        say("checkpointing", flag(self.checkpointing), flag(plain.checkpointing));
        say("batch", self.batch.to_string(), plain.batch.to_string());
        say("length", self.length.to_string(), plain.length.to_string());
        say("rows", self.rows.to_string(), plain.rows.to_string());
        say("device", self.device.clone().unwrap_or_default(), String::new());
        say("data", self.layout.data.to_string(), plain.layout.data.to_string());
        say("tensor", self.layout.tensor.to_string(), plain.layout.tensor.to_string());
        say("pipeline", self.layout.pipeline.to_string(), plain.layout.pipeline.to_string());
        say("zero", self.layout.zero.to_string(), plain.layout.zero.to_string());
        say("tokens", self.tokens.map(|tokens| tokens.to_string()).unwrap_or_default(), String::new());
        pairs
    }

    /// The new model's shape.
    ///
    /// # Errors
    /// A size no model can have.
    pub fn new_shape(&self) -> Result<ModelShape, SpecError> {
        let max_positions = self.length.max(1024);
        let asked = ArchitectureSpec { preset: self.preset, depth: self.depth, max_positions, ..Default::default() };
        ArchitectureSpec { experts: self.experts, moe_every: self.moe_every.min(self.depth), ..asked }
            .shape(u64::from(self.vocab))
    }

    pub fn spec(&self) -> TrainSpec {
        let options = HearthOptions {
            tuning: self.tuning,
            lora: LoraSpec { r: self.rank, dora: self.dora, ..LoraSpec::default() },
            virtual_tokens: Auto::Auto,
            ..HearthOptions::default()
        };
        let adapter = options.adapter();
        let packed = self.packed && adapter.is_some();
        TrainSpec {
            // A new model reads documents.
            objective: if self.model.is_none() { Objective::Documents } else { Objective::Chat },
            base_weights: if packed { BaseWeights::Nf4 } else { BaseWeights::F32 },
            frozen_layers: if adapter.is_none() && self.model.is_some() { self.frozen } else { 0 },
            adapter,
            batch_size: self.batch,
            max_length: self.length,
            micro_batch_tokens: self.length.saturating_mul(self.rows.min(self.batch)),
            optimizer: self.optimizer,
            precision: self.precision,
            gradient_checkpointing: self.checkpointing,
            ..TrainSpec::default()
        }
    }

    /// Tokens of the whole run: what is asked, else what suits the size.
    pub fn all_tokens(&self, shape: &ModelShape) -> f64 {
        self.tokens.map_or(TOKENS_PER_PARAMETER * shape.parameters as f64, |millions| millions * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_what_was_asked() {
        let asked = Question {
            model: Some("ft:a/b:c".to_owned()),
            moe_every: 2,
            tuning: Tuning::Lora,
            dora: true,
            frozen: 3,
            packed: true,
            optimizer: OptimizerKind::Muon,
            precision: Precision::Bf16,
            layout: Layout { data: 8, tensor: 2, pipeline: 4, zero: 3 },
            tokens: Some(1.5),
            device: Some("H200 141 GB".to_owned()),
            ..Question::default()
        };
        let pairs = asked.pairs();
        assert_eq!(Question::read(pairs.iter().map(|(name, value)| (*name, value.as_str()))), asked);
        assert_eq!(Question::default().pairs(), Vec::new());
        let broken = Question::read([("depth", "many"), ("batch", "0"), ("zero", "9"), ("tuning", "x")]);
        assert_eq!((broken.depth, broken.batch, broken.layout.zero, broken.tuning), (12, 1, 3, Tuning::Full));
    }

    #[test]
    fn one_layer_at_least_is_trained() {
        let most = |depth| Question { depth, ..Question::default() }.new_shape().ok().map(|shape| most_frozen(&shape));
        assert_eq!([most(1), most(4), most(12)], [Some(0), Some(3), Some(11)]);
    }

    #[test]
    fn a_question_is_a_run() {
        let asked = Question { tuning: Tuning::Lora, packed: true, rows: 99, ..Question::default() };
        let spec = asked.spec();
        assert_eq!((spec.lora().map(|lora| lora.r), spec.base_weights), (Some(16), BaseWeights::Nf4));
        assert_eq!(spec.micro_batch_tokens, 32 * 1024);
        let dora = Question { dora: true, ..asked.clone() }.spec();
        assert!(dora.lora().is_some_and(|lora| lora.dora));
        // What begins from nothing has no layer that could stay as it is, and an adapter freezes all.
        let frozen = |model: Option<&str>, tuning| {
            let model = model.map(str::to_owned);
            Question { model, tuning, frozen: 2, ..Question::default() }.spec().frozen_layers
        };
        assert_eq!(
            [frozen(Some("m"), Tuning::Full), frozen(None, Tuning::Full), frozen(Some("m"), Tuning::Ia3)],
            [2, 0, 0]
        );
        assert_eq!(Question { tuning: Tuning::Full, ..asked }.spec().base_weights, BaseWeights::F32);
        assert!(Question::default().new_shape().is_ok_and(|shape| shape.parameters > 100_000_000));
    }
}
