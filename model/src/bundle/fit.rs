//! Whether a checkpoint's tensors are those that its configuration asks for: by names and shapes alone, no number is read. Where they
//! are not, the setting that says otherwise than the tensors is named as its file names it.

use std::collections::BTreeSet;

use burn::tensor::Device;

use super::LoadError;
use crate::checkpoint::{CheckpointError, Fault, Weights, names};
use crate::config::{MlpNames, ModelConfig};
use crate::device::cpu;
use crate::transformer::Transformer;

/// Whether the tensors are the model's parameters, one for one.
///
/// # Errors
/// The first that is missing, of another shape, or left over.
pub(super) fn check(config: &ModelConfig, weights: &Weights<'_>) -> Result<(), LoadError> {
    empty(config, weights, &cpu()).map(|_| ())
}

/// A model without numbers, whose parameters the tensors are.
///
/// # Errors
/// As [`check`].
pub(super) fn empty(config: &ModelConfig, weights: &Weights<'_>, device: &Device) -> Result<Transformer, LoadError> {
    // The model is built before it is filled: a configuration that claims a billion layers must not get that far.
    if weights.tensors.len() < config.n_layers {
        let tensor = format!("layers.{}.attention_norm.weight", config.n_layers - 1);
        return Err(misfit(config, weights, CheckpointError::MissingTensor { tensor, shape: vec![config.d_model] }));
    }
    let model = Transformer::empty(config, device);
    compare(&model, weights).map_err(|error| misfit(config, weights, error))?;
    Ok(model)
}

fn compare(model: &Transformer, weights: &Weights<'_>) -> Result<(), CheckpointError> {
    let mut known = BTreeSet::new();
    for (path, param) in model.params() {
        weights.check(&path, &param.shape())?;
        known.insert(path);
    }
    match weights.tensors.iter().find(|(path, _)| !known.contains(*path)) {
        None => Ok(()),
        Some((path, weight)) => Err(weight.fault(Fault::Parse(format!("the configuration has no parameter `{path}`")))),
    }
}

/// The tensor under its file's name, and what of the configuration is another model's.
fn misfit(config: &ModelConfig, weights: &Weights<'_>, error: CheckpointError) -> LoadError {
    let is_gguf = weights.tensors.values().next().is_some_and(|weight| weight.file.to_lowercase().ends_with(".gguf"));
    let (file, family) = (if is_gguf { "the metadata" } else { "config.json" }, config.model_type);
    let hint = match suspect(config, weights) {
        Some((field, ours, theirs)) => {
            let word = if is_gguf { gguf_word(field) } else { family.word(field) };
            let apart = format!("`{word}` is {ours} in {file} and {theirs} by the tensors");
            format!("{apart}: set it to {theirs}, or take both from one model")
        }
        None => format!("{file} is another model's than the tensors: take both from one model"),
    };
    let error = match error {
        CheckpointError::MissingTensor { tensor, shape } => {
            let name = if is_gguf { names::to_gguf(family, &tensor) } else { names::to_hf(family, &tensor) };
            CheckpointError::MissingTensor { tensor: name.unwrap_or(tensor), shape }
        }
        other => other,
    };
    LoadError::Misfit { error: Box::new(error), hint }
}

/// The metadata's key behind the architecture's name.
fn gguf_word(field: &str) -> &str {
    match field {
        "n_layers" => "block_count",
        "d_model" => "embedding_length",
        "ffn_dim" => "feed_forward_length",
        "head_dim" => "attention.key_length",
        "n_heads" => "attention.head_count",
        "kv_heads" => "attention.head_count_kv",
        "max_positions" => "context_length",
        field => field,
    }
}

/// The first setting that is not what the tensors' shapes tell: its name, its value and theirs.
fn suspect(config: &ModelConfig, weights: &Weights<'_>) -> Option<(&'static str, String, String)> {
    let size = |path: &str, axis: usize| weights.get(path)?.shape.get(axis).copied();
    let layer = |path: &String| path.strip_prefix("layers.")?.split('.').next()?.parse::<usize>().ok();
    let last = weights.tensors.keys().filter_map(layer).max();
    let inner = match config.mlp_names() {
        MlpNames::Gated | MlpNames::Joined => "down_proj",
        MlpNames::Plain(_, name) => name,
    };
    let of_mlp = |path: &str| size(&format!("layers.0.mlp.{path}{inner}.weight"), 1);
    let heads = |width: Option<usize>| width.map(|width| width / config.head_dim);
    let queries = size(&format!("layers.0.attention.{}.weight", config.output_name()), 1);
    let keys = size("layers.0.attention.k_proj.weight", 0);
    // Where both counts of heads tell the same size, it is the size that is wrong.
    let share = |rows: Option<usize>, heads: usize| {
        let rows = rows.filter(|rows| rows.is_multiple_of(heads));
        rows.map(|rows| rows / heads)
    };
    let head_dim = share(queries, config.n_heads).filter(|size| share(keys, config.kv_heads) == Some(*size));
    let by_tensors = [
        ("n_layers", config.n_layers, last.map(|last| last + 1)),
        ("d_model", config.d_model, size("embed.weight", 1)),
        ("vocab_size", config.vocab_size, size("embed.weight", 0)),
        ("ffn_dim", config.ffn_dim, of_mlp("").or_else(|| of_mlp("experts.0."))),
        ("head_dim", config.head_dim, head_dim),
        ("n_heads", config.n_heads, heads(queries)),
        ("kv_heads", config.kv_heads, heads(keys)),
        ("max_positions", config.max_positions, size("positions.weight", 0)),
    ];
    let other = by_tensors.into_iter().find_map(|(field, ours, theirs)| {
        let theirs = theirs.filter(|theirs| *theirs != ours)?;
        Some((field, ours.to_string(), theirs.to_string()))
    });
    let untied = !config.tied && weights.get("head.weight").is_none();
    other.or_else(|| untied.then(|| ("tied", "false".to_owned(), "true".to_owned())))
}
