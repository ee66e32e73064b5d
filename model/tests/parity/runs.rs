//! Ten steps of whole runs end at torch's weights (`tests/golden/make_runs.py`): model, loss, gradients, clipping, optimizer, schedule and
//! average together.

use std::collections::BTreeMap;

use hearth_model::checkpoint::Weights;
use hearth_model::checkpoint::safetensors::parse;
use hearth_model::train::{Batches, Run, Sequence};
use hearth_model::{device, peft};
use hearth_shared::spec::{DistillSpec, OptimizerKind, ScheduleKind, TrainSpec};

use super::{Result, bundle, difference, golden, tensor};

const STEPS: usize = 10;
const TOLERANCE: f32 = 1e-4;

fn numbers(file: &Weights<'_>, name: &str) -> Result<Vec<f32>> {
    Ok(tensor(file, name)?.1)
}

fn examples(file: &Weights<'_>) -> Result<Vec<Sequence>> {
    let tokens = numbers(file, "examples/tokens")?;
    let mut rest = tokens.as_slice();
    let mut out = Vec::new();
    for (length, first) in numbers(file, "examples/lengths")?.iter().zip(numbers(file, "examples/first")?) {
        let (ids, later) = rest.split_at(*length as usize);
        let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
        let mut sequence = Sequence::default();
        sequence.extend(&ids[..first as usize], false);
        sequence.extend(&ids[first as usize..], true);
        out.push(sequence);
        rest = later;
    }
    Ok(out)
}

/// What every case shares. The small passes make a step of several.
fn common() -> TrainSpec {
    TrainSpec {
        adapter: None,
        n_epochs: 4,
        max_steps: Some(STEPS as u64),
        batch_size: 4,
        max_length: 64,
        micro_batch_tokens: 32,
        learning_rate: 0.01,
        final_lr_ratio: 0.1,
        decay_ratio: 0.4,
        warmup_steps: 3,
        weight_decay: 0.1,
        beta1: 0.9,
        beta2: 0.99,
        max_grad_norm: 0.5,
        ..TrainSpec::default()
    }
}

/// With so much of the loss from a teacher.
fn distilled(share: f64) -> TrainSpec {
    TrainSpec { distill: Some(DistillSpec { temperature: 2.0, share }), ..common() }
}

fn cases() -> Vec<(&'static str, TrainSpec)> {
    use {OptimizerKind as O, ScheduleKind as S};
    let of = |optimizer, schedule, learning_rate| TrainSpec { optimizer, schedule, learning_rate, ..common() };
    vec![
        ("adamw", of(O::Adamw, S::Cosine, 0.01)),
        ("muon", TrainSpec { beta2: 0.999, momentum: 0.95, ..of(O::Muon, S::Wsd, 0.01) }),
        ("lion", of(O::Lion, S::Linear, 0.001)),
        ("adafactor", of(O::Adafactor, S::InverseSqrt, 0.05)),
        ("sgd", TrainSpec { momentum: 0.9, ..of(O::Sgd, S::Constant, 0.05) }),
        ("unclipped", TrainSpec { max_grad_norm: 0.0, ..of(O::Adamw, S::Constant, 0.003) }),
        ("smoothed", TrainSpec { label_smoothing: 0.1, ..common() }),
        ("z-loss", TrainSpec { z_loss: 0.02, ..common() }),
        ("average", TrainSpec { ema_decay: Some(0.8), ..common() }),
        ("distilled", distilled(0.6)),
        ("lora", common()),
        ("dpo", TrainSpec { batch_size: 2, dpo_beta: Some(0.3), max_grad_norm: 0.0, learning_rate: 0.001, ..common() }),
        (
            "dpo-lora",
            TrainSpec { batch_size: 2, dpo_beta: Some(0.3), max_grad_norm: 0.0, learning_rate: 0.003, ..common() },
        ),
    ]
}

type Parameters = BTreeMap<String, Vec<f32>>;

/// The losses that a run reports, and its weights.
fn run(file: &Weights<'_>, name: &str, spec: &TrainSpec) -> Result<(Vec<f64>, Parameters)> {
    let device = device::cpu();
    // Whole models are trained on a fixture whose keys have no bias: what gradient that had would be rounding.
    let adapted = name.ends_with("lora");
    let mut model = bundle(if adapted { "llama" } else { "mistral" }, &device)?.transformer;
    if adapted {
        peft::load(&golden("peft-llama"), &mut model, &device)?;
    }
    let mut run = Run::with(spec, model, Batches::in_order(examples(file)?, spec), None)?;
    if spec.distill.is_some() {
        run = run.taught_by(bundle("gpt2", &device)?.transformer)?;
    }
    let mut losses = Vec::new();
    while !run.is_done() {
        losses.push(run.step()?.loss);
    }
    Ok((losses, run.model().params().into_iter().map(|(path, param)| (path, param.to_vec())).collect()))
}

/// The largest difference of any weight from the reference, and the parameter it is in.
fn farthest(file: &Weights<'_>, name: &str, weights: &Parameters) -> Result<(f32, String)> {
    let mut worst = (0.0, String::new());
    let mut compared = 0;
    for (path, values) in weights {
        let Ok(expected) = numbers(file, &format!("{name}/{path}")) else {
            continue;
        };
        let d = difference(values, &expected);
        // Nothing is farther than what is no number.
        if d > worst.0 || d.is_nan() {
            worst = (d, path.clone());
        }
        compared += 1;
    }
    let prefix = format!("{name}/");
    let wanted = file.tensors.keys().filter(|tensor| tensor.starts_with(&prefix)).count() - 1;
    assert_eq!(compared, wanted, "{name}: every tensor of the reference has its parameter");
    Ok(worst)
}

#[test]
fn ten_steps_end_at_torchs_weights() -> Result {
    let bytes = std::fs::read(golden("runs/weights.safetensors"))?;
    let file = parse("weights.safetensors", &bytes)?;
    for (name, spec) in cases() {
        let (losses, weights) = run(&file, name, &spec)?;
        let expected = numbers(&file, &format!("{name}/losses"))?;
        assert_eq!(losses.len(), STEPS);
        for (loss, expected) in losses.iter().zip(&expected) {
            assert!((loss - f64::from(*expected)).abs() < 1e-4, "{name}: {losses:?} for {expected:?}");
        }
        let (d, path) = farthest(&file, name, &weights)?;
        assert!(d < TOLERANCE, "{name}: {path} is off by {d}");
    }
    Ok(())
}

/// The fixtures can fail: another setting ends elsewhere.
#[test]
fn other_settings_end_elsewhere() -> Result {
    let bytes = std::fs::read(golden("runs/weights.safetensors"))?;
    let file = parse("weights.safetensors", &bytes)?;
    let wrong = [
        ("adamw", TrainSpec { max_grad_norm: 0.0, ..common() }),
        ("adamw", TrainSpec { schedule: ScheduleKind::Linear, ..common() }),
        ("adamw", TrainSpec { warmup_steps: 2, ..common() }),
        ("smoothed", common()),
        ("z-loss", common()),
        ("average", common()),
        ("distilled", distilled(0.3)),
        ("distilled", common()),
        ("lora", TrainSpec { weight_decay: 0.0, ..common() }),
        ("dpo", TrainSpec { batch_size: 2, dpo_beta: Some(0.5), max_grad_norm: 0.0, learning_rate: 0.001, ..common() }),
    ];
    for (name, spec) in wrong {
        let (d, _) = farthest(&file, name, &run(&file, name, &spec)?.1)?;
        assert!(d > 10.0 * TOLERANCE, "{name} with {spec:?} is off by {d} only");
    }
    Ok(())
}
