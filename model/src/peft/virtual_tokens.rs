//! PEFT's files of prompt and prefix tuning: one tensor, `prompt_embeddings`. A row is a virtual token: its embedding, `[P, D]`; or its
//! keys and values, layer by layer, `[P, layers · 2 · K·E]`.

use std::collections::BTreeMap;

use burn::tensor::Device;
use hearth_shared::spec::{AdapterSpec, VirtualTokensSpec};
use serde_json::{Value, json};

use super::{AdapterFiles, PeftError, WEIGHTS, refuse_unknown};
use crate::adapter;
use crate::checkpoint::safetensors::{Encoded, Precision, parse, to_bytes};
use crate::config::ModelConfig;
use crate::lora::{freeze, matrix};
use crate::projection::floats;
use crate::transformer::Transformer;
use crate::virtual_tokens::Prefix;

const TENSOR: &str = "prompt_embeddings";
/// Settings that say nothing about what a trained adapter computes, or that its tensor says itself. The network that prefixes may have
/// been trained through is not in the files.
const KNOWN: [&str; 20] = [
    "auto_mapping",
    "base_model_name_or_path",
    "encoder_hidden_size",
    "inference_mode",
    "init_weights",
    "num_attention_heads",
    "num_layers",
    "num_transformer_submodules",
    "num_virtual_tokens",
    "peft_type",
    "peft_version",
    "prefix_projection",
    "prompt_tuning_init",
    "prompt_tuning_init_text",
    "revision",
    "runtime_config",
    "task_type",
    "token_dim",
    "tokenizer_kwargs",
    "tokenizer_name_or_path",
];

pub(super) fn to_files(model: &Transformer, base: &str) -> Result<AdapterFiles, PeftError> {
    let model_config = model.config();
    let (values, count, own) = match &model.prompt {
        Some(prompt) => {
            let count = prompt.lazy_shape()[0];
            let own = json!({
                "num_attention_heads": model_config.n_heads,
                "peft_type": "PROMPT_TUNING",
                "prompt_tuning_init": "RANDOM",
                "prompt_tuning_init_text": null,
                "token_dim": model_config.d_model,
                "tokenizer_kwargs": null,
                "tokenizer_name_or_path": null,
            });
            (floats(prompt.val().into_data()), count, own)
        }
        None => {
            let (values, count) = prefix_rows(model).ok_or(PeftError::NotAdapted)?;
            let own = json!({
                "encoder_hidden_size": model_config.d_model,
                "num_attention_heads": model_config.kv_heads,
                "peft_type": "PREFIX_TUNING",
                "prefix_projection": false,
                "token_dim": model_config.kv_width(),
            });
            (values, count, own)
        }
    };
    let mut config = json!({
        "auto_mapping": null,
        "base_model_name_or_path": base,
        "inference_mode": true,
        "num_layers": model_config.n_layers,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": count,
        "revision": null,
        "task_type": "CAUSAL_LM",
    });
    if let (Some(config), Value::Object(own)) = (config.as_object_mut(), own) {
        config.extend(own);
    }
    let shape = vec![count, values.len() / count];
    let tensors = BTreeMap::from([(TENSOR.to_owned(), Encoded::new(Precision::F32, shape, &values))]);
    Ok(AdapterFiles { config: serde_json::to_vec_pretty(&config)?, weights: to_bytes(&tensors)? })
}

/// Rows, and how many.
fn prefix_rows(model: &Transformer) -> Option<(Vec<f32>, usize)> {
    let layers: Option<Vec<&Prefix>> = model.layers.iter().map(|block| block.attention.prefix.as_ref()).collect();
    let layers = layers?;
    let (count, width) = (layers.first()?.count(), model.config().kv_width());
    let parts: Vec<Vec<f32>> =
        layers.iter().flat_map(|prefix| [&prefix.keys, &prefix.values]).map(|p| floats(p.val().into_data())).collect();
    let row = |i: usize| parts.iter().flat_map(move |part| part[i * width..(i + 1) * width].iter().copied());
    Some(((0..count).flat_map(row).collect(), count))
}

pub(super) fn from_files(
    config: &Value,
    weights: &[u8],
    model: &mut Transformer,
    device: &Device,
) -> Result<AdapterSpec, PeftError> {
    refuse_unknown(config, &KNOWN)?;
    let mut tensors = parse(WEIGHTS, weights)?;
    let count = match tensors.get(TENSOR) {
        Some(tensor) if tensor.shape.len() == 2 && tensor.shape[0] > 0 => tensor.shape[0],
        _ => return Err(PeftError::Empty),
    };
    if count + 1 >= model.config().max_positions {
        let value = count.to_string();
        return Err(PeftError::Unsupported { field: "num_virtual_tokens".to_owned(), value });
    }
    let is_prefix = config["peft_type"] == "PREFIX_TUNING";
    let values = tensors.take(TENSOR, &[count, row_width(model.config(), is_prefix)])?.to_f32();
    if let Some(name) = tensors.tensors.keys().next() {
        return Err(PeftError::UnknownTensor { name: name.clone() });
    }
    freeze(model);
    adapter::remove(model);
    let spec = VirtualTokensSpec { virtual_tokens: count as u32 };
    if !is_prefix {
        let width = model.config().d_model;
        model.prompt = Some(matrix(values, [count, width], device));
        return Ok(AdapterSpec::Prompt(spec));
    }
    let (width, row) = (model.config().kv_width(), values.len() / count);
    for (layer, block) in model.layers.iter_mut().enumerate() {
        let part = |i: usize| {
            let from = (2 * layer + i) * width;
            let rows = values.chunks_exact(row).flat_map(|row| row[from..from + width].iter().copied());
            matrix(rows.collect(), [count, width], device)
        };
        block.attention.prefix = Some(Prefix { keys: part(0), values: part(1) });
    }
    Ok(AdapterSpec::Prefix(spec))
}

fn row_width(config: &ModelConfig, is_prefix: bool) -> usize {
    if is_prefix { config.n_layers * 2 * config.kv_width() } else { config.d_model }
}
