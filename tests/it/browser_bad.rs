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

/// Pastes ten million characters into a field that holds a little, as the browser tells of it before it does so.
const PASTE: &str = "
    const data = new DataTransfer();
    data.setData('text/plain', 'The old man and the sea. '.repeat(400000));
    const area = document.querySelector(field);
    area.focus();
    area.setSelectionRange(3, 3);
    const all = { clipboardData: data, bubbles: true, cancelable: true };
    return area.dispatchEvent(new ClipboardEvent('paste', all));";

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
        answered("short again", "'The sea'").await?;
        let let_in: bool = browser.eval(&format!("const field = '{field}'; {PASTE}")).await?;
        ensure!(!let_in, "{lab}: the browser puts ten million characters into the field");
        let pasted = format!(
            "const {{ value }} = document.querySelector('{field}');
             return value.startsWith('TheThe old man') && value.length <= 8000
                 && document.querySelector('.lab-cut')?.textContent.replace(/\\D/g, '').startsWith('10000007')"
        );
        browser.wait(&pasted).await.with_context(|| format!("{lab}: a paste of ten million characters"))?;
        run(&browser, &format!("write('{field}', '')")).await?;
        if start.is_empty() {
            browser.find_within("[data-lab=failed] [data-lab-error]", PATIENCE).await.context("an empty text")?;
            // The file is of the pass that is still shown, text and all.
            let folder = tempfile::tempdir()?;
            browser.save_into(folder.path()).await?;
            browser.click("[data-action=export]").await?;
            let file = browser.saved(&folder.path().join("hearth-attention.json")).await?;
            let text = serde_json::from_slice::<Value>(&file)?["text"].clone();
            ensure!(text.as_str().is_some_and(|text| text.starts_with("The")), "the file is of {text}");
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
        // The browser itself says nothing.
        run(&browser, "window.__worker.terminate()").await?;
        browser
            .wait_within("return window.__workers === 3", PATIENCE)
            .await
            .with_context(|| format!("{lab}: silence"))?;
        browser.wait_within(&format!("return {is_ready}"), PATIENCE).await?;
    }
    a_pass_is_stopped(&browser, &server).await?;
    browser.close().await
}

/// A pass that never ends is cancelled: its worker is replaced, the lab stays stopped, and another text sets it going again.
async fn a_pass_is_stopped(browser: &Browser, server: &Server) -> Result<()> {
    browser.goto(&server.url("/lab/attention?engine=cpu")).await?;
    browser.find_within("[data-lab=ready]", PATIENCE).await?;
    let deaf = "const worker = window.__worker;
         const post = worker.postMessage.bind(worker);
         worker.postMessage = (message, transfer) => {
             if (!/\"(trace|cancel)\"/.test(message.json)) post(message, transfer);
         };
         write('#lab-text', 'Another man')";
    run(browser, deaf).await?;
    browser.find("[data-lab=computing]").await?;
    let can_stop = "const stop = document.querySelector('.lab-stop');
        return stop !== null && getComputedStyle(stop).visibility === 'visible'";
    browser.wait(can_stop).await?;
    browser.click(".lab-stop").await?;
    browser.find("[data-lab=failed] [data-lab-error]").await?;
    browser.wait_within("return window.__workers === 2", PATIENCE).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(browser.count("[data-lab=failed]").await? == 1, "what was cancelled begins again by itself");
    run(browser, "write('#lab-text', 'The old man')").await?;
    browser.find_within("[data-lab=ready]", PATIENCE).await?;
    Ok(())
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
    browser.click("[data-action=export]").await?;
    let nothing = browser.text_when(".toast", PATIENCE, |text| !text.is_empty()).await?;
    ensure!(nothing.contains("no numbers"), "without a pass the button says {nothing}");
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
