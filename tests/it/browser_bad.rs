//! Texts and models that nobody expects, a worker that dies: a lab says what it makes of them, and goes on.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hearth_tests::{Browser, Look, Server, ServerOptions, places};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// Keeps hold of the worker, and counts workers and what the last one has answered.
const HOLD: &str = "
    const Plain = window.Worker;
    window.__workers = 0;
    window.Worker = class extends Plain {
        constructor(...all) {
            super(...all);
            window.__worker = this;
            window.__workers += 1;
            window.__answers = 0;
            this.addEventListener('message', ({ data }) => {
                if (this === window.__worker && data?.json?.includes('\"kind\":\"reply\"')) window.__answers += 1;
            });
        }
    };";

/// A lab, and what asks its worker something new.
const LABS: [(&str, &str); 6] = [
    ("attention", "write('#lab-text', 'Another man')"),
    ("position?window=256&hidden=learned.sinusoidal.alibi", "document.querySelector('[data-window=\"1024\"]').click()"),
    ("cache?tokens=16", "document.querySelector('[data-action=run]').click()"),
    ("sampling", "write('#sampling-text', 'Another man')"),
    ("tokenizer", "write('#lab-text', 'Another man')"),
    ("quantization", "document.querySelector('[data-setting=bits] [data-value=\"4\"]').click()"),
];

/// Puts a text into a field as a person would.
const WRITE: &str = "
    const write = (field, text) => {
        const area = document.querySelector(field);
        area.value = text;
        area.dispatchEvent(new Event('input', { bubbles: true }));
    };";

/// Texts as scripts.
const TEXTS: [(&str, &str); 5] = [
    ("huge", "'The old man and the sea. '.repeat(400000)"),
    ("binary", "String.fromCharCode(...Array.from({ length: 256 }, (_, at) => at))"),
    ("emoji", "'👩‍👩‍👧‍👦🔥🏳️‍🌈🇨🇳'"),
    ("right to left", "'שלום עולם، مرحبا بالعالم'"),
    ("lone surrogate", "'a\\ud83d b'"),
];

pub(crate) async fn run(browser: &Browser, script: &str) -> Result<()> {
    browser.eval::<Value>(&format!("{WRITE} {script}; return null")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_texts_are_read_or_refused() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    let labs = [("attention", "#lab-text", "lab", ""), ("cache", "#cache-prompt", "cache", "[data-action=run]")];
    for (lab, field, published, start) in labs {
        browser.goto(&server.url(&format!("/lab/{lab}?engine=cpu"))).await?;
        browser.wait_within("return document.querySelector('[data-lab=ready]') !== null", PATIENCE).await?;
        // What was published goes first, so that only a new answer counts.
        let answered = async |what: &str, text: &str| -> Result<()> {
            run(&browser, &format!("delete window.__hearth.{published}; write('{field}', {text})")).await?;
            if !start.is_empty() {
                browser.click(start).await?;
            }
            let ready = format!(
                "return window.__hearth.{published} !== undefined && document.querySelector('[data-lab=ready]') !== null"
            );
            browser.wait_within(&ready, PATIENCE).await.with_context(|| format!("{lab}: {what}"))
        };
        for (what, text) in TEXTS {
            answered(what, text).await?;
            let kept: usize = browser.eval(&format!("return document.querySelector('{field}').value.length")).await?;
            ensure!(kept <= 8_000, "{lab}, {what}: {kept} characters are kept");
            ensure!((browser.count(".lab-cut").await? == 1) == (what == "huge"), "{lab}, {what}: cut or not");
        }
        run(&browser, &format!("write('{field}', '')")).await?;
        if start.is_empty() {
            browser.find_within("[data-lab=failed] [data-lab-error]", PATIENCE).await.context("an empty text")?;
        }
        answered("plain", "'The old man'").await?;
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
    for (lab, ask) in LABS {
        let is_ready = "document.querySelector('[data-lab=ready]') !== null";
        browser.goto(&server.url(&format!("/lab/{lab}"))).await?;
        browser.wait_within(&format!("return {is_ready}"), PATIENCE).await?;
        let kill = "window.__worker.terminate();
             window.__worker.dispatchEvent(new ErrorEvent('error', { message: 'killed', cancelable: true }))";
        run(&browser, kill).await?;
        browser.wait_within("return window.__workers === 2", PATIENCE).await.with_context(|| lab.to_owned())?;
        browser.wait_within(&format!("return {is_ready}"), PATIENCE).await?;
        run(&browser, &format!("window.__answers = 0; {ask}")).await?;
        let answered = format!("return window.__answers > 0 && {is_ready}");
        browser.wait_within(&answered, PATIENCE).await.with_context(|| format!("{lab} does not come back"))?;
    }
    browser.close().await
}

/// A server that has one of the position lab's models, which knows places by ALiBi, among its own.
async fn with_alibi(folder: &Path) -> Result<Server> {
    let imported = Command::new(places::program()?)
        .args(["model", "import"])
        .arg(places::root().join("public/models/positions/alibi"))
        .args(["--name", "alibi", "--data-dir"])
        .arg(folder)
        .status()?;
    ensure!(imported.success(), "the model is not imported");
    Server::start_with(ServerOptions { data_dir: Some(folder.to_owned()), ..ServerOptions::default() }).await
}

/// The lab refuses the model in words that hold `reason`; the model that every server has is one press away.
async fn is_refused(browser: &Browser, server: &Server, reason: &str) -> Result<()> {
    browser.goto(&server.url("/lab/attention?model=alibi&engine=cpu")).await?;
    browser.find_within("[data-lab=failed] [data-lab-error]", PATIENCE).await?;
    let words = browser.text("[data-lab-error]").await?;
    ensure!(words.contains(reason), "the lab says {words}");
    browser.click("[data-lab-error] .lab-actions button:last-child").await?;
    browser.find_within("[data-lab=ready][data-model=hearth-nano]", PATIENCE).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_a_lab_cannot_explain_is_refused_where_it_would_be_explained() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = with_alibi(folder.path()).await?;
    let browser = Browser::open(&Look::desktop()).await?;
    is_refused(&browser, &server, "ALiBi takes distances from its scores").await?;
    // These take nothing apart.
    for lab in ["cache?tokens=16&", "sampling?", "quantization?"] {
        browser.goto(&server.url(&format!("/lab/{lab}model=alibi&engine=cpu"))).await?;
        browser.find_within("[data-lab=ready]", PATIENCE).await.with_context(|| lab.to_owned())?;
    }
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_an_unknown_architecture_is_refused_by_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = with_alibi(folder.path()).await?;
    // The import would refuse it, so it becomes one behind the server's back, as long as it was.
    let (known, unknown) = ("\"model_type\": \"hearth\"", "\"model_type\": \"mamba2\"");
    let mut changed = 0;
    for model in fs::read_dir(folder.path().join("models"))? {
        let file = model?.path().join("config.json");
        let Ok(config) = fs::read_to_string(&file) else { continue };
        if config.contains("\"alibi\"") && config.contains(known) {
            // Not written through: the file may be a link to the checkout's own.
            fs::remove_file(&file)?;
            fs::write(&file, config.replace(known, unknown))?;
            changed += 1;
        }
    }
    ensure!(changed == 1, "{changed} checkpoints are of an unknown architecture");
    let browser = Browser::open(&Look::desktop()).await?;
    is_refused(&browser, &server, "mamba2").await?;
    browser.close().await
}
