//! `config.json` as Hugging Face's transformers writes it, to [`ModelConfig`] and back. A setting that would change the
//! computation and isn't supported is refused by name instead of ignored, in both directions.

mod read;
mod rope;
mod write;

use serde_json::{Map, Value, json};

use super::{Architecture, ModelConfig, Position, RopeScaling};

/// Why a `config.json` doesn't describe a model we can run, or a model has no `config.json`.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    #[error("config: `{field}` is missing")]
    Missing { field: String },
    #[error("config: `{field}` has an impossible value: {value}")]
    Invalid { field: String, value: String },
    #[error("config: `{field}` = {value} is not supported")]
    Unsupported { field: String, value: String },
    #[error("config: no `{family}` of Hugging Face has `{field}` = {value}; the model type `hearth` can keep it")]
    Inexpressible { family: String, field: String, value: String },
}

impl ConfigError {
    pub(crate) fn invalid(field: &str, value: impl ToString) -> Self {
        Self::Invalid { field: field.to_owned(), value: value.to_string() }
    }

    fn unsupported(field: &str, value: impl ToString) -> Self {
        Self::Unsupported { field: field.to_owned(), value: value.to_string() }
    }

    /// A count that does not share out `whole` evenly, with the nearest that does.
    fn uneven(field: &str, count: usize, (of, whole): (&str, usize)) -> Self {
        // A file may claim any size: nobody has more heads than this.
        let even = (1..=whole.min(1 << 16)).filter(|n| whole.is_multiple_of(*n));
        let nearest = even.min_by_key(|n| n.abs_diff(count)).unwrap_or(1);
        Self::invalid(field, format!("{count} does not divide `{of}`, {whole}; {nearest} does"))
    }

    /// The same error with the field under the name that the family's file has for it.
    fn named_by(self, family: Architecture) -> Self {
        match self {
            Self::Invalid { field, value } => Self::Invalid { field: family.word(&field).to_owned(), value },
            other => other,
        }
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

    /// A count of layers, no larger than lists with an entry for each may be.
    fn layers(&self, field: &str) -> Result<usize, ConfigError> {
        let layers = self.need(field)?;
        if layers > super::MAX_LAYERS { Err(ConfigError::invalid(field, layers)) } else { Ok(layers) }
    }

    fn real(&self, field: &str, default: f64) -> Result<f64, ConfigError> {
        self.get(field).map_or(Ok(default), |value| value.as_f64().ok_or_else(|| ConfigError::invalid(field, value)))
    }

    /// A number, `default` where the field is not there at all; null is none.
    fn real_or(&self, field: &str, default: f64) -> Result<Option<f64>, ConfigError> {
        if self.0.get(field).is_some_and(Value::is_null) { Ok(None) } else { self.real(field, default).map(Some) }
    }

    /// The same for a size.
    fn size_or(&self, field: &str, default: usize) -> Result<Option<usize>, ConfigError> {
        if self.0.get(field).is_some_and(Value::is_null) { Ok(None) } else { Ok(self.size(field)?.or(Some(default))) }
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
    /// Reads a parsed `config.json`: transformers', or our own (`model_type` `hearth`).
    ///
    /// # Errors
    /// The field that is missing, impossible or not supported.
    pub fn from_json(config: &Value) -> Result<Self, ConfigError> {
        let fields = Fields(config.as_object().ok_or_else(|| ConfigError::invalid("config.json", "not an object"))?);
        fields.must_be("quantization_config", Value::Null)?;
        let name = fields.text("model_type", "")?;
        if name.is_empty() {
            return Err(ConfigError::Missing { field: "model_type".to_owned() });
        }
        let family = serde_json::from_value::<Architecture>(json!(name))
            .map_err(|_| ConfigError::unsupported("model_type", name))?;
        let config = match family {
            Architecture::Hearth => {
                serde_json::from_value(config.clone()).map_err(|e| ConfigError::invalid("config.json", e))?
            }
            _ => read::family(&fields, family)?,
        };
        config.validate().map_err(|error| error.named_by(family))?;
        Ok(config)
    }

    /// What `config.json` holds: transformers' fields, or ours where the model type is `hearth`.
    ///
    /// # Errors
    /// The first field that the model's family cannot express.
    pub fn to_json(&self) -> Result<Value, ConfigError> {
        match self.model_type {
            Architecture::Hearth => Ok(serde_json::to_value(self).expect("numbers, names and lists are JSON")),
            _ => self.to_hf(),
        }
    }

    /// The same for transformers.
    ///
    /// # Errors
    /// The first field that its family has no words for; of our own model type, the first that the family nearest to it has none for.
    pub fn to_hf(&self) -> Result<Value, ConfigError> {
        if self.model_type == Architecture::Hearth {
            return Err(self.nearest_family());
        }
        let (written, lost) = self.in_words()?;
        match lost.into_iter().next() {
            None => Ok(written),
            Some((field, value)) => Err(self.inexpressible(field, &value)),
        }
    }

    /// The family's words, and the fields that come back from them as something else.
    fn in_words(&self) -> Result<(Value, Vec<(String, Value)>), ConfigError> {
        let config = self.canonical();
        let written = write::family(&config);
        let back = read::family(&Fields(written.as_object().expect("made as one")), self.model_type)?;
        let fields = |config: &Self| serde_json::to_value(config).expect("numbers, names and lists are JSON");
        // What the writer did not say is what the family has in its place.
        let (ours, theirs) = (fields(&config), fields(&back));
        let ours = ours.as_object().into_iter().flatten();
        let lost = ours.filter(|(field, value)| theirs.get(field) != Some(*value));
        let lost = lost.map(|(field, value)| (field.clone(), value.clone())).collect();
        Ok((written, lost))
    }

    fn inexpressible(&self, field: String, value: &Value) -> ConfigError {
        ConfigError::Inexpressible { family: self.model_type.name(), field, value: value.to_string() }
    }

    /// Why this is no model of transformers: what the family that can say most of it cannot say.
    fn nearest_family(&self) -> ConfigError {
        let as_one = |&model_type: &Architecture| {
            let config = Self { model_type, ..self.clone() };
            let lost = config.in_words().ok()?.1;
            Some((config, lost))
        };
        let nearest = Architecture::FAMILIES.iter().filter_map(as_one).min_by_key(|(_, lost)| lost.len());
        match nearest.and_then(|(config, lost)| Some((config, lost.into_iter().next()?))) {
            Some((config, (field, value))) => config.inexpressible(field, &value),
            None => self.inexpressible("model_type".to_owned(), &json!("hearth")),
        }
    }

    /// The same model under our own name where its family cannot express it. Only for a model that has no weights yet: the
    /// family also names and cuts those.
    #[must_use]
    pub fn settled(mut self) -> Self {
        if self.model_type != Architecture::Hearth && self.to_hf().is_err() {
            self.model_type = Architecture::Hearth;
        }
        self
    }

    /// The same computation in the words that files have for it: NTK by a fixed factor is another theta.
    pub(crate) fn canonical(&self) -> Self {
        let mut config = self.clone();
        if let Position::Rope(rope) = &mut config.position
            && let RopeScaling::Ntk { factor } = rope.scaling
        {
            rope.theta = crate::rope::ntk_theta(rope.theta, factor, rope.dims.unwrap_or(self.head_dim));
            rope.scaling = RopeScaling::None;
        }
        config
    }
}

impl Architecture {
    /// Those of transformers.
    const FAMILIES: [Self; 12] = [
        Self::Llama,
        Self::Qwen2,
        Self::Mistral,
        Self::Gpt2,
        Self::GptNeox,
        Self::Gptj,
        Self::Bloom,
        Self::Mixtral,
        Self::Qwen3,
        Self::Gemma2,
        Self::Phi3,
        Self::Smollm3,
    ];

    /// As `model_type` in `config.json`.
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Activation, BlockKind, Dropout, Moe, Norm, NormPlacement, Rope, RopeStyle};
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
        let config = ModelConfig::from_json(&smollm2())?;
        assert_eq!(config.head_dim, 64);
        assert_eq!(config.parameters(), 134_515_008);
        assert_eq!(config.eos, [2]);
        Ok(())
    }

    #[test]
    fn refuses_by_name_what_would_change_the_computation() {
        let cases = [
            ("model_type", json!("mamba"), "model_type"),
            ("rope_scaling", json!({"type": "longrope", "factor": 4.0}), "rope_scaling.type"),
            ("rope_parameters", json!({"rope_type": "llama3", "rope_theta": 1e4}), "rope_parameters.factor"),
            ("rope_scaling", json!({"type": "linear", "factor": 0.5}), "rope.scaling.factor"),
            ("partial_rotary_factor", json!(0.5), "partial_rotary_factor"),
            ("attention_dropout", json!(1.5), "dropout.attention"),
            ("hidden_act", json!("xielu"), "hidden_act"),
            ("quantization_config", json!({"bits": 4}), "quantization_config"),
            ("num_key_value_heads", json!(4), "4 does not divide `num_attention_heads`, 9; 3 does"),
            ("num_attention_heads", json!(0), "num_attention_heads"),
            ("num_attention_heads", json!(7), "7 does not divide `hidden_size`, 576; 6 does"),
            ("max_position_embeddings", json!(0), "`max_position_embeddings`"),
            ("hidden_size", json!(-3), "hidden_size"),
            ("vocab_size", json!(1u64 << 60), "vocab_size"),
            ("rms_norm_eps", json!(0.0), "norm_eps"),
            ("intermediate_size", Value::Null, "intermediate_size"),
        ];
        for (field, value, named) in cases {
            let mut config = smollm2();
            config[field] = value.clone();
            let error = ModelConfig::from_json(&config).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(named), "{field} = {value}: {error}");
        }
        assert!(ModelConfig::from_json(&json!([])).is_err());
    }

    /// What only some families have.
    #[derive(Clone, Debug)]
    struct Choices {
        window: bool,
        bias: bool,
        gate_bias: bool,
        share: bool,
        layers: Vec<bool>,
        scaling: RopeScaling,
        rate: f32,
    }

    fn scalings() -> impl Strategy<Value = RopeScaling> {
        let factor = (1u32..40).prop_map(|n| 1.0 + f64::from(n) / 4.0);
        (0usize..5, factor, 1usize..9000).prop_map(|(kind, factor, original)| match kind {
            0 => RopeScaling::None,
            1 => RopeScaling::Linear { factor },
            2 => RopeScaling::Dynamic { factor },
            3 => {
                let attention_factor = 1.25;
                RopeScaling::Yarn {
                    factor,
                    original,
                    beta_fast: 24.0,
                    beta_slow: 2.0,
                    attention_factor,
                    truncate: false,
                }
            }
            _ => RopeScaling::Llama3 { factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original },
        })
    }

    /// What the family can express of a plain model and the choices.
    fn of_family(plain: ModelConfig, family: Architecture, choices: &Choices) -> ModelConfig {
        use Architecture as A;
        let Choices { window, bias, gate_bias, share, ref layers, scaling, rate } = *choices;
        let gpt = matches!(family, A::Gpt2 | A::Gptj | A::GptNeox | A::Bloom);
        let mut config = ModelConfig { model_type: family, ..plain };
        if gpt {
            config.kv_heads = config.n_heads;
            config.d_model = config.n_heads * config.head_dim;
            (config.norm, config.mlp_gated, config.mlp_bias) = (Norm::Layer, false, true);
        }
        if let Position::Rope(rope) = &mut config.position {
            rope.scaling = scaling;
            // A power of two: shares of a head are floats in the file.
            rope.dims = (share && matches!(family, A::Phi3 | A::GptNeox)).then_some(config.head_dim / 2);
        }
        config.dropout.attention = rate;
        let sliding = |config: &mut ModelConfig, some: bool| {
            config.sliding_window = Some(7);
            let mixed = some && layers.contains(&true) && layers.contains(&false);
            config.sliding_layers = if mixed { layers.clone() } else { Vec::new() };
        };
        match family {
            A::Gpt2 | A::Bloom => {
                config.position = if family == A::Gpt2 { Position::Learned } else { Position::Alibi };
                (config.attention_bias, config.output_bias) = (true, true);
                config.activation = Activation::GeluTanh;
                config.embedding_norm = family == A::Bloom;
                config.dropout.residual = rate / 2.0;
                if family == A::Bloom {
                    config.ffn_dim = 4 * config.d_model;
                }
            }
            A::Gptj => {
                let dims = (config.head_dim > 2).then_some(2);
                config.position = Position::Rope(Rope { style: RopeStyle::Interleaved, dims, ..Rope::new(10_000.0) });
                (config.block, config.head_bias) = (BlockKind::ParallelShared, true);
            }
            A::GptNeox => {
                config.block = if window { BlockKind::Parallel } else { BlockKind::Serial };
                (config.attention_bias, config.output_bias) = (bias, bias);
                (config.dropout.embedding, config.dropout.residual) = (rate, rate);
            }
            A::Qwen2 => config.attention_bias = true,
            A::Llama | A::Qwen3 | A::Gemma2 | A::Smollm3 => {
                (config.attention_bias, config.output_bias) = (bias, bias);
                config.mlp_bias = gate_bias && matches!(family, A::Llama | A::Smollm3);
            }
            _ => {}
        }
        match family {
            A::Mistral | A::Mixtral | A::Phi3 if window => sliding(&mut config, false),
            A::Qwen2 | A::Qwen3 | A::Gemma2 | A::Smollm3 if window => sliding(&mut config, true),
            _ => {}
        }
        config.qk_norm = family == A::Qwen3;
        if family == A::Smollm3 && layers.contains(&true) {
            config.unrotated_layers = layers.clone();
        }
        if family == A::Mixtral {
            let renormalize = true;
            config.moe =
                Some(Moe { experts: 6, top_k: 2, renormalize, balance: 0.02, capacity_factor: None, every: 1 });
        }
        if family == A::Gemma2 {
            (config.norm_offset, config.norm_placement) = (1.0, NormPlacement::PreAndPost);
            config.embedding_scale = Some((config.d_model as f64).sqrt());
            config.query_scalar = Some(if bias { 24.0 } else { 0.5 });
            config.attention_softcap = bias.then_some(50.0);
            config.logit_softcap = gate_bias.then_some(30.0);
        }
        config
    }

    prop_compose! {
        fn any_config()(
            family in prop::sample::select(Architecture::FAMILIES.to_vec()),
            kv_heads in 1usize..5,
            group in 1usize..4,
            // A multiple of eight, so that half a head still has pairs to stretch.
            eighth in 1usize..10,
            sizes in prop::array::uniform4(1usize..3000),
            flags in prop::array::uniform5(any::<bool>()),
            layers in prop::collection::vec(any::<bool>(), 1..9),
            scaling in scalings(),
            // Numbers as people write them: serde_json may miss a longer one by its last bit.
            eps in prop_oneof![Just(1e-6), Just(1e-5), Just(0.001)],
            rate in prop_oneof![Just(0.0f32), Just(0.1), Just(0.25)],
            theta in (1u32..10_000_000).prop_map(f64::from),
            ids in prop::collection::vec(0u32..60_000, 0..3),
        ) -> ModelConfig {
            let [vocab_size, d_model, ffn_dim, max_positions] = sizes;
            let [window, bias, gate_bias, share, tied] = flags;
            let plain = ModelConfig {
                head_dim: 8 * eighth, ffn_dim, norm_eps: eps, tied,
                position: Position::Rope(Rope::new(theta)),
                bos: ids.first().copied(), eos: ids,
                ..ModelConfig::llama(vocab_size, d_model, layers.len(), (kv_heads * group, kv_heads), max_positions)
            };
            of_family(plain, family, &Choices { window, bias, gate_bias, share, layers, scaling, rate })
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(config in any_config()) {
            let written = config.to_hf().map_err(|e| TestCaseError::fail(format!("{e}: {config:?}")))?;
            prop_assert_eq!(ModelConfig::from_json(&written), Ok(config.clone()));
            let own = ModelConfig { model_type: Architecture::Hearth, ..config };
            prop_assert_eq!(own.to_json().and_then(|json| ModelConfig::from_json(&json)), Ok(own.clone()));
        }
    }

    /// A field that the family has no word for is named, never dropped.
    #[test]
    fn refuses_to_write_what_a_family_cannot_say() {
        let llama = ModelConfig::llama(100, 32, 2, (4, 2), 64);
        let cases = [
            ("position", ModelConfig { position: Position::Alibi, ..llama.clone() }),
            ("qk_norm", ModelConfig { qk_norm: true, ..llama.clone() }),
            ("sliding_window", ModelConfig { sliding_window: Some(8), ..llama.clone() }),
            ("block", ModelConfig { block: BlockKind::Parallel, ..llama.clone() }),
            ("logit_softcap", ModelConfig { logit_softcap: Some(30.0), ..llama.clone() }),
            ("output_bias", ModelConfig { attention_bias: true, ..llama.clone() }),
            ("dropout", ModelConfig { dropout: Dropout { residual: 0.1, ..Dropout::default() }, ..llama.clone() }),
            ("norm", ModelConfig::palm(100, 32, 2, 4, 64)),
        ];
        for (field, config) in cases {
            let error = config.to_hf().err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(&format!("`{field}`")), "{field}: {error}");
            let settled = config.settled();
            assert_eq!(settled.model_type, Architecture::Hearth);
            assert!(settled.to_json().is_ok());
        }
        assert_eq!(llama.clone().settled(), llama);
        // A fixed NTK factor is a theta in every family's words.
        let ntk = Rope { scaling: RopeScaling::Ntk { factor: 2.0 }, ..Rope::new(10_000.0) };
        let ntk = ModelConfig { position: Position::Rope(ntk), ..llama };
        let written = ntk.to_hf().expect("it is a theta");
        let theta = 10_000.0 * 2f64.powf(8.0 / 6.0);
        assert!((written["rope_theta"].as_f64().unwrap_or_default() / theta - 1.0).abs() < 1e-12);
    }
}
