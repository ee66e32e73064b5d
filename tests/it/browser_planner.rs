//! The planner in a real browser: what it shows is the arithmetic's own answer, it follows every change, and a run that is too large for
//! a device is made to fit by one click. The server refuses the same run with the same numbers.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hearth_shared::plan::devices::sheets;
use hearth_shared::plan::estimate::{Layout, Place};
use hearth_shared::spec::{ArchitectureSpec, Objective, TrainSpec};
use hearth_tests::{Browser, Look, Server, ServerOptions};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);

async fn total(browser: &Browser, wanted: u64) -> Result<()> {
    let ready = format!("return document.querySelector('.planner-answers').dataset.total === '{wanted}'");
    if browser.wait_within(&ready, PATIENCE).await.is_err() {
        let found: Option<String> =
            browser.eval("return document.querySelector('.planner-answers').dataset.total").await?;
        anyhow::bail!("the page plans {found:?} bytes, the arithmetic {wanted}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_planner_answers_as_one_drags() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look { width: 1440, ..Look::desktop() }).await?;
    let sheet = sheets().into_iter().find(|sheet| sheet.name.starts_with("RTX 4090")).context("a 4090 in the table")?;
    let place = Place::usual(&sheet, Layout::SINGLE);
    let shape = |depth| ArchitectureSpec { depth, ..ArchitectureSpec::default() }.shape(32_768);
    let spec = TrainSpec {
        objective: Objective::Documents,
        adapter: None,
        batch_size: 32,
        max_length: 1024,
        micro_batch_tokens: 4096,
        ..TrainSpec::default()
    };
    browser.goto(&server.url("/planner?device=RTX%204090%2024%20GB")).await?;
    total(&browser, shape(12)?.memory_on(&spec, place).total).await?;
    // The dial's twelfth stop is 32 layers.
    browser
        .eval::<serde_json::Value>(
            "const dial = document.querySelector('label:has([name=depth]) input[type=range]');
             dial.value = 11; dial.dispatchEvent(new Event('input', {bubbles: true})); return null",
        )
        .await?;
    let large = shape(32)?;
    total(&browser, large.memory_on(&spec, place).total).await?;
    ensure!(browser.eval::<bool>("return document.querySelector('.badge.bad') !== null").await?, "34 GB of 24 fit?");
    // Its weights alone are too many, and what begins from nothing has none to put an adapter on.
    ensure!(large.fit_on(&spec, sheet.memory as u64, place).is_none(), "34 GB of weights fit?");
    // What is left is a smaller model: the largest that fits.
    let smaller = (1..32).rev().find_map(|depth| {
        let found = shape(depth).ok()?.fit_on(&spec, sheet.memory as u64, place)?;
        Some((depth, found.memory.total))
    });
    let (depth, needed) = smaller.context("a depth that fits")?;
    browser.click("[data-action=fit]").await?;
    total(&browser, needed).await?;
    let chosen: String = browser.eval("return document.querySelector('[name=depth]').value").await?;
    ensure!(chosen == depth.to_string(), "{chosen} layers, not {depth}");

    // Smaller passes are a way out.
    browser.goto(&server.url("/planner?depth=24&rows=16&device=RTX%204090%2024%20GB")).await?;
    let (middle, spec) = (shape(24)?, TrainSpec { micro_batch_tokens: 16_384, ..spec });
    total(&browser, middle.memory_on(&spec, place).total).await?;
    browser.screenshot("planner-too-large").await?;
    let found = middle.fit_on(&spec, sheet.memory as u64, place).context("a way out")?;
    ensure!(!found.changes.is_empty(), "it fits as it is");
    browser.click("[data-action=fit]").await?;
    total(&browser, found.memory.total).await?;
    browser.wait_within("return !location.search.includes('rows=16')", PATIENCE).await?;
    let address: String = browser.eval("return location.href").await?;
    browser.goto(&address).await?;
    total(&browser, found.memory.total).await?;
    browser.screenshot("planner-fits").await?;

    // Where it fits with room to spare, the step can go in fewer passes.
    browser.goto(&server.url("/planner?depth=12&rows=2&device=RTX%204090%2024%20GB")).await?;
    let small = ArchitectureSpec { depth: 12, ..ArchitectureSpec::default() }.shape(32_768)?;
    let rows = small.largest_pass(&spec, sheet.memory as u64, place).context("a pass that fits")?;
    ensure!(rows > 2 && rows < 32, "{rows} rows at once");
    let passes = |rows| TrainSpec { micro_batch_tokens: rows * 1024, ..spec.clone() };
    total(&browser, small.memory_on(&passes(2), place).total).await?;
    browser.click("[data-action=rows]").await?;
    total(&browser, small.memory_on(&passes(rows), place).total).await?;
    browser.wait_within("return document.querySelector('[data-action=rows]') === null", PATIENCE).await?;

    a_model_of_the_server(&server, &browser).await?;
    let complaints = browser.severe_messages().await?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    browser.close().await
}

/// Its shape and the machine's paces come from there.
async fn a_model_of_the_server(server: &Server, browser: &Browser) -> Result<()> {
    browser.goto(&server.url("/planner?model=hearth-nano&tuning=lora&length=128&batch=8&rows=8")).await?;
    browser.wait_within("return document.querySelector('.planner-parts') !== null", PATIENCE).await?;
    let models = server.get("/v1/models").await?.expect(200)?;
    let nano = models["data"].as_array().and_then(|all| all.iter().find(|model| model["id"] == "hearth-nano"));
    let hash = nano.and_then(|nano| nano["hearth"]["hash"].as_str()).context("hearth-nano")?;
    let shape = server.get(&format!("/v1/hearth/shapes/{hash}")).await?.expect(200)?;
    let count = nano.map(|nano| nano["hearth"]["parameters"].clone());
    ensure!(Some(shape["parameters"].clone()) == count, "{shape}");
    let device = server.get("/v1/hearth/device").await?.expect(200)?;
    ensure!(device["f32"].as_f64() > Some(1e9) && device["bandwidth"].as_f64() > Some(1e8), "{device}");
    ensure!(device["pace"]["utilisation"].as_f64() > Some(0.0), "{device}");
    ensure!(server.get("/v1/hearth/shapes/none").await?.status == 404, "there is no such model");
    Ok(())
}

/// What the planner calls too large is refused before anything runs, with the way out.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_too_large_for_the_machine_is_refused() -> Result<()> {
    let environment = vec![("HEARTH_MAX_JOB_BYTES".into(), "60000000".into())];
    let server = Server::start_with(ServerOptions { environment, ..ServerOptions::default() }).await?;
    // hearth-nano is taken in beside the first answers.
    server
        .poll("/v1/models", PATIENCE, |models| models["data"].as_array().is_some_and(|rows| !rows.is_empty()))
        .await?;
    let rows: String = (0..40)
        .map(|n| json!({"messages": [{"role": "user", "content": format!("{n}?")}, {"role": "assistant", "content": "Yes. ".repeat(60)}]}))
        .map(|row| format!("{row}\n"))
        .collect();
    let file = server.upload("rows.jsonl", &rows).await?["id"].clone();
    let hearth = json!({"tuning": "full", "micro_batch_tokens": 4096, "dry_run": true});
    let request = json!({"model": "hearth-nano", "training_file": file, "hearth": hearth,
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"batch_size": 32}}}});
    let plan = server.post("/v1/fine_tuning/jobs", &request).await?.expect(200)?;
    let error = &plan["error"];
    ensure!(error["param"].as_str().is_some_and(|param| param.starts_with("hearth.")), "{plan}");
    let message = error["message"].as_str().unwrap_or_default();
    ensure!(message.contains("It fits with `hearth."), "{message}");
    Ok(())
}
