//! What is put on a frozen model to be trained, whatever its kind.

use burn::module::Param;
use burn::tensor::{Device, Int, Tensor, TensorData};
use hearth_shared::spec::{AdapterSpec, SpecError};

use crate::init;
use crate::lora::{self, LoraError, matrix};
use crate::projection::{Bottleneck, Ia3, Lora, Projection, is_adapter};
use crate::trace::Trace;
use crate::transformer::{Forward, Half, ProjectionPath, Transformer};
use crate::virtual_tokens::Prefix;

/// Why an adapter can't be put on a model.
#[derive(thiserror::Error, Clone, Debug, PartialEq)]
pub enum AdapterError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Lora(#[from] LoraError),
    #[error("virtual_tokens: {count} leave nothing of the model's context of {context}")]
    NoRoom { count: usize, context: usize },
    #[error("a prompt can't be trained in front of a model with experts, whose balance counts tokens: use `prefix`")]
    Experts,
}

/// Puts a fresh adapter on the model and freezes everything else. One that was there is replaced. But for virtual tokens, which
/// every text sees, the model computes what it did before.
///
/// # Errors
/// A value of the spec is out of bounds, or doesn't go with this model.
pub fn apply(model: &mut Transformer, spec: &AdapterSpec, seed: u64, device: &Device) -> Result<(), AdapterError> {
    spec.validate()?;
    let count = spec.virtual_tokens() as usize;
    if count + 1 >= model.config().max_positions {
        return Err(AdapterError::NoRoom { count, context: model.config().max_positions });
    }
    if matches!(spec, AdapterSpec::Prompt(_)) && model.config().moe.is_some() {
        return Err(AdapterError::Experts);
    }
    remove(model);
    match spec {
        AdapterSpec::Lora(spec) => lora::apply(model, spec, seed, device)?,
        AdapterSpec::Ia3 => {
            for (path, projection) in model.projections_mut() {
                projection.ia3 = ia3_of_input(path).map(|of_input| {
                    let [outputs, inputs] = projection.shape();
                    let count = if of_input { inputs } else { outputs };
                    Ia3 { vector: vector(vec![1.0; count], device), of_input }
                });
            }
        }
        AdapterSpec::Prefix(_) => prefix(model, &words(model, count, seed), device),
        AdapterSpec::Prompt(_) => {
            let words = words(model, count, seed);
            let rows =
                model.embed.val().select(0, words.reshape([count])) * model.config().embedding_scale.unwrap_or(1.0);
            model.prompt = Some(Param::from_data(rows.into_data(), device));
        }
        AdapterSpec::Bottleneck(spec) => {
            for (path, projection) in model.projections_mut() {
                projection.bottleneck = ends_half(path).then(|| {
                    let ([outputs, _], width) = (projection.shape(), spec.width as usize);
                    let bound = 1.0 / (outputs as f64).sqrt();
                    let down = init::symmetric(&format!("{path}.bottleneck.down"), width * outputs, bound, seed);
                    Bottleneck {
                        down: matrix(down, [width, outputs], device),
                        down_bias: vector(vec![0.0; width], device),
                        up: matrix(vec![0.0; outputs * width], [outputs, width], device),
                        up_bias: vector(vec![0.0; outputs], device),
                    }
                });
            }
        }
    }
    for (path, mut param) in model.params_mut() {
        param.set_require_grad(is_adapter(&path));
    }
    Ok(())
}

/// Virtual tokens begin as real ones, `[1, P]`, of the 5,000 that a vocabulary has first (Lester 2021, section 3.2: the most common).
fn words(model: &Transformer, count: usize, seed: u64) -> Tensor<2, Int> {
    let most = model.config().vocab_size.min(5000);
    let draws = init::symmetric("virtual_tokens", count, 1.0, seed);
    let ids: Vec<i32> = draws.iter().map(|x| ((x + 1.0) / 2.0 * most as f32).min(most as f32 - 1.0) as i32).collect();
    Tensor::from_data(TensorData::new(ids, [1, count]), &model.device())
}

/// Begins as what the model computes on real words (Li & Liang 2021, section 7.4).
fn prefix(model: &mut Transformer, words: &Tensor<2, Int>, device: &Device) {
    let mut trace = Trace::default();
    model.hidden(words.clone(), Forward { trace: Some(&mut trace), ..Forward::default() });
    for (block, seen) in model.layers.iter_mut().zip(trace.layers) {
        let rows = |x: Tensor<4>| {
            let [_, heads, count, size] = x.dims();
            let rows = x.swap_dims(1, 2).reshape([count, heads * size]);
            Param::from_data(rows.into_data(), device)
        };
        block.attention.prefix = Some(Prefix { keys: rows(seen.k), values: rows(seen.v) });
    }
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

/// Folds low-rank and (IA)³ adapters into their dense weights, which are in f32 then. The result computes the same (up to rounding).
/// Virtual tokens and bottlenecks are no change of a weight: they stay.
pub fn merge(model: &mut Transformer) -> Merged {
    let fold = |(_, projection): (_, &mut Projection)| {
        projection.unpack();
        let (lora, ia3) = (projection.lora.take(), projection.ia3.take());
        let stretch = lora.as_ref().and_then(|lora| lora.stretch(&projection.weight())).map(Tensor::detach);
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

/// The model without what stands in front of every text.
pub fn without_virtual_tokens(mut model: Transformer) -> Transformer {
    model.prompt = None;
    for block in &mut model.layers {
        block.attention.prefix = None;
    }
    model
}

/// Takes every adapter off; what is left is the base.
pub fn remove(model: &mut Transformer) {
    *model = without_virtual_tokens(model.clone());
    for (_, projection) in model.projections_mut() {
        (projection.lora, projection.ia3, projection.bottleneck) = (None, None, None);
    }
}

/// Whether anything is put on the model.
pub fn is_adapted(model: &Transformer) -> bool {
    model.params().iter().any(|(path, _)| is_adapter(path))
}

/// Keeps the weights of every block's projections in 4 bits from now on; they can't be trained then.
pub fn pack(model: &mut Transformer) {
    model.projections_mut().into_iter().for_each(|(_, projection)| projection.pack());
}

/// Whether a projection is the last of its half of a block.
pub(crate) fn ends_half(path: ProjectionPath) -> bool {
    match path.half {
        Half::Attention => matches!(path.name, "o_proj" | "c_proj" | "dense" | "out_proj"),
        Half::Mlp => matches!(path.name, "down_proj" | "c_proj" | "dense_4h_to_h" | "fc_out"),
    }
}

/// Where (IA)³ puts its factors: on what keys and values come out of, and on what goes into the feed-forward's last matrix, as PEFT
/// does by default.
pub(crate) fn ia3_of_input(path: ProjectionPath) -> Option<bool> {
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
