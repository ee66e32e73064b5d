//! The recipe from end to end: prepare, pretrain, teach turns, measure, write the model's directory. Every stage goes on from
//! its last checkpoint in the work folder.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use burn::module::Module as _;

use super::card::{self, Card, HeldOut, PositionTable};
use super::corpus::{Document, Language};
use super::{Prepared, Recipe, RecipeError, Stage, bpe, encode, lengths};
use crate::bundle::{ModelBundle, Precision};
use crate::config::{Dropout, Position};
use crate::device;
use crate::look::heads;
use crate::train::data::Sequence;
use crate::train::ngram::KneserNey;
use crate::train::{Batches, Run, StepReport, save};
use crate::transformer::Transformer;

/// Steps whose losses and windows are kept with the card, so that anybody can repeat them.
pub const FIRST_STEPS: usize = 20;
const CHECKPOINT_EVERY: u64 = 200;

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    GoOn,
    Stop,
}

/// Folders of one making.
#[derive(Clone, Debug)]
pub struct Work {
    /// The recipe file's folder.
    pub recipe: PathBuf,
    /// Unpacked packages.
    pub materials: PathBuf,
    /// Checkpoints and losses.
    pub work: PathBuf,
    /// Where the model's files go.
    pub out: PathBuf,
}

impl Recipe {
    /// Makes the model. `say` hears a line now and then, and after each step whether to stop.
    ///
    /// # Errors
    /// What any stage meets; [`RecipeError::Stopped`] when `say` said so.
    pub fn make(&self, at: &Work, say: &mut dyn FnMut(&str) -> Order) -> Result<Card, RecipeError> {
        std::fs::create_dir_all(&at.work).map_err(io(&at.work))?;
        let prepared = self.prepare(at)?;
        say(&format!(
            "{} training documents, {} held out",
            prepared.corpus.trained_on().count(),
            prepared.corpus.held_out.len()
        ));
        let windows = self.windows(&prepared, self.pretrain.context);
        let training_tokens = windows.iter().map(|window| window.positions() as u64).sum();
        let fresh = Transformer::new(&prepared.config, self.seed, &device::cpu());
        let pretrained = self.stage(("pretrain", &self.pretrain), fresh.clone(), windows.clone(), at, say)?;
        let model = match &self.chat {
            None => pretrained,
            Some(chat) => {
                let chats = self.chat_sequences(&prepared, chat)?;
                self.stage(("chat", &chat.stage), pretrained, chats, at, say)?
            }
        };
        let bundle = self.write(&prepared, model, at)?;
        say("measuring");
        let card = Card {
            recipe: self.clone(),
            command: format!("hearth train --recipe {0}/recipe.json --out {0}", self.folder),
            device: computed_on(&at.work),
            parameters: prepared.config.parameters(),
            training_tokens,
            first_losses: self.first_steps(fresh, windows, &at.out)?,
            pretrain_losses: hundreds(&at.work.join("pretrain.csv")),
            chat_losses: hundreds(&at.work.join("chat.csv")),
            // A sibling is measured by length instead; its n-gram would be the other's.
            held_out: match self.sibling_of {
                None => self.held_out(&prepared, &bundle.transformer),
                Some(_) => Vec::new(),
            },
            heads: self.heads(&prepared, &bundle.transformer),
            by_length: lengths::measure(
                &bundle.transformer,
                &prepared.tokenizer,
                &prepared.corpus.held_out,
                &self.lengths,
            ),
            position_table: self.position_table(),
        };
        let json = serde_json::to_vec_pretty(&card).expect("plain numbers and strings serialise");
        write(&at.out.join("card.json"), &json)?;
        write(&at.out.join("README.md"), card.readme().as_bytes())?;
        Ok(card)
    }

    fn stage(
        &self,
        (name, stage): (&str, &Stage),
        mut model: Transformer,
        sequences: Vec<Sequence>,
        at: &Work,
        say: &mut dyn FnMut(&str) -> Order,
    ) -> Result<Transformer, RecipeError> {
        let spec = self.spec(stage);
        model.set_dropout(stage.drops());
        let device = device::best();
        let model = model.to_device(&device);
        let checkpoint = at.work.join(name);
        let mut run = if checkpoint.is_dir() {
            Run::resume(&checkpoint, &spec, model, sequences, None)?
        } else {
            Run::new(&spec, model, sequences, None)?
        };
        if !run.is_done() {
            note_device(&at.work, &device::info(&device).name)?;
        }
        let losses = at.work.join(format!("{name}.csv"));
        forget_after(&losses, run.progress().step)?;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&losses).map_err(io(&losses))?;
        let total = run.total_steps();
        drive(&mut run, &checkpoint, &mut |report| {
            // A line that is lost is only missing from the card's curve.
            let _ = writeln!(file, "{},{:.6}", report.step, report.loss);
            let line = format!("{name} {}/{total}: loss {:.4}, norm {:.2}", report.step, report.loss, report.grad_norm);
            say(&line)
        })?;
        let mut model = run.model().to_device(&device::cpu());
        model.set_dropout(Dropout::default());
        Ok(model)
    }

    /// The model's files as they ship (f16), loaded again, so that the card speaks of what people get.
    fn write(&self, prepared: &Prepared, model: Transformer, at: &Work) -> Result<ModelBundle, RecipeError> {
        let fresh = at.work.join("model");
        if fresh.exists() {
            std::fs::remove_dir_all(&fresh).map_err(io(&fresh))?;
        }
        let fail = |error: &dyn std::fmt::Display| RecipeError::Model(error.to_string());
        self.bundle(prepared, model)?.save(&fresh, Precision::F16).map_err(|error| fail(&error))?;
        std::fs::create_dir_all(&at.out).map_err(io(&at.out))?;
        for entry in std::fs::read_dir(&fresh).map_err(io(&fresh))?.flatten() {
            let to = at.out.join(entry.file_name());
            write(&to, &read(&entry.path())?)?;
        }
        if self.sibling_of.is_none() {
            let line = |document: &Document| serde_json::to_string(document).expect("strings serialise") + "\n";
            let documents: String = prepared.corpus.held_out.iter().map(line).collect();
            write(&at.out.join("heldout.jsonl"), documents.as_bytes())?;
        }
        let mut go_on = |_| std::ops::ControlFlow::Continue(());
        ModelBundle::load(&fresh, &device::cpu(), &mut go_on).map_err(|error| fail(&error))
    }

    /// Runs the first steps once more and keeps their windows (u16, little endian, rows of `context + 1`).
    fn first_steps(&self, model: Transformer, windows: Vec<Sequence>, out: &Path) -> Result<Vec<f64>, RecipeError> {
        let spec = self.spec(&self.pretrain);
        let first = Batches::new(windows, &spec).first(FIRST_STEPS);
        let bytes: Vec<u8> =
            first.iter().flat_map(|window| window.ids.iter().flat_map(|id| (*id as u16).to_le_bytes())).collect();
        write(&out.join("first-steps.bin"), &bytes)?;
        self.repeat(model, first)
    }

    /// Losses of as many first steps as there are windows for, over the windows that belong to them.
    ///
    /// # Errors
    /// The run's.
    pub fn repeat(&self, mut model: Transformer, first: Vec<Sequence>) -> Result<Vec<f64>, RecipeError> {
        let spec = self.spec(&self.pretrain);
        model.set_dropout(self.pretrain.drops());
        let steps = first.len() / spec.batch_size as usize;
        let mut run = Run::with(&spec, model, Batches::in_order(first, &spec), None)?;
        (0..steps).map(|_| Ok(run.step()?.loss)).collect()
    }

    /// How much of a learned table of positions was trained.
    fn position_table(&self) -> Option<PositionTable> {
        let learned = self.model.position == Some(Position::Learned);
        learned.then_some(PositionTable { rows: self.model.max_positions, trained: self.pretrain.context })
    }

    fn held_out(&self, prepared: &Prepared, model: &Transformer) -> Vec<HeldOut> {
        let mut stream = vec![bpe::END_OF_TEXT_ID];
        for document in encode(&prepared.tokenizer, prepared.corpus.trained_on()) {
            stream.extend(document);
            stream.push(bpe::END_OF_TEXT_ID);
        }
        let ngram = KneserNey::train(&stream, 5, self.vocab_size);
        let (tokenizer, documents) = (&prepared.tokenizer, &prepared.corpus.held_out);
        [Language::En, Language::Zh]
            .map(|language| HeldOut {
                language,
                model: card::bits_per_byte(model, tokenizer, documents, language, self.pretrain.context),
                kneser_ney: card::ngram_bits_per_byte(&ngram, tokenizer, documents, language),
            })
            .to_vec()
    }

    fn heads(&self, prepared: &Prepared, model: &Transformer) -> Vec<card::HeadScore> {
        let text: Vec<u32> = encode(&prepared.tokenizer, &prepared.corpus.held_out[..1])
            .remove(0)
            .into_iter()
            .take(self.pretrain.context)
            .collect();
        card::head_scores(model, &text, &heads::random(self.vocab_size, 64))
    }
}

/// Steps a run to its end. The run is saved every 200 steps, at the end, and when `each` says stop.
///
/// # Errors
/// The run's, the disk's, or [`RecipeError::Stopped`].
pub fn drive(run: &mut Run, checkpoint: &Path, each: &mut dyn FnMut(&StepReport) -> Order) -> Result<(), RecipeError> {
    while !run.is_done() {
        let report = run.step()?;
        let stop = each(&report) == Order::Stop;
        if stop || report.step.is_multiple_of(CHECKPOINT_EVERY) || run.is_done() {
            run.save(checkpoint, &mut save::RealDisk)?;
        }
        if stop {
            return Err(RecipeError::Stopped);
        }
    }
    Ok(())
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> RecipeError {
    let path = path.display().to_string();
    move |source| RecipeError::Io { path: path.clone(), source }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, RecipeError> {
    std::fs::read(path).map_err(io(path))
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), RecipeError> {
    std::fs::write(path, bytes).map_err(io(path))
}

/// Step and loss of every line.
fn losses(path: &Path) -> Vec<(u64, f64)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        let (step, loss) = line.split_once(',')?;
        Some((step.parse().ok()?, loss.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// Names of all that computed steps of this making, one a line.
const DEVICES: &str = "devices.txt";

fn note_device(work: &Path, name: &str) -> Result<(), RecipeError> {
    let path = work.join(DEVICES);
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    if known.lines().any(|line| line == name) {
        return Ok(());
    }
    write(&path, format!("{known}{name}\n").as_bytes())
}

fn computed_on(work: &Path) -> String {
    let names = std::fs::read_to_string(work.join(DEVICES)).unwrap_or_default();
    names.lines().collect::<Vec<_>>().join(", then ")
}

/// Drops what was written after the checkpoint that a run goes on from.
fn forget_after(path: &Path, step: u64) -> Result<(), RecipeError> {
    let kept: String =
        losses(path).into_iter().filter(|(at, _)| *at <= step).map(|(at, loss)| format!("{at},{loss:.6}\n")).collect();
    write(path, kept.as_bytes())
}

fn hundreds(path: &Path) -> Vec<(u64, f64)> {
    let all = losses(path);
    all.chunks(100)
        .filter_map(|part| {
            let mean = part.iter().map(|(_, loss)| loss).sum::<f64>() / part.len() as f64;
            Some((part.last()?.0, (mean * 1e4).round() / 1e4))
        })
        .collect()
}
