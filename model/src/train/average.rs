//! An exponential moving average of the trained weights (Polyak & Juditsky 1992; Tarvainen & Valpola 2017), as torch's `AveragedModel`
//! keeps it: the first step's weights, then `average + (1 - decay) · (weights - average)` after every step.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Averages by parameter path.
#[derive(Clone, Debug, PartialEq)]
pub struct Average {
    share: f32,
    pub(super) values: BTreeMap<String, Vec<f32>>,
}

impl Average {
    pub(super) fn new(decay: f64) -> Self {
        Self { share: (1.0 - decay) as f32, values: BTreeMap::new() }
    }

    /// Takes in a parameter's weights after a step.
    pub(super) fn take(&mut self, path: &str, weights: &[f32]) {
        match self.values.entry(path.to_owned()) {
            Entry::Vacant(place) => {
                place.insert(weights.to_vec());
            }
            Entry::Occupied(mut place) => {
                for (average, weight) in place.get_mut().iter_mut().zip(weights) {
                    *average += self.share * (weight - *average);
                }
            }
        }
    }
}
