//! Everything the tokenizer lab shows, as one JSON value: for tests and curious people on `window.__hearth.words`, for a
//! person as a file.

use hearth_shared::lab::words::{PARALLEL, STEPPED_CHARACTERS, hex};
use leptos::prelude::*;
use serde_json::{Value, json};

use super::super::publish;
use super::session::{Lesson, Merged, Row, Session};

/// The numbers on the page. Bytes are written in hexadecimal.
pub fn state(session: Session) -> Value {
    let length = session.length.get();
    let (step, steps) = session.place();
    let costs = session.costs.with(|rows| {
        let of = |row: &super::session::CostRow| {
            let languages = PARALLEL.iter().zip(&row.costs);
            let costs: Vec<Value> = languages
                .map(|(language, cost)| {
                    json!({"language": language.code, "tokens": cost.tokens, "relative": cost.relative})
                })
                .collect();
            json!({"name": row.name, "costs": costs})
        };
        rows.iter().map(of).collect::<Vec<_>>()
    });
    json!({
        "text": session.text.get(),
        "characters": length.characters,
        "bytes": length.bytes,
        "special": session.special.get(),
        "vocabularies": session.rows.with(|rows| rows.iter().map(row).collect::<Vec<_>>()),
        "merging": session.merged.with(|merged| merged.as_ref().map(|merged| merging(merged, (step, steps)))),
        "costs": costs,
        "learned": session.lessons.with(|lessons| lessons.iter().map(lesson).collect::<Vec<_>>()),
    })
}

fn row(row: &Row) -> Value {
    match &row.cut {
        Ok(cut) => json!({
            "name": row.name, "algorithm": cut.algorithm, "vocab_size": cut.vocab_size, "ids": cut.ids,
            "broken": cut.broken, "exact": cut.exact,
        }),
        Err(error) => json!({"name": row.name, "error": error.to_string()}),
    }
}

fn merging(merged: &Merged, (step, steps): (usize, usize)) -> Value {
    let Some(trail) = &merged.trail else {
        return json!({"name": merged.name, "algorithm": merged.algorithm});
    };
    let pieces = trail.pieces(step);
    json!({
        "name": merged.name,
        "algorithm": merged.algorithm,
        "of_the_first_characters": STEPPED_CHARACTERS,
        "characters": trail.characters,
        "step": step,
        "steps": steps,
        "rank": step.checked_sub(1).map(|last| trail.steps[last].rank),
        "pieces": pieces.iter().map(|piece| piece.id).collect::<Vec<_>>(),
        "piece_bytes": pieces.iter().map(|piece| hex(&trail.bytes(piece))).collect::<Vec<_>>(),
        "equal": trail.equal,
    })
}

fn lesson(lesson: &Lesson) -> Value {
    let learned = &lesson.learned;
    let merges: Vec<Value> =
        learned.merges.iter().map(|merge| json!([hex(&merge.left), hex(&merge.right), merge.count])).collect();
    json!({
        "name": lesson.name, "vocab_size": learned.vocab_size, "texts": learned.texts, "bytes": learned.size.bytes,
        "words": learned.words, "merges": merges, "ms": learned.ms,
    })
}

/// Puts the state on `window.__hearth.words`.
pub fn publish_state(session: Session) {
    let numbers = untrack(|| state(session)).to_string();
    publish::publish_numbers("words", &numbers, session.rehearsal.get_untracked());
}
