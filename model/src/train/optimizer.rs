//! How a gradient moves a weight: AdamW, Muon, Lion, Adafactor, SGD, behind one door. State is keyed by parameter path, because
//! burn's parameter ids are new in every process. Plain loops over host memory, in a fixed order: the same bits every time.
//!
//! Norms and biases never decay, whatever the optimizer.

mod adafactor;
mod adamw;
mod muon;
mod simple;
mod there;

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use hearth_shared::spec::{OptimizerKind, TrainSpec};

use adafactor::Adafactor;
use adamw::AdamW;
use muon::Muon;
use simple::{Lion, Sgd};
pub use there::Moments;

use super::threads;
use crate::projection::ParamMut;

/// What an optimizer remembers of one parameter: two lists of numbers, whose meaning is its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slots {
    pub first: Vec<f32>,
    pub second: Vec<f32>,
}

/// Slots by parameter path.
pub type State = BTreeMap<String, Slots>;

/// One parameter's share of a step.
#[derive(Debug)]
pub struct Update<'a> {
    pub path: &'a str,
    pub shape: &'a [usize],
    pub values: &'a mut [f32],
    pub gradient: &'a [f32],
    /// What clipping multiplies the gradient by.
    pub gradient_scale: f32,
}

impl Update<'_> {
    fn is_matrix(&self) -> bool {
        self.shape.len() > 1
    }

    fn keep(&self, lr: f64, weight_decay: f64) -> f32 {
        keep(self.shape, lr, weight_decay)
    }
}

/// What decoupled decay multiplies a parameter's weights by.
fn keep(shape: &[usize], lr: f64, weight_decay: f64) -> f32 {
    if shape.len() > 1 { (1.0 - lr * weight_decay) as f32 } else { 1.0 }
}

/// The rule of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Optimizer {
    AdamW(AdamW),
    Muon(Muon),
    Lion(Lion),
    Adafactor(Adafactor),
    Sgd(Sgd),
}

impl Optimizer {
    pub fn new(spec: &TrainSpec) -> Self {
        let adamw =
            AdamW { beta1: spec.beta1, beta2: spec.beta2, epsilon: spec.epsilon, weight_decay: spec.weight_decay };
        match spec.optimizer {
            OptimizerKind::Adamw => Self::AdamW(adamw),
            OptimizerKind::Muon => Self::Muon(Muon { momentum: spec.momentum, adamw }),
            OptimizerKind::Lion => {
                Self::Lion(Lion { beta1: spec.beta1, beta2: spec.beta2, weight_decay: spec.weight_decay })
            }
            OptimizerKind::Adafactor => Self::Adafactor(Adafactor { weight_decay: spec.weight_decay }),
            OptimizerKind::Sgd => Self::Sgd(Sgd { momentum: spec.momentum, weight_decay: spec.weight_decay }),
        }
    }

    /// Moves the update's values by one step. `step` counts from 1.
    ///
    /// # Panics
    /// Lengths differ.
    pub fn apply(&self, update: Update<'_>, slots: &mut Slots, lr: f64, step: u64) {
        let count = update.shape.iter().product::<usize>();
        assert_eq!([update.values.len(), update.gradient.len()], [count; 2], "as many numbers as the shape has");
        let [first, second] = self.slots(update.path, update.shape);
        slots.first.resize(first, 0.0);
        slots.second.resize(second, 0.0);
        match self {
            Self::AdamW(rule) => rule.apply(update, slots, lr, step),
            Self::Muon(rule) => rule.apply(update, slots, lr, step),
            Self::Lion(rule) => rule.apply(update, slots, lr),
            Self::Adafactor(rule) => rule.apply(update, slots, lr, step),
            Self::Sgd(rule) => rule.apply(update, slots, lr, step),
        }
    }

    /// Moves a parameter by one step where it is. False: this rule is for numbers here only.
    pub(super) fn apply_there(
        &self,
        moments: &mut Moments,
        (path, param): (&str, &mut ParamMut<'_>),
        (gradient, gradient_scale): (&Tensor<1>, f32),
        slots: &mut State,
        (lr, step): (f64, u64),
    ) -> bool {
        let Self::AdamW(rule) = self else {
            return false;
        };
        let scales = rule.scales([keep(&param.shape(), lr, rule.weight_decay), gradient_scale], lr, step);
        moments.apply((path, param), gradient.clone(), slots.remove(path), scales);
        true
    }

    /// Lengths of both slots of a parameter.
    pub fn slots(&self, path: &str, shape: &[usize]) -> [usize; 2] {
        let count = shape.iter().product();
        match self {
            Self::AdamW(_) => [count, count],
            Self::Muon(_) if Muon::takes(path, shape) => [count, 0],
            Self::Muon(_) => [count, count],
            Self::Lion(_) => [count, 0],
            Self::Sgd(rule) => [if rule.momentum > 0.0 { count } else { 0 }, 0],
            Self::Adafactor(_) => match shape {
                [rows, columns] => [*rows, *columns],
                _ => [count, 0],
            },
        }
    }
}

/// `√(Σ g²)` over all gradients, summed in the order given. Eight lanes in f64: fixed order, and fast.
pub fn global_norm(gradients: &[Vec<f32>]) -> f64 {
    let mut squares: Vec<(&[f32], f64)> = gradients.iter().map(|gradient| (gradient.as_slice(), 0.0)).collect();
    threads::each(&mut squares, |(gradient, square)| *square = sum_of_squares(gradient));
    squares.into_iter().map(|(_, square)| square).sum::<f64>().sqrt()
}

fn sum_of_squares(values: &[f32]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let chunks = values.chunks_exact(8);
    let tail: f64 = chunks.remainder().iter().map(|g| f64::from(*g).powi(2)).sum();
    for chunk in chunks {
        for (lane, g) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(*g) * f64::from(*g);
        }
    }
    lanes.iter().sum::<f64>() + tail
}

/// What gradients are multiplied by so that their global norm is at most `max_norm`; 0 is no limit.
pub fn clip_scale(norm: f64, max_norm: f64) -> f32 {
    if max_norm > 0.0 && norm > max_norm { (max_norm / (norm + 1e-6)) as f32 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_is_global() {
        let norm = global_norm(&[vec![3.0f32; 9], vec![4.0f32; 9]]);
        assert!((norm - 15.0).abs() < 1e-9);
        assert!((f64::from(clip_scale(norm, 1.0)) - 1.0 / 15.0).abs() < 1e-6);
        assert_eq!((clip_scale(norm, 0.0), clip_scale(0.5, 1.0)), (1.0, 1.0));
    }
}
