//! `cargo xtask bench gpu`: training steps on an NVIDIA card beside PyTorch's, from the same weights and batches. In f32, to prove
//! that both compute the same; then in bf16 (f32 master weights) against `torch.compile` with SDPA and fused AdamW. Beside the speed
//! stands how busy the card was, and what a large product alone reaches on both sides.
//!
//! `bench gpu PART` runs one part: `product`, `proof`, `small` (11 M), `large` (135 M). The peer is the Python named by
//! `HEARTH_PYTHON`, with a torch that sees the card.

mod card;

use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use hearth_model::bundle::{ModelBundle, Precision as Stored};
use hearth_model::config::ModelConfig;
use hearth_model::device::{self, Device, DeviceKind};
use hearth_model::transformer::Transformer;
use hearth_shared::spec::{Precision, TrainSpec};
use hearth_tests::bench::parts;
use hearth_tests::bench::peers::{Peer, number};
use hearth_tests::bench::race::{Ground, Race, Raced};
use hearth_tests::bench::table::{Table, median};
use hearth_tests::places;
use serde_json::json;

use card::Watched;

/// Steps in which kernels are compiled and chosen.
const WARM_UP: usize = 6;
/// Seconds that a side works alone, watched.
const ALONE: f64 = 6.0;

fn main() -> Result<()> {
    let parts = parts(["product", "proof", "small", "large"])?;
    let device = device::best();
    let kind = device::info(&device).kind;
    ensure!(
        kind == DeviceKind::Cuda,
        "the fastest device here is {kind:?}: this bench needs an NVIDIA card and its driver"
    );
    println!("{}", card::describe()?);
    let mut table = Table::default();
    let tiny = |bundle: &ModelBundle| ModelConfig::llama(bundle.config.vocab_size, 320, 8, (5, 5), 1024);
    let large = |_: &ModelBundle| ModelConfig { ffn_dim: 1536, ..ModelConfig::llama(49_152, 576, 30, (9, 3), 2048) };
    for part in parts {
        match part {
            "product" => product(&mut table, &device)?,
            "proof" => course(&mut table, &device, tiny, Shape { rows: 8, time: 256, steps: 12 }, Precision::F32)?,
            "small" => course(&mut table, &device, tiny, Shape { rows: 64, time: 512, steps: 24 }, Precision::Bf16)?,
            _ => course(&mut table, &device, large, Shape { rows: 4, time: 1024, steps: 14 }, Precision::Bf16)?,
        }
    }
    println!("\n{table}");
    table.verdict()
}

/// A product of two large matrices in bf16.
fn product(table: &mut Table, device: &Device) -> Result<()> {
    let theirs = number(&Peer::torch()?.ask(&json!({"do": "product", "size": 8192}))?, "flops")?;
    let ours = device::speed(device);
    let rate = |flops: f64| format!("{:.0} TFLOP/s", flops / 1e12);
    table.add("product of 8192 x 8192, bf16", rate(ours), &rate(theirs), format!("{:.2}x", ours / theirs), None);
    Ok(())
}

#[derive(Clone, Copy)]
struct Shape {
    rows: usize,
    time: usize,
    steps: usize,
}

/// One race of a fresh model on the card.
fn course(
    table: &mut Table,
    device: &Device,
    config: impl Fn(&ModelBundle) -> ModelConfig,
    Shape { rows, time, steps }: Shape,
    precision: Precision,
) -> Result<()> {
    let nano = ModelBundle::load(&places::nano(), &device::cpu(), &mut |_| ControlFlow::Continue(()))?;
    let config = config(&nano);
    let ids = ids(&nano, steps * rows * time + 1)?;
    let mut bundle = nano;
    bundle.transformer = Transformer::new(&config, 1, &device::cpu());
    bundle.config = config.clone();
    let folder = tempfile::tempdir()?;
    bundle.save(folder.path(), Stored::F32)?;
    let model = ModelBundle::load(folder.path(), device, &mut |_| ControlFlow::Continue(()))?.transformer;

    let bf16 = precision == Precision::Bf16;
    let what = format!("llama-like, {:.1} M, every weight", config.parameters() as f64 / 1e6);
    let race = Race { what: &what, base: folder.path(), rows, time, steps, goal: 0.0 };
    // In bf16 both round every product, in their own order.
    let ground = Ground { device: device.clone(), name: "cuda", bf16, tolerance: if bf16 { 2e-2 } else { 1e-3 } };
    let spec = TrainSpec { adapter: None, learning_rate: 3e-4, weight_decay: 0.1, precision, ..TrainSpec::default() };
    let Raced { about, seconds: [ours, theirs], mut run, mut torch } = race.on(&ground, model, &spec, &ids)?;

    let tokens = (rows * time) as f64;
    let steady = |seconds: &[f64]| median(seconds[WARM_UP..].to_vec());
    let ratio = median(ours.iter().zip(&theirs).skip(WARM_UP).map(|(ours, theirs)| theirs / ours).collect());
    let flops = hearth_model::plan::shape(&config).flops_per_token(time as f64, true);
    let rate = |seconds: &[f64]| {
        let per_second = tokens / steady(seconds);
        format!("{per_second:.0} tok/s, {:.1} TFLOP/s", per_second * flops / 1e12)
    };
    let name = about["name"].as_str().context("the peer's name")?;
    let (number_format, theirs_how) = if bf16 { ("bf16", "torch.compile") } else { ("f32", "eager") };
    let what = format!("{what}, {rows} x {time}, {number_format}");
    let peer = format!("{name}, {theirs_how}: {}", rate(&theirs));
    table.add(&what, rate(&ours), &peer, format!("{ratio:.2}x"), None);

    let watched = Watched::begin()?;
    let started = Instant::now();
    while started.elapsed().as_secs_f64() < ALONE {
        run.step()?;
        device.sync()?;
    }
    let ours = watched.end(std::process::id())?;
    let watched = Watched::begin()?;
    let rows: Vec<&[u32]> = ids.windows(time + 1).step_by(time).take(rows).collect();
    torch.ask(&json!({"do": "stretch", "rows": rows, "seconds": ALONE}))?;
    let theirs = watched.end(torch.id())?;
    table.add("the same: card busy, its memory", ours.to_string(), &theirs.to_string(), String::new(), None);
    Ok(())
}

/// `count` tokens of hearth-nano's held-out texts, from the front again where they end.
fn ids(nano: &ModelBundle, count: usize) -> Result<Vec<u32>> {
    let lines = std::fs::read_to_string(places::nano().join("heldout.jsonl"))?;
    let ids = nano.tokenizer.encode(&lines, hearth_model::tokenizer::Special::Plain);
    Ok(ids.into_iter().cycle().take(count).collect())
}
