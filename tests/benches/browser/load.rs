//! The first visit with nothing kept: until something is painted, until a lab shows its example, until it has computed, and how many bytes are sent.

use std::time::Duration;

use anyhow::{Context as _, Result};
use hearth_tests::{Browser, Look, Server};

use hearth_tests::bench::table::{Table, median};

const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(table: &mut Table) -> Result<()> {
    let server = Server::start().await?;
    let (mut paints, mut examples, mut labs, mut sizes) = (Vec::new(), Vec::new(), Vec::new(), (0.0, 0.0));
    for _ in 0..ROUNDS {
        let browser = Browser::open(&Look::desktop()).await?;
        browser.goto(&server.url("/lab/attention")).await?;
        let painted = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime";
        browser.wait_within(painted, PATIENCE).await?;
        paints.push(browser.eval::<f64>(painted).await?);
        let until = |what: &str| {
            format!(
                "const look = () => document.querySelector('{what}') ? done(performance.now()) : setTimeout(look, 4); look();"
            )
        };
        examples.push(browser.eval_async::<f64>(&until("[data-lab=example], [data-lab=ready]")).await?);
        labs.push(browser.eval_async::<f64>(&until("[data-lab=ready]")).await?);
        sizes = sent(&browser, &server).await?;
        browser.close().await?;
    }
    let (paint, example, lab) = (median(paints), median(examples), median(labs));
    let mark = Some(("1 s", paint <= 1_000.0));
    table.add("first paint, nothing kept", format!("{paint:.0} ms"), "", String::new(), mark);
    table.add("example in the attention lab, nothing kept", format!("{example:.0} ms"), "", String::new(), None);
    table.add("first answer of the attention lab, nothing kept", format!("{lab:.0} ms"), "", String::new(), None);
    let (page, worker) = sizes;
    let mark = Some(("450 KB", page <= 450e3));
    table.add("the page's wasm as it is sent", format!("{:.0} KB", page / 1e3), "", String::new(), mark);
    let mark = Some(("4.5 MB", worker <= 4.5e6));
    table.add("the worker's wasm as it is sent", format!("{:.2} MB", worker / 1e6), "", String::new(), mark);
    Ok(())
}

/// Bytes of the page's and of the worker's wasm as they went over the wire.
async fn sent(browser: &Browser, server: &Server) -> Result<(f64, f64)> {
    let page: Option<f64> = browser
        .eval(
            "return performance.getEntriesByType('resource').filter(e => e.name.endsWith('.wasm') && !e.name.includes('worker'))
                 .map(e => e.encodedBodySize)[0]",
        )
        .await?;
    // The worker fetches its own, which the page's own list does not show.
    let loader: String = browser.eval("return document.querySelector('meta[name=hearth-worker]').content").await?;
    let script = server.get(&loader).await?.text();
    let (_, name) = script.split_once("wasm_bindgen(\"").context("the loader names its wasm")?;
    let name = name.split('"').next().unwrap_or_default().trim_start_matches(['.', '/']);
    let request = server.client().get(server.url(&format!("/{name}"))).header("accept-encoding", "br");
    let worker = server.send(request).await?.body.len() as f64;
    Ok((page.context("the page's wasm among what was fetched")?, worker))
}
