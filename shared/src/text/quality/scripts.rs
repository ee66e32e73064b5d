//! Which script a character is of, by its block of Unicode.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::share;

/// A script, or what belongs to none.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Script {
    Latin,
    Han,
    Kana,
    Hangul,
    Cyrillic,
    Arabic,
    Devanagari,
    /// Other letters, symbols, emoji, what is no character.
    Other,
    Digits,
    Punctuation,
}

impl Script {
    pub const ALL: [Self; 10] = [
        Self::Latin,
        Self::Han,
        Self::Kana,
        Self::Hangul,
        Self::Cyrillic,
        Self::Arabic,
        Self::Devanagari,
        Self::Other,
        Self::Digits,
        Self::Punctuation,
    ];

    pub fn of(c: char) -> Self {
        match c {
            'a'..='z' | 'A'..='Z' => Self::Latin,
            '0'..='9' | '\u{ff10}'..='\u{ff19}' => Self::Digits,
            '!'..='~' => Self::Punctuation,
            '\u{a1}' | '\u{a7}' | '\u{ab}' | '\u{b6}' | '\u{b7}' | '\u{bb}' | '\u{bf}' | '\u{964}' | '\u{965}' => {
                Self::Punctuation
            }
            '\u{aa}' | '\u{ba}' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{24f}' => Self::Latin,
            '\u{1e00}'..='\u{1eff}' | '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}' => Self::Latin,
            '\u{400}'..='\u{52f}' | '\u{1c80}'..='\u{1c8f}' | '\u{2de0}'..='\u{2dff}' => Self::Cyrillic,
            '\u{60c}' | '\u{61b}' | '\u{61f}' | '\u{66a}'..='\u{66d}' | '\u{6d4}' => Self::Punctuation,
            '\u{660}'..='\u{669}' | '\u{6f0}'..='\u{6f9}' | '\u{966}'..='\u{96f}' => Self::Digits,
            '\u{600}'..='\u{6ff}' | '\u{750}'..='\u{77f}' | '\u{8a0}'..='\u{8ff}' => Self::Arabic,
            '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}' => Self::Arabic,
            '\u{900}'..='\u{97f}' | '\u{a8e0}'..='\u{a8ff}' => Self::Devanagari,
            '\u{1100}'..='\u{11ff}' | '\u{3130}'..='\u{318f}' | '\u{a960}'..='\u{a97f}' | '\u{ac00}'..='\u{d7ff}' => {
                Self::Hangul
            }
            '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}' | '\u{fe30}'..='\u{fe4f}' => Self::Punctuation,
            '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{301f}' | '\u{30fb}' => Self::Punctuation,
            '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff20}' | '\u{ff3b}'..='\u{ff40}' | '\u{ff5b}'..='\u{ff65}' => {
                Self::Punctuation
            }
            '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{ff66}'..='\u{ff9d}' => Self::Kana,
            '\u{3005}'..='\u{3007}' | '\u{2e80}'..='\u{2fdf}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' => {
                Self::Han
            }
            '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}' => Self::Han,
            _ => Self::Other,
        }
    }
}

/// Characters that are no space, by script.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts([u64; Script::ALL.len()]);

impl Counts {
    pub(crate) fn add(&mut self, c: char) {
        self.0[Script::of(c) as usize] += 1;
    }

    pub(crate) fn shares(&self) -> Scripts {
        let total: u64 = self.0.iter().sum();
        let present = Script::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0);
        Scripts(present.map(|(script, count)| (script, share(count as f64, total as f64))).collect())
    }
}

/// Shares by script, 0 to 1; what a text has none of is not named.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(transparent)]
pub struct Scripts(pub BTreeMap<Script, f64>);

impl Scripts {
    pub fn get(&self, script: Script) -> f64 {
        self.0.get(&script).copied().unwrap_or(0.0)
    }

    /// All but digits and punctuation.
    pub fn letters(&self) -> f64 {
        self.0
            .iter()
            .filter(|(script, _)| !matches!(script, Script::Digits | Script::Punctuation))
            .map(|(_, share)| share)
            .sum()
    }
}
