//! Documents out of text and JSONL files, in pieces of bounded size. A document is cut only where the usual pre-tokenizers
//! (GPT-2's, Llama 3's, Qwen's) cut too, so that its pieces' tokens are the whole document's.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

pub use hearth_shared::spec::Split;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// Bytes from which a document is cut at the next good place.
const PIECE: usize = 256 << 10;
/// Longest stretch without a good place to cut, and longest row of a JSONL file.
const LONGEST: usize = 64 << 20;

/// Why texts could not be read.
#[derive(Debug, Error)]
pub enum TextError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error("{}: no file there has text in it (.txt, .md, .text or .jsonl are read)", path.display())]
    Nothing { path: PathBuf },
    #[error("{}: byte {offset} is not UTF-8: convert the file, for example with `iconv -t UTF-8`", path.display())]
    NotUtf8 { path: PathBuf, offset: u64 },
    #[error("{}, line {line}: {problem}; each line must be an object with the text in `{field}`", path.display())]
    Row { path: PathBuf, line: u64, field: String, problem: String },
    #[error(
        "{}: {} MiB from byte {offset} on have no place to cut at: give the file lines or spaces",
        path.display(), LONGEST >> 20
    )]
    TooLong { path: PathBuf, offset: u64 },
}

/// The files of a data set, in order.
#[derive(Clone, Debug)]
pub struct Texts {
    pub files: Vec<PathBuf>,
    pub split: Split,
    /// The field of a JSONL row that holds the text.
    pub field: String,
}

/// A part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub text: String,
    /// The document ends with it.
    pub last: bool,
    pub after: Place,
}

/// Where reading goes on: a file's index and a byte of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub file: usize,
    pub offset: u64,
    /// Lines before it, for messages.
    pub line: u64,
}

impl Texts {
    /// Takes files as they are and folders with every text in them, sorted by name.
    ///
    /// # Errors
    /// A path that is not there, or a folder without texts.
    pub fn find(paths: &[PathBuf], split: Split, field: &str) -> Result<Self, TextError> {
        let mut files = Vec::new();
        for path in paths {
            let before = files.len();
            collect(path, true, &mut files)?;
            if files.len() == before {
                return Err(TextError::Nothing { path: path.clone() });
            }
        }
        Ok(Self { files, split, field: field.to_owned() })
    }

    /// Bytes of all files.
    ///
    /// # Errors
    /// A file that is gone.
    pub fn bytes(&self) -> Result<u64, TextError> {
        let size = |path: &PathBuf| {
            std::fs::metadata(path).map(|m| m.len()).map_err(|error| TextError::Io { path: path.clone(), error })
        };
        self.files.iter().map(size).sum()
    }

    /// Documents drawn evenly from all of the texts, about `bytes` of them; the same ones every time.
    ///
    /// # Errors
    /// A file that is gone.
    pub fn sample(&self, bytes: u64) -> Result<Sample<'_>, TextError> {
        let share = bytes as f64 / self.bytes()?.max(1) as f64;
        Ok(Sample { pieces: self.pieces(Place::default()), share, document: 0 })
    }

    /// All pieces from a place on, which is the start or what a piece said is after it and its document.
    pub fn pieces(&self, from: Place) -> Pieces<'_> {
        Pieces { texts: self, place: from, open: None, failed: false }
    }
}

fn collect(path: &Path, named: bool, files: &mut Vec<PathBuf>) -> Result<(), TextError> {
    let io = |error| TextError::Io { path: path.to_owned(), error };
    let metadata = std::fs::metadata(path).map_err(io)?;
    if metadata.is_dir() {
        let mut below: Vec<PathBuf> = std::fs::read_dir(path)
            .map_err(io)?
            .map(|entry| entry.map(|e| e.path()))
            .collect::<Result<_, _>>()
            .map_err(io)?;
        below.sort();
        return below.iter().try_for_each(|path| collect(path, false, files));
    }
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    // What a person names is read whatever it is called.
    if named || matches!(extension, "txt" | "md" | "text" | "jsonl" | "ndjson") {
        files.push(path.to_owned());
    }
    Ok(())
}

/// By its name; a file without an extension (an upload) by its first byte that is no space.
pub fn is_jsonl(path: &Path) -> bool {
    match path.extension().and_then(|e| e.to_str()) {
        Some(extension) => matches!(extension, "jsonl" | "ndjson"),
        None => {
            let mut head = Vec::new();
            let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head));
            read.is_ok() && head.trim_ascii_start().first() == Some(&b'{')
        }
    }
}

/// Reads pieces in order.
#[derive(Debug)]
pub struct Pieces<'a> {
    texts: &'a Texts,
    place: Place,
    open: Option<Open>,
    failed: bool,
}

#[derive(Debug)]
struct Open {
    reader: BufReader<File>,
    /// Read and not yet given away: the rest of a document.
    rest: String,
    /// A document has begun in `rest` or before it.
    begun: bool,
    ended: bool,
}

impl Iterator for Pieces<'_> {
    type Item = Result<Piece, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.read() {
            Ok(piece) => piece.map(Ok),
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

impl Pieces<'_> {
    fn read(&mut self) -> Result<Option<Piece>, TextError> {
        loop {
            let Some(path) = self.texts.files.get(self.place.file) else {
                return Ok(None);
            };
            if self.open.is_none() {
                let io = |error| TextError::Io { path: path.clone(), error };
                let mut file = File::open(path).map_err(io)?;
                file.seek(SeekFrom::Start(self.place.offset)).map_err(io)?;
                let reader = BufReader::with_capacity(1 << 20, file);
                self.open = Some(Open { reader, rest: String::new(), begun: false, ended: false });
            }
            let piece = if is_jsonl(path) { self.row()? } else { self.plain()? };
            if let Some(piece) = piece {
                return Ok(Some(piece));
            }
            self.open = None;
            self.place = Place { file: self.place.file + 1, offset: 0, line: 0 };
        }
    }

    /// The next line with its end, of a file of text; none at the file's end.
    fn line(&mut self) -> Result<Option<String>, TextError> {
        let path = &self.texts.files[self.place.file];
        let Some(open) = &mut self.open else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = (&mut open.reader).take(LONGEST as u64 + 1).read_until(b'\n', &mut bytes);
        let count = read.map_err(|error| TextError::Io { path: path.clone(), error })?;
        if count == 0 {
            return Ok(None);
        }
        if count > LONGEST {
            return Err(TextError::TooLong { path: path.clone(), offset: self.place.offset });
        }
        let line = String::from_utf8(bytes).map_err(|error| TextError::NotUtf8 {
            path: path.clone(),
            offset: self.place.offset + error.utf8_error().valid_up_to() as u64,
        })?;
        self.place.offset += count as u64;
        self.place.line += 1;
        Ok(Some(line))
    }

    /// A row of a JSONL file is one piece.
    fn row(&mut self) -> Result<Option<Piece>, TextError> {
        while let Some(line) = self.line()? {
            if line.trim().is_empty() {
                continue;
            }
            let fault = |problem: String| TextError::Row {
                path: self.texts.files[self.place.file].clone(),
                line: self.place.line,
                field: self.texts.field.clone(),
                problem,
            };
            let row: Value = serde_json::from_str(&line).map_err(|e| fault(format!("not JSON ({e})")))?;
            let text = match row.get(&self.texts.field) {
                Some(Value::String(text)) => text.clone(),
                Some(_) => return Err(fault(format!("`{}` is not a text", self.texts.field))),
                None => return Err(fault(format!("there is no `{}`", self.texts.field))),
            };
            return Ok(Some(Piece { text, last: true, after: self.place }));
        }
        Ok(None)
    }

    fn plain(&mut self) -> Result<Option<Piece>, TextError> {
        loop {
            let split = self.texts.split;
            let place = self.place;
            if let Some(open) = &mut self.open
                && open.rest.len() >= PIECE
                && let Some(at) = cut(&open.rest)
            {
                let rest = open.rest.split_off(at);
                let text = std::mem::replace(&mut open.rest, rest);
                return Ok(Some(Piece { text, last: false, after: place }));
            }
            let line = self.line()?;
            let Some(open) = &mut self.open else {
                return Ok(None);
            };
            let Some(line) = line else {
                open.ended = true;
                let text = std::mem::take(&mut open.rest);
                let more = open.begun;
                open.begun = false;
                // The file's last document, or the end of the file.
                return Ok(more.then_some(Piece { text, last: true, after: self.place }));
            };
            let blank = line.trim().is_empty();
            match split {
                Split::File => {
                    open.begun = true;
                    open.rest.push_str(&line);
                }
                Split::Line if blank => {}
                Split::Line => {
                    let text = line.trim_end_matches(['\n', '\r']).to_owned();
                    return Ok(Some(Piece { text, last: true, after: self.place }));
                }
                Split::BlankLine if blank && !open.begun => {}
                Split::BlankLine if blank => {
                    open.begun = false;
                    let text = std::mem::take(&mut open.rest);
                    return Ok(Some(Piece { text, last: true, after: self.place }));
                }
                Split::BlankLine => {
                    open.begun = true;
                    open.rest.push_str(&line);
                }
            }
            if open.rest.len() > LONGEST {
                return Err(TextError::TooLong { path: self.texts.files[place.file].clone(), offset: place.offset });
            }
        }
    }
}

/// Pieces of some documents.
#[derive(Debug)]
pub struct Sample<'a> {
    pieces: Pieces<'a>,
    share: f64,
    document: u64,
}

impl Iterator for Sample<'_> {
    type Item = Result<Piece, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let piece = self.pieces.next()?;
            let Ok(found) = &piece else {
                return Some(piece);
            };
            // Steps of the golden ratio fall evenly into 0..1, whatever the length.
            let place = (self.document as f64 * 0.618_033_988_749_895).fract();
            self.document += u64::from(found.last);
            if place < self.share {
                return Some(piece);
            }
        }
    }
}

/// The last byte at which a text falls apart for every usual pre-tokenizer: behind a letter, before a space, a line's end or a
/// mark that is no apostrophe.
fn cut(text: &str) -> Option<usize> {
    let mut after: Option<(usize, char)> = None;
    for (at, c) in text.char_indices().rev() {
        if let Some((next_at, next)) = after
            && c.is_alphabetic()
            && (next == '\n' || next == ' ' || next.is_ascii_punctuation() && next != '\'')
        {
            return Some(next_at);
        }
        after = Some((at, c));
    }
    None
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    fn texts(files: &[(&str, &str)], split: Split) -> (tempfile::TempDir, Texts) {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        let texts = Texts::find(&[dir.path().to_owned()], split, "text").unwrap();
        (dir, texts)
    }

    fn documents(texts: &Texts, from: Place) -> Vec<String> {
        let mut out = vec![String::new()];
        for piece in texts.pieces(from) {
            let piece = piece.unwrap();
            out.last_mut().unwrap().push_str(&piece.text);
            if piece.last {
                out.push(String::new());
            }
        }
        assert_eq!(out.pop().as_deref(), Some(""), "every document ends");
        out
    }

    #[test]
    fn documents_are_files_lines_paragraphs_or_rows() {
        let plain = "one\ntwo\n\n\nthree\n";
        let of = |split| documents(&texts(&[("a.txt", plain)], split).1, Place::default());
        assert_eq!(of(Split::File), [plain]);
        assert_eq!(of(Split::Line), ["one", "two", "three"]);
        assert_eq!(of(Split::BlankLine), ["one\ntwo\n", "three\n"]);
        let (_dir, rows) =
            texts(&[("b.jsonl", "{\"text\": \"x\\ny\"}\n\n{\"text\": \"z\"}"), ("c.bin", "no")], Split::File);
        assert_eq!(documents(&rows, Place::default()), ["x\ny", "z"]);
    }

    #[test]
    fn reading_goes_on_from_any_document() {
        let (_dir, texts) =
            texts(&[("a.txt", "a\nb\nc\n"), ("b.jsonl", "{\"text\": \"d\"}\n{\"text\": \"e\"}\n")], Split::Line);
        let all = documents(&texts, Place::default());
        assert_eq!(all, ["a", "b", "c", "d", "e"]);
        for (i, piece) in texts.pieces(Place::default()).enumerate() {
            assert_eq!(documents(&texts, piece.unwrap().after), all[i + 1..]);
        }
    }

    #[test]
    fn a_long_document_comes_in_pieces_that_make_it_up() {
        let text = "Ishmael, 叫我以实玛利 says he.\n".repeat(40_000);
        let (_dir, texts) = texts(&[("a.txt", &text)], Split::File);
        let pieces: Vec<Piece> = texts.pieces(Place::default()).map(Result::unwrap).collect();
        assert!(pieces.len() > 3 && pieces.iter().all(|piece| piece.text.len() < 2 * PIECE));
        assert!(pieces.iter().rev().skip(1).all(|piece| !piece.last));
        assert_eq!(documents(&texts, Place::default()), [text]);
    }

    #[test]
    fn a_sample_is_drawn_evenly_and_always_the_same() {
        let rows: Vec<String> = (0..1000).map(|i| format!("line {i:04}")).collect();
        let (_dir, texts) = texts(&[("a.txt", &rows.join("\n"))], Split::Line);
        let draw = |bytes| texts.sample(bytes).unwrap().map(|piece| piece.unwrap().text).collect::<Vec<_>>();
        let tenth = draw(1000);
        assert!((80..120).contains(&tenth.len()), "{}", tenth.len());
        assert_eq!(tenth, draw(1000));
        let half = rows.len() / 2;
        let early = tenth.iter().filter(|line| rows[..half].contains(line)).count();
        assert!((40..60).contains(&early));
        assert_eq!(draw(1 << 30), rows);
    }

    #[test]
    fn faults_name_the_file_the_line_and_the_fix() {
        let error = |name: &str, content: &[u8]| {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(name), content).unwrap();
            let texts = Texts::find(&[dir.path().join(name)], Split::File, "text").unwrap();
            texts.pieces(Place::default()).find_map(Result::err).unwrap().to_string()
        };
        assert!(error("a.txt", b"fine\nnot \xff").contains("byte 9 is not UTF-8"));
        let row = error("a.jsonl", b"{\"text\": \"x\"}\n{\"content\": \"y\"}\n");
        assert!(row.contains("a.jsonl, line 2") && row.contains("no `text`"), "{row}");
        assert!(error("a.jsonl", b"{\"text\": 3}").contains("`text` is not a text"));
        assert!(error("a.jsonl", b"{\"text\"").contains("not JSON"));
        let empty = tempfile::tempdir().unwrap();
        assert!(
            Texts::find(&[empty.path().to_owned()], Split::File, "text").unwrap_err().to_string().contains(".jsonl")
        );
    }
}
