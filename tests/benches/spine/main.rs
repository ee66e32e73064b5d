//! `cargo xtask bench spine`: Hearth beside what a person would use instead, in one run, from the same weights and data. The
//! sides take turns, medians count, and every comparison is proved (same tokens, same losses) or the bench fails.
//!
//! `bench spine PART` runs one part: `speed`, `lora`, `tune`, `start`, `lab`.

mod lora;
mod speed;
mod start;
mod tune;

use anyhow::{Result, bail};

use hearth_tests::bench::lab;
use hearth_tests::bench::table::Table;

const PARTS: [&str; 5] = ["start", "lab", "speed", "lora", "tune"];

#[tokio::main]
async fn main() -> Result<()> {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = asked.iter().find(|name| !PARTS.contains(&name.as_str())) {
        bail!("there is no part {unknown:?}, only: {}", PARTS.join(", "));
    }
    let mut table = Table::default();
    for part in PARTS {
        if !asked.is_empty() && !asked.iter().any(|name| name == part) {
            continue;
        }
        eprintln!("— {part}");
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
