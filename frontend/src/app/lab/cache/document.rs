//! A run as a JSON document: what `window.__hearth.cache` holds, and what is saved as a file. Every number is one that the worker
//! measured or the arithmetic of `hearth_shared` gave.

use hearth_shared::lab::cache::{Held, WhatIf, Work};
use hearth_shared::lab::{Engine, ModelFacts, cache::Token};
use serde::Serialize;

use super::address::Imagined;
use super::run::{Run, Side};
use crate::app::lab::publish;

/// Number formats of a cache: name, bytes.
pub const FORMATS: [(&str, u64); 3] = [("f32", 4), ("f16", 2), ("int8", 1)];

#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    facts: &'a ModelFacts,
    engine: Engine,
    text: &'a str,
    /// Token ids.
    prompt: &'a [u32],
    count: u32,
    window: Option<u32>,
    done: bool,
    kept: Way,
    again: Way,
    windowed: Option<Way>,
    /// Step at which the side without a cache has another token.
    parts_at: Option<usize>,
    window_parts_at: Option<usize>,
    /// The largest difference of two logits.
    apart: Option<f32>,
    held: Held,
    weights: u64,
    imagined: Counted,
}

#[derive(Serialize)]
struct Way {
    ids: Vec<u32>,
    ms: Vec<f64>,
    positions: Vec<u32>,
    margins: Vec<f32>,
    total_ms: f64,
    work: Work,
}

/// The cache that is only counted.
#[derive(Serialize)]
struct Counted {
    #[serde(flatten)]
    what_if: WhatIf,
    outgrows: Option<u64>,
    bytes: Vec<Format>,
}

#[derive(Serialize)]
struct Format {
    format: &'static str,
    layer: u64,
    total: u64,
    weights: u64,
}

impl Way {
    fn of(run: &Run, side: Side) -> Self {
        let all = |read: fn(&Token) -> u32| run.tokens(side).map(read).collect();
        Self {
            ids: all(|token| token.id),
            ms: run.tokens(side).map(|token| token.ms).collect(),
            positions: all(|token| token.positions),
            margins: run.tokens(side).map(|token| token.margin).collect(),
            total_ms: run.total_ms(side),
            work: run.work(side),
        }
    }
}

impl Counted {
    fn of(run: &Run, imagined: Imagined) -> Self {
        let (what_if, shape) = (imagined.of(&run.begun.facts), &run.begun.shape);
        let format = |(format, number)| Format {
            format,
            layer: what_if.layer_bytes(shape, number),
            total: what_if.bytes(shape, number),
            weights: shape.parameters * number,
        };
        Self { what_if, outgrows: what_if.outgrows(shape), bytes: FORMATS.into_iter().map(format).collect() }
    }
}

/// The document's text.
pub fn text(run: &Run, imagined: Imagined) -> String {
    let begun = &run.begun;
    let document = Document {
        model: &begun.model,
        facts: &begun.facts,
        engine: begun.engine,
        text: &run.wanted.text,
        prompt: &begun.prompt,
        count: begun.count,
        window: begun.window,
        done: run.is_done(),
        kept: Way::of(run, Side::Kept),
        again: Way::of(run, Side::Again),
        windowed: begun.window.map(|_| Way::of(run, Side::Windowed)),
        parts_at: run.parts_at(Side::Again),
        window_parts_at: run.parts_at(Side::Windowed),
        apart: run.apart(),
        held: run.held,
        weights: begun.shape.parameters * FORMATS[0].1,
        imagined: Counted::of(run, imagined),
    };
    // Plain numbers and texts always serialise.
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

/// Puts the document on `window.__hearth.cache`.
pub fn publish(run: &Run, imagined: Imagined, rehearsal: bool) {
    publish::publish_numbers("cache", &text(run, imagined), rehearsal);
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::run::tests::small;
    use super::*;

    #[test]
    fn the_document_has_the_runs_numbers() {
        let run = small();
        let document: serde_json::Value = serde_json::from_str(&text(&run, Imagined::default())).unwrap();
        assert_eq!(document["kept"]["ids"], serde_json::json!([4, 5, 6]));
        assert_eq!(document["windowed"]["ids"], serde_json::json!([4, 7, 6]));
        assert_eq!((&document["parts_at"], &document["window_parts_at"]), (&serde_json::Value::Null, &1.into()));
        assert_eq!(document["again"]["total_ms"], 15.0);
        // 4096 positions, one layer, one head of 4, keys and values.
        assert_eq!(document["imagined"]["bytes"][1]["total"], 4096 * 2 * 4 * 2);
        assert_eq!(document["imagined"]["context"], 4096);
        assert_eq!(document["facts"]["kv_heads"], 1);
    }
}
