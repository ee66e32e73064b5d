//! The parts of a running server, put together once and lent to everybody.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::config::Config;
use crate::db::Db;
use crate::files::Files;
use crate::jobs::Jobs;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::registry::pull::Pulls;
use crate::serving::Serving;
use crate::system;

/// Clones share everything.
#[derive(Clone)]
pub struct App(Arc<Parts>);

pub struct Parts {
    pub config: Config,
    pub db: Db,
    pub files: Files,
    pub registry: Registry,
    pub jobs: Jobs,
    pub serving: Serving,
    pub pulls: Pulls,
    pub metrics: Metrics,
    pub started: Instant,
    /// The model that comes with the program is registered, or could not be.
    pub settled: AtomicBool,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Opens the data directory and starts the device thread; nothing is served yet.
    pub async fn open(config: Config) -> Result<Self> {
        let db = Db::open(&config.data_dir).await?;
        let files = Files::new(db.clone(), &config.data_dir, config.max_upload_bytes)?;
        let registry = Registry::new(db.clone(), &config.data_dir);
        let budget = config.max_loaded_bytes.unwrap_or_else(|| system::memory().total.unwrap_or(8 << 30) / 2);
        let serving = Serving::start(budget).context("cannot start the device thread")?;
        let jobs = Jobs::new(&config, db.clone(), files.clone(), registry.clone(), serving.clone())?;
        let pulls = Pulls::new(registry.clone(), &config.data_dir);
        let metrics = Metrics::default();
        let started = Instant::now();
        let settled = AtomicBool::new(false);
        Ok(Self(Arc::new(Parts { config, db, files, registry, jobs, serving, pulls, metrics, started, settled })))
    }
}
