//! Ten steps of every optimizer and the rates of every schedule are torch's (`tests/golden/make_optimizers.py`).

use std::collections::BTreeMap;

use hearth_model::checkpoint::Weights;
use hearth_model::checkpoint::safetensors::parse;
use hearth_model::train::optimizer::{Optimizer, Slots, Update, clip_scale, global_norm};
use hearth_model::train::schedule::Schedule;
use hearth_shared::spec::{OptimizerKind, ScheduleKind, TrainSpec};

use super::{Result, difference, golden, tensor};

const STEPS: usize = 10;
const TOLERANCE: f32 = 1e-5;
const PARAMETERS: [&str; 4] = ["embed.weight", "layers.0.bias", "layers.0.tall", "layers.0.wide"];

/// All parameters after ten steps.
fn run(file: &Weights<'_>, spec: &TrainSpec, lr: f64) -> Result<BTreeMap<&'static str, Vec<f32>>> {
    let optimizer = Optimizer::new(spec);
    let mut state: BTreeMap<&str, (Vec<usize>, Vec<f32>, Slots)> = BTreeMap::new();
    let mut gradients = BTreeMap::new();
    for name in PARAMETERS {
        let (shape, values) = tensor(file, &format!("start/{name}"))?;
        state.insert(name, (shape, values, Slots::default()));
        gradients.insert(name, tensor(file, &format!("gradient/{name}"))?.1);
    }
    for step in 0..STEPS {
        let of = |name: &str| {
            let all = &gradients[name];
            let count = all.len() / STEPS;
            &all[step * count..(step + 1) * count]
        };
        let norm = global_norm(&PARAMETERS.iter().map(|name| of(name).to_vec()).collect::<Vec<_>>());
        let gradient_scale = clip_scale(norm, 1.5);
        assert!(gradient_scale < 1.0, "the fixture clips");
        for (name, (shape, values, slots)) in &mut state {
            let update = Update { path: name, shape, values, gradient: of(name), gradient_scale };
            optimizer.apply(update, slots, lr, step as u64 + 1);
            assert_eq!(optimizer.slots(name, shape), [slots.first.len(), slots.second.len()]);
        }
    }
    Ok(state.into_iter().map(|(name, (_, values, _))| (name, values)).collect())
}

fn cases() -> Vec<(&'static str, f64, TrainSpec)> {
    let spec = TrainSpec { weight_decay: 0.1, beta1: 0.9, beta2: 0.99, ..TrainSpec::default() };
    let of = |optimizer| TrainSpec { optimizer, ..spec.clone() };
    vec![
        ("adamw", 0.01, of(OptimizerKind::Adamw)),
        // Beside Muon, torch's AdamW decays by its default.
        ("muon", 0.01, TrainSpec { beta2: 0.999, momentum: 0.95, ..of(OptimizerKind::Muon) }),
        ("lion", 0.01, of(OptimizerKind::Lion)),
        ("adafactor", 0.05, of(OptimizerKind::Adafactor)),
        ("sgd", 0.05, TrainSpec { momentum: 0.9, ..of(OptimizerKind::Sgd) }),
        ("sgd-plain", 0.05, TrainSpec { momentum: 0.0, ..of(OptimizerKind::Sgd) }),
    ]
}

#[test]
fn ten_steps_are_torchs() -> Result {
    let bytes = std::fs::read(golden("optimizers/steps.safetensors"))?;
    let file = parse("steps.safetensors", &bytes)?;
    for (name, lr, spec) in cases() {
        for (parameter, values) in run(&file, &spec, lr)? {
            let expected = tensor(&file, &format!("{name}/{parameter}"))?.1;
            let d = difference(&values, &expected);
            assert!(d < TOLERANCE, "{name}: {parameter} is off by {d}");
            assert!(
                difference(&values, &tensor(&file, &format!("start/{parameter}"))?.1) > 1e-3,
                "{name} moves {parameter}"
            );
        }
    }
    Ok(())
}

/// The fixtures can fail: another decay, momentum or rule is far from the reference.
#[test]
fn fixtures_notice_a_wrong_rule() -> Result {
    let bytes = std::fs::read(golden("optimizers/steps.safetensors"))?;
    let file = parse("steps.safetensors", &bytes)?;
    for (name, lr, right) in cases() {
        let mut wrong = vec![(lr, TrainSpec { weight_decay: 0.0, ..right.clone() }), (lr * 1.1, right.clone())];
        match right.optimizer {
            OptimizerKind::Adamw | OptimizerKind::Lion => {
                wrong.push((lr, TrainSpec { beta2: 0.9, ..right.clone() }));
                wrong.push((lr, TrainSpec { beta1: 0.8, ..right }));
            }
            OptimizerKind::Muon | OptimizerKind::Sgd => wrong.push((lr, TrainSpec { momentum: 0.5, ..right })),
            OptimizerKind::Adafactor => {}
        }
        for (lr, spec) in wrong {
            let all = run(&file, &spec, lr)?;
            let expected = tensor(&file, &format!("{name}/layers.0.tall"))?.1;
            let d = difference(&all["layers.0.tall"], &expected);
            assert!(d > 10.0 * TOLERANCE, "{name} with {spec:?} at {lr} is off by {d} only");
        }
    }
    Ok(())
}

#[test]
fn rates_are_torchs() -> Result {
    let text = std::fs::read_to_string(golden("optimizers/schedules.json"))?;
    let expected: BTreeMap<ScheduleKind, Vec<f64>> = {
        let named: BTreeMap<String, Vec<f64>> = serde_json::from_str(&text)?;
        let kind = |(name, rates): (String, Vec<f64>)| {
            Ok::<_, serde_json::Error>((serde_json::from_value(name.into())?, rates))
        };
        named.into_iter().map(kind).collect::<std::result::Result<_, _>>()?
    };
    assert_eq!(expected.len(), 5);
    for (kind, rates) in expected {
        let spec = TrainSpec {
            schedule: kind,
            learning_rate: 0.01,
            final_lr_ratio: 0.1,
            warmup_steps: 4,
            decay_ratio: 0.4,
            ..TrainSpec::default()
        };
        let schedule = Schedule::new(&spec, 15);
        for (step, rate) in (1..).zip(rates) {
            let ours = schedule.rate(step);
            assert!((ours - rate).abs() < 1e-9, "{kind:?}, step {step}: {ours}, not {rate}");
        }
    }
    Ok(())
}
