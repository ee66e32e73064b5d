//! `hearth train SPEC.toml`: the engine of the server's jobs, in this process, on files of this machine. The same events go to
//! `events.jsonl`, and the most of them to the terminal.

mod text;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hearth_model::bundle::ModelHead;
use hearth_model::data::shards::{Index, Shards};
use hearth_model::data::texts::Texts;
use hearth_model::device;
use hearth_shared::api::fine_tuning::JobError;
use hearth_shared::event::{Level, Metrics, RunEvent, Stage};
use hearth_shared::spec::{
    Auto, DistillSpec, FineTuneSpec, HearthOptions, JobSpec, PretrainJob, PretrainSpec, SpecError, TeacherJob,
    TextFacts, TokenizerSpec, WorkSpec,
};
use hearth_shared::text::counted;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use serde::Deserialize;
use utoipa::ToSchema;

use super::progress::{Progress, bytes_style, interrupted};
use crate::config::Config;
use crate::db::Db;
use crate::jobs::child::{self, EventLog, Order, Outcome};
use crate::jobs::plans::{self, Machine};
use crate::jobs::{engine, inspect, works};
use crate::registry::{Registry, import};
use crate::system;

/// A spec file. Paths are relative to it.
#[derive(Deserialize, ToSchema, Debug)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum SpecFile {
    Pretrain(PretrainFile),
    FineTune(TuneFile),
}

#[derive(Deserialize, ToSchema, Debug)]
struct PretrainFile {
    /// Files, or folders of them.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    training_files: Vec<PathBuf>,
    /// In their place: the folder of `hearth data tokenize`.
    #[schema(value_type = Option<String>)]
    shards: Option<PathBuf>,
    #[schema(value_type = Option<String>)]
    validation_file: Option<PathBuf>,
    #[serde(default)]
    seed: u64,
    distill: Option<DistillFile>,
    #[serde(flatten)]
    spec: PretrainSpec,
}

#[derive(Deserialize, ToSchema, Debug)]
struct TuneFile {
    /// A model here by name, or the path of one.
    model: String,
    #[schema(value_type = String)]
    training_file: PathBuf,
    #[schema(value_type = Option<String>)]
    validation_file: Option<PathBuf>,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    n_epochs: Auto<u32>,
    #[serde(default)]
    batch_size: Auto<u32>,
    /// With it the examples are pairs of answers (DPO).
    dpo_beta: Option<Auto<f64>>,
    distill: Option<DistillFile>,
    #[serde(default)]
    options: HearthOptions,
}

/// Learning from another model's probabilities.
#[derive(Deserialize, ToSchema, Debug)]
struct DistillFile {
    /// A model here by name, or the path of one; it has the trained model's tokenizer.
    teacher: String,
    #[serde(flatten)]
    spec: DistillSpec,
}

impl DistillFile {
    fn found(&self, config: &Config, runtime: &tokio::runtime::Runtime, here: &Path) -> Result<TeacherJob> {
        self.spec.validate().map_err(|error| error.within("distill"))?;
        let path = runtime.block_on(weights(config, here, &self.teacher)).context("distill.teacher")?;
        Ok(TeacherJob { path, spec: self.spec })
    }
}

pub(super) fn train(config: &Config, path: &Path, out: &Path) -> Result<()> {
    let file: SpecFile = text::read(path, works::refuse_tuning)?;
    let here = path.parent().unwrap_or(Path::new("."));
    let runtime = super::runtime()?;
    let spec = match file {
        SpecFile::Pretrain(file) => pretrain(config, &runtime, (here, out), file)?,
        SpecFile::FineTune(file) => tune(config, &runtime, here, file)?,
    };
    run(&runtime, &spec, out)
}

fn text_of(here: &Path, path: &Path) -> Result<String> {
    let path = here.join(path);
    let path = std::fs::canonicalize(&path).with_context(|| format!("cannot find {}", path.display()))?;
    Ok(path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?.to_owned())
}

fn pretrain(
    config: &Config,
    runtime: &tokio::runtime::Runtime,
    (here, out): (&Path, &Path),
    file: PretrainFile,
) -> Result<WorkSpec> {
    file.spec.validate()?;
    if file.shards.is_some() != file.training_files.is_empty() {
        bail!("training_files: name texts here, or a folder of token ids as `shards`, and not both");
    }
    let tokenizer_path = match &file.spec.tokenizer {
        TokenizerSpec::Train { .. } => None,
        TokenizerSpec::File(path) => Some(text_of(here, Path::new(path)).context("tokenizer.file")?),
        TokenizerSpec::Model(name) => Some(runtime.block_on(weights(config, here, name)).context("tokenizer.model")?),
    };
    let teacher = file.distill.map(|distill| distill.found(config, runtime, here)).transpose()?;
    if teacher.is_some() && tokenizer_path.is_none() {
        bail!(
            "distill: a vocabulary learned here is not the teacher's: take its own, `[tokenizer]` and `model = \"…\"`"
        );
    }
    let job = PretrainJob {
        teacher,
        shards: file.shards.as_deref().map(|path| text_of(here, path)).transpose()?,
        training_files: file.training_files.iter().map(|path| text_of(here, path)).collect::<Result<_>>()?,
        validation_file: file.validation_file.as_deref().map(|path| text_of(here, path)).transpose()?,
        tokenizer_path,
        seed: file.seed,
        spec: file.spec,
    };
    // Whoever goes on has cut the texts already.
    let kept = || Some(Shards::open(&out.join("shards")).ok()?.index().clone());
    let index = engine::pretrain::check_shards(&job)?.or_else(kept);
    refuse_impossible(config, &job, index.as_ref())?;
    Ok(WorkSpec::Pretrain(job))
}

/// What the server's validator refuses: texts that can't be read, and a run that can't be on these texts or needs more memory than
/// there is.
fn refuse_impossible(config: &Config, job: &PretrainJob, shards: Option<&Index>) -> Result<()> {
    let spec = &job.spec;
    let tokens = match shards {
        Some(index) => index.tokens,
        None => {
            let files: Vec<PathBuf> = job.training_files.iter().map(PathBuf::from).collect();
            let texts = Texts::find(&files, spec.texts.split, &spec.texts.field).context("training_files")?;
            let report = works::report(&texts).context("training_files")?;
            // A byte is a token at most; how many there are is known when the texts have been cut.
            report.bytes + report.documents
        }
    };
    let vocab_size = plans::vocab_size(&spec.tokenizer, job.tokenizer_path.as_deref().map(Path::new));
    let shape = plans::new_shape(spec, vocab_size.context(works::tokenizer_field(&spec.tokenizer))?)?;
    let facts = TextFacts { tokens, parameters: shape.parameters };
    plans::pretrain(spec, &shape, &facts, &machine(config, job.teacher.as_ref())?, 0).map_err(said)?;
    Ok(())
}

/// This one, with the memory that is free, for the run starts at once, less what a teacher's weights take. A card's own memory is not
/// known.
fn machine(config: &Config, teacher: Option<&TeacherJob>) -> Result<Machine> {
    let Machine { sheet, .. } = Machine::untimed(&device::best(), None);
    let host = system::memory().available.filter(|_| sheet.cpu);
    let room = config.max_job_bytes.into_iter().chain(host).min();
    let beside = match teacher {
        None => 0,
        Some(teacher) => 4 * ModelHead::load(Path::new(&teacher.path)).context("distill.teacher")?.config.parameters(),
    };
    Ok(Machine { sheet, room: room.map(|room| room.saturating_sub(beside)) })
}

fn said(error: JobError) -> anyhow::Error {
    let field = error.param.map(|field| format!("{}: ", key_of(&field))).unwrap_or_default();
    // What would fit is named in the message.
    anyhow::anyhow!("{field}{}", error.message.replace("`hearth.", "`options."))
}

/// What a spec file calls a field of the API.
fn key_of(field: &str) -> String {
    match field.strip_prefix("hearth.") {
        Some(option) => format!("options.{option}"),
        None if field == "beta" => "dpo_beta".to_owned(),
        None => field.to_owned(),
    }
}

fn tune(config: &Config, runtime: &tokio::runtime::Runtime, here: &Path, file: TuneFile) -> Result<WorkSpec> {
    let model_path = runtime.block_on(weights(config, here, &file.model))?;
    let training_file = text_of(here, &file.training_file)?;
    let validation_file = file.validation_file.as_deref().map(|path| text_of(here, path)).transpose()?;
    let spec = FineTuneSpec {
        n_epochs: file.n_epochs,
        batch_size: file.batch_size,
        dpo_beta: file.dpo_beta,
        seed: Some(file.seed),
        hearth: file.options,
        ..FineTuneSpec::default()
    };
    inspect::known_modules("options.lora.target_modules", &spec.hearth.lora)?;
    spec.validate().map_err(|error| SpecError::new(key_of(&error.field), error.message))?;
    let eye = inspect::Eye::open(Path::new(&model_path))?;
    let length = Some(spec.hearth.longest_row(eye.context()));
    let found = inspect::Found {
        report: eye.report(Path::new(&training_file), length)?,
        validation: validation_file.as_ref().map(|file| eye.report(Path::new(file), length)).transpose()?,
        shape: eye.shape(),
    };
    let teacher = file.distill.map(|distill| distill.found(config, runtime, here)).transpose()?;
    let train = found.decide(&spec, eye.context(), &machine(config, teacher.as_ref())?).map_err(said)?;
    if teacher.is_some() && train.dpo_beta.is_some() {
        bail!("distill: a teacher has no say in preferences: leave it out");
    }
    Ok(WorkSpec::FineTune(JobSpec {
        model_path,
        model_name: file.model,
        training_file,
        validation_file,
        teacher,
        train,
    }))
}

/// The folder or file of a model by name or path.
async fn weights(config: &Config, here: &Path, name: &str) -> Result<String> {
    if here.join(name).exists() {
        return text_of(here, Path::new(name));
    }
    let registry = Registry::new(Db::open(&config.data_dir).await?, &config.data_dir);
    import::nano(&registry).await?;
    let entry = registry.named(name).await.with_context(|| format!("`{name}` is neither a path nor a model here"))?;
    if entry.base_hash.is_some() {
        bail!("`{name}` is an adapter on {}: start from a base model", entry.base.unwrap_or_default());
    }
    text_of(here, &registry.location(&entry)?.weights)
}

/// Runs in `out`, from where an earlier attempt with the same spec stopped.
fn run(runtime: &tokio::runtime::Runtime, spec: &WorkSpec, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let kept = out.join("spec.json");
    let json = serde_json::to_vec_pretty(spec)?;
    match std::fs::read(&kept) {
        // What is new in a spec since then has its default.
        Ok(earlier) if earlier != json && serde_json::from_slice::<WorkSpec>(&earlier).ok().as_ref() != Some(spec) => {
            bail!("{} holds a run of another spec: name another folder, or remove it", out.display())
        }
        Ok(_) => {}
        Err(_) => std::fs::write(&kept, &json).with_context(|| format!("cannot write {}", kept.display()))?,
    }
    let _lock = child::lock(out)?;
    let stop = {
        let _inside = runtime.enter();
        interrupted()
    };
    // Sets apart the sentences of this attempt from those of earlier ones.
    let mut log = EventLog::open(out, crate::ids::now() as u32)?;
    let mut screen = Screen::new()?;
    let order = || stop.load(Ordering::Relaxed).then_some(Order::Suspend);
    let outcome = engine::run(spec, out, &order, &mut |event| {
        screen.show(&event);
        log.write(event)
    });
    screen.bar.finish_and_clear();
    match outcome? {
        Outcome::Done => println!("{}", out.join("result").display()),
        Outcome::Left => eprintln!("Stopped; the same command goes on from here."),
        Outcome::Failed { message } | Outcome::Full { message } => bail!(message),
    }
    Ok(())
}

/// What a person sees of a run: a bar (without a terminal a line now and then), and above it what is worth keeping.
struct Screen {
    bar: Progress,
    steps: bool,
}

impl Screen {
    fn new() -> Result<Self> {
        let bar = ProgressBar::new(0).with_style(bytes_style()?);
        Ok(Self { bar: Progress::new(bar), steps: false })
    }

    fn show(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Stage { stage, done, total } => {
                self.bar.set_length(*total);
                self.bar.set_position(*done);
                let stage = match stage {
                    Stage::Reading => "reading",
                    Stage::Vocabulary => "learning merges",
                    Stage::Tokenizing => "tokenizing",
                };
                self.bar.set_message(stage);
                self.bar.plain_bytes(stage);
            }
            RunEvent::Metrics(metrics) => {
                if !self.steps {
                    self.steps = true;
                    let template = "{wide_bar} {pos}/{len} {msg} · {eta} left";
                    if let Ok(style) = ProgressStyle::with_template(template) {
                        self.bar.set_style(style);
                    }
                    // What was done before this attempt took no time of it.
                    self.bar.set_position(metrics.step.saturating_sub(1));
                    self.bar.reset_eta();
                }
                self.bar.set_length(metrics.total_steps);
                self.bar.set_position(metrics.step);
                let valid = metrics.valid_loss.map(|loss| format!(", validation {loss:.3}")).unwrap_or_default();
                let speed = metrics.tokens_per_second;
                let words = format!("loss {:.3}{valid}, {speed:.0} tokens/s", metrics.train_loss);
                let stage = if metrics.step < metrics.total_steps { "steps" } else { "the last step" };
                self.bar.plain(stage, || plain_step(metrics, &words));
                self.bar.set_message(words);
            }
            RunEvent::Checkpoint { step, train_loss, valid_loss, .. } => {
                let part =
                    |name: &str, loss: &Option<f64>| loss.map(|loss| format!(", {name} {loss:.4}")).unwrap_or_default();
                self.bar.line(&format!("step {step}{}{}", part("loss", train_loss), part("validation", valid_loss)));
            }
            RunEvent::Sample { step, prompt, text } => self.bar.line(&format!("step {step}: {prompt:?} → {text:?}")),
            RunEvent::Message { level: Level::Info, text } => self.bar.line(text),
            RunEvent::Message { text, .. } => self.bar.line(&format!("! {text}")),
            RunEvent::Decided { parameters, vocab_size, documents, tokens, .. } => self.bar.line(&format!(
                "{:.2} M parameters, {vocab_size} tokens of vocabulary, {}, {:.2} M tokens",
                *parameters as f64 / 1e6,
                counted(*documents, "document"),
                *tokens as f64 / 1e6
            )),
            RunEvent::Done { .. } => {}
        }
    }
}

/// A step where there is no bar to show its number and the time left.
fn plain_step(metrics: &Metrics, words: &str) -> String {
    let left = metrics.seconds_left.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let left = left.map(|left| format!(", {} left", HumanDuration(left))).unwrap_or_default();
    format!("step {}/{}: {words}{left}", metrics.step, metrics.total_steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_key_of_the_file_and_not_the_field_of_the_api() {
        let refused = |field: &str| {
            said(JobError { code: String::new(), message: "no".to_owned(), param: Some(field.to_owned()) }).to_string()
        };
        assert_eq!(refused("hearth.frozen_layers"), "options.frozen_layers: no");
        assert_eq!(refused("beta"), "dpo_beta: no");
        assert_eq!(refused("training_file"), "training_file: no");
        let fits = JobError {
            code: String::new(),
            message: "It fits with `hearth.micro_batch_tokens`: 16.".to_owned(),
            param: None,
        };
        assert_eq!(said(fits).to_string(), "It fits with `options.micro_batch_tokens`: 16.");
        assert_eq!(refused("options.max_length"), "options.max_length: no");
    }
}
