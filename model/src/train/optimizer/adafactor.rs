//! Adafactor (Shazeer & Stern 2018): the second moment of a matrix as the product of a row and a column, and steps relative to the
//! size of the weights. Slots: row and column; of a vector the whole second moment.

use super::{Slots, Update, sum_of_squares};

/// `β₂` at step t is `1 - t^-0.8`.
const DECAY: f64 = -0.8;
/// The smallest second moment's root.
const EPSILON_1: f64 = f32::EPSILON as f64;
/// The smallest size of weights that a step is relative to.
const EPSILON_2: f64 = 1e-3;
/// The largest root mean square of an update.
const CLIP: f64 = 1.0;

/// The one number that a person chooses; the rest is the paper's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adafactor {
    pub weight_decay: f64,
}

impl Adafactor {
    pub(super) fn apply(&self, update: Update<'_>, slots: &mut Slots, lr: f64, step: u64) {
        let t = step as f64;
        let fresh = t.powf(DECAY);
        let size = rms(update.values);
        let step_size = size.max(EPSILON_2) * lr.min(1.0 / t.sqrt());
        let keep = update.keep(lr, self.weight_decay);
        let gradient: Vec<f32> = update.gradient.iter().map(|g| g * update.gradient_scale).collect();
        let moved = match *update.shape {
            [rows, columns] => factored(&gradient, [rows, columns], slots, fresh),
            _ => whole(&gradient, &mut slots.first, fresh),
        };
        let scale = (step_size / (rms(&moved) / CLIP).max(1.0)) as f32;
        for (value, moved) in update.values.iter_mut().zip(moved) {
            *value = *value * keep - scale * moved;
        }
    }
}

fn rms(values: &[f32]) -> f64 {
    (sum_of_squares(values) / values.len().max(1) as f64).sqrt()
}

fn towards(old: &mut f32, new: f64, share: f64) {
    *old = (f64::from(*old) + (new - f64::from(*old)) * share) as f32;
}

fn factored(gradient: &[f32], [rows, columns]: [usize; 2], slots: &mut Slots, fresh: f64) -> Vec<f32> {
    let mut by_column = vec![0.0f64; columns];
    for (row, slot) in gradient.chunks_exact(columns).zip(&mut slots.first) {
        towards(slot, sum_of_squares(row) / columns as f64, fresh);
        for (sum, g) in by_column.iter_mut().zip(row) {
            *sum += f64::from(*g) * f64::from(*g);
        }
    }
    for (sum, slot) in by_column.iter().zip(&mut slots.second) {
        towards(slot, sum / rows as f64, fresh);
    }
    let mean = slots.first.iter().map(|v| f64::from(*v)).sum::<f64>() / rows as f64;
    let mean = mean.max(EPSILON_1);
    let mut out = Vec::with_capacity(gradient.len());
    for (row, row_variance) in gradient.chunks_exact(columns).zip(&slots.first) {
        for (g, column_variance) in row.iter().zip(&slots.second) {
            let variance = f64::from(*row_variance) * f64::from(*column_variance) / mean;
            out.push((f64::from(*g) / variance.max(EPSILON_1 * EPSILON_1).sqrt()) as f32);
        }
    }
    out
}

fn whole(gradient: &[f32], variance: &mut [f32], fresh: f64) -> Vec<f32> {
    let one = |(g, variance): (&f32, &mut f32)| {
        let g = f64::from(*g);
        towards(variance, g * g, fresh);
        (g / f64::from(*variance).max(EPSILON_1 * EPSILON_1).sqrt()) as f32
    };
    gradient.iter().zip(variance).map(one).collect()
}
