//! What a forward pass computed on the way, kept for people to look at. Off costs nothing: nobody asks, nothing is kept.

use burn::tensor::Tensor;

/// Filled by one forward pass when it is passed in [`Forward`](crate::transformer::Forward).
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// `[B, T, D]`: the residual stream before the first block.
    pub embedding: Option<Tensor<3>>,
    pub layers: Vec<LayerTrace>,
}

/// One block. `T` queries, `S` keys (`S = T` unless a cache holds earlier ones).
#[derive(Clone, Debug)]
pub struct LayerTrace {
    /// `[B, H, T, E]`, rotated
    pub q: Tensor<4>,
    /// `[B, K, S, E]`, rotated
    pub k: Tensor<4>,
    /// `[B, K, S, E]`
    pub v: Tensor<4>,
    /// `[B, H, T, S]`: `q · k / √E`, before the mask
    pub scores: Tensor<4>,
    /// `[B, H, T, S]`: after mask and softmax; a row sums to 1
    pub weights: Tensor<4>,
    /// `[B, H, T, E]`: `weights · v`, before the output projection
    pub output: Tensor<4>,
    /// `[B, T, D]`: what attention adds to the residual stream
    pub attention: Tensor<3>,
    /// `[B, T, D]`: the residual stream after the whole block
    pub residual: Tensor<3>,
}
