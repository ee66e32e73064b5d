//! What looks after a run: the watchdog, the average of the weights, early stopping.

use super::*;
use crate::train::watch::Best;
use hearth_shared::spec::ScheduleKind;

/// The step whose example is like no other.
const ODD: usize = 30;

/// One example a step, all alike but for one.
fn monotonous() -> Vec<Sequence> {
    let usual = || Sequence::plain((0..12).map(|i| i % 3).collect());
    let mut all: Vec<Sequence> = (0..41).map(|_| usual()).collect();
    all[ODD] = Sequence::plain((0..12).map(|i| 49 - i * 4).collect());
    all
}

fn wary() -> TrainSpec {
    TrainSpec {
        adapter: None,
        n_epochs: 1,
        batch_size: 1,
        schedule: ScheduleKind::Constant,
        spike_factor: Some(3.0),
        max_grad_norm: 1.0,
        ..spec()
    }
}

fn started(examples: Vec<Sequence>) -> Run {
    let spec = wary();
    Run::with(&spec, model(), Batches::in_order(examples, &spec), None).unwrap()
}

#[test]
fn a_spike_changes_nothing_and_can_be_left_out() {
    let mut run = started(monotonous());
    steps(&mut run, ODD);
    let before = (weights(&run), run.progress());
    for _ in 0..2 {
        let found = run.step();
        assert!(matches!(found, Err(TrainError::Spike { step, .. }) if step == ODD as u64 + 1), "{found:?}");
        assert_eq!((weights(&run), run.progress()), before);
    }
    run.skip();
    let rest = steps(&mut run, 11);
    assert!(rest.iter().all(|report| report.loss < 0.5), "{rest:?}");
    assert!(run.is_done());
}

/// Going back to step 20 is as if the examples of steps 21 to 31 had never been there.
#[test]
fn rolling_back_leaves_out_what_came_since_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("step-20");
    let mut run = started(monotonous());
    steps(&mut run, 20);
    run.save(&checkpoint, &mut RealDisk).unwrap();
    steps(&mut run, ODD - 20);
    assert!(run.step().is_err());
    run.roll_back(&checkpoint).unwrap();
    assert_eq!((run.progress().step, run.progress().skipped), (20, 11));
    let after = steps(&mut run, 8);

    let mut without = monotonous();
    without.drain(20..=ODD);
    let mut other = started(without);
    assert_eq!(steps(&mut other, 28)[20..], after);
    assert_eq!(weights(&other), weights(&run));

    let later = folder.path().join("step-28");
    run.save(&later, &mut RealDisk).unwrap();
    let state = save::read_state(&later).unwrap();
    assert_eq!((state.progress, &state.watch), (run.progress(), run.watch()));
}

/// Weights that left the range of f32.
#[test]
fn broken_weights_stop_a_run() {
    let mut broken = model();
    for (path, mut param) in broken.params_mut() {
        if path == "norm.weight" {
            param.set(vec![f32::NAN; 32]);
        }
    }
    let spec = TrainSpec { adapter: None, ..spec() };
    let mut run = Run::new(&spec, broken, examples(13), None).unwrap();
    assert!(matches!(run.step(), Err(TrainError::Diverged { step: 1 })));
}

#[test]
fn the_average_follows_the_weights_and_is_resumed() {
    let spec = TrainSpec { ema_decay: Some(0.7), ..spec() };
    let plain = TrainSpec { ema_decay: None, ..spec.clone() };
    let (mut averaged, mut raw) = (run(&spec), run(&plain));
    let mut wanted: Vec<(String, Vec<f32>)> = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("step-3");
    for step in 1..=6 {
        assert_eq!(averaged.step().unwrap(), raw.step().unwrap());
        let now = weights(&raw);
        if step == 1 {
            wanted = now;
        } else {
            for ((_, average), (_, now)) in wanted.iter_mut().zip(now) {
                average.iter_mut().zip(now).for_each(|(average, now)| *average += (1.0 - 0.7) * (now - *average));
            }
        }
        if step == 3 {
            averaged.save(&checkpoint, &mut RealDisk).unwrap();
            averaged = Run::resume(&checkpoint, &spec, adapted(&spec), examples(13), Some(examples(4))).unwrap();
            let exported = save::load_weights(&checkpoint, adapted(&spec)).unwrap();
            let exported: Vec<_> = exported.params().into_iter().map(|(path, p)| (path, p.to_vec())).collect();
            assert_eq!(exported, weights(&averaged), "an export has the averaged weights");
        }
    }
    assert_ne!(weights(&averaged), weights(&raw));
    for ((path, want), (_, got)) in wanted.iter().zip(&weights(&averaged)) {
        assert!(want.iter().zip(got).all(|(a, b)| (a - b).abs() < 1e-6), "{path}");
    }
    let validated = evaluate(&averaged.model(), &Batches::new(examples(4), &spec).all());
    assert_eq!(averaged.evaluate(), Some(validated));
}

/// What is learned contradicts the validation set, so that its loss rises.
#[test]
fn a_run_that_gets_worse_stops_early() {
    let spec = TrainSpec { early_stop: Some(3), n_epochs: 30, learning_rate: 0.03, ..spec() };
    let contrary: Vec<Sequence> = examples(4)
        .into_iter()
        .map(|mut sequence| {
            sequence.ids.iter_mut().for_each(|id| *id = (*id + 25) % VOCAB as u32);
            sequence
        })
        .collect();
    let mut run = Run::new(&spec, adapted(&spec), examples(13), Some(contrary)).unwrap();
    let mut losses = Vec::new();
    while !run.is_done() {
        run.step().unwrap();
        losses.push(run.judge().unwrap().loss);
    }
    assert!(run.is_stale() && run.progress().step < run.total_steps(), "{losses:?}");
    let best = run.watch().best.unwrap();
    assert_eq!(best.step as usize + 3, losses.len(), "{losses:?}");
    let lowest = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(best, Best { step: best.step, loss: lowest });
    assert!(losses.len() >= 4);
}
