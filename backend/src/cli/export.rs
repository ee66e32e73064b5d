//! `hearth model export`: a model for other programs, checked before it stands there.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use hearth_model::bundle::{ModelBundle, Packing, Precision};
use hearth_model::export::{Adapted, Format, Order, Report, Stage, TEXT, export};
use hearth_model::{device, peft};

use crate::config::Config;
use crate::registry::{Entry, Location, Registry, import};

#[derive(Args, Debug)]
pub(super) struct ExportArguments {
    /// A model here, as `hearth model list` shows it; a tuned one is written with its adapter merged
    name: String,
    #[arg(long, value_enum)]
    format: FormatArgument,
    /// What numbers are stored in; safetensors: f32 (default), f16 or bf16; gguf: f16 (default), q8_0, q4_0 or f32
    #[arg(long, value_enum)]
    dtype: Option<DtypeArgument>,
    /// The folder, or the .gguf file; must not exist
    #[arg(long)]
    out: PathBuf,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum FormatArgument {
    /// A folder for transformers, vLLM and others of Hugging Face's world
    Safetensors,
    /// A file for llama.cpp, Ollama and others of theirs, with tokenizer and template in it
    Gguf,
    /// The adapter of a tuned model alone, for PEFT
    Peft,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum DtypeArgument {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
}

impl ExportArguments {
    fn format(&self) -> Result<Format> {
        let name =
            |dtype: DtypeArgument| dtype.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
        Ok(match (self.format, self.dtype) {
            (FormatArgument::Safetensors, None | Some(DtypeArgument::F32)) => Format::HuggingFace(Precision::F32),
            (FormatArgument::Safetensors, Some(DtypeArgument::F16)) => Format::HuggingFace(Precision::F16),
            (FormatArgument::Safetensors, Some(DtypeArgument::Bf16)) => Format::HuggingFace(Precision::BF16),
            (FormatArgument::Gguf, None | Some(DtypeArgument::F16)) => Format::Gguf(Packing::F16),
            (FormatArgument::Gguf, Some(DtypeArgument::Q8_0)) => Format::Gguf(Packing::Q8_0),
            (FormatArgument::Gguf, Some(DtypeArgument::Q4_0)) => Format::Gguf(Packing::Q4_0),
            (FormatArgument::Gguf, Some(DtypeArgument::F32)) => Format::Gguf(Packing::F32),
            (FormatArgument::Peft, None | Some(DtypeArgument::F32)) => Format::Peft,
            (FormatArgument::Safetensors, Some(dtype)) => {
                bail!("safetensors are written in f32, f16 or bf16, not in {}; `--format gguf` has blocks", name(dtype))
            }
            (FormatArgument::Gguf, Some(dtype)) => {
                bail!("GGUF files are written in f32, f16, q8_0 or q4_0, not in {}", name(dtype))
            }
            (FormatArgument::Peft, Some(dtype)) => bail!("adapters are written in f32, not in {}", name(dtype)),
        })
    }
}

pub(super) async fn run(config: &Config, registry: &Registry, arguments: &ExportArguments) -> Result<()> {
    let format = arguments.format()?;
    if arguments.out.exists() {
        bail!("{} is there already: name another place", arguments.out.display());
    }
    import::nano(registry).await?;
    let name = &arguments.name;
    let entry = registry.get(name).await?;
    let entry = entry.with_context(|| format!("there is no model `{name}`; see `hearth model list`"))?;
    let location = registry.location(&entry)?;
    if format == Format::Peft && location.adapter.is_none() {
        bail!("`{name}` has no adapter to export: it is a whole model, which `--format safetensors` or `gguf` writes");
    }
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        flag.store(true, Ordering::Relaxed);
    });
    let report = tokio::task::block_in_place(|| write(arguments, format, (&entry, &location), &stopped))?;
    println!(
        "{}: {:.1} MB; mean NLL {:.4}, {:.4} before ({} tokens)",
        arguments.out.display(),
        report.bytes as f64 / 1e6,
        report.nll_written,
        report.nll_source,
        report.tokens
    );
    if format != Format::Peft {
        let (out, folder) = (arguments.out.display(), config.data_dir.display());
        eprintln!("`hearth model import {out} --name NAME --data-dir {folder}` would take it in again.");
    }
    Ok(())
}

fn write(
    arguments: &ExportArguments,
    format: Format,
    (entry, location): (&Entry, &Location),
    stopped: &AtomicBool,
) -> Result<Report> {
    let flow = || if stopped.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    // The writers read weights back and compare bits: on the CPU they are where they are needed.
    let device = device::cpu();
    eprintln!("loading {}", entry.id);
    let mut bundle = ModelBundle::load(&location.weights, &device, &mut |_| flow())?;
    let spec = match &location.adapter {
        Some(adapter) => Some(peft::load(adapter, &mut bundle.transformer, &device)?),
        None => None,
    };
    let base = entry.base.as_deref().unwrap_or(&entry.id);
    let adapter = spec.as_ref().map(|spec| Adapted { spec, base });
    let mut last = None;
    let mut on_stage = |stage: Stage| {
        if last != Some(stage) {
            last = Some(stage);
            match stage {
                Stage::Scoring => eprintln!("reading a text with it"),
                Stage::Writing => eprintln!("writing {}", arguments.out.display()),
                Stage::Loading => eprintln!("loading what was written"),
                Stage::Comparing => eprintln!("reading the text with that"),
            }
        }
        flow()
    };
    let order = Order { format, out: &arguments.out, text: TEXT, adapter };
    Ok(export(&mut bundle, &order, &mut on_stage)?)
}
