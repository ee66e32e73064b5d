//! Everything the position lab shows, as one JSON value: on `window.__hearth.position`, and as a file.

use hearth_shared::lab::position::{LengthLoss, Losses};
use leptos::prelude::*;
use serde_json::{Map, Value, json};

use super::session::Session;
use super::siblings::{COUNT, SIBLINGS, TRAINED};
use super::work::WINDOWS;
use crate::app::lab::publish;

/// Everything shown, as numbers.
pub fn numbers(session: &Session) -> Value {
    let siblings: Map<String, Value> =
        (0..COUNT).filter_map(|at| Some((SIBLINGS[at].name.to_owned(), of(&session.losses(at)?)))).collect();
    let documents = session.documents.get().unwrap_or_default();
    let shown = session.shown.get();
    let shown: Vec<&str> = (0..COUNT).filter(|at| shown[*at]).map(|at| SIBLINGS[at].name).collect();
    json!({
        "engine": session.engine_word(),
        "trained": TRAINED,
        "window": session.longest.get(),
        "shown": shown,
        "windows": WINDOWS,
        "texts": documents.iter().map(|document| document.id.as_str()).collect::<Vec<_>>(),
        "scaling": session.scaling.get(),
        "siblings": siblings,
        "stretched": session.stretched().as_ref().map(of),
        "turns": session.turns(),
        "distances": session.distances(),
    })
}

fn of(losses: &Losses) -> Value {
    let means: Map<String, Value> =
        losses.lengths.iter().map(|read| (read.length.to_string(), read.mean().into())).collect();
    let stretches = |read: Option<&LengthLoss>| read.map(|read| read.stretches.clone());
    json!({
        "windows": losses.windows,
        "means": means,
        "split": losses.split(TRAINED),
        "stretches": stretches(losses.longest()),
        "cut_stretches": stretches(losses.at(TRAINED)),
        "ms": losses.ms,
    })
}

/// Puts the numbers on `window.__hearth.position`.
pub fn publish(session: &Session) {
    publish::publish_numbers("position", &numbers(session).to_string(), session.is_example());
}
