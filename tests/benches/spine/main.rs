//! `cargo xtask bench spine`: Hearth beside what a person would use instead, in one run, from the same weights and data. The
//! sides take turns, medians count, and every comparison is proved (same tokens, same losses) or the bench fails.
//!
//! `bench spine PART` runs one part: `speed`, `lora`, `tune`, `start`, `lab`.

mod lora;
mod speed;
mod start;
mod tune;

use anyhow::Result;

use hearth_tests::bench::table::Table;
use hearth_tests::bench::{lab, parts};

const PARTS: [&str; 5] = ["start", "lab", "speed", "lora", "tune"];

#[tokio::main]
async fn main() -> Result<()> {
    let mut table = Table::default();
    for part in parts(PARTS)? {
        match part {
            "start" => start::run(&mut table).await?,
            "lab" => lab::run(&mut table).await?,
            "speed" => speed::run(&mut table)?,
            "lora" => lora::run(&mut table, 0.9)?,
            _ => tune::run(&mut table).await?,
        }
    }
    println!("\n{table}");
    table.verdict()
}
