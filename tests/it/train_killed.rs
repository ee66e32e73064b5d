//! kill -9 at random steps of `hearth train`, and once inside the writing of a checkpoint: the same command goes on, and every byte of the
//! final weights is that of a run that nobody disturbed. A model from nothing and an adapter on it, both with dropout, several
//! passes a step, packed rows, and data that is shuffled anew in each of some epochs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hearth_tests::places;
use serde_json::Value;

use crate::jobs_tuning::chats;

const STEPS: u64 = 30;
const CHECKPOINT_EVERY: u64 = 7;
/// An attempt's longest time on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Runs that may be begun until one is hit while it writes a checkpoint: each gives a chance at every checkpoint.
const MOST_RUNS: u64 = 8;

/// Rows of 64 tokens, eight a step, two a pass; `gpt2` drops a tenth of everything.
const PRETRAIN: &str = "kind = \"pretrain\"\ntraining_files = [\"texts.txt\"]\nseed = 5\nn_epochs = 20\nbatch_size = 8\n\
    [architecture]\npreset = \"gpt2\"\ndepth = 2\nd_model = 32\nn_heads = 2\nmax_positions = 256\n\
    [tokenizer.train]\nvocab_size = 400\n[texts]\nsplit = \"line\"\n\
    [options]\nmax_length = 64\nmicro_batch_tokens = 128\nmax_steps = 30\ncheckpoint_every = 7\nlearning_rate = 0.01\n";

/// Chats on what the first spec made, several a row, eight a step; three steps are an epoch.
const TUNE: &str = "kind = \"fine_tune\"\nmodel = \"base\"\ntraining_file = \"chats.jsonl\"\nseed = 7\n\
    n_epochs = 20\nbatch_size = 8\n[options]\npacking = true\nmax_length = 256\nmicro_batch_tokens = 256\nmax_steps = 30\n\
    checkpoint_every = 7\nlearning_rate = 0.01\n\
    [options.lora]\nr = 4\nalpha = 8.0\ndropout = 0.2\n";

/// A sequence of numbers that a seed decides (Steele 2014, SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn within(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (z ^ (z >> 31)) % (high - low + 1)
    }
}

/// When an attempt is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    /// When it has said so many steps of its own.
    Steps(u64),
    /// While a checkpoint is being written.
    Writing,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ended {
    Done,
    Killed,
    /// Half a checkpoint lies there.
    KilledWriting,
}

/// One run, in a folder of its own.
struct Work {
    folder: PathBuf,
    spec: &'static str,
    out: PathBuf,
}

impl Work {
    fn new(folder: &Path, spec: &'static str, out: &str) -> Self {
        Self { folder: folder.to_owned(), spec, out: folder.join(out) }
    }

    fn start(&self) -> Result<Child> {
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log.txt"))?;
        let child = Command::new(places::program()?)
            .arg("--data-dir")
            .arg(self.folder.join("data"))
            .arg("train")
            .arg(self.folder.join(self.spec))
            .arg("--out")
            .arg(&self.out)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(child)
    }

    /// From where it stands to its end, or to the moment.
    fn attempt(&self, moment: Option<Moment>) -> Result<Ended> {
        let before = self.said()?.len();
        // What an earlier kill left is cleared away when the run is taken up.
        let mut stale = self.is_writing();
        let mut child = self.start()?;
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                let log = fs::read_to_string(self.folder.join("log.txt")).unwrap_or_default();
                ensure!(status.success(), "{status}: {log}");
                return Ok(Ended::Done);
            }
            let writing = self.is_writing();
            stale &= writing;
            let now = match moment {
                None => false,
                Some(Moment::Steps(steps)) => steps_of(&self.said()?[before..]).len() as u64 >= steps,
                Some(Moment::Writing) => writing && !stale,
            };
            if now {
                child.kill()?;
                child.wait()?;
                return Ok(if self.is_writing() && !stale { Ended::KilledWriting } else { Ended::Killed });
            }
            if started.elapsed() > LIMIT {
                child.kill()?;
                child.wait()?;
                bail!("{} takes longer than {} s", self.spec, LIMIT.as_secs());
            }
            // A checkpoint is written in about a millisecond: there is no time to rest.
            if moment != Some(Moment::Writing) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn said(&self) -> Result<Vec<u8>> {
        match fs::read(self.out.join("events.jsonl")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            bytes => Ok(bytes?),
        }
    }

    /// Passes over the data at the end.
    fn epochs(&self) -> Result<f64> {
        let said = self.said()?;
        let mut lines = said.rsplit(|byte| *byte == b'\n');
        let last = lines.find_map(|line| serde_json::from_slice::<Value>(line).ok()?["event"]["epoch"].as_f64());
        last.context("no step")
    }

    /// Whether a checkpoint stands there that is not whole yet.
    fn is_writing(&self) -> bool {
        let mut entries = fs::read_dir(self.out.join("checkpoints")).into_iter().flatten().flatten();
        entries.any(|entry| entry.file_name().to_string_lossy().starts_with(".new-"))
    }

    /// Weights of the result, and what the last checkpoint holds, by name.
    fn left(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut all = Vec::new();
        for folder in [self.out.join("result"), self.out.join("checkpoints").join(format!("step-{STEPS}"))] {
            for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.ends_with(".safetensors") || name == "run.json" {
                    let folder = folder.file_name().unwrap_or_default().to_string_lossy();
                    all.push((format!("{folder}/{name}"), fs::read(entry.path())?));
                }
            }
        }
        all.sort();
        Ok(all)
    }
}

/// Step and loss of each metrics event, in the order written. A line that a kill cut off is none.
fn steps_of(said: &[u8]) -> Vec<(u64, String)> {
    let lines = said.split(|byte| *byte == b'\n');
    let metrics = lines.filter_map(|line| {
        let line: Value = serde_json::from_slice(line).ok()?;
        let step = line["key"].as_str()?.strip_prefix("metrics:")?.parse().ok()?;
        Some((step, line["event"]["train_loss"].to_string()))
    });
    metrics.collect()
}

/// Kills a run again and again, then lets it end. `None`: no kill hit a checkpoint that was being written.
fn disturbed(work: &Work, numbers: &mut Numbers) -> Result<Option<u64>> {
    // Before the first checkpoint there is nothing to go on from; behind it come whole and half steps from random places.
    let moments = [
        Moment::Steps(numbers.within(1, 5)),
        Moment::Writing,
        Moment::Steps(numbers.within(1, 6)),
        Moment::Writing,
        Moment::Steps(numbers.within(1, 9)),
    ];
    let (mut kills, mut inside) = (0, false);
    for moment in moments {
        if moment == Moment::Writing && inside {
            continue;
        }
        match work.attempt(Some(moment))? {
            Ended::Done => return Ok((inside && kills > 2).then_some(kills)),
            Ended::Killed => kills += 1,
            Ended::KilledWriting => (kills, inside) = (kills + 1, true),
        }
    }
    ensure!(work.attempt(None)? == Ended::Done, "it was killed by somebody else");
    Ok(inside.then_some(kills))
}

/// Gives the folder of the run that nobody disturbed.
fn the_same_weights_whatever_kills(folder: &Path, spec: &'static str, seed: u64) -> Result<PathBuf> {
    let whole = Work::new(folder, spec, &format!("{spec}-whole"));
    ensure!(whole.attempt(None)? == Ended::Done, "killed");
    let wanted = whole.left()?;
    let losses = steps_of(&whole.said()?);
    let steps: Vec<u64> = losses.iter().map(|(step, _)| *step).collect();
    ensure!(steps == (1..=STEPS).collect::<Vec<_>>(), "{steps:?}");
    ensure!(whole.epochs()? > 1.5, "the data are not dealt out anew");
    ensure!(wanted.iter().any(|(name, _)| name == &format!("step-{STEPS}/optimizer.safetensors")), "no checkpoint");
    let mut numbers = Numbers(seed);
    for round in 0..MOST_RUNS {
        let work = Work::new(folder, spec, &format!("{spec}-{round}"));
        let kills = disturbed(&work, &mut numbers)?;
        let said = steps_of(&work.said()?);
        for step in &said {
            ensure!(losses.contains(step), "{spec}: {step:?} is not of {losses:?}");
        }
        let left = work.left()?;
        ensure!(left.len() == wanted.len(), "{spec}: {} files instead of {}", left.len(), wanted.len());
        for ((name, wanted), (other, got)) in wanted.iter().zip(&left) {
            ensure!(name == other && wanted == got, "{spec}: {name} and {other} differ after {kills:?} kills");
        }
        if kills.is_some() {
            ensure!(said.len() as u64 > STEPS, "{spec}: no step was done again");
            return Ok(whole.out);
        }
    }
    bail!("{spec}: in {MOST_RUNS} runs no kill hit a checkpoint while it was written, every {CHECKPOINT_EVERY} steps")
}

#[test]
fn a_run_that_is_killed_at_random_gives_every_byte_of_an_undisturbed_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let held_out = fs::read_to_string(places::nano().join("heldout.jsonl"))?;
    let mut sentences = String::new();
    for line in held_out.lines().skip(5).take(1) {
        let row: Value = serde_json::from_str(line)?;
        let text = row["text"].as_str().context("a text")?;
        sentences.extend(text.split(". ").map(|sentence| format!("{}\n", sentence.replace('\n', " "))));
    }
    fs::write(folder.path().join("texts.txt"), sentences)?;
    fs::write(folder.path().join("chats.jsonl"), chats(24))?;
    fs::write(folder.path().join("pretrain.toml"), PRETRAIN)?;
    fs::write(folder.path().join("tune.toml"), TUNE)?;
    let made = the_same_weights_whatever_kills(folder.path(), "pretrain.toml", 1)?;
    fs::rename(made.join("result"), folder.path().join("base"))?;
    the_same_weights_whatever_kills(folder.path(), "tune.toml", 2)?;
    Ok(())
}
