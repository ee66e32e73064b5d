//! Trains byte-level BPE (Sennrich 2016; bytes as in GPT-2) with Hugging Face's own trainer, and reads GPT-2's original files.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

use super::{Tokenizer, TokenizerError};
use crate::data::texts::{TextError, Texts};

type Whole = TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// Ids that every byte-level vocabulary needs: one for each byte.
pub const BYTES: usize = 256;

/// What is trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpeSpec {
    /// Special tokens and bytes included.
    pub vocab_size: usize,
    /// They get the first ids, in this order.
    pub special_tokens: Vec<String>,
    /// A pair seen less often is not merged.
    pub min_frequency: u64,
}

/// Why no tokenizer came of it.
#[derive(Debug, thiserror::Error)]
pub enum BpeError {
    #[error("vocab_size {found} has no room for {BYTES} bytes and {special} special tokens: {} at least", BYTES + special)]
    TooSmall { found: usize, special: usize },
    #[error("the special token `{0}` is there twice")]
    Repeated(String),
    #[error("a special token is empty")]
    Empty,
    #[error("the texts are empty: there is nothing to learn merges from")]
    NoText,
    #[error("the trainer failed: {0}")]
    Trainer(String),
    #[error(transparent)]
    Text(#[from] TextError),
}

impl BpeSpec {
    /// # Errors
    /// A vocabulary without room for its bytes, or special tokens that cannot be.
    pub fn validate(&self) -> Result<(), BpeError> {
        let special = self.special_tokens.len();
        if self.vocab_size < BYTES + special {
            return Err(BpeError::TooSmall { found: self.vocab_size, special });
        }
        for (i, token) in self.special_tokens.iter().enumerate() {
            if token.is_empty() {
                return Err(BpeError::Empty);
            }
            if self.special_tokens[..i].contains(token) {
                return Err(BpeError::Repeated(token.clone()));
            }
        }
        Ok(())
    }
}

/// The bytes of a `tokenizer.json`.
///
/// # Errors
/// An impossible spec, no text, or the trainer's own.
pub fn train<T: AsRef<str> + Send>(texts: impl Iterator<Item = T> + Send, spec: &BpeSpec) -> Result<Vec<u8>, BpeError> {
    spec.validate()?;
    let fail = |error: Box<dyn std::error::Error + Send + Sync>| BpeError::Trainer(error.to_string());
    let special: Vec<AddedToken> =
        spec.special_tokens.iter().map(|text| AddedToken::from(text.clone(), true)).collect();
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(spec.vocab_size)
        .min_frequency(spec.min_frequency)
        .special_tokens(special)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut tokenizer = byte_level(BPE::default());
    tokenizer.train(&mut trainer, texts).map_err(fail)?;
    if tokenizer.get_vocab_size(true) == BYTES + spec.special_tokens.len()
        && spec.vocab_size > BYTES + spec.special_tokens.len()
    {
        return Err(BpeError::NoText);
    }
    tokenizer.to_string(true).map(String::into_bytes).map_err(fail)
}

/// The same from files, `sample_bytes` of them drawn evenly or all; `report` hears how many bytes were read, on any thread.
///
/// # Errors
/// As [`train`], and texts that cannot be read.
pub fn train_on(
    texts: &Texts,
    sample_bytes: Option<u64>,
    spec: &BpeSpec,
    report: &(dyn Fn(u64) + Sync),
) -> Result<Vec<u8>, BpeError> {
    spec.validate()?;
    // The trainer takes texts, not results: the first fault ends them and is kept.
    let fault: Mutex<Option<TextError>> = Mutex::new(None);
    let read = AtomicU64::new(0);
    let pieces = texts.sample(sample_bytes.unwrap_or(u64::MAX))?.map_while(|piece| match piece {
        Ok(piece) => {
            let bytes = piece.text.len() as u64;
            report(read.fetch_add(bytes, Ordering::Relaxed) + bytes);
            Some(piece.text)
        }
        Err(error) => {
            *fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            None
        }
    });
    let trained = train(pieces, spec);
    match fault.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error.into()),
        None => trained,
    }
}

fn byte_level(model: BPE) -> Whole {
    let mut tokenizer: Whole = TokenizerImpl::new(model);
    let bytes = ByteLevel::new(false, true, true);
    tokenizer
        .with_pre_tokenizer(Some(PreTokenizerWrapper::from(bytes)))
        .with_decoder(Some(DecoderWrapper::from(bytes)));
    tokenizer
}

/// The tokenizer in a folder: `tokenizer.json`, or GPT-2's `vocab.json` and `merges.txt` (first called `encoder.json` and
/// `vocab.bpe`).
///
/// # Errors
/// None of these are there, or they don't parse.
pub fn read_folder(folder: &Path) -> Result<Tokenizer, TokenizerError> {
    let fault =
        |name: &str, problem: String| TokenizerError::Parse { file: folder.join(name).display().to_string(), problem };
    let json = folder.join("tokenizer.json");
    if json.exists() {
        let bytes = std::fs::read(&json).map_err(|e| fault("tokenizer.json", e.to_string()))?;
        let config = std::fs::read(folder.join("tokenizer_config.json")).ok();
        return Tokenizer::from_hf(&bytes, config.as_deref());
    }
    let both = [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")];
    let Some((vocab, merges)) = both.into_iter().find(|(vocab, _)| folder.join(vocab).exists()) else {
        return Err(fault("tokenizer.json", "not found, nor vocab.json with merges.txt".to_owned()));
    };
    let [vocab_path, merges_path] = [vocab, merges].map(|name| folder.join(name).display().to_string());
    let model = BPE::from_file(&vocab_path, &merges_path).build().map_err(|e| fault(merges, e.to_string()))?;
    let mut tokenizer = byte_level(model);
    let end = "<|endoftext|>";
    if tokenizer.token_to_id(end).is_some() {
        tokenizer.add_special_tokens([AddedToken::from(end, true)]).map_err(|e| fault(vocab, e.to_string()))?;
    }
    let json = tokenizer.to_string(false).map_err(|e| fault(vocab, e.to_string()))?;
    Tokenizer::from_hf(json.as_bytes(), None)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use crate::tokenizer::Special;

    fn spec(vocab_size: usize, special: &[&str]) -> BpeSpec {
        BpeSpec { vocab_size, special_tokens: special.iter().map(|s| (*s).to_owned()).collect(), min_frequency: 2 }
    }

    #[test]
    fn merges_what_is_frequent_and_keeps_every_text() {
        let json = train(["the whale the ship the whale"; 20].into_iter(), &spec(270, &["<|end|>", "<pad>"])).unwrap();
        let tokenizer = Tokenizer::from_hf(&json, None).unwrap();
        assert_eq!((tokenizer.id_of("<|end|>"), tokenizer.id_of("<pad>")), (Some(0), Some(1)));
        assert!(tokenizer.is_lossless() && tokenizer.vocab_size() <= 270);
        assert_eq!(tokenizer.encode(" whale", Special::Plain).len(), 1);
        let other = "叫我 \u{1f433}\r\n";
        assert_eq!(tokenizer.decode(&tokenizer.encode(other, Special::Plain)), other);
        assert_eq!(
            json,
            train(["the whale the ship the whale"; 20].into_iter(), &spec(270, &["<|end|>", "<pad>"])).unwrap()
        );
    }

    #[test]
    fn impossible_vocabularies_are_refused() {
        let error = |spec: BpeSpec| train([""].into_iter(), &spec).unwrap_err().to_string();
        assert!(error(spec(256, &["<a>"])).contains("257 at least"));
        assert!(error(spec(300, &["<a>", "<a>"])).contains("`<a>` is there twice"));
        assert!(error(spec(300, &[""])).contains("empty"));
        assert!(error(spec(300, &[])).contains("nothing to learn"));
    }

    #[test]
    fn reads_gpt2s_two_files() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_folder(dir.path()).unwrap_err().to_string().contains("tokenizer.json"));
        let json = train(["the whale the ship"; 20].into_iter(), &spec(262, &["<|endoftext|>"])).unwrap();
        let whole: serde_json::Value = serde_json::from_slice(&json).unwrap();
        std::fs::write(dir.path().join("encoder.json"), whole["model"]["vocab"].to_string()).unwrap();
        let pair = |merge: &serde_json::Value| format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap());
        let merges: Vec<String> = whole["model"]["merges"].as_array().unwrap().iter().map(pair).collect();
        std::fs::write(dir.path().join("vocab.bpe"), format!("#version: 0.2\n{}\n", merges.join("\n"))).unwrap();
        let (trained, read) = (Tokenizer::from_hf(&json, None).unwrap(), read_folder(dir.path()).unwrap());
        let text = "the ships <|endoftext|> 鲸";
        assert_eq!(read.encode(text, Special::Parse), trained.encode(text, Special::Parse));
        assert!(read.is_special(read.id_of("<|endoftext|>").unwrap()));
    }
}
