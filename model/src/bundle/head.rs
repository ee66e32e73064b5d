//! A model without its weights: what it takes to name it, to measure it and to count a text's tokens. Reading it checks
//! every header, and that the tensors are those of the configuration, and decodes none.

use super::{LoadError, Parts, end_tokens, fit};
use crate::chat_template::ChatTemplate;
use crate::checkpoint::source::Source;
use crate::config::ModelConfig;
use crate::tokenizer::Tokenizer;

/// Everything of a model but its weights.
#[derive(Debug)]
pub struct ModelHead {
    pub config: ModelConfig,
    pub tokenizer: Tokenizer,
    pub template: Option<ChatTemplate>,
    /// Tokens that end an answer.
    pub eos: Vec<u32>,
    /// Bytes of the weights in the files.
    pub weight_bytes: u64,
}

impl ModelHead {
    /// Reads a Hugging Face directory or a `.gguf` file.
    ///
    /// # Errors
    /// As [`super::ModelBundle::load`], as far as headers tell.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn load(path: &std::path::Path) -> Result<Self, LoadError> {
        Self::from_source(&crate::checkpoint::source::Mapped::open(path)?)
    }

    /// The same from any source.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_source(source: &dyn Source) -> Result<Self, LoadError> {
        let Parts { config, weights, tokenizer, template, eos } = Parts::read(source)?;
        if tokenizer.vocab_size() > config.vocab_size {
            return Err(LoadError::Vocabulary { tokenizer: tokenizer.vocab_size(), model: config.vocab_size });
        }
        fit::check(&config, &weights)?;
        let weight_bytes = weights.tensors.values().map(|weight| weight.bytes.len() as u64).sum();
        let eos = end_tokens(eos, config.vocab_size);
        Ok(Self { config, tokenizer, template, eos, weight_bytes })
    }
}
