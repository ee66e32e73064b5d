//! LoRA steps of SmolLM2-135M beside PEFT.

use anyhow::Result;
use hearth_shared::spec::TrainSpec;
use hearth_tests::bench::peers::{exported, smollm2, text};
use hearth_tests::bench::race::Race;
use hearth_tests::bench::table::Table;

pub(crate) fn run(table: &mut Table, goal: f64) -> Result<()> {
    let bundle = smollm2()?;
    let base = exported(&bundle)?;
    let what = "SmolLM2-135M, LoRA r16 on all linear layers";
    let race = Race { what, base: &base, rows: 4, time: 256, steps: 8, goal };
    let ids = text(&bundle, race.tokens())?;
    race.run(table, bundle.transformer, &TrainSpec { learning_rate: 1e-3, ..TrainSpec::default() }, &ids)
}
