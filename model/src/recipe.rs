//! How hearth-nano and its siblings are made: public-domain texts → tokenizer → pretraining → a short chat stage → a model directory
//! with its card. Everything is fixed by the recipe file and its seed. Downloads are the caller's business.

pub mod bpe;
pub mod card;
pub mod chats;
pub mod corpus;
pub mod lengths;
mod make;
mod readme;

use std::path::Path;

use hearth_shared::spec::{Objective, OptimizerKind, Precision, ScheduleKind, TrainSpec};
use serde::{Deserialize, Serialize};

pub use make::{Order, Work, drive};

use crate::bundle::ModelBundle;
use crate::chat_template::ChatTemplate;
use crate::config::{ConfigError, Dropout, ModelConfig, Position};
use crate::tokenizer::{Special, Tokenizer, TokenizerError};
use crate::train::TrainError;
use crate::train::data::{Encoder as _, Sequence, windows};
use crate::train::encoder::Voice;
use crate::transformer::Transformer;
use corpus::{Corpus, CorpusSpec, Document};

/// Why the recipe can't be followed.
#[derive(thiserror::Error, Debug)]
pub enum RecipeError {
    #[error("{path}: {source}")]
    Io { path: String, source: std::io::Error },
    #[error("{path} is not what it should be: {reason}")]
    Material { path: String, reason: String },
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    #[error(transparent)]
    ReadTokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error("{0}")]
    Model(String),
    /// The caller asked to stop; the work folder holds a checkpoint to go on from.
    #[error("stopped; the same command goes on from the last checkpoint")]
    Stopped,
}

/// The recipe file.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Recipe {
    pub name: String,
    /// Where in the repository the recipe lies, and beside it the model that it makes.
    pub folder: String,
    pub seed: u64,
    pub vocab_size: usize,
    /// Folder, from the recipe's own, of a model whose tokenizer and held-out texts this one shares; none makes its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sibling_of: Option<String>,
    pub corpus: CorpusSpec,
    pub model: Shape,
    pub pretrain: Stage,
    /// None leaves a model that only goes on with texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatStage>,
    /// Lengths in tokens at which the card gives the loss by position; none gives none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lengths: Vec<usize>,
}

/// The model's size.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Shape {
    pub d_model: usize,
    pub n_layers: usize,
    pub n_heads: usize,
    pub kv_heads: usize,
    pub ffn_dim: usize,
    pub max_positions: usize,
    /// None is RoPE as llama has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Embeddings are multiplied by `√D`, so that what is added for the position does not drown them (Vaswani 2017, section 3.4).
    #[serde(default)]
    pub scaled_embeddings: bool,
}

/// One stretch of training.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Stage {
    pub steps: u64,
    /// Tokens of a window.
    pub context: usize,
    pub batch_size: u32,
    pub micro_batch_tokens: u32,
    #[serde(default)]
    pub optimizer: OptimizerKind,
    #[serde(default)]
    pub schedule: ScheduleKind,
    pub learning_rate: f64,
    pub final_lr_ratio: f64,
    /// Share of the steps in which `wsd` falls.
    #[serde(default = "Stage::default_decay_ratio")]
    pub decay_ratio: f64,
    pub warmup_steps: u64,
    pub weight_decay: f64,
    pub beta2: f64,
    /// Of the embeddings and of what each half of a block adds. The finished model has none.
    #[serde(default)]
    pub dropout: f32,
    /// Of the moving average of the weights, which is then the stage's result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema_decay: Option<f64>,
}

impl Stage {
    fn default_decay_ratio() -> f64 {
        TrainSpec::default().decay_ratio
    }

    fn drops(&self) -> Dropout {
        Dropout { embedding: self.dropout, attention: 0.0, residual: self.dropout }
    }
}

/// The stage that teaches turns.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ChatStage {
    pub conversations: usize,
    /// Share of all sequences that are windows of the pretraining texts, so that nothing is forgotten.
    pub replay: f64,
    #[serde(flatten)]
    pub stage: Stage,
}

/// What training needs, made once.
#[derive(Debug)]
pub struct Prepared {
    pub corpus: Corpus,
    pub tokenizer_json: Vec<u8>,
    pub tokenizer: Tokenizer,
    pub config: ModelConfig,
}

impl Recipe {
    /// # Errors
    /// The file can't be read or is no recipe.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        serde_json::from_slice(&make::read(path)?)
            .map_err(|error| RecipeError::Material { path: path.display().to_string(), reason: error.to_string() })
    }

    /// Reads the texts, and the tokenizer: the sibling's, or that of the work folder, else it is trained on the training split.
    ///
    /// # Errors
    /// Texts that are missing or other ones than the sibling held out, or the tokenizer trainer's.
    pub fn prepare(&self, at: &Work) -> Result<Prepared, RecipeError> {
        let corpus = Corpus::read(&at.materials, &self.corpus)?;
        let sibling = self.sibling_of.as_ref().map(|folder| at.recipe.join(folder));
        let tokenizer_json = match &sibling {
            Some(folder) => {
                let held_out = folder.join("heldout.jsonl");
                if corpus::read_jsonl(&held_out)? != corpus.held_out {
                    let reason = "the recipe holds out other texts".to_owned();
                    return Err(RecipeError::Material { path: held_out.display().to_string(), reason });
                }
                make::read(&folder.join("tokenizer.json"))?
            }
            None => self.own_tokenizer(&corpus, &at.work.join("tokenizer.json"))?,
        };
        let tokenizer = Tokenizer::from_hf(&tokenizer_json, Some(&bpe::tokenizer_config()))?;
        Ok(Prepared { config: self.config()?, corpus, tokenizer_json, tokenizer })
    }

    fn own_tokenizer(&self, corpus: &Corpus, kept: &Path) -> Result<Vec<u8>, RecipeError> {
        if kept.is_file() {
            return make::read(kept);
        }
        let bytes = bpe::train(&corpus.training, self.vocab_size)?;
        make::write(kept, &bytes)?;
        Ok(bytes)
    }

    /// # Errors
    /// A shape no model can have.
    pub fn config(&self) -> Result<ModelConfig, RecipeError> {
        let shape = &self.model;
        let heads = (shape.n_heads, shape.kv_heads);
        let mut config = ModelConfig::llama(self.vocab_size, shape.d_model, shape.n_layers, heads, shape.max_positions);
        config.ffn_dim = shape.ffn_dim;
        config.position = shape.position.unwrap_or(config.position);
        config.embedding_scale = shape.scaled_embeddings.then(|| (shape.d_model as f64).sqrt());
        config.bos = Some(bpe::END_OF_TEXT_ID);
        config.eos = match self.chat {
            Some(_) => vec![bpe::TURN_END_ID, bpe::END_OF_TEXT_ID],
            None => vec![bpe::END_OF_TEXT_ID],
        };
        let config = config.settled();
        config.validate()?;
        Ok(config)
    }

    /// The engine's spec for a stage; both go through the step that every job takes.
    pub fn spec(&self, stage: &Stage) -> TrainSpec {
        TrainSpec {
            objective: Objective::Documents,
            adapter: None,
            n_epochs: 100_000,
            max_steps: Some(stage.steps),
            batch_size: stage.batch_size,
            max_length: stage.context as u32,
            micro_batch_tokens: stage.micro_batch_tokens,
            optimizer: stage.optimizer,
            schedule: stage.schedule,
            learning_rate: stage.learning_rate,
            final_lr_ratio: stage.final_lr_ratio,
            decay_ratio: stage.decay_ratio,
            warmup_steps: stage.warmup_steps,
            weight_decay: stage.weight_decay,
            beta2: stage.beta2,
            ema_decay: stage.ema_decay,
            // A card speaks of one arithmetic, whatever `auto` would choose on the device.
            precision: Precision::F32,
            seed: self.seed,
            ..TrainSpec::default()
        }
    }

    /// Windows of the training texts. Documents are shuffled, so that languages alternate.
    pub fn windows(&self, prepared: &Prepared, context: usize) -> Vec<Sequence> {
        let documents = encode(&prepared.tokenizer, prepared.corpus.trained_on());
        // A document follows the end of another: the stream begins with one too.
        let mut stream = vec![Vec::new()];
        stream.extend(documents);
        windows(&stream, Some(bpe::END_OF_TEXT_ID), context)
    }

    /// What the second stage trains on: conversations, assistant turns only, and windows of the texts among them.
    ///
    /// # Errors
    /// The template refuses a conversation.
    pub fn chat_sequences(&self, prepared: &Prepared, spec: &ChatStage) -> Result<Vec<Sequence>, RecipeError> {
        let template = template(&prepared.tokenizer)?;
        let voice =
            Voice { tokenizer: &prepared.tokenizer, template: Some(&template), end_of_text: Some(bpe::END_OF_TEXT_ID) };
        let chats = chats::make(&prepared.corpus.training, spec.conversations, self.seed);
        let mut sequences = Vec::with_capacity(chats.len());
        for chat in &chats {
            let sequence = voice.chat(chat).map_err(RecipeError::Model)?;
            if sequence.ids.len() <= spec.stage.context {
                sequences.push(sequence);
            }
        }
        let replayed = (sequences.len() as f64 * spec.replay / (1.0 - spec.replay)) as usize;
        let texts = self.windows(prepared, spec.stage.context);
        let every = (texts.len() / replayed.max(1)).max(1);
        sequences.extend(texts.into_iter().step_by(every));
        Ok(sequences)
    }

    /// The finished model with its vocabulary, and its template if it was taught turns.
    ///
    /// # Errors
    /// The template does not compile.
    pub fn bundle(&self, prepared: &Prepared, transformer: Transformer) -> Result<ModelBundle, RecipeError> {
        Ok(ModelBundle {
            config: prepared.config.clone(),
            transformer,
            template: self.chat.as_ref().map(|_| template(&prepared.tokenizer)).transpose()?,
            tokenizer: Tokenizer::from_hf(&prepared.tokenizer_json, Some(&bpe::tokenizer_config()))?,
            eos: prepared.config.eos.clone(),
        })
    }
}

fn template(tokenizer: &Tokenizer) -> Result<ChatTemplate, RecipeError> {
    ChatTemplate::new(bpe::CHAT_TEMPLATE, tokenizer.names().clone())
        .map_err(|error| RecipeError::Model(error.to_string()))
}

/// Token ids of each document, without separators.
pub fn encode<'a>(tokenizer: &Tokenizer, documents: impl IntoIterator<Item = &'a Document>) -> Vec<Vec<u32>> {
    documents.into_iter().map(|document| tokenizer.encode(&document.text, Special::Plain)).collect()
}
