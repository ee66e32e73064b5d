//! The examples that a lab shows before its engine is there: each is what the worker answers today, and each is shown, as an
//! example, by a page whose worker never comes. `HEARTH_EXAMPLES=write` writes them anew.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use hearth_shared::lab::example::{self, Exchange};
use hearth_shared::lab::{Call, Event, Reply, TensorInfo, TensorName};
use hearth_tests::{Browser, Look, Server, places};
use serde::Deserialize;
use serde_json::Value;

/// The position lab measures four models.
const PATIENCE: Duration = Duration::from_secs(300);
/// A lab, its address, and what is there once all it asks for by itself is answered.
const LABS: [(&str, &str); 6] = [
    ("attention", "[data-lab=ready]"),
    ("cache", "[data-lab=ready]"),
    ("sampling", "[data-lab=ready][data-tree=ready][data-runs=ready]"),
    ("quantization", "[data-lab=ready]"),
    ("position", "[data-lab=ready]"),
    ("tokenizer", "[data-lab=ready]"),
];
const LANGUAGES: [(&str, &str); 2] = [("en", "en"), ("zh", "zh-CN")];
/// Labs that ask the same in every language.
const WORDLESS: [&str; 2] = ["quantization", "position"];
/// How far a number may be from itself on another machine.
const TOLERANCE: f64 = 1e-3;

/// Keeps what page and worker say to one another.
const LISTEN: &str = "
    window.__spoken = [];
    const Plain = window.Worker;
    window.Worker = class extends Plain {
        constructor(...all) {
            super(...all);
            this.addEventListener('message', ({ data }) => {
                if (data?.json) window.__spoken.push({ json: data.json, buffers: data.buffers.map(b => b.slice(0)) });
            });
        }
        postMessage(message, transfer) {
            if (message?.json) window.__spoken.push({ json: message.json, buffers: [] });
            return super.postMessage(message, transfer);
        }
    };";

/// A worker that never says a word.
const SILENCE: &str = "window.Worker = class { postMessage() {} terminate() {} addEventListener() {} };";

#[derive(Deserialize)]
struct Message {
    json: String,
    buffers: Vec<Vec<u8>>,
}

fn file(lab: &str, language: &str) -> PathBuf {
    places::root().join(format!("public/examples/{lab}-{language}.bin"))
}

/// What a lab asks when it is opened, and what the worker answers.
async fn heard(browser: &Browser, server: &Server, lab: &str, ready: &str) -> Result<Vec<(Exchange, Vec<u8>)>> {
    browser.goto(&server.url(&format!("/lab/{lab}"))).await?;
    browser.wait_within(&format!("return document.querySelector('{ready}') !== null"), PATIENCE).await?;
    let spoken: Vec<Message> = browser
        .eval(
            "return window.__spoken.map(({ json, buffers }) =>
                 ({ json, buffers: buffers.map(b => Array.from(new Uint8Array(b))) }))",
        )
        .await?;
    let (mut calls, mut exchanges) = (Vec::new(), Vec::<(Exchange, Vec<u8>)>::new());
    for Message { json, buffers } in spoken {
        if let Ok(call) = serde_json::from_str::<Call>(&json) {
            calls.push(call);
        } else if let Ok(Event::Reply { id, reply, .. }) = serde_json::from_str(&json) {
            let call = calls.iter().find(|call| call.id == id).context("an answer to no call")?;
            let request = example::plain(&call.request);
            let exchange = Exchange { request, reply, buffers: buffers.iter().map(Vec::len).collect() };
            example::keep(&mut exchanges, exchange, buffers.concat());
        }
    }
    ensure!(exchanges.len() > 1, "{lab}: {} exchanges", exchanges.len());
    Ok(exchanges)
}

fn alike(path: &str, left: &Value, right: &Value) -> Result<()> {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            ensure!(left.keys().eq(right.keys()), "{path} has other fields");
            for (key, value) in left.iter().filter(|(key, _)| !example::is_of_the_machine(key)) {
                alike(&format!("{path}.{key}"), value, &right[key])?;
            }
            Ok(())
        }
        (Value::Array(left), Value::Array(right)) => {
            ensure!(left.len() == right.len(), "{path}: {} instead of {}", right.len(), left.len());
            left.iter()
                .zip(right)
                .enumerate()
                .try_for_each(|(at, (left, right))| alike(&format!("{path}[{at}]"), left, right))
        }
        (Value::Number(left), Value::Number(right)) => {
            let (left, right) = (left.as_f64().unwrap_or_default(), right.as_f64().unwrap_or_default());
            ensure!((left - right).abs() <= TOLERANCE * left.abs().max(1.0), "{path}: {right} instead of {left}");
            Ok(())
        }
        (left, right) if left == right => Ok(()),
        (left, right) => bail!("{path}: {right} instead of {left}"),
    }
}

/// The buffers' names, where they have some.
fn tensors(reply: &Reply) -> &[TensorInfo] {
    match reply {
        Reply::Opened(opened) => &opened.tensors,
        Reply::Traced(traced) => &traced.tensors,
        _ => &[],
    }
}

fn same_numbers(name: &str, left: &[u8], right: &[u8]) -> Result<()> {
    ensure!(left.len() == right.len(), "{name}: {} bytes instead of {}", right.len(), left.len());
    let numbers = |bytes: &[u8]| -> Vec<f64> {
        bytes.as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
    };
    for (at, (left, right)) in numbers(left).into_iter().zip(numbers(right)).enumerate() {
        let near = left == right || (left - right).abs() <= TOLERANCE * left.abs().max(1.0);
        ensure!(near, "{name}[{at}]: {right} instead of {left}");
    }
    Ok(())
}

fn same(lab: &str, kept: &[u8], now: &[(Exchange, Vec<u8>)]) -> Result<()> {
    let kept = example::read(kept).map_err(anyhow::Error::msg)?;
    for (exchange, bytes) in now {
        let kind = exchange.request.kind();
        let (known, buffers) = kept
            .iter()
            .find(|(known, _)| known.request == exchange.request)
            .with_context(|| format!("{lab}: {kind} is not in the example"))?;
        alike(kind, &serde_json::to_value(&known.reply)?, &serde_json::to_value(&exchange.reply)?)?;
        let mut rest = bytes.as_slice();
        for (at, (kept, &size)) in buffers.iter().zip(&exchange.buffers).enumerate() {
            let (buffer, after) = rest.split_at(size);
            rest = after;
            let name = tensors(&exchange.reply).get(at).map(|info| info.name);
            if matches!(name, Some(TensorName::VocabularyBytes | TensorName::VocabularyEnds)) {
                ensure!(*kept == buffer, "{lab}: {name:?} is another one");
            } else {
                same_numbers(&format!("{lab} {kind} {name:?}"), kept, buffer)?;
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_are_what_the_worker_answers() -> Result<()> {
    let server = Server::start().await?;
    let write = std::env::var_os("HEARTH_EXAMPLES").is_some_and(|mode| mode == "write");
    let mut wordless = HashMap::new();
    for (language, locale) in LANGUAGES {
        let browser = Browser::open(&Look::desktop().language(locale)).await?;
        browser.before_pages(LISTEN).await?;
        for (lab, ready) in LABS {
            let now = match wordless.remove(lab) {
                Some(now) => now,
                None => heard(&browser, &server, lab, ready).await.with_context(|| format!("{lab} in {language}"))?,
            };
            let file = file(lab, language);
            if write {
                fs::write(&file, example::write(&now))?;
            }
            let kept = fs::read(&file).with_context(|| file.display().to_string())?;
            same(lab, &kept, &now)
                .with_context(|| format!("{lab} in {language}: HEARTH_EXAMPLES=write writes it anew"))?;
            if WORDLESS.contains(&lab) {
                wordless.insert(lab, now);
            }
        }
        browser.close().await?;
    }
    Ok(())
}

/// The lab's numbers on `window.__hearth`, whatever name they stand under, without the attention lab's arrays.
const PUBLISHED: &str = "
    const { lab, cache, sampling, position, words, quantize } = window.__hearth ?? {};
    const found = lab ?? cache ?? sampling ?? position ?? words ?? quantize;
    const { logits, weights, ...plain } = found;
    return plain";

/// Numbers of an example say that they are, and nothing of the machine they come from.
fn is_marked(numbers: &Value) -> Result<()> {
    fn machine(value: &Value) -> Option<&str> {
        match value {
            Value::Object(fields) => fields.iter().find_map(|(name, value)| {
                if example::is_of_the_machine(name) { Some(name.as_str()) } else { machine(value) }
            }),
            Value::Array(items) => items.iter().find_map(machine),
            _ => None,
        }
    }
    ensure!(numbers["example"] == true, "nothing says that this is an example");
    match machine(numbers) {
        Some(name) => bail!("{name:?} is of another machine"),
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_example_stands_there_while_the_engine_starts() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    browser.before_pages(SILENCE).await?;
    let folder = tempfile::tempdir()?;
    browser.save_into(folder.path()).await?;
    for (lab, what, saved) in [
        ("attention", ".lab-body canvas", "hearth-attention"),
        ("cache", ".cache-token", "hearth-kv-cache"),
        ("sampling", ".waterfall", "hearth-sampling"),
        ("position", ".position-table.by-head", "hearth-position"),
        ("tokenizer", ".words-rows", "hearth-tokens"),
        ("quantization", "#quantize-perplexity", "hearth-quantization"),
    ] {
        browser.goto(&server.url(&format!("/lab/{lab}"))).await?;
        browser.wait_within("return document.querySelector('[data-lab=example]') !== null", PATIENCE).await?;
        browser.find(what).await?;
        browser.find(".lab-example").await?;
        browser.screenshot(&format!("example-{lab}")).await?;
        let engine: bool = browser.eval("return document.querySelector('.lab').dataset.engine !== undefined").await?;
        ensure!(!engine, "{lab} names an engine that is not there");
        ensure!(
            browser.count("#cache-ratio:not(:empty), .cache-chart svg").await? == 0,
            "{lab} shows another machine's times"
        );
        // Its numbers can be taken away, and say what they are.
        browser.click("[data-action=export]").await?;
        let numbers = browser.saved(&folder.path().join(format!("{saved}-example.json"))).await?;
        let numbers: Value = serde_json::from_slice(&numbers)?;
        is_marked(&numbers).with_context(|| format!("{lab}'s file"))?;
        is_marked(&browser.eval(PUBLISHED).await?).with_context(|| format!("what {lab} publishes"))?;
    }
    let picture = folder.path().join("hearth-quantization-example.png");
    browser.click("[data-action=picture]").await?;
    ensure!(browser.saved(&picture).await?.starts_with(b"\x89PNG"), "no picture");
    // As a table too.
    let perplexity = browser.text("#quantize-perplexity").await?;
    browser.click("[data-action=table]").await?;
    let table = String::from_utf8(browser.saved(&folder.path().join("hearth-quantization-example.csv")).await?)?;
    ensure!(table.lines().any(|line| line.starts_with("example,") && line.ends_with(",true")), "{table}");
    let nll = table.lines().find_map(|line| line.strip_prefix("tried.loss.nll,")).context("the table has no loss")?;
    let nll: f64 = nll.trim_matches(',').parse()?;
    ensure!(format!("{:.2}", nll.exp()) == perplexity, "{nll} is no {perplexity}");

    // A link asks for something else, which no example answers.
    browser.goto(&server.url("/lab/attention?text=Another")).await?;
    browser.find(".lab-wait").await?;
    ensure!(browser.count("[data-lab=example]").await? == 0, "a link is answered by the example");
    browser.close().await
}
