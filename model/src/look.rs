//! One forward pass read out as plain numbers, for people to look at: everything attention computed, of every head.
//!
//! It reads asynchronously, because a graphics device in a browser allows nothing else. It knows no protocol and no page.

pub mod ablate;
pub mod decode;
pub mod distance;
pub mod heads;
pub mod lens;
pub mod losses;
pub mod reading;
pub mod runs;
pub mod stack;
pub mod stream;
pub mod tree;

use burn::tensor::{Device, Int, Tensor, TensorData, Transaction};

use crate::trace::Trace;
use crate::transformer::{Forward, Transformer};

/// Layers `L`, query heads `H`, key/value heads `K`, tokens `T`, head size `E`, vocabulary `V`; rows last, f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// `[L, H, T, E]`, rotated
    pub queries: Vec<f32>,
    /// `[L, K, T, E]`, rotated
    pub keys: Vec<f32>,
    /// `[L, K, T, E]`
    pub values: Vec<f32>,
    /// `[L, H, T, T]`, scaled, before the mask
    pub scores: Vec<f32>,
    /// `[L, H, T, T]`
    pub weights: Vec<f32>,
    /// `[L, H, T, E]`: weights times values
    pub outputs: Vec<f32>,
    /// `[T, V]`
    pub logits: Vec<f32>,
}

/// The device failed, or gave numbers that are no f32.
#[derive(thiserror::Error, Debug, Clone, PartialEq, Eq)]
#[error("reading the forward pass failed: {0}")]
pub struct LookError(String);

impl LookError {
    pub(crate) fn new(error: &impl std::fmt::Debug) -> Self {
        Self(format!("{error:?}"))
    }
}

/// Runs `ids` through the model and reads everything.
///
/// # Errors
/// The device was lost or refused the work.
pub async fn look(model: &Transformer, ids: &[u32]) -> Result<Look, LookError> {
    let mut trace = Trace::default();
    let logits = model.forward(tokens(ids, &model.device()), Forward { trace: Some(&mut trace), ..Forward::default() });
    let mut reading = Transaction::default();
    for layer in trace.layers {
        reading = reading
            .register(layer.q)
            .register(layer.k)
            .register(layer.v)
            .register(layer.scores)
            .register(layer.weights)
            .register(layer.output);
    }
    let read = reading.register(logits).execute_async().await;
    let mut read = read.map_err(|error| LookError::new(&error))?;
    let logits = read.pop().map(numbers).transpose()?.unwrap_or_default();
    let mut parts: [Vec<f32>; 6] = Default::default();
    for (index, data) in read.into_iter().enumerate() {
        parts[index % 6].extend(numbers(data)?);
    }
    let [queries, keys, values, scores, weights, outputs] = parts;
    Ok(Look { queries, keys, values, scores, weights, outputs, logits })
}

/// Runs `ids` through the model and reads the last logits: the same work without the looking, for the stopwatch.
///
/// # Errors
/// As [`look`].
pub async fn last_logits(model: &Transformer, ids: &[u32]) -> Result<Vec<f32>, LookError> {
    let ctx = Forward { last_only: true, ..Forward::default() };
    let logits = model.forward(tokens(ids, &model.device()), ctx);
    let read = logits.into_data_async().await;
    numbers(read.map_err(|error| LookError::new(&error))?)
}

/// `[1, T]`
pub(crate) fn tokens(ids: &[u32], device: &Device) -> Tensor<2, Int> {
    rows(&[ids], device)
}

/// `[B, T]`, of texts that are equally long
fn rows(texts: &[impl AsRef<[u32]>], device: &Device) -> Tensor<2, Int> {
    let shape = [texts.len(), texts.first().map_or(0, |text| text.as_ref().len())];
    let ids: Vec<i32> = texts.iter().flat_map(|text| text.as_ref()).map(|&id| id as i32).collect();
    Tensor::from_data(TensorData::new(ids, shape), device)
}

pub(crate) fn numbers(data: TensorData) -> Result<Vec<f32>, LookError> {
    data.try_to_vec().map_err(|error| LookError::new(&error))
}

#[cfg(test)]
mod small {
    use super::Transformer;
    use crate::config::ModelConfig;
    use crate::device;

    /// Two query heads to a key head. Weights are drawn small: enlarged, so that a wrong number shows in the logits.
    pub(super) fn model() -> Transformer {
        let config = ModelConfig::llama(60, 32, 3, (4, 2), 64);
        let mut model = Transformer::new(&config, 5, &device::cpu());
        for (_, mut param) in model.params_mut() {
            if param.shape().len() == 2 {
                let values = param.to_vec().into_iter().map(|value| value * 15.0).collect();
                param.set(values);
            }
        }
        model
    }
}
