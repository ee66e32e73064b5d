//! An exercise: what it watches, what it asks for, and how it judges what a reader did. The words are not here: a chapter's file has
//! them, line by line, with places such as `{found}` for the numbers that come from here.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::{attention, cache, position, quantize, sampling, tokens, tuning};

/// What stands in the places of an exercise's words, by the place's name.
pub type Facts = BTreeMap<String, String>;

/// Whose state is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    Words,
    Attention,
    Position,
    Sampling,
    Cache,
    Quantization,
    /// Fine-tuning jobs, as [`tuning::Tuned`].
    Jobs,
}

impl Watched {
    /// Where the lab is; none for what no lab shows.
    #[must_use]
    pub fn lab(self) -> Option<&'static str> {
        match self {
            Self::Words => Some("/lab/tokenizer"),
            Self::Attention => Some("/lab/attention"),
            Self::Position => Some("/lab/position"),
            Self::Sampling => Some("/lab/sampling"),
            Self::Cache => Some("/lab/cache"),
            Self::Quantization => Some("/lab/quantization"),
            Self::Jobs => None,
        }
    }

    /// The member of `window.__hearth` where the lab publishes its state.
    #[must_use]
    pub fn published(self) -> Option<&'static str> {
        match self {
            Self::Words => Some("words"),
            Self::Attention => Some("attention"),
            Self::Position => Some("position"),
            Self::Sampling => Some("sampling"),
            Self::Cache => Some("cache"),
            Self::Quantization => Some("quantize"),
            Self::Jobs => None,
        }
    }
}

/// What a state is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `line` is the line of the chapter's words that says what is missing.
    Missing {
        line: &'static str,
        facts: Facts,
    },
    Solved {
        facts: Facts,
    },
}

impl Verdict {
    pub(super) fn missing<const N: usize>(line: &'static str, facts: [(&str, String); N]) -> Self {
        Self::Missing { line, facts: named(facts) }
    }

    pub(super) fn solved<const N: usize>(facts: [(&str, String); N]) -> Self {
        Self::Solved { facts: named(facts) }
    }

    #[must_use]
    pub fn is_solved(&self) -> bool {
        matches!(self, Self::Solved { .. })
    }

    #[must_use]
    pub fn facts(&self) -> &Facts {
        match self {
            Self::Missing { facts, .. } | Self::Solved { facts } => facts,
        }
    }

    fn facts_mut(&mut self) -> &mut Facts {
        match self {
            Self::Missing { facts, .. } | Self::Solved { facts } => facts,
        }
    }
}

pub(super) fn named<const N: usize>(facts: [(&str, String); N]) -> Facts {
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

type Judge = fn(&str) -> serde_json::Result<Option<Verdict>>;

/// See the top of the file. Two are equal when their ids are.
#[derive(Clone, Copy, Debug)]
pub struct Exercise {
    pub id: &'static str,
    pub watched: Watched,
    /// Lines that say what is missing, besides the task, the hint and what is said once it is solved.
    pub lines: &'static [&'static str],
    /// Places that a verdict fills, besides those of [`Exercise::asked`].
    pub found: &'static [&'static str],
    pub(super) asked: fn() -> Facts,
    pub(super) judge: Judge,
}

impl PartialEq for Exercise {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Exercise {
    /// What is asked for, as it stands in the task.
    #[must_use]
    pub fn asked(&self) -> Facts {
        (self.asked)()
    }

    /// What a published state is worth; none while the lab has nothing to judge yet. The facts hold what is asked for, too.
    ///
    /// # Errors
    /// The state is not what this lab publishes.
    pub fn judge(&self, json: &str) -> serde_json::Result<Option<Verdict>> {
        let mut verdict = (self.judge)(json)?;
        if let Some(verdict) = &mut verdict {
            for (name, value) in self.asked() {
                verdict.facts_mut().entry(name).or_insert(value);
            }
        }
        Ok(verdict)
    }
}

/// All exercises, in the order of the chapters.
pub static EXERCISES: [&Exercise; 16] = [
    &tokens::CHEAP,
    &tokens::DEAR,
    &tokens::OWN,
    &attention::BEFORE,
    &attention::FAR_BACK,
    &position::BEYOND,
    &position::STRETCHED,
    &sampling::FEW,
    &sampling::SHARP,
    &sampling::ONE,
    &cache::SAVED,
    &cache::SMALL,
    &cache::EVEN,
    &quantize::EIGHT,
    &quantize::FOUR,
    &tuning::LOWER,
];

#[must_use]
pub fn find(id: &str) -> Option<&'static Exercise> {
    EXERCISES.into_iter().find(|exercise| exercise.id == id)
}

/// Reads a state and judges it.
pub(super) fn read<S: DeserializeOwned>(
    json: &str,
    judge: impl FnOnce(&S) -> Option<Verdict>,
) -> serde_json::Result<Option<Verdict>> {
    Ok(judge(&serde_json::from_str(json)?))
}

/// A share that should be large, in per cent, rounded down: what falls short never looks as if it did not.
pub(super) fn at_least(share: f64) -> String {
    tenths((share * 1000.0).floor())
}

/// A share that should be small, in per cent, rounded up for the same reason.
pub(super) fn at_most(share: f64) -> String {
    tenths((share * 1000.0).ceil())
}

/// A bound, in per cent.
pub(super) fn bound(share: f64) -> String {
    tenths((share * 1000.0).round())
}

fn tenths(tenths: f64) -> String {
    // Zero has no sign.
    let text = if tenths == 0.0 { "0".to_owned() } else { format!("{:.1}", tenths / 10.0) };
    signed(text.strip_suffix(".0").unwrap_or(&text))
}

/// With a real minus sign.
pub(super) fn signed(number: &str) -> String {
    number.replace('-', "−")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_found() {
        let ids: BTreeSet<&str> = EXERCISES.iter().map(|exercise| exercise.id).collect();
        assert_eq!(ids.len(), EXERCISES.len());
        assert_eq!(find("quantize-four"), Some(&quantize::FOUR));
        assert_eq!(find("x"), None);
    }

    #[test]
    fn a_state_of_another_lab_is_an_error_and_no_panic() {
        for exercise in EXERCISES {
            assert!(exercise.judge("{\"x\": 1}").is_err() && exercise.judge("null").is_err(), "{}", exercise.id);
            assert!(exercise.judge("").is_err(), "{}", exercise.id);
        }
    }

    #[test]
    fn what_falls_short_never_looks_as_if_it_did_not() {
        assert_eq!((at_least(0.5999), at_most(0.0501), bound(0.05)), ("59.9".into(), "5.1".into(), "5".into()));
        assert_eq!((at_least(0.6), at_most(-0.0021), at_most(-1e-9)), ("60".into(), "−0.2".into(), "0".into()));
    }

    #[test]
    fn a_verdict_carries_what_was_asked() {
        let state = r#"{"characters": 3, "vocabularies": [{"name": "hearth-nano", "ids": [1, 2]}], "learned": []}"#;
        let verdict = find("tokens-cheap").unwrap().judge(state).unwrap().unwrap();
        assert!(verdict.facts().contains_key("least") && !verdict.is_solved());
    }
}

#[cfg(test)]
pub(super) mod probe {
    //! What the tests of every exercise do.

    use super::*;

    /// The line that says what is missing, or `solved`; the facts are all declared.
    #[expect(clippy::unwrap_used, reason = "tests")]
    pub(crate) fn line(exercise: &Exercise, state: &serde_json::Value) -> Option<(&'static str, Facts)> {
        let verdict = exercise.judge(&state.to_string()).unwrap()?;
        let asked = exercise.asked();
        let known = |name: &String| asked.contains_key(name) || exercise.found.contains(&name.as_str());
        assert!(verdict.facts().keys().all(known), "{}: {verdict:?}", exercise.id);
        Some(match verdict {
            Verdict::Missing { line, facts } => {
                assert!(exercise.lines.contains(&line), "{}: {line}", exercise.id);
                (line, facts)
            }
            Verdict::Solved { facts } => ("solved", facts),
        })
    }
}
