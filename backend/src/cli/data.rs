//! `hearth data`: what texts hold, the good ones of them, and shards of token ids for pretraining.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use hearth_model::data::shards::{Index, Shards};
use hearth_model::data::tokenize::Tokenize;
use hearth_model::tokenizer::Tokenizer;
use hearth_shared::text::counted;
use indicatif::ProgressBar;

use super::data_clean::{CleanArguments, clean};
use super::data_report::{ReportArguments, report};
use super::progress::{Progress, bytes_style, interrupted};
use super::texts::{self, TextArguments};
use crate::config::Config;

#[derive(Subcommand, Debug)]
pub(super) enum DataCommand {
    /// Turn texts into shards of token ids; goes on where it was stopped
    Tokenize(TokenizeArguments),
    /// Say what texts hold: quality, repeated documents, personal data
    Report(ReportArguments),
    /// Write the good documents of texts to a JSONL file, each once
    Clean(CleanArguments),
    /// Read shards whole and compare checksums
    Check {
        /// The folder of shards
        folder: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(super) struct TokenizeArguments {
    #[command(flatten)]
    texts: TextArguments,
    /// A folder with a tokenizer.json, a GGUF file, or a model here by name
    #[arg(long, value_name = "PATH|MODEL")]
    tokenizer: String,
    /// Folder of the shards
    #[arg(long)]
    out: PathBuf,
    /// Closes every document [default: <|endoftext|>, or the tokenizer's own end]
    #[arg(long, value_name = "TOKEN")]
    end_token: Option<String>,
    /// Tokens of a shard; work is kept shard by shard
    #[arg(long, default_value_t = 16 << 20, value_name = "TOKENS")]
    shard_tokens: u64,
}

pub(super) async fn run(config: &Config, command: DataCommand) -> Result<()> {
    match command {
        DataCommand::Tokenize(arguments) => {
            let tokenizer = texts::tokenizer(config, &arguments.tokenizer).await?;
            let stopped = interrupted();
            tokio::task::block_in_place(|| tokenize(&arguments, &tokenizer, &stopped))
        }
        DataCommand::Report(arguments) => tokio::task::block_in_place(|| report(&arguments)),
        DataCommand::Clean(arguments) => {
            let stopped = interrupted();
            tokio::task::block_in_place(|| clean(&arguments, &stopped))
        }
        DataCommand::Check { folder } => tokio::task::block_in_place(|| {
            let shards = Shards::open(&folder)?;
            shards.verify(&folder)?;
            println!("{}", describe(shards.index()));
            Ok(())
        }),
    }
}

fn tokenize(arguments: &TokenizeArguments, tokenizer: &Tokenizer, stopped: &AtomicBool) -> Result<()> {
    let texts = arguments.texts.texts()?;
    let end_token = end_token(tokenizer, arguments.end_token.as_deref())?;
    let bar = Progress::new(ProgressBar::new(texts.bytes()?).with_style(bytes_style()?));
    bar.set_message("tokenizing");
    let start = Instant::now();
    let mut first = None;
    let work = Tokenize { texts: &texts, tokenizer, end_token, shard_tokens: arguments.shard_tokens };
    let index = work.run(&arguments.out, &mut |done| {
        first.get_or_insert(done.text_bytes);
        bar.set_position(done.text_bytes);
        bar.plain_bytes("tokenizing");
        !stopped.load(Ordering::Relaxed)
    })?;
    bar.finish_and_clear();
    println!("{}: {}", arguments.out.display(), describe(&index));
    if first.is_some() {
        eprintln!("{:.1} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}

fn end_token(tokenizer: &Tokenizer, named: Option<&str>) -> Result<u32> {
    if let Some(name) = named {
        return tokenizer.id_of(name).with_context(|| format!("--end-token: `{name}` is not in the vocabulary"));
    }
    let own = tokenizer.names().eos.as_deref();
    [Some("<|endoftext|>"), own, Some("</s>")]
        .into_iter()
        .flatten()
        .find_map(|name| tokenizer.id_of(name))
        .context("the tokenizer names no end token: say --end-token TOKEN")
}

fn describe(index: &Index) -> String {
    format!(
        "{}, {:.2} M tokens of {} bytes in {}, {:.2} bytes of text a token",
        counted(index.documents, "document"),
        index.tokens as f64 / 1e6,
        index.id_type.bytes(),
        counted(index.shards.len() as u64, "shard"),
        index.text_bytes as f64 / index.tokens as f64
    )
}
