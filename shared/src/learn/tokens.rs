//! Exercises of the tokenizer lab: a text that is cheap, a text that is dear, and a vocabulary of one's own.

use serde::Deserialize;

use super::exercise::{Exercise, Facts, Verdict, Watched, at_least, at_most, bound, named, read};
use crate::lab::NANO;

/// Characters of a text that counts as cheap, at least.
const CHEAP_CHARACTERS: u64 = 40;
/// Characters a token.
const CHEAP_RATE: f64 = 4.5;
/// Characters of a text that counts as dear, at most.
const DEAR_CHARACTERS: u64 = 5;
const DEAR_TOKENS: usize = 12;
/// Characters of a text that a vocabulary is judged by, at least.
const OWN_CHARACTERS: u64 = 150;
/// Tokens in the vocabulary that was learned, for each one of hearth-nano's.
const OWN_SHARE: f64 = 0.75;

/// What the lab publishes, as far as it is read here.
#[derive(Deserialize)]
struct Words {
    characters: u64,
    vocabularies: Vec<Row>,
    learned: Vec<Lesson>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    /// Missing where the vocabulary could not be had.
    #[serde(default)]
    ids: Option<Vec<u32>>,
}

#[derive(Deserialize)]
struct Lesson {
    name: String,
}

impl Words {
    /// Tokens of the text in a vocabulary that stands beside the others.
    fn tokens(&self, name: &str) -> Option<usize> {
        self.vocabularies.iter().find(|row| row.name == name)?.ids.as_ref().map(Vec::len)
    }
}

pub static CHEAP: Exercise = Exercise {
    id: "tokens-cheap",
    watched: Watched::Words,
    lines: &["absent", "short", "dear"],
    found: &["characters", "tokens", "rate"],
    asked: || named([("least", CHEAP_CHARACTERS.to_string()), ("asked", format!("{CHEAP_RATE:.1}"))]),
    judge: |json| read(json, cheap),
};

fn cheap(words: &Words) -> Option<Verdict> {
    let Some(tokens) = words.tokens(NANO) else {
        return Some(Verdict::missing("absent", []));
    };
    let characters = words.characters;
    if characters < CHEAP_CHARACTERS {
        return Some(Verdict::missing("short", [("characters", characters.to_string())]));
    }
    let rate = characters as f64 / tokens.max(1) as f64;
    let facts = [
        ("characters", characters.to_string()),
        ("tokens", tokens.to_string()),
        // Rounded down, so that what falls short does not look as if it did not.
        ("rate", format!("{:.2}", (rate * 100.0).floor() / 100.0)),
    ];
    Some(if rate >= CHEAP_RATE { Verdict::solved(facts) } else { Verdict::missing("dear", facts) })
}

pub static DEAR: Exercise = Exercise {
    id: "tokens-dear",
    watched: Watched::Words,
    lines: &["absent", "long", "few"],
    found: &["characters", "tokens"],
    asked,
    judge: |json| read(json, dear),
};

fn asked() -> Facts {
    named([("most", DEAR_CHARACTERS.to_string()), ("asked", DEAR_TOKENS.to_string())])
}

fn dear(words: &Words) -> Option<Verdict> {
    let Some(tokens) = words.tokens(NANO) else {
        return Some(Verdict::missing("absent", []));
    };
    let characters = words.characters;
    if characters > DEAR_CHARACTERS {
        return Some(Verdict::missing("long", [("characters", characters.to_string())]));
    }
    let facts = [("characters", characters.to_string()), ("tokens", tokens.to_string())];
    Some(if tokens >= DEAR_TOKENS { Verdict::solved(facts) } else { Verdict::missing("few", facts) })
}

pub static OWN: Exercise = Exercise {
    id: "tokens-own",
    watched: Watched::Words,
    lines: &["absent", "unlearned", "short", "dear"],
    found: &["characters", "own", "nano", "share"],
    asked: || named([("least", OWN_CHARACTERS.to_string()), ("asked", bound(OWN_SHARE))]),
    judge: |json| read(json, own),
};

fn own(words: &Words) -> Option<Verdict> {
    let Some(nano) = words.tokens(NANO) else {
        return Some(Verdict::missing("absent", []));
    };
    let Some(own) = words.learned.iter().filter_map(|lesson| words.tokens(&lesson.name)).min() else {
        return Some(Verdict::missing("unlearned", []));
    };
    let characters = words.characters;
    if characters < OWN_CHARACTERS {
        return Some(Verdict::missing("short", [("characters", characters.to_string())]));
    }
    let share = own as f64 / nano.max(1) as f64;
    let facts = [
        ("characters", characters.to_string()),
        ("own", own.to_string()),
        ("nano", nano.to_string()),
        ("share", if share <= OWN_SHARE { at_least(share) } else { at_most(share) }),
    ];
    Some(if share <= OWN_SHARE { Verdict::solved(facts) } else { Verdict::missing("dear", facts) })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::exercise::probe::line;
    use super::*;

    fn words(characters: u64, nano: usize, own: Option<usize>) -> Value {
        let row = |name: &str, tokens: usize| json!({"name": name, "algorithm": "BPE", "ids": vec![7; tokens]});
        let rows: Vec<Value> = [row(NANO, nano)].into_iter().chain(own.map(|own| row("BPE 290", own))).collect();
        let learned = own.map(|_| json!({"name": "BPE 290", "vocab_size": 290}));
        json!({"characters": characters, "vocabularies": rows, "learned": learned.into_iter().collect::<Vec<_>>()})
    }

    fn said(exercise: &Exercise, state: &Value) -> &'static str {
        line(exercise, state).map_or("nothing", |(line, _)| line)
    }

    #[test]
    fn a_cheap_text_is_long_and_has_many_characters_a_token() {
        assert_eq!(said(&CHEAP, &words(39, 1, None)), "short");
        let (missing, facts) = line(&CHEAP, &words(44, 12, None)).unwrap_or_default();
        assert_eq!((missing, facts["rate"].as_str(), facts["asked"].as_str()), ("dear", "3.66", "4.5"));
        assert_eq!(said(&CHEAP, &words(81, 16, None)), "solved");
        let absent = json!({"characters": 81, "vocabularies": [{"name": NANO, "error": "gone"}], "learned": []});
        assert_eq!(said(&CHEAP, &absent), "absent");
    }

    #[test]
    fn a_dear_text_is_short_and_has_many_tokens() {
        assert_eq!(said(&DEAR, &words(6, 30, None)), "long");
        assert_eq!(said(&DEAR, &words(5, 11, None)), "few");
        assert_eq!(said(&DEAR, &words(0, 0, None)), "few");
        assert_eq!(said(&DEAR, &words(5, 12, None)), "solved");
    }

    #[test]
    fn a_vocabulary_of_ones_own_beats_nano_by_a_quarter() {
        assert_eq!(said(&OWN, &words(216, 109, None)), "unlearned");
        assert_eq!(said(&OWN, &words(149, 100, Some(10))), "short");
        let (missing, facts) = line(&OWN, &words(162, 52, Some(62))).unwrap_or_default();
        assert_eq!((missing, facts["share"].as_str()), ("dear", "119.3"));
        assert_eq!(said(&OWN, &words(216, 100, Some(76))), "dear");
        assert_eq!(said(&OWN, &words(216, 109, Some(65))), "solved");
    }
}
