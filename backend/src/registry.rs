//! Models by name. Files live under `models/<content hash>/`, so that two names of one model share them; the names, and
//! what a client may want to know, live in the database, where every process on the data directory sees them at once.

pub mod import;
pub mod pull;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use hearth_shared::api::models::{Model, ModelFile, ModelInfo};

use crate::db::Db;
use crate::error::Error;
use crate::misspelt::nearest_whole;
pub use store::Entry;

/// The model that is here from the first start.
pub const NANO: &str = "hearth-nano";

#[derive(Clone)]
pub struct Registry {
    db: Db,
    models: Arc<Path>,
}

/// Where the files of an entry lie, ready to be loaded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// The folder or `.gguf` file of the (base) model.
    pub weights: PathBuf,
    /// The adapter's folder, for a tuned model.
    pub adapter: Option<PathBuf>,
}

impl Registry {
    pub fn new(db: Db, data_dir: &Path) -> Self {
        Self { db, models: data_dir.join("models").into() }
    }

    pub async fn get(&self, id: &str) -> Result<Option<Entry>> {
        store::get(&self.db, id).await
    }

    /// The model that a request names.
    ///
    /// # Errors
    /// There is none; the answer names the one that may have been meant.
    pub async fn find(&self, id: &str) -> crate::error::Result<Entry> {
        match self.get(id).await? {
            Some(entry) => Ok(entry),
            None => Err(Error::model_not_found(id).meant(self.nearest(id).await.as_deref())),
        }
    }

    /// The model that a command names.
    ///
    /// # Errors
    /// As [`Self::find`], for people at a terminal.
    pub async fn named(&self, name: &str) -> Result<Entry> {
        if let Some(entry) = self.get(name).await? {
            return Ok(entry);
        }
        match self.nearest(name).await {
            Some(near) => bail!("there is no model `{name}`; did you mean `{near}`?"),
            None => bail!("there is no model `{name}`; see `hearth model list`"),
        }
    }

    /// The listed model whose name is nearest to a wrong one.
    pub async fn nearest(&self, id: &str) -> Option<String> {
        let entries = self.list().await.ok()?;
        nearest_whole(id, entries.into_iter().map(|entry| entry.id))
    }

    /// Newest first; checkpoints are left out.
    pub async fn list(&self) -> Result<Vec<Entry>> {
        store::list(&self.db).await
    }

    pub async fn add(&self, entry: &Entry) -> Result<()> {
        store::put(&self.db, entry).await
    }

    /// Forgets the name, and the files once no name needs them. `None`: no such model. `Some(Err)`: models tuned from it.
    pub async fn remove(&self, id: &str) -> Result<Option<Result<(), Vec<String>>>> {
        let Some(entry) = self.get(id).await? else {
            return Ok(None);
        };
        let tuned = store::tuned_from(&self.db, id, &entry.hash).await?;
        if !tuned.is_empty() {
            return Ok(Some(Err(tuned)));
        }
        if store::delete(&self.db, &entry).await? {
            let folder = self.folder(&entry.hash)?;
            match tokio::fs::remove_dir_all(&folder).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", folder.display()));
                }
                _ => {}
            }
        }
        Ok(Some(Ok(())))
    }

    pub fn location(&self, entry: &Entry) -> Result<Location> {
        match &entry.base_hash {
            Some(base) => {
                Ok(Location { weights: weights(&self.folder(base)?)?, adapter: Some(self.folder(&entry.hash)?) })
            }
            None => Ok(Location { weights: weights(&self.folder(&entry.hash)?)?, adapter: None }),
        }
    }

    /// The folder of a content hash.
    ///
    /// # Errors
    /// When `hash` is not a hash: it may come from a request, and must not leave the data directory.
    pub fn folder(&self, hash: &str) -> Result<PathBuf> {
        anyhow::ensure!(crate::ids::is_plain(hash), "`{hash}` is not a content hash");
        Ok(self.models.join(hash))
    }

    /// OpenAI's object with ours in it.
    pub fn object(&self, entry: &Entry, loaded: bool) -> Model {
        let files = self.folder(&entry.hash).map(|folder| files(&folder)).unwrap_or_default();
        Model {
            id: entry.id.clone(),
            object: "model".into(),
            created: entry.created,
            owned_by: entry.owned_by.clone(),
            hearth: ModelInfo {
                base: entry.base.clone(),
                base_hash: entry.base_hash.clone(),
                job: entry.job.clone(),
                hash: entry.hash.clone(),
                bytes: entry.bytes as u64,
                parameters: entry.parameters as u64,
                architecture: entry.architecture.clone(),
                context: entry.context as u64,
                memory: entry.memory(),
                chat: entry.chat,
                format: entry.format.clone(),
                loaded,
                files,
            },
        }
    }
}

impl Entry {
    /// Bytes of the weights in memory, in f32, and a cache of one full context is small beside them.
    pub fn memory(&self) -> u64 {
        self.parameters as u64 * 4
    }
}

/// A GGUF is one file in its folder; everything else is the folder itself.
fn weights(folder: &Path) -> Result<PathBuf> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("the model's files are gone: {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "gguf") {
            return Ok(path);
        }
    }
    Ok(folder.to_owned())
}

fn files(folder: &Path) -> Vec<ModelFile> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<ModelFile> = entries
        .flatten()
        .filter_map(|entry| {
            let bytes = entry.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
            Some(ModelFile { name: entry.file_name().into_string().ok()?, bytes })
        })
        .collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}
