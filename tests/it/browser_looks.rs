//! Every place of the page in four looks: desktop and phone, light and dark, English and Chinese. Nothing is wider than its window,
//! nobody complains, axe-core finds nothing serious, and a picture of each is kept. On the way, preference pairs go from a file to a
//! run.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hearth_tests::{Browser, Look, Server, places};
use serde::Deserialize;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

/// Somewhere to look.
struct Place {
    /// The picture's name.
    name: &'static str,
    /// What leads there: an address, or a button of the place before.
    way: Way,
    /// What is there when there is something to look at, as a script's expression.
    ready: String,
    /// What lies below the first screen and gets a picture of its own.
    below: &'static [&'static str],
}

enum Way {
    Address(String),
    Click(&'static str),
}

fn place(name: &'static str, address: &str, css: &str, below: &'static [&'static str]) -> Place {
    let ready = format!("document.querySelector('{css}') !== null");
    Place { name, way: Way::Address(address.to_owned()), ready, below }
}

/// A part of the attention lab, opened where the lab is open already.
fn part(name: &'static str, click: &'static str) -> Place {
    let ready = "document.querySelector('[data-inside=ready]') !== null".to_owned();
    Place { name, way: Way::Click(click), ready, below: &[".inside"] }
}

fn all(run: &str) -> Vec<Place> {
    let compared = Place {
        ready: "Number(document.querySelector('.charts')?.dataset.points) > 5".to_owned(),
        ..place("compare", "/fine-tune/compare", "", &[])
    };
    vec![
        place("home", "/", "li.model", &[]),
        place("attention", "/lab/attention", "[data-lab=ready]", &[]),
        part("attention-stack", "[data-part=stack]"),
        part("attention-lens", "[data-part=lens]"),
        part("attention-ablate", "[data-part=ablate]"),
        part("attention-heads", "[data-part=heads]"),
        part("attention-job", "[data-part=job]"),
        place("position", "/lab/position?window=256&scaling=ntk", ".position[data-lab=ready]", &[".position-dials"]),
        place(
            "cache",
            "/lab/cache?tokens=32",
            ".lab-cache[data-lab=ready]",
            &[".cache-work", ".cache-bytes", ".cache-window"],
        ),
        place(
            "sampling",
            "/lab/sampling",
            ".lab-sampling[data-lab=ready][data-tree=ready][data-runs=ready]",
            &[".sampling-way", ".waterfall", ".sampling-tree", ".sampling-runs"],
        ),
        place("tokenizer", "/lab/tokenizer?size=300&step=9", ".words[data-lab=ready]", &[]),
        // A link of the page says as much as an address typed.
        place(
            "quantization",
            "/lab/quantization?bits=3",
            ".quantize[data-lab=ready]:has([data-setting=bits] [data-value=\"3\"][aria-pressed=true])",
            &[".quantize-results"],
        ),
        place("learn", "/learn", ".learn-card", &[]),
        place("learn-attention", "/learn/attention", "iframe[data-frame=ready]", &[".learn-lab", ".learn-exercise"]),
        place("learn-quantization", "/learn/quantization", "iframe[data-frame=ready]", &[".learn-exercise"]),
        place("learn-tuning", "/learn/tuning", "[data-state=tried], [data-state=solved]", &[]),
        place("playground", "/playground", ".composer-input", &[]),
        place("runs", "/fine-tune", ".run-row", &[]),
        place("new-run", "/fine-tune/new", "input[type=file]", &[]),
        place("run", &format!("/fine-tune/{run}"), ".checkpoints tbody tr", &[]),
        compared,
        place("new-model", "/pretrain/new", ".planner-parts", &[]),
        place("planner", "/planner", ".planner .planner-parts", &[]),
    ]
}

/// As a link on the page leads there: what is loaded stays loaded.
async fn go(browser: &Browser, way: &Way) -> Result<()> {
    let script = match way {
        Way::Address(address) => format!(
            "const link = document.createElement('a');
             link.href = '{address}';
             document.body.append(link); link.click(); link.remove();"
        ),
        Way::Click(css) => format!("document.querySelector('{css}').click();"),
    };
    browser.eval::<Value>(&format!("{script} return null")).await?;
    settled(browser).await
}

/// Until what was asked for has been drawn.
async fn settled(browser: &Browser) -> Result<()> {
    browser.eval_async("requestAnimationFrame(() => requestAnimationFrame(() => done(null)))").await
}

/// Pictures of what there is, which must be no wider than its window.
async fn picture(browser: &Browser, name: &str, look: &Look, below: &[&str]) -> Result<()> {
    browser.eval::<Value>("window.scrollTo(0, 0); return null").await?;
    browser.screenshot(name).await?;
    for css in below {
        let scroll = format!("document.querySelector('{css}').scrollIntoView(); return null");
        browser.eval::<Value>(&scroll).await.with_context(|| format!("{name} has no {css}"))?;
        browser.screenshot(&format!("{name}{}", css.replace('.', "-"))).await?;
    }
    // Not the window's own width: a phone zooms out as far as the widest part asks.
    let width: u32 = browser.eval("return document.documentElement.scrollWidth").await?;
    ensure!(width <= look.width + 1, "{name}: the page is {width} wide, its window {}", look.width);
    Ok(())
}

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

/// Whether the tab of the lab that is open is in sight, where there are tabs.
const TAB: &str = "
    const tab = document.querySelector('.lab-tabs [aria-current]');
    if (!tab) return true;
    const [inner, outer] = [tab, tab.parentElement].map(element => element.getBoundingClientRect());
    return inner.left >= outer.left - 1 && inner.right <= outer.right + 1";

/// Rules that are held to in the labs although axe-core calls their breach moderate.
const ALSO: [&str; 2] = ["landmark-unique", "empty-table-header"];

/// What stands in the way of assistive technology.
async fn barriers(browser: &Browser, name: &str) -> Result<Vec<String>> {
    let violations: Vec<Violation> = browser.eval(RUN).await.with_context(|| format!("axe on {name}"))?;
    let is_lab = browser.count(".lab-tabs").await? > 0;
    let serious = violations
        .into_iter()
        .filter(|violation| {
            let is_serious = matches!(violation.impact.as_deref(), Some("serious" | "critical"));
            is_serious || is_lab && ALSO.contains(&violation.id.as_str())
        })
        .map(|Violation { id, help, nodes, .. }| format!("{name}: {id}: {help}\n    {}", nodes.join("\n    ")));
    Ok(serious.collect())
}

/// Through every place in one look, and in another one at each place; what axe-core finds in the first.
async fn walk(server: &Server, run: &str, first: (&str, Look), second: (&str, Look)) -> Result<Vec<String>> {
    let axe = fs::read_to_string(places::axe()?)?;
    let browser = Browser::open(&first.1).await?;
    browser.goto(&server.url("/")).await?;
    browser.find("main").await?;
    browser.eval::<Value>(&format!("{axe}; return null")).await?;
    let mut found = Vec::new();
    for Place { name, way, ready, below } in all(run) {
        let names = [first.0, second.0].map(|look| format!("look-{name}-{look}"));
        go(&browser, &way).await.with_context(|| names[0].clone())?;
        browser.wait_within(&format!("return {ready}"), PATIENCE).await.with_context(|| names[0].clone())?;
        settled(&browser).await?;
        browser.wait(TAB).await.with_context(|| format!("{}: its tab is out of sight", names[0]))?;
        picture(&browser, &names[0], &first.1, below).await?;
        found.extend(barriers(&browser, &names[0]).await?);
        browser.show_as(&second.1).await?;
        settled(&browser).await?;
        picture(&browser, &names[1], &second.1, below).await?;
        browser.show_as(&first.1).await?;
    }
    let complaints = browser.severe_messages().await?;
    ensure!(complaints.is_empty(), "{}: {complaints:?}", first.0);
    browser.close().await?;
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_place_is_looked_at() -> Result<()> {
    let server = Server::start().await?;
    let run = a_run_on_pairs(&server).await?;
    let desktop = Look { width: 1440, ..Look::desktop() };
    let phone = Look { width: 375, ..Look::phone() };
    let chinese = |look: Look| look.dark().language("zh-CN");
    let (english, chinese) = tokio::try_join!(
        walk(&server, &run, ("desktop-light-en", desktop.clone()), ("phone-light-en", phone.clone())),
        walk(&server, &run, ("phone-dark-zh", chinese(phone)), ("desktop-dark-zh", chinese(desktop))),
    )?;
    let found = [english, chinese].concat();
    ensure!(found.is_empty(), "{}", found.join("\n"));
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
    fs::write(&file, pairs)?;
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
