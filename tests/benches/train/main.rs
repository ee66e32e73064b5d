//! `cargo xtask bench train`: training steps beside PyTorch eager with SDPA and fused AdamW, and beside PEFT. Same weights, same
//! batches; the losses of five steps must agree within 1e-3.
//!
//! `bench train PART` runs one part: `small` (10 M), `large` (135 M), `lora`.

#[path = "../spine/lora.rs"]
mod lora;

use std::ops::ControlFlow;

use anyhow::Result;
use hearth_model::bundle::{ModelBundle, Precision};
use hearth_model::config::ModelConfig;
use hearth_model::device;
use hearth_model::transformer::Transformer;
use hearth_shared::spec::TrainSpec;
use hearth_tests::bench::parts;
use hearth_tests::bench::peers::{exported, smollm2, text};
use hearth_tests::bench::race::Race;
use hearth_tests::bench::table::Table;
use hearth_tests::places;

const PARTS: [&str; 3] = ["small", "large", "lora"];

fn main() -> Result<()> {
    let parts = parts(PARTS)?;
    device::keep_memory();
    let mut table = Table::default();
    for part in parts {
        match part {
            "small" => small(&mut table)?,
            "large" => large(&mut table)?,
            _ => lora::run(&mut table, 1.3)?,
        }
    }
    println!("\n{table}");
    table.verdict()
}

fn full() -> TrainSpec {
    TrainSpec { adapter: None, learning_rate: 3e-4, weight_decay: 0.1, ..TrainSpec::default() }
}

/// Ten million fresh weights.
fn small(table: &mut Table) -> Result<()> {
    let mut bundle = ModelBundle::load(&places::nano(), &device::cpu(), &mut |_| ControlFlow::Continue(()))?;
    let config = ModelConfig::llama(bundle.config.vocab_size, 320, 8, (5, 5), 512);
    bundle.transformer = Transformer::new(&config, 1, &device::cpu());
    bundle.config = config;
    let folder = tempfile::tempdir()?;
    bundle.save(folder.path(), Precision::F32)?;
    let what = format!("llama-like, {:.1} M, every weight", bundle.config.parameters() as f64 / 1e6);
    let race = Race { what: &what, base: folder.path(), rows: 8, time: 256, steps: 16, goal: 1.2 };
    let ids = text(&bundle, race.tokens())?;
    race.run(table, bundle.transformer, &full(), &ids)
}

fn large(table: &mut Table) -> Result<()> {
    let bundle = smollm2()?;
    let base = exported(&bundle)?;
    let what = "SmolLM2-135M, every weight";
    let race = Race { what, base: &base, rows: 4, time: 256, steps: 8, goal: 1.2 };
    let ids = text(&bundle, race.tokens())?;
    race.run(table, bundle.transformer, &TrainSpec { learning_rate: 1e-5, ..full() }, &ids)
}
