//! `cargo xtask bench planner`: what `hearth_shared::plan` says of a run before it begins, beside what the run then takes. Each run has a
//! process of its own; its peak counts above what that process held before it had a model.
//!
//! Memory has no fitted number. Times have one, the share of a matrix product's speed that a step reaches: it is taken from every other
//! run and judged on the rest.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use hearth_model::config::ModelConfig;
use hearth_model::train::{Batches, Run, Sequence};
use hearth_model::transformer::Transformer;
use hearth_model::{adapter, device, plan};
use hearth_shared::spec::{AdapterSpec, LoraSpec, TrainSpec};
use hearth_tests::bench::race::{forget_peak, peak};
use hearth_tests::bench::table::{Table, median};
use serde::{Deserialize, Serialize};

/// Steps of a run; the first warms up.
const STEPS: usize = 4;
/// Readings of the speed of products before each run.
const SPEEDS: usize = 9;

/// A run, small enough to write on a command line.
#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
struct Case {
    vocab: usize,
    width: usize,
    layers: usize,
    heads: (usize, usize),
    /// Rank of the adapter; none trains every weight.
    rank: Option<u32>,
    rows: usize,
    time: usize,
    /// Positions of a pass.
    pass: usize,
    checkpointing: bool,
}

/// What a run took.
#[derive(Serialize, Deserialize, Debug)]
struct Taken {
    bytes: f64,
    seconds: f64,
}

fn cases() -> Vec<Case> {
    let small = Case {
        vocab: 4096,
        width: 128,
        layers: 4,
        heads: (4, 2),
        rank: None,
        rows: 8,
        time: 256,
        pass: 2048,
        checkpointing: false,
    };
    let medium = Case { vocab: 4096, width: 320, layers: 8, heads: (5, 5), ..small };
    let wide = Case { vocab: 16_384, width: 512, layers: 8, heads: (8, 4), rows: 4, time: 256, pass: 1024, ..small };
    let large = Case { vocab: 49_152, width: 576, layers: 30, heads: (9, 3), rows: 2, time: 256, pass: 512, ..small };
    vec![
        small,
        Case { rows: 16, time: 128, ..small },
        Case { checkpointing: true, time: 512, pass: 4096, ..small },
        medium,
        Case { rank: Some(16), ..medium },
        Case { checkpointing: true, ..medium },
        Case { pass: 512, ..medium },
        wide,
        Case { rank: Some(8), rows: 8, pass: 2048, ..wide },
        Case { time: 512, rows: 2, ..wide },
        large,
        Case { rank: Some(16), rows: 4, pass: 1024, ..large },
        Case { rank: Some(16), rows: 4, pass: 1024, checkpointing: true, ..large },
        Case { rank: Some(4), rows: 1, time: 1024, pass: 1024, ..large },
    ]
}

impl Case {
    fn config(&self) -> ModelConfig {
        ModelConfig::llama(self.vocab, self.width, self.layers, self.heads, 2048)
    }

    fn spec(&self) -> TrainSpec {
        TrainSpec {
            adapter: self.rank.map(|r| AdapterSpec::Lora(LoraSpec { r, ..LoraSpec::default() })),
            max_steps: Some(STEPS as u64),
            n_epochs: 1,
            batch_size: self.rows as u32,
            max_length: self.time as u32,
            micro_batch_tokens: self.pass as u32,
            gradient_checkpointing: self.checkpointing,
            ..TrainSpec::default()
        }
    }

    /// Trains, in this process.
    fn run(&self) -> Result<Taken> {
        device::keep_memory();
        // The kernels' threads belong to the idle process.
        device::speed(&device::cpu());
        let spec = self.spec();
        forget_peak()?;
        let idle = peak()?;
        let mut model = Transformer::new(&self.config(), 1, &device::cpu());
        if let Some(adapter) = &spec.adapter {
            adapter::apply(&mut model, adapter, 1, &device::cpu())?;
        }
        let row = |i: usize| (0..=self.time).map(|t| ((i * 7919 + t * 31) % self.vocab) as u32).collect();
        let sequences = (0..STEPS * self.rows).map(|i| Sequence::plain(row(i))).collect();
        let mut run = Run::with(&spec, model, Batches::in_order(sequences, &spec), None)?;
        let mut seconds = Vec::new();
        for _ in 0..STEPS {
            let started = Instant::now();
            run.step()?;
            seconds.push(started.elapsed().as_secs_f64());
        }
        Ok(Taken { bytes: peak()? - idle, seconds: median(seconds[1..].to_vec()) })
    }

    fn name(&self) -> String {
        let parameters = self.config().parameters() as f64 / 1e6;
        let method = self.rank.map_or("full".to_owned(), |r| format!("LoRA r{r}"));
        let again = if self.checkpointing { ", checkpointing" } else { "" };
        format!("{parameters:.1} M, {method}, {} x {} by {}{again}", self.rows, self.time, self.pass)
    }
}

fn main() -> Result<()> {
    if let Some(case) = std::env::args().nth(1) {
        let case: Case = serde_json::from_str(&case)?;
        println!("{}", serde_json::to_string(&case.run()?)?);
        return Ok(());
    }
    let cases = cases();
    let mut memory = Vec::new();
    let mut times = Vec::new();
    for case in &cases {
        // Said before the run.
        let (shape, spec) = (plan::shape(&case.config()), case.spec());
        // No checkpoint is written here.
        let memory_of = shape.memory(&spec);
        let predicted = (memory_of.total - memory_of.checkpoint) as f64;
        // The machine's speed changes by the minute where others work on it too.
        let speed = median((0..SPEEDS).map(|_| device::speed(&device::cpu())).collect());
        let flops = shape.step_flops(&spec, case.time as f64);
        let answer = Command::new(std::env::current_exe()?)
            .arg(serde_json::to_string(case)?)
            .output()
            .context("a run's process")?;
        ensure!(answer.status.success(), "{case:?}: {}", String::from_utf8_lossy(&answer.stderr));
        let taken: Taken = serde_json::from_slice(&answer.stdout)?;
        eprintln!(
            "  {}: {:.3} GB, planned {:.3}; {:.3} s, {:.0} GFLOP/s of {:.0}",
            case.name(),
            taken.bytes / 1e9,
            predicted / 1e9,
            taken.seconds,
            flops / taken.seconds / 1e9,
            speed / 1e9
        );
        memory.push(off(predicted, taken.bytes));
        times.push((flops / speed, taken.seconds));
    }
    let share = median(times.iter().step_by(2).map(|(ideal, seconds)| ideal / seconds).collect());
    let judged = times.iter().skip(1).step_by(2).map(|(ideal, seconds)| off(ideal / share, *seconds)).collect();
    let mut table = Table::default();
    let mut add = |what: &str, error: f64, goal: f64| {
        let mark = format!("{:.0} % or less", goal * 100.0);
        table.add(what, format!("{:.1} %", error * 100.0), "", String::new(), Some((&mark, error <= goal)));
    };
    let worst = memory.iter().copied().fold(0.0, f64::max);
    add(&format!("peak memory, median error of {} runs", cases.len()), median(memory), 0.10);
    add("peak memory, worst error", worst, 0.25);
    add(
        &format!("step time, median error (a step reaches {:.0} % of a product's speed)", share * 100.0),
        median(judged),
        0.20,
    );
    println!("\n{table}");
    table.verdict()
}

/// How far a prediction is off, as a share of what was measured.
fn off(predicted: f64, measured: f64) -> f64 {
    (predicted / measured - 1.0).abs()
}
