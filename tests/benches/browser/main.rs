//! `cargo xtask bench browser`: what the page costs in a real Chromium, and what the same Chromium does with llama.cpp and ONNX Runtime in the tab.
//!
//! `bench browser PART` runs one part: `load`, `answer`, `draw`, `perplexity`, `decode`.

mod decode;
mod draw;
mod load;
mod perplexity;

use anyhow::Result;

use hearth_tests::bench::table::Table;
use hearth_tests::bench::{lab, parts};

const PARTS: [&str; 5] = ["load", "answer", "draw", "perplexity", "decode"];

#[tokio::main]
async fn main() -> Result<()> {
    let mut table = Table::default();
    for part in parts(PARTS)? {
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
