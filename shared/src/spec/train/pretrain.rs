//! Training from nothing: what a client asks, and how everything it leaves open is decided.

use serde::{Deserialize, Serialize};

use super::super::{ArchitectureSpec, SpecError, bounded};
use super::{Auto, DataFacts, FineTuneSpec, HearthOptions, Objective, OptimizerKind, TrainSpec, Tuning};
use crate::plan::sizing::TOKENS_PER_PARAMETER;
use crate::text::counted;

/// Up to four passes teach nearly as much as new texts would (Muennighoff 2023).
const MOST_EPOCHS: f64 = 4.0;
/// Tokens of an automatic step.
const STEP_TOKENS: u32 = 8192;
/// The smallest vocabulary: a token for each byte, and the special ones.
pub const LEAST_VOCABULARY: u32 = 320;
/// A vocabulary's size, and bytes of text in a token of it: up to 8192 as `hearth tokenizer` found with vocabularies learned from 373 kB of
/// English and Chinese (hearth-nano's held-out texts); above that so little text would be known by heart, and the last is a guess.
const BYTES_PER_TOKEN: [(f64, f64); 8] = [
    (256.0, 1.0),
    (320.0, 1.35),
    (512.0, 1.7),
    (1024.0, 2.2),
    (2048.0, 2.7),
    (4096.0, 3.25),
    (8192.0, 3.8),
    (32_768.0, 4.0),
];

/// Bytes of text in a token of a vocabulary of this size, where nothing has been counted yet.
pub fn bytes_per_token(vocab_size: u64) -> f64 {
    let at = vocab_size as f64;
    let Some(above) = BYTES_PER_TOKEN.iter().position(|(size, _)| *size > at) else {
        return BYTES_PER_TOKEN[BYTES_PER_TOKEN.len() - 1].1;
    };
    let Some(below) = above.checked_sub(1) else {
        return BYTES_PER_TOKEN[0].1;
    };
    // Each doubling adds about as much.
    let ((low, from), (high, to)) = (BYTES_PER_TOKEN[below], BYTES_PER_TOKEN[above]);
    from + (to - from) * (at / low).ln() / (high / low).ln()
}

/// Which vocabulary a new model has.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenizerSpec {
    /// That of a model that is here.
    Model(String),
    /// A `tokenizer.json` by its file id: what a job of the kind `tokenizer` gives.
    File(String),
    /// A byte-level BPE learned from the same texts, 320..=200000 tokens, ChatML's special ones included.
    Train { vocab_size: u32 },
}

impl Default for TokenizerSpec {
    fn default() -> Self {
        Self::Train { vocab_size: 4096 }
    }
}

impl TokenizerSpec {
    /// # Errors
    /// A vocabulary that can't be.
    pub fn validate(&self) -> Result<(), SpecError> {
        match self {
            Self::Model(_) | Self::File(_) => Ok(()),
            Self::Train { vocab_size } => bounded("tokenizer.train.vocab_size", *vocab_size, LEAST_VOCABULARY, 200_000),
        }
    }
}

/// What a document is in a plain text file. In a JSONL file it is a row.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// The whole file.
    #[default]
    File,
    /// Every line that isn't empty.
    Line,
    /// What stands between blank lines.
    BlankLine,
}

/// Where documents begin and end.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TextSpec {
    pub split: Split,
    /// The field of a JSONL row that holds the text.
    pub field: String,
}

impl Default for TextSpec {
    fn default() -> Self {
        Self { split: Split::default(), field: "text".to_owned() }
    }
}

/// A run from nothing as a client asks for it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct PretrainSpec {
    pub architecture: ArchitectureSpec,
    pub tokenizer: TokenizerSpec,
    pub texts: TextSpec,
    /// Passes over the data, 1..=100. Auto: as many as give 20 tokens a parameter, 4 at most.
    pub n_epochs: Auto<u32>,
    /// Rows per optimizer step, 1..=1024. Auto: 8192 tokens.
    pub batch_size: Auto<u32>,
    /// As with a fine-tune, where they mean something: `tuning`, adapters and packing don't. `max_length` is the length of a row
    /// (auto: the model's positions, 1024 at most); `learning_rate` is 6e-4 · √(125 million / parameters) within
    /// 1e-4..=4e-3 (auto).
    pub options: HearthOptions,
}

/// What the automatic values depend on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextFacts {
    /// Of all texts, end tokens included.
    pub tokens: u64,
    pub parameters: u64,
}

impl TextFacts {
    /// Before anything was counted.
    pub fn guessed(bytes: u64, vocab_size: u64, parameters: u64) -> Self {
        Self { tokens: (bytes as f64 / bytes_per_token(vocab_size)) as u64, parameters }
    }
}

impl PretrainSpec {
    /// Checks what can be checked without the data.
    ///
    /// # Errors
    /// The first field outside its bounds, named as the client wrote it.
    pub fn validate(&self) -> Result<(), SpecError> {
        let sizes = self.architecture.sizes();
        sizes.and_then(|_| self.architecture.refuse_foreign()).map_err(|error| error.within("architecture"))?;
        self.tokenizer.validate()?;
        if self.texts.field.is_empty() {
            return Err(SpecError::new("texts.field", "is empty: name the field of a row that holds its text"));
        }
        self.refuse_tuning()?;
        let length = self.row_length();
        bounded("options.max_length", length, 16, self.architecture.max_positions)?;
        self.as_tuning(1, 1e-3).validate().map_err(client_words)
    }

    /// Tokens of a row.
    pub fn row_length(&self) -> u32 {
        self.options.max_length.or(self.architecture.max_positions.min(1024))
    }

    fn refuse_tuning(&self) -> Result<(), SpecError> {
        let (asked, plain) = (&self.options, HearthOptions::default());
        let foreign = [
            ("tuning", asked.tuning != plain.tuning && asked.tuning != Tuning::Full),
            ("lora", asked.lora != plain.lora),
            ("virtual_tokens", asked.virtual_tokens != plain.virtual_tokens),
            ("bottleneck_width", asked.bottleneck_width != plain.bottleneck_width),
            ("base_weights", asked.base_weights != plain.base_weights),
            ("frozen_layers", asked.frozen_layers != plain.frozen_layers),
            ("packing", asked.packing == Auto::Value(true)),
        ];
        match foreign.into_iter().find(|(_, set)| *set) {
            Some((field, _)) => Err(Self::foreign(field)),
            None => Ok(()),
        }
    }

    /// What is said of an option that only a fine-tune has.
    pub fn foreign(field: &str) -> SpecError {
        let message = "has no meaning for a model that begins from nothing: leave it out";
        SpecError::new(format!("options.{field}"), message)
    }

    fn as_tuning(&self, n_epochs: u32, learning_rate: f64) -> FineTuneSpec {
        let (ours, length) = (&self.options, self.row_length());
        FineTuneSpec {
            n_epochs: Auto::Value(self.n_epochs.or(n_epochs)),
            batch_size: Auto::Value(self.batch_size.or((STEP_TOKENS / length).clamp(1, 64))),
            hearth: HearthOptions {
                tuning: Tuning::Full,
                learning_rate: Auto::Value(ours.learning_rate.or(learning_rate)),
                max_length: Auto::Value(length),
                micro_batch_tokens: Auto::Value(ours.micro_batch_tokens.or(2048.max(length))),
                packing: Auto::Value(false),
                ..ours.clone()
            },
            ..FineTuneSpec::default()
        }
    }

    /// Decides every `auto`.
    ///
    /// # Errors
    /// As [`Self::validate`], and texts that don't fill a row.
    pub fn resolve(&self, facts: &TextFacts, seed: u64) -> Result<TrainSpec, SpecError> {
        self.validate()?;
        let length = self.row_length();
        let rows = facts.tokens.saturating_sub(1) / u64::from(length);
        if rows == 0 {
            let message = format!("the texts have {}, one row takes {}", counted(facts.tokens, "token"), length + 1);
            return Err(SpecError::new("options.max_length", format!("{message}: shorten the rows or add texts")));
        }
        let wanted = TOKENS_PER_PARAMETER * facts.parameters as f64 / facts.tokens as f64;
        let n_epochs = wanted.ceil().clamp(1.0, MOST_EPOCHS) as u32;
        let rate = (6e-4 * (125e6 / facts.parameters.max(1) as f64).sqrt()).clamp(1e-4, 4e-3);
        let data = DataFacts {
            examples: rows,
            tokens: facts.tokens,
            longest: length,
            parameters: facts.parameters,
            context: self.architecture.max_positions,
        };
        // Two digits are as exact as the rule is.
        let asked = self.as_tuning(n_epochs, (rate * 1e5).round() / 1e5);
        let spec = asked.resolve(&data).map_err(client_words)?;
        let beta2 = if spec.optimizer == OptimizerKind::Lion { spec.beta2 } else { 0.95 };
        Ok(TrainSpec { objective: Objective::Documents, beta2, seed, ..spec })
    }
}

/// `hearth.` is where a fine-tune has these options.
fn client_words(mut error: SpecError) -> SpecError {
    if let Some(field) = error.field.strip_prefix("hearth.") {
        error.field = format!("options.{field}");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: TextFacts = TextFacts { tokens: 2_000_000, parameters: 1_250_000 };

    fn asked(json: &str) -> PretrainSpec {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    #[test]
    fn auto_is_filled_in() {
        let spec = asked(r#"{"architecture": {"max_positions": 256}}"#).resolve(&FACTS, 7);
        let spec = spec.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((spec.n_epochs, spec.batch_size, spec.max_length, spec.seed), (4, 32, 256, 7));
        assert_eq!((spec.learning_rate, spec.beta2, spec.objective), (4e-3, 0.95, Objective::Documents));
        assert_eq!((spec.adapter, spec.packing, spec.weight_decay), (None, false, 0.1));
        let large = TextFacts { parameters: 125_000_000, ..FACTS };
        let spec = asked("{}").resolve(&large, 0).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((spec.learning_rate, spec.max_length, spec.batch_size), (6e-4, 1024, 8));
    }

    #[test]
    fn a_small_vocabulary_has_short_tokens() {
        let sizes = [0, 256, 300, 320, 512, 700, 1024, 4096, 5000, 32_768, 200_000];
        let lengths = sizes.map(bytes_per_token);
        assert!(lengths.windows(2).all(|pair| pair[0] <= pair[1]), "{lengths:?}");
        assert_eq!((lengths[0], lengths[1], lengths[4], lengths[10]), (1.0, 1.0, 1.7, 4.0));
        assert!(lengths[5] > 1.7 && lengths[5] < 2.2, "{lengths:?}");
        let facts = TextFacts::guessed(1_000_000, 4096, 1);
        assert_eq!(facts, TextFacts { tokens: 307_692, parameters: 1 });
    }

    #[test]
    fn errors_name_the_field_a_client_wrote() {
        let field = |json: &str| asked(json).validate().err().map(|error| error.field);
        let cases = [
            (r#"{"architecture": {"d_model": 100, "n_heads": 7}}"#, "architecture.n_heads"),
            (r#"{"tokenizer": {"train": {"vocab_size": 100}}}"#, "tokenizer.train.vocab_size"),
            (r#"{"options": {"lora": {"r": 4}}}"#, "options.lora"),
            (r#"{"options": {"tuning": "prefix"}}"#, "options.tuning"),
            (r#"{"architecture": {"experts": 4}}"#, "architecture.experts"),
            (r#"{"architecture": {"preset": "gpt2", "moe_every": 2}}"#, "architecture.moe_every"),
            (r#"{"options": {"warmup_ratio": 0.9}}"#, "options.warmup_ratio"),
            (r#"{"options": {"max_length": 4096}}"#, "options.max_length"),
            (r#"{"texts": {"field": ""}}"#, "texts.field"),
            (r#"{"batch_size": 0}"#, "batch_size"),
        ];
        for (json, want) in cases {
            assert_eq!(field(json).as_deref(), Some(want), "{json}");
        }
        assert_eq!(field(r#"{"options": {"tuning": "full"}}"#), None);
        assert_eq!(field(r#"{"architecture": {"experts": 8, "depth": 2}}"#), None);
        assert_eq!(field(r#"{"architecture": {"preset": "moe", "experts": 4}}"#), None);
        let few = asked("{}").resolve(&TextFacts { tokens: 100, ..FACTS }, 0);
        assert_eq!(few.err().map(|error| error.field).as_deref(), Some("options.max_length"));
    }
}
