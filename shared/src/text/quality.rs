//! Measures of one text that say whether it is worth learning from: those of Gopher (Rae et al. 2021, appendix A), C4 (Raffel
//! et al. 2020) and FineWeb (Penedo et al. 2024). They judge nothing: limits are `filters`' own. Linear in the text's length.
//!
//! A word is what stands between spaces, and each character of a script without spaces. Shares are 0 to 1, and 0 of nothing.

mod repeats;
mod scripts;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::words::{is_unspaced, spaced};

pub use scripts::{Script, Scripts};

/// Of which a text of English prose holds at least two (Gopher).
pub const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];
/// A line of fewer columns is short (FineWeb); a character of an unspaced script takes two.
pub const SHORT_LINE: usize = 30;

/// What is measured.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Quality {
    pub bytes: u64,
    pub characters: u64,
    pub words: u64,
    /// Lines that are not blank; the shares of lines are of these.
    pub lines: u64,
    /// Characters a word (Gopher).
    pub mean_word_length: f64,
    /// `#` and ellipses a word (Gopher).
    pub symbols_per_word: f64,
    /// Words with a letter (Gopher).
    pub alphabetic_words: f64,
    /// How many of [`STOP_WORDS`] there are (Gopher).
    pub stop_words: u32,
    /// Lines that end with a mark of a sentence, Western or Chinese, closing quotes aside (C4, FineWeb).
    pub punctuated_lines: f64,
    /// Lines that begin with a bullet (Gopher).
    pub bullet_lines: f64,
    /// Lines that end with an ellipsis (Gopher).
    pub ellipsis_lines: f64,
    /// Lines of fewer columns than [`SHORT_LINE`] (FineWeb).
    pub short_lines: f64,
    /// Lines that stood before (Gopher).
    pub duplicate_lines: f64,
    /// Characters of lines that stood before, of the characters of all lines (Gopher, FineWeb).
    pub duplicate_line_characters: f64,
    /// Characters of the words in the most frequent n-gram that comes more than once, n = 2, 3, 4, of those of all words (Gopher).
    pub top_ngrams: [f64; 3],
    /// Characters of the words in n-grams that stood before, n = 5 to 10, each counted once, of those of all words (Gopher).
    pub duplicate_ngrams: [f64; 6],
    /// Shares of the characters that are no space.
    pub scripts: Scripts,
    /// U+FFFD: what a wrong encoding leaves.
    pub replacement_characters: u64,
    /// Control characters but line ends and tabs.
    pub control_characters: u64,
    /// Bits a byte of the distribution of bytes (Shannon 1948): about 4.5 for English, 6 for Chinese in UTF-8.
    pub byte_entropy: f64,
}

impl Quality {
    /// Characters of scripts without spaces among those of all scripts: where it is large, rules on English words say nothing.
    pub fn unspaced(&self) -> f64 {
        let own = self.scripts.get(Script::Han) + self.scripts.get(Script::Kana);
        share(own, own + self.scripts.get(Script::Latin) + self.scripts.get(Script::Cyrillic))
    }

    /// Whether at least half of the characters, and most of the letters, are Latin.
    pub fn is_latin(&self) -> bool {
        let latin = self.scripts.get(Script::Latin);
        latin >= 0.5 && latin >= 0.8 * self.scripts.letters()
    }

    /// The measures that a survey sums up, by name.
    pub fn main(&self) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([
            ("bytes", self.bytes as f64),
            ("words", self.words as f64),
            ("mean_word_length", self.mean_word_length),
            ("symbols_per_word", self.symbols_per_word),
            ("alphabetic_words", self.alphabetic_words),
            ("punctuated_lines", self.punctuated_lines),
            ("bullet_lines", self.bullet_lines),
            ("short_lines", self.short_lines),
            ("duplicate_lines", self.duplicate_lines),
            ("top_2_gram", self.top_ngrams[0]),
            ("duplicate_5_grams", self.duplicate_ngrams[0]),
            ("byte_entropy", self.byte_entropy),
        ])
    }
}

/// Measures a text.
pub fn measure(text: &str) -> Quality {
    let mut quality =
        Quality { bytes: text.len() as u64, byte_entropy: entropy(text.as_bytes()), ..Quality::default() };
    characters(text, &mut quality);
    let words = spaced(text);
    words_of(text, &words, &mut quality);
    lines(text, &mut quality);
    let hashes: Vec<repeats::Word> = words.iter().map(|(start, end)| repeats::Word::new(&text[*start..*end])).collect();
    quality.top_ngrams = std::array::from_fn(|i| repeats::top(&hashes, i + 2));
    quality.duplicate_ngrams = std::array::from_fn(|i| repeats::duplicate(&hashes, i + 5));
    quality
}

pub(super) fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn characters(text: &str, quality: &mut Quality) {
    let mut counts = scripts::Counts::default();
    for c in text.chars() {
        quality.characters += 1;
        if !c.is_whitespace() {
            counts.add(c);
        }
        if c == char::REPLACEMENT_CHARACTER {
            quality.replacement_characters += 1;
        } else if c.is_control() && !matches!(c, '\n' | '\r' | '\t') {
            quality.control_characters += 1;
        }
    }
    quality.scripts = counts.shares();
}

fn words_of(text: &str, words: &[(usize, usize)], quality: &mut Quality) {
    let (mut characters, mut alphabetic, mut found) = (0u64, 0u64, [false; STOP_WORDS.len()]);
    for (start, end) in words {
        let word = &text[*start..*end];
        characters += word.chars().count() as u64;
        alphabetic += u64::from(word.chars().any(char::is_alphabetic));
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        if let Some(index) = STOP_WORDS.iter().position(|stop| stop.eq_ignore_ascii_case(bare)) {
            found[index] = true;
        }
    }
    let dots = text.matches("...").count() + text.matches(['#', '…']).count();
    quality.words = words.len() as u64;
    quality.mean_word_length = share(characters as f64, words.len() as f64);
    quality.symbols_per_word = share(dots as f64, words.len() as f64);
    quality.alphabetic_words = share(alphabetic as f64, words.len() as f64);
    quality.stop_words = found.iter().map(|is| u32::from(*is)).sum();
}

fn lines(text: &str, quality: &mut Quality) {
    let mut seen = super::hash::MixedSet::default();
    let (mut characters, mut repeated_characters) = (0u64, 0u64);
    let [mut count, mut punctuated, mut bullets, mut ellipses, mut short, mut repeated] = [0u64; 6];
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        count += 1;
        let (length, columns) =
            line.chars().fold((0, 0), |(length, columns), c| (length + 1, columns + 1 + usize::from(is_unspaced(c))));
        characters += length;
        short += u64::from(columns < SHORT_LINE);
        let bare = line.trim_end_matches(['"', '\'', '”', '’', '」', '』', '»', ')', '）', '*', '_']);
        punctuated += u64::from(bare.ends_with(['.', '!', '?', ';', ':', '…', '。', '！', '？', '；', '：', '।', '؟']));
        ellipses += u64::from(line.ends_with("...") || line.ends_with('…'));
        bullets += u64::from(is_bullet(line));
        let mut hash = super::hash::Fnv::default();
        hash.write(line.as_bytes());
        if !seen.insert(super::hash::mix(hash.value())) {
            repeated += 1;
            repeated_characters += length;
        }
    }
    let of_lines = |part: u64| share(part as f64, count as f64);
    quality.lines = count;
    quality.punctuated_lines = of_lines(punctuated);
    quality.bullet_lines = of_lines(bullets);
    quality.ellipsis_lines = of_lines(ellipses);
    quality.short_lines = of_lines(short);
    quality.duplicate_lines = of_lines(repeated);
    quality.duplicate_line_characters = share(repeated_characters as f64, characters as f64);
}

/// `-` and `*` need a space behind them, or they are a minus and a stress.
fn is_bullet(line: &str) -> bool {
    line.starts_with(['•', '●', '◦', '▪', '‣', '·', '■', '○'])
        || line.strip_prefix(['-', '*', '–', '+']).is_some_and(|rest| rest.starts_with([' ', '\t']))
}

fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0u64; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let total = bytes.len() as f64;
    counts.iter().filter(|count| **count > 0).map(|count| *count as f64 / total).map(|p| -p * p.log2()).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(value: f64, wanted: f64) -> bool {
        (value - wanted).abs() < 1e-9
    }

    #[test]
    fn words_are_counted_in_both_kinds_of_script() {
        let quality = measure("The cat, and #1 dog... of 3 cats");
        assert_eq!((quality.words, quality.stop_words, quality.characters), (8, 3, 32));
        assert!(near(quality.mean_word_length, 25.0 / 8.0), "{quality:?}");
        assert!(near(quality.symbols_per_word, 2.0 / 8.0) && near(quality.alphabetic_words, 6.0 / 8.0));
        let chinese = measure("我爱北京。");
        assert_eq!((chinese.words, chinese.lines), (5, 1));
        assert!(near(chinese.alphabetic_words, 0.8) && near(chinese.unspaced(), 1.0));
    }

    #[test]
    fn lines_are_told_by_their_ends() {
        let quality =
            measure("A sentence.\n他说：“好。”\n\n- a point\n-5 degrees\n• more…\nto be continued...\nA sentence.\n");
        assert_eq!(quality.lines, 7);
        assert!(near(quality.punctuated_lines, 5.0 / 7.0), "{quality:?}");
        assert!(near(quality.bullet_lines, 2.0 / 7.0) && near(quality.ellipsis_lines, 2.0 / 7.0));
        assert!(near(quality.duplicate_lines, 1.0 / 7.0) && near(quality.short_lines, 1.0));
        assert!(near(quality.duplicate_line_characters, 11.0 / 73.0), "{quality:?}");
    }

    #[test]
    fn scripts_share_the_characters() {
        let quality = measure("ab 漢字 かな 12 ,. 한Жعह\u{fffd}\u{7}");
        for (script, count) in [
            (Script::Latin, 2.0),
            (Script::Han, 2.0),
            (Script::Kana, 2.0),
            (Script::Digits, 2.0),
            (Script::Punctuation, 2.0),
            (Script::Hangul, 1.0),
            (Script::Cyrillic, 1.0),
            (Script::Arabic, 1.0),
            (Script::Devanagari, 1.0),
            (Script::Other, 2.0),
        ] {
            assert!(near(quality.scripts.get(script), count / 16.0), "{script:?}: {quality:?}");
        }
        assert_eq!((quality.replacement_characters, quality.control_characters), (1, 1));
    }

    #[test]
    fn entropy_is_that_of_the_bytes() {
        assert!(near(measure("abababab").byte_entropy, 1.0) && near(measure("aaaa").byte_entropy, 0.0));
        assert_eq!(measure(""), Quality::default());
    }

    proptest! {
        #[test]
        fn shares_are_shares(text in prop::collection::vec("\\PC{0,8}|[ \n]|a b|c c c", 0..40)) {
            let quality = measure(&text.concat());
            let shares = [quality.alphabetic_words, quality.punctuated_lines, quality.duplicate_lines,
                quality.duplicate_line_characters, quality.unspaced()];
            for share in shares.iter().chain(&quality.top_ngrams).chain(&quality.duplicate_ngrams) {
                prop_assert!((0.0..=1.0).contains(share), "{quality:?}");
            }
            let sum: f64 = Script::ALL.iter().map(|script| quality.scripts.get(*script)).sum();
            prop_assert!(sum < 1e-9 || (sum - 1.0).abs() < 1e-9);
        }
    }
}
