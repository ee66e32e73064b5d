//! The quantization lab in a real browser: what the tab measures is what the native model measures, settings follow clicks and stand in
//! the address, the search keeps its bound, and a change stops it; what it finds is a setting like any other.

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
    the_chart_has_round_numbers(&browser).await?;
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
    the_mixture_is_a_setting(&browser, &searched).await?;

    // A part that is spared keeps its numbers.
    let spared = press(&browser, "[data-group=embed]").await?;
    ensure!(
        spared.matrices.iter().all(|matrix| (matrix.error == 0.0) == (matrix.group == "embed")),
        "{:?}",
        spared.matrices
    );
    reset_forgets_and_can_be_undone(&browser).await?;
    browser.close().await
}

/// Perplexities at the axis are round, and the name of the model as it is lies under no point.
async fn the_chart_has_round_numbers(browser: &Browser) -> Result<()> {
    let marks: Vec<String> = browser
        .eval("return [...document.querySelectorAll('.cloud text[text-anchor=end]')].map(t => t.textContent)")
        .await?;
    let round = |mark: &String| {
        let digits: String = mark.chars().filter(char::is_ascii_digit).collect();
        digits.trim_end_matches('0').len() <= 2
    };
    ensure!(marks.len() > 1 && marks.iter().all(round), "{marks:?} are no round numbers");
    let covered: usize = browser
        .eval(
            "const box = css => [...document.querySelectorAll(css)].map(drawn => drawn.getBoundingClientRect());
             const [name] = box('.cloud-base-name');
             return box('.cloud-mark').filter(({ left, right, top, bottom }) =>
                 right > name.left && left < name.right && bottom > name.top && top < name.bottom).length",
        )
        .await?;
    ensure!(covered == 0, "{covered} points lie on the name of the line");
    Ok(())
}

/// Presses what makes the lab measure anew, and waits for it.
async fn press(browser: &Browser, css: &str) -> Result<Tried> {
    browser.eval::<serde_json::Value>("delete window.__hearth.quantize; return null").await?;
    browser.click(css).await?;
    browser.wait_within("return window.__hearth.quantize !== undefined", PATIENCE).await?;
    found(browser).await
}

/// What was found is a point and can be taken: then it is measured as the search measured it, stands in the address, and
/// what was measured with another setting says so.
async fn the_mixture_is_a_setting(browser: &Browser, searched: &quantize::Searched) -> Result<()> {
    ensure!(browser.count(".cloud-dot.mixed").await? == 1, "the mixture is no point");
    ensure!(browser.count(".stale").await? == 0, "something is old before anything has changed");
    let mixed = press(browser, "[data-action=apply]").await?;
    ensure!((mixed.loss.nll - searched.loss.nll).abs() < 1e-6, "{:?} and {:?}", mixed.loss, searched.loss);
    let bits: Vec<_> = mixed.matrices.iter().map(|matrix| (matrix.path.clone(), matrix.bits.unwrap_or(32))).collect();
    ensure!((mixed.bytes, &bits) == (searched.bytes, &searched.bits), "{bits:?} are not {:?}", searched.bits);
    browser.find(".cloud-dot.mixed.here").await?;
    browser.find(".group-bars.stale").await?;
    ensure!(browser.count(".bit-map-scroll.stale").await? == 0, "the search does not depend on bits");
    ensure!(browser.count("[data-setting=bits] [aria-pressed=true]").await? == 0, "a mixture has no one count of bits");
    browser.screenshot("quantize-mixed").await?;
    // The link leads to it.
    browser.wait("return location.search.includes('mixed=4')").await?;
    browser.reload().await?;
    let again = found(browser).await?;
    ensure!(again.matrices == mixed.matrices, "the link leads to another mixture");
    Ok(())
}

/// Nothing of what was tried outlives a reset, unless it is called back.
async fn reset_forgets_and_can_be_undone(browser: &Browser) -> Result<()> {
    let before = browser.count(".cloud-dot").await?;
    let first = press(browser, "[data-action=reset]").await?;
    ensure!(first.matrices.iter().all(|matrix| matrix.bits == Some(8)), "{:?}", first.matrices);
    ensure!(browser.count(".cloud-dot").await? == 1, "points outlive a reset");
    press(browser, ".toast-action").await?;
    ensure!(browser.count(".cloud-dot").await? >= before, "points are lost for good");
    Ok(())
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
