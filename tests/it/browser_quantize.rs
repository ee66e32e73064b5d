//! The quantization lab in a real browser: what the tab measures is what the native model measures, settings follow clicks and stand in
//! the address, the search keeps its bound, and a change stops it.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::executor::block_on;
use hearth_model::bundle::ModelBundle;
use hearth_model::compress::trial::Weights;
use hearth_model::device;
use hearth_model::look::losses::{losses, windows};
use hearth_shared::lab::held_out;
use hearth_shared::lab::quantize::{self, Tried};
use hearth_shared::spec::{Calibration, Grain, QuantizeSpec};
use hearth_tests::{Browser, Look, Server};

const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn found(browser: &Browser) -> Result<Tried> {
    browser.wait_within("return document.querySelector('.quantize[data-lab=ready]') !== null", PATIENCE).await?;
    browser.eval("return window.__hearth.quantize").await
}

/// Clicks a setting and waits until the model was measured with it.
async fn set(browser: &Browser, name: &str, value: &str) -> Result<Tried> {
    // By script: on a phone a tap would have to find its way past the bar at the thumb.
    let click = format!(
        "delete window.__hearth.quantize;
         document.querySelector(\"[data-setting={name}] [data-value='{value}']\").click(); return null"
    );
    browser.eval::<serde_json::Value>(&click).await?;
    browser.wait_within("return window.__hearth.quantize !== undefined", PATIENCE).await?;
    found(browser).await
}

/// The same, natively: loss as it is, loss and bytes under a spec.
pub(crate) fn native(specs: &[QuantizeSpec]) -> Result<(f64, Vec<(f64, u64)>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../public/models/nano");
    let bundle = ModelBundle::load(&folder, &device::cpu(), &mut |_| ControlFlow::Continue(()))?;
    let texts = held_out::beginnings(
        &std::fs::read_to_string(folder.join("heldout.jsonl"))?,
        quantize::TEXTS,
        quantize::CHARACTERS,
    );
    let windows = windows(&bundle.tokenizer, &texts, quantize::TOKENS / quantize::WINDOW, quantize::WINDOW);
    let nll = |model: &_| -> Result<f64> {
        let mut all = Vec::new();
        for window in &windows {
            all.extend(block_on(losses(model, window))?);
        }
        Ok(all.iter().map(|loss| f64::from(*loss)).sum::<f64>() / all.len() as f64)
    };
    let weights = block_on(Weights::read(&bundle.transformer))?;
    let mut under = Vec::new();
    for spec in specs {
        let bits = vec![spec.weight_bits; weights.matrices.len()];
        let (model, _) = weights.rounded(&bundle.transformer, &bits, spec);
        under.push((nll(&model)?, weights.bytes(&bits, spec)));
    }
    Ok((nll(&bundle.transformer)?, under))
}

pub(crate) fn near(here: f64, there: f64, what: &str) -> Result<()> {
    ensure!((here - there).abs() < 1e-3, "{what}: the tab says {here}, the native model {there}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_setting_is_measured_as_the_native_model_measures_it() -> Result<()> {
    let eight = QuantizeSpec::default();
    let three = QuantizeSpec { weight_bits: Some(3), grain: Grain::Tensor, ..eight };
    let least = QuantizeSpec { calibration: Calibration::Mse, ..three };
    let inputs = QuantizeSpec { weight_bits: None, input_bits: Some(4), ..QuantizeSpec::default() };
    let (base, wanted) = tokio::task::spawn_blocking(move || native(&[eight, three, least, inputs])).await??;

    let server = Server::start().await?;
    let browser = Browser::open(&Look { width: 1440, ..Look::desktop() }).await?;
    browser.goto(&server.url("/lab/quantization?engine=cpu")).await?;
    let first = found(&browser).await?;
    near(first.base.nll, base, "as it is")?;
    near(first.loss.nll, wanted[0].0, "8 bits a row")?;
    ensure!((first.loss.tokens as usize, first.bytes) == (quantize::TOKENS, wanted[0].1), "{first:?}");
    ensure!(first.bytes * 100 / first.full_bytes == 25, "{first:?} is no quarter");
    println!("512 tokens measured in {:.0} ms", first.loss.ms);

    set(&browser, "grain", "tensor").await?;
    let found_three = set(&browser, "bits", "3").await?;
    near(found_three.loss.nll, wanted[1].0, "3 bits a matrix")?;
    ensure!(found_three.matrices.iter().all(|matrix| matrix.error > 0.01), "{:?}", found_three.matrices);
    let found_least = set(&browser, "calibration", "mse").await?;
    near(found_least.loss.nll, wanted[2].0, "least error")?;
    browser.wait("return location.search.includes('bits=3') && location.search.includes('calibration=mse')").await?;
    let points = browser.count(".cloud-dot").await?;
    ensure!(points == 4, "{points} points for four settings");
    the_drawing_is_saved(&browser).await?;

    // Another address, another setting; nothing of the weights is rounded, so nothing is saved.
    browser.goto(&server.url("/lab/quantization?engine=cpu&bits=off&inputs=4")).await?;
    let of_inputs = found(&browser).await?;
    near(of_inputs.loss.nll, wanted[3].0, "inputs in 4 bits")?;
    ensure!(of_inputs.bytes == of_inputs.full_bytes, "{of_inputs:?}");
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_search_keeps_its_bound_and_a_change_stops_it() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look { width: 1440, ..Look::desktop() }).await?;
    browser.goto(&server.url("/lab/quantization?engine=cpu&bits=4")).await?;
    let whole = found(&browser).await?;
    browser.click("[data-action=search]").await?;
    browser.wait_within("return document.querySelector('[data-long=running]') !== null", PATIENCE).await?;
    set(&browser, "bits", "6").await?;
    browser.wait_within("return document.querySelector('[data-long=running]') === null", PATIENCE).await?;
    ensure!(browser.count("#search-found").await? == 0, "a stopped search found something");

    browser.click("[data-action=sensitivity]").await?;
    browser.wait_within("return window.__hearth.sensitivity !== undefined", PATIENCE).await?;
    ensure!(browser.count(".group-bars li").await? == 5, "four layers and the embedding");

    browser.click("[data-action=search]").await?;
    browser.wait_within("return window.__hearth.searched !== undefined", PATIENCE).await?;
    let searched: quantize::Searched = browser.eval("return window.__hearth.searched").await?;
    let rise = (searched.loss.nll - searched.base.nll).exp() - 1.0;
    ensure!(rise <= 0.01 && !searched.exceeded, "the perplexity rises by {rise}: {searched:?}");
    let few = searched.bits.iter().filter(|(_, bits)| *bits == 4).count();
    ensure!(few > 0 && few < searched.bits.len(), "{few} matrices in 4 bits");
    ensure!(searched.bytes > whole.bytes, "{} bytes are fewer than 4 bits everywhere", searched.bytes);
    browser.screenshot("quantize-searched").await?;

    // A part that is spared keeps its numbers.
    browser.eval::<serde_json::Value>("delete window.__hearth.quantize; return null").await?;
    browser.click("[data-group=embed]").await?;
    browser.wait_within("return window.__hearth.quantize !== undefined", PATIENCE).await?;
    let spared = found(&browser).await?;
    ensure!(
        spared.matrices.iter().all(|matrix| (matrix.error == 0.0) == (matrix.group == "embed")),
        "{:?}",
        spared.matrices
    );
    browser.close().await
}

/// As a PNG file that shows more than an empty sheet.
async fn the_drawing_is_saved(browser: &Browser) -> Result<()> {
    let folder = tempfile::tempdir()?;
    browser.save_into(folder.path()).await?;
    browser.click("[data-action=picture]").await?;
    let picture = browser.saved(&folder.path().join("hearth-quantization.png")).await?;
    ensure!(picture.starts_with(b"\x89PNG\r\n"), "no PNG: {:?}", &picture[..8.min(picture.len())]);
    std::fs::write(hearth_tests::places::output("quantize-picture.png")?, &picture)?;
    ensure!(picture.len() > 8_000, "{} bytes are an empty sheet", picture.len());
    Ok(())
}

/// A worker that does not hear the cancel goes on computing; the page says at once that it stopped, and then makes it true.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_stop_is_replaced_and_the_model_is_back() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    browser.goto(&server.url("/lab/quantization?engine=cpu&bits=4")).await?;
    let before = found(&browser).await?;
    browser
        .eval::<serde_json::Value>(
            "const post = Worker.prototype.postMessage;
             Worker.prototype.postMessage = function (message, transfer) {
                 if (message.json.includes('\"cancel\"')) { window.deafened = true; return; }
                 return post.call(this, message, transfer);
             };
             const terminate = Worker.prototype.terminate;
             Worker.prototype.terminate = function () { window.terminated = true; return terminate.call(this); };
             return null",
        )
        .await?;
    browser.click("[data-action=search]").await?;
    browser.wait_within("return document.querySelector('[data-long=running]') !== null", PATIENCE).await?;
    browser.eval::<serde_json::Value>("delete window.__hearth.quantize; return null").await?;
    browser.click("[data-action=cancel]").await?;
    ensure!(browser.count("[data-long=running]").await? == 0, "the page still shows what was cancelled");
    browser.wait_within("return window.deafened && window.terminated", PATIENCE).await?;
    browser.wait_within("return window.__hearth.quantize !== undefined", PATIENCE).await?;
    let after = found(&browser).await?;
    ensure!(after.loss.nll == before.loss.nll, "{} before, {} after", before.loss.nll, after.loss.nll);
    browser.close().await
}
