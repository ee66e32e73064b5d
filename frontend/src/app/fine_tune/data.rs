//! The data set in the tab: read, checked by the very rules the server uses, and split, before a byte is uploaded.

use gloo::timers::future::TimeoutFuture;
use hearth_shared::lab::{CheckDataset, LabError, Piece, Reply, Request};
use hearth_shared::spec::DataFacts;
use hearth_shared::text::rows::{Layout, RawRow, Rows};
use hearth_shared::text::{Example, Format, Message, Report, Validator};
use js_sys::{ArrayBuffer, Uint8Array};
use leptos::prelude::*;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use crate::app::lab::{engine::engine, host::lab_model, publish::publish};
use hearth_shared::api::models::Model;

/// Rows that the preview keeps, and how far into the file it looks for them.
const PREVIEWED: usize = 40;
const PREVIEW_PIECE: usize = 64 << 10;
const PREVIEW_BYTES: usize = 1 << 20;
/// Bytes checked between two breaths of the page.
const PIECE: usize = 1 << 20;
/// Every tenth row is held out, but never so many that little is left to learn from.
const HELD_OUT_SHARE: usize = 10;
/// Fewer rows than this are not split.
pub const LEAST_TO_SPLIT: u64 = 20;
/// Text has about this many bytes a token; used until the tokens are counted.
const BYTES_A_TOKEN: u64 = 4;

/// A data set that was dropped or chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSet {
    pub name: String,
    pub bytes: Vec<u8>,
    pub report: Report,
    pub examples: Vec<(u64, Example)>,
    /// The same as tokens, where training begins and ends, once the worker has cut them for the chosen model.
    pub pieces: Vec<Vec<Piece>>,
}

impl DataSet {
    /// Checks the rules that need no tokenizer, and lets the page breathe between pieces of a large file. The token counts
    /// come later, from the worker.
    pub async fn read(name: String, bytes: Vec<u8>) -> Self {
        let mut validator = Validator::new(None, None);
        for piece in bytes.chunks(PIECE) {
            validator.push(piece);
            if bytes.len() > PIECE {
                TimeoutFuture::new(0).await;
            }
        }
        let report = validator.finish();
        let examples = examples(&bytes, report.format);
        Self { name, bytes, report, examples, pieces: Vec::new() }
    }

    pub fn can_split(&self) -> bool {
        self.report.examples >= LEAST_TO_SPLIT
    }

    /// The rows to train on and the rows to measure on, as two files.
    pub fn split(&self) -> (Vec<u8>, Vec<u8>) {
        let (layout, rows) = rows(&self.bytes);
        let mut parts = (Vec::new(), Vec::new());
        for (index, row) in rows.iter().enumerate() {
            let held_out = index % HELD_OUT_SHARE == HELD_OUT_SHARE - 1;
            let part = if held_out { &mut parts.1 } else { &mut parts.0 };
            write_row(part, layout, row);
        }
        parts
    }

    /// What the automatic values depend on; estimated while the tokens are not counted.
    pub fn facts(&self, model: &Model, held_out: bool) -> DataFacts {
        let share = |count: u64| {
            if held_out { count - count / HELD_OUT_SHARE as u64 } else { count }
        };
        let tokens = self.report.tokens.as_ref();
        let longest = self.examples.iter().map(|(_, example)| length(example)).max();
        DataFacts {
            examples: share(self.report.examples),
            tokens: share(tokens.map_or(self.report.bytes / BYTES_A_TOKEN, |tokens| tokens.total)),
            longest: tokens.map_or(longest.unwrap_or(0) as u32 / BYTES_A_TOKEN as u32, |tokens| tokens.max),
            parameters: model.hearth.parameters,
            context: model.hearth.context as u32,
        }
    }

    /// The first prompts of the set: what the run answers at every checkpoint.
    pub fn prompts(&self, most: usize) -> Vec<String> {
        let prompt = |example: &Example| {
            let conversation = example.conversations().first().copied()?;
            let user = conversation.iter().find(|message| message.role.as_str() == "user")?;
            Some(user.content.trim().to_owned())
        };
        self.examples
            .iter()
            .filter_map(|(_, example)| prompt(example))
            .filter(|prompt| !prompt.contains('\n') && prompt.chars().count() < 160)
            .take(most)
            .collect()
    }
}

fn length(example: &Example) -> usize {
    let of = |messages: &[Message]| messages.iter().map(|message| message.content.len()).sum();
    match example {
        Example::Text(text) => text.len(),
        chats => chats.conversations().into_iter().map(of).max().unwrap_or(0),
    }
}

fn rows(bytes: &[u8]) -> (Option<Layout>, Vec<RawRow>) {
    let mut reader = Rows::default();
    let mut rows = Vec::new();
    reader.push(bytes, &mut |row| rows.push(row));
    reader.finish(&mut |row| rows.push(row));
    (reader.layout(), rows)
}

/// The first rows that are examples; a bad row is the report's matter, not the preview's.
fn examples(bytes: &[u8], format: Option<Format>) -> Vec<(u64, Example)> {
    let format = format.unwrap_or(Format::OpenaiChat);
    let mut reader = Rows::default();
    let mut found = Vec::new();
    let mut take = |row: RawRow| {
        let text = String::from_utf8(row.bytes).ok();
        let example = text.and_then(|text| format.parse(&text).ok());
        found.extend(example.map(|example| (row.number, example)));
    };
    let mut read = 0;
    for piece in bytes.chunks(PREVIEW_PIECE) {
        reader.push(piece, &mut take);
        read += piece.len();
        if read >= PREVIEW_BYTES {
            break;
        }
    }
    if read == bytes.len() {
        reader.finish(&mut take);
    }
    found.truncate(PREVIEWED);
    found
}

/// A row of a JSON array may span lines, so it becomes one line of JSONL; a paragraph stays one.
fn write_row(out: &mut Vec<u8>, layout: Option<Layout>, row: &RawRow) {
    match layout {
        Some(Layout::Array) => match serde_json::from_slice::<serde_json::Value>(&row.bytes) {
            Ok(value) => out.extend(value.to_string().into_bytes()),
            Err(_) => out.extend(&row.bytes),
        },
        _ => out.extend(&row.bytes),
    }
    out.extend(if layout == Some(Layout::Paragraphs) { "\n\n" } else { "\n" }.bytes());
}

/// What the worker finds in a data set for one model.
pub struct Counted {
    pub report: Report,
    pub pieces: Vec<Vec<Piece>>,
}

/// Asks the lab worker for the same report with token counts, through the model's own tokenizer and template; rows of more than `longest`
/// tokens are refused. The text of the report is left at `window.__hearth.report`, where a test compares it with the server's.
pub async fn count_tokens(set: &DataSet, model: Model, longest: u32) -> Result<Counted, LabError> {
    let buffer = Uint8Array::from(set.bytes.as_slice()).buffer();
    let request = Request::Check(CheckDataset {
        max_tokens: Some(longest),
        model: Some(lab_model(&model, None)),
        filename: set.name.clone(),
        preview: set.examples.iter().map(|(_, example)| example.clone()).collect(),
    });
    let (_, answer) = engine().call(request, vec![buffer], |_| {});
    match answer.await?.reply {
        Reply::Checked { report: text, preview: pieces } => {
            let report = serde_json::from_str(&text).map_err(|error| LabError::Other { message: error.to_string() })?;
            publish("report", &text.into());
            Ok(Counted { report, pieces })
        }
        _ => Err(LabError::Other { message: "the worker answered something else".to_owned() }),
    }
}

/// A dropped file's bytes.
pub async fn read_file(file: &web_sys::File) -> Result<Vec<u8>, JsValue> {
    let buffer: ArrayBuffer = JsFuture::from(file.array_buffer()).await?.dyn_into()?;
    Ok(Uint8Array::new(&buffer).to_vec())
}

/// A data set that comes with the page.
pub async fn read_sample(name: &str) -> Result<Vec<u8>, JsValue> {
    let response = JsFuture::from(window().fetch_with_str(&format!("/samples/{name}"))).await?;
    let response: web_sys::Response = response.dyn_into()?;
    let buffer: ArrayBuffer = JsFuture::from(response.array_buffer()?).await?.dyn_into()?;
    Ok(Uint8Array::new(&buffer).to_vec())
}

#[cfg(test)]
mod tests {
    use hearth_shared::text::validate::validate;

    use super::*;

    #[test]
    fn a_split_loses_no_row_and_keeps_the_format() {
        let row = |index: usize| {
            format!(
                "{{\n \"messages\": [{{\"role\": \"user\", \"content\": \"{index}?\"}}, {{\"role\": \"assistant\", \"content\": \"{index}\"}}]}}"
            )
        };
        let array = format!("[{}]", (0..25).map(row).collect::<Vec<_>>().join(",\n"));
        let read = DataSet::read("a.json".to_owned(), array.into_bytes());
        let set = futures::executor::block_on(read);
        assert_eq!(set.report.examples, 25);
        let (train, held_out) = set.split();
        let count = |bytes: &[u8]| validate(bytes, None, None).examples;
        assert_eq!((count(&train), count(&held_out)), (23, 2));
    }
}
