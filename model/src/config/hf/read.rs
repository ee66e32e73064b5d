//! Each family's `config.json` to [`ModelConfig`]. Defaults are those of transformers' configuration classes.

use serde_json::{Value, json};

use super::rope::{self, Defaults};
use super::{ConfigError, Fields};
use crate::config::{
    Activation, Architecture, BlockKind, Dropout, ModelConfig, Moe, Norm, NormPlacement, Position, RopeStyle,
};

pub(super) fn family(fields: &Fields<'_>, family: Architecture) -> Result<ModelConfig, ConfigError> {
    match family {
        Architecture::Gpt2 => gpt2(fields),
        Architecture::GptNeox => gpt_neox(fields),
        Architecture::Gptj => gptj(fields),
        Architecture::Bloom => bloom(fields),
        Architecture::Gemma2 => gemma2(fields),
        Architecture::Mixtral => mixtral(fields),
        Architecture::Phi3 => phi3(fields),
        Architecture::Smollm3 => smollm3(fields),
        Architecture::Qwen2 | Architecture::Qwen3 => qwen(fields, family),
        Architecture::Llama | Architecture::Mistral | Architecture::Hearth => llama(fields, family),
    }
}

/// Base frequencies and other settings that differ between the families of Llama's shape.
pub(super) fn rope_defaults(family: Architecture) -> Defaults {
    match family {
        Architecture::Mixtral => Defaults::theta(1e6),
        Architecture::Smollm3 => Defaults::theta(2e6),
        Architecture::GptNeox => {
            Defaults { theta: 10_000.0, theta_field: "rotary_emb_base", share_field: Some(("rotary_pct", 0.25)) }
        }
        Architecture::Phi3 => {
            Defaults { theta: 10_000.0, theta_field: "rope_theta", share_field: Some(("partial_rotary_factor", 1.0)) }
        }
        _ => Defaults::theta(10_000.0),
    }
}

/// Sizes under the names that most families share, in Llama's shape.
fn sizes(fields: &Fields<'_>, family: Architecture, max_positions: usize) -> Result<ModelConfig, ConfigError> {
    let d_model = fields.need("hidden_size")?;
    let n_heads = fields.need("num_attention_heads")?;
    if n_heads == 0 {
        return Err(ConfigError::invalid("num_attention_heads", 0));
    }
    fields.must_be("pretraining_tp", json!(1))?;
    let max_positions = fields.size("max_position_embeddings")?.unwrap_or(max_positions);
    let kv_heads = fields.size("num_key_value_heads")?.unwrap_or(n_heads);
    let head_dim = head_dim(fields, family, d_model, n_heads)?;
    if !n_heads.is_multiple_of(kv_heads) {
        // Heads that do not share out the width either are likelier the slip.
        return Err(match d_model.is_multiple_of(n_heads) {
            true => ConfigError::uneven("num_key_value_heads", kv_heads, ("num_attention_heads", n_heads)),
            false => ConfigError::uneven("num_attention_heads", n_heads, ("hidden_size", d_model)),
        });
    }
    let attention = fields.real("attention_dropout", 0.0)? as f32;
    Ok(ModelConfig {
        model_type: family,
        head_dim,
        ffn_dim: fields.need("intermediate_size")?,
        norm_eps: fields.real("rms_norm_eps", 1e-6)?,
        position: rope::read(fields, &rope_defaults(family), head_dim, max_positions)?,
        activation: activation(fields.text("hidden_act", "silu")?, "hidden_act")?,
        dropout: Dropout { attention, ..Dropout::default() },
        tied: fields.flag("tie_word_embeddings", false)?,
        bos: fields.ids("bos_token_id")?.first().copied(),
        eos: fields.ids("eos_token_id")?,
        ..ModelConfig::llama(
            fields.need("vocab_size")?,
            d_model,
            fields.layers("num_hidden_layers")?,
            (n_heads, kv_heads),
            max_positions,
        )
    })
}

/// As the file says, else what is left of the width for each head.
fn head_dim(fields: &Fields<'_>, family: Architecture, d_model: usize, n_heads: usize) -> Result<usize, ConfigError> {
    // These have a size of their own where the file is silent.
    let own = matches!(family, Architecture::Qwen3 | Architecture::Gemma2);
    match fields.size("head_dim")?.filter(|_| family != Architecture::GptNeox) {
        Some(size) => Ok(size),
        None if own || d_model.is_multiple_of(n_heads) => Ok(d_model / n_heads),
        None => Err(ConfigError::uneven("num_attention_heads", n_heads, ("hidden_size", d_model))),
    }
}

fn llama(fields: &Fields<'_>, family: Architecture) -> Result<ModelConfig, ConfigError> {
    let mut config = sizes(fields, family, 2048)?;
    if family == Architecture::Mistral {
        config.sliding_window = fields.size("sliding_window")?;
        return Ok(config);
    }
    let bias = fields.flag("attention_bias", false)?;
    (config.attention_bias, config.output_bias) = (bias, bias);
    config.mlp_bias = fields.flag("mlp_bias", false)?;
    Ok(config)
}

fn qwen(fields: &Fields<'_>, family: Architecture) -> Result<ModelConfig, ConfigError> {
    let mut config = sizes(fields, family, 32_768)?;
    if family == Architecture::Qwen3 {
        config.head_dim = fields.size("head_dim")?.unwrap_or(128);
        let bias = fields.flag("attention_bias", false)?;
        (config.attention_bias, config.output_bias) = (bias, bias);
        config.qk_norm = true;
    } else {
        // Qwen2 has these biases by design and says nothing about them; its output projection never has one.
        config.attention_bias = true;
    }
    if fields.flag("use_sliding_window", false)? {
        let full = fields.size("max_window_layers")?.unwrap_or(28);
        let kinds = layer_types(fields, config.n_layers, |layer| layer >= full)?;
        let window = fields.size("sliding_window")?.or(Some(4096));
        (config.sliding_window, config.sliding_layers) = windows(window, kinds);
    }
    Ok(config)
}

fn mixtral(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    let config = sizes(fields, Architecture::Mixtral, 131_072)?;
    let experts = match fields.size("num_local_experts")? {
        Some(experts) => Some(experts),
        None => fields.size("num_experts")?,
    };
    Ok(ModelConfig {
        norm_eps: fields.real("rms_norm_eps", 1e-5)?,
        moe: Some(Moe {
            experts: experts.unwrap_or(8),
            top_k: fields.size("num_experts_per_tok")?.unwrap_or(2),
            renormalize: true,
            balance: fields.real("router_aux_loss_coef", 0.001)?,
            capacity_factor: None,
            every: 1,
        }),
        sliding_window: fields.size("sliding_window")?,
        ..config
    })
}

fn gemma2(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    fields.must_be("use_bidirectional_attention", json!(false))?;
    let config = sizes(fields, Architecture::Gemma2, 8192)?;
    let bias = fields.flag("attention_bias", false)?;
    let kinds = layer_types(fields, config.n_layers, |layer| layer.is_multiple_of(2))?;
    let (sliding_window, sliding_layers) = windows(fields.size_or("sliding_window", 4096)?, kinds);
    let activation_field = "hidden_activation";
    Ok(ModelConfig {
        head_dim: fields.size("head_dim")?.unwrap_or(256),
        norm_offset: 1.0,
        norm_placement: NormPlacement::PreAndPost,
        embedding_scale: Some((config.d_model as f64).sqrt()),
        activation: activation(fields.text(activation_field, "gelu_pytorch_tanh")?, activation_field)?,
        attention_bias: bias,
        output_bias: bias,
        query_scalar: Some(fields.real("query_pre_attn_scalar", 256.0)?),
        attention_softcap: fields.real_or("attn_logit_softcapping", 50.0)?,
        logit_softcap: fields.real_or("final_logit_softcapping", 30.0)?,
        sliding_window,
        sliding_layers,
        tied: fields.flag("tie_word_embeddings", true)?,
        ..config
    })
}

fn phi3(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    let config = sizes(fields, Architecture::Phi3, 4096)?;
    Ok(ModelConfig {
        norm_eps: fields.real("rms_norm_eps", 1e-5)?,
        sliding_window: fields.size("sliding_window")?,
        dropout: Dropout {
            embedding: fields.real("embd_pdrop", 0.0)? as f32,
            residual: fields.real("resid_pdrop", 0.0)? as f32,
            ..config.dropout
        },
        ..config
    })
}

fn smollm3(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    let mut config = sizes(fields, Architecture::Smollm3, 32_768)?;
    let bias = fields.flag("attention_bias", false)?;
    (config.attention_bias, config.output_bias) = (bias, bias);
    config.mlp_bias = fields.flag("mlp_bias", false)?;
    config.tied = fields.flag("tie_word_embeddings", true)?;
    let interval = fields.size("no_rope_layer_interval")?.unwrap_or(4).max(1);
    let unrotated: Vec<bool> = match fields.get("no_rope_layers") {
        // 1 where a layer rotates, for all its name.
        Some(Value::Array(list)) if list.len() == config.n_layers => list.iter().map(|v| *v == json!(0)).collect(),
        Some(other) => return Err(ConfigError::invalid("no_rope_layers", other)),
        None => (0..config.n_layers).map(|layer| (layer + 1).is_multiple_of(interval)).collect(),
    };
    if fields.flag("use_sliding_window", false)? {
        let kinds = layer_types(fields, config.n_layers, |layer| unrotated[layer])?;
        (config.sliding_window, config.sliding_layers) = windows(fields.size("sliding_window")?, kinds);
    }
    config.unrotated_layers = if unrotated.contains(&true) { unrotated } else { Vec::new() };
    Ok(config)
}

/// GPT-2's and GPT-J's sizes, and what both have: LayerNorm, GELU, no gate.
fn gpt(fields: &Fields<'_>, family: Architecture) -> Result<ModelConfig, ConfigError> {
    let d_model = fields.need("n_embd")?;
    let n_heads = fields.need("n_head")?;
    if n_heads == 0 || !d_model.is_multiple_of(n_heads) {
        return Err(ConfigError::uneven("n_head", n_heads, ("n_embd", d_model)));
    }
    let max_positions = match fields.size("n_positions")? {
        Some(n) => n,
        None => fields.need("n_ctx")?,
    };
    // GPT-2's class drops a tenth where the file says nothing, GPT-J's nothing.
    let rate = if family == Architecture::Gpt2 { 0.1 } else { 0.0 };
    Ok(ModelConfig {
        model_type: family,
        ffn_dim: fields.size("n_inner")?.unwrap_or(4 * d_model),
        norm: Norm::Layer,
        norm_eps: fields.real("layer_norm_epsilon", 1e-5)?,
        activation: activation(fields.text("activation_function", "gelu_new")?, "activation_function")?,
        mlp_gated: false,
        mlp_bias: true,
        dropout: Dropout {
            embedding: fields.real("embd_pdrop", rate)? as f32,
            attention: fields.real("attn_pdrop", rate)? as f32,
            residual: fields.real("resid_pdrop", rate)? as f32,
        },
        tied: fields.flag("tie_word_embeddings", family == Architecture::Gpt2)?,
        bos: fields.ids("bos_token_id")?.first().copied(),
        eos: fields.ids("eos_token_id")?,
        ..ModelConfig::llama(
            fields.need("vocab_size")?,
            d_model,
            fields.layers("n_layer")?,
            (n_heads, n_heads),
            max_positions,
        )
    })
}

fn gpt2(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    fields.must_be("scale_attn_weights", json!(true))?;
    fields.must_be("scale_attn_by_inverse_layer_idx", json!(false))?;
    fields.must_be("add_cross_attention", json!(false))?;
    Ok(ModelConfig {
        position: Position::Learned,
        attention_bias: true,
        output_bias: true,
        ..gpt(fields, Architecture::Gpt2)?
    })
}

fn gptj(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    let config = gpt(fields, Architecture::Gptj)?;
    let dims = fields.need("rotary_dim")?;
    let rope = crate::config::Rope {
        style: RopeStyle::Interleaved,
        dims: (dims != config.head_dim).then_some(dims),
        ..crate::config::Rope::new(10_000.0)
    };
    Ok(ModelConfig { position: Position::Rope(rope), block: BlockKind::ParallelShared, head_bias: true, ..config })
}

fn gpt_neox(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    let config = sizes(fields, Architecture::GptNeox, 2048)?;
    let bias = fields.flag("attention_bias", true)?;
    let parallel = fields.flag("use_parallel_residual", true)?;
    let dropped = fields.real("hidden_dropout", 0.0)? as f32;
    Ok(ModelConfig {
        // Its queries, keys and values are one matrix with a part for every head.
        kv_heads: config.n_heads,
        head_dim: config.d_model / config.n_heads,
        norm: Norm::Layer,
        norm_eps: fields.real("layer_norm_eps", 1e-5)?,
        block: if parallel { BlockKind::Parallel } else { BlockKind::Serial },
        activation: activation(fields.text("hidden_act", "gelu")?, "hidden_act")?,
        mlp_gated: false,
        attention_bias: bias,
        output_bias: bias,
        mlp_bias: true,
        dropout: Dropout { embedding: dropped, residual: dropped, ..config.dropout },
        ..config
    })
}

fn bloom(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    fields.must_be("apply_residual_connection_post_layernorm", json!(false))?;
    fields.must_be("slow_but_exact", json!(false))?;
    let either = |a: &str, b: &str| match fields.size(a)? {
        Some(n) => Ok(n),
        None => fields.need(b),
    };
    let d_model = either("n_embed", "hidden_size")?;
    let n_heads = either("n_head", "num_attention_heads")?;
    if n_heads == 0 || !d_model.is_multiple_of(n_heads) {
        return Err(ConfigError::uneven("n_head", n_heads, ("hidden_size", d_model)));
    }
    Ok(ModelConfig {
        model_type: Architecture::Bloom,
        ffn_dim: 4 * d_model,
        norm: Norm::Layer,
        norm_eps: fields.real("layer_norm_epsilon", 1e-5)?,
        embedding_norm: true,
        position: Position::Alibi,
        activation: Activation::GeluTanh,
        mlp_gated: false,
        attention_bias: true,
        output_bias: true,
        mlp_bias: true,
        dropout: Dropout {
            embedding: 0.0,
            attention: fields.real("attention_dropout", 0.0)? as f32,
            residual: fields.real("hidden_dropout", 0.0)? as f32,
        },
        tied: fields.flag("tie_word_embeddings", true)?,
        bos: fields.ids("bos_token_id")?.first().copied(),
        eos: fields.ids("eos_token_id")?,
        ..ModelConfig::llama(
            fields.need("vocab_size")?,
            d_model,
            fields.layers(if fields.get("n_layer").is_some() { "n_layer" } else { "num_hidden_layers" })?,
            (n_heads, n_heads),
            // Distances have no end; published files name the length they were trained at.
            fields.size("seq_length")?.unwrap_or(2048),
        )
    })
}

/// Which layers slide: by `layer_types`, or where the file has none by the family's rule.
fn layer_types(fields: &Fields<'_>, layers: usize, slides: impl Fn(usize) -> bool) -> Result<Vec<bool>, ConfigError> {
    let field = "layer_types";
    match fields.get(field) {
        None => Ok((0..layers).map(slides).collect()),
        Some(Value::Array(list)) if list.len() == layers => list
            .iter()
            .map(|kind| match kind.as_str() {
                Some("sliding_attention") => Ok(true),
                Some("full_attention") => Ok(false),
                _ => Err(ConfigError::unsupported(field, kind)),
            })
            .collect(),
        Some(other) => Err(ConfigError::invalid(field, other)),
    }
}

/// In the shortest words: no list where all layers are alike.
fn windows(window: Option<usize>, kinds: Vec<bool>) -> (Option<usize>, Vec<bool>) {
    match (window, kinds.contains(&true), kinds.contains(&false)) {
        (None, ..) | (_, false, _) => (None, Vec::new()),
        (window, true, false) => (window, Vec::new()),
        (window, true, true) => (window, kinds),
    }
}

fn activation(name: &str, field: &str) -> Result<Activation, ConfigError> {
    Ok(match name {
        "silu" | "swish" => Activation::Silu,
        "gelu" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        other => return Err(ConfigError::unsupported(field, other)),
    })
}
