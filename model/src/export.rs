//! A model written for other programs: a Hugging Face directory, a GGUF file, or a PEFT adapter. What was written is loaded
//! again and asked how likely it finds a text; only a model that agrees with the one it came from gets its name.
//!
//! The comparison of bits is the writers' own (`bundle::save`, `bundle::gguf`); what is compared here is what a user meets.

mod headers;

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use hearth_shared::spec::{AdapterSpec, Tuning};
use thiserror::Error;

use crate::adapter;
use crate::bundle::save::{parent, sync};
use crate::bundle::{LoadError, ModelBundle, Packing, Precision, SaveError};
use crate::generate::{GenerateError, Scoring};
use crate::peft::{self, PeftError};
use crate::projection::is_adapter;
use crate::tokenizer::Special;

pub use headers::refuse;

/// Text to compare on, from the public domain: Lincoln's address at Gettysburg (1863) and the beginning of Carroll's Alice (1865).
pub const TEXT: &str = include_str!("export/text.txt");

/// Tokens of the text that are compared: no fewer, where the context has room for them, and no more.
const TOKENS: (usize, usize) = (256, 512);

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A directory as transformers reads it, for what it has words for; low-rank and (IA)³ adapters are merged into the weights.
    HuggingFace(Precision),
    /// One file as llama.cpp reads it; the same is merged.
    Gguf(Packing),
    /// The adapter alone, in f32.
    Peft,
}

impl Format {
    /// How far the mean negative log-likelihood of the written model may be from that of the model it came from, in nats a token.
    ///
    /// In f32 nothing changes but the order of additions where an adapter was merged. Halves and blocks of 8 bits change a
    /// mean by thousandths: 0.02 is 2 % of a perplexity, below what a user can see, and far below what a wrong scale,
    /// permutation or epsilon does. Blocks of 4 bits with nothing but a scale cost small models much: SmolLM2-135M loses 0.2 to 0.4.
    /// The bound is there to tell such a loss from a wrong model: SmolLM2 with its rows in the wrong order loses 2.6.
    pub const fn bound(self) -> f64 {
        match self {
            Self::HuggingFace(Precision::F32) | Self::Gguf(Packing::F32) | Self::Peft => 1e-4,
            Self::HuggingFace(Precision::F16 | Precision::BF16) | Self::Gguf(Packing::F16 | Packing::Q8_0) => 0.02,
            Self::Gguf(Packing::Q4_0) => 0.6,
        }
    }
}

/// What to write, and where.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    pub format: Format,
    /// The file or directory, which must not exist.
    pub out: &'a Path,
    /// The text to compare on, of 256 tokens at least; [`TEXT`] suits models that know English.
    pub text: &'a str,
    /// What is on the model, where there is something.
    pub adapter: Option<Adapted<'a>>,
}

/// An adapter that a model carries.
#[derive(Clone, Copy, Debug)]
pub struct Adapted<'a> {
    pub spec: &'a AdapterSpec,
    /// What PEFT should load below it: a hub name or a path.
    pub base: &'a str,
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// In order of their names.
    pub files: Vec<PathBuf>,
    /// Of all files.
    pub bytes: u64,
    /// Tokens of the text that was compared on.
    pub tokens: usize,
    /// Mean negative log-likelihood of the source, in nats a token.
    pub nll_source: f64,
    /// The same of the written model.
    pub nll_written: f64,
}

/// What an export does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading the text with the source.
    Scoring,
    Writing,
    /// Loading what was written.
    Loading,
    /// Reading the text with it.
    Comparing,
}

/// Why nothing was written.
#[derive(Debug, Error)]
pub enum ExportError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error("{} is there already", path.display())]
    Exists { path: PathBuf },
    #[error("{}: the name of a GGUF file ends in `.gguf`", path.display())]
    Name { path: PathBuf },
    #[error("the text has {tokens} tokens, and {least} are needed to compare two models")]
    Short { tokens: usize, least: usize },
    #[error("{}", unmergeable(*method))]
    Unmergeable { method: Tuning },
    #[error(
        "PEFT has no bottleneck adapters, only low-rank ones (LoRA, rsLoRA, DoRA), (IA)³, prefixes and prompts: this one \
         runs in Hearth alone"
    )]
    NotOfPeft,
    #[error(transparent)]
    Save(#[from] SaveError),
    #[error(transparent)]
    Peft(#[from] PeftError),
    #[error(transparent)]
    Score(#[from] GenerateError),
    #[error("the written model does not load: {0}")]
    Reload(#[from] Box<LoadError>),
    #[error("the written model cuts the text into other tokens")]
    Tokens,
    #[error(
        "the written model has a mean NLL of {nll_written:.5}, the source {nll_source:.5}: more than {bound} apart, so it \
         was removed"
    )]
    Far { nll_source: f64, nll_written: f64, bound: f64 },
    #[error("the export was cancelled; nothing was written")]
    Cancelled,
}

/// Called before every piece of work, which takes seconds at most, but for [`Stage::Writing`]; `Break` cancels.
pub type OnStage<'a> = &'a mut dyn FnMut(Stage) -> ControlFlow<()>;

/// Writes the model beside its place, loads it, compares and only then renames it. Two models are in memory meanwhile. Adapters
/// are merged into `bundle` where the format has no place for them.
///
/// Reads the weights synchronously: not for WebGPU.
///
/// # Errors
/// The format cannot hold the model, the system refuses, or the written model is too far from its source. Then nothing is left.
pub fn export(bundle: &mut ModelBundle, order: &Order<'_>, on_stage: OnStage<'_>) -> Result<Report, ExportError> {
    let out = order.out;
    let io = |error| ExportError::Io { path: out.to_owned(), error };
    let name = check(order)?;
    if matches!(order.format, Format::HuggingFace(_)) {
        bundle.config.to_hf().map_err(SaveError::from)?;
    }
    let ids = tokens(bundle, order.text)?;
    let nll_source = mean_nll(bundle, &ids, &mut || on_stage(Stage::Scoring))?;
    if order.format != Format::Peft {
        adapter::merge(&mut bundle.transformer);
        if let Some((path, _)) = bundle.transformer.params().into_iter().find(|(path, _)| is_adapter(path)) {
            return Err(ExportError::Unmergeable { method: method_of(&path) });
        }
    }
    let parent = parent(out);
    std::fs::create_dir_all(parent).map_err(io)?;
    let scratch = tempfile::Builder::new().prefix(".partial-").tempdir_in(parent).map_err(io)?;
    let written = scratch.path().join(name);
    tell(on_stage(Stage::Writing))?;
    match (order.format, order.adapter) {
        (Format::HuggingFace(precision), _) => bundle.save(&written, precision)?,
        (Format::Gguf(packing), _) => bundle.save_gguf(&written, packing)?,
        (Format::Peft, Some(Adapted { spec, base })) => peft::save(&written, &bundle.transformer, spec, base)?,
        (Format::Peft, None) => return Err(PeftError::NotAdapted.into()),
    }
    let nll_written = match order.format {
        Format::Peft => score_adapter(bundle, &written, &ids, on_stage)?,
        _ => score_model(&written, order.text, &ids, on_stage)?,
    };
    let (bound, apart) = (order.format.bound(), (nll_written - nll_source).abs());
    if apart.is_nan() || apart > bound {
        return Err(ExportError::Far { nll_source, nll_written, bound });
    }
    std::fs::rename(&written, out).and_then(|()| sync(parent)).map_err(io)?;
    let files = files(out).map_err(io)?;
    let bytes = files.iter().map(|file| std::fs::metadata(file).map(|meta| meta.len())).sum::<Result<u64, _>>();
    Ok(Report { bytes: bytes.map_err(io)?, files, tokens: ids.len(), nll_source, nll_written })
}

/// The name to write under, where nothing stands against the order itself.
fn check<'a>(order: &Order<'a>) -> Result<&'a OsStr, ExportError> {
    let name = name_of(order.out, order.format)?;
    match order.adapter {
        None if order.format == Format::Peft => Err(PeftError::NotAdapted.into()),
        Some(Adapted { spec: AdapterSpec::Bottleneck(_), .. }) if order.format == Format::Peft => {
            Err(ExportError::NotOfPeft)
        }
        _ => Ok(name),
    }
}

/// The last part of a place where nothing is yet, and which may be called so.
///
/// # Errors
/// Something is there; a GGUF file by another name.
pub fn name_of(out: &Path, format: Format) -> Result<&OsStr, ExportError> {
    let path = out.to_owned();
    if out.symlink_metadata().is_ok() {
        return Err(ExportError::Exists { path });
    }
    let Some(name) = out.file_name() else {
        return Err(ExportError::Io { path, error: std::io::ErrorKind::InvalidFilename.into() });
    };
    // Readers, ours too, know the format by the name.
    if matches!(format, Format::Gguf(_)) && out.extension().is_none_or(|end| end != "gguf") {
        return Err(ExportError::Name { path });
    }
    Ok(name)
}

/// The adapter that a parameter of this path belongs to and that is no change of a weight.
fn method_of(path: &str) -> Tuning {
    if path.contains(".bottleneck.") {
        Tuning::Bottleneck
    } else if path == "prompt" {
        Tuning::Prompt
    } else {
        Tuning::Prefix
    }
}

fn unmergeable(method: Tuning) -> String {
    let (what, instead) = match method {
        Tuning::Bottleneck => ("a bottleneck", "PEFT has none either, so it runs in Hearth alone"),
        Tuning::Prompt => ("a prompt", "export the adapter alone, in PEFT's format"),
        _ => ("a prefix", "export the adapter alone, in PEFT's format"),
    };
    format!("{what} is no change of a weight and cannot be merged into one: {instead}")
}

/// The text's first tokens, as many as are compared.
fn tokens(bundle: &ModelBundle, text: &str) -> Result<Vec<u32>, ExportError> {
    let mut ids = bundle.tokenizer.encode(text, Special::Plain);
    let context = bundle.transformer.context();
    let least = TOKENS.0.min(context);
    if ids.len() < least {
        return Err(ExportError::Short { tokens: ids.len(), least });
    }
    ids.truncate(TOKENS.1.min(context));
    Ok(ids)
}

/// Mean negative log-likelihood of tokens given those before them, in nats; the first is only read.
fn mean_nll(bundle: &ModelBundle, ids: &[u32], go_on: &mut dyn FnMut() -> ControlFlow<()>) -> Result<f64, ExportError> {
    let mut scoring = Scoring::new(bundle, ids, 0)?;
    tell(go_on())?;
    while !scoring.step(bundle) {
        tell(go_on())?;
    }
    let scores = scoring.scores();
    let sum: f64 = scores.iter().filter_map(|score| score.logprob).map(|logprob| -f64::from(logprob)).sum();
    Ok(sum / (scores.len() - 1).max(1) as f64)
}

fn score_model(written: &Path, text: &str, ids: &[u32], on_stage: OnStage<'_>) -> Result<f64, ExportError> {
    let device = crate::device::cpu();
    let loaded = ModelBundle::load(written, &device, &mut |_| on_stage(Stage::Loading));
    let loaded = loaded.map_err(|error| match error {
        LoadError::Cancelled => ExportError::Cancelled,
        error => Box::new(error).into(),
    })?;
    if !loaded.tokenizer.encode(text, Special::Plain).starts_with(ids) {
        return Err(ExportError::Tokens);
    }
    mean_nll(&loaded, ids, &mut || on_stage(Stage::Comparing))
}

/// The written adapter on the bundle's own base; the bundle is what it was afterwards.
fn score_adapter(
    bundle: &mut ModelBundle,
    written: &Path,
    ids: &[u32],
    on_stage: OnStage<'_>,
) -> Result<f64, ExportError> {
    tell(on_stage(Stage::Loading))?;
    let mut other = bundle.transformer.clone();
    adapter::remove(&mut other);
    let device = other.device();
    peft::load(written, &mut other, &device)?;
    std::mem::swap(&mut bundle.transformer, &mut other);
    let nll = mean_nll(bundle, ids, &mut || on_stage(Stage::Comparing));
    std::mem::swap(&mut bundle.transformer, &mut other);
    nll
}

fn tell(flow: ControlFlow<()>) -> Result<(), ExportError> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(ExportError::Cancelled),
    }
}

fn files(out: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !out.is_dir() {
        return Ok(vec![out.to_owned()]);
    }
    let entries: std::io::Result<Vec<_>> = std::fs::read_dir(out)?.map(|entry| Ok(entry?.path())).collect();
    let mut files = entries?;
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
