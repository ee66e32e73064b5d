//! The four models of this lab, as the build found them, and the texts they read. The table comes from `build.rs`.

use hearth_shared::lab::{LabFile, LabModel};
use serde::Deserialize;

use crate::app::i18n::{I18nContext, Locale, t_string};

/// One of the four: the same shape, texts and seed, another position encoding.
pub struct Sibling {
    pub name: &'static str,
    /// SHA-256 over names and contents of the files.
    pub hash: &'static str,
    pub parameters: u64,
    /// Positions that training reached.
    pub trained: u32,
    pub max_positions: u32,
    /// Rows of a learned table of positions.
    pub table_rows: Option<u32>,
    /// What the engine needs, and how many bytes each has.
    pub files: &'static [(&'static str, u64)],
}

// `TABLE`, a constant so that other constants can be taken from it.
include!(concat!(env!("OUT_DIR"), "/siblings.rs"));

/// All four, in the order they are shown in.
pub static SIBLINGS: [Sibling; COUNT] = TABLE;
pub const COUNT: usize = TABLE.len();

/// One colour a sibling, in the table's order.
pub const COLOURS: [&str; COUNT] = ["var(--data-3)", "var(--ink-faint)", "var(--data-2)", "var(--data-1)"];
/// The stretched sibling's.
pub const STRETCHED: &str = "var(--ink)";

/// All four were trained alike.
pub const TRAINED: u32 = TABLE[0].trained;
/// Positions that all four take.
pub const POSITIONS: u32 = TABLE[0].max_positions;

/// The sibling's place in the table; the first where there is no such name.
pub fn place(name: &str) -> usize {
    SIBLINGS.iter().position(|sibling| sibling.name == name).unwrap_or_default()
}

/// Place of the one that can be stretched.
pub fn rope() -> usize {
    place("rope")
}

impl Sibling {
    /// As the worker needs it.
    pub fn model(&self) -> LabModel {
        LabModel {
            id: self.name.to_owned(),
            hash: self.hash.to_owned(),
            base: format!("/models/positions/{}/", self.name),
            key: None,
            parameters: self.parameters,
            files: self
                .files
                .iter()
                .map(|&(name, bytes)| LabFile { name: name.to_owned(), bytes, place: None })
                .collect(),
        }
    }

    pub fn label(&self, i18n: I18nContext<Locale>) -> &'static str {
        match self.name {
            "learned" => t_string!(i18n, position.learned),
            "sinusoidal" => t_string!(i18n, position.sinusoidal),
            "alibi" => t_string!(i18n, position.alibi),
            _ => t_string!(i18n, position.rope),
        }
    }

    /// How it knows where a token stands.
    pub fn story(&self, i18n: I18nContext<Locale>) -> &'static str {
        match self.name {
            "learned" => t_string!(i18n, position.learned_story),
            "sinusoidal" => t_string!(i18n, position.sinusoidal_story),
            "alibi" => t_string!(i18n, position.alibi_story),
            _ => t_string!(i18n, position.rope_story),
        }
    }
}

/// Addresses of all files, for the offline copy.
pub fn addresses() -> Vec<String> {
    let of = |sibling: &Sibling| {
        let base = sibling.model().base;
        sibling.files.iter().map(|(name, _)| format!("{base}{name}")).collect::<Vec<_>>()
    };
    SIBLINGS.iter().flat_map(of).collect()
}

/// A held-out text: no training saw it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Document {
    pub id: String,
    language: String,
    pub text: String,
}

/// A text of so many characters has a window of [`POSITIONS`] tokens and one more, in either language.
const LONG: usize = 3000;
/// Characters that are kept of a text, more than any window has.
const KEPT: usize = 6000;

/// The long documents of a JSONL file, the languages taking turns, so that whatever number of windows is cut holds both alike.
pub fn long_documents(jsonl: &str) -> Vec<Document> {
    let documents = jsonl.lines().filter_map(|line| serde_json::from_str::<Document>(line).ok());
    let mut languages: Vec<(String, Vec<Document>)> = Vec::new();
    for mut document in documents {
        if document.text.chars().nth(LONG).is_none() {
            continue;
        }
        if let Some((end, _)) = document.text.char_indices().nth(KEPT) {
            document.text.truncate(end);
        }
        match languages.iter_mut().find(|(language, _)| *language == document.language) {
            Some((_, of_it)) => of_it.push(document),
            None => languages.push((document.language.clone(), vec![document])),
        }
    }
    let longest = languages.iter().map(|(_, of_it)| of_it.len()).max().unwrap_or_default();
    (0..longest).flat_map(|i| languages.iter().filter_map(move |(_, of_it)| of_it.get(i).cloned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_take_turns_and_short_texts_are_left_out() {
        let line = |id: &str, language: &str, characters: usize| {
            serde_json::json!({"id": id, "language": language, "text": "读".repeat(characters)}).to_string()
        };
        let lines = [
            line("a", "en", 9000),
            line("b", "en", 3001),
            line("c", "en", 4000),
            line("d", "zh", 200),
            line("e", "zh", 5000),
            "no document".to_owned(),
        ];
        let chosen = long_documents(&lines.join("\n"));
        let ids: Vec<&str> = chosen.iter().map(|document| document.id.as_str()).collect();
        assert_eq!(ids, ["a", "e", "b", "c"]);
        assert_eq!(chosen[0].text.chars().count(), KEPT);
    }

    #[test]
    fn the_table_has_what_the_engine_needs() {
        for sibling in &SIBLINGS {
            assert_eq!((sibling.trained, sibling.max_positions), (TRAINED, POSITIONS), "{}", sibling.name);
            assert_eq!(sibling.hash.len(), 64);
            let model = sibling.model();
            assert!(model.files.iter().all(|file| file.bytes > 0), "{model:?}");
            assert!(
                ["config.json", "tokenizer.json", "model.safetensors"]
                    .iter()
                    .all(|name| model.files.iter().any(|file| file.name == *name))
            );
        }
        assert_eq!(SIBLINGS[rope()].name, "rope");
        assert_eq!(addresses().len(), SIBLINGS.iter().map(|sibling| sibling.files.len()).sum::<usize>());
    }
}
