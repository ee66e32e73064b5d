//! What is put on a frozen model to be trained, whatever its kind.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use hearth_shared::spec::AdapterSpec;

use crate::lora::{self, LoraError, freeze};
use crate::projection::{Ia3, Lora, Projection};
use crate::transformer::{Half, ProjectionPath, Transformer};

/// Puts a fresh adapter on the model, which computes what it did before, and freezes everything else. One that was there is replaced.
///
/// # Errors
/// As [`lora::apply`].
pub fn apply(model: &mut Transformer, spec: &AdapterSpec, seed: u64, device: &Device) -> Result<(), LoraError> {
    match spec {
        AdapterSpec::Lora(spec) => {
            lora::apply(model, spec, seed, device)?;
            model.projections_mut().into_iter().for_each(|(_, projection)| projection.ia3 = None);
        }
        AdapterSpec::Ia3 => {
            freeze(model);
            for (path, projection) in model.projections_mut() {
                projection.lora = None;
                projection.ia3 = ia3_of_input(path).map(|of_input| {
                    let [outputs, inputs] = projection.shape();
                    let count = if of_input { inputs } else { outputs };
                    Ia3 { vector: vector(vec![1.0; count], device), of_input }
                });
            }
        }
    }
    Ok(())
}

/// What [`merge`] took off, projection by projection.
#[derive(Debug)]
pub struct Merged(Vec<Folded>);

#[derive(Debug)]
struct Folded {
    lora: Option<Lora>,
    /// DoRA's, which the folded weight no longer tells.
    stretch: Option<Tensor<1>>,
    ia3: Option<Ia3>,
}

/// Folds every adapter into its dense weight. The result computes the same (up to rounding) and has no adapters.
pub fn merge(model: &mut Transformer) -> Merged {
    let fold = |(_, projection): (_, &mut Projection)| {
        let (lora, ia3) = (projection.lora.take(), projection.ia3.take());
        let stretch = lora.as_ref().and_then(|lora| lora.stretch(&projection.weight.val())).map(Tensor::detach);
        if let Some(lora) = &lora {
            change(projection, |weight| {
                let sum = weight + lora.delta();
                stretch.clone().map_or(sum.clone(), |stretch| sum * stretch.unsqueeze_dim::<2>(1))
            });
        }
        if let Some(ia3) = &ia3 {
            scale(projection, ia3, ia3.vector.val());
        }
        Folded { lora, stretch, ia3 }
    };
    Merged(model.projections_mut().into_iter().map(fold).collect())
}

/// Takes adapters out of the weights again that [`merge`] folded them into: up to rounding the base, and the adapters on it. A
/// factor of 0 can't be taken out.
pub fn unmerge(model: &mut Transformer, merged: Merged) {
    for ((_, projection), folded) in model.projections_mut().into_iter().zip(merged.0) {
        let Folded { lora, stretch, ia3 } = folded;
        if let Some(ia3) = &ia3 {
            scale(projection, ia3, ia3.vector.val().recip());
        }
        if let Some(lora) = &lora {
            change(projection, |weight| {
                let sum = stretch.map_or(weight.clone(), |stretch| weight / stretch.unsqueeze_dim::<2>(1));
                sum - lora.delta()
            });
        }
        (projection.lora, projection.ia3) = (lora, ia3);
    }
}

fn scale(projection: &mut Projection, ia3: &Ia3, factors: Tensor<1>) {
    let along = usize::from(!ia3.of_input);
    change(projection, |weight| weight * factors.clone().unsqueeze_dim::<2>(along));
    if !ia3.of_input {
        projection.bias = projection.bias.take().map(|bias| bias.map(|bias| untracked(&bias, bias.clone() * factors)));
    }
}

fn change(projection: &mut Projection, f: impl FnOnce(Tensor<2>) -> Tensor<2>) {
    projection.weight = projection.weight.clone().map(|weight| untracked(&weight, f(weight.clone())));
}

/// A new leaf of the tape, trained where the old one was.
fn untracked<const N: usize>(old: &Tensor<N>, new: Tensor<N>) -> Tensor<N> {
    let new = new.detach();
    if old.is_require_grad() { new.require_grad() } else { new }
}

/// Takes every adapter off; what is left is the base.
pub fn remove(model: &mut Transformer) {
    for (_, projection) in model.projections_mut() {
        projection.lora = None;
        projection.ia3 = None;
    }
}

/// Whether any projection has an adapter.
pub fn is_adapted(model: &Transformer) -> bool {
    model.projections().iter().any(|(_, projection)| projection.lora.is_some() || projection.ia3.is_some())
}

/// Where (IA)³ puts its factors: on what keys and values come out of, and on what goes into the feed-forward's last matrix, as PEFT
/// does by default.
fn ia3_of_input(path: ProjectionPath) -> Option<bool> {
    match (path.half, path.name) {
        (Half::Attention, "k_proj" | "v_proj" | "c_attn" | "qkv_proj" | "query_key_value") => Some(false),
        (Half::Mlp, "down_proj" | "c_proj" | "dense_4h_to_h" | "fc_out") => Some(true),
        _ => None,
    }
}

/// A trained vector.
pub(crate) fn vector(values: Vec<f32>, device: &Device) -> Param<Tensor<1>> {
    let count = values.len();
    Param::from_data(TensorData::new(values, [count]), device)
}
