//! Where a checkpoint's files come from: a directory, one file, or bytes in memory (the browser).
//!
//! A source is a flat list of named byte ranges. It knows no format.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::CheckpointError;

/// Named byte ranges.
pub trait Source: Send + Sync {
    /// Names of the files, in order.
    fn names(&self) -> Vec<String>;

    /// All bytes of a file.
    ///
    /// # Errors
    /// When there is no such file or the system refuses to read it.
    fn bytes(&self, name: &str) -> Result<&[u8], CheckpointError>;

    /// Whether there is such a file.
    fn has(&self, name: &str) -> bool {
        self.names().iter().any(|n| n == name)
    }
}

fn missing(name: &str, names: &[String]) -> CheckpointError {
    let found = match names.len() {
        0 => "no files".to_owned(),
        1..=12 => names.join(", "),
        n => format!("{n} others"),
    };
    CheckpointError::Missing { file: name.to_owned(), found }
}

/// Files whose bytes are already in memory.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    files: BTreeMap<String, Arc<[u8]>>,
}

impl Memory {
    /// From names and their bytes. A later file of the same name replaces an earlier one.
    pub fn new<N: Into<String>, B: Into<Arc<[u8]>>>(files: impl IntoIterator<Item = (N, B)>) -> Self {
        Self { files: files.into_iter().map(|(n, b)| (n.into(), b.into())).collect() }
    }
}

impl Source for Memory {
    fn names(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    fn bytes(&self, name: &str) -> Result<&[u8], CheckpointError> {
        self.files.get(name).map(|b| &**b).ok_or_else(|| missing(name, &self.names()))
    }
}

/// The files of a directory, or one file, memory-mapped when they are first asked for.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
pub struct Mapped {
    files: BTreeMap<String, (std::path::PathBuf, std::sync::OnceLock<memmap2::Mmap>)>,
}

#[cfg(not(target_arch = "wasm32"))]
impl Mapped {
    /// Opens a directory (its files, not its subdirectories) or a single file.
    ///
    /// # Errors
    /// When the path does not exist or cannot be listed.
    pub fn open(path: &std::path::Path) -> Result<Self, CheckpointError> {
        let io = |error| CheckpointError::Io { file: path.display().to_string(), error };
        let mut files = BTreeMap::new();
        let mut add = |path: std::path::PathBuf| {
            // A name that is not UTF-8 is no file of a checkpoint.
            if let Some(name) = path.file_name().and_then(|n| n.to_str()) {
                files.insert(name.to_owned(), (path.clone(), std::sync::OnceLock::new()));
            }
        };
        if std::fs::metadata(path).map_err(io)?.is_dir() {
            for entry in std::fs::read_dir(path).map_err(io)? {
                let path = entry.map_err(io)?.path();
                // `is_file` follows links: the Hugging Face cache is made of them.
                if path.is_file() {
                    add(path);
                }
            }
        } else {
            add(path.to_owned());
        }
        Ok(Self { files })
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Source for Mapped {
    fn names(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    fn bytes(&self, name: &str) -> Result<&[u8], CheckpointError> {
        let (path, map) = self.files.get(name).ok_or_else(|| missing(name, &self.names()))?;
        if let Some(map) = map.get() {
            return Ok(map);
        }
        let io = |error| CheckpointError::Io { file: path.display().to_string(), error };
        let file = std::fs::File::open(path).map_err(io)?;
        // SAFETY: the map is read-only and private to this value. A checkpoint that another process cuts short while it is
        // being read ends this process with SIGBUS, as with every program that maps weights; the server never writes into
        // a model directory in place (`bundle::save` renames a finished one).
        let mapped = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
        Ok(map.get_or_init(|| mapped))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn memory_and_directory_agree() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.json"), "{}").unwrap();
        std::fs::write(dir.path().join("empty"), "").unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let mapped = Mapped::open(dir.path()).unwrap();
        let memory = Memory::new([("a.json", b"{}".to_vec()), ("empty", vec![])]);
        assert_eq!(mapped.names(), memory.names());
        for name in mapped.names() {
            assert_eq!(mapped.bytes(&name).unwrap(), memory.bytes(&name).unwrap());
        }
        assert!(matches!(mapped.bytes("sub"), Err(CheckpointError::Missing { .. })));
    }

    #[test]
    fn one_file_is_a_source_of_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        std::fs::write(&path, "GGUF").unwrap();
        assert_eq!(Mapped::open(&path).unwrap().bytes("m.gguf").unwrap(), b"GGUF");
        assert!(Mapped::open(&dir.path().join("none")).is_err());
    }
}
