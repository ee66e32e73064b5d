//! `hearth model prune`: a model without its least weights, or with fewer feed-forward units, measured before and after on text that its
//! inputs were not measured on. It is written as `hearth model export` writes.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use futures::executor::block_on;
use hearth_model::bundle::{LoadError, ModelBundle};
use hearth_model::compress::inputs::InputNorms;
use hearth_model::compress::prune::{Pruned, check, mean_loss, prune};
use hearth_model::data::texts::{Place, Split, Texts};
use hearth_model::export::{Format, Order, TEXT, export};
use hearth_model::tokenizer::{Special, Tokenizer};
use hearth_model::transformer::Transformer;
use hearth_model::{adapter, device, peft};
use hearth_shared::lab::held_out;
use hearth_shared::spec::{ExportDtype, ExportFormat, ExportSpec, PrunePattern, PruneScore, PruneSpec};
use indicatif::{ProgressBar, ProgressStyle};

use super::export::word;
use super::progress::{Progress, interrupted};
use crate::config::Config;
use crate::jobs::engine::export::{format, words};
use crate::registry::{Location, Registry, import};

#[derive(Args, Debug)]
pub(super) struct PruneArguments {
    /// A model here, as `hearth model list` shows it; of a tuned one, its adapter merged
    name: String,
    /// The folder of the pruned model, as Hugging Face's transformers reads it; must not exist
    #[arg(long)]
    out: PathBuf,
    /// Share of each matrix's weights that become zero, or of each layer's feed-forward units that go [default: 0.5, or the pattern's]
    #[arg(long)]
    share: Option<f64>,
    /// What a weight is worth: magnitude, or wanda (its magnitude times the length of its input over the texts)
    #[arg(long, value_parser = word::<PruneScore>, default_value = "wanda")]
    score: PruneScore,
    /// What is compared: matrix, row, 2:4 (or n:m: n of m neighbours stay), or units (whole feed-forward units, which leave the model)
    #[arg(long, value_parser = word::<PrunePattern>, default_value = "row")]
    pattern: PrunePattern,
    /// Text or JSONL files (field `text`), or folders of them. Text of the kind that the model is for is best [default: the English and
    /// Chinese texts that hearth-nano was not trained on]
    #[arg(long, value_name = "FILE", num_args = 1..)]
    text: Vec<PathBuf>,
    /// Windows that inputs are measured on, and as many others for the losses
    #[arg(long, default_value_t = 32)]
    windows: usize,
    /// Tokens of a window
    #[arg(long, default_value_t = 256)]
    length: usize,
    /// What numbers are stored in: f32 (default), f16 or bf16
    #[arg(long, value_parser = word::<ExportDtype>)]
    dtype: Option<ExportDtype>,
}

pub(super) async fn run(config: &Config, registry: &Registry, arguments: &PruneArguments) -> Result<()> {
    let spec = PruneSpec { share: arguments.share, score: arguments.score, pattern: arguments.pattern };
    spec.validate()?;
    let export = ExportSpec { format: ExportFormat::Safetensors, dtype: arguments.dtype };
    let format = format(&export)?;
    ensure!(arguments.windows > 0, "--windows: 0 is no text; nearest is 1");
    if arguments.out.symlink_metadata().is_ok() {
        bail!("{} is there already: name another place", arguments.out.display());
    }
    import::nano(registry).await?;
    let name = &arguments.name;
    let entry = registry.named(name).await?;
    let location = registry.location(&entry)?;
    let stopped = interrupted();
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {eta}")?);
    let watch = Watch { bar: Progress::new(bar), stopped: &stopped };
    let outcome = tokio::task::block_in_place(|| work(&location, arguments, (&spec, format), &watch))?;
    print!("{}", outcome.table(if export.dtype()? == ExportDtype::F32 { 4 } else { 2 }));
    println!("{}: {:.1} MB, read back and compared", arguments.out.display(), outcome.bytes as f64 / 1e6);
    if spec.pattern != PrunePattern::Units {
        eprintln!("A zero takes as many bytes as any other number here; `--pattern units` makes a model smaller.");
    }
    let (out, folder) = (arguments.out.display(), config.data_dir.display());
    eprintln!("`hearth model import {out} --name NAME --data-dir {folder}` would take it in.");
    Ok(())
}

fn work(
    location: &Location,
    arguments: &PruneArguments,
    (spec, format): (&PruneSpec, Format),
    watch: &Watch<'_>,
) -> Result<Outcome> {
    eprintln!("Loading the model");
    let mut bundle = load(location, watch)?;
    let (length, context) = (arguments.length, bundle.transformer.context());
    if !(1..=context).contains(&length) {
        let nearest = length.clamp(1, context);
        bail!("--length: {length} is not between 1 and {context}, the model's context; nearest is {nearest}");
    }
    check(&bundle.transformer, spec)?;
    let mut written = bundle.config.clone();
    if spec.pattern == PrunePattern::Units {
        written.ffn_dim -= spec.count(written.ffn_dim);
    }
    written.to_hf()?;
    let [seen, unseen] = windows(&bundle.tokenizer, arguments)?;
    let before = loss(&bundle.transformer, &unseen, "Loss before", watch)?;
    let norms = match spec.score {
        PruneScore::Magnitude => None,
        PruneScore::Wanda => {
            let windows = watch.windows("Measuring inputs", &seen).map(|window| &window[..length]);
            block_on(InputNorms::measure(&bundle.transformer, windows))?
        }
    };
    watch.go_on()?;
    eprintln!("Pruning");
    let Pruned { model, matrices } = block_on(prune(&bundle.transformer, spec, norms.as_ref()))?;
    let after = loss(&model, &unseen, "Loss after", watch)?;
    let parameters = bundle.config.parameters();
    bundle.config.ffn_dim = model.config().ffn_dim;
    bundle.transformer = model;
    let mut last = None;
    let order = Order { format, out: &arguments.out, text: TEXT, adapter: None };
    let report = export(&mut bundle, &order, &mut |stage| {
        if last.replace(stage) != Some(stage) {
            eprintln!("{}", words(stage));
        }
        watch.flow()
    })?;
    let furthest = matrices.iter().max_by(|a, b| a.error.total_cmp(&b.error));
    Ok(Outcome {
        losses: [before, after],
        parameters: [parameters, bundle.config.parameters()],
        zeros: matrices.iter().map(|matrix| matrix.zeros).sum(),
        weights: matrices.iter().map(|matrix| matrix.weights()).sum(),
        furthest: furthest.map(|matrix| (matrix.path.clone(), matrix.error)),
        tokens: unseen.len() * length,
        bytes: report.bytes,
    })
}

fn load(location: &Location, watch: &Watch<'_>) -> Result<ModelBundle> {
    let device = device::cpu();
    let loaded = ModelBundle::load(&location.weights, &device, &mut |_| watch.flow());
    let mut bundle = match loaded {
        Err(LoadError::Cancelled) => bail!(CANCELLED),
        loaded => loaded?,
    };
    if let Some(folder) = &location.adapter {
        peft::load(folder, &mut bundle.transformer, &device)?;
        adapter::merge(&mut bundle.transformer);
    }
    Ok(bundle)
}

fn loss(model: &Transformer, windows: &[Vec<u32>], stage: &'static str, watch: &Watch<'_>) -> Result<f64> {
    let loss = block_on(mean_loss(model, watch.windows(stage, windows)))?;
    watch.go_on()?;
    Ok(loss)
}

const CANCELLED: &str = "cancelled; nothing was written";

/// Shows how far the reading is, and knows whether to go on.
struct Watch<'a> {
    bar: Progress,
    stopped: &'a AtomicBool,
}

impl Watch<'_> {
    fn flow(&self) -> ControlFlow<()> {
        if self.stopped.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn go_on(&self) -> Result<()> {
        self.bar.finish_and_clear();
        ensure!(self.flow().is_continue(), CANCELLED);
        Ok(())
    }

    /// All of them, or those until it is stopped.
    fn windows<'w>(&'w self, stage: &'static str, windows: &'w [Vec<u32>]) -> impl Iterator<Item = &'w Vec<u32>> {
        self.bar.reset();
        self.bar.set_length(windows.len() as u64);
        self.bar.set_message(stage);
        let read = windows.iter().enumerate().take_while(move |(at, _)| {
            self.bar.set_position(*at as u64);
            self.bar.plain(stage, || format!("{stage}: window {} of {}", at + 1, windows.len()));
            self.flow().is_continue()
        });
        read.map(|(_, window)| window)
    }
}

/// Windows of `length + 1` tokens: some that inputs are measured on, and others for the losses.
fn windows(tokenizer: &Tokenizer, arguments: &PruneArguments) -> Result<[Vec<Vec<u32>>; 2]> {
    let (count, length) = (arguments.windows, arguments.length);
    let lists: Vec<Vec<Vec<u32>>> = if arguments.text.is_empty() {
        let lines = import::held_out().context("this program was built without texts: name some with --text")?;
        let list = |texts: Vec<String>| -> Vec<Vec<u32>> {
            texts.iter().flat_map(|text| cut(tokenizer, text, length)).take(2 * count).collect()
        };
        held_out::by_language(&lines).into_iter().map(|(_, texts)| list(texts)).collect()
    } else {
        let texts = Texts::find(&arguments.text, Split::File, "text")?;
        files(&texts, tokenizer, (2 * count, length))?
    };
    let parts = divided(lists, count);
    if parts.iter().any(Vec::is_empty) {
        let tokens = length + 1;
        bail!(
            "the texts have no two stretches of {tokens} tokens: name longer ones with --text, or a smaller --length"
        );
    }
    let found = parts.iter().map(Vec::len).min().unwrap_or(0);
    if found < count {
        eprintln!("The texts have no more than {found} of the {count} windows that were asked for.");
    }
    Ok(parts)
}

fn cut(tokenizer: &Tokenizer, text: &str, length: usize) -> Vec<Vec<u32>> {
    tokenizer.encode(text, Special::Plain).chunks_exact(length + 1).map(<[u32]>::to_vec).collect()
}

/// The first `most` windows of each file, of the first `most` files that have any.
fn files(texts: &Texts, tokenizer: &Tokenizer, (most, length): (usize, usize)) -> Result<Vec<Vec<Vec<u32>>>> {
    let mut lists = Vec::new();
    for file in 0..texts.files.len() {
        let mut list = Vec::new();
        for piece in texts.pieces(Place { file, ..Place::default() }) {
            let piece = piece?;
            if piece.after.file != file || list.len() >= most {
                break;
            }
            list.extend(cut(tokenizer, &piece.text, length));
        }
        list.truncate(most);
        if !list.is_empty() {
            lists.push(list);
        }
        if lists.len() >= most {
            break;
        }
    }
    Ok(lists)
}

/// Every second window to the one part, the others to the other, so that both are alike; in each, lists take turns until there are
/// `count`.
fn divided(lists: Vec<Vec<Vec<u32>>>, count: usize) -> [Vec<Vec<u32>>; 2] {
    let mut parts: [Vec<(usize, Vec<u32>)>; 2] = Default::default();
    let turns = lists.into_iter().flat_map(|list| list.into_iter().enumerate());
    for (at, (turn, window)) in turns.enumerate() {
        parts[at % 2].push((turn / 2, window));
    }
    parts.map(|mut part| {
        part.sort_by_key(|(turn, _)| *turn);
        part.into_iter().map(|(_, window)| window).take(count).collect()
    })
}

/// What came of it; pairs are before and after.
struct Outcome {
    losses: [f64; 2],
    parameters: [u64; 2],
    /// Among so many `weights` of the layers' matrices.
    zeros: u64,
    weights: u64,
    /// The matrix that lost most, and the length of that over its own.
    furthest: Option<(String, f64)>,
    /// That losses are means of.
    tokens: usize,
    /// Of all files.
    bytes: u64,
}

impl Outcome {
    /// `size`: bytes of a number.
    fn table(&self, size: u64) -> String {
        let row = |name: &str, values: [String; 2]| format!("{name:<24} {:>14} {:>14}\n", values[0], values[1]);
        let mut out = row("", ["before".to_owned(), "after".to_owned()]);
        out += &row("loss (nats a token)", self.losses.map(|loss| format!("{loss:.4}")));
        out += &row("perplexity", self.losses.map(|loss| format!("{:.2}", loss.exp())));
        out += &row("parameters", self.parameters.map(|count| count.to_string()));
        out += &row("bytes of weights", self.parameters.map(|count| (count * size).to_string()));
        let share = 100.0 * self.zeros as f64 / self.weights.max(1) as f64;
        out += &format!("zeros: {} of {} weights in the layers ({share:.1} %)\n", self.zeros, self.weights);
        if let Some((path, error)) = &self.furthest {
            out += &format!("furthest from what it was: {path}, by {:.1} % of its length\n", 100.0 * error);
        }
        out + &format!("losses are means over {} tokens that no input was measured on\n", self.tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_have_every_text_and_no_window_twice() {
        let list = |first: u32, count: u32| (first..first + count).map(|id| vec![id]).collect::<Vec<_>>();
        let [seen, unseen] = divided(vec![list(0, 5), list(10, 4)], 3);
        assert_eq!(seen.concat(), [0, 11, 2]);
        assert_eq!(unseen.concat(), [1, 10, 3]);
        let single = divided((0..4).map(|text| list(10 * text, 1)).collect(), 9);
        assert_eq!(single.map(|part| part.concat()), [[0, 20], [10, 30]]);
        assert!(divided(vec![list(0, 1)], 2)[1].is_empty());
    }

    #[test]
    fn the_table_has_both_losses_and_sizes() {
        let outcome = Outcome {
            losses: [1.0, 2.0],
            parameters: [1000, 900],
            zeros: 30,
            weights: 120,
            furthest: Some(("layers.1.mlp.up_proj".to_owned(), 0.25)),
            tokens: 64,
            bytes: 4000,
        };
        let text = outcome.table(2);
        for part in
            ["1.0000", "2.0000", "2.72", "7.39", "1000", "900", "2000", "1800", "30 of 120", "25.0 %", "up_proj"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
