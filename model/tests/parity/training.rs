//! Training is what torch and PEFT make of the same numbers: optimizers and schedules alone, number formats alone, whole runs.

mod optimizers;
mod precision;
mod runs;

use hearth_model::checkpoint::Weights;

use super::Result;
use super::golden::{bundle, difference, golden};

/// Shape and numbers of a reference's tensor.
fn tensor(file: &Weights<'_>, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
    let weight = file.get(name).ok_or_else(|| format!("no tensor {name}"))?;
    Ok((weight.shape.clone(), weight.to_f32()))
}
