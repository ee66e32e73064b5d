//! What drawing costs the page's own thread, by its own marks in the browser's profile: one head's weights of a text of as many
//! tokens as the lab reads, per cell.

use std::time::Duration;

use anyhow::{Result, ensure};
use hearth_tests::{Browser, Look, Server};

use hearth_tests::bench::table::{Table, median};

const PATIENCE: Duration = Duration::from_secs(60);
const ROUNDS: usize = 9;
/// Side of the matrix that the mark is about.
const SIDE: f64 = 512.0;

pub(crate) async fn run(table: &mut Table) -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    let text = "The%20old%20man%20and%20the%20sea.%20".repeat(24);
    browser.goto(&server.url(&format!("/lab/attention?engine=cpu&text={text}"))).await?;
    browser.wait_within("return document.querySelector('[data-lab=ready]') !== null", PATIENCE).await?;
    let tokens: f64 = browser.eval("return window.__hearth.lab.tokens.length").await?;
    let painted = format!("return performance.getEntriesByName('heat {tokens} x {tokens}', 'measure')[0]?.duration");
    let mut times = Vec::new();
    for round in 0..=ROUNDS {
        // The other scheme's colours: every picture is painted anew.
        let look = if round % 2 == 0 { Look::desktop().dark() } else { Look::desktop() };
        browser.eval::<Option<bool>>("performance.clearMeasures(); return null").await?;
        browser.show_as(&look).await?;
        browser.wait_within(&painted, PATIENCE).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let ms: f64 = browser.eval(&painted).await?;
        ensure!(ms > 0.0, "nothing was painted");
        if round > 0 {
            times.push(ms * (SIDE / tokens).powi(2));
        }
    }
    browser.close().await?;
    let time = median(times);
    let mark = Some(("4 ms", time <= 4.0));
    table.add(
        "painting 512 x 512 cells on the main thread, scaled from a head of the lab",
        format!("{time:.1} ms"),
        "",
        String::new(),
        mark,
    );
    Ok(())
}
