//! A whole model: configuration, weights, tokenizer, chat template. Loaded from a Hugging Face directory, a GGUF file or
//! bytes in memory; saved as a Hugging Face directory or a GGUF file.

mod fit;
#[cfg(not(target_arch = "wasm32"))]
mod gguf;
mod head;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod save;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use burn::tensor::Device;
use serde_json::Value as Json;
use thiserror::Error;

use crate::chat_template::{ChatTemplate, TemplateError};
use crate::checkpoint::gguf::{Gguf, Value};
use crate::checkpoint::source::Source;
use crate::checkpoint::{CheckpointError, Weights, gguf_model, names, safetensors};
use crate::config::{ConfigError, ModelConfig};
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::transformer::Transformer;

pub use crate::checkpoint::quant::Packing;
pub use crate::checkpoint::safetensors::Precision;
pub use head::ModelHead;
#[cfg(not(target_arch = "wasm32"))]
pub use save::SaveError;

/// Control tokens that end a turn or document in the families we load, wherever a vocabulary has them.
const ENDS: &[&str] = &["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|end|>", "</s>"];

/// A model, ready to run.
#[derive(Debug)]
pub struct ModelBundle {
    /// The shape of the model.
    pub config: ModelConfig,
    /// The weights, in f32.
    pub transformer: Transformer,
    /// The vocabulary.
    pub tokenizer: Tokenizer,
    /// How conversations are written; none for a model that was never taught to chat.
    pub template: Option<ChatTemplate>,
    /// Tokens that end an answer.
    pub eos: Vec<u32>,
}

/// How far loading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of weights that are on the device.
    pub done: u64,
    /// Bytes of weights in the files.
    pub total: u64,
}

/// Why a model could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The files of the weights.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// `config.json`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A JSON file that does not parse.
    #[error("{file}: {problem}")]
    Json {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// The configuration is of another model than the tensors.
    #[error("{error}; {hint}")]
    Misfit {
        /// The tensor.
        error: Box<CheckpointError>,
        /// The setting that says otherwise than the tensors, and what to do.
        hint: String,
    },
    /// The tokenizer makes ids that the model has no embedding for.
    #[error("the tokenizer has {tokenizer} tokens, the model {model}")]
    Vocabulary {
        /// Ids of the tokenizer.
        tokenizer: usize,
        /// Rows of the embedding.
        model: usize,
    },
    /// The progress callback said so.
    #[error("loading was cancelled")]
    Cancelled,
}

type OnProgress<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

impl ModelBundle {
    /// Loads a Hugging Face directory or a `.gguf` file. `progress` is called after every tensor; `Break` cancels.
    ///
    /// # Errors
    /// Whatever is missing, wrong or not supported, by name.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn load(path: &std::path::Path, device: &Device, progress: OnProgress<'_>) -> Result<Self, LoadError> {
        Self::from_source(&crate::checkpoint::source::Mapped::open(path)?, device, progress)
    }

    /// The same from any source.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_source(source: &dyn Source, device: &Device, progress: OnProgress<'_>) -> Result<Self, LoadError> {
        finish(Parts::read(source)?, device, progress)
    }

    /// Whether the id ends an answer.
    pub fn is_eos(&self, id: u32) -> bool {
        self.eos.contains(&id)
    }
}

impl<'a> Parts<'a> {
    /// Everything but the decoded weights: checks the files' headers and reads no tensor.
    fn read(source: &'a dyn Source) -> Result<Self, LoadError> {
        let names = source.names();
        let gguf: Vec<&String> = names.iter().filter(|n| n.to_lowercase().ends_with(".gguf")).collect();
        match gguf.as_slice() {
            [file] if !source.has(safetensors::SINGLE) && !source.has(safetensors::INDEX) => {
                gguf_parts(&Gguf::parse(file, source.bytes(file)?)?)
            }
            _ => hf_parts(source),
        }
    }
}

fn gguf_parts<'a>(gguf: &Gguf<'a>) -> Result<Parts<'a>, LoadError> {
    let config = gguf_model::config(gguf)?;
    let weights = gguf_model::weights(gguf, &config)?;
    let tokenizer = crate::tokenizer::gguf::tokenizer(gguf)?;
    let source = gguf.opt("tokenizer.chat_template", "a string", |v| match v {
        Value::String(s) => Some(*s),
        _ => None,
    })?;
    let template = source.map(|s| ChatTemplate::new(s, tokenizer.names().clone())).transpose()?;
    let eos = with_known_ends(config.eos.clone(), &tokenizer);
    Ok(Parts { config, weights, tokenizer, template, eos })
}

fn hf_parts(source: &dyn Source) -> Result<Parts<'_>, LoadError> {
    let config = ModelConfig::from_json(&json(source, "config.json")?)?;
    let weights = safetensors::from_source(source)?.named(
        &config,
        |name| names::from_hf(config.model_type, name),
        |path| names::layout_hf(&config, path),
    )?;
    let tokenizer_config = optional(source, "tokenizer_config.json")?;
    let tokenizer = Tokenizer::from_hf(source.bytes("tokenizer.json")?, tokenizer_config)?;
    let template = match template(source, tokenizer_config)? {
        Some(text) => Some(ChatTemplate::new(&text, tokenizer.names().clone())?),
        None => None,
    };
    // As in transformers, the generation config has the last word.
    let generation = match optional(source, "generation_config.json")? {
        Some(bytes) => eos_ids(&parse_json("generation_config.json", bytes)?),
        None => None,
    };
    let eos = generation.unwrap_or_else(|| with_known_ends(config.eos.clone(), &tokenizer));
    Ok(Parts { config, weights, tokenizer, template, eos })
}

struct Parts<'a> {
    config: ModelConfig,
    weights: Weights<'a>,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    eos: Vec<u32>,
}

fn finish(parts: Parts<'_>, device: &Device, progress: OnProgress<'_>) -> Result<ModelBundle, LoadError> {
    let Parts { config, weights, tokenizer, template, eos } = parts;
    if tokenizer.vocab_size() > config.vocab_size {
        return Err(LoadError::Vocabulary { tokenizer: tokenizer.vocab_size(), model: config.vocab_size });
    }
    let eos = end_tokens(eos, config.vocab_size);
    let transformer = load_weights(&config, weights, device, progress)?;
    Ok(ModelBundle { config, transformer, tokenizer, template, eos })
}

/// The ids a file names, then the tokenizer's end token and those of known families: for files that do not say it all.
fn with_known_ends(mut ids: Vec<u32>, tokenizer: &Tokenizer) -> Vec<u32> {
    let named = tokenizer.names().eos.as_deref().and_then(|eos| tokenizer.id_of(eos));
    let known = ENDS.iter().filter_map(|text| tokenizer.id_of(text));
    ids.extend(named);
    ids.extend(known.filter(|&id| tokenizer.is_special(id)));
    ids
}

/// Each id of the vocabulary once.
fn end_tokens(named: Vec<u32>, vocab_size: usize) -> Vec<u32> {
    let mut ids = Vec::new();
    for id in named {
        if (id as usize) < vocab_size && !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// Puts the weights of a checkpoint into a model, one tensor at a time, and refuses what is missing or left over.
///
/// # Errors
/// As above, by the tensor's name; or when `progress` cancels.
pub fn load_weights(
    config: &ModelConfig,
    mut weights: Weights<'_>,
    device: &Device,
    progress: OnProgress<'_>,
) -> Result<Transformer, LoadError> {
    let mut model = fit::empty(config, &weights, device)?;
    let total = weights.tensors.values().map(|w| w.bytes.len() as u64).sum();
    let mut done = 0;
    let mut report = |bytes: u64| {
        done += bytes;
        match progress(Progress { done, total }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(LoadError::Cancelled),
        }
    };
    report(0)?;
    model.load(&mut |path, shape| {
        let weight = weights.take(path, shape)?;
        let values = weight.to_f32();
        report(weight.bytes.len() as u64)?;
        Ok::<_, LoadError>(Some(values))
    })?;
    Ok(model)
}

fn optional<'s>(source: &'s dyn Source, file: &str) -> Result<Option<&'s [u8]>, CheckpointError> {
    if source.has(file) { source.bytes(file).map(Some) } else { Ok(None) }
}

fn json(source: &dyn Source, file: &str) -> Result<Json, LoadError> {
    parse_json(file, source.bytes(file)?)
}

fn parse_json(file: &str, bytes: &[u8]) -> Result<Json, LoadError> {
    serde_json::from_slice(bytes).map_err(|e| LoadError::Json { file: file.to_owned(), problem: e.to_string() })
}

/// The end tokens a generation config names, one or a list; none where it does not say.
fn eos_ids(config: &Json) -> Option<Vec<u32>> {
    let id = |v: &Json| v.as_u64().and_then(|id| u32::try_from(id).ok());
    match config.get("eos_token_id")? {
        Json::Array(ids) => Some(ids.iter().filter_map(id).collect()),
        one => id(one).map(|id| vec![id]),
    }
}

/// `chat_template.jinja`, or `chat_template` of tokenizer_config.json: a text, or a list of named ones.
fn template(source: &dyn Source, tokenizer_config: Option<&[u8]>) -> Result<Option<String>, LoadError> {
    if let Some(bytes) = optional(source, "chat_template.jinja")? {
        let text = std::str::from_utf8(bytes);
        return text
            .map(|t| Some(t.to_owned()))
            .map_err(|e| LoadError::Json { file: "chat_template.jinja".to_owned(), problem: e.to_string() });
    }
    let Some(bytes) = tokenizer_config else {
        return Ok(None);
    };
    let config = parse_json("tokenizer_config.json", bytes)?;
    Ok(match &config["chat_template"] {
        Json::String(text) => Some(text.clone()),
        Json::Array(named) => (named.iter())
            .find(|t| t["name"] == "default")
            .or(named.first())
            .and_then(|t| t["template"].as_str())
            .map(str::to_owned),
        _ => None,
    })
}
