//! Every place of the page as assistive technology meets it: axe-core finds nothing serious, in light and dark, in both languages.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hearth_tests::{Browser, Look, Server, places};
use serde::Deserialize;

const PATIENCE: Duration = Duration::from_secs(120);

/// Address, and what is there when there is something to look at.
const PLACES: [(&str, &str); 18] = [
    ("/", ".page"),
    ("/lab/attention", "[data-lab=ready]"),
    ("/lab/attention?part=stack&block=0", "[data-inside=ready]"),
    ("/lab/attention?part=lens", "[data-inside=ready]"),
    ("/lab/attention?part=ablate", "[data-inside=ready]"),
    ("/lab/attention?part=heads", "[data-inside=ready]"),
    ("/lab/attention?part=job", "[data-inside=ready]"),
    ("/lab/position", "[data-lab=ready]"),
    ("/lab/cache", "[data-lab=ready]"),
    ("/lab/sampling", "[data-lab=ready][data-tree=ready][data-runs=ready]"),
    ("/lab/tokenizer", "[data-lab=ready]"),
    ("/lab/quantization", "[data-lab=ready]"),
    ("/learn", ".learn-card"),
    ("/learn/quantization", "iframe[data-frame=ready]"),
    ("/playground", ".playground"),
    ("/fine-tune/new", ".page"),
    ("/pretrain/new", ".page"),
    ("/planner", ".planner-answers"),
];

/// One rule that a place breaks.
#[derive(Debug, Deserialize)]
struct Violation {
    id: String,
    impact: Option<String>,
    help: String,
    /// The first elements that break it.
    nodes: Vec<String>,
}

const RUN: &str = "
    return axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.map(found => ({
        id: found.id, impact: found.impact, help: found.help,
        nodes: found.nodes.slice(0, 4).map(node => `${node.html.slice(0, 160)} (${node.any[0]?.message ?? ''})`),
    })));";

async fn check(look: &Look, name: &str) -> Result<Vec<String>> {
    let axe = fs::read_to_string(places::axe()?)?;
    let server = Server::start().await?;
    let browser = Browser::open(look).await?;
    let mut found = Vec::new();
    for (path, ready) in PLACES {
        browser.goto(&server.url(path)).await?;
        let there = format!("return document.querySelector('{ready}') !== null");
        browser.wait_within(&there, PATIENCE).await.with_context(|| format!("{path} does not come up"))?;
        browser.eval::<serde_json::Value>(&format!("{axe}; return null")).await?;
        let violations: Vec<Violation> = browser.eval(RUN).await.with_context(|| format!("axe on {path}"))?;
        for Violation { id, impact, help, nodes } in violations {
            if matches!(impact.as_deref(), Some("serious" | "critical")) {
                found.push(format!("{name} {path}: {id}: {help}\n    {}", nodes.join("\n    ")));
            }
        }
    }
    browser.close().await?;
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_serious_stands_in_anybodys_way() -> Result<()> {
    let desktop = Look { width: 1440, ..Look::desktop() };
    let mut found = check(&desktop, "light").await?;
    found.extend(check(&Look::phone().dark().language("zh-CN"), "dark, phone, Chinese").await?);
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}
