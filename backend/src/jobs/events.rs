//! From what a run says to the numbered events a client reads. A run that was interrupted does steps again and says them
//! again; the key of an event names what it is about, so that the repetition falls away.

use std::collections::BTreeMap;

use hearth_shared::event::{Level, Metrics, RunEvent, Stage};
use hearth_shared::text::counted;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::store::{NewEvent, Progress};
use crate::ids;

/// What a run said, in its job's folder.
pub const LOG: &str = "events.jsonl";

/// A line of a job's `events.jsonl`: written by the child before anybody else hears of it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Line {
    pub key: String,
    /// Unix seconds.
    pub at: i64,
    pub event: RunEvent,
}

impl Line {
    /// `attempt` and `count` set apart the free sentences of one attempt, which have nothing else to be known by.
    pub fn new(event: RunEvent, attempt: u32, count: u64) -> Self {
        let key = match &event {
            RunEvent::Metrics(Metrics { step, skipped: 0, .. }) => format!("metrics:{step}"),
            RunEvent::Metrics(metrics) => format!("metrics:{}:{}", metrics.step, metrics.skipped),
            RunEvent::Sample { step, prompt, .. } => format!("sample:{step}:{prompt}"),
            RunEvent::Checkpoint { step, .. } => format!("checkpoint:{step}"),
            RunEvent::Message { .. } => format!("message:{attempt}:{count}"),
            RunEvent::Stage { stage, done, .. } => format!("stage:{stage:?}:{done}"),
            RunEvent::Decided { .. } => "decided".into(),
            RunEvent::Done { .. } => "done".into(),
        };
        Self { key, at: ids::now(), event }
    }

    /// As the database wants it.
    pub fn into_event(self) -> NewEvent {
        let (level, kind, message) = describe(&self.event);
        let progress = match &self.event {
            RunEvent::Metrics(metrics) => Some(Progress {
                step: metrics.step as i64,
                total_steps: Some(metrics.total_steps as i64),
                trained_tokens: metrics.trained_tokens as i64,
                estimated_finish: metrics.seconds_left.map(|left| self.at + left.ceil() as i64),
            }),
            RunEvent::Done { step, trained_tokens, .. } => Some(Progress {
                step: *step as i64,
                total_steps: None,
                trained_tokens: *trained_tokens as i64,
                estimated_finish: None,
            }),
            _ => None,
        };
        let data = data(&self.event).to_string();
        NewEvent { key: self.key, at: self.at, level, kind, message, data: Some(data), progress }
    }
}

/// A sentence of the server's about a job.
pub fn sentence(key: impl Into<String>, level: Level, message: impl Into<String>) -> NewEvent {
    NewEvent {
        key: key.into(),
        at: ids::now(),
        level: word(level),
        kind: "message",
        message: message.into(),
        ..NewEvent::default()
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

fn describe(event: &RunEvent) -> (&'static str, &'static str, String) {
    match event {
        RunEvent::Metrics(m) => {
            ("info", "metrics", format!("Step {}/{}: training loss={:.4}", m.step, m.total_steps, m.train_loss))
        }
        RunEvent::Sample { step, prompt, text } => ("info", "message", format!("Step {step}: {prompt:?} → {text:?}")),
        RunEvent::Checkpoint { step, .. } => ("info", "message", format!("Checkpoint created at step {step}")),
        RunEvent::Message { level, text } => (word(*level), "message", text.clone()),
        RunEvent::Stage { stage, done, total } => {
            let words = match stage {
                Stage::Reading => "Reading texts",
                Stage::Vocabulary => "Learning a vocabulary",
                Stage::Tokenizing => "Tokenizing",
            };
            ("info", "message", format!("{words}: {:.1} of {:.1} MB", *done as f64 / 1e6, *total as f64 / 1e6))
        }
        RunEvent::Decided { parameters, vocab_size, documents, tokens, .. } => {
            let text = format!(
                "A model of {:.2} million parameters, {vocab_size} tokens in its vocabulary; {}, {:.2} million tokens",
                *parameters as f64 / 1e6,
                counted(*documents, "document"),
                *tokens as f64 / 1e6
            );
            ("info", "message", text)
        }
        RunEvent::Done { step: 0, .. } => ("info", "message", "Done".to_owned()),
        RunEvent::Done { step, .. } => ("info", "message", format!("Training ended after step {step}")),
    }
}

/// The event itself, with OpenAI's names of the metrics beside ours.
fn data(event: &RunEvent) -> Value {
    let mut value = serde_json::to_value(event).unwrap_or(Value::Null);
    if let (RunEvent::Metrics(metrics), Some(object)) = (event, value.as_object_mut()) {
        object.insert("train_mean_token_accuracy".into(), json!(metrics.train_accuracy));
        if metrics.valid_loss.is_some() {
            object.insert("full_valid_loss".into(), json!(metrics.valid_loss));
            object.insert("valid_mean_token_accuracy".into(), json!(metrics.valid_accuracy));
            object.insert("full_valid_mean_token_accuracy".into(), json!(metrics.valid_accuracy));
        }
    }
    value
}

/// The result file OpenAI gives: one row a step.
pub fn csv(lines: &[Line]) -> String {
    let mut text = String::from("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n");
    let mut rows = BTreeMap::new();
    for line in lines {
        if let RunEvent::Metrics(metrics) = &line.event {
            // A run that went back does the steps from there again.
            rows.split_off(&metrics.step);
            rows.insert(metrics.step, metrics);
        }
    }
    for metrics in rows.into_values() {
        let optional = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        text += &format!(
            "{},{},{},{},{}\n",
            metrics.step,
            metrics.train_loss,
            metrics.train_accuracy,
            optional(metrics.valid_loss),
            optional(metrics.valid_accuracy)
        );
    }
    text
}

/// Whole lines of `bytes`, and how many bytes they take; a line still being written waits.
pub fn whole_lines(bytes: &[u8]) -> (Vec<Line>, usize) {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = bytes[..end]
        .split(|byte| *byte == b'\n')
        // A line cut off by a kill is followed by whole ones of the next attempt.
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    (lines, end)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail loudly")]
mod tests {
    use super::super::store;
    use super::*;
    use crate::db::Db;

    fn step(step: u64) -> Line {
        let metrics = Metrics { step, total_steps: 9, train_loss: 1.5, ..Metrics::default() };
        Line::new(RunEvent::Metrics(metrics), 1, 0)
    }

    #[test]
    fn a_line_cut_short_waits_and_one_cut_by_a_kill_is_passed_over() {
        let one = serde_json::to_string(&step(1)).unwrap();
        let two = serde_json::to_string(&step(2)).unwrap();
        let text = format!("{one}\n{}\n{two}\n{}", &one[..20], &two[..9]);
        let (lines, end) = whole_lines(text.as_bytes());
        assert_eq!(
            lines,
            [step(1), step(2)].map(|mut line| {
                line.at = lines[0].at;
                line
            })
        );
        assert_eq!(end, text.len() - 9);
    }

    #[tokio::test]
    async fn repeated_steps_leave_no_gap_and_no_repeat() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path()).await.unwrap();
        for range in [1..=5, 3..=8, 8..=9] {
            let events: Vec<_> = range.map(|n| step(n).into_event()).collect();
            store::append(&db, "ftjob-a", &events).await.unwrap();
        }
        let rows = store::events_after(&db, "ftjob-a", 0, 100).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
        let steps: Vec<_> = rows
            .iter()
            .map(|row| serde_json::from_str::<Value>(row.data.as_ref().unwrap()).unwrap()["step"].as_u64().unwrap())
            .collect();
        assert_eq!(steps, (1..=9).collect::<Vec<_>>());
    }

    #[test]
    fn a_step_s_time_keeps_its_fraction_and_an_older_line_has_none() {
        let metrics = |time| RunEvent::Metrics(Metrics { step: 1, time, ..Metrics::default() });
        let at = 1_700_000_000.125;
        let data = Line::new(metrics(Some(at)), 1, 0).into_event().data.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&data).unwrap()["time"].as_f64(), Some(at));
        let older = serde_json::to_string(&metrics(None)).unwrap();
        assert!(!older.contains("time"), "{older}");
        assert_eq!(serde_json::from_str::<RunEvent>(&older).unwrap(), metrics(None));
    }

    #[test]
    fn the_csv_has_each_step_once() {
        let lines = [step(1), step(2), step(2), step(3)];
        assert_eq!(csv(&lines).lines().count(), 4);
    }
}
