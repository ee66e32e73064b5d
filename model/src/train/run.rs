//! One training run: the state that [`Run::step`] moves. Everything random is derived from (seed, step, row, name), so the
//! state is the weights, what the optimizer remembers and a step number, and a resumed run gives the same bits as one that never stopped
//! (same build, machine and thread count).

use burn::module::Module;
use burn::tensor::{Gradients, Int, Tensor, TensorData};
use hearth_shared::spec::TrainSpec;

use super::TrainError;
use super::batches::{Batches, MicroBatch};
use super::data::Sequence;
use super::loss::{self, Objective, Sums};
use super::optimizer::{self, Optimizer, Update};
use super::schedule::Schedule;
use crate::device;
use crate::moe::Routing;
use crate::projection::{DropoutKey, ParamRef, floats};
use crate::transformer::{Forward, Transformer};

/// A run between two steps.
#[derive(Debug)]
pub struct Run {
    spec: TrainSpec,
    /// On the tape; only trained parameters require gradients.
    model: Transformer,
    batches: Batches,
    validation: Option<Batches>,
    schedule: Schedule,
    pub(super) optimizer: Optimizer,
    pub(super) slots: optimizer::State,
    pub(super) progress: Progress,
}

/// How far a run is.
#[derive(serde::Serialize, serde::Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Optimizer steps done.
    pub step: u64,
    /// Positions that went through the model, padding left out.
    pub tokens: u64,
    /// Positions whose prediction counted.
    pub trained_tokens: u64,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// From 1.
    pub step: u64,
    /// Mean over the step's counted positions, nats, before the update.
    pub loss: f64,
    pub accuracy: f64,
    pub lr: f64,
    /// Before clipping.
    pub grad_norm: f64,
    pub tokens: u64,
    pub trained_tokens: u64,
}

/// Means over a data set.
#[derive(serde::Serialize, serde::Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    pub loss: f64,
    pub accuracy: f64,
    pub tokens: u64,
}

impl Run {
    /// Begins. With adapters on the model only they are trained, else every weight.
    ///
    /// # Errors
    /// A spec outside its bounds, or nothing to train on.
    pub fn new(
        spec: &TrainSpec,
        model: Transformer,
        training: Vec<Sequence>,
        validation: Option<Vec<Sequence>>,
    ) -> Result<Self, TrainError> {
        spec.validate()?;
        if training.iter().all(|sequence| sequence.trained_tokens() == 0) {
            return Err(TrainError::NothingToTrain);
        }
        Self::with(spec, model, Batches::new(training, spec), validation)
    }

    /// The same over batches that are cut already.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with(
        spec: &TrainSpec,
        model: Transformer,
        batches: Batches,
        validation: Option<Vec<Sequence>>,
    ) -> Result<Self, TrainError> {
        spec.validate()?;
        let all = u64::from(spec.n_epochs) * batches.steps_per_epoch();
        Ok(Self {
            model: on_tape(model),
            validation: validation.map(|sequences| Batches::new(sequences, spec)),
            schedule: Schedule::new(spec, spec.max_steps.map_or(all, |most| most.min(all))),
            optimizer: Optimizer::new(spec),
            batches,
            spec: spec.clone(),
            slots: optimizer::State::new(),
            progress: Progress::default(),
        })
    }

    pub fn spec(&self) -> &TrainSpec {
        &self.spec
    }

    pub fn progress(&self) -> Progress {
        self.progress
    }

    pub fn total_steps(&self) -> u64 {
        self.schedule.total_steps
    }

    pub fn is_done(&self) -> bool {
        self.progress.step >= self.total_steps()
    }

    /// Passes over the data so far.
    pub fn epoch(&self) -> f64 {
        self.progress.step as f64 / self.batches.steps_per_epoch() as f64
    }

    /// The model without a tape: for evaluation, sampling and export. Shares the weights.
    pub fn model(&self) -> Transformer {
        self.model.valid()
    }

    pub(super) fn model_mut(&mut self) -> &mut Transformer {
        &mut self.model
    }

    /// Trained parameters, in the model's order.
    pub(super) fn trained(&self) -> Vec<(String, ParamRef<'_>)> {
        self.model.params().into_iter().filter(|(_, param)| param.is_require_grad()).collect()
    }

    /// One optimizer step.
    ///
    /// # Errors
    /// [`TrainError::Diverged`]; the weights are left as they were.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        device::compute(&self.model.device(), || self.step_here())
    }

    fn step_here(&mut self) -> Result<StepReport, TrainError> {
        let step = self.progress.step + 1;
        let passes = self.batches.step(self.progress.step);
        let counted: usize = passes.iter().map(|pass| pass.positions.len()).sum();
        let scale = 1.0 / counted.max(1) as f32;
        let mut sums = Sums::default();
        let mut gradients = Vec::new();
        for pass in &passes {
            let (part, tape) = self.pass(pass, scale, step);
            sums.add(part);
            if let Some(mut tape) = tape {
                self.collect(&mut tape, &mut gradients);
            }
        }
        let norm = optimizer::global_norm(gradients.iter().map(Vec::as_slice));
        if !sums.loss.is_finite() || !norm.is_finite() {
            return Err(TrainError::Diverged { step });
        }
        let lr = self.schedule.rate(step);
        self.update(&gradients, lr, optimizer::clip_scale(norm, self.spec.max_grad_norm));
        let tokens: usize = passes.iter().map(|pass| pass.tokens()).sum();
        self.progress.step = step;
        self.progress.tokens += tokens as u64;
        self.progress.trained_tokens += counted as u64;
        let count = counted.max(1) as f64;
        Ok(StepReport {
            step,
            loss: sums.loss / count,
            accuracy: sums.correct as f64 / count,
            lr,
            grad_norm: norm,
            tokens: tokens as u64,
            trained_tokens: counted as u64,
        })
    }

    /// Forward and backward over one micro-batch.
    fn pass(&self, pass: &MicroBatch, scale: f32, step: u64) -> (Sums, Option<Gradients>) {
        let key = DropoutKey { seed: self.spec.seed, step, row: pass.first_row };
        let mut routing = Routing::default();
        let hidden = hidden(&self.model, pass, Some(key), Some(&mut routing));
        let objective = Objective { label_smoothing: self.spec.label_smoothing, z_loss: self.spec.z_loss };
        let (sums, surrogate) = loss::cross_entropy(&self.model, hidden, pass, objective, scale);
        // Experts are balanced in every pass by itself, with the weight of its share of the step.
        let balance = self.model.config().moe.and_then(|moe| {
            let loss = routing.balance(Some(&pass.real()))?;
            loss.is_tracked().then(|| loss * moe.balance * f64::from(scale) * sums.count as f64)
        });
        let scalar = surrogate.into_iter().chain(balance).reduce(|a, b| a + b);
        (sums, scalar.map(|scalar| scalar.backward()))
    }

    /// Adds a pass's gradients to the step's, in the order of [`Self::trained`].
    fn collect(&self, tape: &mut Gradients, sums: &mut Vec<Vec<f32>>) {
        let first = sums.is_empty();
        for (i, (_, param)) in self.trained().into_iter().enumerate() {
            let gradient = match param {
                ParamRef::Vector(param) => param.val().grad_remove(tape).map(|g| floats(g.into_data())),
                ParamRef::Matrix(param) => param.val().grad_remove(tape).map(|g| floats(g.into_data())),
            };
            // A parameter that no position depends on has no gradient.
            let gradient = gradient.unwrap_or_else(|| vec![0.0; param.shape().iter().product()]);
            if first {
                sums.push(gradient);
            } else {
                sums[i].iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += g);
            }
        }
    }

    fn update(&mut self, gradients: &[Vec<f32>], lr: f64, gradient_scale: f32) {
        let values: Vec<(String, Vec<f32>)> =
            self.trained().into_iter().map(|(path, param)| (path, param.to_vec())).collect();
        let mut updated = std::collections::BTreeMap::new();
        let step = self.progress.step + 1;
        let shapes: Vec<Vec<usize>> = self.trained().iter().map(|(_, param)| param.shape()).collect();
        for (i, (path, mut values)) in values.into_iter().enumerate() {
            let Some(gradient) = gradients.get(i) else {
                continue;
            };
            let slots = self.slots.entry(path.clone()).or_default();
            let update = Update { path: &path, shape: &shapes[i], values: &mut values, gradient, gradient_scale };
            self.optimizer.apply(update, slots, lr, step);
            updated.insert(path, values);
        }
        for (path, mut param) in self.model.params_mut() {
            if let Some(values) = updated.remove(&path) {
                param.set(values);
            }
        }
    }

    /// The validation set's loss; none when there is no such set.
    pub fn evaluate(&self) -> Option<Evaluation> {
        let passes = self.validation.as_ref()?.all();
        Some(evaluate(&self.model(), &passes))
    }
}

/// Means over passes, without a tape and without dropout.
pub fn evaluate(model: &Transformer, passes: &[MicroBatch]) -> Evaluation {
    let mut sums = Sums::default();
    for pass in passes {
        sums.add(device::compute(&model.device(), || loss::evaluate(model, hidden(model, pass, None, None), pass)));
    }
    let count = sums.count.max(1) as f64;
    Evaluation { loss: sums.loss / count, accuracy: sums.correct as f64 / count, tokens: sums.count }
}

fn hidden(
    model: &Transformer,
    pass: &MicroBatch,
    dropout: Option<DropoutKey>,
    routing: Option<&mut Routing>,
) -> Tensor<3> {
    let data = TensorData::new(pass.inputs.clone(), [pass.rows, pass.time]);
    let tokens = Tensor::<2, Int>::from_data(data, &model.device());
    let context = Forward { segments: pass.segments.as_deref(), dropout, routing, ..Forward::default() };
    model.hidden(tokens, context)
}

/// Decides what is trained and puts the model on the tape.
fn on_tape(mut model: Transformer) -> Transformer {
    let adapted = model.params().iter().any(|(path, _)| path.contains(".lora."));
    for (path, mut param) in model.params_mut() {
        param.set_require_grad(!adapted || path.contains(".lora."));
    }
    model.train()
}
