//! Forward and backward over one micro-batch, dense ones in two halves at once: a thread that works through rows of its own waits for
//! no other at every small operation. The halves are the same whatever the number of threads, and so are the bits.

use burn::tensor::{Gradients, Tensor};

use super::batches::MicroBatch;
use super::checkpointed::{self, Weighed};
use super::collected::Collected;
use super::loss::{self, Losses};
use super::run::{ids, tokens};
use super::threads;
use crate::compress::distill::Teacher;
use crate::moe::Routing;
use crate::projection::DropoutKey;
use crate::rounding::Rounding;
use crate::transformer::{Forward, Transformer};

/// What all passes of a step share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub seed: u64,
    pub step: u64,
    pub rounding: Option<Rounding>,
    pub checkpointing: bool,
}

impl Setting {
    /// What drops and rounds in a pass.
    pub fn forward(&self, pass: &MicroBatch) -> Forward<'static> {
        let dropout = Some(DropoutKey { seed: self.seed, step: self.step, row: pass.first_row });
        Forward { dropout, rounding: self.rounding, ..Forward::default() }
    }
}

/// One of the two that work on a step: a model of its own on a tape of its own, which shares the weights, and the sums of its gradients
/// in the order of the trained parameters.
#[derive(Debug)]
pub(super) struct Worker {
    model: Transformer,
    teacher: Option<Teacher>,
    pub gradients: Collected,
}

impl Worker {
    /// `there`: gradients stay with the parameters.
    pub fn new(model: Transformer, teacher: Option<Teacher>, there: bool) -> Self {
        let gradients = Collected::new(model.trained().len(), there);
        Self { model, teacher, gradients }
    }

    fn work(&mut self, pass: &MicroBatch, weighed: &Weighed, setting: Setting) -> Losses {
        let Self { model, teacher, gradients } = self;
        let teacher = teacher.as_ref().filter(|_| !pass.positions.is_empty());
        let lesson = teacher.map(|teacher| teacher.lesson(ids(pass), pass.segments.as_deref(), &pass.positions));
        let weighed = &Weighed { lesson, ..weighed.clone() };
        let collect = &mut |tape: &mut Gradients| gradients.take(model, tape);
        if setting.checkpointing {
            return checkpointed::pass(model, pass, &|| setting.forward(pass), weighed, collect);
        }
        let mut routing = Routing::default();
        let context =
            Forward { segments: pass.segments.as_deref(), routing: Some(&mut routing), ..setting.forward(pass) };
        let hidden = model.hidden(tokens(pass, &model.device()), context);
        let (losses, surrogate) = loss::cross_entropy(model, hidden, pass, weighed.objective(), &weighed.weights);
        // Experts are balanced in every pass by itself, with the weight of its share of the step.
        let balance = routing.balance(Some(&pass.real())).filter(Tensor::is_tracked);
        let balance = balance.map(|loss| loss * weighed.balance);
        if let Some(scalar) = surrogate.into_iter().chain(balance).reduce(|a, b| a + b) {
            collect(&mut scalar.backward());
        }
        losses
    }
}

/// Forward and backward over one micro-batch. Its losses are still to be read, so that a GPU need not be waited for before the next one.
pub(super) fn pass(workers: &mut [Worker; 2], pass: &MicroBatch, weighed: &Weighed, setting: Setting) -> Vec<Losses> {
    let [first, second] = workers;
    let halves = is_divisible(&first.model, setting).then(|| pass.halves()).flatten();
    let Some([one, two]) = halves else {
        return vec![first.work(pass, weighed, setting)];
    };
    let (front, back) = weighed.weights.split_at(one.positions.len());
    let [front, back] = [front, back].map(|weights| Weighed { weights: weights.to_vec(), ..weighed.clone() });
    let (first, second) = threads::join(|| first.work(&one, &front, setting), || second.work(&two, &back, setting));
    vec![first, second]
}

/// Experts share a capacity, and number formats a scale, among all rows of a pass.
fn is_divisible(model: &Transformer, setting: Setting) -> bool {
    crate::device::is_cpu(&model.device()) && model.config().moe.is_none() && setting.rounding.is_none()
}
