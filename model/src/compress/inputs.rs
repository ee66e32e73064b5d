//! How large the inputs of every projection are over a text: what Wanda weighs weights by (Sun 2023). Measured on a copy of the model
//! that shares its weights; the model itself learns nothing of it.

use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{Tensor, Transaction};

use crate::device;
use crate::look::{LookError, numbers, tokens};
use crate::projection::Projection;
use crate::transformer::{Forward, Transformer};

/// Squares of what goes into a projection, summed column by column over all calls.
#[derive(Debug, Default)]
pub struct InputSums(Mutex<Option<Tensor<1>>>);

impl InputSums {
    /// `[B, T, in]`
    pub(crate) fn add(&self, x: &Tensor<3>) {
        let [batch, time, inputs] = x.dims();
        let squares = x.clone().square().reshape([batch * time, inputs]).sum_dim(0).reshape([inputs]);
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *sum = Some(match sum.take() {
            Some(sum) => sum + squares,
            None => squares,
        });
    }

    /// `[in]`; none where nothing went in.
    fn sum(&self) -> Option<Tensor<1>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// `‖X_j‖₂` of every input of every projection, over all tokens of some windows.
#[derive(Clone, Debug, PartialEq)]
pub struct InputNorms(Vec<Vec<f32>>);

impl InputNorms {
    /// Runs windows through the model, each no longer than its context. None where there was no window.
    ///
    /// # Errors
    /// The device was lost or refused the work.
    pub async fn measure<W: AsRef<[u32]>>(
        model: &Transformer,
        windows: impl IntoIterator<Item = W>,
    ) -> Result<Option<Self>, LookError> {
        let device = model.device();
        let mut watched = model.clone();
        let watch = |projection: &mut Projection| {
            let sums = Arc::new(InputSums::default());
            projection.input_sums = Some(Arc::clone(&sums));
            sums
        };
        let sums: Vec<_> = watched.projections_mut().into_iter().map(|(_, projection)| watch(projection)).collect();
        for window in windows {
            let ids = tokens(window.as_ref(), &device);
            device::compute(&device, || {
                watched.hidden(ids, Forward::default());
            });
        }
        let Some(sums) = sums.iter().map(|sums| sums.sum()).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let reading = sums.into_iter().fold(Transaction::default(), |reading, sum| reading.register(sum));
        let read = reading.execute_async().await.map_err(|error| LookError::new(&error))?;
        let norms = read.into_iter().map(|data| Ok(numbers(data)?.into_iter().map(f32::sqrt).collect::<Vec<f32>>()));
        Ok(Some(Self(norms.collect::<Result<_, LookError>>()?)))
    }

    /// `[in]` of each projection, in the order of [`Transformer::projections`].
    pub fn all(&self) -> &[Vec<f32>] {
        &self.0
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::config::ModelConfig;
    use crate::projection::floats;
    use crate::trace::Trace;
    use futures::executor::block_on;

    /// Of columns of `[1, T, in]`, in f64.
    fn by_hand(inputs: &[Tensor<3>]) -> Vec<f32> {
        let width = inputs[0].dims()[2];
        let mut sums = vec![0.0_f64; width];
        for x in inputs {
            for (i, value) in floats(x.clone().into_data()).into_iter().enumerate() {
                sums[i % width] += f64::from(value).powi(2);
            }
        }
        sums.into_iter().map(|sum| sum.sqrt() as f32).collect()
    }

    #[test]
    fn norms_are_those_of_what_the_trace_and_the_norms_give() {
        let config = ModelConfig::llama(60, 32, 1, (4, 2), 64);
        let model = Transformer::new(&config, 5, &device::cpu());
        let windows: [Vec<u32>; 2] = [(0..20).collect(), (3..40).collect()];
        let norms = block_on(InputNorms::measure(&model, &windows)).unwrap().unwrap();
        let (mut queries, mut outputs, mut gates) = (Vec::new(), Vec::new(), Vec::new());
        for window in &windows {
            let mut trace = Trace::default();
            model.hidden(tokens(window, &device::cpu()), Forward { trace: Some(&mut trace), ..Forward::default() });
            let (block, embedding, layer) = (&model.layers[0], trace.embedding.unwrap(), trace.layers.remove(0));
            queries.push(block.attention_norm.forward(embedding.clone()));
            outputs.push(layer.output.swap_dims(1, 2).reshape([1, window.len(), config.q_width()]));
            gates.push(block.mlp_norm.as_ref().unwrap().forward(embedding + layer.attention));
        }
        let names: Vec<&str> = model.projections().into_iter().map(|(path, _)| path.name).collect();
        for (name, inputs) in [("q_proj", &queries), ("v_proj", &queries), ("o_proj", &outputs), ("up_proj", &gates)] {
            let measured = &norms.all()[names.iter().position(|n| *n == name).unwrap()];
            let expected = by_hand(inputs);
            assert_eq!(measured.len(), expected.len());
            for (a, b) in measured.iter().zip(&expected) {
                assert!((a - b).abs() <= 1e-4 * b, "{name}: {a}, by hand {b}");
            }
            assert!(expected.iter().all(|norm| *norm > 0.0));
        }
        assert_eq!(norms.all().last().unwrap().len(), config.ffn_dim);
    }

    #[test]
    fn the_model_is_not_watched_and_no_window_is_no_norm() {
        let model = Transformer::new(&ModelConfig::llama(60, 32, 1, (4, 2), 64), 5, &device::cpu());
        let windows: [Vec<u32>; 1] = [vec![1, 2, 3]];
        block_on(InputNorms::measure(&model, &windows)).unwrap();
        assert!(model.projections().iter().all(|(_, projection)| projection.input_sums.is_none()));
        let none: [Vec<u32>; 0] = [];
        assert_eq!(block_on(InputNorms::measure(&model, &none)).unwrap(), None);
    }
}
