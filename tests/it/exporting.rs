//! `hearth model export`: a model and a tuned one in every format, taken in again, are the same models; and what is refused.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail, ensure};
use hearth::db::Db;
use hearth::registry::import::{self, Tuned};
use hearth::registry::{NANO, Registry};
use hearth_model::bundle::ModelBundle;
use hearth_model::device::cpu;
use hearth_model::export::TEXT;
use hearth_model::generate::score;
use hearth_model::tokenizer::Special;
use hearth_model::{adapter, peft};
use hearth_shared::spec::{AdapterSpec, LoraSpec, VirtualTokensSpec};
use hearth_tests::places;

/// Named as a job names what it tuned.
const TUNED: &str = "ft:hearth-nano:local:export:1";
const PREFIXED: &str = "ft:hearth-nano:local:prefix:2";

fn hearth(data: &Path, arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(places::program()?).args(arguments).arg("--data-dir").arg(data).output()?)
}

/// What the program complains about.
pub(crate) fn refused(data: &Path, arguments: &[&str]) -> Result<String> {
    let output = hearth(data, arguments)?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "{arguments:?} was not refused: {words}");
    Ok(words)
}

pub(crate) fn done(data: &Path, arguments: &[&str]) -> Result<String> {
    let output = hearth(data, arguments)?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

pub(crate) fn load(path: &Path) -> Result<ModelBundle> {
    Ok(ModelBundle::load(path, &cpu(), &mut |_| ControlFlow::Continue(()))?)
}

/// Log-probabilities of a text's tokens.
fn logprobs(bundle: &ModelBundle) -> Result<Vec<f64>> {
    let ids = bundle.tokenizer.encode(TEXT, Special::Plain);
    let scores = score(bundle, &ids[..300], 0)?;
    Ok(scores.iter().filter_map(|score| score.logprob).map(f64::from).collect())
}

/// An adapter of this kind on hearth-nano, not the one that does nothing, registered as a job would.
pub(crate) async fn tune(registry: &Registry, name: &str, spec: &AdapterSpec) -> Result<ModelBundle> {
    let base = registry.get(NANO).await?.context("nano is here")?;
    let mut bundle = load(&registry.location(&base)?.weights)?;
    adapter::apply(&mut bundle.transformer, spec, 7, &cpu())?;
    for (path, mut param) in bundle.transformer.params_mut() {
        if path.ends_with("lora.b") {
            let count = param.shape().iter().product::<usize>();
            param.set((0..count).map(|i| ((i * 37 % 23) as f32 - 11.0) / 100.0).collect());
        }
    }
    let folder = tempfile::tempdir()?;
    peft::save(folder.path(), &bundle.transformer, spec, NANO)?;
    let tuned = Tuned { name: name.to_owned(), base, job: "ftjob-export".to_owned(), listed: true };
    import::tuned(registry, folder.path(), tuned, "local").await?;
    Ok(bundle)
}

fn difference(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a - b).sum::<f64>().abs() / a.len() as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_comes_back_as_the_same_model() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    done(&data, &["model", "list"])?;
    let registry = Registry::new(Db::open(&data).await?, &data);
    let nano = load(&places::nano())?;
    let lora = AdapterSpec::Lora(LoraSpec { r: 4, ..LoraSpec::default() });
    let tuned = tune(&registry, TUNED, &lora).await?;
    let sources = BTreeMap::from([(NANO, logprobs(&nano)?), (TUNED, logprobs(&tuned)?)]);
    let moved = sources[NANO].iter().zip(&sources[TUNED]).map(|(a, b)| (a - b).abs()).sum::<f64>();
    ensure!(moved > 0.05 * sources[NANO].len() as f64, "the adapter does nothing: {moved}");

    let formats = [
        ("safetensors", "f32", 1e-4),
        ("safetensors", "f16", 0.02),
        ("safetensors", "bf16", 0.02),
        ("gguf", "f16", 0.02),
        ("gguf", "q8_0", 0.02),
        ("gguf", "q4_0", 0.6),
    ];
    for (name, source) in &sources {
        for (format, dtype, bound) in formats {
            let end = if format == "gguf" { ".gguf" } else { "" };
            let out = folder.path().join(format!("{}-{format}-{dtype}{end}", &name[..2]));
            let place = out.to_str().context("a plain path")?;
            let said = done(&data, &["model", "export", name, "--format", format, "--dtype", dtype, "--out", place])?;
            ensure!(said.contains("mean NLL"), "{said}");
            let again = format!("again-{}-{format}-{dtype}", &name[..2]);
            done(&data, &["model", "import", place, "--name", &again])?;
            let entry = registry.get(&again).await?.context("it was taken in")?;
            ensure!(entry.chat && entry.format == if format == "gguf" { "gguf" } else { "huggingface" });
            let read = load(&registry.location(&entry)?.weights)?;
            let apart = difference(source, &logprobs(&read)?);
            ensure!(apart <= bound, "{name} as {format} {dtype} is {apart} apart");
            ensure!(read.eos == nano.eos, "{:?}", read.eos);
        }
    }

    let out = folder.path().join("adapter");
    done(&data, &["model", "export", TUNED, "--format", "peft", "--out", out.to_str().context("a plain path")?])?;
    let mut bundle = load(&places::nano())?;
    let AdapterSpec::Lora(read) = peft::load(&out, &mut bundle.transformer, &cpu())? else {
        bail!("another kind of adapter came back");
    };
    ensure!(read.r == 4, "{read:?}");
    ensure!(difference(&sources[TUNED], &logprobs(&bundle)?) < 1e-6);
    ensure!(std::fs::read_to_string(out.join(peft::CONFIG))?.contains(NANO), "PEFT is told the base");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_exported_is_refused_with_the_reason() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    done(&data, &["model", "list"])?;
    let registry = Registry::new(Db::open(&data).await?, &data);
    tune(&registry, PREFIXED, &AdapterSpec::Prefix(VirtualTokensSpec { virtual_tokens: 4 })).await?;
    let out = folder.path().join("out.gguf");
    let place = out.to_str().context("a plain path")?;
    let export = |name: &'static str, rest: &[&str]| {
        let arguments = ["model", "export", name, "--out", place].into_iter().chain(rest.iter().copied());
        refused(&data, &arguments.collect::<Vec<_>>())
    };
    let cases: [(&str, &[&str], &str); 8] = [
        ("nobody", &["--format", "gguf"], "no model `nobody`"),
        (NANO, &["--format", "onnx"], "onnx"),
        (NANO, &["--format", "gguf", "--dtype", "q5_1"], "q5_1"),
        (NANO, &["--format", "gguf", "--dtype", "bf16"], "not in bf16"),
        (NANO, &["--format", "safetensors", "--dtype", "q4_0"], "not in q4_0"),
        (NANO, &["--format", "peft"], "no adapter"),
        (PREFIXED, &["--format", "gguf"], "cannot be merged"),
        (PREFIXED, &["--format", "peft", "--dtype", "f16"], "not in f16"),
    ];
    for (name, rest, reason) in cases {
        let words = export(name, rest)?;
        ensure!(words.contains(reason), "{rest:?}: {words}");
        ensure!(!out.exists());
    }
    let elsewhere = folder.path().join("out.bin");
    let place = elsewhere.to_str().context("a plain path")?;
    let words = refused(&data, &["model", "export", NANO, "--format", "gguf", "--out", place])?;
    ensure!(words.contains(".gguf"), "{words}");
    std::fs::write(&out, "mine")?;
    ensure!(export(NANO, &["--format", "gguf"])?.contains("is there already"));
    ensure!(std::fs::read(&out)? == b"mine");
    ensure!(std::fs::read_dir(folder.path())?.count() == 2, "the data folder and the file that was there");
    Ok(())
}
