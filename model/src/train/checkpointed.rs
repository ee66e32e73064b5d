//! Gradient checkpointing (Chen 2016): the forward pass keeps only what each block reads, and the backward pass computes one block
//! at a time again, with a tape. Memory for one block's activations instead of all, for a third more work.

use burn::module::Module;
use burn::tensor::{Gradients, Tensor};

use super::batches::MicroBatch;
use super::loss::{self, Losses, Objective, Sums};
use super::run::tokens;
use crate::compress::distill::Lesson;
use crate::moe::Routing;
use crate::transformer::{Forward, Transformer};

/// What a pass is weighed by.
#[derive(Clone, Debug, Default)]
pub(super) struct Weighed {
    pub objective: Objective<'static>,
    /// Of each counted position's loss.
    pub weights: Vec<f32>,
    /// Of the experts' balance.
    pub balance: f64,
    /// What the teacher says of the counted positions.
    pub lesson: Option<Lesson>,
}

impl Weighed {
    pub fn objective(&self) -> Objective<'_> {
        Objective { lesson: self.lesson.as_ref(), ..self.objective }
    }
}

/// Forward and backward over one micro-batch; `collect` gets every block's gradients as they come.
pub(super) fn pass(
    model: &Transformer,
    pass: &MicroBatch,
    forward: &dyn Fn() -> Forward<'static>,
    weighed: &Weighed,
    collect: &mut dyn FnMut(&mut Gradients),
) -> Losses {
    let shape = [pass.rows, pass.time];
    let context = || Forward { segments: pass.segments.as_deref(), ..forward() };
    let plain = model.valid();
    let mut stages = plain.stages(shape, context());
    let mut routing = Routing::default();
    let mut kept = vec![stages.embedded(tokens(pass, &plain.device()))];
    for layer in 0..plain.layers.len() {
        let x = kept[layer].clone();
        kept.push(stages.block(layer, x, Some(&mut routing), None));
    }
    drop(stages);
    let real = pass.real();
    let shares = routing.shares(Some(&real));

    let mut stages = model.stages(shape, context());
    let taped = |x: Option<Tensor<3>>| x.map(|x| Tensor::<3>::from_inner(x).require_grad());
    let Some(x) = taped(kept.pop()) else {
        return Losses::Known(Sums::default(), Vec::new());
    };
    let hidden = stages.last(x.clone());
    let (losses, surrogate) = loss::cross_entropy(model, hidden, pass, weighed.objective(), &weighed.weights);
    let Some(surrogate) = surrogate else {
        return losses;
    };
    let mut gradient = backward(surrogate, &x, collect);
    for layer in (0..model.layers.len()).rev() {
        let Some((x, dy)) = taped(kept.pop()).zip(gradient) else {
            return losses;
        };
        let mut routing = Routing::default();
        let y = stages.block(layer, x.clone(), Some(&mut routing), None);
        let mut surrogate = (y * Tensor::from_inner(dy)).sum();
        if let Some(loss) = shares.as_ref().and_then(|shares| routing.balance_by(Some(&real), shares)) {
            surrogate = surrogate + loss * weighed.balance;
        }
        gradient = backward(surrogate, &x, collect);
    }
    if let Some(dy) = gradient {
        let x = stages.embedded(tokens(pass, &model.device()));
        if x.is_tracked() {
            collect(&mut (x * Tensor::from_inner(dy)).sum().backward());
        }
    }
    losses
}

/// The gradient of `x`; those of parameters go to `collect`.
fn backward(scalar: Tensor<1>, x: &Tensor<3>, collect: &mut dyn FnMut(&mut Gradients)) -> Option<Tensor<3>> {
    let mut tape = scalar.backward();
    collect(&mut tape);
    x.grad_remove(&mut tape)
}
