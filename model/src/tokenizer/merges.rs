//! The merges of a byte-pair encoding, one after another: how a text's tokens come to be (Sennrich 2016).
//!
//! The tokenizer itself keeps no account of its way, so it is walked here again, by the library's own rules. What comes out is
//! compared with the tokenizer's tokens, and the trail says whether they are the same.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use hearth_shared::lab::words::{Step, Token, Trail};
use serde::Deserialize;
use tokenizers::models::bpe::BPE;
use tokenizers::{Model as _, ModelWrapper, OffsetReferential, OffsetType, PreTokenizer as _};

use super::{Alphabet, Special, Tokenizer};

/// What a vocabulary joins.
#[derive(Debug)]
pub struct Merges {
    /// Of two neighbours: how early the pair was learned, and the token it becomes.
    pairs: HashMap<(u32, u32), (u32, u32)>,
}

/// The part of the library's model that it shows to nobody but a file.
#[derive(Deserialize)]
struct Written {
    merges: Vec<(String, String)>,
}

/// A text on its way: tokens in a row, and where words end.
#[derive(Default)]
struct Line {
    ids: Vec<u32>,
    words: Vec<u32>,
    whole: u32,
}

impl Merges {
    /// None for a vocabulary that has no merges, or draws them by chance, or marks the ends of words.
    pub fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let bpe = plain_bpe(tokenizer)?;
        let written: Written = serde_json::from_str(&serde_json::to_string(bpe).ok()?).ok()?;
        let mut pairs = HashMap::with_capacity(written.merges.len());
        for (rank, (left, right)) in (0..).zip(written.merges) {
            let joined = bpe.token_to_id(&format!("{left}{right}"))?;
            pairs.insert((bpe.token_to_id(&left)?, bpe.token_to_id(&right)?), (rank, joined));
        }
        Some(Self { pairs })
    }

    /// How many pairs it joins.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The way from a text's first pieces to the tokens of `tokenizer`, whose merges these are. None where its splitting rules
    /// fail on the text.
    pub fn trail(&self, tokenizer: &Tokenizer, text: &str, special: Special) -> Option<Trail> {
        let line = Line::of(tokenizer, text, special)?;
        let start = line.ids.iter().map(|&id| Token { id, bytes: tokenizer.decode_bytes(id).to_vec() }).collect();
        let mut trail = Trail {
            start,
            steps: self.join(&line),
            words: line.words,
            characters: u32::try_from(text.chars().count()).unwrap_or(u32::MAX),
            from_bytes: tokenizer.alphabet == Alphabet::ByteLevel,
            whole: line.whole,
            equal: false,
        };
        let last = trail.pieces(trail.steps.len());
        trail.equal = last.iter().map(|piece| piece.id).eq(tokenizer.encode(text, special));
        Some(trail)
    }

    /// Joins the pair of the best rank, the leftmost of equals, until none is left. Words are merged side by side: none of
    /// them knows of another, so each ends as if it were alone.
    fn join(&self, line: &Line) -> Vec<Step> {
        const NONE: usize = usize::MAX;
        let mut ids = line.ids.clone();
        let count = ids.len();
        let mut before: Vec<usize> = (0..count).map(|at| at.checked_sub(1).unwrap_or(NONE)).collect();
        let mut after: Vec<usize> = (0..count).map(|at| if at + 1 < count { at + 1 } else { NONE }).collect();
        for end in line.words.iter().map(|&end| end as usize).filter(|&end| end > 0 && end < count) {
            before[end] = NONE;
            after[end - 1] = NONE;
        }
        let mut gone = vec![false; count];
        let mut queue = BinaryHeap::new();
        let found = |ids: &[u32], left: usize, right: usize| {
            let &(rank, joined) = self.pairs.get(&(ids[left], ids[right]))?;
            Some(Reverse((rank, left, joined)))
        };
        queue.extend((0..count).filter(|&at| after[at] != NONE).filter_map(|at| found(&ids, at, after[at])));
        let mut steps: Vec<Step> = Vec::new();
        while let Some(Reverse((rank, left, joined))) = queue.pop() {
            let right = after[left];
            if gone[left] || right == NONE {
                continue;
            }
            // The neighbours may have changed since the pair was seen.
            if self.pairs.get(&(ids[left], ids[right])).is_none_or(|&(_, now)| now != joined) {
                continue;
            }
            ids[left] = joined;
            gone[right] = true;
            after[left] = after[right];
            if after[left] != NONE {
                before[after[left]] = left;
            }
            match steps.last_mut().filter(|step| (step.rank, step.joined) == (rank, joined)) {
                Some(step) => step.places.push(left as u32),
                None => steps.push(Step { rank, joined, places: vec![left as u32] }),
            }
            if before[left] != NONE {
                queue.extend(found(&ids, before[left], left));
            }
            if after[left] != NONE {
                queue.extend(found(&ids, left, after[left]));
            }
        }
        steps
    }
}

fn plain_bpe(tokenizer: &Tokenizer) -> Option<&BPE> {
    let ModelWrapper::BPE(bpe) = tokenizer.inner.get_model() else {
        return None;
    };
    let plain = bpe.dropout.is_none_or(|share| share == 0.0)
        && bpe.end_of_word_suffix.as_deref().is_none_or(str::is_empty)
        && bpe.continuing_subword_prefix.as_deref().is_none_or(str::is_empty);
    plain.then_some(bpe)
}

impl Line {
    /// Splits a text into words as the tokenizer does, and each word into what merging begins with.
    fn of(tokenizer: &Tokenizer, text: &str, special: Special) -> Option<Self> {
        let bpe = plain_bpe(tokenizer)?;
        let inner = tokenizer.reading(special);
        let mut split = inner.get_added_vocabulary().extract_and_normalize(inner.get_normalizer(), text);
        if let Some(rules) = inner.get_pre_tokenizer() {
            rules.pre_tokenize(&mut split).ok()?;
        }
        let mut line = Self::default();
        for (word, _, fixed) in split.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            match fixed {
                Some(tokens) => line.ids.extend(tokens.iter().map(|token| token.id)),
                None => line.push_word(bpe, word),
            }
            line.words.push(line.ids.len() as u32);
        }
        Some(line)
    }

    fn push_word(&mut self, bpe: &BPE, word: &str) {
        if let Some(id) = bpe.token_to_id(word).filter(|_| bpe.ignore_merges) {
            self.ids.push(id);
            self.whole += 1;
            return;
        }
        let unknown = bpe.unk_token.as_deref().and_then(|token| bpe.token_to_id(token));
        let mut was_unknown = false;
        for character in word.chars() {
            let text = character.to_string();
            if let Some(id) = bpe.token_to_id(&text) {
                self.ids.push(id);
                was_unknown = false;
                continue;
            }
            let bytes =
                text.bytes().map(|byte| bpe.token_to_id(&format!("<0x{byte:02X}>"))).collect::<Option<Vec<_>>>();
            match bytes.filter(|_| bpe.byte_fallback) {
                Some(bytes) => self.ids.extend(bytes),
                None => {
                    self.ids.extend(unknown.filter(|_| !(was_unknown && bpe.fuse_unk)));
                    was_unknown = true;
                }
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nano() -> (Tokenizer, Merges) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../public/models/nano/tokenizer.json");
        let tokenizer = Tokenizer::from_hf(&std::fs::read(path).unwrap(), None).unwrap();
        let merges = Merges::of(&tokenizer).unwrap();
        (tokenizer, merges)
    }

    const MIXED: &str =
        "The whale, the whale! 却说曹操引大军杀来。\n\tfor i in 0..10 { x += 3.14 }  مرحبا 👩‍🚀👍🏽 <|im_end|>";

    #[test]
    fn the_last_step_is_the_tokenizers_own_cut() {
        let (tokenizer, merges) = nano();
        assert!(merges.len() > 3_000 && !merges.is_empty());
        for special in [Special::Plain, Special::Parse] {
            let trail = merges.trail(&tokenizer, MIXED, special).unwrap();
            let ids = |steps| trail.pieces(steps).iter().map(|piece| piece.id).collect::<Vec<_>>();
            assert_eq!(ids(trail.steps.len()), tokenizer.encode(MIXED, special));
            assert!(trail.equal && trail.from_bytes);
            let bytes: Vec<u8> = trail.start.iter().flat_map(|token| &token.bytes).copied().collect();
            assert_eq!(bytes, MIXED.as_bytes());
            let joined: usize = trail.steps.iter().map(|step| step.places.len()).sum();
            assert_eq!(trail.start.len() - joined, ids(trail.steps.len()).len());
        }
        let control = tokenizer.id_of("<|im_end|>").unwrap();
        let starts_with_it = |special| {
            let trail = merges.trail(&tokenizer, "<|im_end|>", special).unwrap();
            trail.start.iter().any(|token| token.id == control)
        };
        assert!(starts_with_it(Special::Parse) && !starts_with_it(Special::Plain));
    }

    #[test]
    fn every_step_joins_what_the_one_before_left() {
        let (tokenizer, merges) = nano();
        let trail = merges.trail(&tokenizer, MIXED, Special::Plain).unwrap();
        for (index, step) in trail.steps.iter().enumerate() {
            let (left, right) = trail.pair(index).unwrap();
            assert_eq!([left, right].concat(), tokenizer.decode_bytes(step.joined));
        }
        assert!(merges.trail(&tokenizer, "", Special::Plain).unwrap().start.is_empty());
    }

    #[test]
    fn other_algorithms_have_no_merges() {
        let json = serde_json::json!({
            "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "whale": 1}, "unk_token": "[UNK]"},
        });
        let tokenizer = Tokenizer::from_hf(json.to_string().as_bytes(), None).unwrap();
        assert!(Merges::of(&tokenizer).is_none());
        assert_eq!(tokenizer.algorithm(), "WordLevel");
    }

    /// Characters, not bytes; words taken whole; bytes where a character is unknown.
    #[test]
    fn a_vocabulary_of_characters_is_merged_too() {
        let mut vocab: HashMap<String, u32> = (0..256).map(|byte| (format!("<0x{byte:02X}>"), byte)).collect();
        for (text, id) in ["▁", "a", "b", "ab", "▁ab", "aab"].into_iter().zip(256..) {
            vocab.insert(text.to_owned(), id);
        }
        let json = |ignore_merges: bool| {
            let json = serde_json::json!({
                "version": "1.0", "added_tokens": [],
                "normalizer": {"type": "Sequence", "normalizers": [
                    {"type": "Prepend", "prepend": "▁"},
                    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
                "pre_tokenizer": null, "post_processor": null,
                "decoder": {"type": "ByteFallback"},
                "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                    "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": ignore_merges,
                    "vocab": vocab, "merges": ["a b", "▁ ab", "a ab"]},
            });
            Tokenizer::from_hf(json.to_string().as_bytes(), None).unwrap()
        };
        let tokenizer = json(false);
        let trail = Merges::of(&tokenizer).unwrap().trail(&tokenizer, "aab ab é", Special::Plain).unwrap();
        assert!(trail.equal && !trail.from_bytes);
        assert_eq!(trail.steps.iter().map(|step| step.rank).collect::<Vec<_>>(), [0, 1, 2]);
        let tokenizer = json(true);
        let trail = Merges::of(&tokenizer).unwrap().trail(&tokenizer, "ab", Special::Plain).unwrap();
        assert_eq!((trail.whole, trail.steps.len(), trail.equal), (1, 0, true));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_text_ends_as_the_tokenizer_cuts_it(text in "[ -~\n却说aAé👍\u{200d}]{0,60}") {
            let (tokenizer, merges) = nano();
            prop_assert!(merges.trail(&tokenizer, &text, Special::Plain).unwrap().equal);
        }
    }
}
