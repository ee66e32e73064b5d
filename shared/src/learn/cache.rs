//! Exercises of the cache lab: work that is saved, bytes that are saved, and the place where the cache outgrows the weights.

use serde::Deserialize;

use super::exercise::{Exercise, Facts, Verdict, Watched, at_least, at_most, bound, named, read};
use crate::lab::ModelFacts;
use crate::lab::cache::{WhatIf, Work};

/// Positions computed without a cache, for each one computed with it.
const SAVED_TIMES: f64 = 50.0;
/// Of the cache that is made small.
const SMALL_CONTEXT: u64 = 4096;
const SMALL_BATCH: u64 = 8;
const SMALL_SHARE: f64 = 0.125;
/// Of the cache that is as large as the weights.
const EVEN_BATCH: u64 = 8;
/// It may be larger by so much.
const EVEN_SHARE: f64 = 1.1;
/// The number format that sizes are compared in, and its bytes.
const FORMAT: (&str, u64) = ("f16", 2);

/// What the lab publishes, as far as it is read here.
#[derive(Deserialize)]
struct Run {
    done: bool,
    facts: ModelFacts,
    kept: Way,
    again: Way,
    imagined: Imagined,
}

#[derive(Deserialize)]
struct Way {
    work: Work,
}

#[derive(Deserialize)]
struct Imagined {
    #[serde(flatten)]
    what_if: WhatIf,
    bytes: Vec<Format>,
}

#[derive(Deserialize)]
struct Format {
    format: String,
    total: u64,
    weights: u64,
}

impl Run {
    /// Bytes of the imagined cache and of the weights.
    fn bytes(&self) -> Option<(u64, u64)> {
        let format = self.imagined.bytes.iter().find(|format| format.format == FORMAT.0)?;
        Some((format.total, format.weights))
    }

    /// Bytes of a cache of the same context and batch that keeps what the model itself would.
    fn own_bytes(&self) -> u64 {
        let facts = &self.facts;
        let position = 2 * u64::from(facts.n_layers) * u64::from(facts.kv_heads) * u64::from(facts.head_dim);
        position * self.imagined.what_if.context * self.imagined.what_if.batch * FORMAT.1
    }
}

pub static SAVED: Exercise = Exercise {
    id: "cache-saved",
    watched: Watched::Cache,
    lines: &["few"],
    found: &["kept", "again", "times"],
    asked: || named([("asked", SAVED_TIMES.to_string())]),
    judge: |json| read(json, saved),
};

fn saved(run: &Run) -> Option<Verdict> {
    let (kept, again) = (run.kept.work.positions, run.again.work.positions);
    if !run.done || kept == 0 {
        return None;
    }
    let times = again as f64 / kept as f64;
    let facts = [
        ("kept", kept.to_string()),
        ("again", again.to_string()),
        ("times", format!("{:.1}", (times * 10.0).floor() / 10.0)),
    ];
    Some(if times >= SAVED_TIMES { Verdict::solved(facts) } else { Verdict::missing("few", facts) })
}

pub static SMALL: Exercise = Exercise {
    id: "cache-small",
    watched: Watched::Cache,
    lines: &["short", "alone", "large"],
    found: &["context", "batch", "share"],
    asked: small_asked,
    judge: |json| read(json, small),
};

fn small_asked() -> Facts {
    let (context, sequences) = (SMALL_CONTEXT.to_string(), SMALL_BATCH.to_string());
    named([("least", context), ("sequences", sequences), ("asked", bound(SMALL_SHARE))])
}

fn small(run: &Run) -> Option<Verdict> {
    let (total, _) = run.bytes()?;
    let WhatIf { context, batch, .. } = run.imagined.what_if;
    let share = total as f64 / run.own_bytes().max(1) as f64;
    let facts = [("context", context.to_string()), ("batch", batch.to_string()), ("share", at_most(share))];
    Some(if context < SMALL_CONTEXT {
        Verdict::missing("short", facts)
    } else if batch < SMALL_BATCH {
        Verdict::missing("alone", facts)
    } else if share > SMALL_SHARE {
        Verdict::missing("large", facts)
    } else {
        Verdict::solved(facts)
    })
}

pub static EVEN: Exercise = Exercise {
    id: "cache-even",
    watched: Watched::Cache,
    lines: &["alone", "under", "over"],
    found: &["context", "batch", "share"],
    asked: || named([("sequences", EVEN_BATCH.to_string()), ("most", bound(EVEN_SHARE))]),
    judge: |json| read(json, even),
};

fn even(run: &Run) -> Option<Verdict> {
    let (total, weights) = run.bytes()?;
    let WhatIf { context, batch, .. } = run.imagined.what_if;
    let share = total as f64 / weights.max(1) as f64;
    let shown = if share < 1.0 { at_least(share) } else { at_most(share) };
    let facts = [("context", context.to_string()), ("batch", batch.to_string()), ("share", shown)];
    Some(if batch < EVEN_BATCH {
        Verdict::missing("alone", facts)
    } else if share < 1.0 {
        Verdict::missing("under", facts)
    } else if share > EVEN_SHARE {
        Verdict::missing("over", facts)
    } else {
        Verdict::solved(facts)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::exercise::probe::line;
    use super::*;

    /// hearth-nano's shape; `positions` with and without a cache.
    fn run(positions: [u64; 2], what_if: &Value, cache: u64) -> Value {
        let way = |positions| json!({"ids": [], "work": {"positions": positions, "pairs": 1, "flops": 1.0}});
        let facts = json!({
            "architecture": "llama", "position": "rope", "parameters": 1_311_872, "vocab_size": 4096, "d_model": 128,
            "n_layers": 4, "n_heads": 4, "kv_heads": 2, "head_dim": 32, "max_positions": 512,
        });
        let mut imagined = what_if.clone();
        imagined["outgrows"] = Value::Null;
        imagined["bytes"] = json!([{"format": "f16", "layer": cache / 4, "total": cache, "weights": 2_623_744}]);
        json!({
            "done": true, "facts": facts, "kept": way(positions[0]), "again": way(positions[1]), "imagined": imagined,
        })
    }

    /// As the lab's arithmetic counts it: 2 × 4 layers × heads × 32 × positions × sequences × 2 bytes.
    fn imagined(context: u64, heads: u64, window: Option<u64>, batch: u64) -> Value {
        let what_if = json!({
            "context": context, "kv_heads": heads, "head_dim": 32, "window": window, "batch": batch,
        });
        let kept = window.map_or(context, |window| window.min(context));
        run([60, 1700], &what_if, 2 * 4 * heads * 32 * kept * batch * 2)
    }

    fn said(exercise: &Exercise, state: &Value) -> &'static str {
        line(exercise, state).map_or("nothing", |(line, _)| line)
    }

    #[test]
    fn a_longer_run_saves_more() {
        let what_if = json!({"context": 1, "kv_heads": 2, "head_dim": 32, "window": null, "batch": 1});
        let (missing, facts) = line(&SAVED, &run([60, 1752], &what_if, 1)).unwrap_or_default();
        assert_eq!((missing, facts["times"].as_str()), ("few", "29.2"));
        assert_eq!(said(&SAVED, &run([140, 9792], &what_if, 1)), "solved");
        let mut running = run([140, 9792], &what_if, 1);
        running["done"] = false.into();
        assert_eq!(said(&SAVED, &running), "nothing");
    }

    #[test]
    fn a_small_cache_shares_heads_or_forgets() {
        let (missing, facts) = line(&SMALL, &imagined(4096, 2, None, 8)).unwrap_or_default();
        assert_eq!((missing, facts["share"].as_str(), facts["asked"].as_str()), ("large", "100", "12.5"));
        assert_eq!(said(&SMALL, &imagined(4096, 1, None, 8)), "large");
        assert_eq!(said(&SMALL, &imagined(4096, 1, Some(1024), 8)), "solved");
        assert_eq!(said(&SMALL, &imagined(4096, 2, Some(512), 8)), "solved");
        assert_eq!(said(&SMALL, &imagined(2048, 1, Some(256), 8)), "short");
        assert_eq!(said(&SMALL, &imagined(4096, 1, Some(256), 1)), "alone");
    }

    #[test]
    fn the_cache_is_as_large_as_the_weights_at_one_place() {
        assert_eq!(said(&EVEN, &imagined(2563, 2, None, 1)), "alone");
        let (missing, facts) = line(&EVEN, &imagined(4096, 2, None, 8)).unwrap_or_default();
        assert_eq!((missing, facts["share"].as_str()), ("over", "1278.9"));
        assert_eq!(said(&EVEN, &imagined(256, 2, None, 8)), "under");
        assert_eq!(said(&EVEN, &imagined(330, 2, None, 8)), "solved");
    }
}
