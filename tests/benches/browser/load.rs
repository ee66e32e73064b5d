//! The first visit with nothing kept: until something is painted, until a lab shows its example, until it has computed, and how many bytes are sent.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hearth_tests::{Browser, Look, Server};

use hearth_tests::bench::table::{Table, median};

const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(table: &mut Table) -> Result<()> {
    let server = Server::start().await?;
    let (mut paints, mut examples, mut labs, mut sizes) = (Vec::new(), Vec::new(), Vec::new(), Sent::default());
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
    let mark = Some(("450 KB", sizes.page <= 450e3));
    table.add(
        "the page's wasm, what every place needs",
        format!("{:.0} KB", sizes.page / 1e3),
        "",
        String::new(),
        mark,
    );
    let lab = format!("{:.0} KB", sizes.lab / 1e3);
    table.add("and the attention lab's own, which comes with its first visit", lab, "", String::new(), None);
    let mark = Some(("4.5 MB", sizes.worker <= 4.5e6));
    table.add("the worker's wasm as it is sent", format!("{:.2} MB", sizes.worker / 1e6), "", String::new(), mark);
    Ok(())
}

/// Bytes of wasm as they went over the wire.
#[derive(Default)]
struct Sent {
    page: f64,
    lab: f64,
    worker: f64,
}

async fn sent(browser: &Browser, server: &Server) -> Result<Sent> {
    let fetched = "return performance.getEntriesByType('resource').filter(e => e.name.endsWith('.wasm') && !e.name.includes('worker'))
        .map(e => [e.name, e.encodedBodySize])";
    let fetched: Vec<(String, f64)> = browser.eval(fetched).await?;
    let bytes =
        |main: bool| fetched.iter().filter(|file| file.0.ends_with("/app_bg.wasm") == main).map(|file| file.1).sum();
    let (page, lab): (f64, f64) = (bytes(true), bytes(false));
    ensure!(page > 0.0 && lab > 0.0, "the page's wasm is not among what was fetched");
    // The worker fetches its own, which the page's own list does not show.
    let loader: String = browser.eval("return document.querySelector('meta[name=hearth-worker]').content").await?;
    let script = server.get(&loader).await?.text();
    let (_, name) = script.split_once("wasm_bindgen(\"").context("the loader names its wasm")?;
    let name = name.split('"').next().unwrap_or_default().trim_start_matches(['.', '/']);
    let request = server.client().get(server.url(&format!("/{name}"))).header("accept-encoding", "br");
    let worker = server.send(request).await?.body.len() as f64;
    Ok(Sent { page, lab, worker })
}
