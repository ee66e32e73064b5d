//! Jobs: made here, run in child processes, kept in the database and under `jobs/<id>/`.

mod checkpoints;
pub mod child;
pub mod engine;
pub mod events;
pub mod inspect;
pub mod plans;
pub mod queue;
pub mod state;
pub mod store;
pub mod supervisor;
mod validating;
pub mod view;
pub(crate) mod works;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use hearth_shared::api::fine_tuning::{Checkpoint, CreateJob, Job, JobEvent};
use hearth_shared::api::jobs::JobKind;
use hearth_shared::event::Level;
use hearth_shared::spec::{JobSpec, TrainSpec, WorkSpec};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::db::Db;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::ids;
use crate::registry::{Entry, Registry, import};
use crate::serving::Serving;
use child::Order;
use state::Change;

/// A handle to all jobs; clones share everything.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

struct Inner {
    db: Db,
    files: Files,
    registry: Registry,
    /// What measures the device that jobs are planned for.
    serving: Serving,
    data_dir: PathBuf,
    organization: String,
    /// The program that runs `job`: this one.
    program: PathBuf,
    slots: usize,
    /// Most bytes that a job may be planned to hold; none is what the machine has.
    most_memory: Option<u64>,
    /// This process in the lease column.
    owner: String,
    wake: Notify,
    /// Counts changes, so that streams of events know when to look.
    changes: watch::Sender<u64>,
    running: Mutex<BTreeMap<String, mpsc::Sender<Order>>>,
    /// Held while a model is made of a checkpoint.
    making: tokio::sync::Mutex<()>,
    draining: CancellationToken,
}

impl Jobs {
    pub fn new(config: &Config, db: Db, files: Files, registry: Registry, serving: Serving) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Inner {
            db,
            files,
            registry,
            serving,
            data_dir: config.data_dir.clone(),
            organization: config.organization.clone(),
            program: std::env::current_exe().context("this program does not know where it lies")?,
            slots: config.job_slots,
            most_memory: config.max_job_bytes,
            owner: ids::new("server-"),
            wake: Notify::new(),
            changes: watch::Sender::new(0),
            running: Mutex::default(),
            making: tokio::sync::Mutex::default(),
            draining: CancellationToken::new(),
        })))
    }

    /// Makes a fine-tune, or finds the one the same idempotency key made.
    pub async fn create(&self, request: CreateJob, key: Option<(&str, &str)>) -> Result<Job> {
        let (entry, _) = self.check(&request).await?;
        let id = ids::new("ftjob-");
        let text = serde_json::to_string(&request)?;
        let new = store::NewJob {
            id: &id,
            kind: JobKind::FineTune,
            request: &text,
            model_hash: &entry.hash,
            seed: seed_or_drawn(request.seed),
        };
        self.insert(&new, key, format!("Validating training file: {}", request.training_file)).await
    }

    /// `words`: what is done first.
    async fn insert(&self, new: &store::NewJob<'_>, key: Option<(&str, &str)>, words: String) -> Result<Job> {
        match store::insert(&self.0.db, new, key).await? {
            store::Inserted::Before(earlier) => return self.get(&earlier).await,
            store::Inserted::KeyTaken => {
                return Err(Error::Conflict {
                    message: "This Idempotency-Key was used with a different request.".into(),
                    code: "idempotency_key_reused",
                });
            }
            store::Inserted::New => {}
        }
        let kind = if new.kind == JobKind::FineTune { "fine-tuning" } else { new.kind.as_str() };
        let created = events::sentence("new", Level::Info, format!("Created {kind} job: {}", new.id));
        let validating = events::sentence("validating", Level::Info, words);
        store::append(&self.0.db, new.id, &[created, validating]).await?;
        let jobs = self.clone();
        let validated = new.id.to_owned();
        tokio::spawn(async move { jobs.validate(&validated).await });
        self.get(new.id).await
    }

    pub async fn get(&self, id: &str) -> Result<Job> {
        let row = store::get(&self.0.db, id).await?.ok_or_else(|| Error::job_not_found(id))?;
        Ok(view::job(row, &self.0.organization)?)
    }

    /// The job, if it is a fine-tune.
    pub async fn get_tune(&self, id: &str) -> Result<Job> {
        let job = self.get(id).await?;
        if job.hearth.kind == JobKind::FineTune { Ok(job) } else { Err(Error::job_not_found(id)) }
    }

    /// Newest first. `kind`: none lists all.
    pub async fn list(&self, kind: Option<JobKind>, after: Option<&str>, limit: u32) -> Result<(Vec<Job>, bool)> {
        let (rows, more) = store::list(&self.0.db, kind, after, limit).await?;
        let jobs = rows.into_iter().map(|row| view::job(row, &self.0.organization)).collect::<anyhow::Result<_>>()?;
        Ok((jobs, more))
    }

    /// Newest first, below the event `after`.
    pub async fn events(&self, id: &str, after: Option<&str>, limit: u32) -> Result<(Vec<JobEvent>, bool)> {
        self.get(id).await?;
        let before = match after {
            Some(event) => view::event_seq(id, event)
                .ok_or_else(|| Error::invalid("after", format!("`{event}` is not an event of this job")))?,
            None => i64::MAX,
        };
        let (rows, more) = store::events_before(&self.0.db, id, before, limit).await?;
        Ok((rows.into_iter().map(view::event).collect::<anyhow::Result<_>>()?, more))
    }

    /// Oldest first, above `seq`; what a stream replays.
    pub async fn events_since(&self, id: &str, seq: u64) -> Result<Vec<JobEvent>> {
        let rows = store::events_after(&self.0.db, id, seq as i64, 200).await?;
        Ok(rows.into_iter().map(view::event).collect::<anyhow::Result<_>>()?)
    }

    pub async fn checkpoints(&self, id: &str, after: Option<&str>, limit: u32) -> Result<(Vec<Checkpoint>, bool)> {
        self.get(id).await?;
        Ok(store::checkpoints(&self.0.db, id, after, limit).await?)
    }

    pub async fn cancel(&self, id: &str) -> Result<Job> {
        self.ask(id, Change::Cancel, Some(Order::Cancel), "The job was cancelled").await
    }

    pub async fn pause(&self, id: &str) -> Result<Job> {
        self.ask(id, Change::Pause, Some(Order::Suspend), "The job was paused").await
    }

    pub async fn resume(&self, id: &str) -> Result<Job> {
        self.ask(id, Change::Resume, None, "The job was resumed").await
    }

    async fn ask(&self, id: &str, change: Change, order: Option<Order>, words: &str) -> Result<Job> {
        let before = self.get(id).await?;
        // The same words may be said again after a pause and a resume, so the key is fresh.
        let event = events::sentence(ids::new("asked:"), Level::Info, words);
        if queue::change(&self.0.db, id, change, Some(event)).await?.is_none() {
            return Err(Error::Invalid {
                message: format!("Job {id} is {}; that cannot be done to it now.", before.status.as_str()),
                param: Some("fine_tuning_job_id".into()),
                code: Some("invalid_job_state"),
            });
        }
        self.announce();
        if let (Some(order), Some(orders)) = (order, self.orders().remove(id)) {
            let _ = orders.send(order).await;
        }
        self.0.wake.notify_one();
        self.get(id).await
    }

    /// How many jobs are in each state.
    pub async fn counts(&self) -> Result<BTreeMap<String, i64>> {
        Ok(store::counts(&self.0.db).await?.into_iter().collect())
    }

    /// Jobs under way that need the model.
    pub async fn using_model(&self, hash: &str) -> Result<Vec<String>> {
        Ok(store::using_model(&self.0.db, hash).await?)
    }

    /// Changes whenever an event was stored or a state changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Ends when the server begins to stop.
    pub fn draining(&self) -> CancellationToken {
        self.0.draining.clone()
    }

    fn announce(&self) {
        self.0.changes.send_modify(|count| *count += 1);
    }

    fn orders(&self) -> BTreeMap<String, mpsc::Sender<Order>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn busy(&self) -> Vec<String> {
        self.orders().into_keys().collect()
    }

    fn enter(&self, id: &str, orders: mpsc::Sender<Order>) {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), orders);
    }

    fn leave(&self, id: &str) {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Writes what the process reads. Paths are looked up afresh for every attempt: the data directory may have moved.
    async fn write_spec(&self, id: &str, folder: &Path) -> anyhow::Result<()> {
        let row = store::get(&self.0.db, id).await?.context("the job's row is gone")?;
        let spec = if works::is_tune(&row) { self.tune_spec(&row).await? } else { self.work_spec(&row).await? };
        tokio::fs::create_dir_all(folder).await?;
        tokio::fs::write(folder.join("spec.json"), serde_json::to_vec_pretty(&spec)?).await?;
        Ok(())
    }

    async fn tune_spec(&self, row: &store::Row) -> anyhow::Result<WorkSpec> {
        let request: CreateJob = serde_json::from_str(&row.request)?;
        let train: TrainSpec = serde_json::from_str(row.spec.as_deref().context("the job was never validated")?)?;
        let path = |file: &str| -> anyhow::Result<String> {
            let path = self.0.files.path(file).context("not a file id")?;
            Ok(path.to_str().context("the data directory's path is not UTF-8")?.to_owned())
        };
        let entry = self.base(row).await?;
        let weights = self.0.registry.location(&entry)?.weights;
        Ok(WorkSpec::FineTune(JobSpec {
            teacher: None,
            model_path: weights.to_str().context("the data directory's path is not UTF-8")?.to_owned(),
            model_name: request.model.clone(),
            training_file: path(&request.training_file)?,
            validation_file: request.validation_file.as_deref().map(path).transpose()?,
            train,
        }))
    }

    async fn base(&self, row: &store::Row) -> anyhow::Result<Entry> {
        let request: CreateJob = serde_json::from_str(&row.request)?;
        let entry = self.0.registry.get(&request.model).await?;
        entry
            .filter(|entry| entry.hash == row.model_hash)
            .with_context(|| format!("model `{}` was removed or replaced since the job was made", request.model))
    }

    /// `ft:<base>:<organization>:<suffix>:<id>`, and `:ckpt-step-<n>` behind it for a checkpoint.
    fn tuned_name(&self, row: &store::Row, step: Option<u64>) -> anyhow::Result<String> {
        let request: CreateJob = serde_json::from_str(&row.request)?;
        let tail: String = row.id.trim_start_matches("ftjob-").chars().take(8).collect();
        let suffix = request.suffix.unwrap_or_default();
        let name = format!("ft:{}:{}:{suffix}:{tail}", request.model, self.0.organization);
        Ok(step.map_or(name.clone(), |step| format!("{name}:ckpt-step-{step}")))
    }

    /// Makes a folder of the run's (an adapter, or a whole model) answer under `name`.
    async fn register(&self, row: &store::Row, folder: &Path, name: &str, listed: bool) -> anyhow::Result<()> {
        let base = self.base(row).await?;
        let new = import::Tuned { name: name.to_owned(), base, job: row.id.clone(), listed };
        import::tuned(&self.0.registry, folder, new, &self.0.organization).await
    }
}

/// JSON numbers keep 53 bits everywhere; OpenAI's own seeds have 31.
fn seed_or_drawn(seed: Option<u64>) -> i64 {
    seed.unwrap_or_else(|| u64::from(rand::random::<u32>() >> 1)) as i64
}
