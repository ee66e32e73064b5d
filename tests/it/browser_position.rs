//! The position lab in a real browser: what the tab measures is what the models lose here, ALiBi alone goes beyond its training length,
//! a link brings everything back, and after one visit no server is needed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hearth_model::bundle::ModelBundle;
use hearth_model::config::RopeScaling;
use hearth_model::device;
use hearth_model::look::distance::by_distance;
use hearth_model::look::look;
use hearth_model::look::losses::{losses, windows};
use hearth_model::recipe::corpus::read_jsonl;
use hearth_model::transformer::Transformer;
use hearth_tests::{Browser, Look, Server, places};
use serde::Deserialize;

/// Five measurements of a few thousand tokens, in a tab that shares two cores.
const PATIENCE: Duration = Duration::from_secs(300);
pub(crate) const TRAINED: usize = 128;
/// Of the measurement that is repeated here; the other tests read shorter ones.
const WINDOW: usize = 512;

/// What `window.__hearth.position` says.
#[derive(Debug, Deserialize)]
struct Shown {
    trained: usize,
    window: usize,
    /// Ids of the held-out texts, in the order they are read.
    texts: Vec<String>,
    siblings: BTreeMap<String, Measured>,
    stretched: Option<Measured>,
    turns: Turns,
    distances: Distances,
}

#[derive(Debug, Deserialize)]
struct Measured {
    windows: usize,
    means: BTreeMap<String, f64>,
    split: Split,
    stretches: Vec<f64>,
    cut_stretches: Vec<f64>,
    ms: f64,
}

#[derive(Debug, Deserialize)]
struct Split {
    inside: f64,
    beyond: f64,
    cut: f64,
}

#[derive(Debug, Deserialize)]
struct Turns {
    frequencies: Vec<f64>,
    plain: Vec<f64>,
}

#[derive(Debug, Deserialize)]
struct Distances {
    model: String,
    means: Vec<f32>,
}

async fn shown(browser: &Browser, server: &Server, query: &str) -> Result<Shown> {
    browser.goto(&server.url(&format!("/lab/position{query}"))).await?;
    browser.wait_within("return document.querySelector('[data-lab=ready]') !== null", PATIENCE).await?;
    browser.eval("return window.__hearth.position").await
}

fn sibling(name: &str) -> Result<ModelBundle> {
    loaded(&folder(name))
}

/// Where a sibling is.
pub(crate) fn folder(name: &str) -> PathBuf {
    places::root().join("public/models/positions").join(name)
}

pub(crate) fn loaded(folder: &Path) -> Result<ModelBundle> {
    Ok(ModelBundle::load(folder, &device::cpu(), &mut |_| ControlFlow::Continue(()))?)
}

/// Mean losses here: over each position of the long windows, and over the same tokens read in pieces of the training length.
async fn measure(model: &Transformer, windows: &[Vec<u32>]) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut whole, mut cut) = (vec![0.0; WINDOW], vec![0.0; WINDOW]);
    for window in windows {
        let count = windows.len() as f64;
        for (sum, loss) in whole.iter_mut().zip(losses(model, window).await?) {
            *sum += f64::from(loss) / count;
        }
        for at in (0..WINDOW).step_by(TRAINED) {
            let piece = losses(model, &window[at..=at + TRAINED]).await?;
            for (sum, loss) in cut[at..].iter_mut().zip(piece) {
                *sum += f64::from(loss) / count;
            }
        }
    }
    Ok((whole, cut))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn same(what: &str, tab: f64, here: f64) -> Result<()> {
    ensure!((tab / here - 1.0).abs() < 1e-3, "{what}: the tab says {tab}, here it is {here}");
    Ok(())
}

fn compare(name: &str, tab: &Measured, (whole, cut): &(Vec<f64>, Vec<f64>)) -> Result<()> {
    same(&format!("{name}, inside"), tab.split.inside, mean(&whole[..TRAINED]))?;
    same(&format!("{name}, beyond"), tab.split.beyond, mean(&whole[TRAINED..]))?;
    same(&format!("{name}, cut"), tab.split.cut, mean(&cut[TRAINED..]))?;
    let of_length = |length: usize| tab.means.get(&length.to_string()).copied().context("a mean of this length");
    same(&format!("{name}, long windows"), of_length(WINDOW)?, mean(whole))?;
    same(&format!("{name}, short windows"), of_length(TRAINED)?, mean(cut))?;
    let width = WINDOW / tab.stretches.len();
    for (tab, here) in [(&tab.stretches, whole), (&tab.cut_stretches, cut)] {
        for (tab, here) in tab.iter().zip(here.chunks(width)) {
            same(&format!("{name}, a stretch"), *tab, mean(here))?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tab_measures_what_the_models_lose() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    let query = format!("?window={WINDOW}&hidden=learned.sinusoidal&scaling=yarn&factor=4&attention=alibi");
    let shown = shown(&browser, &server, &query).await?;
    browser.screenshot("position-yarn").await?;
    assert_eq!((shown.trained, shown.window), (TRAINED, WINDOW));
    assert_eq!(shown.siblings.keys().collect::<Vec<_>>(), ["alibi", "rope"], "hidden ones are not measured");

    // The same texts, by their ids, in the same order.
    let documents = read_jsonl(&places::nano().join("heldout.jsonl"))?;
    let text = |id: &String| {
        let found = documents.iter().find(|document| document.id == *id);
        found.map(|document| document.text.clone()).with_context(|| format!("no text {id}"))
    };
    let texts = shown.texts.iter().map(text).collect::<Result<Vec<_>>>()?;
    let of = |name: &str| shown.siblings.get(name).with_context(|| format!("{name} was measured"));
    for name in ["alibi", "rope"] {
        let (bundle, tab) = (sibling(name)?, of(name)?);
        let windows = windows(&bundle.tokenizer, &texts, tab.windows, WINDOW);
        ensure!(windows.len() == tab.windows && tab.windows > 1, "{} windows", windows.len());
        compare(name, tab, &measure(&bundle.transformer, &windows).await?)?;
        if name == "rope" {
            let mut stretched = bundle.transformer.clone();
            stretched.set_rope_scaling(RopeScaling::Yarn {
                factor: 4.0,
                original: TRAINED,
                beta_fast: 32.0,
                beta_slow: 1.0,
                attention_factor: 0.1 * 4f64.ln() + 1.0,
                truncate: true,
            });
            let tab = shown.stretched.as_ref().context("the stretched model was measured")?;
            compare("rope under YaRN", tab, &measure(&stretched, &windows).await?)?;
        } else {
            let seen = look(&bundle.transformer, &windows[0][..TRAINED]).await?;
            let here = by_distance(&seen.weights, TRAINED);
            assert_eq!((shown.distances.model.as_str(), shown.distances.means.len()), (name, here.len()));
            let apart = here.iter().zip(&shown.distances.means).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            ensure!(apart < 1e-4, "weights by distance differ by {apart}");
        }
    }

    // The very same tokens cost ALiBi no more behind a long context, and RoPE does.
    let extra = |measured: &Measured| measured.split.beyond - measured.split.cut;
    let (alibi, rope) = (extra(of("alibi")?), extra(of("rope")?));
    ensure!(alibi < 0.01, "ALiBi loses {alibi} beyond its training length");
    ensure!(rope > 0.1, "RoPE loses only {rope} beyond its training length");
    let (plain, yarn) = (of("rope")?, shown.stretched.as_ref().context("the stretched model was measured")?);
    ensure!(yarn.split.beyond < plain.split.beyond - 0.1, "YaRN does not help: {:?}, {:?}", yarn.split, plain.split);

    // YaRN leaves the fastest pair alone and turns the slowest four times slower.
    let Turns { frequencies, plain } = &shown.turns;
    let ratio = |at: usize| plain[at] / frequencies[at];
    ensure!((ratio(0) - 1.0).abs() < 1e-9 && (ratio(plain.len() - 1) - 4.0).abs() < 1e-9, "{frequencies:?}");
    ensure!(browser.count(".dial").await? == plain.len(), "a dial for each pair");
    let complaints = browser.severe_messages().await?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_remembers_and_nothing_is_measured_twice() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    let before = shown(&browser, &server, "?window=256&hidden=learned.sinusoidal.alibi").await?;
    ensure!(before.stretched.is_none(), "no way to stretch was chosen");
    browser.click("[data-method=linear]").await?;
    browser.wait("return location.search.includes('scaling=linear')").await?;
    let measured =
        "return window.__hearth.position.stretched !== null && document.querySelector('[data-lab=ready]') !== null";
    browser.wait_within(measured, PATIENCE).await?;
    let after: Shown = browser.eval("return window.__hearth.position").await?;
    let (old, new) = (&before.siblings["rope"], &after.siblings["rope"]);
    assert_eq!((&old.stretches, old.ms), (&new.stretches, new.ms), "the model as it was trained is measured again");
    let interpolated = after.stretched.context("the stretched model was measured")?;
    // Neighbours closer than training ever had them: that hurts where training was.
    ensure!(interpolated.split.inside > new.split.inside + 0.05, "{interpolated:?} against {new:?}");
    browser.find(".position[data-engine=cpu]").await?;
    ensure!(browser.text(".position-engine").await?.contains("CPU"), "nothing says what computes");

    // What takes longer can be stopped, and goes on with another question.
    browser.click("[data-window=\"1024\"]").await?;
    let can_stop = "const stop = document.querySelector('.position-doing [data-action=stop]');
        return stop !== null && getComputedStyle(stop).visibility === 'visible'";
    browser.wait(can_stop).await?;
    browser.click(".position-doing [data-action=stop]").await?;
    browser.find("[data-lab=stopped]").await?;
    browser.click("[data-window=\"256\"]").await?;
    browser.find_within("[data-lab=ready]", PATIENCE).await?;
    browser.click("[data-action=reset]").await?;
    browser.wait("return location.search === ''").await?;
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_position_lab_comes_back_without_a_server() -> Result<()> {
    let mut server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    let query = "?window=256&hidden=learned.sinusoidal.rope";
    let before = shown(&browser, &server, query).await?;
    // The service worker takes the models' files into the build's own cache behind the first visit.
    let kept = "caches.keys().then(names => Promise.all(names.map(name => caches.open(name).then(c => c.keys()))))
        .then(all => done(all.flat().filter(k => /\\/models\\/positions\\/.*\\.safetensors$/.test(k.url)).length))";
    for round in 0.. {
        if browser.eval_async::<u32>(kept).await? == 4 {
            break;
        }
        ensure!(round < 300, "the models' weights are never kept");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.kill()?;
    let after = shown(&browser, &server, query).await?;
    assert_eq!(before.siblings["alibi"].stretches, after.siblings["alibi"].stretches);
    // A model that the first visit never loaded.
    let other = shown(&browser, &server, "?window=256&hidden=learned.alibi.rope").await?;
    assert_eq!(other.siblings.keys().collect::<Vec<_>>(), ["sinusoidal"]);
    browser.close().await
}

/// Another question makes a measurement useless. Its worker may finish in peace: to replace it would be to load every model again.
#[tokio::test(flavor = "multi_thread")]
async fn another_question_does_not_cost_the_engine() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    browser.goto(&server.url("/lab/position?engine=cpu&window=1024&hidden=learned.sinusoidal.alibi")).await?;
    // Deaf to what would stop it between two pieces.
    browser
        .eval::<serde_json::Value>(
            "const post = Worker.prototype.postMessage;
             Worker.prototype.postMessage = function (message, transfer) {
                 if (message.json.includes('\"cancel\"')) { window.deafened = true; return; }
                 if (message.json.includes('1024')) window.asked = true;
                 return post.call(this, message, transfer);
             };
             const terminate = Worker.prototype.terminate;
             Worker.prototype.terminate = function () { window.terminated = true; return terminate.call(this); };
             return null",
        )
        .await?;
    browser.wait_within("return window.asked === true", PATIENCE).await?;
    browser.eval::<serde_json::Value>("document.querySelector('[data-window=\"256\"]').click(); return null").await?;
    browser.wait_within("return window.deafened === true", PATIENCE).await?;
    browser.wait_within("return document.querySelector('[data-lab=ready]') !== null", PATIENCE).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(browser.eval::<bool>("return window.terminated === undefined").await?, "the worker was replaced");
    browser.close().await
}
