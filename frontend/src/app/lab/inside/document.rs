//! The attention lab's numbers as JSON: what `window.__hearth.inside` holds, and what is saved as a file. Every number is one that the
//! worker computed or the arithmetic of `hearth_shared` gave.

use hearth_shared::lab::inside::{Ablated, mean};
use leptos::prelude::{Get, With};
use serde_json::{Value, json};

use super::part::Part;
use super::planned::Planned;
use super::state::{Inside, at};
use crate::app::lab::forward::Step;

/// What was found about the pass in hand, and the job where it is open; none before there is anything.
pub fn found(inside: Inside) -> Option<Value> {
    let forward = inside.session.forward()?;
    let ids: Vec<u32> = forward.tokens().iter().map(|token| token.id).collect();
    let stack = inside.stack.with(|stack| stack.as_ref().map(|stack| json!(stack)));
    let lens = inside.lens.with(|lens| lens.as_ref().map(|lens| json!(lens)));
    let ablated = inside.ablated.with(|ablated| ablated.as_ref().map(ablations));
    let statistics = inside.statistics.with(|statistics| statistics.as_ref().map(|statistics| json!(statistics)));
    let job = (inside.session.part.get() == Some(Part::Job)).then(|| Planned::of(inside)).flatten();
    let nothing = stack.is_none() && lens.is_none() && ablated.is_none() && statistics.is_none() && job.is_none();
    (!nothing).then(|| {
        json!({
            "model": forward.traced.model,
            "engine": forward.traced.engine,
            "tokens": ids,
            "stack": stack,
            "lens": lens,
            "ablated": ablated,
            "statistics": statistics,
            "job": job,
        })
    })
}

/// Losses in nats a token: of the text as it is, and without each head that was measured.
fn ablations(ablated: &Ablated) -> Value {
    let heads: Vec<Value> = ablated
        .heads
        .iter()
        .map(|head| {
            json!({
                "layer": head.at.layer, "head": head.at.head,
                "nll": mean(&head.losses), "cost": ablated.cost(head.at), "losses": head.losses,
            })
        })
        .collect();
    json!({ "nll": mean(&ablated.base), "losses": ablated.base, "heads": heads })
}

/// The file: the pass, the chosen head's weights, and what was found.
pub fn file(inside: Inside) -> Option<String> {
    let session = inside.session;
    let forward = session.forward()?;
    let chosen = session.at.get();
    let weights = forward.picture(chosen, Step::Weights);
    let rows: Vec<&[f32]> = (0..weights.rows).map(|row| weights.row(row)).collect();
    let all = json!({
        "text": session.text.get(),
        "model": forward.traced.model,
        "engine": forward.traced.engine,
        "tokens": forward.tokens(),
        "timing": forward.traced.timing,
        "head": at(chosen),
        "row": session.row(),
        "weights": rows,
        "inside": found(inside),
    });
    serde_json::to_string_pretty(&all).ok()
}
