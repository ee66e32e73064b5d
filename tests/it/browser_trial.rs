//! A fine-tune in small, in a real browser: the tab's own steps are those of the native engine, and it stops when it is told to.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use hearth_model::bundle::ModelBundle;
use hearth_model::device;
use hearth_model::train::trial::Trial;
use hearth_shared::lab::trial::{EXAMPLES, Found, STEPS, Step};
use hearth_shared::spec::{FineTuneSpec, TrainSpec};
use hearth_shared::text::validate;
use hearth_tests::{Browser, Look, Server};
use serde_json::Value;

use crate::jobs_tuning::chats;

/// A trial on a busy machine with two cores.
const PATIENCE: Duration = Duration::from_secs(240);

/// The same trial natively: what it is made of, and its steps.
fn native(rows: &str) -> Result<(TrainSpec, Vec<Step>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../public/models/nano");
    let bundle = ModelBundle::load(&folder, &device::cpu(), &mut |_| ControlFlow::Continue(()))?;
    let (_, examples) = validate::examples(rows.as_bytes()).map_err(|problem| anyhow::anyhow!("{problem:?}"))?;
    let mut trial = Trial::new(&bundle, &FineTuneSpec::default(), &examples)?;
    let mut steps = Vec::new();
    while !trial.is_done() {
        steps.push(trial.step()?);
    }
    Ok((trial.spec().clone(), steps))
}

async fn steps_shown(browser: &Browser) -> Result<u64> {
    browser.eval("return Number(document.querySelector('.trial').dataset.steps)").await
}

/// By script: the foot of the form lies over what is scrolled to the end of the window.
async fn press(browser: &Browser, act: &str) -> Result<()> {
    browser.find(&format!("[data-act={act}]")).await?;
    let click = format!("document.querySelector('[data-act={act}]').click(); return null");
    browser.eval::<Value>(&click).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_in_the_tab_takes_the_steps_of_the_native_engine() -> Result<()> {
    let rows = chats(30);
    let own = rows.clone();
    let (spec, steps) = tokio::task::spawn_blocking(move || native(&own)).await??;
    let total = steps.len() as u64;
    ensure!(total == STEPS && steps[19].loss < 0.7 * steps[0].loss, "it does not learn: {steps:?}");

    let folder = tempfile::tempdir()?;
    let path = folder.path().join("chats.jsonl");
    std::fs::write(&path, &rows)?;
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    browser.goto(&server.url("/fine-tune/new")).await?;
    browser.find("label.button").await?;
    ensure!(browser.count(".trial").await? == 0, "a trial without examples");
    browser.choose_file("input[type=file]", &path).await?;

    press(&browser, "trial").await?;
    let running = "return Number(document.querySelector('.trial')?.dataset.steps) >= 1";
    browser.wait_within(running, PATIENCE).await?;
    press(&browser, "cancel-trial").await?;
    browser.wait("return document.querySelector('.trial[data-trial=cancelled]') !== null").await?;
    let stopped = steps_shown(&browser).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let still = steps_shown(&browser).await?;
    ensure!(stopped < total && still == stopped, "{stopped} steps when it was stopped, {still} later");
    let published = "return window.__hearth?.trial !== undefined";
    ensure!(!browser.eval::<bool>(published).await?, "a stopped trial found something");

    press(&browser, "trial").await?;
    browser.wait_within(published, PATIENCE).await?;
    let found: Found = browser.eval("return window.__hearth.trial").await?;
    let plain = TrainSpec { samples: Vec::new(), ..found.spec.clone() };
    ensure!(plain == spec, "the tab decides {plain:?}, the native engine {spec:?}");
    ensure!((found.examples as usize, found.left_out) == (EXAMPLES, 0), "{found:?}");
    ensure!(found.steps.len() == steps.len(), "{} steps", found.steps.len());
    for (here, there) in found.steps.iter().zip(&steps) {
        let same = (here.step, here.tokens) == (there.step, there.tokens);
        ensure!(same && (here.loss - there.loss).abs() < 1e-3, "the tab says {here:?}, the native engine {there:?}");
    }
    ensure!(found.answers.is_some_and(|answers| answers.question.starts_with("What is")), "nothing was asked");
    println!("{total} steps in the tab took {:.0} ms", found.ms);
    ensure!(browser.count(".trial .chart path.series").await? == 1 && steps_shown(&browser).await? == total);
    let last = browser.text(".trial [data-figure=last-loss]").await?;
    ensure!(last.trim() == format!("{:.2}", found.steps[19].loss), "{last} is shown");
    browser.screenshot("trial-done").await?;
    let complaints = browser.severe_messages().await?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    browser.close().await
}
