//! A model from nothing by the page: sample texts, a small size, start; the run's page follows it to the end, and the model leaves as a
//! file for other programs.

use std::time::Duration;

use anyhow::{Result, ensure};
use hearth_tests::{Browser, Look, Server};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(240);

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
        browser
            .eval::<Value>(&format!(
                "const input = document.querySelector('[name={name}]'); input.value = '{value}';
                 input.dispatchEvent(new Event('change', {{bubbles: true}})); return null"
            ))
            .await?;
    }
    browser.wait_within(&format!("{total} < {before}"), PATIENCE).await?;
    browser.fill("[name=epochs]", "many").await?;
    browser
        .wait_within("return document.querySelector('.launch p').textContent.includes('n_epochs')", PATIENCE)
        .await?;
    ensure!(browser.eval::<bool>("return document.querySelector('[data-act=start]').disabled").await?, "no number");
    browser.fill("[name=epochs]", "1").await?;
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
    // As a file for other programs, compared before it is listed.
    browser.click(".export summary").await?;
    browser.click("[data-export='GGUF · Q8_0']").await?;
    browser.wait_within("return document.querySelector('.export-files li') !== null", PATIENCE).await?;
    let file = browser.text(".export-files li").await?;
    ensure!(file.contains("from-page.q8_0.gguf"), "{file}");
    browser.screenshot("exported").await?;
    let model = server.get("/v1/models/from-page").await?.expect(200)?;
    ensure!(model["hearth"]["job"].as_str().is_some_and(|job| job.starts_with("job-")), "{model}");
    browser.goto(&server.url("/pretrain")).await?;
    browser.wait_within("return document.querySelector('.run-row') !== null", PATIENCE).await?;
    let complaints = browser.severe_messages().await?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    browser.close().await
}
