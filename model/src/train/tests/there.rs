//! What a GPU does, done on the CPU: gradients, moments and number formats as tensors must train like numbers do.

use super::*;
use burn::tensor::FloatDType;

use crate::rounding::Rounding;

fn elsewhere(spec: &TrainSpec) -> Run {
    let mut run = run(spec);
    run.there = true;
    run
}

fn close(one: &[StepReport], other: &[StepReport], tolerance: f64) {
    for (one, other) in one.iter().zip(other) {
        assert!((one.loss - other.loss).abs() < tolerance * one.loss, "{one:?} {other:?}");
        assert!((one.grad_norm - other.grad_norm).abs() < tolerance * one.grad_norm, "{one:?} {other:?}");
    }
}

fn close_weights(one: &Run, other: &Run) {
    for ((path, one), (_, other)) in weights(one).iter().zip(&weights(other)) {
        let apart = one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 2e-5, "{path}: {apart}");
    }
}

/// Adapters and every weight; decay, clipping, accumulation; a checkpoint in the middle.
#[test]
fn tensors_train_like_numbers() {
    for spec in [spec(), TrainSpec { adapter: None, ema_decay: Some(0.9), weight_decay: 0.1, ..spec() }] {
        let (mut here, mut there) = (run(&spec), elsewhere(&spec));
        close(&steps(&mut here, 4), &steps(&mut there, 4), 1e-4);
        assert!(there.slots.is_empty() && !there.moments.is_empty());
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = folder.path().join("step-4");
        there.save(&checkpoint, &mut RealDisk).unwrap();
        let mut resumed = elsewhere(&spec).taken_up(&checkpoint).unwrap();
        assert_eq!(resumed.slots.keys().collect::<Vec<_>>(), here.slots.keys().collect::<Vec<_>>());
        close(&steps(&mut here, 5), &steps(&mut resumed, 5), 1e-4);
        close_weights(&here, &resumed);
        assert_eq!(steps(&mut there, 5).last().map(|report| report.step), Some(9));
        assert_eq!(weights(&there), weights(&resumed));
    }
}

/// Rules without a form for tensors bring their numbers here.
#[test]
fn every_rule_trains_elsewhere() {
    for optimizer in [OptimizerKind::Muon, OptimizerKind::Lion, OptimizerKind::Adafactor, OptimizerKind::Sgd] {
        let spec = TrainSpec { adapter: None, optimizer, learning_rate: 1e-3, ..spec() };
        let (mut here, mut there) = (run(&spec), elsewhere(&spec));
        close(&steps(&mut here, 3), &steps(&mut there, 3), 1e-4);
        close_weights(&here, &there);
    }
}

#[test]
fn an_overflow_elsewhere_changes_nothing() {
    let spec = TrainSpec { precision: Precision::F16, loss_scale: 2f64.powi(40), n_epochs: 40, ..spec() };
    let mut run = elsewhere(&spec);
    let before = weights(&run);
    let report = run.step().unwrap();
    assert!(report.overflowed() && report.zero_gradients.is_some(), "{report:?}");
    assert_eq!(weights(&run), before);
    assert!(run.moments.is_empty());
}

/// A device that computes in the format and one that rounds to it differ by the order of roundings.
#[test]
fn a_computed_format_trains_like_an_emulated_one() {
    for (precision, native) in [(Precision::Bf16, FloatDType::BF16), (Precision::F16, FloatDType::F16)] {
        let spec = TrainSpec { adapter: None, precision, loss_scale: 1024.0, learning_rate: 1e-3, ..spec() };
        let (mut emulated, mut computed) = (run(&spec), elsewhere(&spec));
        computed.rounding = Rounding::computed(precision, native);
        let (emulated, computed) = (steps(&mut emulated, 5), steps(&mut computed, 5));
        close(&emulated, &computed, 2e-2);
        assert_ne!(emulated[0].loss, run(&TrainSpec { precision: Precision::F32, ..spec }).step().unwrap().loss);
    }
}
