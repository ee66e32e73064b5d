//! `cargo xtask bench planner`: what `hearth_shared::plan` says of a run before it begins, beside what the run then takes. Each run has a
//! process of its own, which begins as a training process does; its peak counts above what that process held before it had a model.
//!
//! Every prediction is the product's own estimate on this machine's measured sheet. It stands in a file before its run begins, and is judged as
//! it is: nothing is fitted here.

use std::fs::File;
use std::io::Write as _;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use hearth_model::config::{Gpt2Size, ModelConfig};
use hearth_model::train::pace::pace;
use hearth_model::train::{Batches, Run, Sequence};
use hearth_model::transformer::Transformer;
use hearth_model::{adapter, device, plan};
use hearth_shared::plan::devices::DeviceSheet;
use hearth_shared::plan::estimate::{Layout, Place};
use hearth_shared::spec::{AdapterSpec, LoraSpec, Precision, TrainSpec};
use hearth_tests::bench::race::{forget_peak, peak};
use hearth_tests::bench::table::{Table, median};
use hearth_tests::places;
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
    /// GPT-2's blocks with its dropout of a tenth; else Llama's.
    gpt2: bool,
    precision: Precision,
}

/// What is said of a run before it begins.
#[derive(Serialize, Debug)]
struct Prediction {
    name: String,
    case: Case,
    /// Of this machine, measured just before.
    sheet: DeviceSheet,
    bytes: f64,
    seconds: f64,
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
        gpt2: false,
        precision: Precision::Auto,
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
        Case { gpt2: true, ..small },
        Case { gpt2: true, rows: 4, time: 512, pass: 1024, ..medium },
        Case { precision: Precision::Bf16, ..small },
        Case { precision: Precision::Bf16, rows: 4, pass: 1024, ..medium },
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
        let llama = ModelConfig::llama(self.vocab, self.width, self.layers, self.heads, 2048);
        if !self.gpt2 {
            return llama;
        }
        ModelConfig {
            d_model: self.width,
            n_layers: self.layers,
            n_heads: self.heads.0,
            // It has no grouped queries.
            kv_heads: self.heads.0,
            head_dim: llama.head_dim,
            ffn_dim: 4 * self.width,
            ..ModelConfig::gpt2(Gpt2Size::Small, self.vocab)
        }
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
            precision: self.precision,
            ..TrainSpec::default()
        }
    }

    /// By the product's arithmetic, on this machine as it is now: its speed changes by the minute where others work on it too.
    fn predicted(&self) -> Prediction {
        let speed = median((0..SPEEDS).map(|_| device::speed(&device::cpu())).collect());
        let memory = device::info(&device::cpu()).memory_total.unwrap_or(0) as f64;
        let sheet = DeviceSheet {
            pace: pace(&device::cpu(), speed),
            ..DeviceSheet::measured("this machine", memory, speed, device::bandwidth())
        };
        let place = Place::usual(&sheet, Layout::SINGLE);
        let estimate = plan::shape(&self.config()).estimate(&self.spec(), self.time as f64, place);
        // No checkpoint is written here.
        let bytes = (estimate.memory.total - estimate.memory.checkpoint) as f64;
        Prediction { name: self.name(), case: *self, bytes, seconds: estimate.seconds, sheet }
    }

    /// Trains, in this process.
    fn run(&self) -> Result<Taken> {
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
        // As a job's process does once its run is open.
        device::keep_memory();
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
        let family = if self.gpt2 { ", gpt2 with dropout" } else { "" };
        let emulated = match self.precision {
            Precision::Auto => String::new(),
            precision => format!(", {} emulated", precision.as_str()),
        };
        format!("{parameters:.1} M, {method}, {} x {} by {}{again}{family}{emulated}", self.rows, self.time, self.pass)
    }
}

fn main() -> Result<()> {
    // As every process that trains, before its first thread.
    device::one_heap();
    if let Some(case) = std::env::args().nth(1) {
        let case: Case = serde_json::from_str(&case)?;
        println!("{}", serde_json::to_string(&case.run()?)?);
        return Ok(());
    }
    let path = places::output("planner-predictions.jsonl")?;
    let mut predictions = File::create(&path)?;
    eprintln!("  predictions: {}", path.display());
    let (mut memory, mut times) = (Vec::new(), Vec::new());
    for case in cases() {
        let predicted = case.predicted();
        writeln!(predictions, "{}", serde_json::to_string(&predicted)?)?;
        predictions.sync_all()?;
        let answer = Command::new(std::env::current_exe()?)
            .arg(serde_json::to_string(&case)?)
            .output()
            .context("a run's process")?;
        ensure!(answer.status.success(), "{case:?}: {}", String::from_utf8_lossy(&answer.stderr));
        let taken: Taken = serde_json::from_slice(&answer.stdout)?;
        let flops = plan::shape(&case.config()).step_flops(&case.spec(), case.time as f64);
        eprintln!(
            "  {}: {:.3} GB, planned {:.3}; {:.3} s, planned {:.3}; {:.0} GFLOP/s of {:.0}",
            predicted.name,
            taken.bytes / 1e9,
            predicted.bytes / 1e9,
            taken.seconds,
            predicted.seconds,
            flops / taken.seconds / 1e9,
            predicted.sheet.f32 / 1e9
        );
        memory.push(off(predicted.bytes, taken.bytes));
        times.push(off(predicted.seconds, taken.seconds));
    }
    judge(memory, times)
}

/// The errors of all runs, against what the planner has to reach.
fn judge(memory: Vec<f64>, times: Vec<f64>) -> Result<()> {
    let mut table = Table::default();
    let mut add = |what: &str, error: f64, goal: f64| {
        let mark = format!("{:.0} % or less", goal * 100.0);
        table.add(what, format!("{:.1} %", error * 100.0), "", String::new(), Some((&mark, error <= goal)));
    };
    let worst = |errors: &[f64]| errors.iter().copied().fold(0.0, f64::max);
    let (runs, worst_memory, worst_time) = (memory.len(), worst(&memory), worst(&times));
    add(&format!("peak memory, median error of {runs} runs"), median(memory), 0.10);
    add("peak memory, worst error", worst_memory, 0.25);
    add(&format!("step time, median error of {runs} runs"), median(times), 0.20);
    table.add("step time, worst error", format!("{:.1} %", worst_time * 100.0), "", String::new(), None);
    println!("\n{table}");
    table.verdict()
}

/// How far a prediction is off, as a share of what was measured.
fn off(predicted: f64, measured: f64) -> f64 {
    (predicted / measured - 1.0).abs()
}
