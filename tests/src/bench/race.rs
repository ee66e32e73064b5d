//! Training steps beside PyTorch's: the same weights to begin with (ours, read by the peer), the same batches, AdamW and clipping; the
//! losses must agree before the speeds are compared.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use hearth_model::device::{self, Device};
use hearth_model::train::{Batches, Run, Sequence};
use hearth_model::transformer::Transformer;
use hearth_model::{adapter, peft};
use hearth_shared::spec::TrainSpec;
use serde_json::{Value, json};

use super::peers::{Peer, number};
use super::table::{Table, median};

/// Steps whose losses must agree.
const PROVED: usize = 5;
/// Of losses in f32.
const TOLERANCE: f64 = 1e-3;

/// What is raced.
#[derive(Debug)]
pub struct Race<'a> {
    pub what: &'a str,
    /// As the peer reads it: a Hugging Face directory with the model's weights.
    pub base: &'a Path,
    /// Rows a step.
    pub rows: usize,
    /// Positions a row.
    pub time: usize,
    pub steps: usize,
    /// What the ratio of speeds has to reach.
    pub goal: f64,
}

/// Where both sides compute, and how.
#[derive(Debug)]
pub struct Ground {
    pub device: Device,
    /// torch's name of the device.
    pub name: &'static str,
    /// Whether the peer casts products to bf16 and compiles; the spec says the same of our side.
    pub bf16: bool,
    /// What the first losses may differ by.
    pub tolerance: f64,
}

/// Both sides behind their steps.
pub struct Raced {
    /// What the peer says of itself.
    pub about: Value,
    /// Of each step, ours and the peer's.
    pub seconds: [Vec<f64>; 2],
    pub run: Run,
    pub torch: Peer,
}

impl Race<'_> {
    /// Tokens that the race reads.
    pub fn tokens(&self) -> usize {
        self.steps * self.rows * self.time + 1
    }

    /// Both sides' steps in turn on `ids`, on the CPU in f32.
    ///
    /// # Errors
    /// The losses differ, or a side fails.
    pub fn run(&self, table: &mut Table, model: Transformer, spec: &TrainSpec, ids: &[u32]) -> Result<()> {
        let ground = Ground { device: device::cpu(), name: "cpu", bf16: false, tolerance: TOLERANCE };
        let Raced { about, seconds: [ours, theirs], mut torch, .. } = self.on(&ground, model, spec, ids)?;
        let theirs_peak = number(&torch.ask(&json!({"do": "memory"}))?, "peak")?;
        self.enter(table, &about, [&ours, &theirs], [peak()?, theirs_peak]);
        Ok(())
    }

    /// Both sides' steps in turn on `ids`.
    ///
    /// # Errors
    /// The losses differ, or a side fails.
    pub fn on(&self, ground: &Ground, mut model: Transformer, spec: &TrainSpec, ids: &[u32]) -> Result<Raced> {
        let Self { rows, time, steps, .. } = *self;
        let spec = TrainSpec {
            max_steps: Some(steps as u64),
            n_epochs: 1,
            batch_size: rows as u32,
            max_length: time as u32 + 1,
            micro_batch_tokens: (rows * time) as u32,
            final_lr_ratio: 1.0,
            ..spec.clone()
        };
        let scratch = tempfile::tempdir()?;
        let mut order = json!({
            "do": "train", "base": self.base, "learning_rate": spec.learning_rate, "weight_decay": spec.weight_decay,
            "max_grad_norm": spec.max_grad_norm, "device": ground.name, "bf16": ground.bf16,
        });
        if let Some(adapter) = &spec.adapter {
            adapter::apply(&mut model, adapter, 17, &ground.device)?;
            peft::save(scratch.path(), &model, adapter, "base")?;
            order["adapter"] = json!(scratch.path());
        }
        let mut torch = Peer::torch()?;
        let about = torch.ask(&order)?;
        let windows: Vec<&[u32]> = (0..steps * rows).map(|row| &ids[row * time..(row + 1) * time + 1]).collect();
        let sequences = windows.iter().map(|window| Sequence::plain(window.to_vec())).collect();
        let mut run = Run::with(&spec, model, Batches::in_order(sequences, &spec), None)?;
        // What an earlier part of the bench has freed is not this one's.
        device::give_memory_back();
        forget_peak()?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        println!("step  loss Hearth  loss PyTorch  seconds");
        for (step, rows) in windows.chunks_exact(rows).enumerate() {
            let started = Instant::now();
            let report = run.step()?;
            ground.device.sync()?;
            ours.push(started.elapsed().as_secs_f64());
            let answer = torch.ask(&json!({"do": "step", "rows": rows}))?;
            theirs.push(number(&answer, "seconds")?);
            let loss = number(&answer, "loss")?;
            let seconds = format!("{:.3} {:.3}", ours[step], theirs[step]);
            println!("{:>4}  {:>11.5}  {loss:>12.5}  {seconds}", step + 1, report.loss);
            let apart = (report.loss - loss).abs();
            ensure!(step >= PROVED || apart < ground.tolerance, "losses differ by {apart} at step {}", step + 1);
        }
        Ok(Raced { about, seconds: [ours, theirs], run, torch })
    }

    fn enter(&self, table: &mut Table, about: &Value, [ours, theirs]: [&[f64]; 2], [our_peak, peak]: [f64; 2]) {
        // The first step warms both up.
        let ratio = median(ours.iter().zip(theirs).skip(1).map(|(ours, theirs)| theirs / ours).collect());
        let rate = |seconds: &[f64]| (self.rows * self.time) as f64 / median(seconds[1..].to_vec());
        let text = |key: &str| about[key].as_str().unwrap_or_default().to_owned();
        let what = format!("{}, {} x {}, f32, 2 threads", self.what, self.rows, self.time);
        let hearth = format!("{:.0} tok/s, peak {:.2} GB", rate(ours), our_peak / 1e9);
        let peer = format!("{}: {:.0} tok/s, peak {:.2} GB", text("name"), rate(theirs), peak / 1e9);
        let goal = format!("{}x", self.goal);
        table.add(&what, hearth, &peer, format!("{ratio:.2}x"), Some((&goal, ratio >= self.goal)));
        let memory = our_peak / peak;
        let goal = Some(("no more", memory <= 1.0));
        table.add(&format!("peak memory: {}", self.what), String::new(), "", format!("{memory:.2}x"), goal);
    }
}

/// The peak counts from here on.
///
/// # Errors
/// The system keeps none.
pub fn forget_peak() -> Result<()> {
    Ok(std::fs::write("/proc/self/clear_refs", "5")?)
}

/// Bytes that this process has held at most.
///
/// # Errors
/// The system does not say.
pub fn peak() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("a peak")?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024.0)
}
