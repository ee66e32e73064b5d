//! Deeper into the attention lab in a real browser: nothing is computed before it is opened; the stack, the lens, the ablations and the
//! heads' numbers are the native model's; the job's counts are those of arithmetic by hand; and a link brings it all back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hearth_model::bundle::ModelBundle;
use hearth_model::look::ablate::without;
use hearth_model::look::heads::{Seen, facts, random, twice, weights};
use hearth_model::look::lens::readings;
use hearth_model::look::losses::losses;
use hearth_model::look::stack::stack;
use hearth_model::look::stream::Stream;
use hearth_model::tokenizer::Special;
use hearth_shared::lab::inside::{Lens, Measures, Stack, Statistics, mean};
use hearth_shared::lab::map_reduce::{Stage, Totals};
use hearth_tests::{Browser, Look, Server, places};
use serde::Deserialize;
use thirtyfour::Key;

use super::browser_lab::{address, look_at, pass};
use super::browser_position::loaded;

const PATIENCE: Duration = Duration::from_secs(240);
const SENTENCE: &str = "The old man and the sea. The old man and the boy went down to the sea.";

/// What `window.__hearth.inside` says.
#[derive(Debug, Deserialize)]
pub(crate) struct Shown {
    tokens: Vec<u32>,
    pub(crate) stack: Option<Stack>,
    pub(crate) lens: Option<Lens>,
    pub(crate) ablated: Option<Ablations>,
    statistics: Option<Statistics>,
    job: Option<Job>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Ablations {
    nll: f64,
    pub(crate) heads: Vec<Ablation>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Ablation {
    layer: usize,
    head: usize,
    nll: f64,
    cost: f64,
    losses: Vec<f32>,
}

#[derive(Debug, Deserialize)]
struct Job {
    layer: usize,
    head: usize,
    token: usize,
    stages: Vec<Stage>,
    totals: Totals,
    keys_and_values: u64,
    unshared: u64,
    records: Vec<Record>,
}

#[derive(Debug, Deserialize)]
struct Record {
    key: usize,
    weight: f64,
    computed: f64,
}

/// Opens a part as a learner does, and waits for its numbers.
pub(crate) async fn open(browser: &Browser, part: &str, published: &str) -> Result<Shown> {
    browser.click(&format!("[data-part={part}]")).await?;
    let there = format!(
        "return document.querySelector('[data-inside=ready]') !== null && window.__hearth.inside?.{published} != null"
    );
    browser.wait_within(&there, PATIENCE).await.with_context(|| format!("{part} does not come up"))?;
    shown(browser).await
}

async fn shown(browser: &Browser) -> Result<Shown> {
    browser.eval("return window.__hearth.inside").await
}

fn near(what: &str, tab: f64, here: f64) -> Result<()> {
    ensure!((tab - here).abs() < 1e-3 * here.abs().max(1.0), "{what}: the tab says {tab}, here it is {here}");
    Ok(())
}

fn all_near(what: &str, tab: &[f32], here: &[f32]) -> Result<()> {
    ensure!(tab.len() == here.len() && !here.is_empty(), "{what}: {} numbers instead of {}", tab.len(), here.len());
    tab.iter().zip(here).try_for_each(|(tab, here)| near(what, f64::from(*tab), f64::from(*here)))
}

pub(crate) async fn same_stack(tab: &Stack, bundle: &ModelBundle, ids: &[u32]) -> Result<()> {
    let here = stack(&bundle.transformer, &Stream::of(&bundle.transformer, ids)).await?;
    ensure!(tab.cost() == here.cost() && tab.cost().parameters == bundle.config.parameters(), "{:?}", tab.cost());
    all_near("the stream at first", &tab.begins, &here.begins)?;
    all_near("the stream behind the last norm", &tab.normed, &here.normed)?;
    ensure!(tab.blocks.len() == bundle.config.n_layers, "{} blocks", tab.blocks.len());
    for (layer, (tab, here)) in tab.blocks.iter().zip(&here.blocks).enumerate() {
        ensure!(tab.steps == here.steps, "layer {layer}: {:?}", tab.steps);
        all_near(&format!("attention {layer}"), &tab.attention, &here.attention)?;
        all_near(&format!("feed-forward {layer}"), &tab.mlp, &here.mlp)?;
        all_near(&format!("the stream behind {layer}"), &tab.after, &here.after)?;
    }
    Ok(())
}

pub(crate) async fn same_lens(tab: &Lens, bundle: &ModelBundle, ids: &[u32]) -> Result<()> {
    let stream = Stream::of(&bundle.transformer, ids);
    ensure!(tab.states.len() == stream.states(), "{} states", tab.states.len());
    for (state, tab) in tab.states.iter().enumerate() {
        let here = readings(&bundle.transformer, &stream, state, ids).await?;
        ensure!(tab.len() == here.len(), "{} places", tab.len());
        for (token, (tab, here)) in tab.iter().zip(&here).enumerate() {
            let what = format!("state {state}, token {token}");
            for (tab, here) in tab.top.iter().zip(&here.top) {
                near(&what, f64::from(tab.probability), f64::from(here.probability))?;
            }
            // Nearly equal ones may change places.
            let tie = here.top[0].probability - here.top[1].probability < 1e-3;
            ensure!(tie || tab.top[0].id == here.top[0].id, "{what}: {tab:?} and {here:?}");
            match (tab.next, here.next) {
                (Some(tab), Some(here)) => {
                    ensure!(tab.id == here.id, "{what}: {tab:?} and {here:?}");
                    near(&what, f64::from(tab.probability), f64::from(here.probability))?;
                }
                (tab, here) => ensure!(tab.is_none() && here.is_none() && token + 1 == ids.len(), "{what}"),
            }
        }
    }
    Ok(())
}

pub(crate) async fn same_ablations(tab: &Ablations, bundle: &ModelBundle, ids: &[u32]) -> Result<()> {
    let model = &bundle.transformer;
    let base = mean(&losses(model, ids).await?);
    near("the text as it is", tab.nll, base)?;
    for found in &tab.heads {
        let here = losses(&without(model, found.layer, &[found.head]), ids).await?;
        let what = format!("without head {} of layer {}", found.head, found.layer);
        near(&what, found.nll, mean(&here))?;
        near(&what, found.cost, mean(&here) - base)?;
        all_near(&what, &found.losses, &here)?;
    }
    Ok(())
}

async fn same_statistics(tab: &Statistics, bundle: &ModelBundle, ids: &[u32]) -> Result<()> {
    let model = &bundle.transformer;
    let random = twice(&random(bundle.config.vocab_size, tab.period as usize));
    let (on_text, on_random) = (weights(model, ids).await?, weights(model, &random).await?);
    let here = facts(Seen { layers: &on_text, time: ids.len() }, Seen { layers: &on_random, time: random.len() });
    ensure!(tab.heads.len() == here.len(), "{} heads", tab.heads.len());
    for (tab, here) in tab.heads.iter().zip(&here) {
        ensure!(tab.at == here.at, "{tab:?} and {here:?}");
        let all = |of: &Measures, induction| [of.entropy, of.distance, of.first, of.previous, induction];
        for (tab, here) in [
            (all(&tab.text, tab.induction), all(&here.text, here.induction)),
            (all(&tab.random, tab.induction), all(&here.random, here.induction)),
        ] {
            for (tab, here) in tab.into_iter().zip(here) {
                near("a head's number", tab, here)?;
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_shows_what_the_native_model_computes() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look { width: 1440, ..Look::desktop() }).await?;
    let first = look_at(&browser, &server, &address(SENTENCE, "&engine=cpu")).await?;
    let untouched: bool = browser.eval("return window.__hearth.inside === undefined").await?;
    ensure!(untouched, "something was computed before anybody opened it");
    let bundle = loaded(&places::nano())?;
    let ids = bundle.tokenizer.encode(SENTENCE, Special::Parse);

    let found = open(&browser, "stack", "stack").await?;
    assert_eq!((&found.tokens, &first.tokens), (&ids, &ids));
    same_stack(found.stack.as_ref().context("a stack")?, &bundle, &ids).await?;
    // The last norm's parameters are not those of the logits, which read the embedding's matrix again.
    let ends = browser.text("[data-end=head]").await?;
    ensure!(ends.contains("no parameters of its own"), "{ends}");
    browser.click("[data-block='1'] .stack-open").await?;
    browser.wait("return location.search.includes('block=1')").await?;
    ensure!(browser.count("[data-block='1'] tr[data-step]").await? == 11, "the steps of a block");
    let shared = browser.count("[data-block='1'] .sharing-kv").await?;
    let queries = browser.count("[data-block='1'] .sharing-query").await?;
    assert_eq!((queries, shared), (bundle.config.n_heads, bundle.config.kv_heads));

    let found = open(&browser, "lens", "lens").await?;
    let lens = found.lens.as_ref().context("a lens")?;
    same_lens(lens, &bundle, &ids).await?;
    ends_at_the_pass(lens, &first.logits)?;

    open(&browser, "ablate", "ablated").await?;
    browser.click("[data-action=ablate-all]").await?;
    let all = bundle.config.n_layers * bundle.config.n_heads;
    let measured = format!("return window.__hearth.inside.ablated.heads.length === {all}");
    browser.wait_within(&measured, PATIENCE).await?;
    let found = shown(&browser).await?;
    same_ablations(found.ablated.as_ref().context("ablations")?, &bundle, &ids).await?;
    browser.screenshot("inside-ablated").await?;

    let found = open(&browser, "heads", "statistics").await?;
    same_statistics(found.statistics.as_ref().context("statistics")?, &bundle, &ids).await?;

    // Another text: what is open is computed anew, and what was found for the last one is forgotten.
    browser.fill("#lab-text", "The sea.").await?;
    let anew = "const { lab, inside } = window.__hearth;
        return lab.tokens.length < 6 && inside.statistics != null && `${lab.tokens}` === `${inside.tokens}`";
    browser.wait_within(anew, PATIENCE).await?;
    browser.wait("return document.querySelector('#lab-text').value === 'The sea.'").await?;
    let found = shown(&browser).await?;
    ensure!(found.stack.is_none() && found.lens.is_none() && found.ablated.is_none(), "{found:?}");
    let complaints = browser.severe_messages().await?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    browser.close().await
}

/// The last row of the lens at the last token is what the pass itself says.
fn ends_at_the_pass(lens: &Lens, logits: &[f64]) -> Result<()> {
    let last = lens.states.last().and_then(|state| state.last()).context("a last place")?;
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - max).exp()).sum();
    for guess in &last.top {
        let own = (logits[guess.id as usize] - max).exp() / sum;
        near("the last row of the lens", f64::from(guess.probability), own)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_is_counted_by_hand_and_runs_on_this_sentence() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look { width: 1440, ..Look::desktop() }).await?;
    let path = address(SENTENCE, "&engine=cpu&layer=2&head=3&row=6&col=0");
    look_at(&browser, &server, &path).await?;
    let job = open(&browser, "job", "job").await?.job.context("a job")?;
    assert_eq!((job.layer, job.head, job.token), (2, 3, 6));

    // The seventh token sees 7 keys of 32 numbers of 4 bytes; a head's part of the output matrix has 32 rows of 128.
    assert_eq!(job.stages.iter().map(|stage| stage.tasks).collect::<Vec<_>>(), [7, 1, 1, 1]);
    assert_eq!(job.stages.iter().map(|stage| stage.flops).collect::<Vec<_>>(), [448, 35, 448, 8_192]);
    assert_eq!(job.stages.iter().map(|stage| stage.read).collect::<Vec<_>>(), [896, 0, 896, 16_384]);
    assert_eq!(job.stages.iter().map(|stage| stage.shuffled).collect::<Vec<_>>(), [128, 28, 8, 128]);
    assert_eq!(job.totals, Totals { tasks: 10, read: 18_176, shuffled: 292, flops: 9_123 });
    assert_eq!((job.keys_and_values, job.unshared), (1_792, 1_792));

    // Its records are the pass's own.
    let pass = pass(&browser).await?;
    let time = pass.tokens.len();
    let own = &pass.weights[2 * 4 + 3][6 * time..7 * time];
    ensure!(job.records.len() == 7, "{} records of 7 keys", job.records.len());
    for record in &job.records {
        near("a weight", record.computed, own[record.key])?;
        ensure!((record.weight - record.computed).abs() < 1e-5, "{record:?}");
    }
    let sum: f64 = job.records.iter().map(|record| record.weight).sum();
    ensure!((sum - 1.0).abs() < 1e-5, "the weights sum to {sum}");

    browser.click("[data-scope=text]").await?;
    browser.click("[data-scope=heads]").await?;
    let pairs = time * (time + 1) / 2;
    let whole = format!("return window.__hearth.inside.job.stages[0].records_out === {}", 4 * pairs);
    browser.wait(&whole).await?;
    let job = shown(&browser).await?.job.context("a job")?;
    let (time, pairs) = (time as u64, pairs as u64);
    // Two key/value heads are read; four query heads are scored.
    assert_eq!(job.stages.iter().map(|stage| stage.tasks).collect::<Vec<_>>(), [2 * time, 4 * time, 4 * time, time]);
    assert_eq!(job.keys_and_values, 2 * time * 2 * 32 * 4);
    assert_eq!(job.unshared, 2 * job.keys_and_values);
    let flops = 2 * (2 * 32 * 4 * pairs) + 5 * 4 * pairs + 2 * time * 128 * 128;
    assert_eq!(job.totals.flops, flops);
    browser.screenshot("inside-job").await?;
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_opens_the_part_and_keys_reach_it() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look { width: 1440, ..Look::desktop() }).await?;
    look_at(&browser, &server, &address(SENTENCE, "&engine=cpu&part=heads&layer=1&head=2&source=random&sort=first"))
        .await?;
    browser.wait_within("return document.querySelector('tr.chosen[data-head=\"1-2\"]') !== null", PATIENCE).await?;
    let looks = "th[aria-sort=descending] [data-sort=first], [data-source=random][aria-pressed=true]";
    ensure!(browser.count(looks).await? == 2, "the link does not sort or takes the text's weights");

    // By keys: sort, then choose a head in the table.
    browser.find("[data-sort=entropy]").await?.focus().await?;
    browser.press(Key::Enter + "").await?;
    ensure!(browser.count("th[aria-sort=descending] [data-sort=entropy]").await? == 1, "sorted by its key");
    let falls: bool = browser
        .eval(
            "const all = [...document.querySelectorAll('[data-column=entropy]')].map(cell => Number(cell.textContent));
             return all.length === 16 && all.every((value, i) => i === 0 || value <= all[i - 1]);",
        )
        .await?;
    ensure!(falls, "the largest entropy stands first");
    browser.wait("return location.search.includes('sort=entropy')").await?;

    // Another part by keys, and from it through the map of heads.
    browser.find("[data-part=ablate]").await?.focus().await?;
    browser.press(Key::Enter + "").await?;
    browser.wait_within("return document.querySelector('[data-inside=ready]') !== null", PATIENCE).await?;
    browser.wait("return location.search.includes('part=ablate')").await?;
    browser.find("#ablate-grid").await?.focus().await?;
    browser.press(Key::Right + "").await?;
    ensure!(browser.count("#ablate-1-3.chosen").await? == 1, "an arrow moves the head");
    browser.wait_within("return document.querySelector('#ablate-1-3.known') !== null", PATIENCE).await?;
    let cost = browser.text_when("#ablate-cost", PATIENCE, |text| !text.is_empty()).await?;
    ensure!(cost.starts_with('+') || cost.starts_with('−'), "{cost}");

    // What takes long can be stopped; what it had found stays.
    browser
        .eval_async::<bool>(
            "document.querySelector('[data-action=ablate-all]').click();
             const stop = () => {
                 const button = document.querySelector('[data-action=stop]');
                 if (button) { button.click(); done(true); } else { setTimeout(stop, 0); }
             };
             setTimeout(stop, 0);",
        )
        .await?;
    browser.wait("return document.querySelector('[data-inside=stopped]') !== null").await?;
    ensure!(browser.count(".ablate-cell.known").await? < 16, "it was stopped behind the last head");

    // In the lens by keys, and everything back to the beginning.
    open(&browser, "lens", "lens").await?;
    let in_sight = "const box = css => document.querySelector(css).getBoundingClientRect();
        const [around, names, cell] = ['.lens-scroll', '.lens tbody th', 'td.chosen'].map(box);
        return cell.left >= names.right - 1 && cell.right <= around.right + 1";
    browser.wait(in_sight).await.context("the last token's cell")?;
    browser.find(".lens-scroll").await?.focus().await?;
    browser.press(Key::Home + "").await?;
    browser.press(Key::Up + "").await?;
    ensure!(browser.count("td.chosen[data-state='3'][data-token='0']").await? == 1, "keys move in the lens");
    browser.wait(in_sight).await.context("the first token's cell")?;
    browser.wait("return location.search.includes('row=0') && location.search.includes('depth=3')").await?;
    browser.click(".lab-line [data-action=reset]").await?;
    let bare = "return !/(part|layer|depth|source|sort)=/.test(location.search)";
    browser.wait(bare).await?;
    browser.wait_within("return document.querySelector('[data-lab=ready]') !== null", PATIENCE).await?;
    ensure!(browser.count("#inside-panel > *").await? == 0, "nothing is open");
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn short_and_strange_texts_get_an_answer() -> Result<()> {
    let server = Server::start().await?;
    let browser = Browser::open(&Look::desktop()).await?;
    let one = look_at(&browser, &server, &address("a", "&engine=cpu&part=ablate")).await?;
    ensure!(one.tokens.len() == 1, "{} tokens", one.tokens.len());
    browser.find(".inside-short").await?;
    ensure!(browser.count("[data-action=ablate-all]:disabled").await? == 1, "nothing to measure");
    let found = open(&browser, "lens", "lens").await?;
    let lens = found.lens.context("a lens")?;
    ensure!(lens.states.iter().all(|state| state.len() == 1 && state[0].next.is_none()), "{lens:?}");

    look_at(&browser, &server, &address("👩‍🚀👍🏽 يقطع النص", "&engine=cpu&part=heads")).await?;
    browser.wait_within("return window.__hearth.inside?.statistics != null", PATIENCE).await?;
    for (part, published) in [("stack", "stack"), ("lens", "lens"), ("ablate", "ablated"), ("job", "job")] {
        open(&browser, part, published).await?;
    }
    let complaints = browser.severe_messages().await?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    browser.close().await
}
