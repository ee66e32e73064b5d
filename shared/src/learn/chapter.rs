//! A chapter's file: a head of `key: value` lines between two lines of `---`, then Markdown. A fenced block `exercise ID` in it holds an
//! exercise's words, a line each. This file takes that apart; what Markdown looks like is the page's affair.

use std::collections::BTreeMap;

use super::exercise::{self, Exercise, Facts};

const HEAD: &str = "---";
const FENCE: &str = "```";
/// Begins a fenced block that holds an exercise.
const EXERCISE: &str = "```exercise ";
/// Lines that every exercise has, besides its own: what is asked, a push in the right direction, and what is said in the end.
const LINES: [&str; 3] = ["task", "hint", "solved"];

#[derive(Clone, Debug, PartialEq)]
pub struct Chapter {
    pub title: String,
    /// To read it, the exercises left out.
    pub minutes: u32,
    /// Address of the lab beside the text, its state in the query; none where there is no lab.
    pub lab: Option<String>,
    /// What a reader can do afterwards.
    pub able: String,
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Markdown.
    Text(String),
    Exercise(Task),
}

/// An exercise in the chapter's language. Each line is Markdown with places such as `{asked}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    pub exercise: &'static Exercise,
    lines: BTreeMap<String, String>,
}

impl Task {
    /// What is asked.
    #[must_use]
    pub fn task(&self) -> &str {
        self.line("task")
    }

    /// A push in the right direction.
    #[must_use]
    pub fn hint(&self) -> &str {
        self.line("hint")
    }

    /// What is said once it is solved.
    #[must_use]
    pub fn solved(&self) -> &str {
        self.line("solved")
    }

    /// One of the exercise's own lines; empty where there is none of that name.
    #[must_use]
    pub fn line(&self, name: &str) -> &str {
        self.lines.get(name).map_or("", String::as_str)
    }

    /// All lines by their names.
    #[must_use]
    pub fn lines(&self) -> &BTreeMap<String, String> {
        &self.lines
    }
}

/// Why a file is no chapter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChapterError {
    #[error("it does not begin with a head between two lines of ---")]
    Head,
    #[error("its head has no {0}")]
    Missing(&'static str),
    #[error("its minutes are no number: {0}")]
    Minutes(String),
    #[error("there is no exercise {0:?}")]
    Exercise(String),
    #[error("the exercise {0:?} has no end")]
    Endless(String),
    #[error("the exercise {id:?} lacks the line {line:?}")]
    Lacks { id: &'static str, line: &'static str },
    #[error("the exercise {id:?} has a line that nobody shows: {line:?}")]
    Unshown { id: &'static str, line: String },
}

impl Chapter {
    /// # Errors
    /// Says what is wrong with the file.
    pub fn parse(file: &str) -> Result<Self, ChapterError> {
        let mut lines = file.lines();
        if lines.next() != Some(HEAD) {
            return Err(ChapterError::Head);
        }
        let mut head = BTreeMap::new();
        loop {
            let line = lines.next().ok_or(ChapterError::Head)?;
            if line == HEAD {
                break;
            }
            let (key, value) = pair(line).ok_or(ChapterError::Head)?;
            head.insert(key, value);
        }
        let word = |key: &'static str| head.get(key).copied().ok_or(ChapterError::Missing(key));
        let minutes = word("minutes")?;
        Ok(Self {
            title: word("title")?.to_owned(),
            minutes: minutes.parse().map_err(|_| ChapterError::Minutes(minutes.to_owned()))?,
            lab: head.get("lab").map(|lab| (*lab).to_owned()),
            able: word("able")?.to_owned(),
            parts: parts(lines)?,
        })
    }

    /// In the order of the text.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.parts.iter().filter_map(|part| match part {
            Part::Exercise(task) => Some(task),
            Part::Text(_) => None,
        })
    }
}

fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    Some((key.trim(), value.trim()))
}

fn parts<'a>(mut lines: impl Iterator<Item = &'a str>) -> Result<Vec<Part>, ChapterError> {
    let mut parts = Vec::new();
    let mut text = String::new();
    while let Some(line) = lines.next() {
        let Some(id) = line.strip_prefix(EXERCISE) else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        flush(&mut text, &mut parts);
        parts.push(Part::Exercise(task(id.trim(), &mut lines)?));
    }
    flush(&mut text, &mut parts);
    Ok(parts)
}

fn flush(text: &mut String, parts: &mut Vec<Part>) {
    if !text.trim().is_empty() {
        parts.push(Part::Text(text.trim().to_owned()));
    }
    text.clear();
}

/// The lines up to the end of the fence.
fn task<'a>(id: &str, lines: &mut impl Iterator<Item = &'a str>) -> Result<Task, ChapterError> {
    let exercise = exercise::find(id).ok_or_else(|| ChapterError::Exercise(id.to_owned()))?;
    let mut words = BTreeMap::new();
    loop {
        let line = lines.next().ok_or_else(|| ChapterError::Endless(id.to_owned()))?;
        if line.trim() == FENCE {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let known = |name: &str| LINES.contains(&name) || exercise.lines.contains(&name);
        let (name, text) = pair(line)
            .filter(|(name, _)| known(name))
            .ok_or_else(|| ChapterError::Unshown { id: exercise.id, line: line.to_owned() })?;
        words.insert(name.to_owned(), text.to_owned());
    }
    match LINES.iter().chain(exercise.lines).find(|line| !words.contains_key(**line)) {
        Some(line) => Err(ChapterError::Lacks { id: exercise.id, line }),
        None => Ok(Task { exercise, lines: words }),
    }
}

/// HTML with its places filled. What comes in is text, never mark-up; a place that nobody fills stays as it is.
#[must_use]
pub fn filled(html: &str, facts: &Facts) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let place = after.split_once('}').and_then(|(name, behind)| Some((facts.get(name)?, behind)));
        match place {
            Some((value, behind)) => {
                out.push_str(&escaped(value));
                rest = behind;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// A text as HTML shows it, inside an attribute too.
#[must_use]
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::learn::exercise::named;

    const FILE: &str = "---\ntitle: A: b\nminutes: 7\nlab: /lab/quantization?bits=4\nable: weigh bits\n---\n\n# A\n\nText.\n\n\
        ```math\na = {b}\n```\n\n```exercise quantize-eight\ntask: At most {asked} %.\nhint: Rows: try.\n\nlarge: {size}\n\
        worse: {rise} is more than {asked}\nsolved: {rise}\n```\n\nThe end.\n";

    #[test]
    fn a_file_is_taken_apart() {
        let chapter = Chapter::parse(FILE).unwrap();
        assert_eq!((chapter.title.as_str(), chapter.minutes), ("A: b", 7));
        assert_eq!(chapter.lab.as_deref(), Some("/lab/quantization?bits=4"));
        let [Part::Text(before), Part::Exercise(task), Part::Text(after)] = &chapter.parts[..] else {
            panic!("{chapter:?}");
        };
        assert!(before.starts_with("# A") && before.ends_with("```") && after == "The end.", "{before}");
        assert_eq!(
            (task.exercise.id, task.task(), task.hint()),
            ("quantize-eight", "At most {asked} %.", "Rows: try.")
        );
        assert_eq!((task.line("large"), task.line("x"), task.solved()), ("{size}", "", "{rise}"));
        assert_eq!(chapter.tasks().count(), 1);
        // As an editor of another system would save it.
        assert_eq!(Chapter::parse(&FILE.replace('\n', "\r\n")).unwrap(), chapter);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |from: &str, to: &str| Chapter::parse(&FILE.replacen(from, to, 1)).unwrap_err();
        assert_eq!(error("---\n", ""), ChapterError::Head);
        assert_eq!(Chapter::parse("---\ntitle: a"), Err(ChapterError::Head));
        assert_eq!(error("able: weigh bits\n", ""), ChapterError::Missing("able"));
        assert_eq!(error("minutes: 7", "minutes: few"), ChapterError::Minutes("few".into()));
        assert_eq!(error("quantize-eight", "quantize-nine"), ChapterError::Exercise("quantize-nine".into()));
        assert_eq!(error("large: {size}\n", ""), ChapterError::Lacks { id: "quantize-eight", line: "large" });
        let unshown = ChapterError::Unshown { id: "quantize-eight", line: "larger: {size}".into() };
        assert_eq!(error("large: {size}", "larger: {size}"), unshown);
        assert!(matches!(error("solved: {rise}\n```", "solved: {rise}"), ChapterError::Unshown { .. }));
    }

    #[test]
    fn places_are_filled_with_text_alone() {
        let facts = named([("a", "<b>&\"".to_owned()), ("n", "5.1".to_owned())]);
        assert_eq!(filled("<p>{n} {a} {x} { {n", &facts), "<p>5.1 &lt;b&gt;&amp;&quot; {x} { {n");
        assert_eq!(filled("{{n}}", &facts), "{5.1}");
    }
}
