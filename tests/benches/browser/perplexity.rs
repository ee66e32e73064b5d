//! The quantization lab: from a click on a setting until the perplexity on 512 held-out tokens stands on the page, and from a click
//! on cancel until the page says that it stopped.

use std::time::Duration;

use anyhow::{Result, ensure};
use hearth_shared::lab::quantize::{TOKENS, Tried};
use hearth_tests::{Browser, Look, Server};
use serde::Deserialize;

use hearth_tests::bench::table::{Table, median};

const PATIENCE: Duration = Duration::from_secs(120);
const BITS: [u8; 5] = [6, 4, 3, 2, 8];

#[derive(Deserialize)]
struct Answer {
    ms: f64,
    tried: Tried,
}

pub(crate) async fn run(table: &mut Table) -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    browser.goto(&server.url("/lab/quantization?engine=cpu")).await?;
    browser.wait_within("return document.querySelector('.quantize[data-lab=ready]') !== null", PATIENCE).await?;
    let (mut answers, mut forwards) = (Vec::new(), Vec::new());
    for bits in BITS {
        let answer: Answer = browser
            .eval_async(&format!(
                "const before = window.__hearth.quantize;
                 const start = performance.now();
                 document.querySelector(\"[data-setting=bits] [data-value='{bits}']\").click();
                 const look = () => window.__hearth.quantize === before ? setTimeout(look, 4)
                     : requestAnimationFrame(() => done({{ ms: performance.now() - start, tried: window.__hearth.quantize }}));
                 look();"
            ))
            .await?;
        ensure!(answer.tried.loss.tokens as usize == TOKENS, "{:?}", answer.tried.loss);
        ensure!(answer.tried.matrices.iter().all(|matrix| matrix.bits == Some(bits)), "another setting's answer");
        answers.push(answer.ms);
        forwards.push(answer.tried.loss.ms);
    }
    let mut cancels = Vec::new();
    for _ in BITS {
        let cancelled = "document.querySelector('[data-action=search]').click();
             const running = () => document.querySelector('[data-long=running]');
             const stop = () => {
                 const button = document.querySelector('[data-action=cancel]');
                 if (!running() || !button) return setTimeout(stop, 4);
                 setTimeout(() => {
                     const start = performance.now();
                     button.click();
                     const look = () => running() ? setTimeout(look, 1) : requestAnimationFrame(() => done(performance.now() - start));
                     look();
                 }, 500);
             };
             stop();";
        cancels.push(browser.eval_async::<f64>(cancelled).await?);
        browser.wait_within("return !document.querySelector('[data-action=search]').disabled", PATIENCE).await?;
    }
    browser.close().await?;
    let cancel = median(cancels);
    let mark = Some(("100 ms", cancel <= 100.0));
    table.add("until the page says that a search was cancelled", format!("{cancel:.0} ms"), "", String::new(), mark);
    let answer = median(answers);
    let hearth = format!("{answer:.0} ms, forward {:.0} ms", median(forwards));
    let mark = Some(("1 s", answer <= 1_000.0));
    table.add("perplexity of hearth-nano on 512 tokens after a click", hearth, "", String::new(), mark);
    Ok(())
}
