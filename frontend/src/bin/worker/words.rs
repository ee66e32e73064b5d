//! The tokenizer lab: a text as several vocabularies cut it, merge by merge; what languages cost; a vocabulary learned here.
//! No model is opened for it: of a model that is not in hand only the tokenizer's files are fetched.

use std::{cell::RefCell, collections::VecDeque, ops::Deref, rc::Rc};

use hearth_model::{
    checkpoint::{gguf::Gguf, source::Source as _},
    tokenizer::{Special, Tokenizer, gguf, learn::Counter, merges::Merges},
};
use hearth_shared::lab::{
    LabError, LabModel, Reply, Stage,
    words::{
        Ask, Cost, Cut, Found, Learned, LearnedMerge, MIN_FREQUENCY, MOST_CHARACTERS, PARALLEL, SHOWN_TOKENS, SIZES,
        STEPPED_CHARACTERS, Size, Vocabulary, beginning,
    },
};
use js_sys::{ArrayBuffer, Uint8Array};
use serde::Deserialize;

use crate::{
    desk::{Done, Pace, Task},
    engine::{Files, Lab, Open},
    fetch, port,
};

const JSON: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
/// Vocabularies that stay in memory; a large one takes tens of megabytes.
const KEPT: usize = 8;

/// Vocabularies and their merges, the last used ones last.
#[derive(Default)]
pub struct Shelf {
    tokenizers: RefCell<VecDeque<(String, Rc<Tokenizer>)>>,
    merges: RefCell<VecDeque<(String, Option<Rc<Merges>>)>>,
}

/// A tokenizer of our own, or the open model's.
enum Held {
    Own(Rc<Tokenizer>),
    Open(Rc<Open>),
}

impl Deref for Held {
    type Target = Tokenizer;

    fn deref(&self) -> &Tokenizer {
        match self {
            Self::Own(tokenizer) => tokenizer,
            Self::Open(open) => &open.bundle.tokenizer,
        }
    }
}

/// # Errors
/// Whatever ends the call.
pub async fn answer(task: &Rc<Task>, lab: &Lab, ask: Ask, buffers: &[ArrayBuffer]) -> Result<Done, LabError> {
    let found = match ask {
        Ask::Cut { text, special, vocabularies } => cut_all(task, lab, &text, (special, &vocabularies)).await?,
        Ask::Merge { text, special, vocabulary } => {
            let tokenizer = held(task, lab, &vocabulary).await?;
            let merges = lab.shelf.merges(key(&vocabulary), &tokenizer);
            let text = beginning(&text, STEPPED_CHARACTERS);
            let trail = merges.and_then(|merges| merges.trail(&tokenizer, text, reading(special)));
            Found::Merged { algorithm: tokenizer.algorithm().to_owned(), trail }
        }
        Ask::Cost { vocabularies } => {
            let mut costs = Vec::new();
            for vocabulary in &vocabularies {
                let tokenizer = held(task, lab, vocabulary).await;
                task.check()?;
                costs.push(tokenizer.map(|tokenizer| cost(&tokenizer)));
            }
            Found::Cost { costs }
        }
        Ask::Learn { vocab_size, text } => {
            let texts = match text {
                Some(text) => vec![beginning(&text, MOST_CHARACTERS).to_owned()],
                None => lines(buffers)?,
            };
            Found::Learned(learn(task, vocab_size.clamp(SIZES.0, SIZES.1), &texts).await?)
        }
    };
    task.check()?;
    Ok(Done { reply: Reply::Words(Box::new(found)), buffers: Vec::new() })
}

fn reading(special: bool) -> Special {
    if special { Special::Parse } else { Special::Plain }
}

async fn cut_all(
    task: &Rc<Task>,
    lab: &Lab,
    text: &str,
    (special, vocabularies): (bool, &[Vocabulary]),
) -> Result<Found, LabError> {
    let text = beginning(text, MOST_CHARACTERS);
    let mut cuts = Vec::new();
    for vocabulary in vocabularies {
        let tokenizer = held(task, lab, vocabulary).await;
        // A stop is the call's end, not this vocabulary's fault.
        task.breathe().await?;
        cuts.push(tokenizer.map(|tokenizer| cut(&tokenizer, text, reading(special))));
    }
    Ok(Found::Cut { size: Size::of(text), cuts })
}

fn cut(tokenizer: &Tokenizer, text: &str, special: Special) -> Cut {
    let ids = tokenizer.encode(text, special);
    let unknown = tokenizer.names().unk.as_deref().and_then(|token| tokenizer.id_of(token));
    let is_broken = |id: &u32| Some(*id) == unknown || std::str::from_utf8(tokenizer.decode_bytes(*id)).is_err();
    let broken = ids.iter().filter(|id| is_broken(id)).count() as u32;
    let exact = ids.iter().flat_map(|&id| tokenizer.decode_bytes(id)).eq(text.as_bytes());
    let shown = ids.iter().take(SHOWN_TOKENS).map(|&id| tokenizer.decode_bytes(id).to_vec()).collect();
    let algorithm = tokenizer.algorithm().to_owned();
    Cut { vocab_size: tokenizer.vocab_size() as u32, algorithm, ids, shown, broken, exact }
}

fn cost(tokenizer: &Tokenizer) -> Vec<Cost> {
    let tokens: Vec<u32> =
        PARALLEL.iter().map(|language| tokenizer.encode(language.text, Special::Plain).len() as u32).collect();
    let first = f64::from(tokens.first().copied().unwrap_or_default().max(1));
    tokens.into_iter().map(|tokens| Cost { tokens, relative: f64::from(tokens) / first }).collect()
}

/// The texts in a buffer of JSON lines.
fn lines(buffers: &[ArrayBuffer]) -> Result<Vec<String>, LabError> {
    #[derive(Deserialize)]
    struct Line {
        text: String,
    }
    let other = |message: String| LabError::Other { message };
    let buffer = buffers.first().ok_or_else(|| other("no texts came with the call".to_owned()))?;
    let text = String::from_utf8(Uint8Array::new(buffer).to_vec()).map_err(|error| other(error.to_string()))?;
    let rows = text.lines().zip(1..).filter(|(row, _)| !row.trim().is_empty());
    rows.map(|(row, number)| {
        let line: Result<Line, _> = serde_json::from_str(row);
        line.map(|line| line.text).map_err(|error| other(format!("line {number}: {error}")))
    })
    .collect()
}

async fn learn(task: &Rc<Task>, vocab_size: u32, texts: &[String]) -> Result<Learned, LabError> {
    let start = port::now();
    let mut pace = Pace::begin();
    let mut counter = Counter::default();
    for (text, done) in texts.iter().zip(1..) {
        counter.feed(text);
        task.tell(Stage::Check, done, Some(texts.len() as u64), None);
        pace.breathe(task).await?;
    }
    if counter.is_empty() {
        return Err(LabError::EmptyText);
    }
    let words = counter.len() as u32;
    let mut learner = counter.begin(vocab_size as usize, MIN_FREQUENCY);
    let total = learner.left() as u64;
    let mut merges = Vec::new();
    while let Some(merge) = learner.step() {
        merges.push(LearnedMerge {
            left: learner.bytes(merge.left).to_vec(),
            right: learner.bytes(merge.right).to_vec(),
            count: merge.count,
        });
        task.tell(Stage::Forward, merges.len() as u64, Some(total), None);
        pace.breathe(task).await?;
    }
    let size = texts.iter().map(|text| Size::of(text)).fold(Size::default(), |sum, size| Size {
        characters: sum.characters + size.characters,
        bytes: sum.bytes + size.bytes,
    });
    Ok(Learned {
        merges,
        vocab_size: learner.vocab_size() as u32,
        texts: texts.len() as u32,
        size,
        words,
        json: learner.to_json(),
        ms: port::now() - start,
    })
}

/// What a vocabulary stands under on the shelf: a model's hash, or all of a learned one.
fn key(vocabulary: &Vocabulary) -> &str {
    match vocabulary {
        Vocabulary::Model { model } => &model.hash,
        Vocabulary::Learned { json } => json,
    }
}

async fn held(task: &Rc<Task>, lab: &Lab, vocabulary: &Vocabulary) -> Result<Held, LabError> {
    if let Vocabulary::Model { model } = vocabulary
        && let Ok(open) = lab.current()
        && open.hash == model.hash
    {
        return Ok(Held::Open(open));
    }
    let key = key(vocabulary);
    if let Some(tokenizer) = taken(&lab.shelf.tokenizers, key) {
        return Ok(Held::Own(tokenizer));
    }
    let tokenizer = match vocabulary {
        Vocabulary::Model { model } => fetched(task, model).await?,
        Vocabulary::Learned { json } => Tokenizer::from_hf(json.as_bytes(), None).map_err(load)?,
    };
    let tokenizer = Rc::new(tokenizer);
    put(&lab.shelf.tokenizers, key, tokenizer.clone());
    Ok(Held::Own(tokenizer))
}

impl Shelf {
    fn merges(&self, key: &str, tokenizer: &Tokenizer) -> Option<Rc<Merges>> {
        if let Some(merges) = taken(&self.merges, key) {
            return merges;
        }
        let merges = Merges::of(tokenizer).map(Rc::new);
        put(&self.merges, key, merges.clone());
        merges
    }
}

/// Finds a thing on a shelf and makes it the last used one.
fn taken<T: Clone>(shelf: &RefCell<VecDeque<(String, T)>>, key: &str) -> Option<T> {
    let mut shelf = shelf.borrow_mut();
    let place = shelf.iter().position(|(name, _)| name == key)?;
    let found = shelf.remove(place)?;
    let thing = found.1.clone();
    shelf.push_back(found);
    Some(thing)
}

fn put<T>(shelf: &RefCell<VecDeque<(String, T)>>, key: &str, thing: T) {
    let mut shelf = shelf.borrow_mut();
    shelf.retain(|(name, _)| name != key);
    if shelf.len() >= KEPT {
        shelf.pop_front();
    }
    shelf.push_back((key.to_owned(), thing));
}

fn load(error: impl ToString) -> LabError {
    LabError::Load { message: error.to_string() }
}

/// A model's tokenizer without its weights: two small files, or the beginning of a GGUF file.
async fn fetched(task: &Rc<Task>, model: &LabModel) -> Result<Tokenizer, LabError> {
    if model.files.iter().any(|file| file.name == JSON) {
        let files = Files(fetch::model(task, model, |name| name == JSON || name == CONFIG).await?);
        let config = files.has(CONFIG).then(|| files.bytes(CONFIG)).transpose().map_err(load)?;
        return Tokenizer::from_hf(files.bytes(JSON).map_err(load)?, config).map_err(load);
    }
    let file = model.files.iter().find(|file| file.name.to_lowercase().ends_with(".gguf"));
    let file = file.ok_or_else(|| load(format!("{} has no {JSON}", model.id)))?;
    let read = fetch::beginning(task, model, file, |bytes, last| match Gguf::beginning(&file.name, bytes) {
        Ok(gguf) => Some(gguf::tokenizer(&gguf).map_err(load)),
        Err(error) => last.then(|| Err(load(error))),
    });
    read.await?.unwrap_or_else(|| Err(load(format!("{} has no vocabulary", file.name))))
}
