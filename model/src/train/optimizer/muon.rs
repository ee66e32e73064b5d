//! Muon (Jordan 2024): momentum, made orthogonal by Newton and Schulz's iteration, for the matrices of the blocks; everything else
//! goes by AdamW. Steps are scaled to the size of AdamW's (Liu 2025), so that one learning rate serves both.
//!
//! The iteration runs in f32; torch's runs in bf16.

use burn::tensor::{Tensor, TensorData};

use super::adamw::AdamW;
use super::{Slots, Update};
use crate::device;
use crate::projection::floats;

/// The quintic's coefficients, chosen for steepness at 0.
const QUINTIC: [f32; 3] = [3.4445, -4.7750, 2.0315];
const ITERATIONS: usize = 5;
const EPSILON: f64 = 1e-7;
/// Root mean square of AdamW's updates.
const ADAMW_RMS: f64 = 0.2;

/// The numbers that stay the same over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Muon {
    pub momentum: f64,
    /// For what is no matrix of a block, and the decay of all.
    pub adamw: AdamW,
}

impl Muon {
    /// Whether a parameter is a matrix of a block. Embeddings, positions and the head are lists of vectors, not maps.
    pub(super) fn takes(path: &str, shape: &[usize]) -> bool {
        shape.len() == 2 && path.starts_with("layers.")
    }

    pub(super) fn apply(&self, update: Update<'_>, slots: &mut Slots, lr: f64, step: u64) {
        if !Self::takes(update.path, update.shape) {
            return self.adamw.apply(update, slots, lr, step);
        }
        let (momentum, rest) = (self.momentum as f32, (1.0 - self.momentum) as f32);
        let mut nesterov = Vec::with_capacity(update.gradient.len());
        for (gradient, buffer) in update.gradient.iter().zip(&mut slots.first) {
            let gradient = gradient * update.gradient_scale;
            *buffer = momentum * *buffer + rest * gradient;
            nesterov.push(rest * gradient + momentum * *buffer);
        }
        let [rows, columns] = [update.shape[0], update.shape[1]];
        let moved = orthogonal(nesterov, [rows, columns]);
        let scale = (lr * ADAMW_RMS * (rows.max(columns) as f64).sqrt()) as f32;
        let keep = update.keep(lr, self.adamw.weight_decay);
        for (value, moved) in update.values.iter_mut().zip(moved) {
            *value = *value * keep - scale * moved;
        }
    }
}

/// A matrix with the same singular vectors and all singular values near 1.
fn orthogonal(values: Vec<f32>, [rows, columns]: [usize; 2]) -> Vec<f32> {
    let norm = super::sum_of_squares(&values).sqrt().max(EPSILON) as f32;
    let x = Tensor::<2>::from_data(TensorData::new(values, [rows, columns]), &device::cpu()) / norm;
    // The smaller side's products are the cheaper ones.
    let tall = rows > columns;
    let mut x = if tall { x.transpose() } else { x };
    let [a, b, c] = QUINTIC;
    for _ in 0..ITERATIONS {
        let gram = x.clone().matmul(x.clone().transpose());
        let update = gram.clone() * b + gram.clone().matmul(gram) * c;
        x = x.clone() * a + update.matmul(x);
    }
    let x = if tall { x.transpose() } else { x };
    floats(x.into_data())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn singular_values_come_near_one() {
        for shape in [[6, 20], [20, 6]] {
            let x = orthogonal(crate::init::normal("x", 120, 3.0, 1), shape);
            let x = Tensor::<2>::from_data(TensorData::new(x, shape), &device::cpu());
            let x = if shape[0] > shape[1] { x.transpose() } else { x };
            let gram = floats(x.clone().matmul(x.transpose()).into_data());
            for (i, value) in gram.iter().enumerate() {
                let (row, column) = (i / 6, i % 6);
                // 0.5 to 1.5, squared, on the diagonal.
                let fine = if row == column { (0.25..2.25).contains(value) } else { value.abs() < 0.6 };
                assert!(fine, "{row} {column}: {value}");
            }
        }
    }
}
