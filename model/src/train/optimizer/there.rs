//! AdamW beside the weights of a GPU: the same rule in burn's operations, its moments tensors that come here for a checkpoint only.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};

use super::adamw::Scales;
use super::{Slots, State};
use crate::projection::{ParamMut, floats};

/// Both moments by parameter path, flat.
#[derive(Debug, Default)]
pub struct Moments(BTreeMap<String, [Tensor<1>; 2]>);

impl Moments {
    /// Moves a parameter by one step. `saved` is what a checkpoint remembered of it.
    pub(super) fn apply(
        &mut self,
        (path, param): (&str, &mut ParamMut<'_>),
        gradient: Tensor<1>,
        saved: Option<Slots>,
        scales: Scales,
    ) {
        let device = gradient.device();
        let [first, second] = self.0.remove(path).unwrap_or_else(|| match saved {
            Some(Slots { first, second }) => [first, second].map(|values| sent(values, &device)),
            None => [0; 2].map(|_| Tensor::zeros_like(&gradient)),
        });
        let gradient = gradient * scales.gradient;
        let first = first * scales.beta1 + gradient.clone() * scales.rest1;
        let second = second * scales.beta2 + gradient.square() * scales.rest2;
        let moved = first.clone() * scales.step / (second.clone().sqrt() * scales.second + scales.epsilon);
        param.change(|values| values * scales.keep - moved);
        self.0.insert(path.to_owned(), [first, second]);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same as numbers.
    pub fn read(&self) -> State {
        let read = |tensor: &Tensor<1>| floats(tensor.clone().into_data());
        self.0
            .iter()
            .map(|(path, [first, second])| (path.clone(), Slots { first: read(first), second: read(second) }))
            .collect()
    }
}

fn sent(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}
