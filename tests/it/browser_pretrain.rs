//! A model from nothing by the page: sample texts, a small size, start; the run's page follows it to the end, a lab opens its
//! last checkpoint, and the model leaves as a file for other programs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hearth_tests::{Browser, Look, Server};
use serde_json::{Value, json};
use thirtyfour::Key;

use crate::browser_lab::{address, escaped, look_at};

const PATIENCE: Duration = Duration::from_secs(240);

/// Types into a dial's number.
async fn set(browser: &Browser, name: &str, value: &str) -> Result<()> {
    let script = format!(
        "const input = document.querySelector('[name={name}]'); input.value = '{value}';
         input.dispatchEvent(new Event('change', {{bubbles: true}})); return null"
    );
    browser.eval::<Value>(&script).await?;
    Ok(())
}

/// Whole weights of the last step, which nobody could open before: the lab finds what follows as likely as the server does with the
/// result. Ends on the run's page.
async fn a_lab_opens_a_checkpoint(browser: &Browser, server: &Server) -> Result<()> {
    let run: String = browser.eval("return location.pathname").await?;
    let id = run.rsplit('/').next().context("a run")?;
    let step =
        server.get(&format!("/v1/jobs/{id}")).await?.expect(200)?["hearth"]["step"].as_u64().context("a step")?;
    let is_first = format!("return document.querySelector('.checkpoints tbody td')?.textContent === '{step}'");
    browser.wait_within(&is_first, PATIENCE).await?;
    browser.click(".checkpoints tbody tr [data-act=checkpoint-lab]").await?;
    browser.wait_within("return location.pathname === '/lab/attention'", PATIENCE).await?;
    let name = format!("from-page:ckpt-step-{step}");
    let opened = format!("return document.querySelector('[data-lab=ready][data-model=\"{name}\"]') !== null");
    browser.wait_within(&opened, PATIENCE).await?;
    let chosen: String = browser.eval("return document.querySelector('#lab-model').value").await?;
    ensure!(chosen == name, "{chosen} stands in the menu");
    browser.screenshot("checkpoint-lab").await?;

    // By its address, too; what is listed is offered beside it.
    let text = "The people of the union";
    let here = look_at(browser, server, &address(text, &format!("&engine=cpu&model={}", escaped(&name)))).await?;
    let offered = browser.count("#lab-model option").await?;
    ensure!(offered == 3, "{offered} models are offered");
    let asked = json!({"model": "from-page", "prompt": text, "max_tokens": 1, "temperature": 0, "logprobs": 5});
    let there = server.post("/v1/completions", &asked).await?.expect(200)?;
    let there = there["choices"][0]["logprobs"]["token_logprobs"][0].as_f64().context("a log-probability")?;
    let sum: f64 = here.logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
    let most = here.logits.iter().copied().fold(f64::NEG_INFINITY, f64::max) - sum;
    ensure!((most - there).abs() < 1e-3, "the tab says {most}, the server {there}");
    browser.goto(&server.url(&run)).await?;
    browser.wait_within("return document.querySelector('.export summary') !== null", PATIENCE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_made_from_the_page() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look { width: 1440, ..Look::desktop() }).await?;
    browser.goto(&server.url("/pretrain")).await?;
    browser.wait_within("return document.querySelector('.empty a[href=\"/pretrain/new\"]') !== null", PATIENCE).await?;
    browser.goto(&server.url("/pretrain/new")).await?;
    browser.wait_within("return document.querySelector('.planner-parts') !== null", PATIENCE).await?;
    ensure!(browser.eval::<bool>("return document.querySelector('[data-act=start]').disabled").await?, "no texts yet");
    browser.click("[data-act=sample]").await?;
    browser.wait_within("return document.querySelector('.texts li') !== null", PATIENCE).await?;
    let total = "return Number(document.querySelector('.planner-answers').dataset.total)";
    let before: f64 = browser.eval(total).await?;
    for (name, value) in [("depth", "1"), ("length", "64"), ("vocab", "1024"), ("rows", "16")] {
        set(&browser, name, value).await?;
    }
    browser.wait_within(&format!("{total} < {before}"), PATIENCE).await?;
    browser.fill("[name=epochs]", "many").await?;
    let refused = "const field = document.querySelector('[name=epochs]');
        return field.ariaInvalid === 'true' && field.value === 'many'
            && document.getElementById(field.getAttribute('aria-describedby')).textContent.includes('1 to 100')";
    browser.wait_within(refused, PATIENCE).await?;
    ensure!(browser.eval::<bool>("return document.querySelector('[data-act=start]').disabled").await?, "no number");
    browser.fill("[name=epochs]", "1").await?;
    browser.wait_within("return document.querySelector('[name=epochs]').ariaInvalid === null", PATIENCE).await?;
    // What the plan beside it calls too large does not start; one click makes it the largest that fits.
    set(&browser, "depth", "120").await?;
    browser.wait_within("return document.querySelector('.new-model-plan .badge.bad') !== null", PATIENCE).await?;
    // This machine is measured when first asked for.
    browser.wait_within("return document.querySelector('[data-act=start]').disabled", PATIENCE).await?;
    browser.click("[data-action=fit]").await?;
    browser.wait_within("return document.querySelector('.new-model-plan .badge.good') !== null", PATIENCE).await?;
    browser.wait_within("return !document.querySelector('[data-act=start]').disabled", PATIENCE).await?;
    for (name, value) in [("depth", "1"), ("length", "64"), ("rows", "16")] {
        set(&browser, name, value).await?;
    }
    browser.fill("[name=name]", "from-page").await?;
    browser.fill("[name=prompts]", "The people").await?;
    browser.screenshot("new-model-filled").await?;
    browser.wait_within("return !document.querySelector('[data-act=start]').disabled", PATIENCE).await?;
    browser.click("[data-act=start]").await?;
    browser.wait_within("return location.pathname.startsWith('/pretrain/job-')", PATIENCE).await?;
    browser.wait_within("return document.querySelector('[data-act=chat]') !== null", PATIENCE).await?;
    let link: String = browser.eval("return document.querySelector('[data-act=chat]').getAttribute('href')").await?;
    ensure!(link == "/playground?model=from-page", "{link}");
    browser.wait_within("return document.querySelector('.sample-texts li') !== null", PATIENCE).await?;
    browser.wait_within("return document.querySelector('.checkpoints tbody tr') !== null", PATIENCE).await?;
    browser.screenshot("pretrained").await?;
    // Each figure has the room of a number, and the checkpoints' buttons are inside their card.
    let narrowest = "return Math.min(...[...document.querySelectorAll('.run-figures dd')].map(dd => dd.offsetWidth))";
    let narrowest: f64 = browser.eval(narrowest).await?;
    ensure!(narrowest > 90.0, "a figure is {narrowest} px wide");
    let cut = "const card = document.querySelector('.checkpoints').closest('.card');
        return card.scrollWidth - card.clientWidth";
    let cut: f64 = browser.eval(cut).await?;
    ensure!(cut <= 0.0, "{cut} px of the checkpoints are cut");
    a_lab_opens_a_checkpoint(&browser, &server).await?;
    // As a file for other programs, compared before it is listed.
    browser.click(".export summary").await?;
    browser.click("[data-export='GGUF · Q8_0']").await?;
    browser.wait_within("return document.querySelector('.export-files li') !== null", PATIENCE).await?;
    let file = browser.text(".export-files li").await?;
    ensure!(file.contains("from-page.q8_0.gguf"), "{file}");
    browser.screenshot("exported").await?;
    // The file is still there after a reload, and Escape closes the menu where it was opened.
    browser.reload().await?;
    browser.wait_within("return document.querySelector('.export summary') !== null", PATIENCE).await?;
    browser.click(".export summary").await?;
    browser.wait_within("return document.querySelector('.export-files li') !== null", PATIENCE).await?;
    browser.press(Key::Escape + "").await?;
    let closed = "return !document.querySelector('.export').open && document.activeElement.matches('.export summary')";
    browser.wait_within(closed, PATIENCE).await?;
    let model = server.get("/v1/models/from-page").await?.expect(200)?;
    ensure!(model["hearth"]["job"].as_str().is_some_and(|job| job.starts_with("job-")), "{model}");
    browser.goto(&server.url("/pretrain")).await?;
    browser.wait_within("return document.querySelector('.run-row') !== null", PATIENCE).await?;
    let complaints = browser.severe_messages().await?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    browser.close().await
}
