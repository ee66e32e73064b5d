//! A tiny model saved, loaded, and loaded from files that were tampered with.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;
use crate::chat_template::tests::byte_tokenizer;
use crate::checkpoint::source::Memory;
use crate::device::cpu;

const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn tiny(eos: Vec<u32>) -> ModelBundle {
    let mut config = ModelConfig::llama(260, 8, 1, (2, 1), 16);
    config.eos = vec![2];
    let tokenizer = byte_tokenizer();
    let template = Some(ChatTemplate::new(CHATML, tokenizer.names().clone()).unwrap());
    ModelBundle { transformer: Transformer::new(&config, 1, &cpu()), config, tokenizer, template, eos }
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
}

/// The files of the tiny model.
fn saved() -> &'static BTreeMap<String, Vec<u8>> {
    static FILES: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        tiny(vec![2]).save(&dir.path().join("model"), Precision::F32).unwrap();
        files(&dir.path().join("model"))
    })
}

fn load(files: BTreeMap<String, Vec<u8>>) -> Result<ModelBundle, LoadError> {
    ModelBundle::from_source(&Memory::new(files), &cpu(), &mut go_on)
}

fn without(file: &str) -> String {
    let mut files = saved().clone();
    files.remove(file).unwrap();
    load(files).unwrap_err().to_string()
}

/// With a change to `config.json`.
fn with_config(key: &str, value: Json) -> Result<ModelBundle, LoadError> {
    let mut files = saved().clone();
    let mut config: Json = serde_json::from_slice(&files["config.json"]).unwrap();
    config[key] = value;
    files.insert("config.json".into(), config.to_string().into_bytes());
    load(files)
}

#[test]
fn a_saved_model_is_the_same_model() {
    for (precision, tolerance) in [(Precision::F32, 0.0), (Precision::F16, 1e-3), (Precision::BF16, 1e-2)] {
        for eos in [vec![2], vec![0, 2], vec![]] {
            let dir = tempfile::tempdir().unwrap();
            let bundle = tiny(eos);
            bundle.save(&dir.path().join("m"), precision).unwrap();
            let again = ModelBundle::load(&dir.path().join("m"), &cpu(), &mut go_on).unwrap();
            assert_eq!((&again.config, &again.eos), (&bundle.config, &bundle.eos));
            for ((path, a), (_, b)) in bundle.transformer.params().iter().zip(again.transformer.params()) {
                let close = a.to_vec().iter().zip(b.to_vec()).all(|(a, b)| (a - b).abs() <= a.abs() * tolerance + 1e-7);
                assert!(close, "{path} in {precision:?}");
            }
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert!(without(file).starts_with(file), "{}", without(file));
    }
}

#[test]
fn a_configuration_that_does_not_fit_the_weights_names_the_tensor() {
    let error = |key, value| with_config(key, value).unwrap_err().to_string();
    assert!(error("num_hidden_layers", 2.into()).contains("layers.1."));
    assert!(error("num_hidden_layers", (1 << 16).into()).contains("layers.65535."));
    assert!(error("num_hidden_layers", (1 << 27).into()).contains("num_hidden_layers"));
    assert!(error("intermediate_size", 31.into()).contains("mlp"));
    assert!(error("vocab_size", 200.into()).contains("260") || error("vocab_size", 200.into()).contains("259"));
    assert!(error("vocab_size", (1 << 27).into()).contains("model.embed_tokens.weight"));
    assert!(error("tie_word_embeddings", false.into()).contains("head.weight"));
    assert!(error("model_type", "mamba".into()).contains("mamba"));
    // Positions cost nothing until they are used.
    assert!(with_config("max_position_embeddings", (1 << 27).into()).is_ok());
}

/// Without reading a weight, and by the name that the setting has in its file.
#[test]
fn a_head_of_another_shape_than_its_tensors_names_the_setting() {
    let head = |key: &str, value: Json| {
        let mut files = saved().clone();
        let mut config: Json = serde_json::from_slice(&files["config.json"]).unwrap();
        config[key] = value;
        files.insert("config.json".into(), config.to_string().into_bytes());
        ModelHead::from_source(&Memory::new(files)).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(head("hidden_size", 8.into()), Ok(()));
    for (key, wrong, right) in
        [("hidden_size", 16, 8), ("num_hidden_layers", 2, 1), ("num_attention_heads", 4, 2), ("vocab_size", 261, 260)]
    {
        let words = head(key, wrong.into()).unwrap_err();
        let said = format!("`{key}` is {wrong} in config.json and {right} by the tensors: set it to {right}");
        assert!(words.contains(&said), "{words}");
    }
    let words = head("head_dim", 2.into()).unwrap_err();
    assert!(words.contains("`head_dim` is 2 in config.json and 4 by the tensors: set it to 4"), "{words}");
    let words = head("hidden_size", 16.into()).unwrap_err();
    assert!(words.contains("`model.embed_tokens.weight`"), "{words}");
    assert!(words.contains("shape [260, 8], the model needs [260, 16]"), "{words}");
    let words = head("num_hidden_layers", 2.into()).unwrap_err();
    assert!(words.contains("`model.layers.1."), "{words}");
    assert!(head("tie_word_embeddings", false.into()).unwrap_err().contains("`tie_word_embeddings` is false"));
}

#[test]
fn a_gguf_of_another_shape_than_its_tensors_names_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    tiny(vec![2]).save_gguf(&path, Packing::F32).unwrap();
    assert!(ModelHead::load(&path).is_ok());
    let mut bytes = std::fs::read(&path).unwrap();
    let key = b"llama.feed_forward_length";
    // Behind the key stands the number of its type, then its value.
    let at = bytes.windows(key.len()).position(|found| found == key).unwrap() + key.len() + 4;
    bytes[at] += 1;
    std::fs::write(&path, &bytes).unwrap();
    let words = ModelHead::load(&path).unwrap_err().to_string();
    let wrong = u32::from(bytes[at]);
    let said = format!("`feed_forward_length` is {wrong} in the metadata and {} by the tensors", wrong - 1);
    assert!(words.contains(&said) && words.contains("ffn_"), "{words}");
}

/// Heads of another size are no RoPE on a part of each: the key is named before a variant is.
#[test]
fn a_gguf_with_other_heads_than_its_tensors_names_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    tiny(vec![2]).save_gguf(&path, Packing::F32).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for (key, wrong, right) in [
        ("llama.embedding_length", 16, 8),
        ("llama.attention.head_count", 1, 2),
        ("llama.attention.head_count", 3, 2),
        ("llama.attention.head_count", 4, 2),
        ("llama.attention.head_count_kv", 2, 1),
    ] {
        let mut bytes = whole.clone();
        // The key's length stands in front of it, and its type's number between it and the value.
        let entry = [&(key.len() as u64).to_le_bytes()[..], key.as_bytes()].concat();
        let at = bytes.windows(entry.len()).position(|found| found == entry).unwrap() + entry.len() + 4;
        assert_eq!(bytes[at], right);
        bytes[at] = wrong;
        std::fs::write(&path, &bytes).unwrap();
        let words = ModelHead::load(&path).unwrap_err().to_string();
        let said = format!("`{key}`: is {wrong} in the metadata and {right} by the tensors: set it to {right}");
        assert!(words.contains(&said), "{words}");
    }
    let mut bytes = whole;
    let key = b"llama.rope.dimension_count";
    let at = bytes.windows(key.len()).position(|found| found == key).unwrap() + key.len() + 4;
    bytes[at] = 2;
    std::fs::write(&path, &bytes).unwrap();
    assert!(ModelHead::load(&path).unwrap_err().to_string().contains("RoPE on a part of each head"));
}

#[test]
fn a_tensor_too_many_is_refused() {
    let error = with_config("num_hidden_layers", 0.into());
    assert!(error.is_err());
    let mut files = saved().clone();
    let weights = safetensors::parse("f", &files["model.safetensors"]).unwrap();
    let mut tensors = BTreeMap::new();
    for (name, w) in &weights.tensors {
        tensors.insert(name.clone(), safetensors::Encoded::new(Precision::F32, w.shape.clone(), &w.to_f32()));
    }
    let extra = safetensors::Encoded::new(Precision::F32, vec![2], &[0.0, 0.0]);
    tensors.insert("model.layers.0.self_attn.q_proj.bias".into(), extra);
    files.insert("model.safetensors".into(), safetensors::to_bytes(&tensors).unwrap());
    assert!(load(files).unwrap_err().to_string().contains("q_proj.bias"));
}

/// The library that reads it panics on this one, so it must never get there.
#[test]
fn half_a_character_in_a_decoder_is_an_error() {
    let mut files = saved().clone();
    let json = String::from_utf8(files["tokenizer.json"].clone()).unwrap();
    let at = json.find("\"decoder\":").unwrap() + "\"decoder\":".len();
    let broken = format!("{} {{\"type\": \"\\ud800\"}}, \"was\": {}", &json[..at], &json[at..]);
    files.insert("tokenizer.json".into(), broken.into_bytes());
    assert!(load(files).unwrap_err().to_string().contains("tokenizer.json"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn tampered_files_never_panic(
        file in 0usize..6,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut files = saved().clone();
        let name = files.keys().nth(file % files.len()).unwrap().clone();
        let bytes = files.get_mut(&name).unwrap();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = load(files);
    }
}
