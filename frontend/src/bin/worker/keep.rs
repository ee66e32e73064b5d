//! Large files in the browser's origin-private file system (OPFS), one folder a model, named by the model's hash. A file
//! that is shorter than it should be is a download to take up again.

use hearth_shared::lab::LabError;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions, FileSystemGetFileOptions,
    FileSystemReadWriteOptions, FileSystemSyncAccessHandle,
};

use crate::{fetch::message, port::scope};

const FOLDER: &str = "models";

/// An open file. It is locked against other tabs until it is dropped.
pub struct Kept {
    file: FileSystemSyncAccessHandle,
}

impl Kept {
    /// Opens the file, making it and its folders where they are missing.
    ///
    /// # Errors
    /// The browser has no such storage (a private window), or another tab is writing the file.
    pub async fn open(hash: &str, name: &str) -> Result<Self, LabError> {
        Self::try_open(hash, name).await.map_err(|error| failed(&error))
    }

    async fn try_open(hash: &str, name: &str) -> Result<Self, JsValue> {
        let root: FileSystemDirectoryHandle =
            JsFuture::from(scope().navigator().storage().get_directory()).await?.dyn_into()?;
        let models = folder(&root, FOLDER).await?;
        let model = folder(&models, hash).await?;
        let options = FileSystemGetFileOptions::new();
        options.set_create(true);
        // A name is flat in OPFS: shards in folders keep their place by an escaped slash.
        let name = name.replace('/', "%2F");
        let file: FileSystemFileHandle =
            JsFuture::from(model.get_file_handle_with_options(&name, &options)).await?.dyn_into()?;
        let file = JsFuture::from(file.create_sync_access_handle()).await?.dyn_into()?;
        Ok(Self { file })
    }

    pub fn size(&self) -> Result<u64, LabError> {
        Ok(self.file.get_size().map_err(|error| failed(&error))? as u64)
    }

    pub fn cut(&self, size: u64) -> Result<(), LabError> {
        self.file.truncate_with_f64(size as f64).map_err(|error| failed(&error))
    }

    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), LabError> {
        let options = FileSystemReadWriteOptions::new();
        options.set_at(at as f64);
        let written = self.file.write_with_u8_array_and_options(bytes, &options).map_err(|error| failed(&error))?;
        if written as usize == bytes.len() {
            return Ok(());
        }
        Err(LabError::Storage { needed: bytes.len() as u64, available: written as u64 })
    }

    pub fn flush(&self) -> Result<(), LabError> {
        self.file.flush().map_err(|error| failed(&error))
    }

    /// The whole file.
    pub fn read(&self) -> Result<Vec<u8>, LabError> {
        let mut bytes = vec![0; self.size()? as usize];
        let options = FileSystemReadWriteOptions::new();
        options.set_at(0.0);
        let read = self.file.read_with_u8_array_and_options(&mut bytes, &options).map_err(|error| failed(&error))?;
        bytes.truncate(read as usize);
        Ok(bytes)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.file.close();
    }
}

async fn folder(parent: &FileSystemDirectoryHandle, name: &str) -> Result<FileSystemDirectoryHandle, JsValue> {
    let options = FileSystemGetDirectoryOptions::new();
    options.set_create(true);
    JsFuture::from(parent.get_directory_handle_with_options(name, &options)).await?.dyn_into()
}

fn failed(error: &JsValue) -> LabError {
    LabError::Other { message: format!("the browser's storage: {}", message(error)) }
}
