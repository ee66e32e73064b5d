//! Learns byte-level BPE one merge at a time, where it should be watched and may be stopped: in a tab. What it learns is what
//! Hugging Face's trainer learns from the same texts; that one needs threads, tells no counts and cannot be stopped.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use serde_json::json;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

use super::stream::{byte_chars, char_bytes};

type Pair = (u32, u32);

/// The words of the texts so far.
#[derive(Debug)]
pub struct Counter {
    words: HashMap<Vec<u8>, u64>,
    bytes: HashMap<char, u8>,
    rules: ByteLevel,
}

/// A merge that was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    pub left: u32,
    pub right: u32,
    /// The token they become.
    pub joined: u32,
    /// How often the pair stood in the texts.
    pub count: u64,
}

/// Words in pieces, and what is most frequent among their pairs.
#[derive(Debug)]
pub struct Learner {
    vocab_size: usize,
    min_frequency: u64,
    words: Vec<Vec<u32>>,
    /// How often each word is in the texts.
    repeats: Vec<i64>,
    pairs: HashMap<Pair, i64>,
    /// The most frequent pair first, of equals the one of the smallest ids; with the words it was seen in. Counts are as old as
    /// the entry.
    queue: BinaryHeap<(i64, Reverse<Pair>, Vec<usize>)>,
    /// The bytes of every token so far.
    tokens: Vec<Vec<u8>>,
    ids: HashMap<Vec<u8>, u32>,
    merges: Vec<Pair>,
}

impl Default for Counter {
    fn default() -> Self {
        Self { words: HashMap::new(), bytes: char_bytes(), rules: ByteLevel::new(false, true, true) }
    }
}

impl Counter {
    /// Cuts a text into words as GPT-2 does, and counts them.
    pub fn feed(&mut self, text: &str) {
        let mut split = PreTokenizedString::from(text);
        // The rules are a regular expression that fails on no text but by its limit of steps back; such a text counts for nothing.
        if self.rules.pre_tokenize(&mut split).is_err() {
            return;
        }
        for (word, ..) in split.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            let bytes = word.chars().filter_map(|c| self.bytes.get(&c).copied()).collect();
            *self.words.entry(bytes).or_default() += 1;
        }
    }

    /// How many different words there are.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Begins to learn. `vocab_size` counts the 256 bytes, which come first; a pair seen less often than `min_frequency` is
    /// not merged.
    pub fn begin(self, vocab_size: usize, min_frequency: u64) -> Learner {
        let mut bytes: Vec<(char, u8)> = self.bytes.into_iter().collect();
        bytes.sort_unstable();
        let tokens: Vec<Vec<u8>> = bytes.into_iter().map(|(_, byte)| vec![byte]).collect();
        let ids: HashMap<Vec<u8>, u32> = tokens.iter().cloned().zip(0..).collect();
        let mut learner = Learner {
            vocab_size,
            min_frequency,
            words: Vec::with_capacity(self.words.len()),
            repeats: Vec::with_capacity(self.words.len()),
            pairs: HashMap::new(),
            queue: BinaryHeap::new(),
            tokens,
            ids,
            merges: Vec::new(),
        };
        let mut places: HashMap<Pair, Vec<usize>> = HashMap::new();
        for (word, repeats) in self.words {
            let index = learner.words.len();
            let word: Vec<u32> = word.iter().map(|&byte| learner.ids[&[byte][..]]).collect();
            for pair in word.windows(2).map(|pair| (pair[0], pair[1])) {
                *learner.pairs.entry(pair).or_default() += repeats as i64;
                note(&mut places, pair, index);
            }
            learner.words.push(word);
            learner.repeats.push(repeats as i64);
        }
        learner.line_up(places);
        learner
    }
}

/// Words are gone through in order, so a word that was noted already was noted last.
fn note(places: &mut HashMap<Pair, Vec<usize>>, pair: Pair, word: usize) {
    let words = places.entry(pair).or_default();
    if words.last() != Some(&word) {
        words.push(word);
    }
}

impl Learner {
    fn line_up(&mut self, places: HashMap<Pair, Vec<usize>>) {
        let pairs = &self.pairs;
        let entries = places.into_iter().map(|(pair, words)| (pairs[&pair], Reverse(pair), words));
        self.queue.extend(entries.filter(|(count, ..)| *count > 0));
    }

    /// The next merge; none when the vocabulary is full, or no pair is frequent enough.
    pub fn step(&mut self) -> Option<Learned> {
        if self.tokens.len() >= self.vocab_size {
            return None;
        }
        let (count, pair, places) = loop {
            let (count, Reverse(pair), places) = self.queue.pop()?;
            let now = self.pairs[&pair];
            if now == count {
                break (count, pair, places);
            }
            self.queue.push((now, Reverse(pair), places));
        };
        if count < 1 || (count as u64) < self.min_frequency {
            return None;
        }
        let bytes = [self.bytes(pair.0), self.bytes(pair.1)].concat();
        let new = self.tokens.len() as u32;
        // Two ways may lead to the same bytes: they are one token.
        let joined = *self.ids.entry(bytes.clone()).or_insert(new);
        if joined == new {
            self.tokens.push(bytes);
        }
        self.merges.push(pair);
        let mut seen = HashMap::new();
        for index in places {
            for (changed, by) in join(&mut self.words[index], pair, joined) {
                *self.pairs.entry(changed).or_default() += by * self.repeats[index];
                if by > 0 {
                    note(&mut seen, changed, index);
                }
            }
        }
        self.line_up(seen);
        Some(Learned { left: pair.0, right: pair.1, joined, count: count as u64 })
    }

    /// Merges that are still to come, if every one finds its pair.
    pub fn left(&self) -> usize {
        self.vocab_size.saturating_sub(self.tokens.len())
    }

    /// Tokens so far.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// The bytes of a token; empty for an id that was not learned.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.tokens.get(id as usize).map_or(&[], Vec::as_slice)
    }

    /// The `tokenizer.json` of what was learned.
    pub fn to_json(&self) -> String {
        let chars = byte_chars();
        let text = |id: u32| self.bytes(id).iter().map(|&byte| chars[byte as usize]).collect::<String>();
        let vocab: serde_json::Map<String, serde_json::Value> =
            (0..self.tokens.len() as u32).map(|id| (text(id), id.into())).collect();
        // A pair that was learned twice has the rank of the later time, as in the library.
        let mut known = HashSet::new();
        let mut merges: Vec<[String; 2]> = self
            .merges
            .iter()
            .rev()
            .filter(|pair| known.insert(**pair))
            .map(|pair| [text(pair.0), text(pair.1)])
            .collect();
        merges.reverse();
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
        });
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocab, "merges": merges,
            },
        })
        .to_string()
    }
}

/// Joins a pair wherever it stands in a word, from the left, and says which pairs became more or fewer.
fn join(word: &mut Vec<u32>, pair: Pair, joined: u32) -> Vec<(Pair, i64)> {
    let mut changes = Vec::new();
    let mut at = 0;
    while at + 1 < word.len() {
        if (word[at], word[at + 1]) == pair {
            word[at] = joined;
            word.remove(at + 1);
            if at > 0 {
                changes.push(((word[at - 1], pair.0), -1));
                changes.push(((word[at - 1], joined), 1));
            }
            if let Some(&next) = word.get(at + 1) {
                changes.push(((pair.1, next), -1));
                changes.push(((joined, next), 1));
            }
        }
        at += 1;
    }
    changes
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::tokenizer::bpe::{BpeSpec, train};
    use crate::tokenizer::{Special, Tokenizer};

    fn learn(texts: &[&str], vocab_size: usize) -> (Learner, Vec<Learned>) {
        let mut counter = Counter::default();
        texts.iter().for_each(|text| counter.feed(text));
        let mut learner = counter.begin(vocab_size, 2);
        let merges = std::iter::from_fn(|| learner.step()).collect();
        (learner, merges)
    }

    fn library(texts: &[&str], vocab_size: usize) -> Value {
        let spec = BpeSpec { vocab_size, special_tokens: Vec::new(), min_frequency: 2 };
        serde_json::from_slice(&train(texts.iter(), &spec).unwrap()).unwrap()
    }

    #[test]
    fn learns_what_the_library_learns() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../public/models/nano/heldout.jsonl");
        let heldout: Vec<Value> =
            std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let heldout: Vec<&str> = heldout.iter().map(|line| line["text"].as_str().unwrap()).collect();
        let corpora = [
            (heldout, 900),
            (vec!["aaaa aaaaa aa aaa", "abababab baba ab", "mississippi missis sip sissi"], 300),
            (vec!["the whale the ship", "the whale", "叫我以实玛利，叫我", "👩‍🚀👩‍🚀 \u{0}\n\n\n"], 400),
        ];
        for (texts, vocab_size) in corpora {
            let (learner, _) = learn(&texts, vocab_size);
            let ours: Value = serde_json::from_str(&learner.to_json()).unwrap();
            let theirs = library(&texts, vocab_size);
            assert!(!theirs["model"]["merges"].as_array().unwrap().is_empty());
            assert_eq!(ours["model"]["merges"], theirs["model"]["merges"]);
            assert_eq!(ours["model"]["vocab"], theirs["model"]["vocab"]);
            assert_eq!(ours["pre_tokenizer"], theirs["pre_tokenizer"]);
        }
    }

    #[test]
    fn counts_are_how_often_the_pair_stood_there() {
        let (learner, merges) = learn(&["ab ab abc"; 3], 258);
        let first = merges[0];
        assert_eq!((learner.bytes(first.left), learner.bytes(first.right)), (&b"a"[..], &b"b"[..]));
        assert_eq!((first.count, learner.bytes(first.joined)), (9, &b"ab"[..]));
        assert_eq!((merges.len(), learner.vocab_size(), learner.left()), (2, 258, 0));
        // Two of three words begin with a space.
        assert_eq!((learner.bytes(merges[1].joined), merges[1].count), (&b" ab"[..], 6));
    }

    #[test]
    fn what_was_learned_is_a_tokenizer() {
        let (learner, _) = learn(&["the whale the ship the whale"; 5], 290);
        let tokenizer = Tokenizer::from_hf(learner.to_json().as_bytes(), None).unwrap();
        assert!(tokenizer.is_lossless());
        assert_eq!(tokenizer.encode(" whale", Special::Plain).len(), 1);
        assert_eq!(tokenizer.vocab_size(), learner.vocab_size());
        let empty = Counter::default();
        assert!(empty.is_empty());
        assert!(empty.begin(300, 2).step().is_none());
        assert!(learn(&["once"], 300).1.is_empty(), "no pair is there twice");
    }
}
