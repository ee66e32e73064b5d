//! Text in, numbers out: the traced forward pass and the vocabulary's words, packed into buffers for the page.

use std::rc::Rc;

use hearth_model::{
    bundle::ModelBundle,
    look::{Look, look},
    tokenizer::{Special, Tokenizer},
};
use hearth_shared::lab::{LabError, Reply, Stage, TensorInfo, TensorName, Timing, TokenView, Traced, words::part};
use js_sys::{ArrayBuffer, Float32Array, Uint8Array, Uint32Array};

use crate::{
    desk::{Done, Task},
    engine::{Open, explained, lost},
    port,
};

/// # Errors
/// The text is empty, the call was stopped, or the device was lost.
pub async fn trace(task: &Rc<Task>, open: &Open, text: &str) -> Result<Done, LabError> {
    explained(&open.bundle.config)?;
    let start = port::now();
    let tokenizer = &open.bundle.tokenizer;
    let mut ids = tokenizer.encode(text, Special::Parse);
    let whole = ids.len() as u32;
    ids.truncate(open.max_tokens as usize);
    if ids.is_empty() {
        return Err(LabError::EmptyText);
    }
    let tokenized = port::now();
    task.tell(Stage::Forward, 0, None, None);
    let look = look(&open.bundle.transformer, &ids).await.map_err(lost)?;
    let forward = port::now();
    task.check()?;
    let (tensors, buffers) = pack(open, &look, ids.len() as u32);
    let traced = Traced {
        model: open.id.clone(),
        engine: open.engine,
        tokens: ids.iter().map(|&id| TokenView { id, text: shown(tokenizer, id) }).collect(),
        cut_from: (whole > open.max_tokens).then_some(whole),
        scale: 1.0 / (open.facts.head_dim as f32).sqrt(),
        timing: Timing {
            tokenize_ms: tokenized - start,
            forward_ms: forward - tokenized,
            total_ms: port::now() - task.arrived,
        },
        tensors,
    };
    Ok(Done { reply: Reply::Traced(Box::new(traced)), buffers })
}

fn pack(open: &Open, look: &Look, time: u32) -> (Vec<TensorInfo>, Vec<ArrayBuffer>) {
    let facts = &open.facts;
    let (layers, heads, kv, size) = (facts.n_layers, facts.n_heads, facts.kv_heads, facts.head_dim);
    let parts: [(TensorName, Vec<u32>, &[f32]); 7] = [
        (TensorName::Queries, vec![layers, heads, time, size], &look.queries),
        (TensorName::Keys, vec![layers, kv, time, size], &look.keys),
        (TensorName::Values, vec![layers, kv, time, size], &look.values),
        (TensorName::Scores, vec![layers, heads, time, time], &look.scores),
        (TensorName::Weights, vec![layers, heads, time, time], &look.weights),
        (TensorName::Outputs, vec![layers, heads, time, size], &look.outputs),
        (TensorName::Logits, vec![time, facts.vocab_size], &look.logits),
    ];
    parts
        .into_iter()
        .map(|(name, shape, data)| {
            let array = Float32Array::new_with_length(data.len() as u32);
            array.copy_from(data);
            (TensorInfo { name, shape }, array.buffer())
        })
        .unzip()
}

/// All words of a model, so that the page can name any next token.
pub fn vocabulary(bundle: &ModelBundle) -> (Vec<TensorInfo>, Vec<ArrayBuffer>) {
    let mut text = String::new();
    let ends: Vec<u32> = (0..bundle.config.vocab_size as u32)
        .map(|id| {
            text.push_str(&shown(&bundle.tokenizer, id));
            text.len() as u32
        })
        .collect();
    let bytes = Uint8Array::new_with_length(text.len() as u32);
    bytes.copy_from(text.as_bytes());
    let numbers = Uint32Array::new_with_length(ends.len() as u32);
    numbers.copy_from(&ends);
    let info = |name, length| TensorInfo { name, shape: vec![length] };
    (
        vec![info(TensorName::VocabularyBytes, bytes.length()), info(TensorName::VocabularyEnds, numbers.length())],
        vec![bytes.buffer(), numbers.buffer()],
    )
}

/// A token as people see it: its text, or its bytes in angle brackets where they are only a part of a character.
fn shown(tokenizer: &Tokenizer, id: u32) -> String {
    let bytes = tokenizer.decode_bytes(id);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() => text.to_owned(),
        Ok(_) => tokenizer.token_text(id),
        Err(_) => part(bytes),
    }
}
