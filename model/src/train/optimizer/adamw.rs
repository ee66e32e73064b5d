//! AdamW (Loshchilov & Hutter 2019): decoupled decay, bias correction. Slots: both moments.

use super::{Slots, Update};
use crate::kernels;
use crate::train::threads;

/// The numbers that stay the same over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub weight_decay: f64,
}

/// A step's numbers, for every weight of a parameter the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scales {
    pub beta1: f32,
    pub beta2: f32,
    pub rest1: f32,
    pub rest2: f32,
    pub step: f32,
    /// Of the second moment's root.
    pub second: f32,
    pub epsilon: f32,
    pub keep: f32,
    pub gradient: f32,
}

impl AdamW {
    /// `keep` is what decay leaves of the weights, `gradient` what clipping leaves of the gradient.
    pub(super) fn scales(&self, [keep, gradient]: [f32; 2], lr: f64, step: u64) -> Scales {
        let exponent = step.min(i32::MAX as u64) as i32;
        Scales {
            beta1: self.beta1 as f32,
            beta2: self.beta2 as f32,
            rest1: (1.0 - self.beta1) as f32,
            rest2: (1.0 - self.beta2) as f32,
            step: (lr / (1.0 - self.beta1.powi(exponent))) as f32,
            second: (1.0 / (1.0 - self.beta2.powi(exponent)).sqrt()) as f32,
            epsilon: self.epsilon as f32,
            keep,
            gradient,
        }
    }

    pub(super) fn apply(&self, update: Update<'_>, slots: &mut Slots, lr: f64, step: u64) {
        let keep = update.keep(lr, self.weight_decay);
        let Scales { beta1, beta2, rest1, rest2, step, second: second_scale, epsilon, keep, gradient: scale } =
            self.scales([keep, update.gradient_scale], lr, step);
        each(update.values, update.gradient, slots, |values, gradient, first, second| {
            let moments = first.iter_mut().zip(second);
            for ((value, gradient), (first, second)) in values.iter_mut().zip(gradient).zip(moments) {
                let gradient = gradient * scale;
                *first = beta1 * *first + rest1 * gradient;
                *second = beta2 * *second + rest2 * gradient * gradient;
                let denominator = second.sqrt() * second_scale + epsilon;
                *value = *value * keep - step * *first / denominator;
            }
        });
    }
}

/// Numbers that one thread moves at a time.
const PART: usize = 1 << 14;

/// Calls `f` with every part of a parameter, its gradient and its moments, on all threads. Each number is moved by itself, so threads
/// don't change the bits.
fn each(
    values: &mut [f32],
    gradient: &[f32],
    slots: &mut Slots,
    f: impl Fn(&mut [f32], &[f32], &mut [f32], &mut [f32]) + Sync,
) {
    let moments = slots.first.chunks_mut(PART).zip(slots.second.chunks_mut(PART));
    let mut parts: Vec<_> = values.chunks_mut(PART).zip(gradient.chunks(PART)).zip(moments).collect();
    threads::each(&mut parts, |((values, gradient), (first, second))| {
        kernels::wide(
            #[inline(always)]
            || f(values, gradient, first, second),
        );
    });
}
