//! Cross entropy of the head's logits, without ever holding them all: `[N, V]` is made a chunk at a time, turned into its own
//! gradient in place and used up, so that a vocabulary of 49,152 costs no more memory than one of 4,096.
//!
//! The gradients enter burn's tape as constants: the scalar `Σ h · ∂L/∂h + Σ W · ∂L/∂W` has exactly the loss's gradients.

use burn::tensor::{Int, Tensor, TensorData};

use super::batches::MicroBatch;
use crate::projection::floats;
use crate::transformer::Transformer;

mod rows;

/// Floats of logits that exist at once.
const CHUNK_FLOATS: usize = 1 << 23;

/// What is added to the cross entropy in the gradients. What is reported stays the plain cross entropy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Objective {
    /// Share of each target that is spread over the whole vocabulary (Szegedy 2016).
    pub label_smoothing: f64,
    /// Weight of the squared logarithm of the softmax's denominator, which keeps logits from drifting (Chowdhery 2022).
    pub z_loss: f64,
}

/// Sums over the counted positions of one pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Nats.
    pub loss: f64,
    pub correct: u64,
    pub count: u64,
}

impl Sums {
    pub fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.count += other.count;
    }
}

/// The loss of a pass, and the scalar to call `backward` on (none when nothing on the way is trained or counted).
///
/// `hidden` is `[B, T, D]`; each position's loss is multiplied by `scale` in the gradients, not in the sums.
pub fn cross_entropy(
    model: &Transformer,
    hidden: Tensor<3>,
    batch: &MicroBatch,
    objective: Objective,
    scale: f32,
) -> (Sums, Option<Tensor<1>>) {
    let count = batch.positions.len();
    if count == 0 {
        return (Sums::default(), None);
    }
    let [rows, time, width] = hidden.dims();
    let flat = hidden.reshape([rows * time, width]);
    let chosen = if count == rows * time {
        flat
    } else {
        let device = flat.device();
        let index = TensorData::new(batch.positions.clone(), [count]);
        flat.select(0, Tensor::<1, Int>::from_data(index, &device))
    };
    let head = Head {
        weight: model.head_weight(),
        bias: model.head_bias(),
        softcap: model.config().logit_softcap.map(|cap| cap as f32),
    };
    let wanted = Wanted {
        hidden: chosen.is_tracked(),
        weight: head.weight.is_tracked(),
        bias: head.bias.as_ref().is_some_and(Tensor::is_tracked),
    };
    let (sums, gradients) = chunks(chosen.clone().inner(), &head.inner(), &batch.targets, (objective, scale), wanted);
    let hidden_term = gradients.hidden.map(|gradient| (chosen * Tensor::from_inner(gradient)).sum());
    let weight_term = gradients.weight.map(|gradient| (head.weight * Tensor::from_inner(gradient)).sum());
    let bias_term = head.bias.zip(gradients.bias).map(|(bias, gradient)| (bias * Tensor::from_inner(gradient)).sum());
    let surrogate = [hidden_term, weight_term, bias_term].into_iter().flatten().reduce(|a, b| a + b);
    (sums, surrogate)
}

/// The sums alone, of a model without a tape.
pub fn evaluate(model: &Transformer, hidden: Tensor<3>, batch: &MicroBatch) -> Sums {
    cross_entropy(model, hidden, batch, Objective::default(), 1.0).0
}

/// What turns hidden states into logits.
struct Head {
    /// `[V, D]`
    weight: Tensor<2>,
    /// `[V]`
    bias: Option<Tensor<1>>,
    softcap: Option<f32>,
}

impl Head {
    fn inner(&self) -> Self {
        let bias = self.bias.clone().map(Tensor::inner);
        Self { weight: self.weight.clone().inner(), bias, softcap: self.softcap }
    }

    /// `[n, D]` → `[n, V]` logits, and their derivative by what the matrix product gave where that isn't 1.
    fn logits(&self, hidden: Tensor<2>) -> (Tensor<2>, Option<Tensor<2>>) {
        let mut logits = hidden.matmul(self.weight.clone().transpose());
        if let Some(bias) = &self.bias {
            logits = logits + bias.clone().unsqueeze_dim::<2>(0);
        }
        match self.softcap {
            None => (logits, None),
            Some(cap) => {
                let bent = (logits / cap).tanh();
                (bent.clone() * cap, Some(bent.square().neg() + 1.0))
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Wanted {
    hidden: bool,
    weight: bool,
    bias: bool,
}

#[derive(Default)]
struct Gradients {
    /// `[N, D]`
    hidden: Option<Tensor<2>>,
    /// `[V, D]`
    weight: Option<Tensor<2>>,
    /// `[V]`
    bias: Option<Tensor<1>>,
}

fn chunks(
    hidden: Tensor<2>,
    head: &Head,
    targets: &[i32],
    (objective, scale): (Objective, f32),
    wanted: Wanted,
) -> (Sums, Gradients) {
    let [count, _] = hidden.dims();
    let [vocab, _] = head.weight.dims();
    let device = hidden.device();
    let per_chunk = (CHUNK_FLOATS / vocab).clamp(1, count);
    let mut sums = Sums::default();
    let mut hidden_parts = Vec::new();
    let mut gradients = Gradients::default();
    for start in (0..count).step_by(per_chunk) {
        let n = per_chunk.min(count - start);
        let part = hidden.clone().narrow(0, start, n); // [n, D]
        let (logits, slope) = head.logits(part.clone()); // [n, V]
        let mut values = floats(logits.into_data());
        let targets = &targets[start..start + n];
        sums.add(rows::to_gradients(&mut values, targets, objective, scale));
        if !wanted.hidden && !wanted.weight && !wanted.bias {
            continue;
        }
        let mut gradient = Tensor::<2>::from_data(TensorData::new(values, [n, vocab]), &device);
        if let Some(slope) = slope {
            gradient = gradient * slope;
        }
        if wanted.hidden {
            hidden_parts.push(gradient.clone().matmul(head.weight.clone()));
        }
        if wanted.bias {
            let term = gradient.clone().sum_dim(0).reshape([vocab]);
            gradients.bias = Some(added(gradients.bias.take(), term));
        }
        if wanted.weight {
            let term = gradient.transpose().matmul(part); // [V, D]
            gradients.weight = Some(added(gradients.weight.take(), term));
        }
    }
    gradients.hidden = match hidden_parts.len() {
        0 => None,
        1 => hidden_parts.pop(),
        _ => Some(Tensor::cat(hidden_parts, 0)),
    };
    (sums, gradients)
}

fn added<const N: usize>(sum: Option<Tensor<N>>, term: Tensor<N>) -> Tensor<N> {
    match sum {
        Some(sum) => sum + term,
        None => term,
    }
}
