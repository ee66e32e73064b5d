//! Trains the byte-level BPE of hearth-nano (Sennrich 2016; bytes as in GPT-2) with Hugging Face's own trainer.

use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

use super::RecipeError;
use super::corpus::Document;

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
    let fail = |error: Box<dyn std::error::Error + Send + Sync>| RecipeError::Tokenizer(error.to_string());
    let special = [END_OF_TEXT, TURN_START, TURN_END].map(|text| AddedToken::from(text, true));
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(vocab_size)
        .min_frequency(2)
        .special_tokens(special.to_vec())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut tokenizer: TokenizerImpl<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    > = TokenizerImpl::new(BPE::default());
    let byte_level = ByteLevel::new(false, true, true);
    tokenizer
        .with_pre_tokenizer(Some(PreTokenizerWrapper::from(byte_level)))
        .with_decoder(Some(DecoderWrapper::from(byte_level)));
    let texts = documents.iter().map(|document| document.text.as_str());
    tokenizer.train(&mut trainer, texts).map_err(fail)?;
    tokenizer.to_string(true).map(String::into_bytes).map_err(fail)
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
