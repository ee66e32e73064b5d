//! `config.json` as Hugging Face's transformers writes it, to [`ModelConfig`] and back. A setting that would change the
//! computation and isn't supported is refused by name instead of ignored.

use serde_json::{Map, Value, json};

use super::{Activation, Architecture, ModelConfig, Norm, Position, RopeStyle};

/// Why a `config.json` doesn't describe a model we can run.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    #[error("config: `{field}` is missing")]
    Missing { field: String },
    #[error("config: `{field}` has an impossible value: {value}")]
    Invalid { field: String, value: String },
    #[error("config: `{field}` = {value} is not supported")]
    Unsupported { field: String, value: String },
}

impl ConfigError {
    pub(crate) fn invalid(field: &str, value: impl ToString) -> Self {
        Self::Invalid { field: field.to_owned(), value: value.to_string() }
    }

    fn unsupported(field: &str, value: impl ToString) -> Self {
        Self::Unsupported { field: field.to_owned(), value: value.to_string() }
    }
}

/// `config.json` with typed, named access.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    /// A field that is there and not null.
    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn size(&self, field: &str) -> Result<Option<usize>, ConfigError> {
        self.get(field)
            .map(|value| {
                value.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| ConfigError::invalid(field, value))
            })
            .transpose()
    }

    fn need(&self, field: &str) -> Result<usize, ConfigError> {
        self.size(field)?.ok_or_else(|| ConfigError::Missing { field: field.to_owned() })
    }

    fn real(&self, field: &str, default: f64) -> Result<f64, ConfigError> {
        self.get(field).map_or(Ok(default), |value| value.as_f64().ok_or_else(|| ConfigError::invalid(field, value)))
    }

    fn flag(&self, field: &str, default: bool) -> Result<bool, ConfigError> {
        self.get(field).map_or(Ok(default), |value| value.as_bool().ok_or_else(|| ConfigError::invalid(field, value)))
    }

    fn text(&self, field: &str, default: &'static str) -> Result<&str, ConfigError> {
        self.get(field).map_or(Ok(default), |value| value.as_str().ok_or_else(|| ConfigError::invalid(field, value)))
    }

    /// A flag or number that must have its default value, because another changes the computation.
    fn must_be(&self, field: &str, expected: Value) -> Result<(), ConfigError> {
        match self.get(field) {
            Some(value) if *value != expected => Err(ConfigError::unsupported(field, value)),
            _ => Ok(()),
        }
    }

    /// A token id or a list of them; -1 and null are none.
    fn ids(&self, field: &str) -> Result<Vec<u32>, ConfigError> {
        let one = |value: &Value| {
            value.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(|| ConfigError::invalid(field, value))
        };
        match self.get(field) {
            None => Ok(Vec::new()),
            Some(value) if value.as_i64() == Some(-1) => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(one).collect(),
            Some(value) => Ok(vec![one(value)?]),
        }
    }
}

impl ModelConfig {
    /// Reads a parsed `config.json`.
    ///
    /// # Errors
    /// The field that is missing, impossible or not supported.
    pub fn from_hf(config: &Value) -> Result<Self, ConfigError> {
        let fields = Fields(config.as_object().ok_or_else(|| ConfigError::invalid("config.json", "not an object"))?);
        fields.must_be("quantization_config", Value::Null)?;
        let config = match fields.text("model_type", "")? {
            "llama" => llama(&fields, Architecture::Llama)?,
            "qwen2" => llama(&fields, Architecture::Qwen2)?,
            "mistral" => llama(&fields, Architecture::Mistral)?,
            "gpt2" => gpt2(&fields)?,
            "" => {
                return Err(ConfigError::Missing { field: "model_type".to_owned() });
            }
            other => return Err(ConfigError::unsupported("model_type", other)),
        };
        config.validate()?;
        Ok(config)
    }

    /// The same as transformers writes it, ready for `config.json`.
    pub fn to_hf(&self) -> Value {
        match self.model_type {
            Architecture::Gpt2 => self.gpt2_to_hf(),
            _ => self.llama_to_hf(),
        }
    }

    fn llama_to_hf(&self) -> Value {
        let (name, class) = match self.model_type {
            Architecture::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
            Architecture::Mistral => ("mistral", "MistralForCausalLM"),
            Architecture::Llama | Architecture::Gpt2 => ("llama", "LlamaForCausalLM"),
        };
        let (theta, style) = match self.position {
            Position::Rope { theta, style } => (theta, style),
            Position::Learned => (10_000.0, RopeStyle::HalfSplit),
        };
        json!({
            "architectures": [class],
            "model_type": name,
            "vocab_size": self.vocab_size,
            "hidden_size": self.d_model,
            "num_hidden_layers": self.n_layers,
            "num_attention_heads": self.n_heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.ffn_dim,
            "max_position_embeddings": self.max_positions,
            "rms_norm_eps": self.norm_eps,
            "rope_theta": theta,
            "rope_style": style,
            "hidden_act": activation_name(self.activation),
            "attention_bias": self.attention_bias,
            "mlp_bias": self.mlp_bias,
            "sliding_window": self.sliding_window,
            "use_sliding_window": self.sliding_window.is_some(),
            // Qwen2: how many of the first layers see everything.
            "max_window_layers": if self.sliding_window.is_some() { 0 } else { self.n_layers },
            "tie_word_embeddings": self.tied,
            "bos_token_id": self.bos,
            "eos_token_id": eos_to_hf(&self.eos),
            "torch_dtype": "float32",
        })
    }

    fn gpt2_to_hf(&self) -> Value {
        json!({
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": self.vocab_size,
            "n_embd": self.d_model,
            "n_layer": self.n_layers,
            "n_head": self.n_heads,
            "n_inner": self.ffn_dim,
            "n_positions": self.max_positions,
            "layer_norm_epsilon": self.norm_eps,
            "activation_function": activation_name(self.activation),
            "tie_word_embeddings": self.tied,
            "bos_token_id": self.bos,
            "eos_token_id": eos_to_hf(&self.eos),
            "torch_dtype": "float32",
        })
    }
}

fn eos_to_hf(eos: &[u32]) -> Value {
    match eos {
        [] => Value::Null,
        [one] => json!(one),
        many => json!(many),
    }
}

fn llama(fields: &Fields<'_>, model_type: Architecture) -> Result<ModelConfig, ConfigError> {
    let d_model = fields.need("hidden_size")?;
    let n_heads = fields.need("num_attention_heads")?;
    if n_heads == 0 {
        return Err(ConfigError::invalid("num_attention_heads", 0));
    }
    fields.must_be("pretraining_tp", json!(1))?;
    fields.must_be("partial_rotary_factor", json!(1.0))?;
    // Our own field: every checkpoint transformers writes is half-split (SmolLM2's `rope_interleaved` is ignored there too).
    let style = match fields.text("rope_style", "half_split")? {
        "half_split" => RopeStyle::HalfSplit,
        "interleaved" => RopeStyle::Interleaved,
        other => return Err(ConfigError::unsupported("rope_style", other)),
    };
    // Qwen2 has these biases by design and says nothing about them; its output projection never has one.
    let (attention_bias, output_bias) = match model_type {
        Architecture::Qwen2 => (true, false),
        Architecture::Mistral => (false, false),
        _ => {
            let bias = fields.flag("attention_bias", false)?;
            (bias, bias)
        }
    };
    let window = match model_type {
        Architecture::Mistral => fields.size("sliding_window")?,
        Architecture::Qwen2 if fields.flag("use_sliding_window", false)? => qwen_window(fields)?,
        _ => None,
    };
    Ok(ModelConfig {
        model_type,
        vocab_size: fields.need("vocab_size")?,
        d_model,
        n_layers: fields.need("num_hidden_layers")?,
        n_heads,
        kv_heads: fields.size("num_key_value_heads")?.unwrap_or(n_heads),
        head_dim: fields.size("head_dim")?.unwrap_or(d_model / n_heads),
        ffn_dim: fields.need("intermediate_size")?,
        max_positions: fields.size("max_position_embeddings")?.unwrap_or(2048),
        norm: Norm::Rms,
        norm_eps: fields.real("rms_norm_eps", 1e-6)?,
        position: Position::Rope { theta: rope_theta(fields)?, style },
        activation: activation(fields.text("hidden_act", "silu")?, "hidden_act")?,
        mlp_gated: true,
        attention_bias,
        output_bias,
        mlp_bias: model_type == Architecture::Llama && fields.flag("mlp_bias", false)?,
        sliding_window: window,
        tied: fields.flag("tie_word_embeddings", false)?,
        bos: fields.ids("bos_token_id")?.first().copied(),
        eos: fields.ids("eos_token_id")?,
    })
}

/// Qwen2 lets the first `max_window_layers` layers see everything; we have one window for all layers or none.
fn qwen_window(fields: &Fields<'_>) -> Result<Option<usize>, ConfigError> {
    let full = fields.size("max_window_layers")?.unwrap_or(28);
    if full >= fields.need("num_hidden_layers")? {
        return Ok(None);
    }
    if full > 0 {
        return Err(ConfigError::unsupported("max_window_layers", full));
    }
    fields.size("sliding_window")
}

/// transformers 4 has `rope_theta` and `rope_scaling`; 5 has both inside `rope_parameters`.
fn rope_theta(fields: &Fields<'_>) -> Result<f64, ConfigError> {
    let mut theta = fields.real("rope_theta", 10_000.0)?;
    for name in ["rope_scaling", "rope_parameters"] {
        let Some(value) = fields.get(name) else {
            continue;
        };
        let inner = Fields(value.as_object().ok_or_else(|| ConfigError::invalid(name, value))?);
        theta = inner.real("rope_theta", theta)?;
        for key in ["rope_type", "type"] {
            let kind = inner.text(key, "default")?;
            if kind != "default" {
                return Err(ConfigError::unsupported(&format!("{name}.{key}"), kind));
            }
        }
        if let Some(part) = inner.get("partial_rotary_factor")
            && part.as_f64() != Some(1.0)
        {
            return Err(ConfigError::unsupported(&format!("{name}.partial_rotary_factor"), part));
        }
    }
    Ok(theta)
}

fn gpt2(fields: &Fields<'_>) -> Result<ModelConfig, ConfigError> {
    let d_model = fields.need("n_embd")?;
    let n_heads = fields.need("n_head")?;
    if n_heads == 0 || !d_model.is_multiple_of(n_heads) {
        return Err(ConfigError::invalid("n_head", n_heads));
    }
    fields.must_be("scale_attn_weights", json!(true))?;
    fields.must_be("scale_attn_by_inverse_layer_idx", json!(false))?;
    fields.must_be("add_cross_attention", json!(false))?;
    let max_positions = match fields.size("n_positions")? {
        Some(n) => n,
        None => fields.need("n_ctx")?,
    };
    Ok(ModelConfig {
        model_type: Architecture::Gpt2,
        vocab_size: fields.need("vocab_size")?,
        d_model,
        n_layers: fields.need("n_layer")?,
        n_heads,
        kv_heads: n_heads,
        head_dim: d_model / n_heads,
        ffn_dim: fields.size("n_inner")?.unwrap_or(4 * d_model),
        max_positions,
        norm: Norm::Layer,
        norm_eps: fields.real("layer_norm_epsilon", 1e-5)?,
        position: Position::Learned,
        activation: activation(fields.text("activation_function", "gelu_new")?, "activation_function")?,
        mlp_gated: false,
        attention_bias: true,
        output_bias: true,
        mlp_bias: true,
        sliding_window: None,
        tied: fields.flag("tie_word_embeddings", true)?,
        bos: fields.ids("bos_token_id")?.first().copied(),
        eos: fields.ids("eos_token_id")?,
    })
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

fn activation_name(activation: Activation) -> &'static str {
    match activation {
        Activation::Silu => "silu",
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_new",
        Activation::Relu => "relu",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn smollm2() -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 1, "eos_token_id": 2,
            "hidden_act": "silu", "hidden_size": 576, "intermediate_size": 1536, "is_llama_config": true,
            "max_position_embeddings": 8192, "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30,
            "num_key_value_heads": 3, "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-5,
            "rope_interleaved": false, "rope_scaling": null, "rope_theta": 100000, "tie_word_embeddings": true,
            "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 49152
        })
    }

    #[test]
    fn reads_a_published_configuration() -> Result<(), ConfigError> {
        let config = ModelConfig::from_hf(&smollm2())?;
        assert_eq!(config.head_dim, 64);
        assert_eq!(config.parameters(), 134_515_008);
        assert_eq!(config.eos, [2]);
        Ok(())
    }

    #[test]
    fn refuses_by_name_what_would_change_the_computation() {
        let cases = [
            ("model_type", json!("mamba"), "model_type"),
            ("rope_scaling", json!({"type": "yarn", "factor": 4.0}), "rope_scaling.type"),
            ("rope_parameters", json!({"rope_type": "llama3", "rope_theta": 1e4}), "rope_parameters.rope_type"),
            ("hidden_act", json!("xielu"), "hidden_act"),
            ("quantization_config", json!({"bits": 4}), "quantization_config"),
            ("num_key_value_heads", json!(4), "kv_heads"),
            ("num_attention_heads", json!(0), "num_attention_heads"),
            ("hidden_size", json!(-3), "hidden_size"),
            ("vocab_size", json!(1u64 << 60), "vocab_size"),
            ("rms_norm_eps", json!(0.0), "norm_eps"),
            ("intermediate_size", Value::Null, "intermediate_size"),
        ];
        for (field, value, named) in cases {
            let mut config = smollm2();
            config[field] = value.clone();
            let error = ModelConfig::from_hf(&config).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(named), "{field} = {value}: {error}");
        }
        assert!(ModelConfig::from_hf(&json!([])).is_err());
    }

    prop_compose! {
        fn any_config()(
            model_type in prop_oneof![
                Just(Architecture::Llama), Just(Architecture::Qwen2), Just(Architecture::Mistral), Just(Architecture::Gpt2)
            ],
            kv_heads in 1usize..5,
            group in 1usize..4,
            half in 1usize..40,
            sizes in prop::array::uniform5(1usize..3000),
            flags in prop::array::uniform3(any::<bool>()),
            // Numbers as people write them: serde_json may miss a longer one by its last bit.
            eps in prop_oneof![Just(1e-6), Just(1e-5), Just(0.001)],
            theta in (1u32..10_000_000).prop_map(f64::from),
            ids in prop::collection::vec(0u32..60_000, 0..3),
        ) -> ModelConfig {
            let [vocab_size, d_model, n_layers, ffn_dim, max_positions] = sizes;
            let gpt2 = model_type == Architecture::Gpt2;
            let llama = model_type == Architecture::Llama;
            let (n_heads, head_dim) = (kv_heads * group, 2 * half);
            let windowed = flags[0] && matches!(model_type, Architecture::Mistral | Architecture::Qwen2);
            let bias = if llama { flags[1] } else { model_type != Architecture::Mistral };
            ModelConfig {
                model_type, vocab_size, n_layers, ffn_dim, max_positions, n_heads, head_dim,
                d_model: if gpt2 { n_heads * head_dim } else { d_model },
                kv_heads: if gpt2 { n_heads } else { kv_heads },
                norm: if gpt2 { Norm::Layer } else { Norm::Rms },
                norm_eps: eps,
                position: if gpt2 { Position::Learned } else { Position::Rope { theta, style: RopeStyle::HalfSplit } },
                activation: if gpt2 { Activation::GeluTanh } else { Activation::Silu },
                mlp_gated: !gpt2,
                attention_bias: bias,
                output_bias: gpt2 || (llama && bias),
                mlp_bias: gpt2 || (llama && flags[2]),
                sliding_window: windowed.then_some(max_positions),
                tied: flags[0],
                bos: ids.first().copied(),
                eos: ids,
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(config in any_config()) {
            prop_assert_eq!(ModelConfig::from_hf(&config.to_hf()), Ok(config.clone()));
            let json = serde_json::to_string(&config).expect("a configuration is JSON");
            prop_assert_eq!(serde_json::from_str::<ModelConfig>(&json).ok(), Some(config));
        }
    }
}
