//! Prefill and decode of SmolLM2-135M: Hearth and transformers in f32 from the same weights, llama.cpp on the file's own Q4_1.

use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use hearth_model::bundle::ModelBundle;
use hearth_model::generate::{Generation, Step, TokenStep};
use hearth_shared::spec::Sampling;
use hearth_tests::places;
use serde_json::{Value, json};

use hearth_tests::bench::peers::{Peer, exported, number, numbers, smollm2, text};
use hearth_tests::bench::table::{Table, median};

const ROUNDS: usize = 7;
const PREFILL: usize = 512;
const PROMPT: usize = 64;
const DECODE: usize = 64;
/// Difference of log-probabilities that f32 in another order of sums may make.
const TOLERANCE: f64 = 1e-3;

/// Seconds of every side, round by round.
#[derive(Default)]
struct Times {
    hearth: Vec<f64>,
    torch: Vec<f64>,
    llama: Vec<f64>,
}

pub(crate) fn run(table: &mut Table) -> Result<()> {
    let bundle = smollm2()?;
    let ids = text(&bundle, PREFILL)?;
    let mut torch = Peer::torch()?;
    torch.ask(&json!({"do": "load", "path": exported(&bundle)?}))?;
    let mut llama = Peer::llama(&places::smollm2()?)?;
    let (mut prefill, mut decode) = (Times::default(), Times::default());
    let mut agreed = 0.0;
    // The first round warms everybody up.
    for round in 0..=ROUNDS {
        let (seconds, first) = hearth_prefill(&bundle, &ids)?;
        let theirs = torch.ask(&json!({"do": "prefill", "ids": ids}))?;
        prove(&first, &numbers(&theirs, "logits")?)?;
        let llamas = llama.ask(&json!({"do": "prefill", "ids": ids}))?;
        near(&first, &llamas)?;
        keep(&mut prefill, round, [seconds, number(&theirs, "seconds")?, number(&llamas, "seconds")?]);

        let (seconds, answer) = hearth_decode(&bundle, &ids[..PROMPT])?;
        let tokens: Vec<u32> = answer.iter().map(|step| step.id).collect();
        let order = json!({"do": "decode", "prompt": ids[..PROMPT], "forced": tokens[..DECODE]});
        let theirs = torch.ask(&order)?;
        let last = answer.last().context("an answer")?;
        prove(last, &numbers(&theirs, "logits")?)?;
        let same = agreement(&theirs, &tokens)?;
        // One near tie in 64 may fall the other way; the logits above are what is proved.
        ensure!(same > 0.98, "greedy decoding agrees on {:.0} % of the tokens only", 100.0 * same);
        let llamas = llama.ask(&order)?;
        agreed = agreement(&llamas, &tokens)?;
        ensure!(agreed > 0.8, "llama.cpp agrees on {:.0} % of the tokens only", 100.0 * agreed);
        keep(&mut decode, round, [seconds, number(&theirs, "seconds")?, number(&llamas, "seconds")?]);
    }
    eprintln!("  llama.cpp takes {:.0} % of our greedy tokens (its sums are of 8-bit inputs)", 100.0 * agreed);
    report(table, &format!("prefill, {PREFILL} tokens"), &prefill, PREFILL, 1.0);
    report(table, &format!("decode, {DECODE} tokens"), &decode, DECODE, 1.5);
    Ok(())
}

fn keep(times: &mut Times, round: usize, [hearth, torch, llama]: [f64; 3]) {
    if round > 0 {
        times.hearth.push(hearth);
        times.torch.push(torch);
        times.llama.push(llama);
    }
}

fn report(table: &mut Table, what: &str, times: &Times, tokens: usize, goal: f64) {
    let rate = |seconds: &Vec<f64>| tokens as f64 / median(seconds.clone());
    let ratio = |other: &[f64]| median(times.hearth.iter().zip(other).map(|(ours, theirs)| theirs / ours).collect());
    let ours = format!("{:.0} tok/s", rate(&times.hearth));
    let (torch, llama) = (ratio(&times.torch), ratio(&times.llama));
    let what = format!("{what}, f32");
    let peer = format!("transformers f32: {:.0} tok/s", rate(&times.torch));
    table.add(&what, ours.clone(), &peer, format!("{torch:.2}x"), Some((&format!("{goal}x"), torch >= goal)));
    let peer = format!("llama.cpp Q4_1: {:.0} tok/s", rate(&times.llama));
    table.add(&what, ours, &peer, format!("{llama:.2}x"), None);
}

/// As the server does it: `Generation` in its own steps, up to the first token.
fn hearth_prefill(bundle: &ModelBundle, ids: &[u32]) -> Result<(f64, TokenStep)> {
    let mut generation = generation(bundle, ids, 1)?;
    let started = Instant::now();
    let token = next(&mut generation, bundle)?;
    Ok((started.elapsed().as_secs_f64(), token))
}

/// One token to begin with, then `DECODE` measured ones.
fn hearth_decode(bundle: &ModelBundle, prompt: &[u32]) -> Result<(f64, Vec<TokenStep>)> {
    let mut generation = generation(bundle, prompt, DECODE + 1)?;
    let mut answer = vec![next(&mut generation, bundle)?];
    let started = Instant::now();
    for _ in 0..DECODE {
        answer.push(next(&mut generation, bundle)?);
    }
    Ok((started.elapsed().as_secs_f64(), answer))
}

fn generation(bundle: &ModelBundle, ids: &[u32], tokens: usize) -> Result<Generation> {
    let sampling = Sampling { logprobs: Some(5), ..Sampling::greedy() };
    Ok(Generation::new(bundle, ids, &sampling, Some(tokens))?)
}

fn next(generation: &mut Generation, bundle: &ModelBundle) -> Result<TokenStep> {
    loop {
        match generation.step(bundle) {
            Step::Prefilled => {}
            Step::Token(token) => return Ok(token),
            Step::Finished(reason) => bail!("the answer ended early: {reason:?}"),
        }
    }
}

/// The log-probabilities of our five best tokens are those of the other side's logits.
fn prove(ours: &TokenStep, logits: &[f64]) -> Result<()> {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum = most + logits.iter().map(|logit| (logit - most).exp()).sum::<f64>().ln();
    for (id, logprob) in &ours.top {
        let theirs = logits.get(*id as usize).context("a token of the vocabulary")? - sum;
        let apart = (theirs - f64::from(*logprob)).abs();
        ensure!(apart < TOLERANCE, "token {id}: log-probabilities differ by {apart}");
    }
    Ok(())
}

/// llama.cpp multiplies 8-bit activations, so only the picture must be the same: its best token is among our five, about as likely.
fn near(ours: &TokenStep, theirs: &Value) -> Result<()> {
    let best = number(theirs, "best")? as u32;
    let probability = number(theirs, "probability")?;
    let mine = ours.top.iter().find(|(id, _)| *id == best).map(|(_, logprob)| f64::from(*logprob).exp());
    let apart = mine.map(|mine| (mine - probability).abs());
    ensure!(apart.is_some_and(|apart| apart < 0.1), "llama.cpp sees another text: {theirs}, ours {:?}", ours.top);
    Ok(())
}

/// Share of steps in which the other side's best token is the one that we took next.
fn agreement(theirs: &Value, tokens: &[u32]) -> Result<f64> {
    let best = numbers(theirs, "best")?;
    ensure!(best.len() == DECODE);
    let same = best.iter().zip(&tokens[1..]).filter(|(theirs, ours)| **theirs == f64::from(**ours)).count();
    Ok(same as f64 / DECODE as f64)
}
