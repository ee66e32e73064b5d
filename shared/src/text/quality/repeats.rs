//! How much of a text is n-grams of words that it has said before (Rae et al. 2021, appendix A.1). One table of n-grams at a
//! time, of 16 bytes a word.

use super::share;
use crate::text::hash::{Fnv, MixedMap, MixedSet, join, mix};

/// A word as its hash and its length in characters.
pub(super) struct Word {
    hash: u64,
    length: u64,
}

impl Word {
    pub(super) fn new(word: &str) -> Self {
        let mut hash = Fnv::default();
        hash.write(word.as_bytes());
        Self { hash: mix(hash.value()), length: word.chars().count() as u64 }
    }
}

/// Each n-gram's key, with the index of its first word.
fn ngrams(words: &[Word], n: usize) -> impl Iterator<Item = (usize, u64)> {
    words.windows(n).enumerate().map(move |(i, gram)| {
        let mut hashes = [0; 10];
        hashes.iter_mut().zip(gram).for_each(|(hash, word)| *hash = word.hash);
        (i, join(&hashes[..n.min(10)]))
    })
}

/// Characters of the words in the most frequent n-gram, wherever it stands, each once.
pub(super) fn top(words: &[Word], n: usize) -> f64 {
    let mut counts = MixedMap::<u64>::default();
    for (_, key) in ngrams(words, n) {
        *counts.entry(key).or_default() += 1;
    }
    // Of equally frequent ones the smallest key, so that the order in a table decides nothing.
    let most = counts.into_iter().filter(|(_, count)| *count > 1).max_by_key(|(key, count)| (*count, u64::MAX - key));
    let Some((most, _)) = most else {
        return 0.0;
    };
    covered(words, n, ngrams(words, n).filter(|(_, key)| *key == most).map(|(i, _)| i))
}

/// Characters of the words in n-grams that stood before, each once.
pub(super) fn duplicate(words: &[Word], n: usize) -> f64 {
    let mut seen = MixedSet::default();
    covered(words, n, ngrams(words, n).filter(|(_, key)| !seen.insert(*key)).map(|(i, _)| i))
}

/// The share of characters in the n words from each of `starts` on, which ascend.
fn covered(words: &[Word], n: usize, starts: impl Iterator<Item = usize>) -> f64 {
    let (mut characters, mut done) = (0, 0);
    for start in starts {
        characters += words[start.max(done)..start + n].iter().map(|word| word.length).sum::<u64>();
        done = start + n;
    }
    share(characters as f64, words.iter().map(|word| word.length).sum::<u64>() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Word> {
        text.split(' ').map(Word::new).collect()
    }

    #[test]
    fn the_most_frequent_pair_counts_wherever_it_stands() {
        let text = words("aa b aa b cc aa b d");
        assert!((top(&text, 2) - 9.0 / 12.0).abs() < 1e-12);
        assert_eq!(top(&words("a b c d"), 2), 0.0);
        assert_eq!(top(&words("a a a a"), 2), 1.0);
    }

    #[test]
    fn a_repeated_stretch_is_counted_once_and_not_where_it_stood_first() {
        let text = words("a b c d e f x a b c d e f y");
        assert!((duplicate(&text, 5) - 6.0 / 14.0).abs() < 1e-12);
        assert!((duplicate(&text, 6) - 6.0 / 14.0).abs() < 1e-12);
        assert_eq!(duplicate(&text, 7), 0.0);
        assert_eq!(duplicate(&words("a"), 5), 0.0);
    }
}
