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
    let weight = model.head_weight(); // [V, D]
    let wanted = Wanted { hidden: chosen.is_tracked(), weight: weight.is_tracked() };
    let (sums, gradients) = chunks(chosen.clone().inner(), weight.clone().inner(), &batch.targets, scale, wanted);
    let hidden_term = gradients.hidden.map(|gradient| (chosen * Tensor::from_inner(gradient)).sum());
    let weight_term = gradients.weight.map(|gradient| (weight * Tensor::from_inner(gradient)).sum());
    let surrogate = match (hidden_term, weight_term) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    };
    (sums, surrogate)
}

/// The sums alone, of a model without a tape.
pub fn evaluate(model: &Transformer, hidden: Tensor<3>, batch: &MicroBatch) -> Sums {
    cross_entropy(model, hidden, batch, 1.0).0
}

#[derive(Clone, Copy)]
struct Wanted {
    hidden: bool,
    weight: bool,
}

#[derive(Default)]
struct Gradients {
    /// `[N, D]`
    hidden: Option<Tensor<2>>,
    /// `[V, D]`
    weight: Option<Tensor<2>>,
}

fn chunks(hidden: Tensor<2>, weight: Tensor<2>, targets: &[i32], scale: f32, wanted: Wanted) -> (Sums, Gradients) {
    let [count, _] = hidden.dims();
    let [vocab, _] = weight.dims();
    let device = hidden.device();
    let per_chunk = (CHUNK_FLOATS / vocab).clamp(1, count);
    let mut sums = Sums::default();
    let mut hidden_parts = Vec::new();
    let mut weight_gradient: Option<Tensor<2>> = None;
    for start in (0..count).step_by(per_chunk) {
        let n = per_chunk.min(count - start);
        let part = hidden.clone().narrow(0, start, n); // [n, D]
        let logits = part.clone().matmul(weight.clone().transpose()); // [n, V]
        let mut values = floats(logits.into_data());
        let targets = &targets[start..start + n];
        sums.add(rows::to_gradients(&mut values, targets, scale));
        if !wanted.hidden && !wanted.weight {
            continue;
        }
        let gradient = Tensor::<2>::from_data(TensorData::new(values, [n, vocab]), &device);
        if wanted.hidden {
            hidden_parts.push(gradient.clone().matmul(weight.clone()));
        }
        if wanted.weight {
            let term = gradient.transpose().matmul(part); // [V, D]
            weight_gradient = Some(match weight_gradient {
                Some(sum) => sum + term,
                None => term,
            });
        }
    }
    let hidden = match hidden_parts.len() {
        0 => None,
        1 => hidden_parts.pop(),
        _ => Some(Tensor::cat(hidden_parts, 0)),
    };
    (sums, Gradients { hidden, weight: weight_gradient })
}
