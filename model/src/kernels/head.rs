//! The products of the head with its rows of hidden states, on slices: the logits are as wide as the vocabulary, and nothing of their
//! size is made more than once.

use std::ops::Range;

use burn::tensor::Tensor;

use super::math::{Into, Mat, product};
use super::{Raw, raw, slice};

/// Hidden states and the head's weight.
#[derive(Debug)]
pub(crate) struct HeadProduct {
    /// `[N, D]`
    hidden: Raw,
    /// `[V, D]`
    weight: Raw,
    width: usize,
    vocab: usize,
}

impl HeadProduct {
    /// None where they are not f32 on the CPU, off the tape.
    pub(crate) fn new(hidden: &Tensor<2>, weight: &Tensor<2>) -> Option<Self> {
        let [vocab, width] = weight.dims();
        Some(Self { hidden: raw(hidden)?, weight: raw(weight)?, width, vocab })
    }

    fn rows(&self, rows: &Range<usize>) -> Mat<'_> {
        Mat::new(&slice(&self.hidden)[rows.start * self.width..rows.end * self.width], rows.len(), self.width)
    }

    fn weight(&self) -> Mat<'_> {
        Mat::new(slice(&self.weight), self.vocab, self.width)
    }

    /// `[n, V]` of some rows.
    pub(crate) fn logits(&self, rows: &Range<usize>, out: &mut [f32]) {
        product(Into::new(out, self.vocab), self.rows(rows), self.weight().t(), 1.0, true);
    }

    /// From `[n, V]` gradients of the logits, `[n, D]` of the hidden states.
    pub(crate) fn hidden_gradient(&self, logits: &[f32], out: &mut [f32]) {
        let gradient = Mat::new(logits, logits.len() / self.vocab, self.vocab);
        product(Into::new(out, self.width), gradient, self.weight(), 1.0, true);
    }

    /// Adds what these rows give to the weight's gradient, `[V, D]`.
    pub(crate) fn add_weight_gradient(&self, rows: &Range<usize>, logits: &[f32], out: &mut [f32]) {
        let gradient = Mat::new(logits, rows.len(), self.vocab);
        product(Into::adding(out, self.width), gradient.t(), self.rows(rows), 1.0, true);
    }
}
