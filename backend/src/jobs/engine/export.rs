//! The export job: loads a model, writes it for other programs, and keeps the files only if they say the same as the model.

use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context as _, Result};
use hearth_model::bundle::{ModelBundle, Packing, Precision};
use hearth_model::export::{Adapted, ExportError, Format, Order as Asked, Stage, TEXT, export};
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
    // The writers read weights back and compare bits: on the CPU they are where they are needed.
    let device = device::cpu();
    let flow = || if order().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    emit(message(Level::Info, "Loading the model".to_owned()))?;
    let mut bundle = ModelBundle::load(Path::new(&job.model_path), &device, &mut |_| flow())?;
    let spec = match &job.adapter_path {
        Some(adapter) => Some(peft::load(Path::new(adapter), &mut bundle.transformer, &device)?),
        None => None,
    };
    let adapter = spec.as_ref().map(|spec| Adapted { spec, base: &job.base_name });
    let mut last = None;
    let mut said = Ok(());
    let asked = Asked { format: format(&job.spec)?, out: &out, text: TEXT, adapter };
    let done = export(&mut bundle, &asked, &mut |stage| {
        if last.replace(stage) != Some(stage) && said.is_ok() {
            said = emit(message(Level::Info, words(stage).to_owned()));
        }
        if said.is_err() { ControlFlow::Break(()) } else { flow() }
    });
    said?;
    let report = match done {
        Err(ExportError::Cancelled) => return Ok(Outcome::Left),
        done => done?,
    };
    let text = format!(
        "{:.1} MB written; mean NLL {:.4} nats a token over {} tokens, {:.4} before",
        report.bytes as f64 / 1e6,
        report.nll_written,
        report.tokens,
        report.nll_source
    );
    emit(message(Level::Info, text))?;
    emit(RunEvent::Done { step: 0, trained_tokens: 0, measured: None })?;
    Ok(Outcome::Done)
}

fn message(level: Level, text: String) -> RunEvent {
    RunEvent::Message { level, text }
}
