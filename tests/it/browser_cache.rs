//! The cache lab in a real browser: what it generates is what the model generates here, with and without a cache; the bytes it shows
//! are the arithmetic's; and the address brings it all back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hearth_model::bundle::ModelBundle;
use hearth_model::look::decode::{Decoded, Decoder};
use hearth_model::plan;
use hearth_model::tokenizer::Special;
use hearth_shared::lab::cache::{WhatIf, Work};
use hearth_tests::{Browser, Look, Server, places};
use serde::Deserialize;

use super::browser_lab::escaped;
use super::browser_position::loaded;

const PATIENCE: Duration = Duration::from_secs(240);
const PROMPT: &str = "The old man and the sea. The old man";
const COUNT: usize = 24;
const WINDOW: usize = 4;
/// Two logits nearer than this are a tie, which another order of sums may decide.
const TIE: f32 = 1e-3;

/// What `window.__hearth.cache` says of a run.
#[derive(Debug, Deserialize)]
struct Run {
    engine: String,
    prompt: Vec<u32>,
    done: bool,
    kept: Way,
    again: Way,
    windowed: Option<Way>,
    parts_at: Option<usize>,
    window_parts_at: Option<usize>,
    apart: f64,
    held: Held,
}

#[derive(Debug, Deserialize)]
struct Way {
    ids: Vec<u32>,
    ms: Vec<f64>,
    positions: Vec<u64>,
    work: Work,
}

#[derive(Debug, Deserialize)]
struct Held {
    positions: u64,
    bytes: u64,
}

fn address(rest: &str) -> String {
    format!("/lab/cache?engine=cpu&text={}&tokens={COUNT}&window={WINDOW}{rest}", escaped(PROMPT))
}

async fn look_at(browser: &Browser, server: &Server, path: &str) -> Result<Run> {
    browser.goto(&server.url(path)).await?;
    browser.wait_within("return document.querySelector('.lab-cache[data-lab=ready]') !== null", PATIENCE).await?;
    browser.eval("return window.__hearth.cache").await
}

/// The same steps here.
async fn generated(bundle: &ModelBundle, prompt: &[u32], window: Option<usize>) -> Result<Vec<Decoded>> {
    let mut model = bundle.transformer.clone();
    if window.is_some() {
        model.set_window(window);
    }
    let mut decoder = Decoder::keeping(model.config(), prompt, COUNT);
    let mut steps = Vec::new();
    for _ in 0..COUNT {
        steps.push(decoder.step(&model).await?);
    }
    Ok(steps)
}

/// Equal, token by token, up to the first tie, which must not come at once.
fn ensure_same(page: &[u32], here: &[Decoded]) -> Result<()> {
    ensure!(page.len() == here.len(), "{} tokens instead of {}", page.len(), here.len());
    for (step, (id, decoded)) in page.iter().zip(here).enumerate() {
        if *id != decoded.id {
            ensure!(decoded.margin < TIE && step >= 8, "token {step} is {id}, here {decoded:?}");
            break;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_changes_the_time_and_nothing_else() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look { width: 1440, ..Look::desktop() }).await?;
    let run = look_at(&browser, &server, &address("")).await?;
    browser.screenshot("cache-run").await?;
    ensure!(run.done && run.engine == "cpu", "{run:?}");

    let bundle = loaded(&places::nano())?;
    let prompt = bundle.tokenizer.encode(PROMPT, Special::Parse);
    assert_eq!(run.prompt, prompt);
    ensure_same(&run.kept.ids, &generated(&bundle, &prompt, None).await?).context("with everything kept")?;
    let windowed = run.windowed.as_ref().context("a side with a window")?;
    ensure_same(&windowed.ids, &generated(&bundle, &prompt, Some(WINDOW)).await?).context("with a window")?;

    // The two sides of the page.
    ensure!(run.kept.ids == run.again.ids && run.parts_at.is_none(), "the sides part: {run:?}");
    ensure!(run.apart < 1e-3, "the logits are {} apart", run.apart);
    let parts = run.kept.ids.iter().zip(&windowed.ids).position(|(all, few)| all != few);
    assert_eq!(run.window_parts_at, parts);

    // Work is counted from what was really computed.
    let n = prompt.len() as u64;
    let lengths: Vec<u64> = (n..n + COUNT as u64).collect();
    assert_eq!(run.again.positions, lengths);
    ensure!(run.kept.positions[0] == n && run.kept.positions[1..].iter().all(|&positions| positions == 1));
    let (shape, heads) = (plan::shape(&bundle.config), bundle.config.n_heads as u64);
    assert_eq!(run.again.work, Work::of_run(&shape, heads, n, lengths.into_iter()));
    ensure!(run.kept.work.flops < run.again.work.flops / 4.0, "{run:?}");
    ensure!(run.kept.ms.iter().chain(&run.again.ms).all(|ms| *ms > 0.0), "steps without a time: {run:?}");
    // The last token is in the text, not in the cache.
    assert_eq!(run.held.positions, n + COUNT as u64 - 1);
    assert_eq!(run.held.bytes, shape.kv_cache(run.held.positions, 4.0) as u64);

    let complaints = browser.severe_messages().await?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_follow_the_dials_and_the_address_remembers() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look { width: 1440, ..Look::desktop() }).await?;
    look_at(&browser, &server, &address("&context=8192&batch=4")).await?;
    let bundle = loaded(&places::nano())?;
    let (shape, config) = (plan::shape(&bundle.config), &bundle.config);
    let asked = WhatIf {
        context: 8192,
        kv_heads: config.kv_heads as u64,
        head_dim: config.head_dim as u64,
        window: None,
        batch: 4,
    };
    let shown = "return ['f32', 'f16', 'int8'].map(format => {
        const { cache, layer } = document.querySelector(`[data-format=${format}]`).dataset;
        return [Number(cache), Number(layer)];
    })";
    let expected =
        |asked: &WhatIf| [4, 2, 1].map(|number| [asked.bytes(&shape, number), asked.layer_bytes(&shape, number)]);
    assert_eq!(browser.eval::<[[u64; 2]; 3]>(shown).await?, expected(&asked));

    browser.click("[data-heads=one]").await?;
    browser.wait("return location.search.includes('heads=one')").await?;
    let one = WhatIf { kv_heads: 1, ..asked };
    assert_eq!(browser.eval::<[[u64; 2]; 3]>(shown).await?, expected(&one));
    let path: String = browser.eval("return location.pathname + location.search").await?;
    ensure!(path.contains("context=8192") && path.contains("batch=4"), "{path}");
    look_at(&browser, &server, &path).await?;
    assert_eq!(browser.eval::<[[u64; 2]; 3]>(shown).await?, expected(&one));
    let published: u64 = browser.eval("return window.__hearth.cache.imagined.outgrows").await?;
    assert_eq!(Some(published), one.outgrows(&shape));
    browser.close().await
}
