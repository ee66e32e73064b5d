//! What a reader has done so far, and the file that carries it from one browser to another. Nothing of it leaves the browser otherwise.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::CHAPTERS;
use super::exercise::{self, Facts};

/// What a file of ours says it is.
const KIND: &str = "hearth-learning";
/// Of the file's form. A newer one is refused.
const VERSION: u32 = 1;
/// Bytes of a file that is read at all.
const LARGEST: usize = 256 << 10;
/// Facts of an exercise, and characters of each, that are kept.
const MOST_FACTS: usize = 16;
const LONGEST_FACT: usize = 64;
/// Characters of which every fact is made, for they are all numbers. Anything else was written by somebody and would stand in a sentence
/// of ours.
const OF_NUMBERS: &str = "0123456789.,+-−%×≈<> \u{202f}";

/// By the names of chapters and the ids of exercises.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Chapters that were opened.
    pub opened: BTreeSet<String>,
    /// Exercises that something was done for.
    pub tried: BTreeSet<String>,
    /// What was reached when an exercise was solved first.
    pub solved: BTreeMap<String, Facts>,
}

#[derive(Serialize, Deserialize)]
struct File {
    kind: String,
    version: u32,
    #[serde(flatten)]
    progress: Progress,
}

/// Why a file was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    #[error("the file is too large")]
    TooLarge,
    #[error("the file holds no progress")]
    Foreign,
    #[error("the file is of a newer version")]
    Newer,
}

impl Progress {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    #[must_use]
    pub fn is_solved(&self, id: &str) -> bool {
        self.solved.contains_key(id)
    }

    /// The first solution stays.
    pub fn solve(&mut self, id: &str, facts: Facts) {
        self.tried.insert(id.to_owned());
        self.solved.entry(id.to_owned()).or_insert(facts);
    }

    /// Adds what another browser knows; nothing is lost.
    pub fn merge(&mut self, other: Self) {
        self.opened.extend(other.opened);
        self.tried.extend(other.tried);
        for (id, facts) in other.solved {
            self.solve(&id, facts);
        }
    }

    /// The text of a file.
    #[must_use]
    pub fn to_file(&self) -> String {
        let file = File { kind: KIND.to_owned(), version: VERSION, progress: self.clone() };
        // Texts in sets and maps always serialise.
        serde_json::to_string_pretty(&file).unwrap_or_default()
    }

    /// What a file says, without what no chapter knows.
    ///
    /// # Errors
    /// It is no file of ours, or not one that this version reads.
    pub fn from_file(text: &str) -> Result<Self, ImportError> {
        if text.len() > LARGEST {
            return Err(ImportError::TooLarge);
        }
        let file: File = serde_json::from_str(text).map_err(|_| ImportError::Foreign)?;
        match file.version {
            _ if file.kind != KIND => Err(ImportError::Foreign),
            0 => Err(ImportError::Foreign),
            VERSION => Ok(file.progress.known()),
            _ => Err(ImportError::Newer),
        }
    }

    fn known(mut self) -> Self {
        self.opened.retain(|chapter| CHAPTERS.contains(&chapter.as_str()));
        self.tried.retain(|id| exercise::find(id).is_some());
        self.solved.retain(|id, facts| {
            let short = |text: &String| text.chars().count() <= LONGEST_FACT;
            let number = |text: &String| short(text) && text.chars().all(|letter| OF_NUMBERS.contains(letter));
            exercise::find(id).is_some()
                && facts.len() <= MOST_FACTS
                && facts.iter().all(|(name, value)| short(name) && number(value))
        });
        self
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::exercise::named;
    use super::*;

    fn some() -> Progress {
        let mut progress = Progress::default();
        progress.opened.insert("quantization".into());
        progress.tried.insert("quantize-four".into());
        progress.solve("quantize-eight", named([("rise", "0.4".to_owned())]));
        progress
    }

    #[test]
    fn progress_goes_from_browser_to_browser() {
        let progress = some();
        assert_eq!(Progress::from_file(&progress.to_file()), Ok(progress.clone()));
        let mut other = Progress::default();
        other.solve("quantize-eight", named([("rise", "0.9".to_owned())]));
        other.solve("cache-even", Facts::new());
        other.merge(progress);
        assert_eq!(other.solved["quantize-eight"]["rise"], "0.9", "the first solution stays");
        assert!(other.is_solved("cache-even") && other.tried.contains("quantize-four"));
    }

    #[test]
    fn other_files_are_refused_and_unknown_names_left_out() {
        for text in ["", "[]", "{}", "nonsense", r#"{"kind":"x","version":1}"#, "🔥\u{202e}"] {
            assert_eq!(Progress::from_file(text), Err(ImportError::Foreign), "{text}");
        }
        assert_eq!(Progress::from_file(&" ".repeat(LARGEST + 1)), Err(ImportError::TooLarge));
        assert_eq!(Progress::from_file(r#"{"kind":"hearth-learning","version":2}"#), Err(ImportError::Newer));
        let file =
            r#"{"kind":"hearth-learning","version":1,"opened":["tokens","x"],"solved":{"y":{},"cache-even":{}}}"#;
        let progress = Progress::from_file(file).unwrap();
        assert_eq!((progress.opened.len(), progress.solved.len()), (1, 1));
    }

    #[test]
    fn a_fact_that_is_no_fact_is_left_out() {
        let mut progress = some();
        progress.solve("cache-even", named([("share", "9".repeat(LONGEST_FACT + 1))]));
        let read = Progress::from_file(&progress.to_file()).unwrap();
        assert!(!read.is_solved("cache-even") && read.is_solved("quantize-eight"));
        for text in ["0.1, says <b>Mallory</b>", "https://example.org", "很好", "NaN"] {
            let mut progress = some();
            progress.solve("cache-even", named([("share", text.to_owned())]));
            let read = Progress::from_file(&progress.to_file()).unwrap();
            assert!(!read.is_solved("cache-even") && read.is_solved("quantize-eight"), "{text}");
        }
    }

    #[test]
    fn facts_as_exercises_write_them_are_kept() {
        let mut progress = Progress::default();
        let values = ["12", "0.25", "+0.300", "−0.250", "1278.9"];
        progress.solve("position-beyond", named([("window", "1024".to_owned()), ("worst", "−0.012".to_owned())]));
        progress.solve("cache-saved", values.iter().map(|value| ((*value).to_owned(), (*value).to_owned())).collect());
        // What is asked for stands among them.
        for exercise in exercise::EXERCISES {
            progress.solve(exercise.id, exercise.asked());
        }
        assert_eq!(Progress::from_file(&progress.to_file()).unwrap().solved, progress.solved);
    }
}
