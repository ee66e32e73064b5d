//! Learning a vocabulary: as a job of its own, and as the first part of a run from nothing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hearth_model::data::texts::Texts;
use hearth_model::recipe::bpe;
use hearth_model::tokenizer::Tokenizer;
use hearth_model::tokenizer::bpe::{BpeSpec, train_on};
use hearth_shared::event::{Level, RunEvent, Stage};
use hearth_shared::spec::TokenizerJob;

use super::{Emit, Outcome};

/// At most one word about progress in this time.
const WORD: Duration = Duration::from_secs(1);
/// How often the trainer is looked after.
const LOOK: Duration = Duration::from_millis(20);

/// Says when it is time for a word about progress.
#[derive(Debug, Default)]
pub(super) struct Pace(Option<Instant>);

impl Pace {
    pub(super) fn is_time(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= WORD);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

/// The job: its result is `result/tokenizer.json`.
pub(super) fn run(job: &TokenizerJob, folder: &Path, emit: Emit<'_>) -> Result<Outcome> {
    let files: Vec<PathBuf> = job.training_files.iter().map(PathBuf::from).collect();
    let texts = Texts::find(&files, job.texts.split, &job.texts.field)?;
    let result = folder.join("result");
    std::fs::create_dir_all(&result).with_context(|| format!("cannot make {}", result.display()))?;
    learn(&texts, job.vocab_size, job.sample_bytes, &result.join("tokenizer.json"), emit)?;
    emit(RunEvent::Done { step: 0, trained_tokens: 0, measured: None })?;
    Ok(Outcome::Done)
}

/// Writes a `tokenizer.json`, whole or not at all.
pub(super) fn learn(
    texts: &Texts,
    vocab_size: u32,
    sample_bytes: Option<u64>,
    path: &Path,
    emit: Emit<'_>,
) -> Result<()> {
    let special_tokens = [bpe::END_OF_TEXT, bpe::TURN_START, bpe::TURN_END].map(str::to_owned).to_vec();
    let spec = BpeSpec { vocab_size: vocab_size as usize, special_tokens, min_frequency: 2 };
    let total = texts.bytes()?;
    let wanted = sample_bytes.unwrap_or(total).min(total);
    let read = AtomicU64::new(0);
    let mut pace = Pace::default();
    let json = std::thread::scope(|scope| {
        let note = |bytes| {
            read.fetch_max(bytes, Ordering::Relaxed);
        };
        let trainer = scope.spawn(move || train_on(texts, sample_bytes, &spec, &note));
        while !trainer.is_finished() {
            if pace.is_time() {
                let done = read.load(Ordering::Relaxed).min(wanted);
                let stage = if done >= wanted { Stage::Vocabulary } else { Stage::Reading };
                emit(RunEvent::Stage { stage, done, total: wanted })?;
            }
            std::thread::sleep(LOOK);
        }
        anyhow::Ok(trainer.join().map_err(|_| anyhow::anyhow!("the thread that learned the vocabulary died"))??)
    })?;
    let found = Tokenizer::from_hf(&json, None)?.vocab_size();
    let partial = path.with_extension("new");
    std::fs::write(&partial, &json).with_context(|| format!("cannot write {}", partial.display()))?;
    std::fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))?;
    let (level, text) = if found < vocab_size as usize {
        let text = format!("The texts have no more pairs that come twice: {found} tokens, {vocab_size} were asked for");
        (Level::Warn, text)
    } else {
        (Level::Info, format!("Learned a vocabulary of {found} tokens from {:.1} MB", wanted as f64 / 1e6))
    };
    emit(RunEvent::Message { level, text })
}
