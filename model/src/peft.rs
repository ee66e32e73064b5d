//! Adapters in the directory format of the PEFT library: `adapter_config.json` and `adapter_model.safetensors`. Bottlenecks, which PEFT
//! hasn't, are written alike.
//!
//! A setting that would change the computation and isn't supported is refused by name. Weights in a pickle (`.bin`) are
//! refused: unpickling runs code.

use std::collections::{BTreeMap, BTreeSet};
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

use burn::module::Param;
use burn::tensor::{Device, TensorData};
use hearth_shared::spec::{AdapterSpec, LoraSpec, SpecError};
use serde_json::{Map, Value, json};

use crate::adapter;
use crate::checkpoint::safetensors::{Encoded, Precision, parse, to_bytes as write_tensors};
use crate::checkpoint::{CheckpointError, Weights, names};
use crate::config::Architecture;
use crate::lora::{self, freeze, matrix};
use crate::projection::Lora;
use crate::transformer::{ProjectionPath, Transformer};

mod bottleneck;
mod ia3;
mod virtual_tokens;

pub const CONFIG: &str = "adapter_config.json";
/// DoRA's tensor of a module.
const MAGNITUDE: &str = "lora_magnitude_vector";
pub const WEIGHTS: &str = "adapter_model.safetensors";
const PICKLE: &str = "adapter_model.bin";

/// Why an adapter was not read or written.
#[derive(thiserror::Error, Debug)]
pub enum PeftError {
    #[error("{file}: {error}")]
    Io { file: String, error: std::io::Error },
    #[error("{PICKLE} is a pickle, which could run code when read: save the adapter as safetensors")]
    Pickle,
    #[error("{CONFIG}: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{CONFIG}: `{field}` is missing")]
    Missing { field: &'static str },
    #[error("{CONFIG}: `{field}` = {value} is not supported")]
    Unsupported { field: String, value: String },
    #[error("{CONFIG}: {0}")]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("{WEIGHTS}: `{name}` belongs to no projection of this model")]
    UnknownTensor { name: String },
    #[error("{WEIGHTS}: no adapter in it")]
    Empty,
    #[error("the model has no adapter to save")]
    NotAdapted,
}

/// Both files of an adapter.
#[derive(Clone, Debug)]
pub struct AdapterFiles {
    /// `adapter_config.json`
    pub config: Vec<u8>,
    /// `adapter_model.safetensors`
    pub weights: Vec<u8>,
}

/// Writes the model's adapter into `dir`, which is made if it isn't there. `base` is what PEFT should load below it: a
/// hub name or a path.
///
/// # Errors
/// The model has no adapter, or the system refuses.
#[cfg(not(target_arch = "wasm32"))]
pub fn save(dir: &Path, model: &Transformer, spec: &AdapterSpec, base: &str) -> Result<(), PeftError> {
    let files = to_files(model, spec, base)?;
    let io = |file: &Path, error| PeftError::Io { file: file.display().to_string(), error };
    std::fs::create_dir_all(dir).map_err(|error| io(dir, error))?;
    for (name, bytes) in [(WEIGHTS, files.weights), (CONFIG, files.config)] {
        let path = dir.join(name);
        std::fs::write(&path, bytes).map_err(|error| io(&path, error))?;
    }
    Ok(())
}

/// Reads the adapter in `dir` and puts it on `model`; the base is frozen.
///
/// # Errors
/// A file is missing, broken or a pickle, asks for something we don't do, or doesn't fit the model. The model is then as
/// it was.
#[cfg(not(target_arch = "wasm32"))]
pub fn load(dir: &Path, model: &mut Transformer, device: &Device) -> Result<AdapterSpec, PeftError> {
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read(&path).map_err(|error| PeftError::Io { file: path.display().to_string(), error })
    };
    if !dir.join(WEIGHTS).exists() && dir.join(PICKLE).exists() {
        return Err(PeftError::Pickle);
    }
    let files = AdapterFiles { config: read(CONFIG)?, weights: read(WEIGHTS)? };
    from_files(&files, model, device)
}

/// What kind of adapter lies in `dir`; its tensors are not read.
///
/// # Errors
/// There is no configuration, or one of a kind that we have not.
#[cfg(not(target_arch = "wasm32"))]
pub fn method(dir: &Path) -> Result<hearth_shared::spec::Tuning, PeftError> {
    use hearth_shared::spec::Tuning;
    let path = dir.join(CONFIG);
    let bytes = std::fs::read(&path).map_err(|error| PeftError::Io { file: path.display().to_string(), error })?;
    let config: Value = serde_json::from_slice(&bytes)?;
    match config["peft_type"].as_str() {
        Some("LORA") => Ok(Tuning::Lora),
        Some("IA3") => Ok(Tuning::Ia3),
        Some("PREFIX_TUNING") => Ok(Tuning::Prefix),
        Some("PROMPT_TUNING") => Ok(Tuning::Prompt),
        Some("BOTTLENECK") => Ok(Tuning::Bottleneck),
        _ => {
            let (field, value) = ("peft_type".to_owned(), config["peft_type"].to_string());
            Err(PeftError::Unsupported { field, value })
        }
    }
}

/// [`save`] without a file system.
///
/// # Errors
/// The model has no adapter.
pub fn to_files(model: &Transformer, spec: &AdapterSpec, base: &str) -> Result<AdapterFiles, PeftError> {
    match spec {
        AdapterSpec::Lora(spec) => lora_to_files(model, spec, base),
        AdapterSpec::Ia3 => ia3::to_files(model, base),
        AdapterSpec::Prefix(_) | AdapterSpec::Prompt(_) => virtual_tokens::to_files(model, base),
        AdapterSpec::Bottleneck(spec) => bottleneck::to_files(model, spec, base),
    }
}

fn lora_to_files(model: &Transformer, spec: &LoraSpec, base: &str) -> Result<AdapterFiles, PeftError> {
    let architecture = model.config().model_type;
    let mut tensors = BTreeMap::new();
    let mut adapted = Vec::new();
    let mut dense = BTreeSet::new();
    for (path, projection) in model.projections() {
        let Some(lora) = &projection.lora else {
            dense.insert(path.name);
            continue;
        };
        let module = module_name(architecture, path);
        for (kind, param) in [("A", &lora.a), ("B", &lora.b)] {
            let values = crate::projection::floats(param.val().into_data());
            let shape = param.lazy_shape().to_vec();
            let name = format!("base_model.model.{module}.lora_{kind}.weight");
            tensors.insert(name, Encoded::new(Precision::F32, shape, &values));
        }
        if let Some(magnitude) = &lora.magnitude {
            let values = crate::projection::floats(magnitude.val().into_data());
            let name = format!("base_model.model.{module}.{MAGNITUDE}");
            tensors.insert(name, Encoded::new(Precision::F32, vec![values.len()], &values));
        }
        adapted.push((path, module));
    }
    if adapted.is_empty() {
        return Err(PeftError::NotAdapted);
    }
    let targets = targets(adapted, &dense);
    let config = config_json(spec, &targets, base, architecture == Architecture::Gpt2);
    Ok(AdapterFiles { config: serde_json::to_vec_pretty(&config)?, weights: write_tensors(&tensors)? })
}

/// The short name where it means exactly the adapted ones, the whole path where some layers have none.
fn targets(adapted: Vec<(ProjectionPath, String)>, dense: &BTreeSet<&str>) -> BTreeSet<String> {
    let name = |(path, module): (ProjectionPath, String)| {
        if dense.contains(path.name) { module } else { path.name.to_owned() }
    };
    adapted.into_iter().map(name).collect()
}

/// [`load`] without a file system.
///
/// # Errors
/// As [`load`].
pub fn from_files(files: &AdapterFiles, model: &mut Transformer, device: &Device) -> Result<AdapterSpec, PeftError> {
    let config: Value = serde_json::from_slice(&files.config)?;
    match config["peft_type"].as_str() {
        Some("IA3") => return ia3::from_files(&config, &files.weights, model, device),
        Some("PREFIX_TUNING" | "PROMPT_TUNING") => {
            return virtual_tokens::from_files(&config, &files.weights, model, device);
        }
        Some("BOTTLENECK") => return bottleneck::from_files(&config, &files.weights, model, device),
        _ => {}
    }
    let mut spec = read_config(&config)?;
    let mut weights = parse(WEIGHTS, &files.weights)?;
    let adapters = read_adapters(&mut weights, model, &spec, device)?;
    spec.target_modules = lora::names(model)
        .into_iter()
        .filter(|name| adapters.iter().any(|(path, _)| path.name == *name))
        .map(str::to_owned)
        .collect();
    freeze(model);
    adapter::remove(model);
    let mut adapters = adapters.into_iter().peekable();
    for (path, projection) in model.projections_mut() {
        projection.lora = adapters.next_if(|(of, _)| *of == path).map(|(_, lora)| lora);
    }
    Ok(AdapterSpec::Lora(spec))
}

/// Which projections have an adapter is read from the tensors, not from `target_modules`: that may be a pattern.
fn read_adapters(
    weights: &mut Weights<'_>,
    model: &Transformer,
    spec: &LoraSpec,
    device: &Device,
) -> Result<Vec<(ProjectionPath, Lora)>, PeftError> {
    let r = spec.r as usize;
    let mut adapters = Vec::new();
    for (path, projection) in model.projections() {
        let module = module_name(model.config().model_type, path);
        let name = |kind| format!("base_model.model.{module}.lora_{kind}.weight");
        if weights.get(&name("A")).is_none() && weights.get(&name("B")).is_none() {
            continue;
        }
        let [outputs, inputs] = projection.shape();
        let a = weights.take(&name("A"), &[r, inputs])?.to_f32();
        let b = weights.take(&name("B"), &[outputs, r])?.to_f32();
        let magnitude = if spec.dora {
            let name = format!("base_model.model.{module}.{MAGNITUDE}");
            let values = weights.take(&name, &[outputs])?.to_f32();
            Some(Param::from_data(TensorData::new(values, [outputs]), device))
        } else {
            None
        };
        let lora = Lora {
            magnitude,
            a: matrix(a, [r, inputs], device),
            b: matrix(b, [outputs, r], device),
            scale: spec.scale(),
            dropout: spec.dropout,
        };
        adapters.push((path, lora));
    }
    if let Some(name) = weights.tensors.keys().next() {
        return Err(PeftError::UnknownTensor { name: name.clone() });
    }
    if adapters.is_empty() {
        return Err(PeftError::Empty);
    }
    Ok(adapters)
}

/// Refuses a setting that is on and not among those we know.
fn refuse_unknown(config: &Value, known: &[&str]) -> Result<(), PeftError> {
    for (field, value) in config.as_object().into_iter().flatten() {
        let off = value.is_null() || *value == json!(false) || *value == json!([]);
        if !off && !known.contains(&field.as_str()) {
            return Err(PeftError::Unsupported { field: field.clone(), value: value.to_string() });
        }
    }
    Ok(())
}

/// A projection's module in transformers' model of the family.
fn module_name(architecture: Architecture, path: ProjectionPath) -> String {
    let weight = format!("{path}.weight");
    // Every projection is in the table, or the model could not have been read.
    let name = names::to_hf(architecture, &weight).unwrap_or(weight);
    name.trim_end_matches(".weight").to_owned()
}

/// Settings with one value we can honour. Anything else is refused; so is a setting no list knows that isn't off.
const ONLY: &[(&str, &[&str])] = &[
    ("bias", &["\"none\""]),
    ("modules_to_save", &["[]"]),
    ("rank_pattern", &["{}"]),
    ("alpha_pattern", &["{}"]),
    ("target_parameters", &["[]"]),
    ("loftq_config", &["{}"]),
];

/// Settings that don't change what a trained adapter computes.
const HARMLESS: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "peft_type",
    "peft_version",
    // Only read together with `use_qalora`.
    "qalora_group_size",
    "r",
    "revision",
    "runtime_config",
    "ensure_weight_tying",
    "megatron_core",
    "target_modules",
    "task_type",
    "use_dora",
    "use_rslora",
];

fn read_config(config: &Value) -> Result<LoraSpec, PeftError> {
    let empty = Map::new();
    let fields = config.as_object().unwrap_or(&empty);
    let unsupported =
        |field: &str, value: &Value| PeftError::Unsupported { field: field.to_owned(), value: value.to_string() };
    let peft_type = fields.get("peft_type").ok_or(PeftError::Missing { field: "peft_type" })?;
    if peft_type.as_str() != Some("LORA") {
        return Err(unsupported("peft_type", peft_type));
    }
    for (field, value) in fields {
        let off = value.is_null() || *value == json!(false);
        let fine = match field.as_str() {
            // Some of these initialisations change the base's weights, which is not in the adapter's files.
            "init_lora_weights" => {
                value.is_boolean() || matches!(value.as_str(), Some("gaussian" | "orthogonal" | "eva"))
            }
            name if HARMLESS.contains(&name) => true,
            name => match ONLY.iter().find(|(only, _)| *only == name) {
                Some((_, allowed)) => off || allowed.contains(&value.to_string().as_str()),
                None => off,
            },
        };
        if !fine {
            return Err(unsupported(field, value));
        }
    }
    let number = |field: &'static str| {
        let value = fields.get(field).ok_or(PeftError::Missing { field })?;
        value.as_f64().ok_or_else(|| unsupported(field, value))
    };
    let r = number("r")?;
    if r.fract() != 0.0 || !(1.0..=512.0).contains(&r) {
        return Err(unsupported("r", &json!(r)));
    }
    let spec = LoraSpec {
        r: r as u32,
        alpha: number("lora_alpha")? as f32,
        dropout: fields.get("lora_dropout").and_then(Value::as_f64).unwrap_or(0.0) as f32,
        target_modules: Vec::new(),
        rslora: fields.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
        dora: fields.get("use_dora").and_then(Value::as_bool).unwrap_or(false),
    };
    spec.validate()?;
    Ok(spec)
}

fn config_json(spec: &LoraSpec, targets: &BTreeSet<String>, base: &str, conv1d: bool) -> Value {
    // Whole numbers as PEFT writes them: 32, not 32.0.
    let alpha = if spec.alpha.fract() == 0.0 { json!(spec.alpha as i64) } else { json!(spec.alpha) };
    json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": conv1d,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": alpha,
        "lora_dropout": spec.dropout,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": spec.r,
        "rank_pattern": {},
        "revision": null,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": spec.dora,
        "use_rslora": spec.rslora,
    })
}
