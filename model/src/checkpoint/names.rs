//! The one table of parameter names, read in every direction: ours (the paths of `Transformer::params`), Hugging Face's and
//! GGUF's.

use super::Layout;
use crate::config::{Architecture, ModelConfig};
use crate::projection::is_adapter;

/// One parameter without its `.weight` or `.bias`: ours, Hugging Face's, GGUF's (empty where there is none). `#` stands for an
/// expert's number.
struct Row(&'static str, &'static str, &'static str);

/// Outside the blocks, and in a block after `layers.N.`, the Hugging Face prefix and `blk.N.`. The first row that fits counts.
struct Table {
    top: &'static [Row],
    block: &'static [&'static [Row]],
    hf_blocks: &'static str,
}

const LLAMA_TOP: &[Row] = &[
    Row("embed", "model.embed_tokens", "token_embd"),
    Row("norm", "model.norm", "output_norm"),
    Row("head", "lm_head", "output"),
];

const LLAMA_NORMS: &[Row] =
    &[Row("attention_norm", "input_layernorm", "attn_norm"), Row("mlp_norm", "post_attention_layernorm", "ffn_norm")];

const LLAMA_ATTENTION: &[Row] = &[
    Row("attention.q_proj", "self_attn.q_proj", "attn_q"),
    Row("attention.k_proj", "self_attn.k_proj", "attn_k"),
    Row("attention.v_proj", "self_attn.v_proj", "attn_v"),
    Row("attention.o_proj", "self_attn.o_proj", "attn_output"),
    Row("attention.q_norm", "self_attn.q_norm", "attn_q_norm"),
    Row("attention.k_norm", "self_attn.k_norm", "attn_k_norm"),
];

const LLAMA_MLP: &[Row] = &[
    Row("mlp.gate_proj", "mlp.gate_proj", "ffn_gate"),
    Row("mlp.up_proj", "mlp.up_proj", "ffn_up"),
    Row("mlp.down_proj", "mlp.down_proj", "ffn_down"),
];

const LLAMA: Table =
    Table { top: LLAMA_TOP, block: &[LLAMA_NORMS, LLAMA_ATTENTION, LLAMA_MLP], hf_blocks: "model.layers." };

const GEMMA2: Table = Table {
    top: LLAMA_TOP,
    block: &[
        &[
            Row("attention_norm", "input_layernorm", "attn_norm"),
            Row("attention_post_norm", "post_attention_layernorm", "post_attention_norm"),
            Row("mlp_norm", "pre_feedforward_layernorm", "ffn_norm"),
            Row("mlp_post_norm", "post_feedforward_layernorm", "post_ffw_norm"),
        ],
        LLAMA_ATTENTION,
        LLAMA_MLP,
    ],
    hf_blocks: "model.layers.",
};

const MIXTRAL: Table = Table {
    top: LLAMA_TOP,
    block: &[
        LLAMA_NORMS,
        LLAMA_ATTENTION,
        &[
            Row("mlp.router", "block_sparse_moe.gate", ""),
            Row("mlp.experts.#.gate_proj", "block_sparse_moe.experts.#.w1", ""),
            Row("mlp.experts.#.down_proj", "block_sparse_moe.experts.#.w2", ""),
            Row("mlp.experts.#.up_proj", "block_sparse_moe.experts.#.w3", ""),
        ],
    ],
    hf_blocks: "model.layers.",
};

const PHI3: Table = Table {
    top: LLAMA_TOP,
    block: &[
        LLAMA_NORMS,
        &[
            Row("attention.qkv_proj", "self_attn.qkv_proj", "attn_qkv"),
            Row("attention.o_proj", "self_attn.o_proj", "attn_output"),
            Row("mlp.gate_up_proj", "mlp.gate_up_proj", "ffn_up"),
            Row("mlp.down_proj", "mlp.down_proj", "ffn_down"),
        ],
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
    block: &[&[
        Row("attention_norm", "ln_1", "attn_norm"),
        Row("attention.c_attn", "attn.c_attn", "attn_qkv"),
        Row("attention.c_proj", "attn.c_proj", "attn_output"),
        Row("mlp_norm", "ln_2", "ffn_norm"),
        Row("mlp.c_fc", "mlp.c_fc", "ffn_up"),
        Row("mlp.c_proj", "mlp.c_proj", "ffn_down"),
    ]],
    hf_blocks: "transformer.h.",
};

const GPTJ: Table = Table {
    top: &[
        Row("embed", "transformer.wte", "token_embd"),
        Row("norm", "transformer.ln_f", "output_norm"),
        Row("head", "lm_head", "output"),
    ],
    block: &[&[
        Row("attention_norm", "ln_1", "attn_norm"),
        Row("attention.q_proj", "attn.q_proj", "attn_q"),
        Row("attention.k_proj", "attn.k_proj", "attn_k"),
        Row("attention.v_proj", "attn.v_proj", "attn_v"),
        Row("attention.out_proj", "attn.out_proj", "attn_output"),
        Row("mlp.fc_in", "mlp.fc_in", "ffn_up"),
        Row("mlp.fc_out", "mlp.fc_out", "ffn_down"),
    ]],
    hf_blocks: "transformer.h.",
};

/// GPT-NeoX's and Bloom's norms and feed-forward half.
const NEOX_SHARED: &[Row] = &[
    Row("attention_norm", "input_layernorm", "attn_norm"),
    Row("mlp_norm", "post_attention_layernorm", "ffn_norm"),
    Row("mlp.dense_h_to_4h", "mlp.dense_h_to_4h", "ffn_up"),
    Row("mlp.dense_4h_to_h", "mlp.dense_4h_to_h", "ffn_down"),
];

const GPT_NEOX: Table = Table {
    top: &[
        Row("embed", "gpt_neox.embed_in", "token_embd"),
        Row("norm", "gpt_neox.final_layer_norm", "output_norm"),
        Row("head", "embed_out", "output"),
    ],
    block: &[
        NEOX_SHARED,
        &[
            Row("attention.query_key_value", "attention.query_key_value", "attn_qkv"),
            Row("attention.dense", "attention.dense", "attn_output"),
        ],
    ],
    hf_blocks: "gpt_neox.layers.",
};

const BLOOM: Table = Table {
    top: &[
        Row("embed", "transformer.word_embeddings", "token_embd"),
        Row("embed_norm", "transformer.word_embeddings_layernorm", "token_embd_norm"),
        Row("norm", "transformer.ln_f", "output_norm"),
        Row("head", "lm_head", "output"),
    ],
    block: &[
        NEOX_SHARED,
        &[
            Row("attention.query_key_value", "self_attention.query_key_value", "attn_qkv"),
            Row("attention.dense", "self_attention.dense", "attn_output"),
        ],
    ],
    hf_blocks: "transformer.h.",
};

const OUR_BLOCKS: &str = "layers.";
const GGUF_BLOCKS: &str = "blk.";

/// None for our own.
fn table(architecture: Architecture) -> Option<&'static Table> {
    Some(match architecture {
        Architecture::Gpt2 => &GPT2,
        Architecture::Gptj => &GPTJ,
        Architecture::GptNeox => &GPT_NEOX,
        Architecture::Bloom => &BLOOM,
        Architecture::Gemma2 => &GEMMA2,
        Architecture::Mixtral => &MIXTRAL,
        Architecture::Phi3 => &PHI3,
        Architecture::Llama
        | Architecture::Qwen2
        | Architecture::Qwen3
        | Architecture::Mistral
        | Architecture::Smollm3 => &LLAMA,
        Architecture::Hearth => return None,
    })
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
            let row = self.top.iter().find(|r| from(r) == stem && !to(r).is_empty());
            return row.map(|r| format!("{}.{kind}", to(r)));
        };
        let (layer, stem) = rest.split_once('.')?;
        let layer = number(layer)?;
        let rows = self.block.iter().flat_map(|rows| rows.iter()).filter(|r| !to(r).is_empty());
        let stem = rows.filter_map(|r| fill(from(r), to(r), stem)).next()?;
        Some(format!("{}{layer}.{stem}.{kind}", blocks.1))
    }
}

/// As a number, so that `007` and `7` cannot both be layer 7.
fn number(text: &str) -> Option<usize> {
    text.parse().ok().filter(|n: &usize| n.to_string() == text)
}

/// `to` with the number that `stem` has at the `#` of `from`; none where `stem` is not of that form.
fn fill(from: &str, to: &str, stem: &str) -> Option<String> {
    match from.split_once('#') {
        None => (from == stem).then(|| to.to_owned()),
        Some((before, after)) => {
            let expert = number(stem.strip_prefix(before)?.strip_suffix(after)?)?;
            Some(to.replace('#', &expert.to_string()))
        }
    }
}

/// Our path of a tensor of a Hugging Face checkpoint, or of one of our own.
pub fn from_hf(architecture: Architecture, name: &str) -> Option<String> {
    let Some(t) = table(architecture) else {
        return Some(name.to_owned());
    };
    let translate = |name: &str| t.translate(name, (t.hf_blocks, OUR_BLOCKS), |r| r.1, |r| r.0);
    // Checkpoints of these come with and without the prefix.
    translate(name).or_else(|| match architecture {
        Architecture::Gpt2 | Architecture::Bloom => translate(&format!("transformer.{name}")),
        _ => None,
    })
}

/// The name of a parameter in a Hugging Face checkpoint, or in one of our own. None for adapters.
pub fn to_hf(architecture: Architecture, path: &str) -> Option<String> {
    match table(architecture) {
        Some(t) => t.translate(path, (OUR_BLOCKS, t.hf_blocks), |r| r.0, |r| r.1),
        None => (!is_adapter(path)).then(|| path.to_owned()),
    }
}

/// Our path of a tensor of a GGUF file.
pub fn from_gguf(architecture: Architecture, name: &str) -> Option<String> {
    table(architecture)?.translate(name, (GGUF_BLOCKS, OUR_BLOCKS), |r| r.2, |r| r.0)
}

/// The GGUF name of a parameter.
pub fn to_gguf(architecture: Architecture, path: &str) -> Option<String> {
    table(architecture)?.translate(path, (OUR_BLOCKS, GGUF_BLOCKS), |r| r.0, |r| r.2)
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

/// Tensors that checkpoints carry and no model needs: causal masks of GPT-2, GPT-J and GPT-NeoX, RoPE frequencies of old Llama files.
pub fn is_buffer(name: &str) -> bool {
    let ends = [".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias"];
    ends.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back() {
        let families = [
            Architecture::Llama,
            Architecture::Gpt2,
            Architecture::Gptj,
            Architecture::GptNeox,
            Architecture::Bloom,
            Architecture::Gemma2,
            Architecture::Mixtral,
            Architecture::Phi3,
        ];
        for architecture in families {
            let t = table(architecture).expect("not our own");
            let tops = t.top.iter().map(|r| (r, format!("{}.weight", r.0)));
            let blocks = t.block.iter().flat_map(|rows| rows.iter());
            for (row, path) in tops.chain(blocks.map(|r| (r, format!("layers.17.{}.bias", r.0.replace('#', "30"))))) {
                let hf = to_hf(architecture, &path).expect("in the table");
                assert_eq!(from_hf(architecture, &hf).as_deref(), Some(path.as_str()));
                let gguf = to_gguf(architecture, &path);
                assert_eq!(gguf.is_none(), row.2.is_empty());
                let back = gguf.and_then(|name| from_gguf(architecture, &name));
                assert!(back.is_none_or(|back| back == path));
            }
        }
        let expert = "model.layers.2.block_sparse_moe.experts.7.w3.weight";
        let path = from_hf(Architecture::Mixtral, expert);
        assert_eq!(path.as_deref(), Some("layers.2.mlp.experts.7.up_proj.weight"));
        assert_eq!(to_hf(Architecture::Hearth, "layers.1.mlp.up_proj.lora.a"), None);
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
