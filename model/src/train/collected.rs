//! What the passes of a step add up to: a gradient for each trained parameter, as numbers where parameters live on the CPU, else as
//! tensors beside them, so that nothing of a GPU's step comes here but a few sums.

use burn::tensor::{Device, Gradients, Tensor};

use super::{optimizer, threads};
use crate::projection::{ParamRef, floats};
use crate::transformer::Transformer;

/// In the order of the trained parameters.
#[derive(Debug)]
pub(super) enum Collected {
    /// An empty list is 0.
    Here(Vec<Vec<f32>>),
    /// Flat; none is 0.
    There(Vec<Option<Tensor<1>>>),
}

impl Collected {
    pub fn new(count: usize, there: bool) -> Self {
        if there { Self::There(vec![None; count]) } else { Self::Here(vec![Vec::new(); count]) }
    }

    /// Adds what a pass's tape holds.
    pub fn take(&mut self, model: &Transformer, tape: &mut Gradients) {
        for (i, (_, param)) in model.trained().into_iter().enumerate() {
            let Some(gradient) = flat_gradient(param, tape) else {
                continue;
            };
            match self {
                Self::Here(sums) => add_numbers(&mut sums[i], floats(gradient.into_data())),
                Self::There(sums) => add(&mut sums[i], gradient),
            }
        }
    }

    /// Adds another's.
    pub fn merge(&mut self, others: Self) {
        match (self, others) {
            (Self::Here(sums), Self::Here(others)) => {
                let mut pairs: Vec<_> = sums.iter_mut().zip(others).filter(|(_, other)| !other.is_empty()).collect();
                threads::each(&mut pairs, |(sum, other)| add_numbers(sum, std::mem::take(other)));
            }
            (Self::There(sums), Self::There(others)) => {
                for (sum, other) in sums.iter_mut().zip(others) {
                    other.into_iter().for_each(|other| add(sum, other));
                }
            }
            _ => unreachable!("both worked with one model"),
        }
    }

    /// Every gradient in full, times `factor`. `counts` are the parameters' sizes.
    pub fn finish(&mut self, counts: &[usize], factor: Option<f32>, device: &Device) {
        match self {
            Self::Here(sums) => {
                for (sum, count) in sums.iter_mut().zip(counts) {
                    sum.resize(*count, 0.0);
                    if let Some(factor) = factor {
                        sum.iter_mut().for_each(|g| *g *= factor);
                    }
                }
            }
            Self::There(sums) => {
                for (sum, count) in sums.iter_mut().zip(counts) {
                    let full = sum.take().unwrap_or_else(|| Tensor::zeros([*count], device));
                    *sum = Some(match factor {
                        Some(factor) => full * factor,
                        None => full,
                    });
                }
            }
        }
    }

    /// `√(Σ g²)`, and the share of zeros where that is asked for.
    pub fn measure(&self, zeros: bool) -> (f64, Option<f64>) {
        match self {
            Self::Here(sums) => (optimizer::global_norm(sums), zeros.then(|| zeros_in(sums))),
            Self::There(sums) => {
                let all = || sums.iter().flatten().cloned();
                let mut parts: Vec<Tensor<1>> = all().map(|sum| sum.square().sum()).collect();
                if zeros {
                    parts.extend(all().map(|sum| sum.equal_elem(0.0).float().sum()));
                }
                if parts.is_empty() {
                    return (0.0, None);
                }
                let (values, count) = (floats(Tensor::cat(parts, 0).into_data()), all().count());
                let total = |values: &[f32]| values.iter().map(|x| f64::from(*x)).sum::<f64>();
                let numbers = all().map(|sum| sum.dims()[0]).sum::<usize>().max(1) as f64;
                (total(&values[..count]).sqrt(), zeros.then(|| total(&values[count..]) / numbers))
            }
        }
    }
}

fn add_numbers(sum: &mut Vec<f32>, gradient: Vec<f32>) {
    if sum.is_empty() {
        *sum = gradient;
    } else {
        sum.iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += g);
    }
}

fn add(sum: &mut Option<Tensor<1>>, term: Tensor<1>) {
    *sum = Some(match sum.take() {
        Some(sum) => sum + term,
        None => term,
    });
}

fn flat_gradient(param: ParamRef<'_>, tape: &mut Gradients) -> Option<Tensor<1>> {
    match param {
        ParamRef::Vector(param) => param.val().grad_remove(tape),
        ParamRef::Matrix(param) => param.val().grad_remove(tape).map(|gradient| {
            let count = gradient.shape().num_elements();
            gradient.reshape([count])
        }),
    }
}

fn zeros_in(gradients: &[Vec<f32>]) -> f64 {
    let zeros = gradients.iter().flatten().filter(|g| **g == 0.0).count();
    zeros as f64 / gradients.iter().map(Vec::len).sum::<usize>().max(1) as f64
}
