//! The golden files and how to compare with them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use burn::tensor::{Int, Tensor, TensorData};
use hearth_model::bundle::ModelBundle;
use hearth_model::checkpoint::Weights;
use hearth_model::checkpoint::safetensors::parse;
use hearth_model::checkpoint::source::Memory;
use hearth_model::config::ModelConfig;
use hearth_model::device::Device;
use hearth_model::transformer::{Forward, Transformer};

use super::{Result, TOLERANCE};

pub fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

pub fn config(name: &str) -> Result<ModelConfig> {
    let text = std::fs::read_to_string(golden(name).join("config.json"))?;
    Ok(ModelConfig::from_json(&serde_json::from_str(&text)?)?)
}

/// The smallest tokenizer that loads: the models here speak in numbers.
pub const TOKENIZER: &str = r#"{"version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2}, "merges": []}}"#;

/// A golden model through the real reader.
pub fn bundle(name: &str, device: &Device) -> Result<ModelBundle> {
    read(name, "model.safetensors", device)
}

/// The gradients of a golden model, each in the place of its parameter.
pub fn gradients(name: &str) -> Result<Transformer> {
    Ok(read(name, "gradients.safetensors", &hearth_model::device::cpu())?.transformer)
}

fn read(name: &str, weights: &str, device: &Device) -> Result<ModelBundle> {
    let files: [(&str, Vec<u8>); 3] = [
        ("config.json", std::fs::read(golden(name).join("config.json"))?),
        ("model.safetensors", std::fs::read(golden(name).join(weights))?),
        ("tokenizer.json", TOKENIZER.into()),
    ];
    Ok(ModelBundle::from_source(&Memory::new(files), device, &mut |_| ControlFlow::Continue(()))?)
}

/// The golden model, computed as another configuration says.
pub fn load(name: &str, config: &ModelConfig, device: &Device) -> Result<Transformer> {
    let model = bundle(name, device)?.transformer;
    if model.config() == config {
        return Ok(model);
    }
    let params: BTreeMap<_, _> = model.params().into_iter().collect();
    let mut other = Transformer::empty(config, device);
    other.load(&mut |path, _| Ok::<_, String>(Some(params[path].to_vec())))?;
    Ok(other)
}

pub struct Expected {
    pub rows: Vec<Vec<i32>>,
    pub vocab: usize,
    /// `[sum of lengths, V]`
    pub logits: Vec<f32>,
}

pub fn expected(name: &str) -> Result<Expected> {
    let bytes = std::fs::read(golden(name).join("expected.safetensors"))?;
    let file = parse("expected.safetensors", &bytes)?;
    let tensor = |name: &str| file.get(name).map(|t| (t.shape.clone(), t.to_f32())).ok_or("no such tensor");
    let (_, tokens) = tensor("tokens")?;
    let (shape, logits) = tensor("logits")?;
    let mut tokens = tokens.into_iter().map(|t| t as i32);
    let rows = tensor("lengths")?.1.iter().map(|n| tokens.by_ref().take(*n as usize).collect()).collect();
    Ok(Expected { rows, vocab: shape[1], logits })
}

pub fn ids(rows: &[Vec<i32>], device: &Device) -> Tensor<2, Int> {
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    let flat: Vec<i32> =
        rows.iter().flat_map(|row| std::iter::repeat_n(5, width - row.len()).chain(row.iter().copied())).collect();
    Tensor::from_data(TensorData::new(flat, [rows.len(), width]), device)
}

pub fn floats(tensor: Tensor<3>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap_or_default()
}

/// The logits of all rows, each alone.
pub fn alone(model: &Transformer, expected: &Expected) -> Vec<f32> {
    let device = model.device();
    let row = |row: &Vec<i32>| floats(model.forward(ids(std::slice::from_ref(row), &device), Forward::default()));
    expected.rows.iter().flat_map(row).collect()
}

pub fn pads(expected: &Expected) -> Vec<usize> {
    let width = expected.rows.iter().map(Vec::len).max().unwrap_or(0);
    expected.rows.iter().map(|row| width - row.len()).collect()
}

/// The logits of all rows, left-padded in one batch.
pub fn batched(model: &Transformer, expected: &Expected) -> Vec<f32> {
    let pads = pads(expected);
    let ctx = Forward { left_pad: Some(&pads), ..Forward::default() };
    let logits = floats(model.forward(ids(&expected.rows, &model.device()), ctx));
    without_padding(&logits, &pads, expected)
}

pub fn without_padding(logits: &[f32], pads: &[usize], expected: &Expected) -> Vec<f32> {
    let row = logits.len() / pads.len();
    let real = |(b, pad): (usize, &usize)| &logits[b * row + pad * expected.vocab..(b + 1) * row];
    pads.iter().enumerate().flat_map(real).copied().collect()
}

pub fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    // Not `max` alone: it would drop a NaN.
    a.iter().zip(b).fold(0.0, |worst, (a, b)| {
        let d = (a - b).abs();
        if d > worst || d.is_nan() { d } else { worst }
    })
}

#[track_caller]
pub fn close(name: &str, a: &[f32], b: &[f32]) {
    let d = difference(a, b);
    assert!(d < TOLERANCE, "{name}: off by {d}");
}

/// Shape and numbers of a reference's tensor.
pub fn tensor(file: &Weights<'_>, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
    let weight = file.get(name).ok_or_else(|| format!("no tensor {name}"))?;
    Ok((weight.shape.clone(), weight.to_f32()))
}
