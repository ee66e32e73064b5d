//! The sampling lab in a real browser: its stages are the native model's through the native sampler, each seed gives the text that the
//! server would give, the tree begins with the distribution, and the address brings it all back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hearth_model::bundle::ModelBundle;
use hearth_model::generate::{FinishReason, Generation, Step as Generated};
use hearth_model::look::last_logits;
use hearth_model::sampler::stages::{shown, stages, tally};
use hearth_model::tokenizer::Special;
use hearth_shared::lab::sampling::{CHARACTERS, DRAWS, Distribution, Draws, PROMPT, Run, Runs, SHOWN, Tree};
use hearth_shared::spec::Sampling;
use hearth_tests::{Browser, Look, Server, places};
use serde::Deserialize;
use serde_json::Value;
use thirtyfour::Key;

use super::browser_lab::escaped;
use super::browser_position::loaded;

const PATIENCE: Duration = Duration::from_secs(120);
const TEXT: &str = "The old man and the sea. The old man";
/// Everything is there and of the same text and sliders.
const READY: &str = "return document.querySelector('[data-lab=ready][data-tree=ready][data-runs=ready]') !== null";
/// Places of the sliders below `.sampling-sliders`.
const TEMPERATURE: usize = 1;
const TOP_K: usize = 2;

/// What `window.__hearth.sampling` says.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    text: String,
    pub(crate) sampling: Sampling,
    seed: u64,
    pub(crate) distribution: Distribution,
    pub(crate) tree: Tree,
    pub(crate) runs: Runs,
    company: Vec<Vec<u32>>,
    draws: Option<Draws>,
}

fn address(rest: &str) -> String {
    format!("/lab/sampling?engine=cpu&text={}{rest}", escaped(TEXT))
}

pub(crate) async fn ready(browser: &Browser) -> Result<Page> {
    browser.wait_within(READY, PATIENCE).await?;
    let text: String = browser.eval("return JSON.stringify(window.__hearth.sampling)").await?;
    serde_json::from_str(&text).with_context(|| text)
}

pub(crate) async fn run(browser: &Browser, script: &str) -> Result<()> {
    browser.eval::<Value>(&format!("{script}; return null")).await?;
    Ok(())
}

async fn write(browser: &Browser, text: &str) -> Result<()> {
    let script = format!(
        "const area = document.getElementById('sampling-text');
         area.value = {text}; area.dispatchEvent(new Event('input', {{bubbles: true}}))"
    );
    run(browser, &script).await
}

async fn slide(browser: &Browser, slider: usize, value: &str) -> Result<()> {
    let script = format!(
        "const slider = document.querySelectorAll('.sampling-sliders input[type=range]')[{slider}];
         slider.value = '{value}'; slider.dispatchEvent(new Event('input', {{bubbles: true}}))"
    );
    run(browser, &script).await
}

/// Every share of every shown token is the one that the native sampler's stages give to the native model's logits.
pub(crate) fn ensure_stages(page: &Page, logits: &[f32], prompt: &[u32]) -> Result<()> {
    let found = &page.distribution;
    ensure!(found.prompt == prompt && found.cut_from.is_none(), "{found:?}");
    let native = stages(logits, prompt, &page.sampling);
    let ids: Vec<u32> = found.tokens.iter().map(|chance| chance.id).collect();
    ensure!(ids == shown(&native, SHOWN), "{ids:?} are shown");
    for (told, stage) in found.stages.iter().zip(&native) {
        let step = stage.step;
        ensure!(told.step == step && told.kept as usize == stage.kept, "{told:?}, natively {} left", stage.kept);
        ensure!(
            (told.removed - stage.removed).abs() < 1e-3,
            "{step:?} cuts {}, natively {}",
            told.removed,
            stage.removed
        );
        ensure!((told.entropy - stage.entropy).abs() < 1e-3, "{step:?}: {} bits, not {}", told.entropy, stage.entropy);
    }
    for chance in &found.tokens {
        ensure!((chance.logit - logits[chance.id as usize]).abs() < 1e-3, "{chance:?}");
        ensure!(chance.seen == prompt.contains(&chance.id), "{chance:?}");
        for (share, stage) in chance.shares.iter().zip(&native) {
            let expected = stage.share(chance.id);
            ensure!((share - expected).abs() < 1e-3, "{:?}: {share}, natively {expected}: {chance:?}", stage.step);
        }
    }
    Ok(())
}

/// What the server's own generation makes of the prompt with the run's seed.
fn generated(bundle: &ModelBundle, page: &Page, prompt: &[u32], run: &Run) -> Result<(Vec<u32>, bool)> {
    let sampling = Sampling { seed: Some(run.seed), ..page.sampling.clone() };
    let mut generation = Generation::new(bundle, prompt, &sampling, Some(page.runs.count as usize))?;
    loop {
        if let Generated::Finished(reason) = generation.step(bundle) {
            return Ok((generation.generated().to_vec(), reason == FinishReason::Stop));
        }
    }
}

/// Every run is what the native model makes of the prompt with the run's seed.
pub(crate) fn ensure_runs(page: &Page, bundle: &ModelBundle, prompt: &[u32]) -> Result<()> {
    for run in &page.runs.runs {
        let (tokens, ended) = generated(bundle, page, prompt, run)?;
        ensure!(run.tokens == tokens && run.ended == ended, "seed {}: {:?}, natively {tokens:?}", run.seed, run.tokens);
    }
    Ok(())
}

/// The first level holds the likeliest of what is drawn from.
fn ensure_first_level(page: &Page) -> Result<()> {
    let mut drawn: Vec<(u32, f64)> =
        page.distribution.tokens.iter().map(|chance| (chance.id, chance.drawn_with())).collect();
    drawn.sort_by(|a, b| b.1.total_cmp(&a.1));
    let spec = page.tree.spec;
    drawn.truncate(spec.branches as usize);
    drawn.retain(|(_, share)| *share >= spec.floor);
    let first: Vec<_> = page.tree.followers(None).map(|(_, node)| *node).collect();
    ensure!(!first.is_empty() && first.len() == drawn.len(), "{first:?}, not {drawn:?}");
    for (node, (id, share)) in first.iter().zip(drawn) {
        ensure!(node.id == id && (node.share - share).abs() < 1e-9 && node.in_all == node.share, "{node:?}");
    }
    for (place, node) in (0_u32..).zip(&page.tree.nodes) {
        let above = node.parent.map_or(1.0, |parent| page.tree.nodes[parent as usize].in_all);
        ensure!((node.in_all - above * node.share).abs() < 1e-9 && node.in_all >= spec.floor, "{node:?}");
        ensure!(page.tree.path(place).len() == node.depth as usize, "{node:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_runs_and_tree_are_those_of_the_native_model() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look { width: 1440, ..Look::desktop() }).await?;
    browser.goto(&server.url("/lab/sampling?engine=cpu&runs=3&seed=7&floor=1")).await?;
    ready(&browser).await?;
    browser.fill("#sampling-text", TEXT).await?;
    browser.wait_within(&format!("return window.__hearth.sampling?.text === '{TEXT}'"), PATIENCE).await?;
    slide(&browser, TEMPERATURE, "0.6").await?;
    slide(&browser, TOP_K, "7").await?;
    let moved = "const s = window.__hearth.sampling?.sampling; return s?.temperature === 0.6 && s?.top_k === 7";
    browser.wait_within(moved, PATIENCE).await?;
    let page = ready(&browser).await?;
    browser.screenshot("sampling-moved").await?;
    let named = browser.count(".flow-names.last span").await?;
    let high = page.distribution.tokens.iter().filter(|chance| chance.shares.last() >= Some(&0.05)).count();
    ensure!(named == high && high > 0, "{named} of {high} high parts of the last column are named");
    ensure!(page.text == TEXT && page.distribution.stages[3].kept == 7, "{page:?}");
    println!("stages in {:.1} ms, the text kept", page.distribution.stages_ms);

    let bundle = loaded(&places::nano())?;
    let prompt = bundle.tokenizer.encode(TEXT, Special::Parse);
    let logits = last_logits(&bundle.transformer, &prompt).await?;
    ensure_stages(&page, &logits, &prompt)?;
    ensure_first_level(&page)?;

    let seeds: Vec<u64> = page.runs.runs.iter().map(|run| run.seed).collect();
    ensure!(seeds == [7, 8, 9] && page.company.len() == 3, "{seeds:?}");
    ensure_runs(&page, &bundle, &prompt)?;
    browser.click("[data-action=repeat]").await?;
    browser.find_within("[data-repeated=true]", PATIENCE).await?;

    // Drawn as often as is said, and by the very seeds.
    browser.click("[data-action=draw]").await?;
    browser.wait_within("return document.querySelector('[data-draws=ready]') !== null", PATIENCE).await?;
    let draws = ready(&browser).await?.draws.context("draws")?;
    let native = tally(&logits, &prompt, &page.sampling, page.seed..page.seed + u64::from(DRAWS));
    ensure!(draws.drawn.iter().map(|drawn| drawn.times).sum::<u32>() == DRAWS, "{draws:?}");
    for (id, times) in native {
        // Rounding may decide a draw that falls between two tokens.
        ensure!(draws.times(id).abs_diff(times) <= 1, "{id}: {} times, natively {times}", draws.times(id));
    }
    let complaints = browser.severe_messages().await?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_into_the_text_and_a_reload_keeps_the_state() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look { width: 1440, ..Look::desktop() }).await?;
    // Greedy: the tree is one path of sure tokens.
    browser.goto(&server.url(&address("&temperature=0&penalty=1&top_k=0&top_p=1&min_p=0&runs=2&depth=2"))).await?;
    let before = ready(&browser).await?;
    ensure!(before.tree.nodes.len() == 2 && before.tree.nodes.iter().all(|node| node.share == 1.0), "{before:?}");
    ensure!(before.runs.runs[0].tokens == before.runs.runs[1].tokens, "greedy runs differ: {:?}", before.runs);
    run(&browser, "document.querySelector(\"[data-node='1']\").focus()").await?;
    browser.press(Key::Enter + "").await?;
    let longer = |than: usize| format!("return (window.__hearth.sampling?.text.length ?? 0) > {than}");
    browser.wait_within(&longer(TEXT.len()), PATIENCE).await?;
    let after = ready(&browser).await?;
    ensure!(after.text.starts_with(TEXT), "{:?}", after.text);
    // Who chose it by a key goes on from the new tree's first node.
    browser.wait("return document.activeElement.dataset.node === '0'").await?;
    run(
        &browser,
        "document.querySelector(\"[data-node='0']\").dispatchEvent(new MouseEvent('click', {bubbles: true}))",
    )
    .await?;
    browser.wait_within(&longer(after.text.len()), PATIENCE).await?;
    ready(&browser).await?;

    // One more token costs one more position, unless the text's end is cut anew.
    browser.click("[data-setting=off]").await?;
    browser.wait_within("return location.search.includes('temperature=1')", PATIENCE).await?;
    browser.wait_within("return window.__hearth.sampling?.sampling.temperature === 1", PATIENCE).await?;
    let settled = ready(&browser).await?;
    ensure!(settled.distribution.forwarded == 0, "a slider ran the model: {:?}", settled.distribution);
    let emptied = "const field = document.querySelector('.slider-number'), before = field.value;
        field.value = '';
        field.dispatchEvent(new Event('change', {bubbles: true}));
        return before !== '' && field.value === before";
    ensure!(browser.eval::<bool>(emptied).await?, "a number that is emptied stays empty");
    browser.reload().await?;
    let again = ready(&browser).await?;
    ensure!(again.text == settled.text && again.sampling == settled.sampling, "{again:?}");
    ensure!(again.runs.runs.len() == 2 && again.tree.spec == settled.tree.spec, "{again:?}");
    let tokens = |page: &Page| page.runs.runs.iter().map(|run| run.tokens.clone()).collect::<Vec<_>>();
    ensure!(tokens(&again) == tokens(&settled), "the same seeds gave other texts");
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_are_empty_or_huge_are_said_to_be() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    browser.goto(&server.url("/lab/sampling?engine=cpu")).await?;
    ready(&browser).await?;
    write(&browser, "''").await?;
    browser.find_within("[data-lab=failed] [data-lab-error]", PATIENCE).await?;
    ensure!(browser.count(".waterfall").await? == 0, "no text, and still a distribution");
    // Ten million characters, controls and lone marks among them.
    write(&browser, "'a\\u0000\\u0301字\\u200f👍'.repeat(1500000)").await?;
    browser.find_within(".lab-cut", PATIENCE).await?;
    let page = ready(&browser).await?;
    ensure!(page.text.chars().count() == CHARACTERS, "{} characters are kept", page.text.chars().count());
    let read = &page.distribution;
    ensure!(read.prompt.len() == PROMPT as usize && read.cut_from.is_some(), "{} tokens are read", read.prompt.len());
    write(&browser, "'The old man'").await?;
    browser.wait_within("return window.__hearth.sampling?.text === 'The old man'", PATIENCE).await?;
    ready(&browser).await?;
    ensure!(browser.count(".lab-cut").await? == 0, "nothing is cut any more");
    // Nor is what is no seed taken in silence; the last good one stays.
    let type_seed = "const field = document.getElementById('sampling-seed');
        field.value = '-5'; field.dispatchEvent(new Event('change', {bubbles: true}))";
    run(&browser, type_seed).await?;
    browser.wait("return document.querySelector('#sampling-seed[aria-invalid=true]') !== null").await?;
    ensure!(ready(&browser).await?.seed == page.seed, "a seed that is none was taken");
    browser.close().await
}
