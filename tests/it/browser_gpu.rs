//! The labs on WebGPU: what each adds to a pass (the logit lens, heads left out, a batch of continuations, keys and values kept, rounded
//! inputs, scores that fall with distance) is computed there, and is what the native model and the tab's CPU compute. At the end the
//! device is lost. Everything is tiny, and one page walks through all of it: the software adapter compiles each pipeline on the CPU,
//! and a new worker would compile them again.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hearth_model::bundle::ModelBundle;
use hearth_model::look::last_logits;
use hearth_model::look::reading::Reading;
use hearth_model::look::tree::Growth;
use hearth_model::tokenizer::Special;
use hearth_shared::lab::{Engine, NANO};
use hearth_shared::spec::QuantizeSpec;
use hearth_tests::{Browser, Look, Server, ServerOptions, places};

use super::browser_lab::escaped;
use super::browser_position::{folder, loaded};
use super::{browser_bad, browser_inside, browser_lab, browser_quantize, browser_sampling};

/// The software adapter compiles every shader on the CPU.
const PATIENCE: Duration = Duration::from_secs(240);
const TEXT: &str = "The old man and the sea";
/// The kind of position that has a kernel of its own.
const SLOPED: &str = "alibi";

/// Runs the worker's own script behind a few lines that keep its graphics devices, and lose them at the word `lose`. A blob has no
/// address of its own, so the script's addresses are made absolute.
const HOLD_DEVICES: &str = "
    const Plain = window.Worker;
    window.__workers = 0;
    window.Worker = class extends Plain {
        constructor(address) {
            const script = new URL(address, location.href).href;
            const before = `
                const devices = [];
                self.addEventListener('message', event => {
                    if (event.data !== 'lose') return;
                    event.stopImmediatePropagation();
                    devices.forEach(device => device.destroy());
                });
                const request = GPUAdapter.prototype.requestDevice;
                GPUAdapter.prototype.requestDevice = async function (...all) {
                    const device = await request.apply(this, all);
                    devices.push(device);
                    return device;
                };
                const absolute = address => new URL(address, '${script}').href;
                const load = self.importScripts.bind(self);
                self.importScripts = (...all) => load(...all.map(absolute));
                const get = self.fetch.bind(self);
                self.fetch = (what, how) => get(typeof what === 'string' ? absolute(what) : what, how);
                self.importScripts('${script}');`;
            super(URL.createObjectURL(new Blob([before], { type: 'text/javascript' })));
            window.__worker = this;
            window.__workers += 1;
        }
    };";

#[tokio::test(flavor = "multi_thread")]
async fn every_lab_computes_on_webgpu_what_the_native_model_does() -> Result<()> {
    let rounding = QuantizeSpec { weight_bits: Some(4), input_bits: Some(8), ..QuantizeSpec::default() };
    let rounded = tokio::task::spawn_blocking(move || browser_quantize::native(&[rounding])).await??;
    let data = tempfile::tempdir()?;
    import(data.path(), &folder(SLOPED), SLOPED)?;
    let options = ServerOptions { data_dir: Some(data.path().to_owned()), ..ServerOptions::default() };
    let server = Server::start_with(options).await?;
    let browser = Browser::open(&Look { width: 1440, ..Look::desktop() }.webgpu()).await?;
    browser.before_pages(HOLD_DEVICES).await?;
    let nano = loaded(&places::nano())?;

    let mut clock = Clock(Instant::now());
    let cpu = browser_lab::look_at(&browser, &server, &browser_lab::address(TEXT, "&engine=cpu")).await?;
    browser.screenshot("lab-cpu").await?;
    clock.tell("attention on the CPU");
    attention(&browser, &server, &nano, &cpu).await.context("the attention lab")?;
    clock.tell("attention");
    quantization(&browser, &rounded).await.context("the quantization lab")?;
    clock.tell("quantization");
    let query = "runs=1&tokens=4&depth=2&branches=2&floor=0.1";
    walk(&browser, &format!("/lab/sampling?engine=webgpu&text={}&{query}", escaped(TEXT)), ".lab-sampling").await?;
    sampling(&browser, NANO, &nano).await.context("the sampling lab")?;
    clock.tell("sampling");
    choose(&browser, SLOPED).await?;
    sampling(&browser, SLOPED, &loaded(&folder(SLOPED))?).await.context("scores that fall with distance")?;
    clock.tell(SLOPED);
    lose_device(&browser).await?;
    clock.tell("the lost device");
    browser.close().await
}

/// Says how long each part took.
struct Clock(Instant);

impl Clock {
    fn tell(&mut self, part: &str) {
        println!("{part}: {:.1} s", self.0.elapsed().as_secs_f64());
        self.0 = Instant::now();
    }
}

fn import(data: &Path, model: &Path, name: &str) -> Result<()> {
    let mut program = Command::new(places::program()?);
    program.args(["model", "import"]).arg(model).args(["--name", name, "--data-dir"]).arg(data);
    ensure!(program.status()?.success(), "{name} is not taken in");
    Ok(())
}

/// Goes to another lab in the same page, so that the worker stays and with it what it compiled.
async fn walk(browser: &Browser, path: &str, lab: &str) -> Result<()> {
    let script = format!(
        "const link = document.createElement('a');
         link.href = '{path}';
         document.body.append(link);
         link.click();
         link.remove()"
    );
    browser_sampling::run(browser, &script).await?;
    let ready = format!("return document.querySelector('{lab}[data-lab=ready]') !== null");
    browser.wait_within(&ready, PATIENCE).await
}

/// Chooses another model for the sampling lab, and waits until everything there is of it.
async fn choose(browser: &Browser, model: &str) -> Result<()> {
    let script = format!(
        "const choice = document.getElementById('lab-model');
         choice.value = '{model}';
         choice.dispatchEvent(new Event('change', {{bubbles: true}}))"
    );
    browser_sampling::run(browser, &script).await?;
    let whole = format!(
        "const page = window.__hearth.sampling;
         return page?.distribution.model === '{model}' && page.tree != null && page.runs != null"
    );
    browser.wait_within(&whole, PATIENCE).await
}

/// A worker that died on WebGPU would have given way to one on the CPU.
async fn ensure_webgpu(browser: &Browser) -> Result<()> {
    let engine: Option<String> =
        browser.eval("return document.querySelector('.lab[data-lab]').getAttribute('data-engine')").await?;
    ensure!(engine.as_deref() == Some("webgpu"), "the engine is {engine:?}");
    Ok(())
}

/// The pass itself, the residual stream, the logit lens, the text without a head.
async fn attention(browser: &Browser, server: &Server, nano: &ModelBundle, cpu: &browser_lab::Pass) -> Result<()> {
    let path = browser_lab::address(TEXT, "&engine=webgpu&layer=1&head=2");
    let pass = browser_lab::look_at(browser, server, &path).await?;
    browser.screenshot("lab-webgpu").await?;
    browser_lab::ensure_alike(cpu, &pass)?;
    let ids = nano.tokenizer.encode(TEXT, Special::Parse);
    assert_eq!((pass.engine.as_str(), &pass.tokens), ("webgpu", &ids));
    let found = browser_inside::open(browser, "stack", "stack").await?;
    browser_inside::same_stack(found.stack.as_ref().context("a stack")?, nano, &ids).await?;
    let found = browser_inside::open(browser, "lens", "lens").await?;
    browser_inside::same_lens(found.lens.as_ref().context("a lens")?, nano, &ids).await?;
    let found = browser_inside::open(browser, "ablate", "ablated").await?;
    let ablated = found.ablated.as_ref().context("an ablation")?;
    assert_eq!(ablated.heads.len(), 1, "the chosen head, and no other");
    browser_inside::same_ablations(ablated, nano, &ids).await?;
    ensure_webgpu(browser).await
}

/// Weights on the levels of 4 bits, inputs on those of 8, and the loss on held-out tokens. It is measured on as many as ever.
async fn quantization(browser: &Browser, (base, under): &(f64, Vec<(f64, u64)>)) -> Result<()> {
    walk(browser, "/lab/quantization?engine=webgpu&bits=4&inputs=8", ".quantize").await?;
    let found = browser_quantize::found(browser).await?;
    browser_quantize::near(found.base.nll, *base, "as it is")?;
    let &(nll, bytes) = under.first().context("a native measurement")?;
    browser_quantize::near(found.loss.nll, nll, "4 bits, and 8 for inputs")?;
    assert_eq!(found.bytes, bytes);
    ensure_webgpu(browser).await
}

/// The distribution behind a text, a tree whose levels are read as a batch, and a run that reads its cache token by token.
async fn sampling(browser: &Browser, model: &str, bundle: &ModelBundle) -> Result<()> {
    let page = browser_sampling::ready(browser).await?;
    assert_eq!((page.distribution.model.as_str(), page.distribution.engine), (model, Engine::WebGpu));
    let prompt = bundle.tokenizer.encode(TEXT, Special::Parse);
    let logits = last_logits(&bundle.transformer, &prompt).await?;
    browser_sampling::ensure_stages(&page, &logits, &prompt)?;
    browser_sampling::ensure_runs(&page, bundle, &prompt)?;

    let mut reading = Reading::new(&bundle.config, &prompt);
    while !reading.is_done() {
        reading.read_on(&bundle.transformer).await?;
    }
    let mut tree = Growth::new(&reading, &page.sampling, page.tree.spec, &bundle.eos);
    while !tree.is_done() {
        tree.grow(&bundle.transformer, &reading).await?;
    }
    let here = tree.into_nodes();
    ensure!(here.iter().any(|node| node.depth == 2), "a tree of one level: {here:?}");
    ensure!(page.tree.nodes.len() == here.len(), "{:?}, here {here:?}", page.tree.nodes);
    for (tab, here) in page.tree.nodes.iter().zip(&here) {
        ensure!((tab.parent, tab.id) == (here.parent, here.id), "{tab:?}, here {here:?}");
        ensure!((tab.share - here.share).abs() < 1e-3, "{tab:?}, here {here:?}");
    }
    ensure_webgpu(browser).await
}

/// The lab says so, goes on on the CPU, and stays there.
async fn lose_device(browser: &Browser) -> Result<()> {
    walk(browser, "/lab/attention?engine=webgpu", ".lab:has(#lab-text)[data-engine=webgpu]").await?;
    ensure!(browser.eval::<u32>("return window.__workers").await? == 1, "the walk needed another worker");
    let ask = "window.__worker.postMessage('lose'); write('#lab-text', 'Another man')";
    browser_bad::run(browser, ask).await?;
    browser.wait_within("return window.__workers === 2", PATIENCE).await.context("the lost device is not noticed")?;
    browser.find_within("[data-lab=ready][data-engine=cpu]", PATIENCE).await?;
    let why = browser.text(".lab-why").await?;
    ensure!(why.contains("WebGPU did not work here"), "the lab says {why}");
    browser_bad::run(browser, "delete window.__hearth.lab; write('#lab-text', 'The old man and the sea')").await?;
    browser.wait_within("return window.__hearth.lab?.engine === 'cpu'", PATIENCE).await?;
    ensure!(browser.eval::<u32>("return window.__workers").await? == 2, "another worker died");
    Ok(())
}
