//! Opening a run from nothing: a vocabulary, the texts as shards of token ids, and a model with random weights. Each part stands in the
//! job's folder once it is whole, so that an attempt goes on where the last one was.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use hearth_model::bundle::{ModelBundle, ModelHead};
use hearth_model::chat_template::ChatTemplate;
use hearth_model::config::ModelConfig;
use hearth_model::data::shards::{Index, Shards};
use hearth_model::data::stream::{RowSpec, Rows};
use hearth_model::data::texts::{Place, Texts};
use hearth_model::data::tokenize::{Tokenize, TokenizeError, fingerprint};
use hearth_model::device::{self, Device};
use hearth_model::recipe::bpe;
use hearth_model::tokenizer::{Special, Tokenizer};
use hearth_model::train::{Run, Sequence, data, save};
use hearth_model::transformer::Transformer;
use hearth_shared::event::{RunEvent, Stage};
use hearth_shared::spec::{PretrainJob, TextFacts, TokenizerSpec, TrainSpec};

use super::tune::taught;
use super::vocabulary::{self, Pace};
use super::{Emit, Idle, Opened, Order};

/// Rows of validation text that are judged; more take time and tell no more.
const MOST_VALIDATION_ROWS: usize = 128;
/// Where a run keeps the vocabulary that it learned, and the texts as token ids.
const VOCABULARY: &str = "tokenizer.json";
const SHARDS: &str = "shards";
/// Tokens of a shard.
const SHARD_TOKENS: u64 = 16 << 20;

/// A vocabulary with what a model needs to know of it.
struct Vocabulary {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    end_token: u32,
    eos: Vec<u32>,
}

/// A new run, or one taken up from its last checkpoint. `None`: an order came first.
pub(super) fn open(
    job: &PretrainJob,
    folder: &Path,
    order: &dyn Fn() -> Option<Order>,
    emit: Emit<'_>,
) -> Result<Option<Opened>> {
    let files: Vec<PathBuf> = job.training_files.iter().map(PathBuf::from).collect();
    let texts = Texts::find(&files, job.spec.texts.split, &job.spec.texts.field)?;
    let vocabulary = vocabulary(job, &texts, folder, emit)?;
    if order().is_some() {
        return Ok(None);
    }
    let config = config(job, &vocabulary)?;
    let (shards, index) = match &job.shards {
        Some(given) => (PathBuf::from(given), index_of(Path::new(given), &vocabulary)?),
        None => {
            let shards = folder.join(SHARDS);
            let Some(index) = tokenize(&texts, &vocabulary, &shards, order, emit)? else {
                return Ok(None);
            };
            (shards, index)
        }
    };
    let facts = TextFacts { tokens: index.tokens, parameters: config.parameters() };
    let distill = job.teacher.as_ref().map(|teacher| teacher.spec);
    let spec = TrainSpec { distill, ..job.spec.resolve(&facts, job.seed)? };
    emit(RunEvent::Decided {
        spec: Box::new(spec.clone()),
        parameters: facts.parameters,
        vocab_size: config.vocab_size as u64,
        documents: index.documents,
        tokens: index.tokens,
    })?;
    let validation = job.validation_file.as_ref().map(|file| held_out(job, file, &vocabulary, &spec)).transpose()?;
    // The plan is the training's; what learning a vocabulary and cutting texts took is over.
    let idle = Idle::now();
    let run = begin(&spec, &config, &shards, validation, &folder.join("checkpoints"))?;
    let run = taught(run, job.teacher.as_ref(), &vocabulary.tokenizer)?;
    let bundle = bundle(config, vocabulary, &device::best());
    let mean_length = f64::from(spec.max_length);
    Ok(Some(Opened { train: spec, model_name: String::new(), bundle, run, mean_length, idle }))
}

/// The model of a run that has begun, without its weights.
pub(super) fn untrained(job: &PretrainJob, folder: &Path, device: &Device) -> Result<ModelBundle> {
    let vocabulary = match &job.tokenizer_path {
        Some(path) => read(Path::new(path))?,
        None => read(&folder.join(VOCABULARY))?,
    };
    let shards = job.shards.as_ref().map_or_else(|| folder.join(SHARDS), PathBuf::from);
    if shards.is_dir() {
        // Another model may have the tokenizer's name by now.
        index_of(&shards, &vocabulary)?;
    }
    Ok(bundle(config(job, &vocabulary)?, vocabulary, device))
}

fn config(job: &PretrainJob, vocabulary: &Vocabulary) -> Result<ModelConfig> {
    let mut config = ModelConfig::asked(&job.spec.architecture, vocabulary.tokenizer.vocab_size())?;
    config.bos = Some(vocabulary.end_token);
    config.eos.clone_from(&vocabulary.eos);
    config.validate()?;
    Ok(config)
}

/// A model whose weights are elsewhere.
fn bundle(config: ModelConfig, vocabulary: Vocabulary, device: &Device) -> ModelBundle {
    let Vocabulary { tokenizer, template, eos, .. } = vocabulary;
    let transformer = Transformer::empty(&config, device);
    ModelBundle { config, transformer, tokenizer, template, eos }
}

/// The named one, the one that an earlier attempt learned, or a new one.
fn vocabulary(job: &PretrainJob, texts: &Texts, folder: &Path, emit: Emit<'_>) -> Result<Vocabulary> {
    let kept = folder.join(VOCABULARY);
    let path = match &job.tokenizer_path {
        Some(path) => PathBuf::from(path),
        None => {
            if let (TokenizerSpec::Train { vocab_size }, false) = (&job.spec.tokenizer, kept.exists()) {
                vocabulary::learn(texts, *vocab_size, None, &kept, emit)?;
            }
            kept
        }
    };
    read(&path)
}

/// That of a model's folder or GGUF file; else of a `tokenizer.json`, under whatever name.
fn read(path: &Path) -> Result<Vocabulary> {
    if path.is_dir() || path.extension().is_some_and(|extension| extension == "gguf") {
        let head = ModelHead::load(path).context("cannot read the tokenizer's model")?;
        let own = head.tokenizer.names().eos.as_deref();
        let end_token = [Some(bpe::END_OF_TEXT), own, Some("</s>")]
            .into_iter()
            .flatten()
            .find_map(|name| head.tokenizer.id_of(name))
            .context("the tokenizer names no token that ends a document")?;
        return Ok(Vocabulary { end_token, tokenizer: head.tokenizer, template: head.template, eos: head.eos });
    }
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let tokenizer = Tokenizer::from_hf(&bytes, Some(&bpe::tokenizer_config()))?;
    let id = |name: &str| tokenizer.id_of(name).with_context(|| format!("the vocabulary has no `{name}`"));
    let (end_token, turn_end) = (id(bpe::END_OF_TEXT)?, id(bpe::TURN_END)?);
    let template = ChatTemplate::new(bpe::CHAT_TEMPLATE, tokenizer.names().clone())?;
    Ok(Vocabulary { template: Some(template), end_token, eos: vec![turn_end, end_token], tokenizer })
}

/// Refuses shards that the job's tokenizer did not make, before the job has a folder.
///
/// # Errors
/// Names the field; a folder without whole shards, or no tokenizer, too.
pub fn check_shards(job: &PretrainJob) -> Result<Option<Index>> {
    let Some(shards) = &job.shards else {
        return Ok(None);
    };
    let tokenizer = job.tokenizer_path.as_ref();
    let tokenizer = tokenizer.context("tokenizer: shards are token ids: name the `model` or the `file` they are of")?;
    index_of(Path::new(shards), &read(Path::new(tokenizer))?).map(Some)
}

/// The index of shards that hold this vocabulary's ids.
fn index_of(shards: &Path, vocabulary: &Vocabulary) -> Result<Index> {
    let index = Shards::open(shards).context("shards")?.index().clone();
    let (ids, size) = (index.vocab_size, vocabulary.tokenizer.vocab_size());
    if ids > size {
        bail!(
            "tokenizer: the shards hold ids of 0 to {}, the vocabulary has {size} tokens: the smallest that will do has {ids}",
            ids.saturating_sub(1)
        );
    }
    if index.tokenizer != fingerprint(&vocabulary.tokenizer) {
        bail!("tokenizer: the shards hold another one's ids: name the one that `hearth data tokenize` was given");
    }
    Ok(index)
}

/// `None`: an order came; what is done stays.
fn tokenize(
    texts: &Texts,
    vocabulary: &Vocabulary,
    folder: &Path,
    order: &dyn Fn() -> Option<Order>,
    emit: Emit<'_>,
) -> Result<Option<Index>> {
    let total = texts.bytes()?;
    let Vocabulary { tokenizer, end_token, .. } = vocabulary;
    let work = Tokenize { texts, tokenizer, end_token: *end_token, shard_tokens: SHARD_TOKENS };
    let mut pace = Pace::default();
    let mut said = Ok(());
    let mut once = || {
        work.run(folder, &mut |done| {
            if pace.is_time() {
                said = emit(RunEvent::Stage { stage: Stage::Tokenizing, done: done.text_bytes, total });
            }
            said.is_ok() && order().is_none()
        })
    };
    let mut done = once();
    if matches!(done, Err(TokenizeError::Other { .. })) {
        // The data directory was moved since: the texts count by their paths.
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        done = once();
    }
    said?;
    match done {
        Ok(index) => Ok(Some(index)),
        Err(TokenizeError::Stopped) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The first rows of the validation text.
fn held_out(job: &PretrainJob, file: &str, vocabulary: &Vocabulary, spec: &TrainSpec) -> Result<Vec<Sequence>> {
    let texts = Texts::find(&[PathBuf::from(file)], job.spec.texts.split, &job.spec.texts.field)?;
    let length = spec.max_length as usize;
    // As in training, a document follows the end of another.
    let (mut documents, mut open, mut tokens) = (vec![Vec::new()], Vec::new(), 0);
    for piece in texts.pieces(Place::default()) {
        let piece = piece?;
        let ids = vocabulary.tokenizer.encode(&piece.text, Special::Plain);
        tokens += ids.len() + 1;
        open.extend(ids);
        if piece.last {
            documents.push(std::mem::take(&mut open));
        }
        if tokens > MOST_VALIDATION_ROWS * length {
            break;
        }
    }
    if !open.is_empty() {
        documents.push(open);
    }
    let mut rows = data::windows(&documents, Some(vocabulary.end_token), length);
    rows.truncate(MOST_VALIDATION_ROWS);
    Ok(rows)
}

fn begin(
    spec: &TrainSpec,
    config: &ModelConfig,
    shards: &Path,
    validation: Option<Vec<Sequence>>,
    checkpoints: &Path,
) -> Result<Run> {
    let rows = RowSpec {
        length: spec.max_length as usize,
        batch_size: spec.batch_size as usize,
        micro_batch_tokens: spec.micro_batch_tokens as usize,
        seed: spec.seed,
    };
    let rows = Rows::new(Arc::new(Shards::open(shards)?), rows)?;
    let model = Transformer::new(config, spec.seed, &device::best());
    let run = Run::with(spec, model, rows, validation)?;
    Ok(match save::latest(checkpoints) {
        Some(last) => run.taken_up(&last)?,
        None => run,
    })
}
