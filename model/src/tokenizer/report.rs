//! How well a tokenizer fits texts: the measures by which vocabularies are compared. It reads nothing itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Special, Tokenizer};

/// What a text is, as far as the table tells texts apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Kind {
    /// Of its letters: `latin`, `han`.
    pub script: String,
    pub domain: String,
}

/// Sums over the texts of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fit {
    pub texts: u64,
    /// In UTF-8.
    pub bytes: u64,
    pub characters: u64,
    /// Runs between spaces; in scripts without spaces, characters.
    pub words: u64,
    pub tokens: u64,
    /// Tokens that stand for what the vocabulary lacks, and single bytes that are no whole character.
    pub unknown: u64,
}

impl Fit {
    /// Larger is shorter text for the model.
    pub fn bytes_per_token(&self) -> f64 {
        ratio(self.bytes, self.tokens)
    }

    /// Tokens for each word: 1 is a vocabulary of whole words (Rust 2021, "How Good is Your Tokenizer?").
    pub fn fertility(&self) -> f64 {
        ratio(self.tokens, self.words)
    }

    /// Share of tokens that are unknown or a piece of a character.
    pub fn unknown_share(&self) -> f64 {
        ratio(self.unknown, self.tokens)
    }

    fn add(&mut self, text: &str, tokenizer: &Tokenizer) {
        let ids = tokenizer.encode(text, Special::Plain);
        let unknown = tokenizer.names().unk.as_deref().and_then(|token| tokenizer.id_of(token));
        self.texts += 1;
        self.bytes += text.len() as u64;
        self.characters += text.chars().count() as u64;
        self.words += words(text);
        self.tokens += ids.len() as u64;
        let is_unknown = |id: &u32| Some(*id) == unknown || std::str::from_utf8(tokenizer.decode_bytes(*id)).is_err();
        self.unknown += ids.iter().filter(|id| is_unknown(id)).count() as u64;
    }
}

fn ratio(above: u64, below: u64) -> f64 {
    if below == 0 { 0.0 } else { above as f64 / below as f64 }
}

/// Runs between spaces, each character of a script without spaces by itself.
fn words(text: &str) -> u64 {
    let in_word = |word: &str| {
        let alone = word.chars().filter(|c| spaceless(*c)).count() as u64;
        alone + u64::from(word.chars().any(|c| !spaceless(c)))
    };
    text.split_whitespace().map(in_word).sum()
}

/// Han, kana, Thai, Lao and Khmer.
fn spaceless(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{323af}')
}

/// The script that most of a text's letters are of; `japanese` is kana with Han between.
pub fn script(text: &str) -> &'static str {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for c in text.chars().filter(|c| c.is_alphabetic()).take(20_000) {
        let script = match c {
            '\u{3040}'..='\u{30ff}' => "japanese",
            '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{323af}' => "han",
            '\u{ac00}'..='\u{d7af}' | '\u{1100}'..='\u{11ff}' => "hangul",
            '\u{400}'..='\u{52f}' => "cyrillic",
            '\u{600}'..='\u{6ff}' | '\u{750}'..='\u{77f}' => "arabic",
            '\u{900}'..='\u{97f}' => "devanagari",
            '\u{370}'..='\u{3ff}' => "greek",
            '\u{590}'..='\u{5ff}' => "hebrew",
            '\u{e00}'..='\u{e7f}' => "thai",
            c if c.is_ascii() || ('\u{c0}'..='\u{24f}').contains(&c) => "latin",
            _ => "other",
        };
        *counts.entry(script).or_default() += 1;
    }
    // A Japanese text has more Han than kana.
    let kana = counts.get("japanese").copied().unwrap_or(0);
    if kana * 5 > counts.values().sum::<usize>() {
        return "japanese";
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map_or("other", |(script, _)| script)
}

/// Measures a tokenizer over texts, kind by kind.
pub fn measure<'a>(tokenizer: &Tokenizer, texts: impl Iterator<Item = (Kind, &'a str)>) -> BTreeMap<Kind, Fit> {
    let mut out: BTreeMap<Kind, Fit> = BTreeMap::new();
    for (kind, text) in texts {
        out.entry(kind).or_default().add(text, tokenizer);
    }
    out
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use crate::tokenizer::bpe::{BpeSpec, train};

    #[test]
    fn measures_by_hand() {
        let spec = BpeSpec { vocab_size: 262, special_tokens: Vec::new(), min_frequency: 2 };
        let json = train([" aa aa aa aa"; 20].into_iter(), &spec).unwrap();
        let tokenizer = Tokenizer::from_hf(&json, None).unwrap();
        let kind = |script: &str| Kind { script: script.into(), domain: "d".into() };
        let fits = measure(
            &tokenizer,
            [(kind("latin"), " aa aa"), (kind("latin"), " aa"), (kind("han"), "火车 a")].into_iter(),
        );
        let latin = fits[&kind("latin")];
        assert_eq!((latin.texts, latin.bytes, latin.words, latin.tokens, latin.unknown), (2, 9, 3, 3, 0));
        assert_eq!((latin.bytes_per_token(), latin.fertility()), (3.0, 1.0));
        // Two characters of three bytes each, none of them in the vocabulary; then a space and a letter.
        let han = fits[&kind("han")];
        assert_eq!((han.characters, han.words, han.tokens, han.unknown), (4, 3, 8, 6));
        assert_eq!(han.unknown_share(), 0.75);
        assert_eq!(Fit::default().bytes_per_token(), 0.0);
    }

    #[test]
    fn scripts_are_told_apart() {
        let cases = [
            ("Call me Ishmael", "latin"),
            ("叫我以实玛利 ok", "han"),
            ("私をイシュマエルと呼んでくれ", "japanese"),
            ("Зовите меня Измаил", "cyrillic"),
            ("나를 이스마엘이라 불러라", "hangul"),
            ("12 + 3", "other"),
        ];
        for (text, expected) in cases {
            assert_eq!(script(text), expected, "{text}");
        }
    }
}
