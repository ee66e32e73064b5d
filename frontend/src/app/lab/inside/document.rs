//! The attention lab's numbers as JSON: what `window.__hearth.inside` holds, and what is saved as a file. Every number is one that the
//! worker computed or the arithmetic of `hearth_shared` gave.

use hearth_shared::lab::TokenView;
use hearth_shared::lab::inside::{Ablated, mean};
use leptos::prelude::{Get, With};
use serde_json::{Value, json};

use super::part::Part;
use super::planned::Planned;
use super::state::{Inside, at};
use crate::app::lab::forward::{Forward, Head, Step};
use crate::app::lab::visible;

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

/// What of a head is in the file: what the mask shows are its scores.
const TAKEN: [Step; 6] = [Step::Queries, Step::Keys, Step::Scores, Step::Weights, Step::Values, Step::Output];

/// The file: the pass, the matrices of the chosen head, and what was found.
pub fn file(inside: Inside) -> Option<String> {
    let session = inside.session;
    let forward = session.forward()?;
    let all = written(&forward, session.at.get(), session.row(), found(inside));
    serde_json::to_string_pretty(&all).ok()
}

/// The text is the pass's own: another may stand in the field, with its pass on its way, stopped or impossible.
fn written(forward: &Forward, chosen: Head, row: usize, found: Option<Value>) -> Value {
    json!({
        "text": forward.text,
        "model": forward.traced.model,
        "engine": forward.traced.engine,
        "tokens": forward.tokens(),
        "timing": forward.traced.timing,
        "head": at(chosen),
        "kv_head": forward.kv_head(chosen.head),
        "row": row,
        "matrices": matrices(forward, chosen),
        "inside": found,
    })
}

/// A head's matrices by the words that an address has for them, with the tokens and dimensions that their rows and columns are. Scores
/// stand before the mask: those of later tokens too.
fn matrices(forward: &Forward, chosen: Head) -> Value {
    let numbered = |(index, token): (usize, &TokenView)| format!("{index} {}", visible(&token.text));
    let tokens: Vec<String> = forward.tokens().iter().enumerate().map(numbered).collect();
    let labelled = |step: Step| {
        let picture = forward.picture(chosen, step);
        let rows: Vec<&[f32]> = (0..picture.rows).map(|row| picture.row(row)).collect();
        let cols = if step.is_square() { json!(tokens) } else { json!((0..picture.cols).collect::<Vec<_>>()) };
        (step.word().to_owned(), json!({ "rows": tokens, "cols": cols, "values": rows }))
    };
    Value::Object(TAKEN.into_iter().map(labelled).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::lab::forward::tests::small;

    #[test]
    fn the_file_has_the_text_that_its_tokens_are_of() {
        let forward = small();
        let all = written(&forward, Head { layer: 0, head: 1 }, 1, None);
        assert_eq!((&all["text"], &all["tokens"]), (&json!("ab"), &json!(forward.tokens())));
        assert_eq!((&all["kv_head"], &all["row"], &all["inside"]), (&json!(0), &json!(1), &Value::Null));
    }

    #[test]
    fn a_heads_matrices_have_the_passes_numbers_under_their_tokens() {
        let forward = small();
        let chosen = Head { layer: 0, head: 1 };
        let all = matrices(&forward, chosen);
        assert_eq!(all.as_object().map(serde_json::Map::len), Some(TAKEN.len()));
        for step in TAKEN {
            let (found, picture) = (&all[step.word()], forward.picture(chosen, step));
            assert_eq!(found["values"], json!([picture.row(0), picture.row(1)]), "{step:?}");
            let sides = [&found["rows"], &found["cols"]].map(|side| side.as_array().map(Vec::len));
            assert_eq!(sides, [Some(picture.rows), Some(picture.cols)], "{step:?}");
        }
        assert_eq!(all["scores"]["rows"], all["scores"]["cols"]);
    }
}
