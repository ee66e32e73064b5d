//! `cargo xtask bench browser`: what the page costs in a real Chromium, and what the same Chromium does with llama.cpp in the tab.
//!
//! `bench browser PART` runs one part: `load`, `answer`, `draw`, `perplexity`, `decode`.

mod decode;
mod draw;
mod load;
mod perplexity;

use anyhow::{Result, bail};

use hearth_tests::bench::lab;
use hearth_tests::bench::table::Table;

const PARTS: [&str; 5] = ["load", "answer", "draw", "perplexity", "decode"];

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
            "load" => load::run(&mut table).await?,
            "answer" => lab::run(&mut table).await?,
            "draw" => draw::run(&mut table).await?,
            "perplexity" => perplexity::run(&mut table).await?,
            _ => decode::run(&mut table).await?,
        }
    }
    println!("\n{table}");
    table.verdict()
}
