//! A tokenizer as a GGUF file has it: the vocabulary token by token, the merges, and the name of the rule that cuts text.
//!
//! llama.cpp has its splitting rules in its program, and a file only names one. A `tokenizer.json` says its own, so the name is
//! the one whose regular expressions are the same; a tokenizer that cuts in another way is refused.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{
    ADD_BOS, ADD_EOS, BOS, CONTROL, EOS, GPT2, MERGES, MODEL, PAD, PRE, RULES, TOKENS, TYPES, UNK, USER_DEFINED,
};
use crate::checkpoint::gguf::write::Inexpressible;
use crate::checkpoint::gguf::{Numbers, Value};
use crate::tokenizer::{Alphabet, Special, Tokenizer};

/// A second token that ends an answer.
const EOT: &str = "tokenizer.ggml.eot_token_id";

/// Token types of ggml beside those that are read: text, and a row of the embedding that no text has.
const NORMAL: u64 = 1;
const UNUSED: u64 = 5;

/// How `tokenizer.json` files write the start of [`super::QWEN2`] and [`super::LLAMA3`], and how llama.cpp does.
const CONTRACTIONS: (&str, &str) =
    ("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])");

/// A tokenizer's metadata.
#[derive(Debug)]
pub struct Entries {
    pre: &'static str,
    tokens: Vec<String>,
    /// An i32 for each token, little-endian.
    types: Vec<u8>,
    merges: Vec<String>,
    /// By key.
    ids: Vec<(&'static str, u32)>,
    add_bos: bool,
    add_eos: bool,
}

impl Entries {
    /// Of a model with so many rows in its embedding, and tokens that end an answer, of which a file holds two.
    ///
    /// # Errors
    /// The first field of `tokenizer.json` that the file cannot hold.
    pub fn new(tokenizer: &Tokenizer, vocab_size: usize, ends: &[u32]) -> Result<Self, Inexpressible> {
        let json: Json = serde_json::from_str(&tokenizer.to_json()).expect("the library writes JSON");
        let pre = rule(tokenizer, &json)?;
        let mut tokens = Vec::with_capacity(vocab_size);
        let mut types = Vec::with_capacity(4 * vocab_size);
        let added = tokenizer.inner.get_added_tokens_decoder();
        for id in 0..vocab_size as u32 {
            let (text, kind) = match (added.get(&id), tokenizer.inner.id_to_token(id)) {
                (Some(token), _) if token.single_word || token.lstrip || token.rstrip => {
                    let why = "llama.cpp takes no space and no word's end into account";
                    return Err(Inexpressible::new("added_tokens", &token.content, why));
                }
                (Some(token), _) => (token.content.clone(), if token.special { CONTROL } else { USER_DEFINED }),
                (None, Some(text)) => (text, NORMAL),
                // llama.cpp wants a token for each row of the embedding.
                (None, None) => (format!("[PAD{id}]"), UNUSED),
            };
            tokens.push(text);
            types.extend((kind as i32).to_le_bytes());
        }
        let [before, after] = around(tokenizer)?;
        let id_of = |name: &Option<String>| name.as_deref().and_then(|name| tokenizer.id_of(name));
        let names = tokenizer.names();
        let eos = after.or_else(|| id_of(&names.eos)).or_else(|| ends.first().copied());
        let ids = [
            (BOS, before.or_else(|| id_of(&names.bos))),
            (EOS, eos),
            (EOT, ends.iter().copied().find(|&end| Some(end) != eos)),
            (PAD, id_of(&names.pad)),
            (UNK, id_of(&names.unk)),
        ];
        Ok(Self {
            pre,
            tokens,
            types,
            merges: merges(&json)?,
            ids: ids.into_iter().filter_map(|(key, id)| Some((key, id?))).collect(),
            add_bos: before.is_some(),
            add_eos: after.is_some(),
        })
    }

    /// Puts the entries beside a model's.
    pub fn put<'a>(&'a self, metadata: &mut BTreeMap<String, Value<'a>>) {
        let strings = |texts: &'a [String]| Value::Strings(texts.iter().map(String::as_str).collect());
        let entries = [
            (MODEL, Value::String("gpt2")),
            (PRE, Value::String(self.pre)),
            (TOKENS, strings(&self.tokens)),
            (TYPES, Value::Numbers(Numbers::i32(&self.types))),
            (MERGES, strings(&self.merges)),
            (ADD_BOS, Value::Bool(self.add_bos)),
            (ADD_EOS, Value::Bool(self.add_eos)),
        ];
        let ids = self.ids.iter().map(|&(key, id)| (key, Value::Unsigned(id.into())));
        metadata.extend(entries.into_iter().chain(ids).map(|(key, value)| (key.to_owned(), value)));
    }
}

/// llama.cpp's name for the way that this tokenizer cuts text.
fn rule(tokenizer: &Tokenizer, json: &Json) -> Result<&'static str, Inexpressible> {
    let model = &json["model"];
    if model["type"] != "BPE" || tokenizer.alphabet != Alphabet::ByteLevel {
        return Err(Inexpressible::new("model.type", &model["type"], "only byte-level BPE is written"));
    }
    // Qwen2's NFC changes nothing of composed text; llama.cpp leaves it out for every model.
    let normalizer = &json["normalizer"];
    if !normalizer.is_null() && normalizer["type"] != "NFC" {
        return Err(Inexpressible::new("normalizer", normalizer, "llama.cpp has none"));
    }
    for field in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
        let value = &model[field];
        if !value.is_null() && value != "" && value != 0.0 {
            return Err(Inexpressible::new(format!("model.{field}"), value, "llama.cpp has none"));
        }
    }
    if model["byte_fallback"] == true {
        return Err(Inexpressible::new("model.byte_fallback", true, "byte-level BPE has none"));
    }
    let mut splits = Vec::new();
    if !find_splits(&json["pre_tokenizer"], &mut splits)? {
        return Err(Inexpressible::new("pre_tokenizer", &json["pre_tokenizer"], "it does not end in bytes"));
    }
    let ignore_merges = model["ignore_merges"] == true;
    let same = RULES.iter().find(|rules| rules.splits == splits && rules.ignore_merges == ignore_merges);
    same.map(|rules| rules.names[0]).ok_or_else(|| {
        let why = format!("llama.cpp has no such rule{}", if ignore_merges { " with `ignore_merges`" } else { "" });
        Inexpressible::new("pre_tokenizer", format!("{splits:?}"), &why)
    })
}

/// Collects the regular expressions, outermost first; whether the last step was the one to bytes.
fn find_splits(pre: &Json, splits: &mut Vec<String>) -> Result<bool, Inexpressible> {
    let refuse = |why: &str| Err(Inexpressible::new("pre_tokenizer", pre, why));
    match pre["type"].as_str() {
        Some("Sequence") => {
            let mut bytes = false;
            for step in pre["pretokenizers"].as_array().into_iter().flatten() {
                if bytes {
                    return refuse("llama.cpp cuts before it turns text into bytes");
                }
                bytes = find_splits(step, splits)?;
            }
            Ok(bytes)
        }
        Some("ByteLevel") if pre["add_prefix_space"] == true => refuse("llama.cpp adds no space in front"),
        Some("ByteLevel") => {
            if pre["use_regex"] != false {
                splits.push(GPT2.to_owned());
            }
            Ok(true)
        }
        Some("Digits") if pre["individual_digits"] == true => {
            splits.push(r"\p{N}".to_owned());
            Ok(false)
        }
        Some("Split") if pre["behavior"] == "Isolated" && pre["invert"] != true => {
            match pre["pattern"]["Regex"].as_str() {
                Some(regex) => {
                    splits.push(regex.replace(CONTRACTIONS.0, CONTRACTIONS.1));
                    Ok(false)
                }
                None => refuse("only regular expressions are written"),
            }
        }
        _ => refuse("llama.cpp has no such step"),
    }
}

fn merges(json: &Json) -> Result<Vec<String>, Inexpressible> {
    let merge = |merge: &Json| match merge {
        Json::String(pair) => Some(pair.clone()),
        Json::Array(pair) => match pair.as_slice() {
            [Json::String(a), Json::String(b)] => Some(format!("{a} {b}")),
            _ => None,
        },
        _ => None,
    };
    let refuse = |value: &Json| Inexpressible::new("model.merges", value, "it is no pair");
    let merges = json["model"]["merges"].as_array().into_iter().flatten();
    merges.map(|pair| merge(pair).ok_or_else(|| refuse(pair))).collect()
}

/// The tokens that a document begins and ends with.
fn around(tokenizer: &Tokenizer) -> Result<[Option<u32>; 2], Inexpressible> {
    let (plain, whole) = (tokenizer.encode("a", Special::Parse), tokenizer.encode_document("a"));
    let refuse = || {
        let why = "llama.cpp puts at most one token in front of a text and one behind it";
        Inexpressible::new("post_processor", tokenizer.decode(&whole), why)
    };
    let at = (0..=whole.len()).find(|&at| whole[at..].starts_with(&plain)).ok_or_else(refuse)?;
    match (&whole[..at], &whole[at + plain.len()..]) {
        (before @ ([] | [_]), after @ ([] | [_])) => Ok([before.first().copied(), after.first().copied()]),
        _ => Err(refuse()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::chat_template::tests::byte_tokenizer;
    use serde_json::json;

    /// The tokenizer with another value at a place of its JSON.
    fn with(pointer: &str, value: Json) -> Tokenizer {
        let mut json: Json = serde_json::from_str(&byte_tokenizer().to_json()).unwrap();
        *json.pointer_mut(pointer).unwrap() = value;
        Tokenizer::from_hf(json.to_string().as_bytes(), Some(br#"{"eos_token": "<|im_end|>"}"#)).unwrap()
    }

    fn name(tokenizer: &Tokenizer) -> Result<&'static str, String> {
        Entries::new(tokenizer, 300, &[2]).map(|entries| entries.pre).map_err(|error| error.to_string())
    }

    fn split(regex: &str) -> Json {
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        let split = json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        json!({"type": "Sequence", "pretokenizers": [split, bytes]})
    }

    #[test]
    fn the_rule_is_the_one_that_cuts_alike() {
        assert_eq!(name(&byte_tokenizer()), Ok("gpt-2"));
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        let digits = json!({"type": "Digits", "individual_digits": true});
        let smollm = json!({"type": "Sequence", "pretokenizers": [digits, bytes]});
        assert_eq!(name(&with("/pre_tokenizer", smollm)), Ok("smollm"));
        let qwen2 = super::super::QWEN2.replace(CONTRACTIONS.1, CONTRACTIONS.0);
        assert!(qwen2.starts_with("(?i:"));
        assert_eq!(name(&with("/pre_tokenizer", split(&qwen2))), Ok("qwen2"));
        assert_eq!(name(&with("/pre_tokenizer", split(super::super::LLAMA3))), Ok("dbrx"));
        let mut llama3: Json =
            serde_json::from_str(&with("/pre_tokenizer", split(super::super::LLAMA3)).to_json()).unwrap();
        llama3["model"]["ignore_merges"] = true.into();
        assert_eq!(name(&Tokenizer::from_hf(llama3.to_string().as_bytes(), None).unwrap()), Ok("llama-bpe"));
    }

    #[test]
    fn what_cuts_otherwise_is_refused_by_name() {
        let refused = |pointer, value, what: &str| {
            let error = name(&with(pointer, value)).unwrap_err();
            assert!(error.contains(what), "{error}");
        };
        refused("/pre_tokenizer", split(r"\w+|\s+"), "pre_tokenizer");
        refused("/pre_tokenizer", json!({"type": "Whitespace"}), "pre_tokenizer");
        refused("/pre_tokenizer/add_prefix_space", true.into(), "add_prefix_space");
        refused("/normalizer", json!({"type": "Lowercase"}), "normalizer");
        refused("/decoder", json!({"type": "ByteFallback"}), "model.type");
        refused("/added_tokens/0/lstrip", true.into(), "added_tokens");
    }

    #[test]
    fn rows_without_a_token_are_filled_and_ends_are_named() {
        let entries = Entries::new(&byte_tokenizer(), 260, &[2, 0]).unwrap();
        assert_eq!((entries.tokens.len(), entries.types.len()), (260, 4 * 260));
        assert_eq!((entries.tokens[1].as_str(), entries.tokens[259].as_str()), ("<|im_start|>", "[PAD259]"));
        assert_eq!((entries.types[0], entries.types[4 * 258], entries.types[4 * 259]), (3, 1, 5));
        assert_eq!(entries.ids, [(EOS, 2), (EOT, 0)]);
        assert!(!entries.add_bos && !entries.add_eos);
        let processor = json!({
            "type": "TemplateProcessing",
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}},
        });
        let entries = Entries::new(&with("/post_processor", processor), 259, &[2]).unwrap();
        assert_eq!(entries.ids, [(BOS, 1), (EOS, 2)]);
        assert!(entries.add_bos && !entries.add_eos);
    }
}
