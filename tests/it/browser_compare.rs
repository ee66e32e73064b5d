//! Runs side by side in a real browser: two models from nothing, each a line over time, and what sets them apart. What never trained
//! can't be chosen.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hearth_tests::{Browser, Look, Server};
use serde_json::{Value, json};

use crate::jobs_pretrain::{made, texts, tiny, upload};
use crate::jobs_tuning::{chats, create, ended, request};

const PATIENCE: Duration = Duration::from_secs(120);
const STEPS: u64 = 12;

/// Two runs that differ in depth and vocabulary, and jobs that have no curve: a vocabulary, and a fine-tune of bad rows. The ids of the
/// runs and of the failed job.
async fn jobs(server: &Server) -> Result<[String; 3]> {
    let text = texts(12)?;
    let id = |job: &Value| job["id"].as_str().map(str::to_owned).context("an id");
    let (file, again) = (upload(server, "texts.jsonl", &text).await?, upload(server, "texts.jsonl", &text).await?);
    let small = made(server, &tiny(&file, STEPS)).await?;
    let mut other = tiny(&again, STEPS);
    other["architecture"]["depth"] = json!(1);
    other["tokenizer"] = json!({"train": {"vocab_size": 512}});
    let other = made(server, &other).await?;
    made(server, &json!({"kind": "tokenizer", "training_files": [file], "vocab_size": 400})).await?;
    let bad = upload(server, "bad.jsonl", &format!("{}no row at all\n", chats(8))).await?;
    let failed = create(server, &request(&bad, 5, json!({}))).await?;
    ensure!(ended(server, &failed).await?["status"] == "failed");
    Ok([id(&small)?, id(&other)?, failed])
}

/// Waits until so many lines stand over this axis, then says how many different places of it the first line goes through.
async fn drawn(browser: &Browser, lines: usize, over: &str) -> Result<usize> {
    let points = lines as u64 * STEPS;
    let ready = format!(
        "const charts = document.querySelector('.charts')?.dataset ?? {{}};
         return charts.lines === '{lines}' && charts.over === '{over}' && charts.points === '{points}'"
    );
    browser.wait_within(&ready, PATIENCE).await?;
    let places = "const line = document.querySelector('.charts path.series').getAttribute('d');
        return new Set(line.match(/[ML][0-9.]+/g).map(place => place.slice(1))).size";
    browser.eval(places).await
}

async fn differing(browser: &Browser) -> Result<Vec<String>> {
    browser.wait_within("return document.querySelector('[data-setting]') !== null", PATIENCE).await?;
    let names =
        "return [...document.querySelectorAll('[data-differences] [data-setting]')].map(row => row.dataset.setting)";
    browser.eval(names).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_lie_over_each_other_and_say_what_sets_them_apart() -> Result<()> {
    let server = Server::start().await?;
    server.poll("/readyz", PATIENCE, |ready| ready["status"] == "ok").await?;
    let [small, other, failed] = jobs(&server).await?;
    let browser = Browser::open(&Look::desktop()).await?;

    // The newest two are chosen, and the drawing comes first.
    browser.goto(&server.url("/fine-tune/compare?over=time")).await?;
    let places = drawn(&browser, 2, "time").await?;
    ensure!(places > STEPS as usize / 2, "steps of milliseconds stand at {places} places");
    let chooser: Value = browser
        .eval(
            "const chooser = document.querySelector('.compare-chooser');
             return [chooser.open, chooser.dataset.listed, chooser.querySelectorAll(':checked').length]",
        )
        .await?;
    ensure!(chooser == json!([false, "2", 2]), "open, listed, chosen: {chooser}");
    let expected = ["architecture.depth", "tokenizer.train.vocab_size"];
    let found = differing(&browser).await?;
    ensure!(found == expected, "{found:?}: one text, uploaded twice, is no difference");
    browser.screenshot("compare-time").await?;

    // A job without settings differs in nothing; and what a run does not say is said to be missing.
    browser.goto(&server.url(&format!("/fine-tune/compare?what=loss_scale&runs={small},{failed},{other}"))).await?;
    browser.wait_within("return document.querySelectorAll('[data-none]').length === 2", PATIENCE).await?;
    browser.wait_within("return document.querySelector('.compare-without .chart-key') !== null", PATIENCE).await?;
    let found = differing(&browser).await?;
    ensure!(found == expected, "{found:?} beside a job that failed");
    ensure!(drawn_none(&browser).await?, "a line of a number that no run has");
    let complaints = browser.severe_messages().await?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    browser.close().await
}

async fn drawn_none(browser: &Browser) -> Result<bool> {
    browser.eval("return document.querySelector('.charts').dataset.lines === '0'").await
}
