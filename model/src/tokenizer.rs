//! Text to token ids and back, behind one type for Hugging Face's `tokenizer.json` and the vocabularies inside GGUF files.
//!
//! Encoding is the `tokenizers` crate's, with the same regular expression engine natively and in wasm, so that page and
//! server cut every text alike. Decoding works on bytes: a token may hold a part of a character, so a text is only made of
//! the joined bytes.

#[cfg(not(target_arch = "wasm32"))]
pub mod bpe;
pub mod gguf;
pub mod learn;
pub mod merges;
pub mod report;
mod stream;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;
use thiserror::Error;

pub use stream::Utf8Stream;
pub(crate) use stream::byte_chars;

/// Why a tokenizer could not be made.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// The JSON is not a tokenizer's.
    #[error("{file}: {problem}")]
    Parse {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// The vocabulary inside a GGUF file is wrong.
    #[error(transparent)]
    Checkpoint(#[from] crate::checkpoint::CheckpointError),
}

/// What text that looks like a special token (`<|im_end|>`) becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// The special token. For text that a template or a program wrote.
    Parse,
    /// The ordinary tokens of its characters. For text that a person or a data set wrote.
    Plain,
}

/// How token texts turn into bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alphabet {
    /// GPT-2's: one printable character for each byte.
    ByteLevel,
    /// SentencePiece's: `▁` is a space, `<0x0A>` a byte.
    Pieces,
    /// The texts themselves.
    Plain,
}

/// A vocabulary and the rules that cut text into it.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// A copy that leaves special tokens alone; made when first needed, for it doubles the memory.
    plain: OnceLock<tokenizers::Tokenizer>,
    alphabet: Alphabet,
    /// The bytes of all tokens, one after another, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<u32>,
    special: BTreeMap<u32, String>,
    names: SpecialNames,
}

/// The tokens that chat templates know by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialNames {
    /// Text of the token that begins a document.
    pub bos: Option<String>,
    /// Text of the token that ends a turn or document.
    pub eos: Option<String>,
    /// Text of the padding token.
    pub pad: Option<String>,
    /// Text of the token for what the vocabulary lacks.
    pub unk: Option<String>,
}

/// The parts of `tokenizer_config.json` that are used.
#[derive(Debug, Default, Deserialize)]
struct HfConfig {
    #[serde(default)]
    bos_token: Option<TokenText>,
    #[serde(default)]
    eos_token: Option<TokenText>,
    #[serde(default)]
    pad_token: Option<TokenText>,
    #[serde(default)]
    unk_token: Option<TokenText>,
}

/// transformers writes a token as its text or as an object.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TokenText {
    Text(String),
    Object { content: String },
}

impl TokenText {
    fn into_text(self) -> String {
        match self {
            Self::Text(content) | Self::Object { content } => content,
        }
    }
}

/// The part of `tokenizer.json` that must parse before the library sees it.
#[derive(Deserialize)]
struct Decoder {
    #[serde(default, rename = "decoder")]
    _decoder: serde_json::Value,
}

impl Tokenizer {
    /// From the bytes of `tokenizer.json` and, where there is one, `tokenizer_config.json`.
    ///
    /// # Errors
    /// When either does not parse, or the tokenizer fails on a text it must be able to cut.
    pub fn from_hf(json: &[u8], config: Option<&[u8]>) -> Result<Self, TokenizerError> {
        let config: HfConfig = match config {
            Some(bytes) => serde_json::from_slice(bytes).map_err(|e| TokenizerError::Parse {
                file: "tokenizer_config.json".to_owned(),
                problem: e.to_string(),
            })?,
            None => HfConfig::default(),
        };
        let names = SpecialNames {
            bos: config.bos_token.map(TokenText::into_text),
            eos: config.eos_token.map(TokenText::into_text),
            pad: config.pad_token.map(TokenText::into_text),
            unk: config.unk_token.map(TokenText::into_text),
        };
        Self::from_json(json, names)
    }

    fn from_json(json: &[u8], names: SpecialNames) -> Result<Self, TokenizerError> {
        let parse = |problem: String| TokenizerError::Parse { file: "tokenizer.json".to_owned(), problem };
        check_prefix(json).map_err(&parse)?;
        // The library panics on a decoder whose text does not parse, instead of saying so.
        serde_json::from_slice::<Decoder>(json).map_err(|e| parse(e.to_string()))?;
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(|e| parse(e.to_string()))?;
        // A file may ask for padding and truncation; both belong to the caller.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| parse(e.to_string()))?;
        // A vocabulary without a token for the unknown fails while encoding; `encode` must not, so ask now.
        inner.encode_fast("\u{10ffff}\u{0}a 火", false).map_err(|e| parse(e.to_string()))?;
        let alphabet = alphabet(&inner);
        let mut special = BTreeMap::new();
        for (id, token) in inner.get_added_tokens_decoder() {
            if token.special {
                special.insert(id, token.content);
            }
        }
        let (bytes, ends) = token_table(&inner, alphabet).map_err(parse)?;
        Ok(Self { inner, plain: OnceLock::new(), alphabet, bytes, ends, special, names })
    }

    /// The `tokenizer.json` of this tokenizer.
    pub fn to_json(&self) -> String {
        self.inner.to_string(false).expect("a tokenizer that was read can be written")
    }

    /// Token ids of `text`, without begin or end tokens.
    pub fn encode(&self, text: &str, special: Special) -> Vec<u32> {
        let ids = ids(self.reading(special), text, false);
        match special {
            Special::Plain if ids.iter().any(|id| self.special.contains_key(id)) => self.without_special(ids),
            _ => ids,
        }
    }

    /// The library's tokenizer that reads special tokens so.
    fn reading(&self, special: Special) -> &tokenizers::Tokenizer {
        match special {
            Special::Parse => &self.inner,
            Special::Plain => self.plain.get_or_init(|| {
                let mut plain = self.inner.clone();
                plain.set_encode_special_tokens(true);
                plain
            }),
        }
    }

    /// Token ids of a whole document or prompt: special tokens parsed, and the begin and end tokens that this tokenizer adds.
    pub fn encode_document(&self, text: &str) -> Vec<u32> {
        ids(&self.inner, text, true)
    }

    /// Merges can, in odd vocabularies, build a special token from plain text: such a token is cut into characters.
    fn without_special(&self, ids: Vec<u32>) -> Vec<u32> {
        let plain = self.plain.get().unwrap_or(&self.inner);
        ids.into_iter()
            .flat_map(|id| match self.special.get(&id) {
                Some(text) => {
                    let each = text.chars().flat_map(|c| self::ids(plain, c.encode_utf8(&mut [0; 4]), false));
                    each.filter(|id| !self.special.contains_key(id)).collect()
                }
                None => vec![id],
            })
            .collect()
    }

    /// The text of token ids, special tokens included. Bytes that are no UTF-8 (a character cut at either end) become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        if self.alphabet == Alphabet::Plain {
            return self.inner.decode(ids, false).unwrap_or_default();
        }
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.decode_bytes(id)).copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        // SentencePiece puts a space before the first word.
        match (self.alphabet, text.strip_prefix(' ')) {
            (Alphabet::Pieces, Some(rest)) => rest.to_owned(),
            _ => text.into_owned(),
        }
    }

    /// The bytes of one token; empty for an id outside the vocabulary.
    pub fn decode_bytes(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else {
            return &[];
        };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start as usize..end as usize]
    }

    /// The token's text for people: its characters, or its bytes as `\xE7` where they are no whole character.
    pub fn token_text(&self, id: u32) -> String {
        let mut out = String::new();
        for chunk in self.decode_bytes(id).utf8_chunks() {
            out.push_str(chunk.valid());
            chunk.invalid().iter().for_each(|b| out.push_str(&format!("\\x{b:02X}")));
        }
        out
    }

    /// Number of token ids: the largest plus one. A model's embedding may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.ends.len()
    }

    /// The id of a token by its text in the vocabulary (`<|im_start|>`).
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Whether it is a control token, as opposed to a piece of text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains_key(&id)
    }

    /// Control tokens, by id.
    pub fn special_tokens(&self) -> impl Iterator<Item = (u32, &str)> {
        self.special.iter().map(|(&id, text)| (id, text.as_str()))
    }

    /// How it makes tokens, by the name in `tokenizer.json`: `BPE`, `Unigram`, `WordPiece` or `WordLevel`.
    pub fn algorithm(&self) -> &'static str {
        match self.inner.get_model() {
            tokenizers::ModelWrapper::BPE(_) => "BPE",
            tokenizers::ModelWrapper::Unigram(_) => "Unigram",
            tokenizers::ModelWrapper::WordPiece(_) => "WordPiece",
            tokenizers::ModelWrapper::WordLevel(_) => "WordLevel",
        }
    }

    /// The tokens that templates know by name.
    pub fn names(&self) -> &SpecialNames {
        &self.names
    }

    /// Whether any text encodes and decodes to itself: byte-level, all 256 bytes in the vocabulary, no normaliser.
    pub fn is_lossless(&self) -> bool {
        self.alphabet == Alphabet::ByteLevel
            && self.inner.get_normalizer().is_none()
            && byte_chars().iter().enumerate().all(|(byte, c)| {
                // These bytes are in no UTF-8 text.
                matches!(byte, 0xc0 | 0xc1 | 0xf5..) || self.id_of(&c.to_string()).is_some()
            })
    }
}

fn ids(inner: &tokenizers::Tokenizer, text: &str, document: bool) -> Vec<u32> {
    // The one failure, a missing token for the unknown, was ruled out when the tokenizer was made.
    inner.encode_fast(text, document).map(|e| e.get_ids().to_vec()).unwrap_or_default()
}

/// The crate subtracts the prefix's length from every second half of a merge without looking.
fn check_prefix(json: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Outer {
        model: Model,
    }
    #[derive(Deserialize)]
    struct Model {
        #[serde(default)]
        continuing_subword_prefix: Option<String>,
        #[serde(default)]
        r#type: Option<String>,
    }
    let outer: Outer = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    let prefix = outer.model.continuing_subword_prefix.unwrap_or_default();
    if !prefix.is_empty() && outer.model.r#type.as_deref() != Some("WordPiece") {
        return Err(format!("BPE with the continuing prefix `{prefix}` is not supported"));
    }
    Ok(())
}

fn alphabet(inner: &tokenizers::Tokenizer) -> Alphabet {
    let decoder = serde_json::to_string(&inner.get_decoder()).unwrap_or_default();
    if decoder.contains("\"ByteLevel\"") {
        Alphabet::ByteLevel
    } else if decoder.contains("\"ByteFallback\"") || decoder.contains("\"Metaspace\"") || decoder.contains('▁') {
        Alphabet::Pieces
    } else {
        Alphabet::Plain
    }
}

/// The bytes of every token, joined, and the end of each.
fn token_table(inner: &tokenizers::Tokenizer, alphabet: Alphabet) -> Result<(Vec<u8>, Vec<u32>), String> {
    let vocab = inner.get_vocab(true);
    let added = inner.get_added_tokens_decoder();
    let size = vocab.values().max().map_or(0, |&id| id as usize + 1);
    // Ids may have holes, but a few entries must not claim gigabytes.
    if size > 2 * vocab.len() + 4096 {
        return Err(format!("token id {} in a vocabulary of {} tokens", size - 1, vocab.len()));
    }
    let mut texts: Vec<Option<&str>> = vec![None; size];
    for (text, &id) in &vocab {
        texts[id as usize] = Some(text);
    }
    let chars = stream::char_bytes();
    let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(size));
    for (id, text) in texts.into_iter().enumerate() {
        match (added.get(&(id as u32)), text) {
            (Some(token), _) => bytes.extend(token.content.bytes()),
            (None, Some(text)) => stream::push_token(&mut bytes, text, alphabet, &chars),
            (None, None) => {}
        }
        ends.push(u32::try_from(bytes.len()).map_err(|_| "the vocabulary passes 4 GB".to_owned())?);
    }
    Ok((bytes, ends))
}
