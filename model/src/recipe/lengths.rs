//! Loss by position in windows of several lengths: what a model makes of positions that its training never reached.
//!
//! At every length the same tokens are predicted, only from less or more of what stands before them, so that the means of two
//! lengths, and those of two models, can be compared.

use serde::{Deserialize, Serialize};

use super::corpus::Document;
use hearth_shared::spec::TrainSpec;

use crate::tokenizer::{Special, Tokenizer};
use crate::train::Batches;
use crate::train::data::{Sequence, windows};
use crate::train::run::sequence_losses;
use crate::transformer::{Forward, Transformer};

/// Stretches of positions that get a mean of their own.
pub const STRETCHES: usize = 16;
/// Windows of the longest length that are cut out of the held-out texts.
const WINDOWS: usize = 16;
/// Positions of one forward pass.
const PASS: u32 = 4096;

/// Losses in windows of one length, nats a token.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct LengthLoss {
    /// Tokens that a window predicts; the last of them is predicted from so many.
    pub length: usize,
    pub mean: f64,
    /// Mean of the positions behind three quarters of the window.
    pub last_quarter: f64,
    /// Means of [`STRETCHES`] equal stretches of positions, from the first position on.
    pub stretches: Vec<f64>,
}

/// The loss at every length, on windows of the longest that are cut into shorter ones. A window lies within one document.
///
/// # Panics
/// A length is no multiple of the stretches, or does not divide the longest.
pub fn measure(
    model: &Transformer,
    tokenizer: &Tokenizer,
    documents: &[Document],
    lengths: &[usize],
) -> Vec<LengthLoss> {
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let fits = |length: &usize| length.is_multiple_of(STRETCHES) && longest.is_multiple_of(*length);
    assert!(lengths.iter().all(fits), "{lengths:?}: each divides the longest, and is divided by {STRETCHES}");
    let chosen = spread(tokenizer, documents, longest);
    lengths.iter().map(|length| at_length(model, &chosen, *length)).collect()
}

/// Some of all whole windows that the documents hold, at even distances, so that every kind of text is among them.
fn spread(tokenizer: &Tokenizer, documents: &[Document], length: usize) -> Vec<Vec<u32>> {
    if length == 0 {
        return Vec::new();
    }
    let texts = documents.iter().map(|document| tokenizer.encode(&document.text, Special::Plain));
    let cut = texts.flat_map(|text| windows(&[text], None, length));
    let whole: Vec<Vec<u32>> = cut.map(|window| window.ids).filter(|ids| ids.len() == length + 1).collect();
    (0..WINDOWS.min(whole.len())).map(|i| whole[i * whole.len() / WINDOWS.min(whole.len())].clone()).collect()
}

fn at_length(model: &Transformer, chosen: &[Vec<u32>], length: usize) -> LengthLoss {
    let pieces: Vec<Sequence> =
        chosen.iter().flat_map(|ids| windows(std::slice::from_ref(ids), None, length)).collect();
    let spec = TrainSpec { micro_batch_tokens: PASS, ..TrainSpec::default() };
    let per_stretch = (pieces.len() * length / STRETCHES) as f64;
    let mut passes = Batches::in_order(pieces, &spec).all();
    for pass in &mut passes {
        // All rows are equally long, so a flat position tells the place in its row.
        pass.owners = pass.positions.iter().map(|at| (*at as usize % length * STRETCHES / length) as u32).collect();
    }
    let mut stretches = sequence_losses(model, &passes, |_| Forward::default());
    stretches.iter_mut().for_each(|loss| *loss /= per_stretch);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let last_quarter = mean(&stretches[stretches.len() - stretches.len() / 4..]);
    LengthLoss { length, mean: mean(&stretches), last_quarter, stretches }
}
