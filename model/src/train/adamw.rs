//! AdamW (Loshchilov & Hutter 2019): decoupled decay, bias correction. State is keyed by parameter path, because burn's
//! parameter ids are new in every process. Plain loops over host memory, in a fixed order: the same bits every time.

use std::collections::BTreeMap;

/// The numbers that stay the same over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// Applied to matrices only: norms and biases keep their size.
    pub weight_decay: f64,
}

/// Both moments of one parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    pub first: Vec<f32>,
    pub second: Vec<f32>,
}

/// Moments by parameter path.
pub type State = BTreeMap<String, Moments>;

/// One parameter's share of a step.
#[derive(Debug)]
pub struct Update<'a> {
    pub values: &'a mut [f32],
    pub gradient: &'a [f32],
    /// What clipping multiplies the gradient by.
    pub gradient_scale: f32,
    pub is_matrix: bool,
}

impl AdamW {
    /// Moves `values` by one step. `step` counts from 1.
    ///
    /// # Panics
    /// Lengths differ.
    pub fn apply(&self, update: Update<'_>, moments: &mut Moments, lr: f64, step: u64) {
        let n = update.values.len();
        assert_eq!(n, update.gradient.len(), "a gradient has its parameter's length");
        moments.first.resize(n, 0.0);
        moments.second.resize(n, 0.0);
        let exponent = step.min(i32::MAX as u64) as i32;
        let (beta1, beta2) = (self.beta1 as f32, self.beta2 as f32);
        let (rest1, rest2) = ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32);
        let step_size = (lr / (1.0 - self.beta1.powi(exponent))) as f32;
        let second_scale = (1.0 / (1.0 - self.beta2.powi(exponent)).sqrt()) as f32;
        let epsilon = self.epsilon as f32;
        let keep = if update.is_matrix { (1.0 - lr * self.weight_decay) as f32 } else { 1.0 };
        let scale = update.gradient_scale;
        let values = update.values.iter_mut().zip(update.gradient);
        let moments = moments.first.iter_mut().zip(&mut moments.second);
        for ((value, gradient), (first, second)) in values.zip(moments) {
            let gradient = gradient * scale;
            *first = beta1 * *first + rest1 * gradient;
            *second = beta2 * *second + rest2 * gradient * gradient;
            let denominator = second.sqrt() * second_scale + epsilon;
            *value = *value * keep - step_size * *first / denominator;
        }
    }
}

/// `√(Σ g²)` over all gradients, summed in the order given. Eight lanes in f64: fixed order, and fast.
pub fn global_norm<'a>(gradients: impl Iterator<Item = &'a [f32]>) -> f64 {
    let mut total = 0.0;
    for gradient in gradients {
        let mut lanes = [0.0f64; 8];
        let chunks = gradient.chunks_exact(8);
        let tail: f64 = chunks.remainder().iter().map(|g| f64::from(*g).powi(2)).sum();
        for chunk in chunks {
            for (lane, g) in lanes.iter_mut().zip(chunk) {
                *lane += f64::from(*g) * f64::from(*g);
            }
        }
        total += lanes.iter().sum::<f64>() + tail;
    }
    total.sqrt()
}

/// What gradients are multiplied by so that their global norm is at most `max_norm`; 0 is no limit.
pub fn clip_scale(norm: f64, max_norm: f64) -> f32 {
    if max_norm > 0.0 && norm > max_norm { (max_norm / (norm + 1e-6)) as f32 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// torch.optim.AdamW, two steps by hand in f64.
    #[test]
    fn equals_the_paper() {
        let adam = AdamW { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.1 };
        let mut values = vec![1.0f32, -2.0];
        let mut moments = Moments::default();
        let gradients = [[0.5f32, -0.25], [-1.0, 0.75]];
        let (mut expected, mut m, mut v) = ([1.0f64, -2.0], [0.0f64; 2], [0.0f64; 2]);
        for (t, gradient) in gradients.iter().enumerate() {
            let update = Update { values: &mut values, gradient, gradient_scale: 1.0, is_matrix: true };
            adam.apply(update, &mut moments, 0.01, t as u64 + 1);
            for i in 0..2 {
                let g = f64::from(gradient[i]);
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.99 * v[i] + 0.01 * g * g;
                let corrected_m = m[i] / (1.0 - 0.9f64.powi(t as i32 + 1));
                let corrected_v = v[i] / (1.0 - 0.99f64.powi(t as i32 + 1));
                expected[i] -= 0.01 * (0.1 * expected[i] + corrected_m / (corrected_v.sqrt() + 1e-8));
            }
        }
        for i in 0..2 {
            assert!((f64::from(values[i]) - expected[i]).abs() < 1e-6, "{values:?} {expected:?}");
        }
    }

    #[test]
    fn clipping_is_global() {
        let (a, b) = (vec![3.0f32; 9], vec![4.0f32; 9]);
        let norm = global_norm([a.as_slice(), b.as_slice()].into_iter());
        assert!((norm - 15.0).abs() < 1e-9);
        assert!((f64::from(clip_scale(norm, 1.0)) - 1.0 / 15.0).abs() < 1e-6);
        assert_eq!((clip_scale(norm, 0.0), clip_scale(0.5, 1.0)), (1.0, 1.0));
    }
}
