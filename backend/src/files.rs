//! Uploaded files and job results: `files/<id>` on disk, a row in the database. It knows no HTTP.

mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use hearth_shared::api::files::FileObject;
use tokio::io::AsyncWriteExt as _;

use crate::db::Db;
use crate::error::Error;
use crate::ids;

#[derive(Clone)]
pub struct Files {
    db: Db,
    folder: Arc<Path>,
    max_bytes: u64,
}

impl Files {
    pub fn new(db: Db, data_dir: &Path, max_bytes: u64) -> Result<Self> {
        let folder = data_dir.join("files");
        std::fs::create_dir_all(&folder)?;
        Ok(Self { db, folder: folder.into(), max_bytes })
    }

    /// Where the bytes of a file lie, whose id must be one of ours.
    pub fn path(&self, id: &str) -> Option<PathBuf> {
        ids::is_plain(id).then(|| self.folder.join(id))
    }

    /// Begins an upload; nothing is listed before [`Upload::finish`].
    pub async fn begin(&self) -> Result<Upload, Error> {
        let id = ids::new("file-");
        let part = PartFile(self.folder.join(format!("{id}.part")));
        let out = tokio::fs::File::create(&part.0).await?;
        Ok(Upload { files: self.clone(), id, part, out, bytes: 0 })
    }

    /// Stores `content` under an id of the caller's; a second call with the same id changes nothing.
    pub async fn put(&self, id: &str, filename: &str, purpose: &str, content: &[u8]) -> Result<FileObject> {
        let path = self.path(id).ok_or_else(|| anyhow::anyhow!("`{id}` is not a file id"))?;
        tokio::fs::write(&path, content).await?;
        store::insert(&self.db, id, content.len() as i64, filename, purpose).await?;
        store::get(&self.db, id).await?.ok_or_else(|| anyhow::anyhow!("file {id} was deleted meanwhile"))
    }

    /// Takes a file over under an id of the caller's: not copied where it lies on the same disk. It may be done twice.
    pub async fn adopt(&self, id: &str, filename: &str, purpose: &str, from: &Path) -> Result<()> {
        let path = self.path(id).ok_or_else(|| anyhow::anyhow!("`{id}` is not a file id"))?;
        // A hard link leaves the source whole until the job is settled; a copy does on disks without them.
        match tokio::fs::hard_link(from, &path).await {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(_) => {
                tokio::fs::copy(from, &path).await?;
            }
        }
        let bytes = tokio::fs::metadata(&path).await?.len();
        store::insert(&self.db, id, bytes as i64, filename, purpose).await
    }

    pub async fn get(&self, id: &str) -> Result<FileObject, Error> {
        store::get(&self.db, id).await?.ok_or_else(|| Error::file_not_found(id))
    }

    /// A page, by creation; `has_more` beside it.
    pub async fn list(&self, filter: &FileFilter) -> Result<(Vec<FileObject>, bool), Error> {
        Ok(store::list(&self.db, filter).await?)
    }

    pub async fn delete(&self, id: &str) -> Result<(), Error> {
        if !store::delete(&self.db, id).await? {
            return Err(Error::file_not_found(id));
        }
        if let Some(path) = self.path(id) {
            tokio::fs::remove_file(path).await?;
        }
        Ok(())
    }
}

/// Which files to list.
#[derive(Clone, Debug, Default)]
pub struct FileFilter {
    pub purpose: Option<String>,
    pub after: Option<String>,
    pub limit: u32,
    pub ascending: bool,
}

/// A file on its way in. Dropped before it is finished, it leaves nothing behind.
pub struct Upload {
    files: Files,
    id: String,
    part: PartFile,
    out: tokio::fs::File,
    bytes: u64,
}

/// Removes itself; after a rename there is nothing left to remove.
struct PartFile(PathBuf);

impl Drop for PartFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Upload {
    /// # Errors
    /// `TooLarge` at the first byte over the limit.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.bytes += chunk.len() as u64;
        if self.bytes > self.files.max_bytes {
            return Err(Error::TooLarge { limit: self.files.max_bytes });
        }
        Ok(self.out.write_all(chunk).await?)
    }

    pub async fn finish(mut self, filename: &str, purpose: &str) -> Result<FileObject, Error> {
        self.out.flush().await?;
        self.out.sync_all().await?;
        tokio::fs::rename(&self.part.0, self.files.folder.join(&self.id)).await?;
        store::insert(&self.files.db, &self.id, self.bytes as i64, filename, purpose).await?;
        self.files.get(&self.id).await
    }
}
