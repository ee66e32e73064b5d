//! LoRA steps of SmolLM2-135M beside PEFT: the same adapter to begin with (ours, read by PEFT), the same batches, AdamW and
//! clipping; the losses must agree before the speeds are compared.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use hearth_model::train::{Batches, Run, Sequence};
use hearth_model::{device, lora, peft};
use hearth_shared::spec::{AdapterSpec, LoraSpec, TrainSpec};
use serde_json::json;

use crate::peers::{Peer, exported, number, smollm2, text};
use crate::table::{Table, median};

const STEPS: usize = 8;
/// Steps whose losses must agree.
const PROVED: usize = 5;
const ROWS: usize = 4;
const TIME: usize = 256;
const TOLERANCE: f64 = 1e-3;

pub(crate) fn run(table: &mut Table) -> Result<()> {
    let mut bundle = smollm2()?;
    let base = exported(&bundle)?;
    let ids = text(&bundle, STEPS * ROWS * TIME + 1)?;
    let windows: Vec<Vec<u32>> = (0..STEPS * ROWS).map(|row| ids[row * TIME..(row + 1) * TIME + 1].to_vec()).collect();
    let spec = TrainSpec {
        max_steps: Some(STEPS as u64),
        n_epochs: 1,
        batch_size: ROWS as u32,
        max_length: TIME as u32 + 1,
        micro_batch_tokens: (ROWS * TIME) as u32,
        learning_rate: 1e-3,
        final_lr_ratio: 1.0,
        ..TrainSpec::default()
    };
    let adapter = LoraSpec::default();
    lora::apply(&mut bundle.transformer, &adapter, 17, &device::cpu())?;
    let scratch = tempfile::tempdir()?;
    peft::save(scratch.path(), &bundle.transformer, &AdapterSpec::Lora(adapter.clone()), "smollm2-135m")?;
    let mut torch = Peer::torch()?;
    torch.ask(&json!({
        "do": "lora", "base": base, "adapter": scratch.path(),
        "learning_rate": spec.learning_rate, "max_grad_norm": spec.max_grad_norm,
    }))?;
    let sequences = windows.iter().cloned().map(Sequence::plain).collect();
    let mut run = Run::with(&spec, bundle.transformer, Batches::in_order(sequences, &spec), None)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    println!("step  loss Hearth  loss PEFT");
    for (step, rows) in windows.chunks_exact(ROWS).enumerate() {
        let started = Instant::now();
        let report = run.step()?;
        ours.push(started.elapsed().as_secs_f64());
        let answer = torch.ask(&json!({"do": "step", "rows": rows}))?;
        theirs.push(number(&answer, "seconds")?);
        let loss = number(&answer, "loss")?;
        println!("{:>4}  {:>11.5}  {loss:>9.5}", step + 1, report.loss);
        let apart = (report.loss - loss).abs();
        ensure!(step >= PROVED || apart < TOLERANCE, "losses differ by {apart} at step {}", step + 1);
    }
    // The first step warms both up.
    let ratio = median(ours.iter().zip(&theirs).skip(1).map(|(ours, theirs)| theirs / ours).collect());
    let rate = |seconds: &[f64]| (ROWS * TIME) as f64 / median(seconds[1..].to_vec());
    let peak = number(&torch.ask(&json!({"do": "memory"}))?, "peak")?;
    let what = format!("LoRA r{} on all linear layers, {ROWS} x {TIME}, f32", adapter.r);
    let hearth = format!("{:.0} tok/s, peak {:.1} GB", rate(&ours), own_peak()? / 1e9);
    let peer = format!("PEFT: {:.0} tok/s, peak {:.1} GB", rate(&theirs), peak / 1e9);
    table.add(&what, hearth, &peer, format!("{ratio:.2}x"), Some(("0.9x", ratio >= 0.9)));
    Ok(())
}

/// Bytes that this process has held at most.
fn own_peak() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("a peak")?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024.0)
}
