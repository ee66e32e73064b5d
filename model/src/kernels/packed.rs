//! Products with a weight that is kept in 4 bits. It is unpacked for each product, forward and backward, and nothing of it is kept.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::tensor::{Tensor, TensorData};

use super::math::{Mat, multiplied};
use super::tape::{dims, memory, record, taped, untaped};
use super::{dense, new_raw, plain_linear, raw, slice, tensor};
use crate::compress::nf4::Nf4;
use crate::device::CpuBackend;

#[derive(Debug)]
struct PackedLinear;

impl Backward<CpuBackend, 1> for PackedLinear {
    type State = Arc<Nf4>;

    fn backward(self, ops: Ops<Arc<Nf4>, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<CpuBackend>(&ops.node).to_contiguous();
        let ([b, t, n], [_, k]) = (dims(&dy), ops.state.shape());
        if let Some(node) = &ops.parents[0] {
            let w = ops.state.unpack();
            let dx = multiplied(Mat::new(slice(&dy), b * t, n), Mat::new(&w, n, k), 1.0);
            grads.register::<CpuBackend>(node.id, new_raw(dx, [b, t, k]));
        }
    }
}

/// `x Wᵀ`: `[B, T, in]` → `[B, T, out]`.
pub(crate) fn linear(x: Tensor<3>, w: &Arc<Nf4>) -> Tensor<3> {
    let [b, t, _] = x.dims();
    let [n, k] = w.shape();
    if let Some(x) = raw(&x) {
        return tensor(dense(slice(&x), &w.unpack(), n), [b, t, n]);
    }
    if let Some(x) = taped(&x) {
        let y = new_raw(dense(slice(&memory(&x)), &w.unpack(), n), [b, t, n]);
        return untaped(record(PackedLinear, [&x], || Arc::clone(w), y));
    }
    let weight = Tensor::from_data(TensorData::new(w.unpack(), [n, k]), &x.device());
    plain_linear(x, weight)
}
