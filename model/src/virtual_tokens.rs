//! Trained vectors that stand in front of every text: as embeddings, or as keys and values of a layer. Behind a row's padding, in
//! front of its first token; real tokens take the positions after them.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// Keys and values in front of a layer's own (Li & Liang 2021). Keys are as the cache holds them, already rotated.
#[derive(Module, Debug)]
pub struct Prefix {
    /// `[P, K·E]`
    pub keys: Param<Tensor<2>>,
    /// `[P, K·E]`
    pub values: Param<Tensor<2>>,
}

impl Prefix {
    /// `P`
    pub fn count(&self) -> usize {
        self.keys.lazy_shape()[0]
    }

    /// `[B, K, T, E]` twice → `[B, K, P + T, E]` twice
    pub(crate) fn in_front(&self, k: Tensor<4>, v: Tensor<4>, left_pad: &[usize]) -> (Tensor<4>, Tensor<4>) {
        let [_, heads, _, size] = k.dims();
        let of = |rows: &Param<Tensor<2>>| rows.val().reshape([1, self.count(), heads, size]).swap_dims(1, 2);
        (insert(k, of(&self.keys), 2, left_pad), insert(v, of(&self.values), 2, left_pad))
    }
}

/// Puts `new`, `[1, .., P, ..]`, into each row of `old`, `[B, .., T, ..]`, along `axis`: behind its padding, or at the front.
pub(crate) fn insert<const N: usize>(old: Tensor<N>, new: Tensor<N>, axis: usize, left_pad: &[usize]) -> Tensor<N> {
    let batch = old.dims()[0];
    let time = old.dims()[axis];
    if left_pad.is_empty() {
        return Tensor::cat(vec![new.repeat_dim(0, batch), old], axis);
    }
    let row = |(b, pad): (usize, &usize)| {
        let row = old.clone().narrow(0, b, 1);
        let mut parts = vec![new.clone()];
        if *pad > 0 {
            parts.insert(0, row.clone().narrow(axis, 0, *pad));
        }
        if *pad < time {
            parts.push(row.narrow(axis, *pad, time - pad));
        }
        Tensor::cat(parts, axis)
    };
    Tensor::cat(left_pad.iter().enumerate().map(row).collect(), 0)
}
