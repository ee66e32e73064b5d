//! A model with its matrices rounded, beside the model as it is: what is rounded, what it saves, how far off it is. It measures no loss
//! (that is [`crate::look::losses`]).

use burn::module::Param;
use burn::tensor::{Tensor, TensorData, Transaction};
use hearth_shared::lab::quantize::{Histogram, MatrixError, Picture};
use hearth_shared::spec::QuantizeSpec;

use super::quantize::{Rounded, rounded};
use crate::look::{LookError, numbers};
use crate::projection::{ParamMut, ParamRef};
use crate::transformer::Transformer;

const BINS: usize = 96;

/// A weight matrix, `[rows, cols]` as `[out, in]` or `[vocabulary, width]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    pub path: String,
    pub shape: [usize; 2],
    pub values: Vec<f32>,
}

impl Matrix {
    /// What is spared or rounded together: `embed`, `layers.0`, …, `head`.
    pub fn group(&self) -> &str {
        group(&self.path)
    }

    /// Bytes in so many bits, or as f32.
    pub fn bytes(&self, bits: Option<u8>, spec: &QuantizeSpec) -> u64 {
        let [rows, cols] = self.shape;
        QuantizeSpec { weight_bits: bits, ..*spec }.matrix_bits(rows, cols).div_ceil(8)
    }
}

fn group(path: &str) -> &str {
    let mut ends = path.match_indices('.').map(|(at, _)| at);
    let end = if path.starts_with("layers.") { ends.nth(1) } else { ends.next() };
    &path[..end.unwrap_or(path.len())]
}

/// Embeddings, head and the projections of every layer; vectors and tables of positions stay as they are.
fn is_rounded(path: &str) -> bool {
    path == "embed.weight" || path == "head.weight" || path.starts_with("layers.")
}

/// A model's matrices, read once.
#[derive(Clone, Debug)]
pub struct Weights {
    pub matrices: Vec<Matrix>,
    /// Numbers in everything that is not rounded.
    rest: u64,
}

impl Weights {
    /// # Errors
    /// The device was lost.
    pub async fn read(model: &Transformer) -> Result<Self, LookError> {
        let mut reading = Transaction::default();
        let (mut names, mut rest) = (Vec::new(), 0);
        for (path, param) in model.params() {
            match param {
                ParamRef::Matrix(matrix) if is_rounded(&path) => {
                    reading = reading.register(matrix.val());
                    let shape = matrix.lazy_shape();
                    names.push((path, [shape[0], shape[1]]));
                }
                other => rest += other.shape().iter().product::<usize>() as u64,
            }
        }
        let read = reading.execute_async().await.map_err(|error| LookError::new(&error))?;
        let matrices = names.into_iter().zip(read).map(|((path, shape), data)| {
            let values = numbers(data)?;
            Ok(Matrix { path, shape, values })
        });
        Ok(Self { matrices: matrices.collect::<Result<_, LookError>>()?, rest })
    }

    /// Bytes of all parameters as f32.
    pub fn full_bytes(&self) -> u64 {
        self.bytes(&vec![None; self.matrices.len()], &QuantizeSpec::default())
    }

    /// Bytes with so many bits a matrix.
    pub fn bytes(&self, bits: &[Option<u8>], spec: &QuantizeSpec) -> u64 {
        let matrices = self.matrices.iter().zip(bits).map(|(matrix, bits)| matrix.bytes(*bits, spec));
        matrices.sum::<u64>() + self.rest * 4
    }

    /// The model with its matrices on levels of so many bits each, and what that did to each of them.
    pub fn rounded(
        &self,
        model: &Transformer,
        bits: &[Option<u8>],
        spec: &QuantizeSpec,
    ) -> (Transformer, Vec<MatrixError>) {
        self.each_rounded(model, bits, spec, |_, _| {})
    }

    /// The same, and how the numbers of one matrix lie and where they went; of the first one where there is none of that name.
    pub fn pictured(
        &self,
        model: &Transformer,
        bits: &[Option<u8>],
        spec: &QuantizeSpec,
        path: &str,
    ) -> (Transformer, Vec<MatrixError>, Picture) {
        let shown = self.matrices.iter().position(|matrix| matrix.path == path).unwrap_or(0);
        let mut seen = None;
        let (copy, errors) = self.each_rounded(model, bits, spec, |at, rounded| {
            if at == shown {
                seen = Some(picture(&self.matrices[at], Some(rounded)));
            }
        });
        let spared = || self.matrices.get(shown).map(|matrix| picture(matrix, None));
        (copy, errors, seen.or_else(spared).unwrap_or_default())
    }

    fn each_rounded(
        &self,
        model: &Transformer,
        bits: &[Option<u8>],
        spec: &QuantizeSpec,
        mut see: impl FnMut(usize, &Rounded),
    ) -> (Transformer, Vec<MatrixError>) {
        let mut copy = model.clone();
        let mut errors = Vec::with_capacity(self.matrices.len());
        let mut params: Vec<(String, ParamMut<'_>)> = copy.params_mut();
        params.retain(|(path, param)| matches!(param, ParamMut::Matrix(_)) && is_rounded(path));
        for (at, ((matrix, bits), (_, param))) in self.matrices.iter().zip(bits).zip(&mut params).enumerate() {
            let mut error = 0.0;
            if let (Some(bits), ParamMut::Matrix(param)) = (bits, param) {
                let rounded = rounded(&matrix.values, matrix.shape, *bits, spec);
                see(at, &rounded);
                error = distance(&rounded.values, &matrix.values);
                let tensor = Tensor::from_data(TensorData::new(rounded.values, matrix.shape), &param.lazy_device());
                **param = Param::from_tensor(tensor).set_require_grad(false);
            }
            errors.push(MatrixError {
                path: matrix.path.clone(),
                group: matrix.group().to_owned(),
                rows: matrix.shape[0] as u32,
                cols: matrix.shape[1] as u32,
                bits: *bits,
                bytes: matrix.bytes(*bits, spec),
                error,
            });
        }
        drop(params);
        for (_, projection) in copy.projections_mut() {
            projection.input_bits = spec.input_bits;
        }
        if let Some(head) = &mut copy.head {
            head.input_bits = spec.input_bits;
        }
        (copy, errors)
    }
}

/// How a matrix's numbers lie, and where they went; nowhere where it was spared.
fn picture(matrix: &Matrix, rounded: Option<&Rounded>) -> Picture {
    let values = rounded.map_or(&matrix.values, |rounded| &rounded.values);
    let cols = matrix.shape[1].max(1);
    let errors: Vec<f32> = values.iter().zip(&matrix.values).map(|(here, was)| here - was).collect();
    let rows = values.chunks(cols).zip(matrix.values.chunks(cols));
    let mut row_errors: Vec<f32> = rows.map(|(here, was)| distance(here, was) as f32).collect();
    row_errors.sort_by(|a, b| b.total_cmp(a));
    Picture {
        path: matrix.path.clone(),
        weights: histogram(&matrix.values),
        errors: histogram(&errors),
        levels: rounded.map(|rounded| rounded.levels.all()).unwrap_or_default(),
        row_errors,
    }
}

/// Length of the difference over the length of `was`.
pub(super) fn distance(here: &[f32], was: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let (error, length) = here.iter().zip(was).fold((0.0, 0.0), |(e, l), (h, w)| (e + square(h - w), l + square(*w)));
    if length > 0.0 { (error / length).sqrt() } else { 0.0 }
}

/// Equal bins around zero, as wide as the largest magnitude.
fn histogram(values: &[f32]) -> Histogram {
    let most = values.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let mut counts = vec![0; BINS];
    for x in values {
        let place = if most > 0.0 { (x / most + 1.0) / 2.0 } else { 0.5 };
        counts[((place * BINS as f32) as usize).min(BINS - 1)] += 1;
    }
    Histogram { from: -most, to: most, counts }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::config::ModelConfig;
    use crate::device;
    use futures::executor::block_on;

    #[test]
    fn matrices_belong_to_groups() {
        assert_eq!(group("embed.weight"), "embed");
        assert_eq!(group("layers.11.attention.q.weight"), "layers.11");
        assert_eq!(group("head.weight"), "head");
    }

    #[test]
    fn only_what_has_bits_changes() {
        let config = ModelConfig::llama(64, 16, 1, (2, 1), 32);
        let model = Transformer::new(&config, 1, &device::cpu());
        let weights = block_on(Weights::read(&model)).unwrap();
        let spec = QuantizeSpec::default();
        let mut bits = vec![None; weights.matrices.len()];
        assert_eq!(weights.full_bytes(), config.parameters() * 4);
        bits[1] = Some(4);
        let (copy, errors) = weights.rounded(&model, &bits, &spec);
        let after = block_on(Weights::read(&copy)).unwrap();
        for (i, (was, is)) in weights.matrices.iter().zip(&after.matrices).enumerate() {
            assert_eq!(was.path, is.path);
            assert_eq!(was.values == is.values, i != 1, "{}", was.path);
            assert_eq!(errors[i].error == 0.0, i != 1);
        }
        let (_, _, picture) = weights.pictured(&model, &bits, &spec, &weights.matrices[1].path);
        assert_eq!(picture.levels.len(), 15);
        assert_eq!(picture.weights.counts.iter().sum::<u32>() as usize, weights.matrices[1].values.len());
        assert!(weights.bytes(&bits, &spec) < weights.full_bytes());
    }
}
