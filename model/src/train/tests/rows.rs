//! Runs over shards on disk.

use super::*;
use crate::data::stream::{RowSpec, Rows, tests::counted};

const ROWS: RowSpec = RowSpec { length: 16, batch_size: 5, micro_batch_tokens: 40, seed: 3 };

/// Packed, shuffled, two rows a pass, dropout on, a checkpoint every 7 steps past the end of an epoch: the same bits from each of them.
#[test]
fn a_resumed_run_over_shards_has_the_same_bits() {
    let (_data, shards) = counted(120, VOCAB as u32);
    let rows = || Rows::new(std::sync::Arc::clone(&shards), ROWS).unwrap();
    assert!(rows().steps_per_epoch() < 10);
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = |step: u64| folder.path().join(format!("step-{step}"));
    for adapter in [None, spec().adapter] {
        let spec = TrainSpec { adapter: adapter.clone(), max_steps: Some(20), n_epochs: 100, ..spec() };
        let begun = || {
            let model = if adapter.is_some() { adapted(&spec) } else { dropping() };
            Run::with(&spec, model, rows(), Some(examples(4))).unwrap()
        };
        let mut whole = begun();
        let reports = steps(&mut whole, 20);
        assert!(whole.is_done() && reports[19].loss < reports[0].loss, "{reports:?}");
        let mut run = begun();
        for step in 1..=20 {
            run.step().unwrap();
            if step % 7 == 0 {
                run.save(&checkpoint(step), &mut RealDisk).unwrap();
            }
        }
        for step in [7, 14] {
            let mut again = begun().taken_up(&checkpoint(step)).unwrap();
            let rest = steps(&mut again, 20 - step as usize);
            assert_eq!(rest, reports[step as usize..]);
            assert_eq!(weights(&again), weights(&whole), "from step {step}");
        }
    }
}

#[test]
fn rows_are_no_preferences() {
    let (_data, shards) = counted(120, VOCAB as u32);
    let spec = TrainSpec { dpo_beta: Some(0.1), ..spec() };
    let refused = Run::with(&spec, adapted(&spec), Rows::new(shards, ROWS).unwrap(), None);
    assert!(matches!(refused, Err(TrainError::Spec(error)) if error.field == "dpo_beta"));
}
