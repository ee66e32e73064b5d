//! The tokenizer inside a GGUF file: byte-level BPE (`tokenizer.ggml.model` = `gpt2`) with llama.cpp's splitting rules.
//!
//! The vocabulary becomes a `tokenizer.json`, so that everything after it is the same code, and a model that came as GGUF is
//! saved like any other.

pub mod write;

use std::collections::HashSet;

use serde_json::{Value as Json, json};

use super::{SpecialNames, Tokenizer, TokenizerError};
use crate::checkpoint::gguf::{Gguf, Value};
use crate::checkpoint::{CheckpointError, gguf_model};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";

const BOS: &str = "tokenizer.ggml.bos_token_id";
const EOS: &str = "tokenizer.ggml.eos_token_id";
const PAD: &str = "tokenizer.ggml.padding_token_id";
const UNK: &str = "tokenizer.ggml.unknown_token_id";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";

/// Token types of ggml: text that only the program may write, and whole words that the splitting rules must not cut.
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How a kind of tokenizer cuts text before merging.
struct Rules {
    /// llama.cpp's names for it, the commonest first.
    names: &'static [&'static str],
    /// Applied one after another, each inside the pieces of the one before.
    splits: &'static [&'static str],
    /// A piece that is a token is taken whole.
    ignore_merges: bool,
    /// Whether a document begins with the begin token where the file does not say.
    add_bos: bool,
}

const RULES: &[Rules] = &[
    Rules { names: &["gpt-2", "phi-2", "olmo", "mpt"], splits: &[GPT2], ignore_merges: false, add_bos: false },
    Rules {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell"],
        splits: &[r"\p{N}", GPT2],
        ignore_merges: false,
        add_bos: false,
    },
    Rules {
        names: &["qwen2", "stablelm2", "deepseek-r1-qwen"],
        splits: &[QWEN2],
        ignore_merges: false,
        add_bos: false,
    },
    Rules {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3"],
        splits: &[LLAMA3],
        ignore_merges: true,
        add_bos: true,
    },
    Rules { names: &["dbrx", "smaug-bpe"], splits: &[LLAMA3], ignore_merges: false, add_bos: false },
    Rules {
        names: &["default"],
        splits: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
        ignore_merges: false,
        add_bos: false,
    },
];

/// Reads the tokenizer.
///
/// # Errors
/// A kind that is not supported (by its name), or a vocabulary that contradicts itself.
pub fn tokenizer(gguf: &Gguf<'_>) -> Result<Tokenizer, TokenizerError> {
    let string = |v: &Value<'_>| match v {
        Value::String(s) => Some((*s).to_owned()),
        _ => None,
    };
    let unsupported = |what: String, hint: &str| CheckpointError::Unsupported {
        file: gguf.file.clone(),
        what,
        hint: hint.to_owned(),
    };
    let model = gguf.need(MODEL, "a string", string)?;
    if model != "gpt2" {
        return Err(unsupported(format!("the tokenizer `{model}`"), "byte-level BPE, `gpt2`, is").into());
    }
    let pre = gguf.opt(PRE, "a string", string)?.unwrap_or_else(|| "default".to_owned());
    let rules = RULES
        .iter()
        .find(|rules| rules.names.contains(&pre.as_str()))
        .ok_or_else(|| unsupported(format!("the splitting rule `{pre}` ({PRE})"), ""))?;
    let vocabulary = Vocabulary::read(gguf)?;
    let json = vocabulary.to_json(gguf, rules)?;
    let names = vocabulary.names(gguf)?;
    Tokenizer::from_json(json.to_string().as_bytes(), names)
}

struct Vocabulary<'g> {
    tokens: &'g [&'g str],
    types: Vec<u64>,
    merges: Vec<(&'g str, &'g str)>,
}

impl<'g> Vocabulary<'g> {
    fn read<'a>(gguf: &'g Gguf<'a>) -> Result<Self, CheckpointError>
    where
        'a: 'g,
    {
        fn strings<'s>(v: &'s Value<'_>) -> Option<&'s [&'s str]> {
            match v {
                Value::Strings(s) => Some(s.as_slice()),
                _ => None,
            }
        }
        let tokens = gguf.need(TOKENS, "an array of strings", strings)?;
        let types = gguf.opt(TYPES, "an array of integers", |v| match v {
            Value::Numbers(n) => n.iter().map(|v| v.as_u64()).collect::<Option<Vec<u64>>>(),
            _ => None,
        })?;
        let types = types.unwrap_or_else(|| vec![1; tokens.len()]);
        if types.len() != tokens.len() {
            return Err(gguf.bad(TYPES, &format!("has {} entries for {} tokens", types.len(), tokens.len())));
        }
        let mut seen = HashSet::with_capacity(tokens.len());
        if let Some(twice) = tokens.iter().find(|t| !seen.insert(**t)) {
            return Err(gguf.bad(TOKENS, &format!("the token `{twice}` appears twice")));
        }
        let mut merges = Vec::new();
        for merge in gguf.need(MERGES, "an array of strings", strings)? {
            // The first character may itself be a space; no token of the byte alphabet has another.
            let cut = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(i, _)| i);
            let pair = cut.map(|i| (&merge[..i], &merge[i + 1..])).filter(|(_, b)| !b.is_empty());
            merges.push(pair.ok_or_else(|| gguf.bad(MERGES, &format!("`{merge}` is no pair")))?);
        }
        Ok(Self { tokens, types, merges })
    }

    fn id(&self, gguf: &Gguf<'_>, key: &str) -> Result<Option<(u32, &'g str)>, CheckpointError> {
        let Some(id) = gguf_model::token_id(gguf, key)? else {
            return Ok(None);
        };
        let text = self.tokens.get(id as usize);
        let text =
            text.ok_or_else(|| gguf.bad(key, &format!("{id} is outside the vocabulary of {}", self.tokens.len())))?;
        Ok(Some((id, text)))
    }

    fn names(&self, gguf: &Gguf<'_>) -> Result<SpecialNames, CheckpointError> {
        let text = |key: &str| Ok::<_, CheckpointError>(self.id(gguf, key)?.map(|(_, t)| t.to_owned()));
        Ok(SpecialNames { bos: text(BOS)?, eos: text(EOS)?, pad: text(PAD)?, unk: text(UNK)? })
    }

    fn to_json(&self, gguf: &Gguf<'_>, rules: &Rules) -> Result<Json, CheckpointError> {
        let vocab: serde_json::Map<String, Json> =
            self.tokens.iter().enumerate().map(|(id, t)| ((*t).to_owned(), id.into())).collect();
        let added: Vec<Json> = (self.tokens.iter().zip(&self.types).enumerate())
            .filter(|(_, (text, kind))| matches!(**kind, CONTROL | USER_DEFINED) && !text.is_empty())
            .map(|(id, (text, kind))| {
                json!({
                    "id": id, "content": text, "special": *kind == CONTROL,
                    "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                })
            })
            .collect();
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
        });
        let mut splits: Vec<Json> = (rules.splits.iter())
            .map(|r| json!({"type": "Split", "pattern": {"Regex": r}, "behavior": "Isolated", "invert": false}))
            .collect();
        splits.push(byte_level.clone());
        Ok(json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": null,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": splits},
            "post_processor": self.post_processor(gguf, rules)?,
            "decoder": byte_level,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": rules.ignore_merges, "vocab": vocab, "merges": self.merges,
            },
        }))
    }

    /// What a document begins and ends with.
    fn post_processor(&self, gguf: &Gguf<'_>, rules: &Rules) -> Result<Json, CheckpointError> {
        let flag = |key: &str| {
            gguf.opt(key, "a boolean", |v| match v {
                Value::Bool(b) => Some(*b),
                _ => None,
            })
        };
        let when = |add: bool, key: &str| if add { self.id(gguf, key) } else { Ok(None) };
        let add_bos = flag(ADD_BOS)?.unwrap_or(rules.add_bos);
        let add_eos = flag(ADD_EOS)?.unwrap_or(false);
        let bos = when(add_bos, BOS)?;
        let eos = when(add_eos, EOS)?;
        if bos.is_none() && eos.is_none() {
            return Ok(Json::Null);
        }
        let token = |(_, text): (u32, &str)| json!({"SpecialToken": {"id": text, "type_id": 0}});
        let sequence = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
        let around = |middle: Vec<Json>| -> Vec<Json> {
            bos.map(token).into_iter().chain(middle).chain(eos.map(token)).collect()
        };
        let mut special = serde_json::Map::new();
        for (id, text) in [bos, eos].into_iter().flatten() {
            special.insert(text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]}));
        }
        Ok(json!({
            "type": "TemplateProcessing",
            "single": around(vec![sequence("A")]),
            "pair": around(vec![sequence("A"), sequence("B")]),
            "special_tokens": special,
        }))
    }
}
