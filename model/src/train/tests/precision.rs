//! What shorter number formats do to a run, and what a loss scale does about it.

use super::*;
use hearth_shared::spec::{Precision, ScheduleKind};

/// An adapter whose gradients are smaller than f16's smallest number, and which Adam moves all the same.
fn faint() -> (Transformer, TrainSpec) {
    let adapter = LoraSpec { r: 4, ..LoraSpec::default() };
    let spec = TrainSpec {
        adapter: Some(AdapterSpec::Lora(adapter)),
        learning_rate: 0.06,
        batch_size: 13,
        n_epochs: 60,
        epsilon: 1e-20,
        weight_decay: 0.0,
        schedule: ScheduleKind::Constant,
        max_grad_norm: 0.0,
        ..spec()
    };
    let mut model = adapted(&spec);
    for (_, projection) in model.projections_mut() {
        if let Some(lora) = &mut projection.lora {
            lora.scale = 2e-6;
            let a = lora.a.val() * 3000.0;
            lora.a = burn::module::Param::from_tensor(a);
        }
    }
    (model, spec)
}

fn faint_run(precision: Precision, loss_scale: f64) -> Vec<StepReport> {
    let (model, spec) = faint();
    let spec = TrainSpec { precision, loss_scale, ..spec };
    let mut run = Run::new(&spec, model, examples(13), None).unwrap();
    steps(&mut run, 60)
}

/// Mean of an epoch's losses.
fn level(reports: &[StepReport]) -> f64 {
    reports.iter().map(|report| report.loss).sum::<f64>() / reports.len() as f64
}

#[test]
fn gradients_that_underflow_train_with_a_loss_scale() {
    let exact = faint_run(Precision::F32, 0.0);
    let lost = faint_run(Precision::F16, 0.0);
    let scaled = faint_run(Precision::F16, 65536.0);
    let fall = |reports: &[StepReport]| level(&reports[..3]) - level(&reports[57..]);
    assert!(fall(&exact) > 0.08, "f32 falls by {}", fall(&exact));
    assert!(fall(&lost).abs() < 0.005, "without a scale f16 falls by {}", fall(&lost));
    assert!(lost.iter().all(|report| report.zero_gradients > Some(0.99)), "{:?}", lost[0]);
    assert!(fall(&scaled) > 0.7 * fall(&exact), "with a scale f16 falls by {}", fall(&scaled));
    assert!(scaled[10..].iter().all(|report| report.zero_gradients < Some(0.5)), "{:?}", scaled[10]);
    assert!(exact.iter().all(|report| report.zero_gradients.is_none()));
}

#[test]
fn an_overflow_halves_the_scale_and_changes_nothing_else() {
    let most = 2f64.powi(40);
    let spec = TrainSpec { precision: Precision::F16, loss_scale: most, loss_scale_window: 3, n_epochs: 40, ..spec() };
    let mut run = run(&spec);
    let (before, slots) = (weights(&run), run.slots.clone());
    let folder = tempfile::tempdir().unwrap();
    let mut idle = 0;
    let first = loop {
        let scale = run.loss_scale().unwrap();
        let report = run.step().unwrap();
        assert_eq!(report.loss_scale, Some(scale));
        if !report.overflowed() {
            break report;
        }
        idle += 1;
        assert_eq!(run.loss_scale(), Some(scale / 2.0));
        assert_eq!((weights(&run), &run.slots), (before.clone(), &slots));
        if idle == 2 {
            run.save(&folder.path().join("step-2"), &mut RealDisk).unwrap();
        }
    };
    assert!(idle > 5, "{first:?}");
    assert_eq!((run.progress().idle, run.progress().updates()), (idle, 1));
    assert_ne!(weights(&run), before);
    // Taken up from the middle of it, it goes the same way.
    let again = Run::resume(&folder.path().join("step-2"), &spec, adapted(&spec), examples(13), None);
    let mut again = again.unwrap();
    let reports = steps(&mut again, idle as usize - 1);
    assert_eq!(reports.last(), Some(&first));
    assert_eq!(weights(&again), weights(&run));
    // Three good steps in a row double it.
    let mut scales: Vec<f64> = Vec::new();
    for _ in 0..8 {
        run.step().unwrap();
        scales.extend(run.loss_scale());
    }
    assert!(scales.windows(2).any(|pair| pair[1] == pair[0] * 2.0), "{scales:?}");
}

/// An optimizer that remembers three steps remembers the same afterwards.
#[test]
fn an_overflow_leaves_what_the_optimizer_remembers() {
    for optimizer in [OptimizerKind::Adamw, OptimizerKind::Muon, OptimizerKind::Adafactor] {
        let spec = TrainSpec { precision: Precision::F16, loss_scale: 1024.0, optimizer, n_epochs: 40, ..spec() };
        let mut run = run(&spec);
        assert!(steps(&mut run, 3).iter().all(|report| !report.overflowed()));
        let before = (weights(&run), run.slots.clone());
        assert!(before.1.values().any(|slots| slots.first.iter().any(|value| *value != 0.0)), "nothing is remembered");
        let large = 2f64.powi(40);
        run.loss_scale.as_mut().unwrap().scale = large;
        let report = run.step().unwrap();
        assert!(report.overflowed() && report.loss_scale == Some(large), "{report:?}");
        assert_eq!(run.loss_scale(), Some(large / 2.0));
        assert_eq!((run.progress().step, run.progress().idle, run.progress().updates()), (4, 1, 3));
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        for ((path, old), (_, new)) in before.0.iter().zip(&weights(&run)) {
            assert_eq!(bits(old), bits(new), "{path}");
        }
        assert_eq!(before.1.len(), run.slots.len());
        for (path, old) in &before.1 {
            let new = &run.slots[path];
            assert_eq!((bits(&old.first), bits(&old.second)), (bits(&new.first), bits(&new.second)), "{path}");
        }
        // With a scale that fits it goes on.
        run.loss_scale.as_mut().unwrap().scale = 1024.0;
        assert!(!run.step().unwrap().overflowed());
        assert_ne!(weights(&run), before.0);
    }
}

#[test]
fn every_format_learns_about_the_same() {
    let one = |precision, adapter: Option<AdapterSpec>| {
        let spec = TrainSpec { precision, adapter, n_epochs: 6, ..spec() };
        steps(&mut run(&spec), 18)
    };
    for adapter in [None, spec().adapter] {
        let exact = one(Precision::F32, adapter.clone());
        assert_eq!(one(Precision::Auto, adapter.clone()), exact);
        for (precision, tolerance) in [(Precision::Bf16, 0.05), (Precision::F16, 0.02), (Precision::Fp8, 0.2)] {
            let rounded = one(precision, adapter.clone());
            assert_ne!(rounded[0].loss, exact[0].loss, "{precision:?} rounds nothing");
            for (a, b) in [(&rounded[0], &exact[0]), (&rounded[17], &exact[17])] {
                assert!((a.loss / b.loss - 1.0).abs() < tolerance, "{precision:?}: {a:?} for {b:?}");
            }
        }
    }
}
