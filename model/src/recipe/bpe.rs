//! The tokenizer of hearth-nano: its special tokens and its chat template.

use super::RecipeError;
use super::corpus::Document;
use crate::tokenizer::bpe::{self, BpeSpec};

/// Closes a document.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// ChatML: opens and closes a turn.
pub const TURN_START: &str = "<|im_start|>";
pub const TURN_END: &str = "<|im_end|>";

pub const END_OF_TEXT_ID: u32 = 0;
pub const TURN_START_ID: u32 = 1;
pub const TURN_END_ID: u32 = 2;

/// ChatML with nothing of the model's own.
pub const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// The bytes of a `tokenizer.json` with `vocab_size` tokens; ids 0, 1, 2 are [`END_OF_TEXT`], [`TURN_START`], [`TURN_END`].
///
/// # Errors
/// The trainer's.
pub fn train(documents: &[Document], vocab_size: usize) -> Result<Vec<u8>, RecipeError> {
    let special_tokens = [END_OF_TEXT, TURN_START, TURN_END].map(str::to_owned).to_vec();
    let texts = documents.iter().map(|document| document.text.as_str());
    bpe::train(texts, &BpeSpec { vocab_size, special_tokens, min_frequency: 2 })
        .map_err(|error| RecipeError::Tokenizer(error.to_string()))
}

/// The bytes of the `tokenizer_config.json` beside it.
pub fn tokenizer_config() -> Vec<u8> {
    let config = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": TURN_END,
        "pad_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": false,
        "chat_template": CHAT_TEMPLATE,
    });
    serde_json::to_vec_pretty(&config).expect("strings serialise")
}
