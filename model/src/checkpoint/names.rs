//! The one table of parameter names, read in every direction: ours (the paths of `Transformer::params`), Hugging Face's and
//! GGUF's.

use super::Layout;
use crate::config::{Architecture, ModelConfig};

/// One parameter without its `.weight` or `.bias`: ours, Hugging Face's, GGUF's.
struct Row(&'static str, &'static str, &'static str);

/// Outside the blocks, and in a block after `layers.N.`, the Hugging Face prefix and `blk.N.`.
struct Table {
    top: &'static [Row],
    block: &'static [Row],
    hf_blocks: &'static str,
}

const LLAMA: Table = Table {
    top: &[
        Row("embed", "model.embed_tokens", "token_embd"),
        Row("norm", "model.norm", "output_norm"),
        Row("head", "lm_head", "output"),
    ],
    block: &[
        Row("attention_norm", "input_layernorm", "attn_norm"),
        Row("attention.q_proj", "self_attn.q_proj", "attn_q"),
        Row("attention.k_proj", "self_attn.k_proj", "attn_k"),
        Row("attention.v_proj", "self_attn.v_proj", "attn_v"),
        Row("attention.o_proj", "self_attn.o_proj", "attn_output"),
        Row("mlp_norm", "post_attention_layernorm", "ffn_norm"),
        Row("mlp.gate_proj", "mlp.gate_proj", "ffn_gate"),
        Row("mlp.up_proj", "mlp.up_proj", "ffn_up"),
        Row("mlp.down_proj", "mlp.down_proj", "ffn_down"),
    ],
    hf_blocks: "model.layers.",
};

const GPT2: Table = Table {
    top: &[
        Row("embed", "transformer.wte", "token_embd"),
        Row("positions", "transformer.wpe", "position_embd"),
        Row("norm", "transformer.ln_f", "output_norm"),
        Row("head", "lm_head", "output"),
    ],
    block: &[
        Row("attention_norm", "ln_1", "attn_norm"),
        Row("attention.c_attn", "attn.c_attn", "attn_qkv"),
        Row("attention.c_proj", "attn.c_proj", "attn_output"),
        Row("mlp_norm", "ln_2", "ffn_norm"),
        Row("mlp.c_fc", "mlp.c_fc", "ffn_up"),
        Row("mlp.c_proj", "mlp.c_proj", "ffn_down"),
    ],
    hf_blocks: "transformer.h.",
};

const OUR_BLOCKS: &str = "layers.";
const GGUF_BLOCKS: &str = "blk.";

fn table(architecture: Architecture) -> &'static Table {
    match architecture {
        Architecture::Gpt2 => &GPT2,
        Architecture::Llama | Architecture::Qwen2 | Architecture::Mistral => &LLAMA,
    }
}

impl Table {
    /// Translates `name`: `from` and `to` pick the column and `blocks` are the prefixes of a block in each.
    fn translate(
        &self,
        name: &str,
        blocks: (&str, &str),
        from: fn(&Row) -> &'static str,
        to: fn(&Row) -> &'static str,
    ) -> Option<String> {
        let (stem, kind) = name.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))?;
        let Some(rest) = stem.strip_prefix(blocks.0) else {
            return self.top.iter().find(|r| from(r) == stem).map(|r| format!("{}.{kind}", to(r)));
        };
        let (layer, stem) = rest.split_once('.')?;
        // As a number, so that `007` and `7` cannot both be layer 7.
        let layer: usize = layer.parse().ok().filter(|l: &usize| l.to_string() == layer)?;
        let row = self.block.iter().find(|r| from(r) == stem)?;
        Some(format!("{}{layer}.{}.{kind}", blocks.1, to(row)))
    }
}

/// Our path of a tensor of a Hugging Face checkpoint.
pub fn from_hf(architecture: Architecture, name: &str) -> Option<String> {
    let t = table(architecture);
    let translate = |name: &str| t.translate(name, (t.hf_blocks, OUR_BLOCKS), |r| r.1, |r| r.0);
    // GPT-2 checkpoints come with and without the prefix.
    translate(name).or_else(|| match architecture {
        Architecture::Gpt2 => translate(&format!("transformer.{name}")),
        _ => None,
    })
}

/// The Hugging Face name of a parameter.
pub fn to_hf(architecture: Architecture, path: &str) -> Option<String> {
    let t = table(architecture);
    t.translate(path, (OUR_BLOCKS, t.hf_blocks), |r| r.0, |r| r.1)
}

/// Our path of a tensor of a GGUF file.
pub fn from_gguf(architecture: Architecture, name: &str) -> Option<String> {
    table(architecture).translate(name, (GGUF_BLOCKS, OUR_BLOCKS), |r| r.2, |r| r.0)
}

/// The GGUF name of a parameter.
pub fn to_gguf(architecture: Architecture, path: &str) -> Option<String> {
    table(architecture).translate(path, (OUR_BLOCKS, GGUF_BLOCKS), |r| r.0, |r| r.2)
}

/// How Hugging Face stores the parameter of this path: GPT-2's `Conv1D` is `[in, out]`, ours `[out, in]`.
pub fn layout_hf(config: &ModelConfig, path: &str) -> Layout {
    let conv = config.model_type == Architecture::Gpt2 && path.contains(".c_") && path.ends_with(".weight");
    if conv { Layout::Transposed } else { Layout::Same }
}

/// How llama.cpp's converter stores it: the rows of llama's queries and keys are permuted for interleaved RoPE. (It writes
/// Mistral as `llama`; Qwen2 keeps half-split rows; GPT-2 is turned to `[out, in]`.)
pub fn layout_gguf(config: &ModelConfig, path: &str) -> Layout {
    match config.model_type {
        Architecture::Llama | Architecture::Mistral if path.contains(".q_proj.") => {
            Layout::InterleavedHeads { heads: config.n_heads }
        }
        Architecture::Llama | Architecture::Mistral if path.contains(".k_proj.") => {
            Layout::InterleavedHeads { heads: config.kv_heads }
        }
        _ => Layout::Same,
    }
}

/// Tensors that checkpoints carry and no model needs: causal masks of GPT-2, RoPE frequencies of old Llama files.
pub fn is_buffer(name: &str) -> bool {
    [".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back() {
        for architecture in [Architecture::Llama, Architecture::Qwen2, Architecture::Mistral, Architecture::Gpt2] {
            let t = table(architecture);
            let paths = t.top.iter().map(|r| format!("{}.weight", r.0));
            for path in paths.chain(t.block.iter().map(|r| format!("layers.17.{}.bias", r.0))) {
                let hf = to_hf(architecture, &path).expect("in the table");
                assert_eq!(from_hf(architecture, &hf).as_deref(), Some(path.as_str()));
                let gguf = to_gguf(architecture, &path).expect("in the table");
                assert_eq!(from_gguf(architecture, &gguf).as_deref(), Some(path.as_str()));
            }
        }
        assert_eq!(from_hf(Architecture::Gpt2, "h.3.mlp.c_fc.weight").as_deref(), Some("layers.3.mlp.c_fc.weight"));
    }

    #[test]
    fn strange_names_have_no_translation() {
        let names = [
            "",
            "blk",
            "blk.x.attn_q.weight",
            "blk.1.attn_q",
            "rope_freqs.weight",
            "blk.1.weight",
            "blk.01.attn_q.weight",
        ];
        for name in names {
            assert_eq!(from_gguf(Architecture::Llama, name), None, "{name}");
        }
    }
}
