//! The export job: loads a model, writes it for other programs, and keeps the files only if they say the same as the model.

use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context as _, Result};
use hearth_model::bundle::{LoadError, ModelBundle, ModelHead, Packing, Precision};
use hearth_model::export::{Adapted, ExportError, Format, Order as Asked, Report, Stage, TEXT, export, refuse};
use hearth_model::{device, peft};
use hearth_shared::event::{Level, RunEvent};
use hearth_shared::spec::{ExportDtype, ExportFormat, ExportJob, ExportSpec, SpecError};

use super::{Emit, Order, Outcome};

/// As the model crate's writers call it.
///
/// # Errors
/// The format has no such numbers.
pub fn format(spec: &ExportSpec) -> Result<Format, SpecError> {
    let dtype = spec.dtype()?;
    Ok(match (spec.format, dtype) {
        (ExportFormat::Peft, _) => Format::Peft,
        (ExportFormat::Safetensors, ExportDtype::F16) => Format::HuggingFace(Precision::F16),
        (ExportFormat::Safetensors, ExportDtype::Bf16) => Format::HuggingFace(Precision::BF16),
        (ExportFormat::Safetensors, _) => Format::HuggingFace(Precision::F32),
        (ExportFormat::Gguf, ExportDtype::F32) => Format::Gguf(Packing::F32),
        (ExportFormat::Gguf, ExportDtype::Q8_0) => Format::Gguf(Packing::Q8_0),
        (ExportFormat::Gguf, ExportDtype::Q4_0) => Format::Gguf(Packing::Q4_0),
        (ExportFormat::Gguf, _) => Format::Gguf(Packing::F16),
    })
}

/// What an export does next, in words.
pub fn words(stage: Stage) -> &'static str {
    match stage {
        Stage::Scoring => "Reading a text with the model",
        Stage::Writing => "Writing",
        Stage::Loading => "Loading what was written",
        Stage::Comparing => "Reading the text with that",
    }
}

/// Where a model that is written comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Folder or GGUF file of the (base) model.
    pub model: &'a Path,
    pub adapter: Option<&'a Path>,
    /// What PEFT should load below the adapter.
    pub base: &'a str,
}

/// What would stand against [`write`] whatever the weights are, before they are read.
///
/// # Errors
/// In the words that [`write`] has for it.
pub fn check(from: Origin<'_>, spec: &ExportSpec) -> Result<()> {
    let method = from.adapter.map(peft::method).transpose()?;
    Ok(refuse(&ModelHead::load(from.model)?, method, format(spec)?)?)
}

/// Loads, writes and compares. `say` hears of each piece of work once (none is loading the model), `flow` is asked often.
///
/// # Errors
/// The loader's and the writer's; [`ExportError::Cancelled`] where `flow` broke off.
pub fn write(
    from: Origin<'_>,
    spec: &ExportSpec,
    out: &Path,
    say: &mut dyn FnMut(Option<Stage>),
    flow: &dyn Fn() -> ControlFlow<()>,
) -> Result<Report> {
    let format = format(spec)?;
    // The writers read weights back and compare bits: on the CPU they are where they are needed.
    let device = device::cpu();
    say(None);
    let loaded = ModelBundle::load(from.model, &device, &mut |_| flow());
    let mut bundle = match loaded {
        Err(LoadError::Cancelled) => return Err(ExportError::Cancelled.into()),
        loaded => loaded?,
    };
    let spec = from.adapter.map(|adapter| peft::load(adapter, &mut bundle.transformer, &device)).transpose()?;
    let adapter = spec.as_ref().map(|spec| Adapted { spec, base: from.base });
    let mut last = None;
    let asked = Asked { format, out, text: TEXT, adapter };
    Ok(export(&mut bundle, &asked, &mut |stage| {
        if last.replace(stage) != Some(stage) {
            say(Some(stage));
        }
        flow()
    })?)
}

/// Its result is what stands in `result/`.
pub(super) fn run(
    job: &ExportJob,
    folder: &Path,
    order: &dyn Fn() -> Option<Order>,
    emit: Emit<'_>,
) -> Result<Outcome> {
    let result = folder.join("result");
    if result.exists() {
        std::fs::remove_dir_all(&result).with_context(|| format!("cannot remove {}", result.display()))?;
    }
    let out = match job.spec.format {
        ExportFormat::Gguf => result.join(format!("{}.gguf", job.file_name)),
        ExportFormat::Safetensors | ExportFormat::Peft => result,
    };
    let from = Origin {
        model: Path::new(&job.model_path),
        adapter: job.adapter_path.as_deref().map(Path::new),
        base: &job.base_name,
    };
    let flow = || if order().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let mut said = Ok(());
    let mut say = |stage: Option<Stage>| {
        if said.is_ok() {
            said = emit(message(stage.map_or("Loading the model", words).to_owned()));
        }
    };
    let done = write(from, &job.spec, &out, &mut say, &flow);
    said?;
    let report = match done {
        Err(error) if matches!(error.downcast_ref(), Some(ExportError::Cancelled)) => return Ok(Outcome::Left),
        done => done?,
    };
    let text = format!(
        "{:.1} MB written; mean NLL {:.4} nats a token over {} tokens, {:.4} before",
        report.bytes as f64 / 1e6,
        report.nll_written,
        report.tokens,
        report.nll_source
    );
    emit(message(text))?;
    emit(RunEvent::Done { step: 0, trained_tokens: 0, measured: None })?;
    Ok(Outcome::Done)
}

fn message(text: String) -> RunEvent {
    RunEvent::Message { level: Level::Info, text }
}
