//! PEFT's files of (IA)³: a tensor `ia3_l` for each module, `[out, 1]` where it is multiplied into what comes out, `[1, in]` where into
//! what goes in.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Device;
use hearth_shared::spec::AdapterSpec;
use serde_json::{Value, json};

use super::{AdapterFiles, PeftError, WEIGHTS, module_name, refuse_unknown, targets};
use crate::adapter::{self, vector};
use crate::checkpoint::safetensors::{Encoded, Precision, parse, to_bytes};
use crate::config::Architecture;
use crate::lora::freeze;
use crate::projection::{Ia3, floats};
use crate::transformer::Transformer;

/// Settings that say nothing about what a trained adapter computes, or that its tensors say themselves.
const KNOWN: [&str; 13] = [
    "auto_mapping",
    "base_model_name_or_path",
    "exclude_modules",
    "fan_in_fan_out",
    "feedforward_modules",
    "inference_mode",
    "init_ia3_weights",
    "peft_type",
    "peft_version",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
];

pub(super) fn to_files(model: &Transformer, base: &str) -> Result<AdapterFiles, PeftError> {
    let architecture = model.config().model_type;
    let mut tensors = BTreeMap::new();
    let (mut adapted, mut inner, mut dense) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (path, projection) in model.projections() {
        let Some(ia3) = &projection.ia3 else {
            dense.insert(path.name);
            continue;
        };
        let module = module_name(architecture, path);
        let values = floats(ia3.vector.val().into_data());
        let shape = if ia3.of_input { vec![1, values.len()] } else { vec![values.len(), 1] };
        let name = format!("base_model.model.{module}.ia3_l");
        tensors.insert(name, Encoded::new(Precision::F32, shape, &values));
        if ia3.of_input {
            inner.push((path, module.clone()));
        }
        adapted.push((path, module));
    }
    if adapted.is_empty() {
        return Err(PeftError::NotAdapted);
    }
    let config = json!({
        "auto_mapping": null,
        "base_model_name_or_path": base,
        "fan_in_fan_out": architecture == Architecture::Gpt2,
        "feedforward_modules": targets(inner, &dense),
        "inference_mode": true,
        "init_ia3_weights": true,
        "modules_to_save": null,
        "peft_type": "IA3",
        "revision": null,
        "target_modules": targets(adapted, &dense),
        "task_type": "CAUSAL_LM",
    });
    Ok(AdapterFiles { config: serde_json::to_vec_pretty(&config)?, weights: to_bytes(&tensors)? })
}

pub(super) fn from_files(
    config: &Value,
    weights: &[u8],
    model: &mut Transformer,
    device: &Device,
) -> Result<AdapterSpec, PeftError> {
    refuse_unknown(config, &KNOWN)?;
    let mut tensors = parse(WEIGHTS, weights)?;
    let mut found = Vec::new();
    for (path, projection) in model.projections() {
        let name = format!("base_model.model.{}.ia3_l", module_name(model.config().model_type, path));
        let Some(tensor) = tensors.get(&name) else {
            continue;
        };
        let [outputs, inputs] = projection.shape();
        let of_input = tensor.shape.first() == Some(&1);
        let shape = if of_input { [1, inputs] } else { [outputs, 1] };
        let vector = vector(tensors.take(&name, &shape)?.to_f32(), device);
        found.push((path, Ia3 { vector, of_input }));
    }
    if let Some(name) = tensors.tensors.keys().next() {
        return Err(PeftError::UnknownTensor { name: name.clone() });
    }
    if found.is_empty() {
        return Err(PeftError::Empty);
    }
    freeze(model);
    adapter::remove(model);
    let mut found = found.into_iter().peekable();
    for (path, projection) in model.projections_mut() {
        projection.ia3 = found.next_if(|(of, _)| *of == path).map(|(_, ia3)| ia3);
    }
    Ok(AdapterSpec::Ia3)
}
