//! The other sides: child processes that take orders as JSON lines. And the weights that all sides load.

use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use hearth_model::bundle::{ModelBundle, Precision};
use hearth_model::device;
use hearth_model::tokenizer::Special;
use serde_json::Value;

use crate::places;

/// A peer at work.
pub struct Peer {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// PyTorch, in the environment that `cargo xtask parity` also uses.
    pub fn torch() -> Result<Self> {
        let mut command = Command::new(places::python()?);
        command.env("HF_HUB_OFFLINE", "1").env("PYTHONDONTWRITEBYTECODE", "1").arg(script("peer.py"));
        Self::start(command)
    }

    /// llama.cpp under Node on a GGUF file.
    pub fn llama(model: &Path) -> Result<Self> {
        let folder = places::cache()?.join("tools").join("llama");
        let mut command = Command::new("node");
        command.current_dir(folder).arg(script("llama.mjs")).arg(model);
        Self::start(command)
    }

    fn start(mut command: Command) -> Result<Self> {
        let what = format!("{command:?}");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().with_context(|| what.clone())?;
        let orders = child.stdin.take().context("an input")?;
        let answers = BufReader::new(child.stdout.take().context("an output")?);
        Ok(Self { child, orders, answers })
    }

    /// Of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives an order and waits for the answer.
    pub fn ask(&mut self, order: &Value) -> Result<Value> {
        writeln!(self.orders, "{order}")?;
        let mut line = String::new();
        let read = self.answers.read_line(&mut line)?;
        ensure!(read > 0, "the peer ended instead of answering; its own words are above");
        serde_json::from_str(&line).with_context(|| format!("not an answer: {line}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script(name: &str) -> PathBuf {
    places::root().join("tests").join("benches").join("peers").join(name)
}

/// A number of an answer.
pub fn number(answer: &Value, key: &str) -> Result<f64> {
    answer[key].as_f64().with_context(|| format!("no {key} in {answer}"))
}

/// Numbers of an answer.
pub fn numbers(answer: &Value, key: &str) -> Result<Vec<f64>> {
    let list = answer[key].as_array().with_context(|| format!("no {key} in {answer}"))?;
    Ok(list.iter().filter_map(Value::as_f64).collect())
}

/// SmolLM2-135M with its Q4_1 weights in f32.
pub fn smollm2() -> Result<ModelBundle> {
    Ok(ModelBundle::load(&places::smollm2()?, &device::cpu(), &mut |_| ControlFlow::Continue(()))?)
}

/// The same as a Hugging Face directory in f32, written by us, so that both sides compute from equal weights.
pub fn exported(bundle: &ModelBundle) -> Result<PathBuf> {
    let folder = places::cache()?.join("models").join("smollm2-135m-f32");
    if !folder.is_dir() {
        bundle.save(&folder, Precision::F32)?;
    }
    Ok(folder)
}

/// The same in ONNX, as transformers.js reads it.
pub fn onnx(bundle: &ModelBundle) -> Result<PathBuf> {
    let folder = places::cache()?.join("models").join("smollm2-135m-onnx");
    if folder.is_dir() {
        return Ok(folder);
    }
    let scratch = folder.with_extension("part");
    if scratch.is_dir() {
        std::fs::remove_dir_all(&scratch)?;
    }
    let output = Command::new(places::python()?)
        .env("HF_HUB_OFFLINE", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(script("onnx_export.py"))
        .args([&exported(bundle)?, &scratch])
        .output()?;
    ensure!(output.status.success(), "the export to ONNX failed: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(&scratch, &folder)?;
    Ok(folder)
}

/// The first `count` tokens of the text of all benches.
pub fn text(bundle: &ModelBundle, count: usize) -> Result<Vec<u32>> {
    let text = std::fs::read_to_string(places::model_file("wiki_demo.txt")?)?;
    let part: String = text.chars().take(count * 8).collect();
    let mut ids = bundle.tokenizer.encode(&part, Special::Plain);
    ensure!(ids.len() >= count, "the text is too short");
    ids.truncate(count);
    Ok(ids)
}
