//! [`ModelConfig`] to each family's `config.json`. What a family has no field for is left out; `ModelConfig::to_hf` notices.

use serde_json::{Map, Value, json};

use super::{read, rope};
use crate::config::{Activation, Architecture, ModelConfig, Position};

pub(super) fn family(config: &ModelConfig) -> Value {
    let (class, own) = match config.model_type {
        Architecture::Gpt2 => ("GPT2LMHeadModel", gpt(config)),
        Architecture::Gptj => ("GPTJForCausalLM", gptj(config)),
        Architecture::GptNeox => ("GPTNeoXForCausalLM", gpt_neox(config)),
        Architecture::Bloom => ("BloomForCausalLM", bloom(config)),
        Architecture::Qwen2 => ("Qwen2ForCausalLM", qwen(config)),
        Architecture::Qwen3 => ("Qwen3ForCausalLM", qwen(config)),
        Architecture::Mistral => ("MistralForCausalLM", json!({"sliding_window": config.sliding_window})),
        Architecture::Mixtral => ("MixtralForCausalLM", mixtral(config)),
        Architecture::Gemma2 => ("Gemma2ForCausalLM", gemma2(config)),
        Architecture::Phi3 => ("Phi3ForCausalLM", phi3(config)),
        Architecture::Smollm3 => ("SmolLM3ForCausalLM", smollm3(config)),
        Architecture::Llama | Architecture::Hearth => ("LlamaForCausalLM", biases(config)),
    };
    let common = json!({
        "architectures": [class],
        "model_type": config.model_type.name(),
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied,
        "bos_token_id": config.bos,
        "eos_token_id": eos(&config.eos),
        // Some classes have one of their own in its place, far outside a small vocabulary.
        "pad_token_id": null,
        "torch_dtype": "float32",
    });
    let mut all = Map::new();
    let shared = match config.model_type {
        Architecture::Gpt2 | Architecture::Gptj | Architecture::Bloom => Value::Null,
        _ => sizes(config),
    };
    // The family's own fields last: they know better.
    for part in [common, shared, own] {
        if let Value::Object(part) = part {
            all.extend(part);
        }
    }
    Value::Object(all)
}

fn sizes(config: &ModelConfig) -> Value {
    let mut out = json!({
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.ffn_dim,
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.norm_eps,
        "hidden_act": activation(config.activation),
        "attention_dropout": decimal(config.dropout.attention),
    });
    if let (Position::Rope(found), Some(fields)) = (&config.position, out.as_object_mut()) {
        fields.extend(rope::write(found, &read::rope_defaults(config.model_type), config.head_dim));
    }
    out
}

fn biases(config: &ModelConfig) -> Value {
    json!({"attention_bias": config.attention_bias, "mlp_bias": config.mlp_bias})
}

fn qwen(config: &ModelConfig) -> Value {
    json!({
        "attention_bias": config.attention_bias,
        "sliding_window": config.sliding_window,
        "use_sliding_window": config.sliding_window.is_some(),
        "max_window_layers": if config.sliding_window.is_some() { 0 } else { config.n_layers },
        "layer_types": layer_types(config),
    })
}

fn mixtral(config: &ModelConfig) -> Value {
    let moe = config.moe.as_ref();
    json!({
        "sliding_window": config.sliding_window,
        "num_local_experts": moe.map(|moe| moe.experts),
        "num_experts_per_tok": moe.map(|moe| moe.top_k),
        "router_aux_loss_coef": moe.map(|moe| moe.balance),
    })
}

fn gemma2(config: &ModelConfig) -> Value {
    let scalar = config.query_scalar.unwrap_or(config.head_dim as f64);
    json!({
        "hidden_activation": activation(config.activation),
        "attention_bias": config.attention_bias,
        // A whole number in every published file.
        "query_pre_attn_scalar": if scalar.fract() == 0.0 { json!(scalar as u64) } else { json!(scalar) },
        "attn_logit_softcapping": config.attention_softcap,
        "final_logit_softcapping": config.logit_softcap,
        "sliding_window": config.sliding_window,
        "layer_types": layer_types(config),
    })
}

fn phi3(config: &ModelConfig) -> Value {
    json!({
        "sliding_window": config.sliding_window,
        "embd_pdrop": decimal(config.dropout.embedding),
        "resid_pdrop": decimal(config.dropout.residual),
    })
}

fn smollm3(config: &ModelConfig) -> Value {
    let rotates: Vec<u8> = (0..config.n_layers).map(|layer| u8::from(config.rotates(layer))).collect();
    json!({
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "no_rope_layers": rotates,
        "use_sliding_window": config.sliding_window.is_some(),
        "sliding_window": config.sliding_window,
        "layer_types": layer_types(config),
    })
}

/// GPT-2's and GPT-J's.
fn gpt(config: &ModelConfig) -> Value {
    json!({
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.ffn_dim,
        "n_positions": config.max_positions,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": activation(config.activation),
        "embd_pdrop": decimal(config.dropout.embedding),
        "attn_pdrop": decimal(config.dropout.attention),
        "resid_pdrop": decimal(config.dropout.residual),
    })
}

fn gptj(config: &ModelConfig) -> Value {
    let mut out = gpt(config);
    if let Position::Rope(rope) = config.position {
        out["rotary_dim"] = json!(rope.dims.unwrap_or(config.head_dim));
    }
    out
}

fn gpt_neox(config: &ModelConfig) -> Value {
    json!({
        "layer_norm_eps": config.norm_eps,
        "attention_bias": config.attention_bias,
        "use_parallel_residual": config.block == crate::config::BlockKind::Parallel,
        "hidden_dropout": decimal(config.dropout.residual),
    })
}

fn bloom(config: &ModelConfig) -> Value {
    json!({
        "hidden_size": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "seq_length": config.max_positions,
        "layer_norm_epsilon": config.norm_eps,
        "attention_dropout": decimal(config.dropout.attention),
        "hidden_dropout": decimal(config.dropout.residual),
    })
}

fn layer_types(config: &ModelConfig) -> Vec<&'static str> {
    let kind = |layer| if config.window(layer).is_some() { "sliding_attention" } else { "full_attention" };
    (0..config.n_layers).map(kind).collect()
}

/// The decimal number an f32 was made from: 0.1, not 0.10000000149.
fn decimal(rate: f32) -> f64 {
    rate.to_string().parse().unwrap_or(f64::from(rate))
}

fn eos(eos: &[u32]) -> Value {
    match eos {
        [] => Value::Null,
        [one] => json!(one),
        many => json!(many),
    }
}

fn activation(activation: Activation) -> &'static str {
    match activation {
        Activation::Silu => "silu",
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
        Activation::Relu => "relu",
    }
}
