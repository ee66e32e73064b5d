//! A model without some of its heads: a copy in which the columns of the output projection that read them are zero, which is exactly
//! their output times zero (Michel 2019, "Are Sixteen Heads Really Better than One?"). The transformer knows nothing of it.

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};

use crate::transformer::Transformer;

/// A copy that shares every other weight. What an adapter adds to the projection no longer reads the heads either; a DoRA's
/// magnitudes, which depend on the weight's own length, should be merged before.
///
/// # Panics
/// There is no such layer or head.
pub fn without(model: &Transformer, layer: usize, heads: &[usize]) -> Transformer {
    let size = model.config().head_dim;
    let mut copy = model.clone();
    let output = &mut copy.layers[layer].attention.o_proj;
    output.unpack();
    let width = output.shape()[1];
    let mut kept = vec![1.0_f32; width];
    for head in heads {
        kept[head * size..(head + 1) * size].fill(0.0);
    }
    let kept = Tensor::<2>::from_data(TensorData::new(kept, [1, width]), &output.weight.lazy_device());
    output.weight = Param::from_tensor(output.weight.val() * kept.clone()).set_require_grad(false);
    if let Some(lora) = &mut output.lora {
        lora.a = Param::from_tensor(lora.a.val() * kept).set_require_grad(false);
    }
    copy
}
