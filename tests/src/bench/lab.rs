//! The attention lab in a real Chromium: 64 tokens through hearth-nano on the browser's CPU.

use std::time::Duration;

use anyhow::{Result, ensure};
use hearth_model::bundle::ModelHead;
use hearth_model::tokenizer::{Special, Tokenizer};
use serde::Deserialize;

use super::table::{Table, median};
use crate::{Browser, Look, Server, places};

const ROUNDS: usize = 7;
const TOKENS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Pass {
    engine: String,
    tokens: Vec<u32>,
    answer_ms: f64,
    forward_ms: f64,
}

/// Parts of a text that are exactly as many tokens, each another one.
fn texts<'t>(tokenizer: &'t Tokenizer, all: &'t str) -> impl Iterator<Item = String> + 't {
    let starts = all.char_indices().step_by(100).map(|(at, _)| at);
    let part = |at: usize| {
        let near: String = all[at..].chars().take(TOKENS * 8).collect();
        tokenizer.decode(&tokenizer.encode(&near, Special::Plain)[..TOKENS])
    };
    starts.map(part).filter(|text| tokenizer.encode(text, Special::Plain).len() == TOKENS)
}

/// Adds the row.
///
/// # Errors
/// The lab does not answer, or answers something else.
pub async fn run(table: &mut Table) -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    let (mut answers, mut forwards) = (Vec::new(), Vec::new());
    let head = ModelHead::load(&places::nano())?;
    let all = std::fs::read_to_string(places::model_file("wiki_demo.txt")?)?;
    for (round, text) in texts(&head.tokenizer, &all).take(ROUNDS + 1).enumerate() {
        let text: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        browser.goto(&server.url(&format!("/lab/attention?engine=cpu&text={text}"))).await?;
        browser.wait_within("return document.querySelector('[data-lab=ready]') !== null", PATIENCE).await?;
        let pass: Pass = browser
            .eval("const { engine, tokens, answer_ms, forward_ms } = window.__hearth.lab; return { engine, tokens: [...tokens], answer_ms, forward_ms };")
            .await?;
        ensure!(pass.engine == "cpu" && pass.tokens.len() == TOKENS, "{} tokens on {}", pass.tokens.len(), pass.engine);
        if round > 0 {
            answers.push(pass.answer_ms);
            forwards.push(pass.forward_ms);
        }
    }
    browser.close().await?;
    let answer = median(answers);
    let hearth = format!("{answer:.0} ms, forward {:.0} ms", median(forwards));
    table.add(
        "lab, 64 tokens of hearth-nano on the tab's CPU",
        hearth,
        "",
        String::new(),
        Some(("500 ms", answer <= 500.0)),
    );
    Ok(())
}
