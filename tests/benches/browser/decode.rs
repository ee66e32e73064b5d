//! Decoding SmolLM2-135M in the tab, greedily: the cache lab beside wllama, which is llama.cpp compiled to wasm, on the same file.
//!
//! Hearth computes in f32 on one thread, wllama on the file's own 4 bits and on two threads, which is what its documentation
//! recommends. They take turns in one Chromium.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hearth_model::tokenizer::Special;
use hearth_tests::{Browser, Look, Server, ServerOptions, places};
use serde::Deserialize;

use hearth_tests::bench::peers::smollm2;
use hearth_tests::bench::table::{Table, median};

const PATIENCE: Duration = Duration::from_secs(600);
const PROMPT: &str = "The old man and the sea. The old man";
const ROUNDS: usize = 3;
const TOKENS: usize = 24;
/// Nats between our two likeliest tokens within which sums of 8-bit inputs may choose the other.
const TIE: f64 = 0.5;

#[derive(Deserialize)]
struct Run {
    engine: String,
    prompt: Vec<u32>,
    done: bool,
    kept: Way,
}

#[derive(Deserialize)]
struct Way {
    ids: Vec<u32>,
    ms: Vec<f64>,
    margins: Vec<f64>,
}

#[derive(Deserialize)]
struct Other {
    text: String,
    /// Between the pieces that came.
    ms: Vec<f64>,
    threads: u32,
}

/// A server for wllama's files and the model, which ends with its owner.
struct Files {
    child: Child,
    address: String,
}

impl Files {
    fn serve() -> Result<Self> {
        let folder = places::cache()?.join("tools").join("wllama");
        let script = places::root().join("tests").join("benches").join("peers").join("wllama.mjs");
        let mut child = Command::new("node")
            .current_dir(folder)
            .arg(script)
            .arg(places::smollm2()?)
            .stdout(Stdio::piped())
            .spawn()
            .context("node")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("an output")?).read_line(&mut line)?;
        Ok(Self { child, address: line.trim().to_owned() })
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) async fn run(table: &mut Table) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let imported = Command::new(places::program()?)
        .args(["model", "import"])
        .arg(places::smollm2()?)
        .args(["--name", "smollm2-135m", "--data-dir"])
        .arg(folder.path())
        .status()?;
    ensure!(imported.success(), "the model was not imported");
    let options = ServerOptions { data_dir: Some(folder.path().to_owned()), ..ServerOptions::default() };
    let server = Server::start_with(options).await?;
    let files = Files::serve()?;
    let browser = Browser::open(&Look::desktop()).await?;
    let tokenizer = smollm2()?.tokenizer;
    let (mut ours, mut theirs, mut threads) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let run = hearth(&browser, &server).await?;
        let other = wllama(&browser, &files).await?;
        let ids = tokenizer.encode(&format!("{PROMPT}{}", other.text), Special::Plain);
        ensure!(ids.starts_with(&run.prompt), "another prompt");
        prove(&run, &ids[run.prompt.len()..])?;
        // The first step reads the prompt.
        ours.push(rate(&run.kept.ms[1..]));
        theirs.push(rate(&other.ms));
        threads = other.threads;
    }
    browser.close().await?;
    let ratio = median(ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect());
    let hearth = format!("{:.1} tok/s (f32, 1 thread)", median(ours));
    let peer = format!("wllama Q4_1, {threads} threads: {:.1} tok/s", median(theirs));
    table.add("decoding SmolLM2-135M on the tab's CPU", hearth, &peer, format!("{ratio:.2}x"), None);
    Ok(())
}

fn rate(ms: &[f64]) -> f64 {
    1_000.0 / median(ms.to_vec())
}

async fn hearth(browser: &Browser, server: &Server) -> Result<Run> {
    let text: String = PROMPT.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let path = format!("/lab/cache?engine=cpu&model=smollm2-135m&text={text}&tokens={TOKENS}");
    browser.goto(&server.url(&path)).await?;
    browser.wait_within("return document.querySelector('[data-lab=ready]') !== null", PATIENCE).await?;
    let run: Run = browser.eval("return window.__hearth.cache").await?;
    ensure!(run.done && run.engine == "cpu" && run.kept.ids.len() == TOKENS, "{} tokens", run.kept.ids.len());
    Ok(run)
}

async fn wllama(browser: &Browser, files: &Files) -> Result<Other> {
    browser.goto(&files.address).await?;
    browser.wait_within("return window.decode !== undefined", PATIENCE).await?;
    let prompt = serde_json::to_string(PROMPT)?;
    browser.eval_async(&format!("window.decode({prompt}, {TOKENS}).then(done, done);")).await
}

/// The same tokens, or a near tie where they part: wllama multiplies 8-bit inputs.
fn prove(run: &Run, theirs: &[u32]) -> Result<()> {
    let same = run.kept.ids.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
    eprintln!("  the first {same} of {TOKENS} tokens are the same");
    let margin = run.kept.margins.get(same).copied().unwrap_or(0.0);
    ensure!(same > 0 && margin < TIE, "wllama takes another token {same}, where ours is {margin} nats ahead");
    Ok(())
}
