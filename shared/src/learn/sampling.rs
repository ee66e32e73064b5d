//! Exercises of the sampling lab: a place where the model is sure, chances sharpened with none of them cut, and seeds without a choice.

use serde::Deserialize;

use super::exercise::{Exercise, Facts, Verdict, Watched, at_least, at_most, bound, named, read};
use crate::lab::sampling::{Run, Stage, twins};
use crate::spec::Sampling;

/// Tokens that may be left to draw from where the model is sure.
const FEW_TOKENS: u32 = 5;
/// Of the model's own probability that they hold.
const FEW_MASS: f64 = 0.9;
/// Of the model's own probability that must stay drawable while the entropy falls.
const SHARP_MASS: f64 = 0.99;
/// Entropy of what is drawn from, for each bit of the model's own.
const SHARP_SHARE: f64 = 0.5;
/// A temperature below is as good as greedy.
const ONE_TEMPERATURE: f32 = 0.5;
const ONE_RUNS: usize = 4;

/// What the lab publishes, as far as it is read here.
#[derive(Deserialize)]
struct Drawn {
    sampling: Sampling,
    distribution: Left,
    /// None while they are of another text or of other sliders.
    runs: Option<Runs>,
}

#[derive(Deserialize)]
struct Left {
    /// From the model's own to what is drawn from.
    stages: Vec<Stage>,
    /// Share of the model's own probability that can still be drawn.
    mass: f64,
}

/// Without the times, which an example does not have.
#[derive(Deserialize)]
struct Runs {
    runs: Vec<Run>,
}

pub static FEW: Exercise = Exercise {
    id: "sampling-few",
    watched: Watched::Sampling,
    lines: &["many", "little"],
    found: &["kept", "mass"],
    asked: || named([("most", FEW_TOKENS.to_string()), ("asked", bound(FEW_MASS))]),
    judge: |json| read(json, few),
};

fn few(drawn: &Drawn) -> Option<Verdict> {
    let Left { stages, mass } = &drawn.distribution;
    let kept = stages.last()?.kept;
    let facts = [("kept", kept.to_string()), ("mass", at_least(*mass))];
    Some(if kept > FEW_TOKENS {
        Verdict::missing("many", facts)
    } else if *mass < FEW_MASS {
        Verdict::missing("little", facts)
    } else {
        Verdict::solved(facts)
    })
}

pub static SHARP: Exercise = Exercise {
    id: "sampling-sharp",
    watched: Watched::Sampling,
    lines: &["cut", "flat"],
    found: &["mass", "before", "after", "share"],
    asked: || named([("least", bound(SHARP_MASS)), ("asked", bound(SHARP_SHARE))]),
    judge: |json| read(json, sharp),
};

fn sharp(drawn: &Drawn) -> Option<Verdict> {
    let Left { stages, mass } = &drawn.distribution;
    let (before, after) = (stages.first()?.entropy, stages.last()?.entropy);
    // A model that has no doubt can't be made surer.
    let share = if before > 0.0 { after / before } else { 1.0 };
    let facts = [
        ("mass", at_least(*mass)),
        ("before", format!("{before:.2}")),
        ("after", format!("{after:.2}")),
        ("share", at_most(share)),
    ];
    Some(if *mass < SHARP_MASS {
        Verdict::missing("cut", facts)
    } else if share > SHARP_SHARE {
        Verdict::missing("flat", facts)
    } else {
        Verdict::solved(facts)
    })
}

pub static ONE: Exercise = Exercise {
    id: "sampling-one",
    watched: Watched::Sampling,
    lines: &["cold", "short", "apart"],
    found: &["temperature", "runs", "different"],
    asked: one_asked,
    judge: |json| read(json, one),
};

fn one_asked() -> Facts {
    named([("warm", ONE_TEMPERATURE.to_string()), ("least", ONE_RUNS.to_string())])
}

fn one(drawn: &Drawn) -> Option<Verdict> {
    let runs = &drawn.runs.as_ref()?.runs;
    let temperature = drawn.sampling.temperature;
    let different = twins(runs).iter().filter(|twin| twin.is_none()).count();
    let facts = [
        ("temperature", temperature.to_string()),
        ("runs", runs.len().to_string()),
        ("different", different.to_string()),
    ];
    Some(if temperature < ONE_TEMPERATURE {
        Verdict::missing("cold", facts)
    } else if runs.len() < ONE_RUNS {
        Verdict::missing("short", facts)
    } else if different > 1 {
        Verdict::missing("apart", facts)
    } else {
        Verdict::solved(facts)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::exercise::probe::line;
    use super::*;

    /// What is left of hearth-nano's vocabulary, and entropies before and after the sampler.
    fn left(kept: u32, mass: f64, entropies: [f64; 2]) -> Value {
        let stage = |step: &str, kept: u32, entropy: f64| json!({"step": step, "kept": kept, "removed": 0.0, "entropy": entropy, "rest": 0.0});
        json!({
            "sampling": {"temperature": 0.8, "top_k": 16},
            "distribution": {
                "model": "hearth-nano",
                "stages": [stage("model", 4096, entropies[0]), stage("min_p", kept, entropies[1])],
                "mass": mass,
            },
            "runs": null,
        })
    }

    /// Runs that drew these tokens.
    fn drawn(temperature: f32, runs: &[[u32; 2]]) -> Value {
        let mut state = left(14, 0.26, [8.1, 3.7]);
        let run = |tokens: &[u32; 2]| json!({"seed": 1, "tokens": tokens, "logprobs": [-0.5, -0.5], "ended": false});
        state["sampling"]["temperature"] = temperature.into();
        state["runs"] = json!({"runs": runs.iter().map(run).collect::<Vec<_>>(), "count": 2});
        state
    }

    fn said(exercise: &Exercise, state: &Value) -> &'static str {
        line(exercise, state).map_or("nothing", |(line, _)| line)
    }

    #[test]
    fn few_tokens_must_hold_nearly_all_of_the_probability() {
        assert_eq!(said(&FEW, &left(14, 0.95, [8.1, 3.7])), "many");
        // The five likeliest of a text that could go on anyhow.
        let (missing, facts) = line(&FEW, &left(5, 0.1236, [8.1, 2.2])).unwrap_or_default();
        assert_eq!((missing, facts["mass"].as_str(), facts["asked"].as_str()), ("little", "12.3", "90"));
        assert_eq!(said(&FEW, &left(2, 0.94, [1.6, 1.0])), "solved");
        assert_eq!(said(&FEW, &left(1, 0.967, [0.4, 0.0])), "solved");
    }

    #[test]
    fn chances_are_sharpened_and_not_cut() {
        let (missing, facts) = line(&SHARP, &left(5, 0.1236, [8.134, 2.2])).unwrap_or_default();
        assert_eq!((missing, facts["before"].as_str(), facts["after"].as_str()), ("cut", "8.13", "2.20"));
        assert_eq!(said(&SHARP, &left(4096, 1.0, [8.1, 4.75])), "flat");
        assert_eq!(said(&SHARP, &left(4096, 1.0, [8.1, 10.5])), "flat");
        let (solved, facts) = line(&SHARP, &left(4096, 1.0, [8.1, 3.87])).unwrap_or_default();
        assert_eq!((solved, facts["share"].as_str()), ("solved", "47.8"));
        assert_eq!(said(&SHARP, &left(1, 1.0, [0.0, 0.0])), "flat", "nothing was there to sharpen");
    }

    #[test]
    fn warm_seeds_without_a_choice_write_one_text() {
        let same = [[7, 8]; 4];
        assert_eq!(said(&ONE, &drawn(0.0, &same)), "cold");
        assert_eq!(said(&ONE, &drawn(1.0, &same[..3])), "short");
        let (missing, facts) = line(&ONE, &drawn(1.0, &[[7, 8], [7, 9], [7, 8], [7, 8]])).unwrap_or_default();
        assert_eq!((missing, facts["different"].as_str(), facts["runs"].as_str()), ("apart", "2", "4"));
        assert_eq!(said(&ONE, &drawn(0.5, &same)), "solved");
        assert_eq!(said(&ONE, &left(1, 0.1, [8.1, 0.0])), "nothing", "the runs are still drawn");
    }
}
