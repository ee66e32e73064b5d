//! Near duplicates: texts whose sets of shingles overlap. A signature stands for a set (Broder 1997), and an index of bands
//! of signatures finds candidates without comparing all pairs (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets,
//! chapter 3). The same on every machine.

use std::collections::HashMap;

use super::hash::{join, mix};
use super::words::word_hashes;

/// Words of a shingle; in scripts without spaces a character is a word.
pub const SHINGLE: usize = 5;
/// Numbers of a signature.
pub const SLOTS: usize = 128;
const BANDS: usize = 16;
const ROWS: usize = SLOTS / BANDS;
/// Documents of one band that are compared; bounds the time for texts made from one pattern.
const COMPARED: usize = 32;
const NONE: u32 = u32::MAX;

/// What a text's set of shingles becomes. Two are alike in a slot with a probability of the sets' Jaccard similarity.
///
/// One permutation is hashed into 128 slots, and an empty slot borrows from one that a hash of its number names (optimal
/// densification: Shrivastava 2017), so that a shingle costs one hash and not 128. Of a text with fewer shingles than slots
/// the estimate is as rough as one from so many slots as it has shingles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    slots: [u32; SLOTS],
    words: usize,
}

impl Signature {
    pub fn of(text: &str) -> Self {
        let words = word_hashes(text);
        let mut slots = [NONE; SLOTS];
        let mut put = |shingle: &[u64]| {
            let hash = join(shingle);
            let slot = &mut slots[(hash >> 57) as usize];
            // Never the mark of an empty slot.
            *slot = (*slot).min((hash as u32).min(NONE - 1));
        };
        if words.len() < SHINGLE && !words.is_empty() {
            put(&words);
        }
        words.windows(SHINGLE).for_each(&mut put);
        if !words.is_empty() {
            densify(&mut slots);
        }
        Self { slots, words: words.len() }
    }

    /// Words of the text.
    pub fn words(&self) -> usize {
        self.words
    }

    fn bands(&self) -> [u64; BANDS] {
        std::array::from_fn(|band| {
            let rows = &self.slots[band * ROWS..(band + 1) * ROWS];
            mix(rows.iter().fold(band as u64, |hash, row| mix(hash ^ u64::from(*row)).wrapping_add(hash << 1)))
        })
    }
}

/// Fills empty slots; at least one is not.
fn densify(slots: &mut [u32; SLOTS]) {
    let full = *slots;
    for (i, slot) in slots.iter_mut().enumerate().filter(|(_, slot)| **slot == NONE) {
        let mut draw = i as u64 + 1;
        while *slot == NONE {
            draw = mix(draw.wrapping_add(0x9e37_79b9_7f4a_7c15));
            *slot = full[(draw >> 57) as usize];
        }
    }
}

/// The estimated Jaccard similarity of two sets of shingles, 0 to 1; the standard error is at most `0.5 / sqrt(128)` = 0.044.
pub fn similarity(a: &Signature, b: &Signature) -> f64 {
    let alike = a.slots.iter().zip(&b.slots).filter(|(a, b)| a == b).count();
    alike as f64 / SLOTS as f64
}

/// Documents by the bands of their signatures. Two of Jaccard similarity s share one of 16 bands of 8 slots with a
/// probability of `1 - (1 - s^8)^16`: one half at 0.67, 0.95 at 0.8. A document takes about 1 KB, whatever its length.
#[derive(Default)]
pub struct NearDuplicates {
    documents: Vec<Document>,
    /// The newest document of a band; the others follow by `Document::before`.
    newest: HashMap<u64, u32>,
}

struct Document {
    id: u64,
    signature: Signature,
    before: [u32; BANDS],
}

impl NearDuplicates {
    /// From this estimated similarity on, two texts are near duplicates.
    pub const THRESHOLD: f64 = 0.8;

    /// How many are kept.
    pub fn documents(&self) -> usize {
        self.documents.len()
    }

    /// The earlier document nearest to `text`, if it is at least as alike as [`Self::THRESHOLD`], and how alike it is.
    /// A near duplicate is not kept: what comes later is compared with the document it repeats. A text without words is
    /// neither found nor kept.
    pub fn insert(&mut self, id: u64, text: &str) -> Option<(u64, f64)> {
        self.insert_signature(id, Signature::of(text))
    }

    /// As [`Self::insert`], of a text whose signature is there already.
    pub fn insert_signature(&mut self, id: u64, signature: Signature) -> Option<(u64, f64)> {
        if signature.words == 0 {
            return None;
        }
        let bands = signature.bands();
        let mut nearest: Option<(u32, f64)> = None;
        for (band, key) in bands.iter().enumerate() {
            let mut next = self.newest.get(key).copied().unwrap_or(NONE);
            for _ in 0..COMPARED {
                let Some(document) = self.documents.get(next as usize) else {
                    break;
                };
                let alike = similarity(&document.signature, &signature);
                let is_nearer = |(index, best): (u32, f64)| alike > best || alike == best && next < index;
                if alike >= Self::THRESHOLD && nearest.is_none_or(is_nearer) {
                    nearest = Some((next, alike));
                }
                next = document.before[band];
            }
        }
        if let Some((index, alike)) = nearest {
            return Some((self.documents[index as usize].id, alike));
        }
        let index = self.documents.len() as u32;
        let before = bands.map(|key| self.newest.insert(key, index).unwrap_or(NONE));
        self.documents.push(Document { id, signature, before });
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Words of no language, always the same ones.
    fn prose(seed: u64, words: usize) -> Vec<String> {
        (0..words as u64).map(|i| format!("w{}", mix(seed << 32 | i) % 5000)).collect()
    }

    fn jaccard(a: &[String], b: &[String]) -> f64 {
        let set = |words: &[String]| words.windows(SHINGLE).map(|five| five.join(" ")).collect::<HashSet<_>>();
        let (a, b) = (set(a), set(b));
        a.intersection(&b).count() as f64 / a.union(&b).count() as f64
    }

    #[test]
    fn the_estimate_is_near_the_exact_similarity() {
        let (mut errors, mut bias, pairs) = (0.0, 0.0, 120);
        for pair in 0..pairs {
            let a = prose(pair, 400);
            let mut b = a.clone();
            for change in 0..pair / 2 {
                b[(mix(pair * 1000 + change) % 400) as usize] = format!("x{change}");
            }
            let error = similarity(&Signature::of(&a.join(" ")), &Signature::of(&b.join(" "))) - jaccard(&a, &b);
            errors += error * error;
            bias += error;
        }
        let (error, bias) = ((errors / pairs as f64).sqrt(), bias / pairs as f64);
        assert!(error < 1.0 / (SLOTS as f64).sqrt() * 0.7 && bias.abs() < 0.015, "{error} {bias}");
    }

    #[test]
    fn equal_sets_are_alike_and_unrelated_ones_are_not() {
        let text = prose(1, 300).join(" ");
        let same = text.replace(' ', ",\n").to_uppercase();
        assert_eq!(similarity(&Signature::of(&text), &Signature::of(&same)), 1.0);
        assert!(similarity(&Signature::of(&text), &Signature::of(&prose(2, 300).join(" "))) < 0.05);
        assert_eq!(Signature::of("... ---").words(), 0);
    }

    #[test]
    fn a_signature_is_the_same_on_every_machine() {
        let known = mix(Signature::of("Call me Ishmael. 叫我以实玛利。").bands().iter().fold(0, |sum, key| sum ^ key));
        assert_eq!(known, 3_359_590_474_399_845_957);
    }

    #[test]
    fn texts_shorter_than_a_shingle_are_compared_whole() {
        let mut index = NearDuplicates::default();
        assert_eq!(index.insert(1, "Hello, world"), None);
        assert_eq!(index.insert(2, "hello world!"), Some((1, 1.0)));
        assert_eq!(index.insert(3, "hello there"), None);
        assert_eq!(index.insert(4, "?!"), None);
        assert_eq!(index.insert(5, "?!"), None);
    }

    #[test]
    fn a_changed_word_in_two_hundred_is_found_and_the_first_is_named() {
        let mut index = NearDuplicates::default();
        for seed in 0..300 {
            assert_eq!(index.insert(seed, &prose(seed + 10, 200).join(" ")), None, "{seed}");
        }
        for seed in 0..300 {
            let mut changed = prose(seed + 10, 200);
            changed[(seed % 200) as usize] = "other".to_owned();
            let found = index.insert(1000 + seed, &changed.join(" "));
            assert!(found.is_some_and(|(first, alike)| first == seed && alike > 0.8), "{seed}: {found:?}");
        }
    }

    #[test]
    fn chinese_needs_no_spaces() {
        let text = "今天天气很好，我们一起去公园散步，看见许多人在湖边放风筝，孩子们笑得很开心，老人们坐在树下下棋聊天，\
            湖面上有几只小船慢慢划过，远处的山被云雾遮住了一半，像一幅水墨画那样安静而美丽。";
        let mut index = NearDuplicates::default();
        assert_eq!(index.insert(1, text), None);
        let found = index.insert(2, &text.replace("美丽", "美好"));
        assert!(found.is_some_and(|(first, _)| first == 1), "{found:?}");
        assert_eq!(
            index.insert(3, "量子力学描述微观粒子的运动规律，它与经典力学有根本的不同，测量会改变系统的状态。"),
            None
        );
    }
}
