//! What a model loses on a text, token by token, read asynchronously: the number that every slider of a lab moves.

use burn::tensor::{Int, Tensor, TensorData, activation, s};

use super::{LookError, numbers, tokens};
use crate::tokenizer::{Special, Tokenizer};
use crate::transformer::{Forward, Transformer};

/// Positions whose logits are in memory at once: a large vocabulary would else need more than a tab has.
pub(super) const POSITIONS: usize = 128;

/// Loss of every token but the first of a window, in nats.
///
/// # Errors
/// The device was lost or refused the work.
pub async fn losses(model: &Transformer, window: &[u32]) -> Result<Vec<f32>, LookError> {
    let Some(read) = window.len().checked_sub(1).filter(|read| *read > 0) else {
        return Ok(Vec::new());
    };
    let device = model.device();
    let hidden = model.hidden(tokens(&window[..read], &device), Forward::default()); // [1, T, D]
    let mut out = Vec::with_capacity(read);
    for start in (0..read).step_by(POSITIONS) {
        let end = read.min(start + POSITIONS);
        let targets: Vec<i32> = window[start + 1..=end].iter().map(|&id| id as i32).collect();
        let shape = [1, end - start, 1];
        let targets = Tensor::<3, Int>::from_data(TensorData::new(targets, shape), &device);
        let logits = model.logits(hidden.clone().slice(s![.., start..end, ..])); // [1, P, V]
        let picked = activation::log_softmax(logits, 2).gather(2, targets).neg();
        let read = picked.into_data_async().await;
        out.extend(numbers(read.map_err(|error| LookError::new(&error))?)?);
    }
    Ok(out)
}

/// The first `length + 1` tokens of each text that has so many, until there are `count` windows. The texts take turns by the order
/// they are given in, so that whoever mixes languages measures them alike.
pub fn windows(tokenizer: &Tokenizer, texts: &[String], count: usize, length: usize) -> Vec<Vec<u32>> {
    let whole = texts.iter().map(|text| tokenizer.encode(text, Special::Plain)).filter(|ids| ids.len() > length);
    whole.take(count).map(|ids| ids[..=length].to_vec()).collect()
}
