//! The residual stream of one pass: as it is before the first block and behind every block, and what each half of a block adds to
//! it. It stays on the device; what is read from it is small.

use burn::tensor::{Tensor, Transaction};

use super::{LookError, numbers, tokens};
use crate::trace::Trace;
use crate::transformer::{Forward, Transformer};

/// See the top of the file. `L` layers, `T` tokens.
#[derive(Clone, Debug)]
pub struct Stream {
    /// `L + 1` times `[1, T, D]`
    states: Vec<Tensor<3>>,
    /// `L` times `[1, T, D]`: what attention adds
    attention: Vec<Tensor<3>>,
}

/// Root mean squares over the model's width, `[T]` each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sizes {
    /// The stream before the first block.
    pub begins: Vec<f32>,
    pub blocks: Vec<BlockSizes>,
    /// The stream behind the last norm.
    pub normed: Vec<f32>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockSizes {
    /// Of what attention adds.
    pub attention: Vec<f32>,
    /// Of what the feed-forward half adds.
    pub mlp: Vec<f32>,
    /// Of the stream behind the block.
    pub after: Vec<f32>,
}

impl Stream {
    /// Runs `ids` through the model. Not empty.
    pub fn of(model: &Transformer, ids: &[u32]) -> Self {
        let mut trace = Trace::default();
        model.hidden(tokens(ids, &model.device()), Forward { trace: Some(&mut trace), ..Forward::default() });
        let time = ids.len();
        // Virtual tokens stand in front of the text.
        let text = |x: Tensor<3>| {
            let rows = x.dims()[1];
            x.narrow(1, rows - time, time)
        };
        let mut states: Vec<Tensor<3>> = trace.embedding.into_iter().map(text).collect();
        let mut attention = Vec::with_capacity(trace.layers.len());
        for layer in trace.layers {
            attention.push(text(layer.attention));
            states.push(text(layer.residual));
        }
        Self { states, attention }
    }

    /// `L + 1`
    pub fn states(&self) -> usize {
        self.states.len()
    }

    /// What the head reads where the stream is as at `state`, 0 before the first block: `[1, T, D]`.
    ///
    /// # Panics
    /// There is no such state.
    pub(super) fn normed(&self, model: &Transformer, state: usize) -> Tensor<3> {
        model.norm.forward(self.states[state].clone())
    }

    /// # Errors
    /// The device was lost or refused the work.
    pub async fn sizes(&self, model: &Transformer) -> Result<Sizes, LookError> {
        let rms = |x: Tensor<3>| x.square().mean_dim(2).sqrt(); // [1, T, 1]
        let mut reading = Transaction::default();
        for (ends, attention) in self.states.windows(2).zip(&self.attention) {
            let mlp = ends[1].clone() - ends[0].clone() - attention.clone();
            reading = reading.register(rms(attention.clone())).register(rms(mlp)).register(rms(ends[1].clone()));
        }
        let ends = [self.states[0].clone(), self.normed(model, self.states.len() - 1)];
        let [begins, normed] = ends.map(rms);
        let read = reading.register(begins).register(normed).execute_async().await;
        let read = read.map_err(|error| LookError::new(&error))?;
        let mut read = read.into_iter().map(numbers).collect::<Result<Vec<_>, _>>()?;
        let normed = read.pop().unwrap_or_default();
        let begins = read.pop().unwrap_or_default();
        let mut parts = read.into_iter();
        let mut blocks = Vec::with_capacity(self.attention.len());
        while let (Some(attention), Some(mlp), Some(after)) = (parts.next(), parts.next(), parts.next()) {
            blocks.push(BlockSizes { attention, mlp, after });
        }
        Ok(Sizes { begins, blocks, normed })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::config::ModelConfig;
    use crate::device;
    use crate::projection::floats;

    const IDS: [u32; 6] = [3, 17, 4, 44, 9, 3];

    fn rms(row: &[f32]) -> f32 {
        let sum: f64 = row.iter().map(|x| f64::from(*x).powi(2)).sum();
        (sum / row.len() as f64).sqrt() as f32
    }

    /// In a serial block and in a parallel one: attention and the feed-forward half are read off their own outputs.
    #[test]
    fn sizes_are_those_of_what_the_halves_write() {
        for config in [ModelConfig::llama(60, 32, 3, (4, 2), 64), ModelConfig::palm(60, 32, 3, 4, 64)] {
            let model = Transformer::new(&config, 5, &device::cpu());
            let sizes = block_on(Stream::of(&model, &IDS).sizes(&model)).unwrap();
            assert_eq!(sizes.blocks.len(), 3);
            let mut trace = Trace::default();
            model.hidden(tokens(&IDS, &model.device()), Forward { trace: Some(&mut trace), ..Forward::default() });
            let rows = |x: Tensor<3>| -> Vec<f32> { floats(x.into_data()).chunks_exact(32).map(rms).collect() };
            let near = |here: &[f32], there: &[f32]| {
                assert_eq!(here.len(), IDS.len());
                for (here, there) in here.iter().zip(there) {
                    assert!((here / there - 1.0).abs() < 1e-4, "{here} and {there}");
                }
            };
            let mut before = trace.embedding.unwrap();
            near(&sizes.begins, &rows(before.clone()));
            for (layer, found) in trace.layers.into_iter().zip(&sizes.blocks) {
                near(&found.attention, &rows(layer.attention.clone()));
                near(&found.mlp, &rows(layer.residual.clone() - before - layer.attention));
                near(&found.after, &rows(layer.residual.clone()));
                before = layer.residual;
            }
            near(&sizes.normed, &rows(model.norm.forward(before)));
        }
    }
}
