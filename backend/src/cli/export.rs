//! `hearth model export`: a model for other programs, checked before it stands there.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use anyhow::{Result, bail};
use clap::Args;
use hearth_model::export::{Stage, name_of};
use hearth_shared::spec::{ExportDtype, ExportFormat, ExportSpec};
use serde::de::DeserializeOwned;

use super::progress::interrupted;
use crate::config::Config;
use crate::jobs::engine::export::{Origin, check, format, words, write};
use crate::registry::{Registry, import};

#[derive(Args, Debug)]
pub(super) struct ExportArguments {
    /// A model here, as `hearth model list` shows it; a tuned one is written with its adapter merged
    name: String,
    /// safetensors (a folder for transformers, vLLM and others of Hugging Face's world), gguf (a file for llama.cpp and others of
    /// theirs, with tokenizer and template in it) or peft (the adapter of a tuned model alone)
    #[arg(long, value_parser = word::<ExportFormat>)]
    format: ExportFormat,
    /// What numbers are stored in; safetensors: f32 (default), f16 or bf16; gguf: f16 (default), q8_0, q4_0 or f32
    #[arg(long, value_parser = word::<ExportDtype>)]
    dtype: Option<ExportDtype>,
    /// The folder, or the .gguf file; must not exist
    #[arg(long)]
    out: PathBuf,
}

/// A choice as it stands in the API.
pub(super) fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

pub(super) async fn run(config: &Config, registry: &Registry, arguments: &ExportArguments) -> Result<()> {
    let spec = ExportSpec { format: arguments.format, dtype: arguments.dtype };
    spec.dtype()?;
    name_of(&arguments.out, format(&spec)?)?;
    import::nano(registry).await?;
    let name = &arguments.name;
    let entry = registry.named(name).await?;
    let location = registry.location(&entry)?;
    if spec.format == ExportFormat::Peft && location.adapter.is_none() {
        bail!("`{name}` has no adapter to export: it is a whole model, which `--format safetensors` or `gguf` writes");
    }
    let stopped = interrupted();
    let origin = Origin {
        model: &location.weights,
        adapter: location.adapter.as_deref(),
        base: entry.base.as_deref().unwrap_or(&entry.id),
    };
    tokio::task::block_in_place(|| check(origin, &spec))?;
    let flow = || if stopped.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let mut say = |stage: Option<Stage>| eprintln!("{}", stage.map_or("Loading the model", words));
    let report = tokio::task::block_in_place(|| write(origin, &spec, &arguments.out, &mut say, &flow))?;
    println!(
        "{}: {:.1} MB; mean NLL {:.4}, {:.4} before ({} tokens)",
        arguments.out.display(),
        report.bytes as f64 / 1e6,
        report.nll_written,
        report.nll_source,
        report.tokens
    );
    if spec.format != ExportFormat::Peft {
        let (out, folder) = (arguments.out.display(), config.data_dir.display());
        eprintln!("`hearth model import {out} --name NAME --data-dir {folder}` would take it in again.");
    }
    Ok(())
}
