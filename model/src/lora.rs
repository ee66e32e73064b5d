//! Low-rank adapters (Hu 2021), put on a finished model from outside: `W + scale · B A` with `W` frozen.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use hearth_shared::spec::{LoraSpec, SpecError};

use crate::init;
use crate::projection::Lora;
use crate::transformer::{Half, ProjectionPath, Transformer};

/// Why an adapter can't be put on a model.
#[derive(thiserror::Error, Clone, Debug, PartialEq)]
pub enum LoraError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("target_modules: `{target}` is not a projection of this model; it has {}", known.join(", "))]
    UnknownTarget { target: String, known: Vec<&'static str> },
}

/// Puts an adapter on every projection the spec targets and freezes everything else. `A` is drawn as PEFT draws it
/// (uniform in `±1/√in`), each from the seed and its own path; `B` is 0, so the model computes what it did before.
/// Adapters the model had are replaced.
///
/// # Errors
/// A value of the spec is out of bounds, or a target is no projection of this model.
pub fn apply(model: &mut Transformer, spec: &LoraSpec, seed: u64, device: &Device) -> Result<(), LoraError> {
    spec.validate()?;
    let known = names(model);
    if let Some(target) = spec.target_modules.iter().find(|t| !known.contains(&t.as_str())) {
        return Err(LoraError::UnknownTarget { target: target.clone(), known });
    }
    freeze(model);
    for (path, projection) in model.projections_mut() {
        projection.lora = spec.targets(path.name).then(|| {
            let [outputs, inputs] = projection.shape();
            let r = spec.r as usize;
            let bound = 1.0 / (inputs as f64).sqrt();
            let draw = init::symmetric(&format!("{path}.lora.a"), r * inputs, bound, seed);
            Lora {
                a: matrix(draw, [r, inputs], device),
                b: matrix(vec![0.0; outputs * r], [outputs, r], device),
                magnitude: spec.dora.then(|| {
                    let lengths = projection.weight().square().sum_dim(1).sqrt().reshape([outputs]);
                    Param::from_data(lengths.into_data(), device)
                }),
                scale: spec.scale(),
                dropout: spec.dropout,
            }
        });
    }
    Ok(())
}

/// Nothing of the model is trained any more, adapters included.
pub fn freeze(model: &mut Transformer) {
    for (_, mut param) in model.params_mut() {
        param.set_require_grad(false);
    }
}

/// Short names of the model's projections, each once, in the order of the forward pass.
pub fn names(model: &Transformer) -> Vec<&'static str> {
    let mut names = Vec::new();
    for (path, _) in model.projections() {
        if !names.contains(&path.name) {
            names.push(path.name);
        }
    }
    names
}

/// A trained matrix; its values must be as many as the shape has.
pub(crate) fn matrix(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Param<Tensor<2>> {
    Param::from_data(TensorData::new(values, shape), device)
}

impl std::fmt::Display for ProjectionPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let half = match self.half {
            Half::Attention => "attention",
            Half::Mlp => "mlp",
        };
        write!(f, "layers.{}.{half}.{}", self.layer, self.name)
    }
}
