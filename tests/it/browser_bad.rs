//! Texts that nobody expects, and a worker that dies: a lab says what it makes of them, and goes on.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hearth_tests::{Browser, Look, Server};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// Keeps hold of the worker.
const HOLD: &str = "
    const Plain = window.Worker;
    window.Worker = class extends Plain {
        constructor(...all) { super(...all); window.__worker = this; window.__workers = (window.__workers ?? 0) + 1; }
    };";

/// Texts as scripts.
const TEXTS: [(&str, &str); 5] = [
    ("huge", "'The old man and the sea. '.repeat(400000)"),
    ("binary", "String.fromCharCode(...Array.from({ length: 256 }, (_, at) => at))"),
    ("emoji", "'👩‍👩‍👧‍👦🔥🏳️‍🌈🇨🇳'"),
    ("right to left", "'שלום עולם، مرحبا بالعالم'"),
    ("lone surrogate", "'a\\ud83d b'"),
];

async fn write(browser: &Browser, field: &str, text: &str) -> Result<()> {
    let script = format!(
        "const area = document.querySelector('{field}');
         area.value = {text};
         area.dispatchEvent(new Event('input', {{ bubbles: true }}));
         return null"
    );
    browser.eval::<Value>(&script).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_texts_are_read_or_refused() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    for (lab, field, run) in [("attention", "#lab-text", None), ("cache", "#cache-prompt", Some("[data-action=run]"))] {
        browser.goto(&server.url(&format!("/lab/{lab}?engine=cpu"))).await?;
        browser.wait_within("return document.querySelector('[data-lab=ready]') !== null", PATIENCE).await?;
        let there = async |what: &str, ready: &str| -> Result<()> {
            if let Some(run) = run {
                browser.click(run).await?;
            }
            // After the pause for the next keystroke.
            tokio::time::sleep(Duration::from_millis(300)).await;
            browser.wait_within(ready, PATIENCE).await.with_context(|| format!("{lab}: {what}"))
        };
        for (what, text) in TEXTS {
            write(&browser, field, text).await?;
            there(what, "return document.querySelector('[data-lab=ready]') !== null").await?;
            let kept: usize = browser.eval(&format!("return document.querySelector('{field}').value.length")).await?;
            ensure!(kept <= 8_000, "{lab}, {what}: {kept} characters are kept");
            ensure!((browser.count(".lab-cut").await? == 1) == (what == "huge"), "{lab}, {what}: cut or not");
        }
        write(&browser, field, "''").await?;
        if run.is_none() {
            there("empty", "return document.querySelector('[data-lab=failed] [data-lab-error]') !== null").await?;
        }
        write(&browser, field, "'The old man'").await?;
        there("plain", "return document.querySelector('[data-lab=ready]') !== null").await?;
    }
    let complaints = browser.severe_messages().await?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_is_replaced_in_every_lab() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    browser.before_pages(HOLD).await?;
    for lab in ["attention", "position?window=256", "cache?tokens=16", "sampling", "tokenizer", "quantization"] {
        browser.goto(&server.url(&format!("/lab/{lab}"))).await?;
        browser.wait_within("return document.querySelector('[data-lab=ready]') !== null", PATIENCE).await?;
        browser
            .eval::<Value>(
                "window.__worker.terminate();
                 window.__worker.dispatchEvent(new ErrorEvent('error', { message: 'killed', cancelable: true }));
                 return null",
            )
            .await?;
        browser.wait_within("return window.__workers === 2", PATIENCE).await.with_context(|| lab.to_owned())?;
        browser
            .wait_within("return document.querySelector('[data-lab=ready]') !== null", PATIENCE)
            .await
            .with_context(|| format!("{lab} does not come back"))?;
    }
    browser.close().await
}
