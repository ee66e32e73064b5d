//! A model out of a GGUF file: configuration from the metadata, tensors under our paths.
//!
//! Tokenizer and template of the same file are read by `tokenizer::gguf`.

pub mod write;

use std::borrow::Cow;

use super::gguf::{Gguf, Value};
use super::{CheckpointError, Layout, Weight, Weights, names};
use crate::config::{Activation, Architecture, ModelConfig, Norm, Position, Rope};

/// Reads the configuration.
///
/// # Errors
/// An architecture or variant that is not supported, or metadata that is missing or of a wrong type.
pub fn config(gguf: &Gguf<'_>) -> Result<ModelConfig, CheckpointError> {
    let architecture = architecture(gguf)?;
    let prefix = gguf.need("general.architecture", "a string", string)?;
    let fields = Fields { gguf, prefix };
    let d_model = fields.size("embedding_length")?;
    let n_heads = fields.size("attention.head_count")?;
    let embedding = gguf.tensors.iter().find(|t| t.name == "token_embd.weight");
    let vocab_size = embedding
        .and_then(|t| t.shape.first().copied())
        .ok_or_else(|| CheckpointError::MissingTensor { tensor: "token_embd.weight".to_owned(), shape: Vec::new() })?;
    let gpt2 = architecture == Architecture::Gpt2;
    let epsilon = if gpt2 { "attention.layer_norm_epsilon" } else { "attention.layer_norm_rms_epsilon" };
    fields.fit_embedding(d_model)?;
    let key_length = fields.opt("attention.key_length")?;
    let head_dim = match key_length {
        Some(size) => size,
        None => d_model.checked_div(n_heads).unwrap_or(0),
    };
    let kv_heads = fields.opt("attention.head_count_kv")?.unwrap_or(n_heads);
    fields.fit_heads(&Heads { heads: n_heads, kv: kv_heads, key_length, size: head_dim })?;
    fields.refuse_variants(head_dim)?;
    let has = |name: &str| gguf.tensors.iter().any(|t| t.name == name);
    let sliding_window = fields.opt("attention.sliding_window")?.filter(|&w| w > 0);
    let config = ModelConfig {
        // llama.cpp's converter writes Mistral as `llama`.
        model_type: match architecture {
            Architecture::Llama if sliding_window.is_some() => Architecture::Mistral,
            other => other,
        },
        head_dim,
        ffn_dim: fields.size("feed_forward_length")?,
        norm: if gpt2 { Norm::Layer } else { Norm::Rms },
        norm_eps: fields.real(epsilon)?.ok_or_else(|| gguf.bad(&fields.key(epsilon), "is missing"))?,
        position: if gpt2 {
            Position::Learned
        } else {
            // The rows of queries and keys are put back into half-split order when they are read.
            Position::Rope(Rope::new(fields.real("rope.freq_base")?.unwrap_or(10_000.0)))
        },
        activation: if gpt2 { Activation::GeluTanh } else { Activation::Silu },
        mlp_gated: !gpt2,
        attention_bias: gpt2 || has("blk.0.attn_q.bias"),
        output_bias: gpt2 || has("blk.0.attn_output.bias"),
        mlp_bias: gpt2 || has("blk.0.ffn_up.bias"),
        sliding_window,
        tied: !has("output.weight"),
        bos: token_id(gguf, "tokenizer.ggml.bos_token_id")?,
        eos: eos(gguf)?,
        ..ModelConfig::llama(
            vocab_size,
            d_model,
            fields.size("block_count")?,
            (n_heads, kv_heads),
            fields.size("context_length")?,
        )
    };
    config.validate().map_err(|e| CheckpointError::Metadata {
        file: gguf.file.clone(),
        key: prefix.to_owned(),
        problem: e.to_string(),
    })?;
    Ok(config)
}

/// All tensors under our paths.
///
/// # Errors
/// A tensor whose name the architecture does not have, or rows that do not divide into its heads.
pub fn weights<'a>(gguf: &Gguf<'a>, config: &ModelConfig) -> Result<Weights<'a>, CheckpointError> {
    let tensors = gguf.tensors.iter().map(|tensor| {
        let weight = Weight {
            file: Cow::Owned(gguf.file.clone()),
            name: tensor.name.to_owned(),
            offset: tensor.offset,
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
            layout: Layout::Same,
            bytes: tensor.bytes,
        };
        (tensor.name.to_owned(), weight)
    });
    Weights { tensors: tensors.collect() }.named(
        config,
        |name| names::from_gguf(config.model_type, name),
        |path| names::layout_gguf(config, path),
    )
}

fn string<'a>(value: &Value<'a>) -> Option<&'a str> {
    match value {
        Value::String(s) => Some(s),
        _ => None,
    }
}

fn architecture(gguf: &Gguf<'_>) -> Result<Architecture, CheckpointError> {
    match gguf.need("general.architecture", "a string", string)? {
        "llama" => Ok(Architecture::Llama),
        "qwen2" => Ok(Architecture::Qwen2),
        "gpt2" => Ok(Architecture::Gpt2),
        other => Err(CheckpointError::Unsupported {
            file: gguf.file.clone(),
            what: format!("the architecture `{other}`"),
            hint: "llama, qwen2 and gpt2 are".to_owned(),
        }),
    }
}

/// A token id that the file names.
///
/// # Errors
/// When the entry is no id.
pub fn token_id(gguf: &Gguf<'_>, key: &str) -> Result<Option<u32>, CheckpointError> {
    // Writers put -1 or its 32-bit image where there is no such token.
    let id = |v: &Value<'_>| match v {
        Value::Signed(-1) | Value::Unsigned(0xffff_ffff) => Some(None),
        other => other.as_u64().and_then(|id| u32::try_from(id).ok()).map(Some),
    };
    Ok(gguf.opt(key, "a token id", id)?.flatten())
}

fn eos(gguf: &Gguf<'_>) -> Result<Vec<u32>, CheckpointError> {
    let mut ids = Vec::new();
    for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
        if let Some(id) = token_id(gguf, key)?
            && !ids.contains(&id)
        {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// The decimal number that was rounded to the f32 in the file: 1e-5, not 9.999999747e-6.
fn decimal(v: f64) -> f64 {
    (v as f32).to_string().parse().unwrap_or(v)
}

/// What the metadata says of attention.
struct Heads {
    heads: usize,
    kv: usize,
    key_length: Option<usize>,
    /// The key length, or an equal share of the embedding.
    size: usize,
}

/// Entries under the architecture's prefix.
struct Fields<'g, 'a> {
    gguf: &'g Gguf<'a>,
    prefix: &'a str,
}

impl Fields<'_, '_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn opt(&self, name: &str) -> Result<Option<usize>, CheckpointError> {
        let size = |v: &Value<'_>| v.as_u64().and_then(|n| usize::try_from(n).ok());
        self.gguf.opt(&self.key(name), "a size", size)
    }

    fn size(&self, name: &str) -> Result<usize, CheckpointError> {
        self.opt(name)?.ok_or_else(|| self.gguf.bad(&self.key(name), "is missing"))
    }

    fn real(&self, name: &str) -> Result<Option<f64>, CheckpointError> {
        let value = self.gguf.opt(&self.key(name), "a number", Value::as_f64)?;
        Ok(value.map(decimal))
    }

    /// An axis of a tensor; none where the file has no such tensor.
    fn axis(&self, tensor: &str, axis: usize) -> Option<usize> {
        self.gguf.tensors.iter().find(|found| found.name == tensor)?.shape.get(axis).copied()
    }

    /// Refuses the entry that says otherwise than the tensors.
    fn another_models(&self, name: &str, ours: usize, theirs: usize) -> CheckpointError {
        let apart = format!("is {ours} in the metadata and {theirs} by the tensors");
        self.gguf.bad(&self.key(name), &format!("{apart}: set it to {theirs}, or take both from one model"))
    }

    fn fit_embedding(&self, d_model: usize) -> Result<(), CheckpointError> {
        match self.axis("token_embd.weight", 1) {
            Some(width) if width != d_model => Err(self.another_models("embedding_length", d_model, width)),
            _ => Ok(()),
        }
    }

    /// Refuses counts of heads that are not those of the tensors, which would be taken for a variant. The rows of
    /// queries and keys tell the heads apart only with their size: the key length, or what RoPE turns.
    fn fit_heads(&self, said: &Heads) -> Result<(), CheckpointError> {
        let (Some(queries), Some(keys)) = (self.axis("blk.0.attn_q.weight", 0), self.axis("blk.0.attn_k.weight", 0))
        else {
            return Ok(());
        };
        let rotated = self.opt("rope.dimension_count")?;
        let rows = |heads: usize, size: usize| heads.saturating_mul(size);
        if let (Some(length), Some(rotated)) = (said.key_length, rotated)
            && length != rotated
            && (rows(said.heads, rotated), rows(said.kv, rotated)) == (queries, keys)
        {
            return Err(self.another_models("attention.key_length", length, rotated));
        }
        let Some(size) = said.key_length.or(rotated).filter(|&size| size > 0) else {
            return Ok(());
        };
        let are_apart = rows(said.heads, said.size) != queries
            || (rows(said.kv, said.size) != keys && rows(said.kv, size) == keys)
            || size > said.size;
        if are_apart && queries.is_multiple_of(size) && queries / size != said.heads {
            return Err(self.another_models("attention.head_count", said.heads, queries / size));
        }
        if size == said.size && keys.is_multiple_of(size) && keys / size != said.kv {
            return Err(self.another_models("attention.head_count_kv", said.kv, keys / size));
        }
        Ok(())
    }

    /// What would change the computation and is not built yet is refused, never ignored.
    fn refuse_variants(&self, head_dim: usize) -> Result<(), CheckpointError> {
        let refuse = |what: String| {
            Err(CheckpointError::Unsupported { file: self.gguf.file.clone(), what, hint: String::new() })
        };
        if self.opt("expert_count")?.is_some_and(|n| n > 0) {
            return refuse("a mixture of experts".to_owned());
        }
        if self.opt("rope.dimension_count")?.is_some_and(|n| n != head_dim) {
            return refuse("RoPE on a part of each head".to_owned());
        }
        if self.opt("attention.value_length")?.is_some_and(|n| n != head_dim) {
            return refuse("values of another size than keys".to_owned());
        }
        let scaling = self.gguf.opt(&self.key("rope.scaling.type"), "a string", string)?;
        if let Some(kind) = scaling.filter(|&k| k != "none") {
            return refuse(format!("RoPE scaling `{kind}`"));
        }
        if self.gguf.tensors.iter().any(|t| t.name == "rope_freqs.weight") {
            return refuse("RoPE scaling by a table (`rope_freqs.weight`)".to_owned());
        }
        Ok(())
    }
}
