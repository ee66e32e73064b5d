//! Decoding SmolLM2-135M in the tab, greedily: the cache lab beside wllama, which is llama.cpp compiled to wasm, on the same file,
//! and beside transformers.js, which runs on ONNX Runtime compiled to wasm, on the same weights in f32.
//!
//! Hearth computes in f32 on one thread, wllama on the file's own 4 bits and on two threads, which is what its documentation
//! recommends. transformers.js runs with one thread, its default on two cores, and with two; the faster counts. All of them
//! compute on the CPU, since Chromium's WebGPU adapter here is software, and they take turns in one Chromium.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hearth_model::tokenizer::Special;
use hearth_tests::{Browser, Look, Server, ServerOptions, places};
use serde::Deserialize;

use hearth_tests::bench::peers::{onnx, smollm2};
use hearth_tests::bench::table::{Table, median};

const PATIENCE: Duration = Duration::from_secs(600);
const PROMPT: &str = "The old man and the sea. The old man";
const ROUNDS: usize = 3;
const TOKENS: usize = 24;
/// Nats between our two likeliest tokens within which sums of 8-bit inputs may choose the other.
const TIE: f64 = 0.5;
/// The same where both sides sum in f32, in another order.
const TIE_F32: f64 = 1e-3;
/// Threads that transformers.js is tried with.
const THREADS: [u32; 2] = [1, 2];

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

/// What wllama wrote.
#[derive(Deserialize)]
struct Text {
    text: String,
    /// Between the pieces that came.
    ms: Vec<f64>,
    threads: u32,
}

/// What transformers.js chose.
#[derive(Deserialize)]
struct Tokens {
    ids: Vec<u32>,
    /// Between the tokens that came.
    ms: Vec<f64>,
    threads: u32,
}

/// A server for the other side's files and its model, which ends with its owner.
struct Files {
    child: Child,
    address: String,
}

impl Files {
    /// `<peer>.mjs`, where set-up installed the peer.
    fn serve(peer: &str, model: &Path) -> Result<Self> {
        let folder = places::cache()?.join("tools").join(peer);
        let script = places::root().join("tests").join("benches").join("peers").join(format!("{peer}.mjs"));
        let mut child = Command::new("node")
            .current_dir(folder)
            .arg(script)
            .arg(model)
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
    let (onnx_model, tokenizer) = {
        let bundle = smollm2()?;
        (onnx(&bundle)?, bundle.tokenizer)
    };
    let gguf_side = Files::serve("wllama", &places::smollm2()?)?;
    let onnx_side = Files::serve("transformers", &onnx_model)?;
    let browser = Browser::open(&Look::desktop()).await?;
    let (mut ours, mut theirs, mut their_threads) = (Vec::new(), Vec::new(), 0);
    let mut by_threads = THREADS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        let run = hearth(&browser, &server).await?;
        // The first step reads the prompt.
        ours.push(rate(&run.kept.ms[1..]));
        let other = wllama(&browser, &gguf_side).await?;
        let ids = tokenizer.encode(&format!("{PROMPT}{}", other.text), Special::Plain);
        ensure!(ids.starts_with(&run.prompt), "another prompt");
        prove("wllama", &run, &ids[run.prompt.len()..], TIE)?;
        theirs.push(rate(&other.ms));
        their_threads = other.threads;
        for (threads, rates) in THREADS.into_iter().zip(&mut by_threads) {
            let other = transformers_js(&browser, &onnx_side, &run.prompt, threads).await?;
            prove("transformers.js", &run, &other.ids, TIE_F32)?;
            rates.push(rate(&other.ms));
        }
    }
    browser.close().await?;
    let hearth = format!("{:.1} tok/s (f32, 1 thread)", median(ours.clone()));
    let peer = format!("wllama Q4_1, {their_threads} threads: {:.1} tok/s", median(theirs.clone()));
    table.add("decoding SmolLM2-135M on the tab's CPU", hearth.clone(), &peer, ratio(&ours, &theirs), None);
    let all = THREADS.into_iter().zip(&by_threads).map(|(threads, rates)| (threads, rates, median(rates.clone())));
    let fastest = all.max_by(|(_, _, one), (_, _, other)| one.total_cmp(other));
    let (threads, rates, speed) = fastest.context("transformers.js ran")?;
    let peer = format!("transformers.js (onnxruntime-web) f32, {threads} of 2 threads: {speed:.1} tok/s");
    table.add("decoding SmolLM2-135M on the tab's CPU, f32 on both sides", hearth, &peer, ratio(&ours, rates), None);
    Ok(())
}

/// The middle of the rounds' ratios.
fn ratio(ours: &[f64], theirs: &[f64]) -> String {
    format!("{:.2}x", median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()))
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

async fn wllama(browser: &Browser, files: &Files) -> Result<Text> {
    browser.goto(&files.address).await?;
    browser.wait_within("return window.decode !== undefined", PATIENCE).await?;
    let prompt = serde_json::to_string(PROMPT)?;
    browser.eval_async(&format!("window.decode({prompt}, {TOKENS}).then(done, done);")).await
}

async fn transformers_js(browser: &Browser, files: &Files, prompt: &[u32], threads: u32) -> Result<Tokens> {
    browser.goto(&format!("{}?threads={threads}", files.address)).await?;
    browser.wait_within("return window.decode !== undefined", PATIENCE).await?;
    let prompt = serde_json::to_string(prompt)?;
    let tokens: Tokens = browser.eval_async(&format!("window.decode({prompt}, {TOKENS}).then(done, done);")).await?;
    ensure!(tokens.ids.len() == TOKENS, "{} tokens of transformers.js", tokens.ids.len());
    ensure!(tokens.threads == threads, "transformers.js has {} threads, not {threads}", tokens.threads);
    Ok(tokens)
}

/// The same tokens, or a near tie where they part: behind another token nothing can be compared.
fn prove(peer: &str, run: &Run, theirs: &[u32], tie: f64) -> Result<()> {
    let same = run.kept.ids.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
    eprintln!("  the first {same} of {TOKENS} tokens are the same as {peer}'s");
    let margin = run.kept.margins.get(same).copied().unwrap_or(0.0);
    ensure!(same > 0 && margin < tie, "{peer} takes another token {same}, where ours is {margin} nats ahead");
    Ok(())
}
