//! Everything the sampling lab shows as one JSON document: what `window.__hearth.sampling` holds, and what is saved as a file. Every
//! number is the worker's.

use std::collections::BTreeMap;

use hearth_shared::lab::sampling::{Distribution, Draws, Runs, Tree, company, twins};
use hearth_shared::spec::Sampling;
use leptos::prelude::*;
use serde::Serialize;

use super::session::Session;
use crate::app::lab::publish;

#[derive(Serialize)]
struct Document<'a> {
    text: &'a str,
    sampling: &'a Sampling,
    /// The first of the consecutive seeds.
    seed: u32,
    distribution: &'a Distribution,
    tree: Option<&'a Tree>,
    /// None while they are of another text or of other sliders: an exercise must not take the old ones for the new.
    runs: Option<&'a Runs>,
    /// For each token of each run how many runs have the same tokens up to it.
    company: Vec<Vec<u32>>,
    /// For each run the first one before it that is the same.
    twins: Vec<Option<usize>>,
    draws: Option<&'a Draws>,
    /// What the tokens say.
    pieces: BTreeMap<u32, String>,
}

/// The document's text, as it is now; none before there is something to tell.
pub fn text(session: Session) -> Option<String> {
    let (answered, tree, continued) = (session.answered.get()?, session.tree.get(), session.continued.get());
    let (draws, seed) = (session.draws.get(), session.seed.get());
    let runs = continued.as_ref().filter(|known| known.asked == answered.asked).map(|known| &known.found);
    let all = runs.map(|runs| runs.runs.as_slice()).unwrap_or_default();
    let ids = (answered.found.tokens.iter().map(|chance| chance.id))
        .chain(answered.found.prompt.iter().copied())
        .chain(tree.iter().flat_map(|tree| &tree.nodes).map(|node| node.id))
        .chain(all.iter().flat_map(|run| &run.tokens).copied())
        .chain(draws.iter().flat_map(|draws| &draws.drawn).map(|drawn| drawn.id));
    let document = Document {
        text: &answered.asked.text,
        sampling: &answered.asked.sampling,
        seed,
        distribution: &answered.found,
        tree: tree.as_ref(),
        runs,
        company: company(all),
        twins: twins(all),
        draws: draws.as_ref(),
        pieces: ids.map(|id| (id, session.host.word(id))).collect(),
    };
    serde_json::to_string_pretty(&document).ok()
}

/// Puts the document on `window.__hearth.sampling`; nothing where there is nothing.
pub fn publish(session: Session) {
    let rehearsal = session.host.rehearsal.get();
    publish::publish_numbers("sampling", text(session).as_deref().unwrap_or("null"), rehearsal);
}
