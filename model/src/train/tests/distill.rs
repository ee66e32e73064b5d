//! Runs that learn from a teacher.

use hearth_shared::spec::DistillSpec;

use super::*;

fn taught(distill: DistillSpec) -> TrainSpec {
    TrainSpec { adapter: None, distill: Some(distill), n_epochs: 30, weight_decay: 0.0, ..spec() }
}

/// Another model of the same vocabulary.
fn teacher() -> Transformer {
    let config = ModelConfig::llama(VOCAB, 24, 1, (2, 2), 64);
    let mut teacher = Transformer::new(&config, 9, &device::cpu());
    for (_, mut param) in teacher.params_mut() {
        let values = param.to_vec().into_iter().map(|x| x * 4.0).collect();
        param.set(values);
    }
    teacher
}

/// Mean over the trained positions of `KL(teacher ‖ student)` in nats, from whole logits.
fn divergence(student: &Transformer) -> f32 {
    let spec = TrainSpec { packing: false, ..spec() };
    let passes = Batches::new(examples(13), &spec).all();
    let (mut sum, mut count) = (0.0, 0);
    for pass in &passes {
        let ids = || Tensor::<2, Int>::from_data(super::super::run::ids(pass), &device::cpu());
        let ln = |model: &Transformer| {
            let logits = model.forward(ids(), crate::transformer::Forward::default());
            let chosen = logits.reshape([pass.rows * pass.time, VOCAB]);
            let index = TensorData::new(pass.positions.clone(), [pass.positions.len()]);
            activation::log_softmax(chosen.select(0, Tensor::<1, Int>::from_data(index, &device::cpu())), 1)
        };
        let (theirs, ours) = (ln(&teacher()), ln(student));
        sum += floats((theirs.clone().exp() * (theirs - ours)).sum().into_data())[0];
        count += pass.positions.len();
    }
    sum / count as f32
}

#[test]
fn a_student_comes_to_think_what_its_teacher_thinks() {
    let before = divergence(&model());
    let after = |spec: &TrainSpec| {
        let mut run = Run::new(spec, model(), examples(13), None).unwrap();
        if spec.distill.is_some() {
            run = run.taught_by(teacher()).unwrap();
        }
        while !run.is_done() {
            run.step().unwrap();
        }
        divergence(&run.model())
    };
    let learned = after(&taught(DistillSpec { temperature: 1.0, share: 1.0 }));
    let alone = after(&TrainSpec { distill: None, ..taught(DistillSpec::default()) });
    assert!(learned < before * 0.3, "{before} {learned}");
    assert!(learned < alone * 0.5, "{alone} {learned}");
}

/// Passes cut in two, computed again block by block, or packed: the same first step.
#[test]
fn a_lesson_is_the_same_however_the_step_is_cut() {
    let whole = TrainSpec { micro_batch_tokens: 4096, ..taught(DistillSpec::default()) };
    let first = |spec: &TrainSpec| {
        let mut run = Run::new(spec, model(), examples(13), None).unwrap().taught_by(teacher()).unwrap();
        let report = run.step().unwrap();
        (report.loss, report.grad_norm)
    };
    let (loss, norm) = first(&whole);
    for spec in [
        TrainSpec { micro_batch_tokens: 40, ..whole.clone() },
        TrainSpec { gradient_checkpointing: true, ..whole.clone() },
        TrainSpec { packing: true, ..whole.clone() },
    ] {
        let (l, n) = first(&spec);
        assert!((l / loss - 1.0).abs() < 1e-5 && (n / norm - 1.0).abs() < 1e-4, "{spec:?}: {l} {loss}, {n} {norm}");
    }
    let (_, other) = first(&TrainSpec { distill: Some(DistillSpec { temperature: 2.0, share: 0.9 }), ..whole });
    assert!((other / norm - 1.0).abs() > 1e-2, "the share counts");
}

#[test]
fn a_run_without_its_teacher_does_not_begin() {
    let spec = taught(DistillSpec::default());
    let mut orphan = Run::new(&spec, model(), examples(13), None).unwrap();
    assert!(matches!(orphan.step(), Err(TrainError::Spec(error)) if error.field == "distill"));
    let untold = Run::new(&TrainSpec { distill: None, ..spec.clone() }, model(), examples(13), None).unwrap();
    assert!(matches!(untold.taught_by(teacher()), Err(TrainError::Spec(error)) if error.field == "distill"));
    let long = Run::new(&TrainSpec { max_length: 128, ..spec.clone() }, model(), examples(13), None).unwrap();
    assert!(matches!(long.taught_by(teacher()), Err(TrainError::Spec(error)) if error.field == "distill.teacher"));
    let refused = TrainSpec { dpo_beta: Some(0.1), ..spec }.validate().unwrap_err();
    assert_eq!(refused.field, "distill");
}
