//! Cross entropy of the head's logits, without ever holding them all: `[N, V]` is made a chunk at a time, turned into its own
//! gradient in place and used up, so that a vocabulary of 49,152 costs no more memory than one of 4,096.
//!
//! The gradients enter burn's tape as constants, through a scalar that has exactly the loss's gradients.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use super::batches::MicroBatch;
use super::run::Evaluation;
use crate::compress::distill::Lesson;
use crate::device;
use crate::kernels::{HeadProduct, with_gradient};
use crate::projection::floats;
use crate::rounding::Rounding;
use crate::transformer::Transformer;

mod rows;

/// Floats of logits that exist at once, on the CPU and on a GPU, which only much work fills.
const CHUNK_FLOATS: [usize; 2] = [1 << 24, 1 << 27];

/// What is added to the cross entropy in the gradients. What is reported stays the plain cross entropy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Objective<'a> {
    /// Share of each target that is spread over the whole vocabulary (Szegedy 2016).
    pub label_smoothing: f64,
    /// Weight of the squared logarithm of the softmax's denominator, which keeps logits from drifting (Chowdhery 2022).
    pub z_loss: f64,
    /// Of the head's product.
    pub rounding: Option<Rounding>,
    /// What a teacher says of the counted positions.
    pub lesson: Option<&'a Lesson>,
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

    pub fn mean(&self) -> Evaluation {
        let count = self.count.max(1) as f64;
        Evaluation { loss: self.loss / count, accuracy: self.correct as f64 / count, tokens: self.count }
    }
}

/// Losses of the counted positions of a pass: on the CPU known at once, on a GPU only when they are asked for, so that nobody waits
/// in the middle of a step.
#[derive(Debug)]
pub enum Losses {
    Known(Sums, Vec<f64>),
    /// Each position's loss, and 1 where its target was the most likely token.
    OnDevice {
        each: Vec<Tensor<1>>,
        correct: Vec<Tensor<1>>,
    },
}

impl Losses {
    /// The sums, and the loss of each counted position.
    pub fn read(self) -> (Sums, Vec<f64>) {
        match self {
            Self::Known(sums, each) => (sums, each),
            Self::OnDevice { each, correct } => {
                let count = each.iter().map(|each| each.dims()[0]).sum::<usize>();
                let values = floats(Tensor::cat([each, correct].concat(), 0).into_data());
                let (each, correct) = values.split_at(count);
                let each: Vec<f64> = each.iter().map(|loss| f64::from(*loss)).collect();
                let correct = correct.iter().filter(|one| **one > 0.5).count() as u64;
                (Sums { loss: each.iter().sum(), correct, count: count as u64 }, each)
            }
        }
    }
}

/// The loss of a pass, and the scalar to call `backward` on (none when nothing on the way is trained or counted).
///
/// `hidden` is `[B, T, D]`; each counted position's loss is multiplied by its weight in the gradients, not in the sums.
///
/// # Panics
/// There are not as many weights as counted positions.
pub fn cross_entropy(
    model: &Transformer,
    hidden: Tensor<3>,
    batch: &MicroBatch,
    objective: Objective<'_>,
    weights: &[f32],
) -> (Losses, Option<Tensor<1>>) {
    let count = batch.positions.len();
    assert_eq!(weights.len(), count, "one weight for each counted position");
    if count == 0 {
        return (Losses::Known(Sums::default(), Vec::new()), None);
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
    let rounding = objective.rounding;
    let chosen = rounding.map_or(chosen.clone(), |rounding| rounding.input(chosen));
    let weight = model.head_weight();
    let head = Head {
        weight: rounding.map_or(weight.clone(), |rounding| rounding.input(weight)),
        bias: model.head_bias().map(|bias| rounding.map_or(bias.clone(), |rounding| rounding.input(bias))),
        softcap: model.config().logit_softcap.map(|cap| cap as f32),
        rounding,
    };
    let wanted = Wanted {
        hidden: chosen.is_tracked(),
        weight: head.weight.is_tracked(),
        bias: head.bias.as_ref().is_some_and(Tensor::is_tracked),
    };
    let targets = (batch.targets.as_slice(), weights);
    let (hidden, inner) = (chosen.clone().inner(), head.inner());
    let (losses, gradients) = match on_slices(&hidden, &inner, targets, objective, wanted) {
        Some(done) => done,
        None => chunks(hidden, &inner, targets, objective, wanted),
    };
    let hidden_term = gradients.hidden.map(|gradient| with_gradient(chosen, gradient));
    let weight_term = gradients.weight.map(|gradient| with_gradient(head.weight, gradient));
    let bias_term = head.bias.zip(gradients.bias).map(|(bias, gradient)| with_gradient(bias, gradient));
    let surrogate = [hidden_term, weight_term, bias_term].into_iter().flatten().reduce(|a, b| a + b);
    (losses, surrogate)
}

/// The sums alone, of a model without a tape, and the loss of each counted position.
pub fn evaluate(model: &Transformer, hidden: Tensor<3>, batch: &MicroBatch) -> (Sums, Vec<f64>) {
    let weights = vec![1.0; batch.positions.len()];
    cross_entropy(model, hidden, batch, Objective::default(), &weights).0.read()
}

/// What turns hidden states into logits.
struct Head {
    /// `[V, D]`
    weight: Tensor<2>,
    /// `[V]`
    bias: Option<Tensor<1>>,
    softcap: Option<f32>,
    rounding: Option<Rounding>,
}

impl Head {
    fn inner(&self) -> Self {
        let bias = self.bias.clone().map(Tensor::inner);
        Self { weight: self.weight.clone().inner(), bias, ..*self }
    }

    /// `[n, D]` → `[n, V]` logits, and their derivative by what the matrix product gave where that isn't 1.
    fn logits(&self, hidden: Tensor<2>) -> (Tensor<2>, Option<Tensor<2>>) {
        let mut logits = hidden.matmul(self.weight.clone().transpose());
        if let Some(bias) = &self.bias {
            logits = logits + bias.clone().unsqueeze_dim::<2>(0);
        }
        if let Some(rounding) = &self.rounding {
            logits = rounding.output(logits);
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

/// [`chunks`] on the CPU, for a head that is a product and a bias and learns from the data alone.
fn on_slices(
    hidden: &Tensor<2>,
    head: &Head,
    (targets, weights): (&[i32], &[f32]),
    objective: Objective<'_>,
    wanted: Wanted,
) -> Option<(Losses, Gradients)> {
    if head.softcap.is_some() || head.rounding.is_some() || objective.lesson.is_some() {
        return None;
    }
    let product = HeadProduct::new(hidden, &head.weight)?;
    let ([count, width], [vocab, _]) = (hidden.dims(), head.weight.dims());
    let bias = head.bias.as_ref().map(|bias| floats(bias.clone().into_data()));
    let buffer = |wanted: bool, size: usize| vec![0.0f32; if wanted { size } else { 0 }];
    let mut by_hidden = buffer(wanted.hidden, count * width);
    let mut by_weight = buffer(wanted.weight, vocab * width);
    let mut by_bias = buffer(wanted.bias, vocab);
    let mut sums = Sums::default();
    let mut each = Vec::with_capacity(count);
    let per_chunk = (CHUNK_FLOATS[0] / vocab).clamp(1, count);
    let mut values = vec![0.0; per_chunk * vocab];
    for start in (0..count).step_by(per_chunk) {
        let rows = start..(start + per_chunk).min(count);
        let values = &mut values[..rows.len() * vocab];
        product.logits(&rows, values);
        if let Some(bias) = &bias {
            values.chunks_exact_mut(vocab).for_each(|row| row.iter_mut().zip(bias).for_each(|(x, b)| *x += b));
        }
        let targets = (&targets[rows.clone()], &weights[rows.clone()]);
        sums.add(rows::to_gradients(values, targets, objective, &mut each));
        if wanted.hidden {
            product.hidden_gradient(values, &mut by_hidden[rows.start * width..rows.end * width]);
        }
        if wanted.weight {
            product.add_weight_gradient(&rows, values, &mut by_weight);
        }
        if wanted.bias {
            values.chunks_exact(vocab).for_each(|row| by_bias.iter_mut().zip(row).for_each(|(sum, x)| *sum += x));
        }
    }
    let device = hidden.device();
    let matrix = |values, shape| Tensor::<2>::from_data(TensorData::new(values, shape), &device);
    let gradients = Gradients {
        hidden: wanted.hidden.then(|| matrix(by_hidden, [count, width])),
        weight: wanted.weight.then(|| matrix(by_weight, [vocab, width])),
        bias: wanted.bias.then(|| Tensor::from_data(TensorData::new(by_bias, [vocab]), &device)),
    };
    Some((Losses::Known(sums, each), gradients))
}

/// The same in burn's operations, for every device and every head.
fn chunks(
    hidden: Tensor<2>,
    head: &Head,
    (targets, weights): (&[i32], &[f32]),
    objective: Objective<'_>,
    wanted: Wanted,
) -> (Losses, Gradients) {
    let [count, _] = hidden.dims();
    let [vocab, _] = head.weight.dims();
    let at_once = CHUNK_FLOATS[usize::from(!device::is_cpu(&hidden.device()))];
    let per_chunk = (at_once / vocab).clamp(1, count);
    let (mut each, mut correct) = (Vec::new(), Vec::new());
    let mut hidden_parts = Vec::new();
    let mut gradients = Gradients::default();
    for start in (0..count).step_by(per_chunk) {
        let n = per_chunk.min(count - start);
        let part = hidden.clone().narrow(0, start, n); // [n, D]
        let (logits, slope) = head.logits(part.clone()); // [n, V]
        let rows = start..start + n;
        let taught = objective.lesson.map(|lesson| (lesson, logits.clone()));
        let judged = Judged::of(logits, &targets[rows.clone()]);
        each.push(judged.losses.clone().reshape([n]));
        correct.push(judged.correct.clone().reshape([n]));
        if !wanted.hidden && !wanted.weight && !wanted.bias {
            continue;
        }
        let mut gradient = judged.gradient(&weights[rows.clone()], objective);
        if let Some((lesson, logits)) = taught {
            gradient = lesson.gradient(rows.clone(), logits, gradient, &weights[rows]);
        }
        if let Some(slope) = slope {
            gradient = gradient * slope;
        }
        if let Some(rounding) = &head.rounding {
            gradient = rounding.output_gradient(gradient);
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
    (Losses::OnDevice { each, correct }, gradients)
}

/// What a chunk's logits say: [`rows::to_gradients`] in burn's operations. Columns are `[n, 1]`.
struct Judged {
    targets: Tensor<2, Int>,
    /// Nats.
    losses: Tensor<2>,
    /// 1 or 0.
    correct: Tensor<2>,
    /// `[n, V]`, of the logits less the row's largest.
    exp: Tensor<2>,
    sum: Tensor<2>,
    /// The logarithm of the softmax's denominator.
    lse: Tensor<2>,
}

impl Judged {
    /// `logits` is `[n, V]`.
    fn of(logits: Tensor<2>, targets: &[i32]) -> Self {
        let targets = TensorData::new(targets.to_vec(), [targets.len(), 1]);
        let targets = Tensor::<2, Int>::from_data(targets, &logits.device());
        let wanted = logits.clone().gather(1, targets.clone());
        let max = logits.clone().max_dim(1);
        let correct = wanted.clone().greater_equal(max.clone()).float();
        let exp = (logits - max.clone()).exp();
        let sum = exp.clone().sum_dim(1);
        let lse = sum.clone().log() + max;
        Self { targets, losses: lse.clone() - wanted, correct, exp, sum, lse }
    }

    /// `[n, V]`: of `Σ weight · objective` by the logits.
    fn gradient(self, weights: &[f32], objective: Objective<'_>) -> Tensor<2> {
        let Objective { label_smoothing, z_loss, .. } = objective;
        let vocab = self.exp.dims()[1];
        let weights = TensorData::new(weights.to_vec(), [weights.len(), 1]);
        let weights = Tensor::<2>::from_data(weights, &self.exp.device());
        // The z-loss weighs `lse²`, whose gradient is the softmax once more, times `2 lse`.
        let factor = (self.lse * (2.0 * z_loss) + 1.0) * weights.clone() / self.sum;
        let mut gradient = self.exp * factor;
        if label_smoothing > 0.0 {
            gradient = gradient - weights.clone() * (label_smoothing / vocab as f64);
        }
        gradient.scatter(1, self.targets, weights * (label_smoothing - 1.0), IndexingUpdateOp::Add)
    }
}

fn added<const N: usize>(sum: Option<Tensor<N>>, term: Tensor<N>) -> Tensor<N> {
    match sum {
        Some(sum) => sum + term,
        None => term,
    }
}
