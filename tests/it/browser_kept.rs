//! What the browser keeps: the lab comes back without a server, and a large model is fetched once, in pieces that a cancel
//! does not lose.

use std::ops::ControlFlow;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use hearth_model::bundle::ModelBundle;
use hearth_model::device;
use hearth_model::generate::score;
use hearth_tests::{Browser, Look, Server, ServerOptions, places};

use crate::browser_lab::{address, furthest, look_at, pass};

const PATIENCE: Duration = Duration::from_secs(240);
const SENTENCE: &str = "The old man and the sea. The old man";

#[tokio::test(flavor = "multi_thread")]
async fn the_lab_comes_back_without_a_server() -> Result<()> {
    let mut server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    let path = address(SENTENCE, "&engine=cpu");
    let before = look_at(&browser, &server, &path).await?;
    // The service worker takes the model's files into its own cache behind the first visit.
    let kept = "caches.open('hearth-models').then(c => c.keys()).then(keys => done(keys.filter(k => k.url.endsWith('.safetensors')).length))";
    for round in 0.. {
        if browser.eval_async::<u32>(kept).await? > 0 {
            break;
        }
        ensure!(round < 300, "the model's weights are never kept");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.kill()?;
    let after = look_at(&browser, &server, &path).await?;
    ensure!(after.tokens == before.tokens && furthest(&after.logits, &before.logits) == 0.0, "another answer offline");
    browser.screenshot("lab-offline").await?;
    // Another text, so that nothing can have been remembered.
    let other = look_at(&browser, &server, &address("A ship sails on the sea.", "&engine=cpu")).await?;
    ensure!(other.tokens != before.tokens);
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_whose_code_does_not_come_is_asked_for_again() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    browser.goto(&server.url("/")).await?;
    browser.find("main h1").await?;
    let fetched =
        "performance.getEntriesByType('resource').map(e => e.name).filter(n => n.includes('/split_playground'))";
    // Home comes without the playground's code, unless the service worker has fetched all of it by now, which is another list.
    ensure!(browser.eval::<u32>(&format!("return {fetched}.length")).await? == 0);
    let broken = "window.whole = window.fetch;
        window.fetch = (url, ...rest) =>
            String(url).includes('/split_playground') ? Promise.reject(new TypeError('lost')) : window.whole(url, ...rest);";
    browser.eval::<()>(broken).await?;
    browser.click(".places a[href='/playground']").await?;
    browser.find("main .notice.bad[role=alert] button").await?;
    // The server is well, and nothing says otherwise.
    ensure!(browser.text("main .notice.bad strong").await? == "This part of the page did not come");
    ensure!(browser.count(".composer-input").await? == 0, "it stands there without its code");
    ensure!(browser.eval::<bool>("return document.getElementById('crash').hidden").await?, "the page broke");
    browser.screenshot("place-lost").await?;
    // The rest of the page is whole.
    browser.click(".places a[href='/planner']").await?;
    browser.wait("return document.querySelector('main h1') && !document.querySelector('main .notice.bad')").await?;
    browser.click(".places a[href='/playground']").await?;
    browser.find("main .notice.bad button").await?;
    browser.eval::<()>("window.fetch = window.whole").await?;
    browser.click("main .notice.bad button").await?;
    browser.find(".composer-input").await?;
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_is_fetched_once_and_computes_what_the_server_would() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let imported = Command::new(places::program()?)
        .args(["model", "import"])
        .arg(places::smollm2()?)
        .args(["--name", "smollm2-135m", "--data-dir"])
        .arg(folder.path())
        .status()?;
    ensure!(imported.success());
    let options = ServerOptions { data_dir: Some(folder.path().to_owned()), ..ServerOptions::default() };
    let mut server = Server::start_with(options).await?;
    let browser = Browser::open(&Look::desktop()).await?;
    let long = SENTENCE.repeat(3);
    look_at(&browser, &server, &address(&long, "&engine=cpu")).await?;

    // Cancel while the bytes come: the lab says so, and what came stays.
    let cancel = "
        const select = document.querySelector('#lab-model');
        select.value = 'smollm2-135m';
        select.dispatchEvent(new Event('change', { bubbles: true }));
        const look = () => {
            const line = document.querySelector('.lab-opening .num')?.textContent ?? '';
            if (/[1-9][0-9.]* MB/.test(line)) { document.querySelector('.lab-opening button').click(); done(line); }
            else if (document.querySelector('[data-lab=ready][data-model=smollm2-135m]')) done('');
            else setTimeout(look, 2);
        };
        look();";
    let line: String = browser.eval_async(cancel).await?;
    ensure!(!line.is_empty(), "the model was there before it could be cancelled");
    browser.find_within("[data-lab-error]", PATIENCE).await?;
    browser.screenshot("lab-cancelled").await?;
    browser.click("[data-lab-error] button").await?;
    browser.find_within("[data-lab=ready][data-model='smollm2-135m']", PATIENCE).await?;
    let traced = pass(&browser).await?;
    browser.screenshot("lab-smollm2").await?;

    let bundle = ModelBundle::load(&places::smollm2()?, &device::cpu(), &mut |_| ControlFlow::Continue(()))?;
    let vocabulary = bundle.config.vocab_size;
    ensure!(traced.logits.len() == vocabulary && traced.tokens.len() >= 28, "{} tokens", traced.tokens.len());
    // The tab's distribution behind the last token, against the engine here: the chance of each of its best continuations.
    let sum: f64 = traced.logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
    let mut best: Vec<usize> = (0..vocabulary).collect();
    best.sort_by(|a, b| traced.logits[*b].total_cmp(&traced.logits[*a]));
    for id in best.into_iter().take(5) {
        let text: Vec<u32> = traced.tokens.iter().copied().chain([id as u32]).collect();
        let here = score(&bundle, &text, 0)?.last().and_then(|token| token.logprob).unwrap_or(f32::NAN);
        let apart = (traced.logits[id] - sum - f64::from(here)).abs();
        ensure!(apart < 1e-3, "token {id}: log-probabilities differ by {apart}");
    }

    // Kept: the next visit needs no server.
    server.kill()?;
    let path = address(&long, "&engine=cpu&model=smollm2-135m");
    let again = look_at(&browser, &server, &path).await?;
    ensure!(furthest(&again.logits, &traced.logits) == 0.0, "the kept model answers otherwise");
    browser.close().await
}
