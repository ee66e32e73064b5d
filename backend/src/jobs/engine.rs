//! From a job's spec to the training engine: the one place where jobs touch tensors, in the job's own process.
//!
//! What a step has to say is said before its checkpoint is written, and a checkpoint is announced again when a run is taken
//! up from it: whatever moment a kill hits, repeating from the checkpoint leaves no event out.

pub mod export;
pub mod pretrain;
mod tune;
mod vocabulary;
pub mod whole;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context as _, Result};
use hearth_model::bundle::{ModelBundle, Precision};
use hearth_model::device;
use hearth_model::generate::{Generation, Step};
use hearth_model::tokenizer::Special;
use hearth_model::train::{Run, StepReport, TrainError, save};
use hearth_model::transformer::Transformer;
use hearth_model::{peft, plan};
use hearth_shared::event::{Level, Measured, Metrics, RunEvent};
use hearth_shared::spec::{Objective, SampleSpec, Sampling, TrainSpec, Watchdog, WorkSpec};
use hearth_shared::text::{Message, Role};

use super::child::{Order, Outcome};
use super::events::{LOG, whole_lines};
use crate::{ids, system};

/// How often the watchdog lets a run go on.
const MOST_RESCUES: u32 = 8;
/// Steps whose pace is averaged.
const PACE: usize = 10;

type Emit<'a> = &'a mut dyn FnMut(RunEvent) -> Result<()>;

/// Runs to the end or to an order. Checkpoints go to `checkpoints/`, the result to `result/`.
pub fn run(spec: &WorkSpec, folder: &Path, order: &dyn Fn() -> Option<Order>, emit: Emit<'_>) -> Result<Outcome> {
    let checkpoints = folder.join("checkpoints");
    // A checkpoint whose rename a kill cut in two stands under another name.
    recover(&checkpoints);
    let opened = match spec {
        WorkSpec::FineTune(spec) => tune::open(spec, &checkpoints)?,
        WorkSpec::Pretrain(spec) => match pretrain::open(spec, folder, order, emit)? {
            Some(opened) => opened,
            None => return Ok(Outcome::Left),
        },
        WorkSpec::Tokenizer(spec) => return vocabulary::run(spec, folder, emit),
        WorkSpec::Export(spec) => return export::run(spec, folder, order, emit),
    };
    let mut work = Work::new(opened, folder);
    // This process does nothing else; what loading needed was given back.
    device::keep_memory();
    let done = work.go(order, emit);
    if done.is_err() {
        // A checkpoint from before the fault stands, and is said to.
        let _ = work.settle(emit);
    }
    done
}

/// A run that is ready to go.
struct Opened {
    train: TrainSpec,
    /// Name that goes into the adapter's `base_model_name_or_path`.
    model_name: String,
    /// For its tokenizer and template; its weights are the run's, which shares them, or empty.
    bundle: ModelBundle,
    run: Run,
    /// Tokens of an example.
    mean_length: f64,
    idle: Idle,
}

/// The process before it has a model, its kernels and their threads in it.
#[derive(Clone, Copy)]
struct Idle {
    /// Floating point operations a second of a large product.
    speed: f64,
    /// Bytes that it holds.
    memory: Option<u64>,
}

impl Idle {
    fn now() -> Self {
        let speed = device::speed(&device::best());
        // Only what is needed from here on counts as the run's.
        device::give_memory_back();
        system::forget_peak();
        Self { speed, memory: system::memory().process }
    }
}

struct Work<'a> {
    train: TrainSpec,
    model_name: String,
    folder: &'a Path,
    bundle: ModelBundle,
    run: Run,
    /// When the last steps ended, and the tokens each had.
    pace: Vec<(Instant, u64)>,
    /// Bytes that the process held before it had a model.
    idle: Option<u64>,
    /// How long each step took.
    durations: Vec<f64>,
    /// Floating point operations a second that the device reaches.
    speed: f64,
    flops_per_token: f64,
    last: Losses,
    writing: Option<Writing>,
    rescues: u32,
}

/// Of the last step: its loss, and the validation's with its accuracy.
#[derive(Clone, Copy, Default)]
struct Losses {
    train: Option<f64>,
    valid: Option<(f64, f64)>,
}

/// A checkpoint that another thread is writing.
struct Writing {
    thread: JoinHandle<Result<(), TrainError>>,
    step: u64,
    /// What is said of it when it stands; none keeps it quiet.
    losses: Option<Losses>,
}

impl<'a> Work<'a> {
    /// To the end, or to an order.
    fn go(&mut self, order: &dyn Fn() -> Option<Order>, emit: Emit<'_>) -> Result<Outcome> {
        let resumed = self.run.progress().step;
        if resumed > 0 {
            self.say(emit, format!("Continuing after step {resumed}"))?;
            if self.is_checkpoint(resumed) {
                self.announce(resumed, said_before(self.folder, resumed), emit)?;
            }
        }
        if self.train.watchdog == Watchdog::RollBack && save::latest(&self.checkpoints()).is_none() {
            self.save(false)?;
        }
        while !self.run.is_done() {
            match order() {
                Some(Order::Cancel) => {
                    if self.writing.as_ref().is_some_and(|writing| writing.thread.is_finished()) {
                        self.settle(emit)?;
                    }
                    return Ok(Outcome::Left);
                }
                Some(Order::Suspend) => {
                    let step = self.run.progress().step;
                    let stands = self.writing.as_ref().is_some_and(|writing| writing.step == step);
                    self.settle(emit)?;
                    if step > 0 && !stands {
                        self.save(false)?;
                        self.settle(emit)?;
                    }
                    return Ok(Outcome::Left);
                }
                None => self.step(emit)?,
            }
        }
        self.finish(emit)
    }

    fn new(opened: Opened, folder: &'a Path) -> Self {
        let Opened { train, model_name, bundle, run, mean_length, idle } = opened;
        let flops_per_token = plan::shape(&bundle.config).flops_per_token(mean_length, train.adapter.is_none());
        Self {
            train,
            model_name,
            folder,
            bundle,
            run,
            pace: Vec::new(),
            idle: idle.memory,
            durations: Vec::new(),
            speed: idle.speed,
            flops_per_token,
            last: Losses::default(),
            writing: None,
            rescues: 0,
        }
    }

    fn step(&mut self, emit: Emit<'_>) -> Result<()> {
        let started = Instant::now();
        let report = match self.run.step() {
            Ok(report) => report,
            Err(error) => return self.rescue(error, emit),
        };
        let seconds = started.elapsed().as_secs_f64();
        self.durations.push(seconds);
        // Whoever computes faster than a product did was measured while others worked. Frozen blocks are counted whole, though, and a
        // card's own bf16 is no f32 product.
        if self.train.frozen_layers == 0 && device::is_cpu(&device::best()) {
            self.speed = self.speed.max(report.tokens as f64 * self.flops_per_token / seconds);
        }
        let total = self.run.total_steps();
        let every = self.train.eval_every;
        let evaluates = report.step == total || (every > 0 && report.step.is_multiple_of(every));
        let evaluation = if evaluates { self.run.judge() } else { None };
        let valid = evaluation.map(|found| (found.loss, found.accuracy));
        self.last = Losses { train: Some(report.loss), valid };
        emit(RunEvent::Metrics(self.metrics(&report, total)))?;
        if let Some(scale) = report.loss_scale {
            self.scale_news(&report, scale, emit)?;
        }
        if self.is_sampled(report.step) {
            self.samples(report.step, emit)?;
        }
        if self.is_checkpoint(report.step) {
            self.settle(emit)?;
            self.save(true)?;
        } else if self.writing.as_ref().is_some_and(|writing| writing.thread.is_finished()) {
            self.settle(emit)?;
        }
        Ok(())
    }

    /// Every change of the loss scale.
    fn scale_news(&self, report: &StepReport, scale: f64, emit: Emit<'_>) -> Result<()> {
        let now = self.run.loss_scale().unwrap_or(scale);
        let text = if report.overflowed() {
            format!(
                "Step {}: a gradient overflowed and nothing was changed; the loss scale falls from {scale} to {now}",
                report.step
            )
        } else if now > scale {
            format!("Step {}: the loss scale rises from {scale} to {now}", report.step)
        } else {
            return Ok(());
        };
        self.say(emit, text)
    }

    /// What the spec's watchdog says to a step that went wrong; an error when the run can't go on.
    fn rescue(&mut self, error: TrainError, emit: Emit<'_>) -> Result<()> {
        self.settle(emit)?;
        let wrong = matches!(error, TrainError::Diverged { .. } | TrainError::Spike { .. });
        let watchdog = self.train.watchdog;
        if !wrong || watchdog == Watchdog::Stop {
            return Err(error.into());
        }
        self.rescues += 1;
        if self.rescues > MOST_RESCUES {
            return Err(
                anyhow::Error::from(error).context(format!("the watchdog stepped in {MOST_RESCUES} times already"))
            );
        }
        let done = match save::latest(&self.checkpoints()) {
            Some(last) if watchdog == Watchdog::RollBack => {
                self.run.roll_back(&last)?;
                format!("back to step {}, and the examples since then are left out", self.run.progress().step)
            }
            _ => {
                self.run.skip();
                "the step's examples are left out".to_owned()
            }
        };
        emit(RunEvent::Message { level: Level::Warn, text: format!("{error}; {done}") })
    }

    /// The last step, each after so many, and each best one where the result is the best.
    fn is_checkpoint(&self, step: u64) -> bool {
        let every = self.train.checkpoint_every;
        let best = self.train.early_stop.and(self.run.watch().best);
        self.run.is_done() || (every > 0 && step.is_multiple_of(every)) || best.is_some_and(|best| best.step == step)
    }

    /// Each after so many and the last; with checkpoints where the spec leaves it open.
    fn is_sampled(&self, step: u64) -> bool {
        match self.train.samples_every {
            0 => self.is_checkpoint(step),
            every => self.run.is_done() || step.is_multiple_of(every),
        }
    }

    fn metrics(&mut self, report: &StepReport, total: u64) -> Metrics {
        self.pace.push((Instant::now(), report.tokens));
        if self.pace.len() > PACE + 1 {
            self.pace.remove(0);
        }
        let seconds = self.pace.first().map_or(0.0, |(first, _)| first.elapsed().as_secs_f64());
        let steps = self.pace.len() as f64 - 1.0;
        let tokens: u64 = self.pace.iter().skip(1).map(|(_, tokens)| tokens).sum();
        let measured = steps > 0.0 && seconds > 0.0;
        let tokens_per_second = if measured { tokens as f64 / seconds } else { 0.0 };
        let progress = self.run.progress();
        Metrics {
            step: report.step,
            total_steps: total,
            train_loss: report.loss,
            train_accuracy: report.accuracy,
            valid_loss: self.last.valid.map(|(loss, _)| loss),
            valid_accuracy: self.last.valid.map(|(_, accuracy)| accuracy),
            lr: report.lr,
            grad_norm: report.grad_norm,
            trained_tokens: progress.trained_tokens,
            tokens: progress.tokens,
            tokens_per_second,
            memory: system::memory().process,
            utilisation: measured.then(|| tokens_per_second * self.flops_per_token / self.speed),
            seconds_left: measured.then(|| (total - report.step) as f64 * seconds / steps),
            time: Some(ids::now_exact()),
            epoch: self.run.epoch(),
            skipped: progress.skipped,
            loss_scale: report.loss_scale,
            zero_gradients: report.zero_gradients,
        }
    }

    /// Answers the spec's prompts with the weights as they are.
    fn samples(&mut self, step: u64, emit: Emit<'_>) -> Result<()> {
        let prompts = &self.train.samples;
        if prompts.is_empty() {
            return Ok(());
        }
        // A model that has only read documents goes on with the prompt.
        let chats = self.train.objective == Objective::Chat;
        let base = std::mem::replace(&mut self.bundle.transformer, self.run.model());
        let texts: Result<Vec<String>> = prompts.iter().map(|prompt| sample(&self.bundle, prompt, chats)).collect();
        self.bundle.transformer = base;
        for (prompt, text) in prompts.iter().zip(texts?) {
            emit(RunEvent::Sample { step, prompt: prompt.prompt.clone(), text })?;
        }
        Ok(())
    }

    fn checkpoints(&self) -> PathBuf {
        self.folder.join("checkpoints")
    }

    fn checkpoint(&self, step: u64) -> PathBuf {
        self.checkpoints().join(format!("step-{step}"))
    }

    /// Begins to write a checkpoint with, in the same folder, the adapter as PEFT reads it. The run goes on meanwhile; one
    /// checkpoint is written at a time.
    fn save(&mut self, said: bool) -> Result<()> {
        self.prune()?;
        let mut snapshot = self.run.snapshot();
        if let Some(adapter) = &self.train.adapter {
            let files = peft::to_files(&self.run.model(), adapter, &self.model_name)?;
            snapshot.files.extend([(peft::CONFIG.into(), files.config), (peft::WEIGHTS.into(), files.weights)]);
        }
        let (step, folder) = (snapshot.step(), self.checkpoint(snapshot.step()));
        let thread = std::thread::spawn(move || snapshot.write(&folder, &mut save::RealDisk));
        self.writing = Some(Writing { thread, step, losses: said.then_some(self.last) });
        Ok(())
    }

    /// Waits until the checkpoint that is being written stands, and says so.
    fn settle(&mut self, emit: Emit<'_>) -> Result<()> {
        let Some(Writing { thread, step, losses }) = self.writing.take() else {
            return Ok(());
        };
        thread.join().map_err(|_| anyhow::anyhow!("the thread that wrote the checkpoint of step {step} died"))??;
        losses.map_or(Ok(()), |losses| self.announce(step, losses, emit))
    }

    /// Clears older checkpoints away. The newest stays in any case: the server may be reading it.
    fn prune(&self) -> Result<()> {
        let best = self.run.watch().best.map(|best| best.step);
        let all = save::steps(&self.checkpoints());
        for (step, old) in all.iter().rev().skip(self.train.keep_checkpoints as usize) {
            // The adapters of older ones were registered long ago.
            if Some(*step) != best {
                fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))?;
            }
        }
        Ok(())
    }

    fn announce(&self, step: u64, losses: Losses, emit: Emit<'_>) -> Result<()> {
        emit(RunEvent::Checkpoint {
            step,
            name: format!("step-{step}"),
            train_loss: losses.train,
            valid_loss: losses.valid.map(|(loss, _)| loss),
            valid_accuracy: losses.valid.map(|(_, accuracy)| accuracy),
        })
    }

    /// Writes the result and says so.
    fn finish(&mut self, emit: Emit<'_>) -> Result<Outcome> {
        self.settle(emit)?;
        self.prune()?;
        let result = self.folder.join("result");
        if result.exists() {
            fs::remove_dir_all(&result)?;
        }
        let model = self.best(emit)?;
        match &self.train.adapter {
            Some(adapter) => peft::save(&result, &model, adapter, &self.model_name)?,
            None => {
                self.bundle.transformer = model;
                self.bundle.save(&result, Precision::F32)?;
            }
        }
        let progress = self.run.progress();
        let measured = Some(self.measured());
        emit(RunEvent::Done { step: progress.step, trained_tokens: progress.trained_tokens, measured })?;
        Ok(Outcome::Done)
    }

    /// Of this attempt: one that was taken up again has only its own steps.
    fn measured(&mut self) -> Measured {
        self.durations.sort_by(f64::total_cmp);
        let peak = system::peak();
        Measured {
            peak_memory: peak.zip(self.idle).map(|(peak, idle)| peak.saturating_sub(idle)),
            peak_process: peak,
            step_seconds: self.durations.get(self.durations.len() / 2).copied(),
            speed: self.speed,
        }
    }

    /// The model that the run was for: where it waited for a better one in vain, the best; else the last.
    fn best(&self, emit: Emit<'_>) -> Result<Transformer> {
        let train = &self.train;
        let Some((early_stop, best)) = train.early_stop.zip(self.run.watch().best) else {
            return Ok(self.run.model());
        };
        if self.run.is_stale() {
            let text = format!("Stopped early: {early_stop} evaluations without a better validation loss");
            emit(RunEvent::Message { level: Level::Info, text })?;
        }
        let text = format!("The result is step {}, with a validation loss of {:.4}", best.step, best.loss);
        emit(RunEvent::Message { level: Level::Info, text })?;
        Ok(save::load_weights(&self.checkpoint(best.step), self.run.model())?)
    }

    fn say(&self, emit: Emit<'_>, text: String) -> Result<()> {
        emit(RunEvent::Message { level: Level::Info, text })
    }
}

fn recover(checkpoints: &Path) {
    let Ok(entries) = fs::read_dir(checkpoints) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(step) = name.strip_prefix(".old-") {
            save::recover(&checkpoints.join(step));
        }
        // What is still there is half a checkpoint, or one that a whole one has replaced.
        if name.starts_with(".old-") || name.starts_with(".new-") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// What an earlier attempt said of a step before it wrote the step's checkpoint.
fn said_before(folder: &Path, step: u64) -> Losses {
    let bytes = fs::read(folder.join(LOG)).unwrap_or_default();
    let (lines, _) = whole_lines(&bytes);
    let metrics = lines.into_iter().rev().find_map(|line| match line.event {
        RunEvent::Metrics(metrics) if metrics.step == step => Some(metrics),
        _ => None,
    });
    metrics.map_or_else(Losses::default, |metrics| Losses {
        train: Some(metrics.train_loss),
        valid: metrics.valid_loss.zip(metrics.valid_accuracy),
    })
}

fn sample(bundle: &ModelBundle, sample: &SampleSpec, chats: bool) -> Result<String> {
    let ids = match bundle.template.as_ref().filter(|_| chats) {
        Some(template) => template.encode(&bundle.tokenizer, &[Message::new(Role::User, &sample.prompt)], true)?,
        None => bundle.tokenizer.encode(&sample.prompt, Special::Plain),
    };
    let mut generation = Generation::new(bundle, &ids, &Sampling::greedy(), Some(sample.max_tokens as usize))?;
    let mut text = String::new();
    loop {
        match generation.step(bundle) {
            Step::Prefilled => {}
            Step::Token(token) => text.push_str(&token.text),
            Step::Finished(_) => return Ok(text),
        }
    }
}
