//! Texts to shards: in parallel, with bounded memory, and from the last finished shard on where an earlier run stopped.

use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::shards::{INDEX, Index, ShardError, ShardWriter, hex, remove_partial, write_whole};
use super::texts::{Piece, Place, TextError, Texts};
use crate::tokenizer::{Special, Tokenizer};

const PROGRESS: &str = "progress.json";
/// Bytes of text that are tokenized at once.
const AT_ONCE: usize = if cfg!(test) { 256 << 10 } else { 8 << 20 };

/// Why texts did not become shards.
#[derive(Debug, thiserror::Error)]
pub enum TokenizeError {
    #[error(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    Shard(#[from] ShardError),
    #[error("{folder} holds another data set ({problem}): give another folder, or remove it")]
    Other { folder: String, problem: &'static str },
    #[error("the texts hold nothing to train on")]
    Empty,
    #[error("stopped; the same command goes on from here")]
    Stopped,
}

/// How texts become shards.
#[derive(Clone, Debug)]
pub struct Tokenize<'a> {
    pub texts: &'a Texts,
    pub tokenizer: &'a Tokenizer,
    /// Closes every document.
    pub end_token: u32,
    /// A shard is full at the first document's end behind this many ids.
    pub shard_tokens: u64,
}

/// SHA-256 of a tokenizer's `tokenizer.json`: what an [`Index`] knows it by.
pub fn fingerprint(tokenizer: &Tokenizer) -> String {
    hex(&Sha256::digest(tokenizer.to_json()))
}

/// What is done so far, of all texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub text_bytes: u64,
    pub documents: u64,
    pub tokens: u64,
}

/// What stands in the folder until the index does.
#[derive(Serialize, Deserialize)]
struct Progress {
    /// Of the texts, the tokenizer and the settings.
    settings: String,
    next: Place,
    index: Index,
}

impl Tokenize<'_> {
    /// Fills `folder`. `report` hears of every batch and says whether to go on. A folder that is finished for the same texts,
    /// tokenizer and settings is left as it is.
    ///
    /// # Errors
    /// Texts that cannot be read, a folder of another data set, or the system.
    pub fn run(&self, folder: &Path, report: &mut dyn FnMut(Done) -> bool) -> Result<Index, TokenizeError> {
        std::fs::create_dir_all(folder).map_err(ShardError::io(folder))?;
        let settings = self.settings()?;
        let stamp = folder.join("settings.sha256");
        if folder.join(INDEX).exists() {
            let same = std::fs::read_to_string(&stamp).is_ok_and(|stored| stored == settings);
            return if same { Ok(Index::read(folder)?) } else { Err(other(folder, "finished with other settings")) };
        }
        let mut progress = self.progress(folder, settings)?;
        remove_partial(folder)?;
        self.shards(folder, &mut progress, report)?;
        if progress.index.documents == 0 {
            return Err(TokenizeError::Empty);
        }
        write_whole(&stamp, progress.settings.as_bytes())?;
        write_whole(&folder.join(INDEX), &json(&progress.index))?;
        let _ = std::fs::remove_file(folder.join(PROGRESS));
        Ok(progress.index)
    }

    /// Where an earlier run got to, or the start.
    fn progress(&self, folder: &Path, settings: String) -> Result<Progress, TokenizeError> {
        let path = folder.join(PROGRESS);
        match std::fs::read(&path) {
            Ok(text) => {
                let progress: Progress =
                    serde_json::from_slice(&text).map_err(|e| ShardError::wrong(&path, e.to_string()))?;
                if progress.settings != settings {
                    return Err(other(folder, "begun with other texts, tokenizer or settings"));
                }
                Ok(progress)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let index = Index::new(fingerprint(self.tokenizer), self.tokenizer.vocab_size(), self.end_token);
                Ok(Progress { settings, next: Place::default(), index })
            }
            Err(error) => Err(ShardError::Io { path, error }.into()),
        }
    }

    fn shards(
        &self,
        folder: &Path,
        progress: &mut Progress,
        report: &mut dyn FnMut(Done) -> bool,
    ) -> Result<(), TokenizeError> {
        let mut pieces = self.texts.pieces(progress.next);
        let mut writer: Option<ShardWriter> = None;
        let mut whole = progress.index.clone();
        loop {
            let mut batch: Vec<Piece> = Vec::new();
            let mut bytes = 0;
            while bytes < AT_ONCE
                && let Some(piece) = pieces.next().transpose()?
            {
                bytes += piece.text.len();
                batch.push(piece);
            }
            if batch.is_empty() {
                break;
            }
            // Order is kept, so threads don't change the shards.
            let ids: Vec<Vec<u32>> =
                batch.par_iter().map(|piece| self.tokenizer.encode(&piece.text, Special::Plain)).collect();
            for (piece, ids) in batch.iter().zip(ids) {
                let number = progress.index.shards.len();
                let shard = match &mut writer {
                    Some(shard) => shard,
                    None => writer.insert(ShardWriter::new(folder, number, whole.id_type)?),
                };
                shard.push(&ids)?;
                whole.tokens += ids.len() as u64;
                whole.text_bytes += piece.text.len() as u64;
                if piece.last {
                    shard.push(&[self.end_token])?;
                    shard.end_document();
                    whole.tokens += 1;
                    whole.documents += 1;
                    if shard.tokens() >= self.shard_tokens {
                        self.finish(folder, writer.take(), piece.after, progress, &mut whole)?;
                    }
                }
            }
            let Index { text_bytes, documents, tokens, .. } = whole;
            if !report(Done { text_bytes, documents, tokens }) {
                return Err(TokenizeError::Stopped);
            }
        }
        let end = Place { file: self.texts.files.len(), ..Place::default() };
        self.finish(folder, writer, end, progress, &mut whole)
    }

    /// Keeps a full shard and the place behind it.
    fn finish(
        &self,
        folder: &Path,
        writer: Option<ShardWriter>,
        next: Place,
        progress: &mut Progress,
        whole: &mut Index,
    ) -> Result<(), TokenizeError> {
        let Some(writer) = writer else {
            return Ok(());
        };
        whole.shards.push(writer.finish()?);
        progress.index = whole.clone();
        progress.next = next;
        Ok(write_whole(&folder.join(PROGRESS), &json(progress))?)
    }

    /// Everything that decides the shards. Files count by path, size and time: hashing them would read them twice.
    fn settings(&self) -> Result<String, TokenizeError> {
        let mut hash = Sha256::new();
        let mut add = |part: &str| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        for path in &self.texts.files {
            let io = |error| TextError::Io { path: path.clone(), error };
            let metadata = std::fs::metadata(path).map_err(io)?;
            let path = std::path::absolute(path).map_err(io)?;
            add(&format!("{} {} {:?}", path.display(), metadata.len(), metadata.modified().map_err(io)?));
        }
        add(&format!("{:?} {}", self.texts.split, self.texts.field));
        add(&format!("{} {}", self.end_token, self.shard_tokens));
        add(&self.tokenizer.to_json());
        Ok(hex(&hash.finalize()))
    }
}

fn other(folder: &Path, problem: &'static str) -> TokenizeError {
    TokenizeError::Other { folder: folder.display().to_string(), problem }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("numbers and texts are JSON")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::super::shards::Shards;
    use super::super::texts::Split;
    use super::*;
    use std::collections::BTreeMap;

    fn nano() -> Tokenizer {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../public/models/nano/tokenizer.json");
        Tokenizer::from_hf(&std::fs::read(path).unwrap(), None).unwrap()
    }

    /// Long and short documents in two languages.
    fn write_texts(folder: &Path) {
        let line = "Call me Ishmael's friend; 「叫我以实玛利」, 12345 whales.\n\n  Some  spaces\ttoo… ";
        std::fs::write(folder.join("a.txt"), line.repeat(9000)).unwrap();
        let front = |i: usize| line.chars().take(i % 50).collect::<String>();
        let rows: Vec<String> =
            (0..500).map(|i| serde_json::json!({"text": format!("row {i} {}", front(i))}).to_string()).collect();
        std::fs::write(folder.join("b.jsonl"), rows.join("\n")).unwrap();
    }

    fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(folder).unwrap().flatten();
        entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
    }

    #[test]
    fn shards_hold_every_document_whole() {
        let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_texts(source.path());
        let texts = Texts::find(&[source.path().to_owned()], Split::File, "text").unwrap();
        let tokenizer = nano();
        let work = Tokenize { texts: &texts, tokenizer: &tokenizer, end_token: 0, shard_tokens: 2000 };
        let index = work.run(out.path(), &mut |_| true).unwrap();
        let shards = Shards::open(out.path()).unwrap();
        shards.verify(out.path()).unwrap();
        assert!(index.shards.len() > 3);
        assert_eq!((shards.documents(), index.text_bytes > 700_000), (501, true));
        // Cut into pieces and put together, the long one is what the tokenizer makes of it at once.
        let whole = std::fs::read_to_string(source.path().join("a.txt")).unwrap();
        let mut expected = tokenizer.encode(&whole, Special::Plain);
        expected.push(0);
        assert!(shards.document(0) == expected);
        let last = shards.document(500);
        assert_eq!(
            tokenizer.decode(&last[..last.len() - 1]),
            format!("row 499 {}", whole.chars().take(49).collect::<String>())
        );
        assert_eq!(shards.length(500), last.len() as u64);
        // Finished is finished; other settings don't overwrite it.
        assert_eq!(work.run(out.path(), &mut |_| panic!("nothing is left to do")).unwrap(), index);
        let wider = Tokenize { shard_tokens: 3000, ..work };
        assert!(matches!(wider.run(out.path(), &mut |_| true), Err(TokenizeError::Other { .. })));
    }

    #[test]
    fn a_stopped_run_goes_on_to_the_same_bytes() {
        let (source, once, twice) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_texts(source.path());
        // More than one batch.
        let big = "whales and ships\n".repeat(AT_ONCE / 10);
        std::fs::write(source.path().join("c.txt"), big).unwrap();
        let texts = Texts::find(&[source.path().to_owned()], Split::File, "text").unwrap();
        let tokenizer = nano();
        let work = Tokenize { texts: &texts, tokenizer: &tokenizer, end_token: 0, shard_tokens: 2000 };
        work.run(once.path(), &mut |_| true).unwrap();
        // Some shards are whole by then, and one is not.
        let stopped = work.run(twice.path(), &mut |done| done.documents < 300);
        assert!(matches!(stopped, Err(TokenizeError::Stopped)));
        assert!(twice.path().join(PROGRESS).exists());
        assert!(Shards::open(twice.path()).is_err(), "what is not finished does not open");
        // Rows of a text that was changed in between would not fit the shards that are there.
        let changed = Texts { field: "content".to_owned(), ..texts.clone() };
        let changed = Tokenize { texts: &changed, ..work.clone() };
        assert!(matches!(changed.run(twice.path(), &mut |_| true), Err(TokenizeError::Other { .. })));
        work.run(twice.path(), &mut |_| true).unwrap();
        assert!(files(once.path()) == files(twice.path()));
    }

    #[test]
    fn damage_is_noticed() {
        let (source, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_texts(source.path());
        let texts = Texts::find(&[source.path().join("b.jsonl")], Split::File, "text").unwrap();
        let tokenizer = nano();
        let work = Tokenize { texts: &texts, tokenizer: &tokenizer, end_token: 0, shard_tokens: 1 << 30 };
        work.run(out.path(), &mut |_| true).unwrap();
        let path = out.path().join("shard-00000.bin");
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[10] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let error = Shards::open(out.path()).unwrap().verify(out.path()).unwrap_err().to_string();
        assert!(error.contains("shard-00000.bin") && error.contains("checksum"), "{error}");
        std::fs::write(&path, &good[..good.len() - 2]).unwrap();
        let error = Shards::open(out.path()).unwrap_err().to_string();
        assert!(error.contains("the index says"), "{error}");
        std::fs::write(&path, &good).unwrap();
        let ends = out.path().join("shard-00000.ends");
        let mut bytes = std::fs::read(&ends).unwrap();
        bytes[8] = 0;
        bytes[9] = 0;
        std::fs::write(&ends, &bytes).unwrap();
        assert!(Shards::open(out.path()).unwrap_err().to_string().contains("does not follow"));
        std::fs::write(out.path().join(INDEX), "{}").unwrap();
        assert!(Shards::open(out.path()).is_err());
    }
}
