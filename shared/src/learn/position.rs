//! Exercises of the position lab: which encodings bear positions that training never reached, and RoPE made to.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::exercise::{Exercise, Facts, Verdict, Watched, named, read, signed};
use crate::lab::position::{Method, Scaling, Split};

/// Windows count from so many times the training length on.
const LONG: u32 = 4;
/// Nats that a token may cost more beyond the training length than in a short window: less is noise.
const NOISE: f64 = 0.01;
/// Nats that stretching must save beyond the training length.
const SAVED: f64 = 0.1;
/// Nats that it may cost inside.
const HARM: f64 = 0.05;
/// The one of the siblings that can be stretched.
const ROPE: &str = "rope";

/// What the lab publishes, as far as it is read here.
#[derive(Deserialize)]
struct Shown {
    trained: u32,
    window: u32,
    /// Names of the siblings whose curves are shown.
    shown: Vec<String>,
    scaling: Scaling,
    siblings: BTreeMap<String, Measured>,
    stretched: Option<Measured>,
}

#[derive(Deserialize)]
struct Measured {
    split: Option<Split>,
}

impl Shown {
    fn split(&self, sibling: &str) -> Option<Split> {
        self.siblings.get(sibling)?.split
    }

    fn is_long(&self) -> bool {
        self.window >= LONG * self.trained
    }

    fn narrow(&self) -> Verdict {
        Verdict::missing("narrow", [("window", self.window.to_string())])
    }
}

/// A difference of nats always has a sign.
fn nats(value: f64) -> String {
    signed(&format!("{value:+.3}"))
}

fn times() -> (&'static str, String) {
    ("times", LONG.to_string())
}

pub static BEYOND: Exercise = Exercise {
    id: "position-beyond",
    watched: Watched::Position,
    lines: &["narrow", "none", "lost"],
    found: &["window", "shown", "losing", "worst"],
    asked: || named([times(), ("asked", NOISE.to_string())]),
    judge: |json| read(json, beyond),
};

fn beyond(shown: &Shown) -> Option<Verdict> {
    if !shown.is_long() {
        return Some(shown.narrow());
    }
    if shown.shown.is_empty() {
        return Some(Verdict::missing("none", []));
    }
    // All of them, or there is nothing to judge yet.
    let splits: Option<Vec<Split>> = shown.shown.iter().map(|sibling| shown.split(sibling)).collect();
    let extras: Vec<f64> = splits?.iter().map(|split| split.beyond - split.cut).collect();
    let worst = extras.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let losing = extras.iter().filter(|extra| **extra > NOISE).count();
    let facts = [
        ("window", shown.window.to_string()),
        ("shown", extras.len().to_string()),
        ("losing", losing.to_string()),
        ("worst", nats(worst)),
    ];
    Some(if losing == 0 { Verdict::solved(facts) } else { Verdict::missing("lost", facts) })
}

pub static STRETCHED: Exercise = Exercise {
    id: "position-stretched",
    watched: Watched::Position,
    lines: &["narrow", "plain", "hidden", "beyond", "inside"],
    found: &["window", "factor", "beyond", "inside"],
    asked: stretch_asked,
    judge: |json| read(json, stretched),
};

fn stretch_asked() -> Facts {
    named([times(), ("saved", SAVED.to_string()), ("harm", HARM.to_string())])
}

fn stretched(shown: &Shown) -> Option<Verdict> {
    if !shown.is_long() {
        return Some(shown.narrow());
    }
    if shown.scaling.method == Method::None {
        return Some(Verdict::missing("plain", []));
    }
    let Some(plain) = shown.split(ROPE) else {
        // While its curve is on, the measurement is on its way.
        let hidden = !shown.shown.iter().any(|sibling| sibling == ROPE);
        return hidden.then(|| Verdict::missing("hidden", []));
    };
    let now = shown.stretched.as_ref()?.split?;
    let (beyond, inside) = (now.beyond - plain.beyond, now.inside - plain.inside);
    let facts = [
        ("window", shown.window.to_string()),
        ("factor", shown.scaling.factor.to_string()),
        ("beyond", nats(beyond)),
        ("inside", nats(inside)),
    ];
    Some(if beyond > -SAVED {
        Verdict::missing("beyond", facts)
    } else if inside > HARM {
        Verdict::missing("inside", facts)
    } else {
        Verdict::solved(facts)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::exercise::probe::line;
    use super::*;

    fn split(inside: f64, beyond: f64, cut: f64) -> Value {
        json!({"windows": 8, "split": {"inside": inside, "beyond": beyond, "cut": cut}})
    }

    fn state(shown: &[&str]) -> Value {
        json!({
            "trained": 128, "window": 512, "shown": shown,
            "scaling": {"method": "none", "factor": 1.0},
            "siblings": {"alibi": split(4.3, 4.29, 4.3), "rope": split(4.3, 4.6, 4.3)},
            "stretched": null, "turns": null,
        })
    }

    fn said(exercise: &Exercise, state: &Value) -> &'static str {
        line(exercise, state).map_or("nothing", |(line, _)| line)
    }

    #[test]
    fn only_what_loses_nothing_beyond_may_stay() {
        let (missing, facts) = line(&BEYOND, &state(&["alibi", "rope"])).unwrap_or_default();
        assert_eq!((missing, facts["losing"].as_str(), facts["worst"].as_str()), ("lost", "1", "+0.300"));
        assert_eq!(said(&BEYOND, &state(&["alibi"])), "solved");
        assert_eq!(said(&BEYOND, &state(&[])), "none");
        assert_eq!(said(&BEYOND, &state(&["alibi", "learned"])), "nothing", "it is not measured yet");
        let mut narrow = state(&["alibi"]);
        narrow["window"] = 256.into();
        assert_eq!(said(&BEYOND, &narrow), "narrow");
    }

    #[test]
    fn stretching_must_help_beyond_and_not_hurt_inside() {
        let with = |shown: &[&str], stretched: Value| {
            let mut state = state(shown);
            state["scaling"] = json!({"method": "yarn", "factor": 4.0});
            state["stretched"] = stretched;
            state
        };
        assert_eq!(said(&STRETCHED, &state(&["rope"])), "plain");
        assert_eq!(said(&STRETCHED, &with(&["rope"], Value::Null)), "nothing");
        assert_eq!(said(&STRETCHED, &with(&["rope"], split(4.3, 4.55, 4.3))), "beyond");
        let (missing, facts) = line(&STRETCHED, &with(&["rope"], split(4.4, 4.35, 4.3))).unwrap_or_default();
        assert_eq!((missing, facts["inside"].as_str(), facts["beyond"].as_str()), ("inside", "+0.100", "−0.250"));
        assert_eq!(said(&STRETCHED, &with(&["rope"], split(4.32, 4.35, 4.3))), "solved");
        let mut hidden = with(&["alibi"], Value::Null);
        hidden["siblings"] = json!({"alibi": split(4.3, 4.29, 4.3)});
        assert_eq!(said(&STRETCHED, &hidden), "hidden");
    }
}
