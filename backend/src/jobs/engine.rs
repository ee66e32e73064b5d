//! From a job's spec to the training engine: the one place where jobs touch tensors, in the job's own process.
//!
//! What a step has to say is said before its checkpoint is written, and a checkpoint is announced again when a run is taken
//! up from it: whatever moment a kill hits, repeating from the checkpoint leaves no event out.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use hearth_model::bundle::{ModelBundle, Precision};
use hearth_model::device;
use hearth_model::generate::{Generation, Step};
use hearth_model::tokenizer::Special;
use hearth_model::train::{Run, Sequence, StepReport, data, save};
use hearth_model::{lora, peft};
use hearth_shared::event::{Level, Metrics, RunEvent};
use hearth_shared::spec::{JobSpec, SampleSpec, Sampling};
use hearth_shared::text::{Message, Role, validate};

use super::child::{Order, Outcome};

/// Checkpoints that stay on disk; the adapters of older ones were registered long ago.
const KEPT: usize = 3;
/// Steps whose pace is averaged.
const PACE: usize = 10;

type Emit<'a> = &'a mut dyn FnMut(RunEvent) -> Result<()>;

/// Runs to the end or to an order. Checkpoints go to `checkpoints/`, the result to `result/`.
pub fn run(spec: &JobSpec, folder: &Path, order: &dyn Fn() -> Option<Order>, emit: Emit<'_>) -> Result<Outcome> {
    // This process does nothing else.
    device::keep_memory();
    let mut work = Work::open(spec, folder)?;
    let resumed = work.run.progress().step;
    if resumed > 0 {
        work.say(emit, format!("Continuing after step {resumed}"))?;
        if work.is_checkpoint(resumed) {
            work.announce(resumed, emit)?;
        }
    }
    while !work.run.is_done() {
        match order() {
            Some(Order::Cancel) => return Ok(Outcome::Left),
            Some(Order::Suspend) => {
                work.save(work.run.progress().step)?;
                return Ok(Outcome::Left);
            }
            None => work.step(emit)?,
        }
    }
    work.finish(emit)
}

struct Work<'a> {
    spec: &'a JobSpec,
    folder: &'a Path,
    /// The base, for its tokenizer and template; its weights are the run's, which shares them.
    bundle: ModelBundle,
    run: Run,
    /// When the last steps ended, and the tokens each had.
    pace: Vec<(Instant, u64)>,
    last_loss: Option<f64>,
    last_valid: Option<(f64, f64)>,
}

impl<'a> Work<'a> {
    fn open(spec: &'a JobSpec, folder: &'a Path) -> Result<Self> {
        let device = device::best();
        let bundle = ModelBundle::load(Path::new(&spec.model_path), &device, &mut |_| ControlFlow::Continue(()))
            .context("cannot load the base model")?;
        let training = sequences(&spec.training_file, &bundle, spec)?;
        let validation = spec.validation_file.as_ref().map(|file| sequences(file, &bundle, spec)).transpose()?;
        let mut model = bundle.transformer.clone();
        if let Some(adapter) = &spec.train.lora {
            lora::apply(&mut model, adapter, spec.train.seed, &device)?;
        }
        let checkpoints = folder.join("checkpoints");
        // A checkpoint whose rename a kill cut in two stands under another name.
        recover(&checkpoints);
        let run = match save::latest(&checkpoints) {
            Some(last) => Run::resume(&last, &spec.train, model, training, validation)?,
            None => Run::new(&spec.train, model, training, validation)?,
        };
        Ok(Self { spec, folder, bundle, run, pace: Vec::new(), last_loss: None, last_valid: None })
    }

    fn step(&mut self, emit: Emit<'_>) -> Result<()> {
        let report = self.run.step()?;
        let total = self.run.total_steps();
        let every = self.spec.train.eval_every;
        let evaluates = report.step == total || (every > 0 && report.step.is_multiple_of(every));
        let evaluation = if evaluates { self.run.evaluate() } else { None };
        self.last_loss = Some(report.loss);
        self.last_valid = evaluation.map(|found| (found.loss, found.accuracy));
        emit(RunEvent::Metrics(self.metrics(&report, total)))?;
        if self.is_checkpoint(report.step) {
            self.samples(report.step, emit)?;
            self.save(report.step)?;
            self.announce(report.step, emit)?;
        }
        Ok(())
    }

    fn is_checkpoint(&self, step: u64) -> bool {
        let every = self.spec.train.checkpoint_every;
        step == self.run.total_steps() || (every > 0 && step.is_multiple_of(every))
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
        let progress = self.run.progress();
        Metrics {
            step: report.step,
            total_steps: total,
            train_loss: report.loss,
            train_accuracy: report.accuracy,
            valid_loss: self.last_valid.map(|(loss, _)| loss),
            valid_accuracy: self.last_valid.map(|(_, accuracy)| accuracy),
            lr: report.lr,
            grad_norm: report.grad_norm,
            trained_tokens: progress.trained_tokens,
            tokens: progress.tokens,
            tokens_per_second: if measured { tokens as f64 / seconds } else { 0.0 },
            seconds_left: measured.then(|| (total - report.step) as f64 * seconds / steps),
            epoch: self.run.epoch(),
        }
    }

    /// Answers the spec's prompts with the weights as they are.
    fn samples(&mut self, step: u64, emit: Emit<'_>) -> Result<()> {
        let prompts = &self.spec.train.samples;
        if prompts.is_empty() {
            return Ok(());
        }
        let base = std::mem::replace(&mut self.bundle.transformer, self.run.model());
        let texts: Result<Vec<String>> = prompts.iter().map(|prompt| sample(&self.bundle, prompt)).collect();
        self.bundle.transformer = base;
        for (prompt, text) in prompts.iter().zip(texts?) {
            emit(RunEvent::Sample { step, prompt: prompt.prompt.clone(), text })?;
        }
        Ok(())
    }

    fn checkpoint(&self, step: u64) -> PathBuf {
        self.folder.join("checkpoints").join(format!("step-{step}"))
    }

    /// Writes the checkpoint and, into the same folder, the adapter as PEFT reads it.
    fn save(&self, step: u64) -> Result<()> {
        let folder = self.checkpoint(step);
        if step == 0 {
            return Ok(());
        }
        self.run.save(&folder, &mut save::RealDisk)?;
        let all = save::steps(&self.folder.join("checkpoints"));
        for (_, old) in all.iter().rev().skip(KEPT) {
            fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
        Ok(())
    }

    fn announce(&mut self, step: u64, emit: Emit<'_>) -> Result<()> {
        let folder = self.checkpoint(step);
        if let Some(adapter) = &self.spec.train.lora {
            peft::save(&folder, &self.run.model(), adapter, &self.spec.model_name)?;
        }
        emit(RunEvent::Checkpoint {
            step,
            name: format!("step-{step}"),
            train_loss: self.last_loss,
            valid_loss: self.last_valid.map(|(loss, _)| loss),
            valid_accuracy: self.last_valid.map(|(_, accuracy)| accuracy),
        })
    }

    /// Writes the result and says so.
    fn finish(mut self, emit: Emit<'_>) -> Result<Outcome> {
        let result = self.folder.join("result");
        if result.exists() {
            fs::remove_dir_all(&result)?;
        }
        match &self.spec.train.lora {
            Some(adapter) => peft::save(&result, &self.run.model(), adapter, &self.spec.model_name)?,
            None => {
                self.bundle.transformer = self.run.model();
                self.bundle.save(&result, Precision::F32)?;
            }
        }
        let progress = self.run.progress();
        emit(RunEvent::Done { step: progress.step, trained_tokens: progress.trained_tokens })?;
        Ok(Outcome::Done)
    }

    fn say(&self, emit: Emit<'_>, text: String) -> Result<()> {
        emit(RunEvent::Message { level: Level::Info, text })
    }
}

/// The file's examples as the trainer reads them. The validator passed them before; this cannot shorten them.
fn sequences(file: &str, bundle: &ModelBundle, spec: &JobSpec) -> Result<Vec<Sequence>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {file}"))?;
    let (_, examples) =
        validate::examples(&bytes).map_err(|problem| anyhow::anyhow!("row {}: {}", problem.row, problem.message))?;
    Ok(data::encode(&examples, &bundle.voice(), spec.train.max_length as usize)?)
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
    }
}

fn sample(bundle: &ModelBundle, sample: &SampleSpec) -> Result<String> {
    let ids = match &bundle.template {
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
