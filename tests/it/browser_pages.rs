//! Every page in every look: nothing is wider than its window, nobody complains, and a picture of each is kept. On the way,
//! preference pairs go from a file to a run.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hearth_tests::{Browser, Look, Server};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(120);

/// A page, what must stand on it before it is whole, and the picture's name.
fn pages(run: &str) -> [(String, &'static str, &'static str); 9] {
    [
        ("/".to_owned(), "document.querySelector('li.model') !== null", "home"),
        (
            "/learn/tuning".to_owned(),
            "document.querySelector('[data-state=tried], [data-state=solved]') !== null",
            "learn-tuning",
        ),
        ("/playground".to_owned(), "document.querySelector('.composer-input') !== null", "playground"),
        ("/fine-tune".to_owned(), "document.querySelector('.run-row') !== null", "runs"),
        ("/fine-tune/new".to_owned(), "document.querySelector('input[type=file]') !== null", "new-run"),
        (format!("/fine-tune/{run}"), "document.querySelector('.checkpoints tbody tr') !== null", "run"),
        ("/fine-tune/compare".to_owned(), "Number(document.querySelector('.charts')?.dataset.points) > 5", "compare"),
        ("/pretrain/new".to_owned(), "document.querySelector('.planner-parts') !== null", "new-model"),
        ("/planner".to_owned(), "document.querySelector('.planner-parts') !== null", "planner"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_fits_every_window() -> Result<()> {
    let server = Server::start().await?;
    let run = a_run_on_pairs(&server).await?;
    let desktop = Look { width: 1440, ..Look::desktop() };
    let looks = [
        ("desktop-light-en", desktop.clone()),
        ("desktop-dark-zh", desktop.dark().language("zh-CN")),
        ("phone-light-zh", Look::phone().language("zh-CN")),
        ("phone-dark-en", Look::phone().dark()),
    ];
    for (look_name, look) in looks {
        let browser = Browser::open(&look).await?;
        for (path, ready, page) in pages(&run) {
            let name = format!("page-{page}-{look_name}");
            browser.goto(&server.url(&path)).await?;
            browser.wait_within(&format!("return {ready}"), PATIENCE).await.with_context(|| name.clone())?;
            browser.screenshot(&name).await?;
            let fits: bool =
                browser.eval("return document.documentElement.scrollWidth <= window.innerWidth + 1").await?;
            ensure!(fits, "{name}: the page is wider than its window");
        }
        let complaints = browser.severe_messages().await?;
        ensure!(complaints.is_empty(), "{look_name}: {complaints:?}");
        browser.close().await?;
    }
    Ok(())
}

/// From a file of pairs to a run that is over; the run's id.
async fn a_run_on_pairs(server: &Server) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let pair = |n: usize| {
        let (good, bad) = (format!("{{\"number\": {n}}}"), format!("It is {n}."));
        json!({"prompt": format!("Number {n}?"), "chosen": good, "rejected": bad})
    };
    let pairs: String = (0..40).map(|n| format!("{}\n", pair(n))).collect();
    let file = folder.path().join("pairs.jsonl");
    std::fs::write(&file, pairs)?;
    let browser = Browser::open(&Look::desktop()).await?;
    browser.goto(&server.url("/fine-tune/new")).await?;
    browser.find("label.button").await?;
    browser.choose_file("input[type=file]", &file).await?;
    browser.find(".report-verdict.good").await?;
    browser.wait("return document.querySelectorAll('.pair-side').length === 2").await?;
    let preferred = browser.text(".pair-side.preferred .turn p").await?;
    ensure!(preferred == "{\"number\": 0}", "{preferred}");
    browser.find(".preview").await?.scroll_into_view().await?;
    browser.screenshot("page-pairs").await?;
    browser.click(".tile:has(input[value=prefix])").await?;
    browser.fill("input[name=virtual_tokens]", "4").await?;
    browser.fill("input[name=n_epochs]", "2").await?;
    browser.click(".launch .primary").await?;
    browser.find_within("[data-act=chat]", PATIENCE).await?;
    let address: String = browser.eval("return location.pathname").await?;
    let run = address.rsplit('/').next().context("the run's id")?.to_owned();
    let job = server.get(&format!("/v1/fine_tuning/jobs/{run}")).await?.expect(200)?;
    ensure!(job["method"]["type"] == "dpo" && job["hearth"]["spec"]["dpo_beta"] == 0.1, "{job}");
    ensure!(job["hearth"]["spec"]["adapter"] == json!({"kind": "prefix", "virtual_tokens": 4}), "{job}");
    browser.close().await?;
    Ok(run)
}
