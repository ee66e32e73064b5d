//! Bottleneck adapters in files like PEFT's, which has none of its own: four tensors for each module behind which one stands.

use std::collections::BTreeMap;

use burn::tensor::Device;
use hearth_shared::spec::{AdapterSpec, BottleneckSpec};
use serde_json::{Value, json};

use super::{AdapterFiles, PeftError, WEIGHTS, module_name, refuse_unknown};
use crate::adapter::{self, vector};
use crate::checkpoint::Weights;
use crate::checkpoint::safetensors::{Encoded, Precision, parse, to_bytes};
use crate::lora::{freeze, matrix};
use crate::projection::{Bottleneck, floats};
use crate::transformer::Transformer;

const KNOWN: [&str; 5] = ["base_model_name_or_path", "inference_mode", "peft_type", "task_type", "width"];

fn name(module: &str, part: &str) -> String {
    format!("base_model.model.{module}.bottleneck_{part}")
}

pub(super) fn to_files(model: &Transformer, spec: &BottleneckSpec, base: &str) -> Result<AdapterFiles, PeftError> {
    let mut tensors = BTreeMap::new();
    for (path, projection) in model.projections() {
        let Some(bottleneck) = &projection.bottleneck else {
            continue;
        };
        let module = module_name(model.config().model_type, path);
        for (part, param) in [("down.weight", &bottleneck.down), ("up.weight", &bottleneck.up)] {
            let values = floats(param.val().into_data());
            let shape = param.lazy_shape().to_vec();
            tensors.insert(name(&module, part), Encoded::new(Precision::F32, shape, &values));
        }
        for (part, param) in [("down.bias", &bottleneck.down_bias), ("up.bias", &bottleneck.up_bias)] {
            let values = floats(param.val().into_data());
            tensors.insert(name(&module, part), Encoded::new(Precision::F32, vec![values.len()], &values));
        }
    }
    if tensors.is_empty() {
        return Err(PeftError::NotAdapted);
    }
    let config = json!({
        "base_model_name_or_path": base,
        "inference_mode": true,
        "peft_type": "BOTTLENECK",
        "task_type": "CAUSAL_LM",
        "width": spec.width,
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
    let width = config["width"].as_u64().ok_or(PeftError::Missing { field: "width" })?;
    let spec = BottleneckSpec { width: u32::try_from(width).unwrap_or(u32::MAX) };
    spec.validate()?;
    let mut tensors = parse(WEIGHTS, weights)?;
    let mut found = Vec::new();
    for (path, projection) in model.projections() {
        let module = module_name(model.config().model_type, path);
        if tensors.get(&name(&module, "down.weight")).is_some() {
            found.push((path, read(&mut tensors, &module, (spec.width as usize, projection.shape()[0]), device)?));
        }
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
        projection.bottleneck = found.next_if(|(of, _)| *of == path).map(|(_, bottleneck)| bottleneck);
    }
    Ok(AdapterSpec::Bottleneck(spec))
}

fn read(
    tensors: &mut Weights<'_>,
    module: &str,
    (width, outputs): (usize, usize),
    device: &Device,
) -> Result<Bottleneck, PeftError> {
    let mut take = |part: &str, shape: &[usize]| Ok::<_, PeftError>(tensors.take(&name(module, part), shape)?.to_f32());
    Ok(Bottleneck {
        down: matrix(take("down.weight", &[width, outputs])?, [width, outputs], device),
        down_bias: vector(take("down.bias", &[width])?, device),
        up: matrix(take("up.weight", &[outputs, width])?, [outputs, width], device),
        up_bias: vector(take("up.bias", &[outputs])?, device),
    })
}
