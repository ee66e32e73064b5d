//! The held-out texts that labs measure losses on: the sample that the page carries, languages taking turns.

use serde::Deserialize;

/// Where the page has it: a line of JSON a document.
pub const SAMPLE: &str = "/samples/heldout.jsonl";

#[derive(Deserialize)]
struct Document {
    language: String,
    text: String,
}

/// The documents' texts, language by language. A line that is no document is left out.
pub fn by_language(lines: &str) -> Vec<(String, Vec<String>)> {
    let mut by_language: Vec<(String, Vec<String>)> = Vec::new();
    for document in lines.lines().filter_map(|line| serde_json::from_str::<Document>(line).ok()) {
        let place = by_language.iter().position(|(language, _)| *language == document.language);
        let place = place.unwrap_or_else(|| {
            by_language.push((document.language.clone(), Vec::new()));
            by_language.len() - 1
        });
        by_language[place].1.push(document.text);
    }
    by_language
}

/// One text of each language in turn, so that the first few hold all of them.
fn texts(lines: &str) -> Vec<String> {
    let by_language = by_language(lines);
    let most = by_language.iter().map(|(_, texts)| texts.len()).max().unwrap_or(0);
    let turn = |turn: usize| by_language.iter().filter_map(move |(_, texts)| texts.get(turn).cloned());
    (0..most).flat_map(turn).collect()
}

/// The beginnings of the first so many texts: what a lab sends along with every call has to be short.
pub fn beginnings(lines: &str, count: usize, characters: usize) -> Vec<String> {
    texts(lines).into_iter().take(count).map(|text| text.chars().take(characters).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_take_turns() {
        let line = |language: &str, text: &str| format!(r#"{{"id":"x","language":"{language}","text":"{text}"}}"#);
        let lines = [line("en", "a"), line("en", "b"), "nonsense".to_owned(), line("en", "c"), line("zh", "天")];
        assert_eq!(texts(&lines.join("\n")), ["a", "天", "b", "c"]);
        assert_eq!(beginnings(&lines.join("\n"), 2, 1), ["a", "天"]);
    }

    #[test]
    fn a_beginning_is_whole_characters() {
        let line = r#"{"language":"zh","text":"天地玄黄"}"#;
        assert_eq!(beginnings(line, 9, 3), ["天地玄"]);
    }
}
