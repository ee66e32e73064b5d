//! A data set as token ids on disk: shards of u16 or u32 in the machine-independent order (little endian), the ends of their
//! documents beside them, and one index with sizes and checksums. Read through memory maps: a data set may be larger than memory.
//!
//! | file | holds |
//! |---|---|
//! | `shard-00000.bin` | ids, one document behind the other, each closed by the end token |
//! | `shard-00000.ends` | u64 for each document: ids up to its end, counted from the shard's start |
//! | `index.json` | [`Index`]; written last, so that a folder with one is whole |

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

pub const INDEX: &str = "index.json";
const VERSION: u32 = 1;

/// Why shards could not be written or read.
#[derive(Debug, Error)]
pub enum ShardError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error("{}: {problem}", path.display())]
    Wrong { path: PathBuf, problem: String },
}

impl ShardError {
    pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> Self {
        move |error| Self::Io { path: path.to_owned(), error }
    }

    pub(crate) fn wrong(path: &Path, problem: impl Into<String>) -> Self {
        Self::Wrong { path: path.to_owned(), problem: problem.into() }
    }
}

/// Type of the stored ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdType {
    U16,
    U32,
}

impl IdType {
    /// The smaller one that holds every id of a vocabulary.
    pub fn of(vocab_size: usize) -> Self {
        if vocab_size <= 1 << 16 { Self::U16 } else { Self::U32 }
    }

    pub fn bytes(self) -> usize {
        match self {
            Self::U16 => 2,
            Self::U32 => 4,
        }
    }
}

/// What a folder of shards is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    pub version: u32,
    /// SHA-256 of the `tokenizer.json` the ids are of.
    pub tokenizer: String,
    pub vocab_size: usize,
    pub id_type: IdType,
    /// Closes every document.
    pub end_token: u32,
    pub documents: u64,
    /// End tokens included.
    pub tokens: u64,
    /// Of the texts, in UTF-8.
    pub text_bytes: u64,
    pub shards: Vec<Shard>,
}

/// One shard's entry in the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Without its ending: `shard-00000`.
    pub name: String,
    pub documents: u64,
    pub tokens: u64,
    /// SHA-256 of the two files.
    pub ids_sha256: String,
    pub ends_sha256: String,
}

fn shard_name(number: usize) -> String {
    format!("shard-{number:05}")
}

impl Shard {
    fn ids(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.bin", self.name))
    }

    fn ends(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.ends", self.name))
    }
}

/// Writes one shard: memory for its documents' ends, not for its ids.
#[derive(Debug)]
pub(crate) struct ShardWriter {
    name: String,
    folder: PathBuf,
    id_type: IdType,
    file: tempfile::NamedTempFile,
    hash: Sha256,
    buffer: Vec<u8>,
    ends: Vec<u64>,
    tokens: u64,
}

/// Bytes of ids that are kept before they are written.
const BUFFER: usize = 1 << 20;

impl ShardWriter {
    pub fn new(folder: &Path, number: usize, id_type: IdType) -> Result<Self, ShardError> {
        let file = partial_file(folder)?;
        Ok(Self {
            name: shard_name(number),
            folder: folder.to_owned(),
            id_type,
            file,
            hash: Sha256::new(),
            buffer: Vec::with_capacity(BUFFER),
            ends: Vec::new(),
            tokens: 0,
        })
    }

    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// `ids` must fit the shard's type.
    pub fn push(&mut self, ids: &[u32]) -> Result<(), ShardError> {
        match self.id_type {
            IdType::U16 => self.buffer.extend(ids.iter().flat_map(|id| (*id as u16).to_le_bytes())),
            IdType::U32 => self.buffer.extend(ids.iter().flat_map(|id| id.to_le_bytes())),
        }
        self.tokens += ids.len() as u64;
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// The document that was pushed last is over.
    pub fn end_document(&mut self) {
        self.ends.push(self.tokens);
    }

    fn flush(&mut self) -> Result<(), ShardError> {
        self.hash.update(&self.buffer);
        self.file.write_all(&self.buffer).map_err(ShardError::io(self.file.path()))?;
        self.buffer.clear();
        Ok(())
    }

    /// Puts both files in their places, durably.
    pub fn finish(mut self) -> Result<Shard, ShardError> {
        self.flush()?;
        let ends: Vec<u8> = self.ends.iter().flat_map(|end| end.to_le_bytes()).collect();
        let shard = Shard {
            name: self.name,
            documents: self.ends.len() as u64,
            tokens: self.tokens,
            ids_sha256: hex(&self.hash.finalize()),
            ends_sha256: hex(&Sha256::digest(&ends)),
        };
        let path = shard.ids(&self.folder);
        self.file.as_file().sync_all().map_err(ShardError::io(&path))?;
        self.file.persist(&path).map_err(|e| ShardError::Io { path, error: e.error })?;
        write_whole(&shard.ends(&self.folder), &ends)?;
        Ok(shard)
    }
}

/// Writes beside `path` and renames: whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ShardError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let file = partial_file(folder)?;
    let mut writer = BufWriter::new(file);
    writer.write_all(bytes).map_err(ShardError::io(path))?;
    let file = writer.into_inner().map_err(|e| ShardError::io(path)(e.into_error()))?;
    file.as_file().sync_all().map_err(ShardError::io(path))?;
    file.persist(path).map_err(|e| ShardError::io(path)(e.error))?;
    Ok(())
}

/// Begins the names of files that are not finished.
const PARTIAL: &str = ".partial-";

fn partial_file(folder: &Path) -> Result<tempfile::NamedTempFile, ShardError> {
    tempfile::Builder::new().prefix(PARTIAL).tempfile_in(folder).map_err(ShardError::io(folder))
}

/// Removes what a killed run left unfinished.
pub(crate) fn remove_partial(folder: &Path) -> Result<(), ShardError> {
    let io = ShardError::io(folder);
    for entry in std::fs::read_dir(folder).map_err(&io)? {
        let entry = entry.map_err(&io)?;
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            std::fs::remove_file(entry.path()).map_err(&io)?;
        }
    }
    Ok(())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Index {
    pub(crate) fn new(tokenizer: String, vocab_size: usize, end_token: u32) -> Self {
        Self {
            version: VERSION,
            tokenizer,
            vocab_size,
            id_type: IdType::of(vocab_size),
            end_token,
            documents: 0,
            tokens: 0,
            text_bytes: 0,
            shards: Vec::new(),
        }
    }

    /// # Errors
    /// No index there, or one that isn't ours.
    pub fn read(folder: &Path) -> Result<Self, ShardError> {
        let path = folder.join(INDEX);
        let text = std::fs::read(&path).map_err(ShardError::io(&path))?;
        let index: Self = serde_json::from_slice(&text).map_err(|e| ShardError::wrong(&path, e.to_string()))?;
        if index.version != VERSION {
            return Err(ShardError::wrong(&path, format!("version {}, this program reads {VERSION}", index.version)));
        }
        Ok(index)
    }
}

/// An open data set.
#[derive(Debug)]
pub struct Shards {
    index: Index,
    maps: Vec<Maps>,
    /// Documents before each shard, and all of them at the end.
    before: Vec<u64>,
}

#[derive(Debug)]
struct Maps {
    ids: Mmap,
    ends: Mmap,
}

impl Shards {
    /// Opens a folder and checks every size against the index.
    ///
    /// # Errors
    /// A file that is missing or of another size, or ends that don't ascend to the shard's length.
    pub fn open(folder: &Path) -> Result<Self, ShardError> {
        let index = Index::read(folder)?;
        let (mut maps, mut before) = (Vec::new(), vec![0]);
        for (number, shard) in index.shards.iter().enumerate() {
            // A name becomes a path, and the index may come from anywhere.
            if shard.name != shard_name(number) {
                return Err(ShardError::wrong(
                    &folder.join(INDEX),
                    format!("shard {number} is called `{}`", shard.name),
                ));
            }
            let wanted = shard.tokens.checked_mul(index.id_type.bytes() as u64);
            let ids = map(&shard.ids(folder), wanted)?;
            let ends = map(&shard.ends(folder), shard.documents.checked_mul(8))?;
            let mut last = 0;
            for end in ends.chunks_exact(8).map(u64_at) {
                if end <= last {
                    return Err(ShardError::wrong(&shard.ends(folder), format!("{end} does not follow {last}")));
                }
                last = end;
            }
            if last != shard.tokens {
                let problem = format!("documents end at {last}, the shard at {}", shard.tokens);
                return Err(ShardError::wrong(&shard.ends(folder), problem));
            }
            before.push(before.last().copied().unwrap_or(0) + shard.documents);
            maps.push(Maps { ids, ends });
        }
        let shards = Self { index, maps, before };
        let (documents, tokens) = (shards.before.last().copied().unwrap_or(0), shards.tokens());
        if documents != shards.index.documents || tokens != shards.index.tokens {
            return Err(ShardError::wrong(&folder.join(INDEX), "its sums are not those of its shards"));
        }
        Ok(shards)
    }

    /// Reads everything and compares checksums and ids.
    ///
    /// # Errors
    /// The first shard that is not what was written, or an id outside the vocabulary.
    pub fn verify(&self, folder: &Path) -> Result<(), ShardError> {
        for (shard, maps) in self.index.shards.iter().zip(&self.maps) {
            for (path, bytes, sum) in [
                (shard.ids(folder), &maps.ids, &shard.ids_sha256),
                (shard.ends(folder), &maps.ends, &shard.ends_sha256),
            ] {
                if hex(&Sha256::digest(bytes)) != *sum {
                    return Err(ShardError::wrong(&path, "its checksum is not the index's: the file was changed"));
                }
            }
        }
        for document in 0..self.documents() {
            let ids = self.document(document);
            if let Some(id) = ids.iter().find(|id| **id as usize >= self.index.vocab_size) {
                let problem = format!("id {id} in a vocabulary of {}", self.index.vocab_size);
                return Err(ShardError::wrong(&folder.join(INDEX), problem));
            }
        }
        Ok(())
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    pub fn documents(&self) -> u64 {
        self.index.documents
    }

    fn tokens(&self) -> u64 {
        self.index.shards.iter().map(|shard| shard.tokens).sum()
    }

    /// Ids of a document, its end token included.
    ///
    /// # Panics
    /// There is no such document.
    pub fn document(&self, number: u64) -> Vec<u32> {
        let mut out = Vec::new();
        self.read(number, 0, usize::MAX, &mut out);
        out
    }

    /// Number of ids of a document, its end token included.
    pub fn length(&self, number: u64) -> u64 {
        let (_, from, to) = self.find(number);
        to - from
    }

    /// Adds at most `count` ids of a document to `out`, from its id `skip` on.
    pub(crate) fn read(&self, number: u64, skip: u64, count: usize, out: &mut Vec<u32>) {
        let (maps, from, to) = self.find(number);
        let from = from + skip;
        let to = to.min(from.saturating_add(count as u64));
        let width = self.index.id_type.bytes();
        let bytes = &maps.ids[from as usize * width..to as usize * width];
        match self.index.id_type {
            IdType::U16 => out.extend(bytes.chunks_exact(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]])))),
            IdType::U32 => out.extend(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        }
    }

    /// The shard of a document and where it lies there.
    fn find(&self, number: u64) -> (&Maps, u64, u64) {
        assert!(number < self.documents(), "document {number} of {}", self.documents());
        let shard = self.before.partition_point(|before| *before <= number) - 1;
        let maps = &self.maps[shard];
        let at = (number - self.before[shard]) as usize;
        let end = |i: usize| u64_at(&maps.ends[i * 8..i * 8 + 8]);
        (maps, if at == 0 { 0 } else { end(at - 1) }, end(at))
    }
}

fn u64_at(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes were cut"))
}

fn map(path: &Path, wanted: Option<u64>) -> Result<Mmap, ShardError> {
    let io = ShardError::io(path);
    let file = File::open(path).map_err(&io)?;
    let length = file.metadata().map_err(&io)?.len();
    if wanted != Some(length) {
        return Err(ShardError::wrong(path, format!("{length} bytes, the index says {}", wanted.unwrap_or(u64::MAX))));
    }
    // SAFETY: the file is written once and renamed into place; nobody changes it while it is mapped.
    unsafe { Mmap::map(&file) }.map_err(io)
}
