//! What a model's card says, and two of its measures: bits per byte of held-out text, and what each attention head does.

use serde::{Deserialize, Serialize};

use super::corpus::{Document, Language};
use super::lengths::LengthLoss;
use super::{Recipe, bpe};
use crate::look::heads;
use crate::projection::floats;
use crate::tokenizer::{Special, Tokenizer};
use crate::train::batches::MicroBatch;
use crate::train::ngram::KneserNey;
use crate::train::run::evaluate;
use crate::transformer::Transformer;

/// What stands in `card.json`: enough to make the model again and to check what is said of it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Card {
    pub recipe: Recipe,
    pub command: String,
    /// Names of what the steps were computed on; the first ones' losses below are a CPU's. Older cards don't say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device: String,
    pub parameters: u64,
    /// Tokens of the training split.
    pub training_tokens: u64,
    /// Losses of the first steps of pretraining, nats a token.
    pub first_losses: Vec<f64>,
    /// Step and mean loss of the hundred steps up to it, by stage.
    pub pretrain_losses: Vec<(u64, f64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chat_losses: Vec<(u64, f64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_out: Vec<HeldOut>,
    pub heads: Vec<HeadScore>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_length: Vec<LengthLoss>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_table: Option<PositionTable>,
}

/// A learned table of positions: it has a row for each that the model may be asked for, but training reached only the first.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionTable {
    pub rows: usize,
    /// Rows that ever had a gradient.
    pub trained: usize,
}

/// One language's held-out documents, by the model and by a Kneser-Ney 5-gram of the same tokens and training split.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct HeldOut {
    pub language: Language,
    pub model: BitsPerByte,
    pub kneser_ney: BitsPerByte,
}

/// Bits of one language's held-out documents.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
pub struct BitsPerByte {
    pub bits: f64,
    pub bytes: u64,
    pub tokens: u64,
}

impl BitsPerByte {
    /// Bits for each byte of UTF-8.
    pub fn value(&self) -> f64 {
        self.bits / self.bytes as f64
    }
}

/// Every token is predicted from at least `window / 2` tokens before it, where the document has them; each document begins
/// after an end-of-text token, which nobody has to predict.
pub fn bits_per_byte(
    model: &Transformer,
    tokenizer: &Tokenizer,
    documents: &[Document],
    language: Language,
    window: usize,
) -> BitsPerByte {
    let mut out = BitsPerByte::default();
    for document in documents.iter().filter(|document| document.language == language) {
        let mut ids = vec![bpe::END_OF_TEXT_ID];
        ids.extend(tokenizer.encode(&document.text, Special::Plain));
        out.bytes += document.text.len() as u64;
        out.tokens += ids.len() as u64 - 1;
        let passes: Vec<MicroBatch> = strided(&ids, window);
        let evaluation = evaluate(model, &passes);
        out.bits += evaluation.loss * evaluation.tokens as f64 / std::f64::consts::LN_2;
    }
    out
}

/// Windows that overlap by half; only what an earlier window hasn't predicted counts.
fn strided(ids: &[u32], window: usize) -> Vec<MicroBatch> {
    let mut out = Vec::new();
    let mut done = 1;
    let mut start = 0;
    while done < ids.len() {
        let end = ids.len().min(start + window + 1);
        let inputs: Vec<i32> = ids[start..end - 1].iter().map(|id| *id as i32).collect();
        out.push(MicroBatch {
            rows: 1,
            time: inputs.len(),
            lengths: vec![inputs.len()],
            inputs,
            positions: (done - start - 1..end - start - 1).map(|t| t as i32).collect(),
            owners: vec![0; end - done],
            targets: ids[done..end].iter().map(|id| *id as i32).collect(),
            segments: None,
            first_row: 0,
        });
        done = end;
        start += window / 2;
    }
    out
}

/// The same by an n-gram model over the same tokens.
pub fn ngram_bits_per_byte(
    model: &KneserNey,
    tokenizer: &Tokenizer,
    documents: &[Document],
    language: Language,
) -> BitsPerByte {
    let mut out = BitsPerByte::default();
    for document in documents.iter().filter(|document| document.language == language) {
        let mut ids = vec![bpe::END_OF_TEXT_ID];
        ids.extend(tokenizer.encode(&document.text, Special::Plain));
        out.bytes += document.text.len() as u64;
        out.tokens += ids.len() as u64 - 1;
        out.bits += model.bits(&ids);
    }
    out
}

/// How much of a head's attention goes where, on average.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct HeadScore {
    pub layer: usize,
    pub head: usize,
    /// Weight on the token just before.
    pub previous: f64,
    /// Weight on the token after the last time the present token was seen (Olsson 2022), on random tokens said twice.
    pub induction: f64,
}

/// Scores of every head: `previous` on `text`, `induction` on `random` repeated once.
pub fn head_scores(model: &Transformer, text: &[u32], random: &[u32]) -> Vec<HeadScore> {
    let twice = heads::twice(random);
    let both = weights(model, text).into_iter().zip(weights(model, &twice));
    let mut out = Vec::new();
    for (layer, (on_text, on_twice)) in both.enumerate() {
        let on_text = on_text.chunks_exact(text.len() * text.len());
        let on_twice = on_twice.chunks_exact(twice.len() * twice.len());
        for (head, (on_text, on_twice)) in on_text.zip(on_twice).enumerate() {
            let previous = heads::previous(on_text, text.len());
            out.push(HeadScore { layer, head, previous, induction: heads::induction(on_twice, twice.len()) });
        }
    }
    out
}

/// `[H, T, T]` of every layer.
fn weights(model: &Transformer, ids: &[u32]) -> Vec<Vec<f32>> {
    heads::traced(model, ids).into_iter().map(|weights| floats(weights.into_data())).collect()
}
