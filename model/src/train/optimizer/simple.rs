//! The optimizers with one slot: Lion and stochastic gradient descent.

use super::{Slots, Update};

/// Lion (Chen 2023, algorithm 2): only the sign of the update counts. Slot: momentum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lion {
    /// Weighs momentum in the update …
    pub beta1: f64,
    /// … and in what is remembered.
    pub beta2: f64,
    pub weight_decay: f64,
}

impl Lion {
    pub(super) fn apply(&self, update: Update<'_>, slots: &mut Slots, lr: f64) {
        let (beta1, beta2) = (self.beta1 as f32, self.beta2 as f32);
        let (rest1, rest2) = ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32);
        let (keep, scale, lr) = (update.keep(lr, self.weight_decay), update.gradient_scale, lr as f32);
        for ((value, gradient), momentum) in update.values.iter_mut().zip(update.gradient).zip(&mut slots.first) {
            let gradient = gradient * scale;
            let direction = beta1 * *momentum + rest1 * gradient;
            // `signum` of 0 is 1; what has no gradient must not move.
            let sign = if direction == 0.0 { 0.0 } else { direction.signum() };
            *value = *value * keep - lr * sign;
            *momentum = beta2 * *momentum + rest2 * gradient;
        }
    }
}

/// Stochastic gradient descent with Nesterov momentum (Sutskever 2013, as torch writes it); decay is added to the gradient.
/// Slot: momentum, where there is any.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    pub momentum: f64,
    pub weight_decay: f64,
}

impl Sgd {
    pub(super) fn apply(&self, update: Update<'_>, slots: &mut Slots, lr: f64, step: u64) {
        let decay = if update.is_matrix() { self.weight_decay as f32 } else { 0.0 };
        let (momentum, scale, lr) = (self.momentum as f32, update.gradient_scale, lr as f32);
        let values = update.values.iter_mut().zip(update.gradient);
        if slots.first.is_empty() {
            for (value, gradient) in values {
                *value -= lr * (gradient * scale + decay * *value);
            }
            return;
        }
        for ((value, gradient), buffer) in values.zip(&mut slots.first) {
            let gradient = gradient * scale + decay * *value;
            *buffer = if step == 1 { gradient } else { momentum * *buffer + gradient };
            *value -= lr * (gradient + momentum * *buffer);
        }
    }
}
