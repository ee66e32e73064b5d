//! A model as a GGUF file has it: configuration to metadata, parameters to tensors under llama.cpp's names.
//!
//! A configuration is written when reading the metadata back gives the same configuration. Two things are stricter, because
//! llama.cpp would load the file and compute something else, or not load it: sliding windows, which it doesn't read for these
//! architectures, and biases where its `qwen2` has none.

use serde_json::Value as Json;

use super::super::gguf::Value;
use super::super::gguf::write::{Description, Head, Inexpressible};
use super::super::quant::Packing;
use super::super::{Layout, interleave, names};
use super::decimal;
use crate::config::{Architecture, ModelConfig, Position};
use crate::projection::ParamRef;
use crate::transformer::Transformer;

/// Version of ggml's block formats.
const QUANTIZATION_VERSION: u64 = 2;

impl Packing {
    /// llama.cpp's number for a file whose matrices are mostly of this type.
    fn file_type(self) -> u64 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
        }
    }
}

/// Metadata of the configuration, and what tensors there will be, in the order of [`Transformer::params`].
///
/// # Errors
/// The first field that the file cannot hold, or a parameter that it has no name for.
pub fn head(model: &Transformer, packing: Packing) -> Result<Head<'static>, Inexpressible> {
    let config = plain(model.config());
    let family = match config.model_type {
        Architecture::Llama | Architecture::Mistral => "llama",
        Architecture::Qwen2 => "qwen2",
        Architecture::Gpt2 => "gpt2",
        other => {
            let why = "llama, mistral, qwen2 and gpt2 are written";
            return Err(Inexpressible::new("model_type", other.name(), why));
        }
    };
    let mut head = Head::default();
    head.metadata.insert("general.architecture".to_owned(), Value::String(family));
    for (key, value) in entries(&config, packing) {
        head.metadata.insert(key.replace('#', family), value);
    }
    for (path, param) in model.params() {
        let shape = param.shape();
        let Some(name) = names::to_gguf(config.model_type, &path) else {
            return Err(Inexpressible::new(path, format!("{shape:?}"), "llama.cpp has no name for this tensor"));
        };
        let packing = packing_of(&config, packing, &name, &shape);
        head.tensors.push(Description { name, shape, packing });
    }
    compare(&config, &head)?;
    Ok(head)
}

/// The same computation in the plainest words: a window as long as the context is none, and Mistral without a window is Llama.
fn plain(config: &ModelConfig) -> ModelConfig {
    let mut config = config.canonical();
    config.sliding_window = config.sliding_window.filter(|&window| window < config.max_positions);
    if config.sliding_window.is_none() {
        config.sliding_layers = Vec::new();
        if config.model_type == Architecture::Mistral {
            config.model_type = Architecture::Llama;
        }
    }
    config.norm_eps = decimal(config.norm_eps);
    if let Position::Rope(rope) = &mut config.position {
        rope.theta = decimal(rope.theta);
    }
    config
}

/// `#` stands for the architecture's name.
fn entries(config: &ModelConfig, packing: Packing) -> Vec<(&'static str, Value<'static>)> {
    let size = |n: usize| Value::Unsigned(n as u64);
    // What the file's 32 bits hold, so that it can be compared when it is read back.
    let real = |v: f64| Value::Float(f64::from(v as f32));
    let epsilon = match config.model_type {
        Architecture::Gpt2 => "#.attention.layer_norm_epsilon",
        _ => "#.attention.layer_norm_rms_epsilon",
    };
    let mut entries = vec![
        ("general.type", Value::String("model")),
        ("general.file_type", Value::Unsigned(packing.file_type())),
        ("general.quantization_version", Value::Unsigned(QUANTIZATION_VERSION)),
        ("#.vocab_size", size(config.vocab_size)),
        ("#.context_length", size(config.max_positions)),
        ("#.embedding_length", size(config.d_model)),
        ("#.block_count", size(config.n_layers)),
        ("#.feed_forward_length", size(config.ffn_dim)),
        ("#.attention.head_count", size(config.n_heads)),
        ("#.attention.head_count_kv", size(config.kv_heads)),
        (epsilon, real(config.norm_eps)),
    ];
    if let Position::Rope(rope) = config.position {
        entries.push(("#.rope.freq_base", real(rope.theta)));
        entries.push(("#.rope.dimension_count", size(config.head_dim)));
    }
    if config.head_dim * config.n_heads != config.d_model {
        entries.push(("#.attention.key_length", size(config.head_dim)));
        entries.push(("#.attention.value_length", size(config.head_dim)));
    }
    entries
}

/// What a parameter is packed in. As in llama.cpp, vectors and learned positions stay in f32, rows that are no whole blocks in
/// f16, and in a file of 4 bits the head, whose errors nothing evens out, has more: here 8, where llama.cpp takes 6.
fn packing_of(config: &ModelConfig, packing: Packing, name: &str, shape: &[usize]) -> Packing {
    let head = name == "output.weight" || (config.tied && name == "token_embd.weight");
    match (packing, shape) {
        (_, [] | [_]) => Packing::F32,
        _ if name == "position_embd.weight" => Packing::F32,
        (packing, [.., row]) if !row.is_multiple_of(packing.dtype().block()) => Packing::F16,
        (Packing::Q4_0, _) if head => Packing::Q8_0,
        (packing, _) => packing,
    }
}

/// A parameter's numbers in the order that the file has them in.
pub fn values(config: &ModelConfig, path: &str, param: ParamRef<'_>) -> Vec<f32> {
    let values = param.to_vec();
    match (names::layout_gguf(config, path), param.shape().as_slice()) {
        (Layout::InterleavedHeads { heads }, &[rows, ..]) => interleave(&values, heads, rows),
        _ => values,
    }
}

/// Refuses the first field that a reader of the head has otherwise.
fn compare(config: &ModelConfig, head: &Head<'_>) -> Result<(), Inexpressible> {
    let family = config.model_type.name();
    let read = super::config(&head.view());
    let mut read = read.map_err(|error| Inexpressible::new("model_type", family, &error.to_string()))?;
    if config.model_type == Architecture::Qwen2 {
        (read.attention_bias, read.output_bias, read.mlp_bias) = (true, false, false);
    }
    // Dropout is a matter of training, and the first and last tokens come with the tokenizer.
    read.dropout = config.dropout;
    (read.bos, read.eos) = (config.bos, config.eos.clone());
    let fields = |config: &ModelConfig| serde_json::to_value(config).expect("numbers, names and lists are JSON");
    let (ours, theirs) = (fields(config), fields(&read));
    if config.sliding_window.is_some() {
        let why = "llama.cpp would compute longer texts without it";
        return Err(Inexpressible::new("sliding_window", &ours["sliding_window"], why));
    }
    let lost = ours.as_object().into_iter().flatten().find(|(field, value)| theirs.get(field) != Some(*value));
    lost.map_or(Ok(()), |(field, value)| {
        let why = format!("it would be read as {}", theirs.get(field).unwrap_or(&Json::Null));
        Err(Inexpressible::new(field, value, &why))
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::config::{Dropout, Gpt2Size, Moe, Rope, RopeScaling, RopeStyle};
    use crate::device::cpu;

    fn head_of(config: &ModelConfig, packing: Packing) -> Result<Head<'static>, Inexpressible> {
        head(&Transformer::empty(config, &cpu()), packing)
    }

    fn llama() -> ModelConfig {
        ModelConfig::llama(64, 48, 2, (4, 2), 32)
    }

    fn gpt2() -> ModelConfig {
        ModelConfig {
            d_model: 32,
            n_layers: 1,
            n_heads: 2,
            kv_heads: 2,
            head_dim: 16,
            ffn_dim: 64,
            max_positions: 32,
            ..ModelConfig::gpt2(Gpt2Size::Small, 64)
        }
    }

    #[test]
    fn every_family_reads_back() {
        let qwen2 = ModelConfig { model_type: Architecture::Qwen2, attention_bias: true, ..llama() };
        let wide = ModelConfig { head_dim: 16, tied: false, attention_bias: true, output_bias: true, ..llama() };
        let numbers = ModelConfig { norm_eps: 1e-6, position: Position::Rope(Rope::new(1e6)), ..llama() };
        for config in [llama(), qwen2, wide, numbers, gpt2()] {
            let head = head_of(&config, Packing::F16).unwrap();
            let read = super::super::config(&head.view()).unwrap();
            assert_eq!(read, ModelConfig { dropout: Dropout::default(), ..config });
        }
        // A window that no text reaches is none.
        let mistral = ModelConfig { model_type: Architecture::Mistral, sliding_window: Some(32), ..llama() };
        let head = head_of(&mistral, Packing::F16).unwrap();
        assert_eq!(super::super::config(&head.view()).unwrap(), llama());
    }

    #[test]
    fn what_has_no_words_is_refused_by_name() {
        let refused = |config: ModelConfig| head_of(&config, Packing::F16).unwrap_err().field;
        let Position::Rope(rope) = llama().position else { panic!("llama rotates") };
        let rotated = |rope: Rope| refused(ModelConfig { position: Position::Rope(rope), ..llama() });
        assert_eq!(refused(ModelConfig { model_type: Architecture::Bloom, ..llama() }), "model_type");
        assert_eq!(refused(ModelConfig { model_type: Architecture::Hearth, ..llama() }), "model_type");
        assert_eq!(refused(ModelConfig { position: Position::Alibi, ..llama() }), "position");
        assert_eq!(rotated(Rope { style: RopeStyle::Interleaved, ..rope }), "position");
        assert_eq!(rotated(Rope { scaling: RopeScaling::Linear { factor: 2.0 }, ..rope }), "position");
        assert_eq!(rotated(Rope { dims: Some(4), ..rope }), "position");
        assert_eq!(refused(ModelConfig { sliding_window: Some(16), ..llama() }), "sliding_window");
        assert_eq!(refused(ModelConfig { model_type: Architecture::Qwen2, ..llama() }), "attention_bias");
        assert_eq!(refused(ModelConfig { logit_softcap: Some(30.0), ..llama() }), "logit_softcap");
        assert_eq!(refused(ModelConfig { position: Position::None, ..gpt2() }), "position");
        let moe = Moe { experts: 2, top_k: 1, renormalize: true, balance: 0.0, capacity_factor: None, every: 1 };
        let experts = refused(ModelConfig { moe: Some(moe), ..llama() });
        assert!(experts.contains("mlp"), "{experts}");
    }

    #[test]
    fn matrices_are_packed_as_llama_cpp_packs_them() {
        let types = |config: &ModelConfig, packing| {
            let head = head_of(config, packing).unwrap();
            move |name: &str| head.tensors.iter().find(|t| t.name == name).map(|t| t.packing)
        };
        // Rows of 48 are no whole blocks, rows of 128 are.
        let tied = types(&llama(), Packing::Q4_0);
        assert_eq!(llama().ffn_dim, 128);
        assert_eq!(tied("blk.0.attn_norm.weight"), Some(Packing::F32));
        assert_eq!(tied("blk.0.attn_q.weight"), Some(Packing::F16));
        assert_eq!(tied("blk.1.ffn_down.weight"), Some(Packing::Q4_0));
        assert_eq!(tied("token_embd.weight"), Some(Packing::F16));
        assert_eq!(tied("output.weight"), None);
        let untied = types(&ModelConfig { tied: false, ..ModelConfig::llama(64, 64, 1, (4, 2), 32) }, Packing::Q4_0);
        assert_eq!(untied("token_embd.weight"), Some(Packing::Q4_0));
        assert_eq!(untied("output.weight"), Some(Packing::Q8_0));
        let gpt2 = types(&gpt2(), Packing::F16);
        assert_eq!(gpt2("position_embd.weight"), Some(Packing::F32));
        assert_eq!(gpt2("blk.0.attn_qkv.bias"), Some(Packing::F32));
        assert_eq!(gpt2("blk.0.attn_qkv.weight"), Some(Packing::F16));
    }
}
