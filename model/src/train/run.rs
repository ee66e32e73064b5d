//! One training run: the state that [`Run::step`] moves. Everything random is derived from (seed, step, row, name), so the
//! state is the weights, what the optimizer remembers and a step number, and a resumed run gives the same bits as one that never stopped
//! (same build, machine and thread count).

use std::collections::BTreeSet;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use hearth_shared::spec::{SpecError, TrainSpec};
use hearth_shared::text::counted;

use super::TrainError;
use super::average::Average;
use super::batches::{Batches, MicroBatch};
use super::checkpointed::Weighed;
use super::collected::Collected;
use super::data::Sequence;
use super::loss::{self, Objective, Sums};
use super::optimizer::{self, Moments, Optimizer, Slots, Update};
use super::pass::{self, Setting, Worker};
use super::preference::Preference;
use super::scaler::LossScale;
use super::schedule::Schedule;
use super::source::Source;
use super::threads;
use super::watch::Watch;
use crate::compress::distill::Teacher;
use crate::projection::{ParamMut, ParamRef, floats, is_adapter};
use crate::rounding::Rounding;
use crate::transformer::{Forward, Transformer};
use crate::{adapter, device};

/// A run between two steps.
#[derive(Debug)]
pub struct Run {
    spec: TrainSpec,
    /// On the tape; only trained parameters require gradients.
    model: Transformer,
    batches: Source,
    validation: Option<Batches>,
    schedule: Schedule,
    pub(super) optimizer: Optimizer,
    pub(super) slots: optimizer::State,
    /// Slots that live beside the weights of a GPU.
    pub(super) moments: Moments,
    /// Whether gradients and moments stay on the model's device, as all but the CPU's do.
    pub(super) there: bool,
    pub(super) progress: Progress,
    pub(super) watch: Watch,
    pub(super) average: Option<Average>,
    pub(super) loss_scale: Option<LossScale>,
    pub(super) rounding: Option<Rounding>,
    preference: Option<Preference>,
    teacher: Option<Teacher>,
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
    /// Steps whose examples the watchdog left out.
    #[serde(default)]
    pub skipped: u64,
    /// Steps that changed nothing, because a gradient overflowed.
    #[serde(default)]
    pub idle: u64,
}

impl Progress {
    /// How often the weights moved.
    pub fn updates(&self) -> u64 {
        self.step - self.idle
    }
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
    /// Before clipping; infinite when a gradient overflowed.
    pub grad_norm: f64,
    pub tokens: u64,
    pub trained_tokens: u64,
    /// What the loss was multiplied by.
    pub loss_scale: Option<f64>,
    /// Share of the gradients' numbers that are 0, in other precisions than f32.
    pub zero_gradients: Option<f64>,
}

impl StepReport {
    /// A gradient left the number format's range: nothing was changed, and the loss scale is smaller now.
    pub fn overflowed(&self) -> bool {
        self.grad_norm.is_infinite()
    }
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

    /// The same over batches that are cut already, or rows of shards.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with(
        spec: &TrainSpec,
        model: Transformer,
        batches: impl Into<Source>,
        validation: Option<Vec<Sequence>>,
    ) -> Result<Self, TrainError> {
        spec.validate()?;
        let batches = batches.into();
        let virtual_tokens = spec.adapter.as_ref().is_some_and(|adapter| adapter.virtual_tokens() > 0);
        if batches.sequences().is_none() && virtual_tokens {
            let message = "rows of shards hold several documents: virtual tokens stand in front of one";
            return Err(SpecError::new("adapter", message).into());
        }
        let layers = model.config().n_layers;
        if spec.frozen_layers as usize >= layers && spec.frozen_layers > 0 {
            let message = format!("the model has {}: freeze {} at most", counted(layers as u64, "layer"), layers - 1);
            return Err(SpecError::new("frozen_layers", message).into());
        }
        let rounding =
            Rounding::on(&model.device(), spec.precision).map_err(|message| SpecError::new("precision", message))?;
        let there = !device::is_cpu(&model.device());
        let all = u64::from(spec.n_epochs) * batches.steps_per_epoch();
        let validation = validation.map(|sequences| Batches::new(sequences, spec));
        if spec.dpo_beta.is_some() {
            let pairs =
                batches.sequences().ok_or_else(|| SpecError::new("dpo_beta", "rows of shards are no preferences"))?;
            paired(pairs)?;
            validation.as_ref().map_or(Ok(()), |validation| paired(validation.sequences()))?;
        }
        let preference = spec.dpo_beta.map(|beta| {
            // Virtual tokens change the model from the start; other adapters begin as nothing.
            let reference = adapter::without_virtual_tokens(model.clone());
            let of = |passes: &[MicroBatch]| sequence_losses(&reference, passes, |_| Forward::default());
            let held_out = validation.as_ref().map(|validation| of(&validation.all()));
            Preference::new(beta, of(&batches.all()), held_out.unwrap_or_default())
        });
        Ok(Self {
            model: on_tape(model, spec.frozen_layers),
            validation,
            preference,
            teacher: None,
            schedule: Schedule::new(spec, spec.max_steps.map_or(all, |most| most.min(all))),
            optimizer: Optimizer::new(spec),
            batches,
            spec: spec.clone(),
            slots: optimizer::State::new(),
            moments: Moments::default(),
            there,
            progress: Progress::default(),
            watch: Watch::default(),
            average: spec.ema_decay.map(Average::new),
            loss_scale: LossScale::new(spec),
            rounding,
        })
    }

    /// Brings the model that `spec.distill` learns from.
    ///
    /// # Errors
    /// The spec learns from none, or the teacher lacks tokens of the model's or reads shorter rows.
    pub fn taught_by(mut self, teacher: Transformer) -> Result<Self, TrainError> {
        let Some(distill) = self.spec.distill else {
            return Err(
                SpecError::new("distill", "the run has a teacher and does not say what to learn from it").into()
            );
        };
        let (context, longest) = (teacher.context(), self.spec.max_length as usize);
        if longest > context {
            let message =
                format!("it reads {context} tokens, and rows have up to {longest}: set `max_length` to {context}");
            return Err(SpecError::new("distill.teacher", message).into());
        }
        self.teacher = Some(Teacher::new(teacher, distill, self.model.config())?);
        Ok(self)
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
        self.progress.step >= self.total_steps() || self.is_stale()
    }

    /// Whether the validation loss has not improved for as long as the spec waits for it.
    pub fn is_stale(&self) -> bool {
        self.spec.early_stop.is_some_and(|most| self.watch.stale >= most)
    }

    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// What the next step's loss is multiplied by.
    pub fn loss_scale(&self) -> Option<f64> {
        self.loss_scale.map(|state| state.scale)
    }

    /// Passes over the data so far.
    pub fn epoch(&self) -> f64 {
        self.position() as f64 / self.batches.steps_per_epoch() as f64
    }

    /// Number of the data's step that comes next.
    pub(super) fn position(&self) -> u64 {
        self.progress.step + self.progress.skipped
    }

    /// Leaves out the examples of the next step.
    pub fn skip(&mut self) {
        self.progress.skipped += 1;
    }

    /// The model without a tape: for evaluation, sampling and export. Its weights are the averaged ones where the run
    /// averages, else shared.
    pub fn model(&self) -> Transformer {
        let mut model = self.model.valid();
        if let Some(average) = &self.average {
            for (path, mut param) in model.params_mut() {
                if let Some(values) = average.values.get(&path) {
                    param.set(values.clone());
                }
            }
        }
        model
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn model_mut(&mut self) -> &mut Transformer {
        &mut self.model
    }

    /// Trained parameters, in the model's order.
    pub(super) fn trained(&self) -> Vec<(String, ParamRef<'_>)> {
        self.model.trained()
    }

    /// One optimizer step.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] or [`TrainError::Spike`]; the weights are left as they were.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        device::compute(&self.model.device(), || self.step_here())
    }

    fn step_here(&mut self) -> Result<StepReport, TrainError> {
        if self.spec.distill.is_some() && self.teacher.is_none() {
            return Err(SpecError::new("distill", "the run learns from a teacher and has none").into());
        }
        let step = self.progress.step + 1;
        let position = self.position();
        let passes = self.batches.step(position);
        let counted: usize = passes.iter().map(|pass| pass.positions.len()).sum();
        let loss_scale = self.loss_scale();
        let (mean, gradients) = self.gradients(&passes, step, position);
        let (norm, zero_gradients) = gradients.measure(self.rounding.is_some());
        let overflowed = mean.loss.is_finite() && !norm.is_finite() && self.loss_scale.is_some();
        if !mean.loss.is_finite() || !(norm.is_finite() || overflowed) {
            return Err(TrainError::Diverged { step });
        }
        if let Some(usual) = self.spec.spike_factor.and_then(|factor| self.watch.exceeded(mean.loss, factor)) {
            return Err(TrainError::Spike { step, loss: mean.loss, usual });
        }
        self.scale_on(overflowed).ok_or(TrainError::Diverged { step })?;
        self.watch.took(mean.loss);
        let lr = self.schedule.rate(step);
        if overflowed {
            self.progress.idle += 1;
        } else {
            self.update(&gradients, lr, optimizer::clip_scale(norm, self.spec.max_grad_norm));
        }
        let tokens: usize = passes.iter().map(|pass| pass.tokens()).sum();
        self.progress.step = step;
        self.progress.tokens += tokens as u64;
        self.progress.trained_tokens += counted as u64;
        Ok(StepReport {
            step,
            loss: mean.loss,
            accuracy: mean.accuracy,
            lr,
            grad_norm: if overflowed { f64::INFINITY } else { norm },
            tokens: tokens as u64,
            trained_tokens: counted as u64,
            loss_scale,
            zero_gradients,
        })
    }

    /// A step's means, and its gradients in the order of [`Self::trained`], the loss scale taken out again.
    fn gradients(&mut self, passes: &[MicroBatch], step: u64, position: u64) -> (Evaluation, Collected) {
        let counted: usize = passes.iter().map(|pass| pass.positions.len()).sum();
        let scale = self.loss_scale().unwrap_or(1.0);
        let one = scale / counted.max(1) as f64;
        let sequences = self.batches.chosen(position);
        let TrainSpec { seed, gradient_checkpointing: checkpointing, frozen_layers, .. } = self.spec;
        let setting = Setting { seed, step, rounding: self.rounding, checkpointing };
        let judged =
            self.preference.as_ref().map(|preference| preference.judge(&sequences, &self.losses(passes, setting)));
        let twin = on_tape(self.model.valid(), frozen_layers);
        let mut workers = [self.model.clone(), twin].map(|model| Worker::new(model, self.teacher.clone(), self.there));
        let mut losses = Vec::new();
        for pass in passes {
            let weights = match &judged {
                None => vec![one as f32; pass.positions.len()],
                Some(judged) => {
                    pass.owners.iter().map(|owner| (scale * judged.weights[*owner as usize]) as f32).collect()
                }
            };
            let weighed = self.weighed(weights, one * pass.positions.len() as f64);
            losses.extend(pass::pass(&mut workers, pass, &weighed, setting));
        }
        let [mut gradients, others] = workers.map(|worker| worker.gradients);
        gradients.merge(others);
        // A parameter that no position depends on has no gradient.
        let counts: Vec<usize> = self.trained().into_iter().map(|(_, param)| param.shape().iter().product()).collect();
        let back = self.loss_scale.map(|_| (1.0 / scale) as f32);
        gradients.finish(&counts, back, &self.model.device().inner());
        // Only now: until here a GPU was given one pass after the other.
        let mut sums = Sums::default();
        losses.into_iter().for_each(|losses| sums.add(losses.read().0));
        let mut mean = sums.mean();
        if let Some(judged) = judged {
            (mean.loss, mean.accuracy) = (judged.loss, judged.accuracy);
        }
        (mean, gradients)
    }

    /// Moves the loss scale, if there is one; none when it can't get smaller any more.
    fn scale_on(&mut self, overflowed: bool) -> Option<()> {
        let Some(state) = &mut self.loss_scale else {
            return Some(());
        };
        if overflowed {
            state.overflowed();
        } else {
            state.went_well(self.spec.loss_scale_window);
        }
        (!state.is_exhausted()).then_some(())
    }

    fn weighed(&self, weights: Vec<f32>, share: f64) -> Weighed {
        let TrainSpec { label_smoothing, z_loss, .. } = self.spec;
        let objective = Objective { label_smoothing, z_loss, rounding: self.rounding, lesson: None };
        let balance = share * self.model.config().moe.map_or(0.0, |moe| moe.balance);
        Weighed { objective, weights, balance, lesson: None }
    }

    /// The negative log-probability of each sequence of a step.
    fn losses(&self, passes: &[MicroBatch], setting: Setting) -> Vec<f64> {
        sequence_losses(&self.model.valid(), passes, |pass| setting.forward(pass))
    }

    fn update(&mut self, gradients: &Collected, lr: f64, gradient_scale: f32) {
        match gradients {
            Collected::Here(gradients) => self.update_here(gradients, lr, gradient_scale),
            Collected::There(gradients) => self.update_there(gradients, lr, gradient_scale),
        }
    }

    fn update_here(&mut self, gradients: &[Vec<f32>], lr: f64, gradient_scale: f32) {
        let step = self.progress.updates() + 1;
        let trained: BTreeSet<String> = self.trained().into_iter().map(|(path, _)| path).collect();
        let params = self.model.params_mut().into_iter().filter(|(path, _)| trained.contains(path));
        // Slots leave the map for a moment, so that each parameter can be moved by whichever thread is free.
        let mut moved: Vec<_> = params
            .zip(gradients)
            .map(|((path, param), gradient)| (self.slots.remove(&path).unwrap_or_default(), path, param, gradient))
            .collect();
        let optimizer = &self.optimizer;
        threads::each(&mut moved, |(slots, path, param, gradient)| {
            move_numbers(optimizer, (path.as_str(), param), gradient, slots, (lr, gradient_scale, step));
        });
        for (slots, path, param, _) in moved {
            if let Some(average) = &mut self.average {
                average.take(&path, &param.to_vec());
            }
            self.slots.insert(path, slots);
        }
    }

    /// The same for parameters elsewhere: where the rule knows no tensors, numbers come here and go back.
    fn update_there(&mut self, gradients: &[Option<Tensor<1>>], lr: f64, gradient_scale: f32) {
        let step = self.progress.updates() + 1;
        let trained: BTreeSet<String> = self.trained().into_iter().map(|(path, _)| path).collect();
        let Self { model, optimizer, slots, moments, average, .. } = self;
        let params = model.params_mut().into_iter().filter(|(path, _)| trained.contains(path));
        for ((path, mut param), gradient) in params.zip(gradients.iter().flatten()) {
            let moved = (gradient, gradient_scale);
            if !optimizer.apply_there(moments, (path.as_str(), &mut param), moved, slots, (lr, step)) {
                let gradient = floats(gradient.clone().into_data());
                let slots = slots.entry(path.clone()).or_default();
                move_numbers(optimizer, (path.as_str(), &mut param), &gradient, slots, (lr, gradient_scale, step));
            }
            if let Some(average) = average {
                average.take(&path, &param.to_vec());
            }
        }
    }

    /// The validation set's loss; none when there is no such set.
    pub fn evaluate(&self) -> Option<Evaluation> {
        let passes = self.validation.as_ref()?.all();
        let model = self.model();
        let Some(preference) = &self.preference else {
            return Some(evaluate(&model, &passes));
        };
        let judged = preference.validate(&sequence_losses(&model, &passes, |_| Forward::default()));
        let tokens = passes.iter().map(|pass| pass.positions.len() as u64).sum();
        Some(Evaluation { loss: judged.loss, accuracy: judged.accuracy, tokens })
    }

    /// The same, and takes it into the judgement on whether the run still improves.
    pub fn judge(&mut self) -> Option<Evaluation> {
        let evaluation = self.evaluate()?;
        self.watch.evaluated(self.progress.step, evaluation.loss, self.spec.early_stop_delta);
        Some(evaluation)
    }
}

/// Means over passes, without a tape and without dropout.
pub fn evaluate(model: &Transformer, passes: &[MicroBatch]) -> Evaluation {
    let mut sums = Sums::default();
    let mut losses = Vec::new();
    for pass in passes {
        sums.add(add_losses(model, pass, Forward::default(), &mut losses));
    }
    sums.mean()
}

/// The negative log-probability of each sequence of some passes: sums by owner.
pub(crate) fn sequence_losses(
    model: &Transformer,
    passes: &[MicroBatch],
    forward: impl Fn(&MicroBatch) -> Forward<'static>,
) -> Vec<f64> {
    let mut losses = Vec::new();
    for pass in passes {
        add_losses(model, pass, forward(pass), &mut losses);
    }
    losses
}

/// A pass's sums, and what its positions add to the losses of their sequences.
fn add_losses(model: &Transformer, pass: &MicroBatch, forward: Forward<'static>, losses: &mut Vec<f64>) -> Sums {
    let context = Forward { segments: pass.segments.as_deref(), ..forward };
    let (sums, each) = device::compute(&model.device(), || {
        loss::evaluate(model, model.hidden(tokens(pass, &model.device()), context), pass)
    });
    for (owner, loss) in pass.owners.iter().zip(each) {
        let owner = *owner as usize;
        losses.resize(losses.len().max(owner + 1), 0.0);
        losses[owner] += loss;
    }
    sums
}

/// `[B, T]` token ids of a pass.
pub(super) fn tokens(pass: &MicroBatch, device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(ids(pass), device)
}

pub(super) fn ids(pass: &MicroBatch) -> TensorData {
    TensorData::new(pass.inputs.clone(), [pass.rows, pass.time])
}

/// Every better answer has its worse one, and neither is empty.
fn paired(sequences: &[Sequence]) -> Result<(), TrainError> {
    let empty = sequences.iter().position(|sequence| sequence.trained_tokens() == 0);
    match empty.or((!sequences.len().is_multiple_of(2)).then_some(sequences.len())) {
        None => Ok(()),
        Some(i) => Err(TrainError::Data { row: i as u64 / 2 + 1, message: "a pair needs two answers".to_owned() }),
    }
}

fn move_numbers(
    optimizer: &Optimizer,
    (path, param): (&str, &mut ParamMut<'_>),
    gradient: &[f32],
    slots: &mut Slots,
    (lr, gradient_scale, step): (f64, f32, u64),
) {
    let (shape, mut values) = (param.shape(), param.to_vec());
    let update = Update { path, shape: &shape, values: &mut values, gradient, gradient_scale };
    optimizer.apply(update, slots, lr, step);
    param.set(values);
}

/// Decides what is trained and puts the model on the tape.
fn on_tape(mut model: Transformer, frozen_layers: u32) -> Transformer {
    let adapted = adapter::is_adapted(&model);
    let frozen = |path: &str| {
        let layer = path.strip_prefix("layers.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
        match layer {
            Some(layer) => layer < frozen_layers,
            None => frozen_layers > 0 && ["embed.", "embed_norm.", "positions."].iter().any(|p| path.starts_with(p)),
        }
    };
    for (path, mut param) in model.params_mut() {
        param.set_require_grad(if adapted { is_adapter(&path) } else { !frozen(&path) });
    }
    model.train()
}
