//! Jobs that are no fine-tunes: models and vocabularies from texts, and exports. What can be checked at once, then the texts themselves, then the
//! plan; the queue and the process are those of every job.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hearth_model::data::texts::{Place, TextError, Texts};
use hearth_model::export::ExportError;
use hearth_shared::api::fine_tuning::{Job, JobError};
use hearth_shared::api::jobs::{
    CreateExport, CreatePretrain, CreateTokenizer, CreateWork, JobKind, PretrainPlan, TextReport,
};
use hearth_shared::spec::{
    ExportFormat, ExportJob, LEAST_VOCABULARY, PretrainJob, PretrainSpec, SpecError, TextFacts, TokenizerJob,
    TokenizerSpec, TrainSpec, WorkSpec,
};
use hearth_shared::text::counted;
use serde_json::Value;

use super::engine::export;
use super::{Jobs, plans, store};
use crate::error::{Error, Result};
use crate::ids;
use crate::registry::import;
use crate::system;

/// Files of one job.
const MOST_FILES: usize = 64;

impl Jobs {
    /// Makes a job, or finds the one the same idempotency key made.
    pub async fn create_work(&self, request: CreateWork, key: Option<(&str, &str)>) -> Result<Job> {
        self.check_work(&request).await?;
        if let CreateWork::Pretrain(asked) = &request {
            let shape = plans::new_shape(&asked.spec, self.vocab_size(&asked.spec.tokenizer).await?)?;
            plans::refuse_too_large(&asked.spec, &shape, &self.machine().await)?;
        }
        let id = ids::new("job-");
        let seed = match &request {
            CreateWork::Pretrain(asked) => asked.seed,
            CreateWork::Tokenizer(_) | CreateWork::Export(_) => Some(0),
        };
        let model_hash = match &request {
            CreateWork::Export(asked) => self.0.registry.get(&asked.model).await?.map(|entry| entry.hash),
            _ => None,
        };
        let text = serde_json::to_string(&request)?;
        let new = store::NewJob {
            id: &id,
            kind: request.kind(),
            request: &text,
            model_hash: &model_hash.unwrap_or_default(),
            seed: super::seed_or_drawn(seed),
        };
        let words = match &request {
            CreateWork::Export(asked) => format!("Exporting {}", asked.model),
            _ => format!("Reading {}", counted(request.training_files().len() as u64, "file")),
        };
        self.insert(&new, key, words).await
    }

    /// Everything about a request that can be checked without reading the texts.
    async fn check_work(&self, request: &CreateWork) -> Result<()> {
        if let CreateWork::Export(asked) = request {
            return self.check_export(asked).await;
        }
        let files = request.training_files();
        if files.is_empty() || files.len() > MOST_FILES {
            return Err(Error::invalid("training_files", format!("1 to {MOST_FILES} ids of uploaded files")));
        }
        for (at, file) in files.iter().enumerate() {
            self.check_file(&format!("training_files[{at}]"), file).await?;
        }
        if let Some(file) = request.validation_file() {
            self.check_file("validation_file", file).await?;
        }
        match request {
            CreateWork::Pretrain(asked) => self.check_pretrain(asked).await,
            CreateWork::Tokenizer(asked) => check_tokenizer(asked),
            CreateWork::Export(_) => Ok(()),
        }
    }

    async fn check_export(&self, asked: &CreateExport) -> Result<()> {
        asked.spec.dtype()?;
        let entry = self.0.registry.find(&asked.model).await?;
        if asked.spec.format == ExportFormat::Peft && entry.base_hash.is_none() {
            let message = "The model has no adapter: choose `safetensors` or `gguf`.";
            return Err(Error::invalid("format", message));
        }
        let (location, spec) = (self.0.registry.location(&entry)?, asked.spec);
        let possible = tokio::task::spawn_blocking(move || {
            let (model, adapter) = (location.weights.as_path(), location.adapter.as_deref());
            // The base's name is for what is written.
            export::check(export::Origin { model, adapter, base: "" }, &spec)
        });
        let possible = possible.await.context("the reader of the model stopped")?;
        possible.map_err(|error| match error.downcast::<ExportError>() {
            Ok(refused) => Error::invalid("format", refused.to_string()),
            Err(other) => Error::Internal(other),
        })
    }

    async fn check_pretrain(&self, asked: &CreatePretrain) -> Result<()> {
        asked.spec.validate()?;
        if asked.spec.options.early_stop.is_some() && asked.validation_file.is_none() {
            let message = "It judges by the validation loss: add a `validation_file`.";
            return Err(Error::invalid("options.early_stop", message));
        }
        if let Some(name) = &asked.name {
            import::check_name(name).map_err(|error| Error::invalid("name", error.to_string()))?;
            if self.0.registry.get(name).await?.is_some() {
                return Err(Error::invalid("name", format!("There is a model `{name}` already: choose another name.")));
            }
        }
        self.tokenizer_path(&asked.spec.tokenizer).await.map(|_| ())
    }

    /// Where the named vocabulary lies; none is trained.
    async fn tokenizer_path(&self, spec: &TokenizerSpec) -> Result<Option<PathBuf>> {
        match spec {
            TokenizerSpec::Train { .. } => Ok(None),
            TokenizerSpec::File(id) => {
                self.0.files.get(id).await.map_err(|_| {
                    Error::coded("tokenizer.file", "file_not_found", format!("No such File object: {id}"))
                })?;
                Ok(self.0.files.path(id))
            }
            TokenizerSpec::Model(name) => {
                let Some(entry) = self.0.registry.get(name).await? else {
                    let words = format!("There is no model `{name}`.");
                    let near = self.0.registry.nearest(name).await;
                    return Err(Error::coded("tokenizer.model", "model_not_found", words).meant(near.as_deref()));
                };
                Ok(Some(self.0.registry.location(&entry)?.weights))
            }
        }
    }

    /// Tokens of the vocabulary: known, or as asked for.
    async fn vocab_size(&self, spec: &TokenizerSpec) -> Result<usize> {
        let path = self.tokenizer_path(spec).await?;
        let param = tokenizer_field(spec);
        let spec = spec.clone();
        let size = tokio::task::spawn_blocking(move || plans::vocab_size(&spec, path.as_deref()));
        let size = size.await.context("the reader of the vocabulary stopped")?;
        size.map_err(|error| Error::invalid(param, format!("{error:#}")))
    }

    fn path_of(&self, id: &str) -> Result<PathBuf> {
        self.0.files.path(id).ok_or_else(|| Error::file_not_found(id))
    }

    /// Reads every text once, so that a fault is known before anything runs.
    async fn read_texts(&self, request: &CreateWork) -> Result<Result<TextReport, JobError>> {
        let files = request.training_files().iter().map(|id| self.path_of(id)).collect::<Result<Vec<_>>>()?;
        let validation =
            request.validation_file().map(|id| self.path_of(id).map(|path| (id.to_owned(), path))).transpose()?;
        let Some(spec) = request.texts().cloned() else {
            return Ok(Ok(TextReport::default()));
        };
        let names = request.training_files().to_vec();
        let work = tokio::task::spawn_blocking(move || {
            let look = |param: &str, ids: &[String], files: &[PathBuf]| {
                let read = Texts::find(files, spec.split, &spec.field).and_then(|texts| report(&texts));
                read.map_err(|error| text_fault(param, ids, files, &error))
            };
            if let Some((id, file)) = validation {
                look("validation_file", &[id], &[file])?;
            }
            look("training_files", &names, &files)
        });
        Ok(work.await.context("the reader of the texts stopped")?)
    }

    /// What a pretraining would be, without making one.
    pub async fn plan_pretrain(&self, asked: &CreatePretrain) -> Result<PretrainPlan> {
        let request = CreateWork::Pretrain(Box::new(asked.clone()));
        self.check_work(&request).await?;
        let found = self.read_texts(&request).await?;
        let (report, fault) = match found {
            Ok(report) => (report, None),
            Err(fault) => (TextReport::default(), Some(fault)),
        };
        let vocab_size = self.vocab_size(&asked.spec.tokenizer).await?;
        let shape = plans::new_shape(&asked.spec, vocab_size)?;
        let facts = TextFacts::guessed(report.bytes, shape.vocab_size, shape.parameters);
        let machine = self.machine().await;
        let decided = match fault {
            Some(fault) => Err(fault),
            None => plans::pretrain(&asked.spec, &shape, &facts, &machine, 0),
        };
        let available = system::memory().available;
        let mut plan = PretrainPlan {
            object: "job.plan".into(),
            report,
            parameters: shape.parameters,
            tokens: facts.tokens,
            spec: None,
            memory: None,
            memory_limit: machine.room,
            memory_available: available,
            total_steps: None,
            flops: None,
            seconds: None,
            warnings: Vec::new(),
            error: None,
        };
        match decided {
            Ok((spec, planned)) => {
                let steps = steps(&spec, facts.tokens);
                plan.total_steps = Some(steps);
                plan.flops = Some(steps as f64 * planned.step_flops);
                plan.seconds = planned.step_seconds.map(|seconds| steps as f64 * seconds);
                plan.memory = Some(planned.memory);
                plan.warnings
                    .extend(plans::free_memory_warning(available.filter(|_| machine.sheet.cpu), &planned.memory));
                plan.spec = Some(spec);
            }
            Err(error) => {
                plan.error = Some(error.into());
            }
        }
        Ok(plan)
    }

    /// The validator's part: reads the texts, plans the run, and says whether it may begin.
    pub(super) async fn validate_work(&self, row: &store::Row) -> Result<(store::Validated, Option<JobError>)> {
        let request: CreateWork = serde_json::from_str(&row.request)?;
        self.check_work(&request).await?;
        if request.texts().is_none() {
            return Ok((store::Validated::default(), None));
        }
        let report = match self.read_texts(&request).await? {
            Ok(report) => report,
            Err(fault) => return Ok((store::Validated::default(), Some(fault))),
        };
        let mut validated =
            store::Validated { report: Some(serde_json::to_string(&report)?), ..store::Validated::default() };
        if let CreateWork::Pretrain(asked) = &request {
            let shape = plans::new_shape(&asked.spec, self.vocab_size(&asked.spec.tokenizer).await?)?;
            let facts = TextFacts::guessed(report.bytes, shape.vocab_size, shape.parameters);
            match plans::pretrain(&asked.spec, &shape, &facts, &self.machine().await, row.seed as u64) {
                // The spec itself follows when the tokens have been counted.
                Ok((_, planned)) => validated.planned = Some(serde_json::to_string(&planned)?),
                Err(fault) => return Ok((validated, Some(fault))),
            }
        }
        Ok((validated, None))
    }

    /// What the process reads.
    pub(super) async fn work_spec(&self, row: &store::Row) -> anyhow::Result<WorkSpec> {
        let request: CreateWork = serde_json::from_str(&row.request)?;
        let text = |path: PathBuf| -> anyhow::Result<String> {
            Ok(path.to_str().context("the data directory's path is not UTF-8")?.to_owned())
        };
        let path = |id: &str| text(self.0.files.path(id).context("not a file id")?);
        let training_files = request.training_files().iter().map(|id| path(id)).collect::<anyhow::Result<_>>()?;
        Ok(match request {
            CreateWork::Pretrain(asked) => WorkSpec::Pretrain(PretrainJob {
                teacher: None,
                training_files,
                shards: None,
                validation_file: asked.validation_file.as_deref().map(path).transpose()?,
                tokenizer_path: self.tokenizer_path(&asked.spec.tokenizer).await?.map(text).transpose()?,
                seed: row.seed as u64,
                spec: asked.spec,
            }),
            CreateWork::Tokenizer(asked) => WorkSpec::Tokenizer(TokenizerJob {
                training_files,
                vocab_size: asked.vocab_size,
                sample_bytes: asked.sample_bytes,
                texts: asked.texts,
            }),
            CreateWork::Export(asked) => {
                let entry = self.0.registry.get(&asked.model).await?;
                let entry = entry.with_context(|| format!("model `{}` was removed", asked.model))?;
                let location = self.0.registry.location(&entry)?;
                WorkSpec::Export(ExportJob {
                    model_path: text(location.weights)?,
                    adapter_path: location.adapter.map(text).transpose()?,
                    base_name: entry.base.unwrap_or(entry.id),
                    file_name: file_name(&asked),
                    spec: asked.spec,
                })
            }
        })
    }

    /// Takes an export's files over as result files; their ids.
    pub(super) async fn take_files(&self, id: &str, result: &Path) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        let mut entries = tokio::fs::read_dir(result).await?;
        while let Some(entry) = entries.next_entry().await? {
            names.push(entry.file_name().into_string().map_err(|name| anyhow::anyhow!("{name:?} is not UTF-8"))?);
        }
        names.sort();
        let tail = id.rsplit('-').next().unwrap_or_default();
        let mut ids = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let file = format!("file-{tail}-{at}");
            self.0.files.adopt(&file, name, "fine-tune-results", &result.join(name)).await?;
            ids.push(file);
        }
        Ok(ids)
    }

    /// The name of the model that a pretraining makes: as asked for, unless another model has it meanwhile.
    pub(super) async fn made_name(&self, row: &store::Row) -> anyhow::Result<String> {
        let request: CreateWork = serde_json::from_str(&row.request)?;
        let tail = tail(row);
        let Some(name) = request.name() else {
            return Ok(format!("pretrained-{tail}"));
        };
        let taken = self.0.registry.get(name).await?.is_some_and(|entry| entry.job.as_deref() != Some(&row.id));
        Ok(if taken { format!("{name}-{tail}") } else { name.to_owned() })
    }
}

/// Refuses a method of fine-tuning in a request or spec of a model from nothing. Low-rank adapters are what a fine-tune has where
/// nothing is said, so only the words tell that they were asked for.
pub(crate) fn refuse_tuning(asked: &Value) -> Result<(), SpecError> {
    let is_lora = asked["kind"] == "pretrain" && asked["options"]["tuning"] == "lora";
    if is_lora { Err(PretrainSpec::foreign("tuning")) } else { Ok(()) }
}

/// Where a request or spec says which vocabulary a model has.
pub(crate) fn tokenizer_field(spec: &TokenizerSpec) -> &'static str {
    match spec {
        TokenizerSpec::Train { .. } => "tokenizer.train",
        TokenizerSpec::File(_) => "tokenizer.file",
        TokenizerSpec::Model(_) => "tokenizer.model",
    }
}

fn check_tokenizer(asked: &CreateTokenizer) -> Result<()> {
    if !(LEAST_VOCABULARY..=200_000).contains(&asked.vocab_size) {
        let message = format!("{} is not between {LEAST_VOCABULARY} and 200000", asked.vocab_size);
        return Err(Error::invalid("vocab_size", message));
    }
    if asked.texts.field.is_empty() {
        return Err(Error::invalid("texts.field", "Name the field of a row that holds its text."));
    }
    if asked.sample_bytes == Some(0) {
        return Err(Error::invalid("sample_bytes", "1 byte at least; leave it out to read all texts."));
    }
    Ok(())
}

fn steps(spec: &TrainSpec, tokens: u64) -> u64 {
    let rows = tokens.saturating_sub(1) / u64::from(spec.max_length);
    let all = u64::from(spec.n_epochs) * rows.div_ceil(u64::from(spec.batch_size));
    spec.max_steps.map_or(all, |most| most.min(all))
}

/// What the texts are, from reading all of them.
pub(crate) fn report(texts: &Texts) -> Result<TextReport, TextError> {
    let mut report = TextReport { files: texts.files.len() as u64, ..TextReport::default() };
    for piece in texts.pieces(Place::default()) {
        let piece = piece?;
        report.bytes += piece.text.len() as u64;
        report.documents += u64::from(piece.last);
    }
    Ok(report)
}

/// The reader's words with the upload's id where they say its path.
fn text_fault(param: &str, ids: &[String], files: &[PathBuf], error: &TextError) -> JobError {
    let mut message = error.to_string();
    for (path, id) in files.iter().zip(ids) {
        message = message.replace(&path.display().to_string(), id);
    }
    if let Some(folder) = files.first().and_then(|file| file.parent()) {
        message = message.replace(&format!("{}{}", folder.display(), std::path::MAIN_SEPARATOR), "");
    }
    JobError { code: format!("invalid_{param}"), message, param: Some(param.to_owned()) }
}

/// A model's name as a file's, with its numbers: what is no letter or digit of a path becomes `-`.
fn file_name(asked: &CreateExport) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = asked.model.chars().map(plain).collect();
    let dtype = asked.spec.dtype().map_or("", |dtype| dtype.as_str());
    format!("{}.{dtype}", name.trim_matches('.'))
}

/// What tells names apart that several runs ask for.
pub(super) fn tail(row: &store::Row) -> String {
    row.id.trim_start_matches("job-").chars().take(8).collect()
}

/// Whether there is anything of a fine-tune in a job of this kind.
pub(super) fn is_tune(row: &store::Row) -> bool {
    JobKind::parse(&row.kind).is_none_or(|kind| kind == JobKind::FineTune)
}
