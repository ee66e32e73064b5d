//! Rotary position embedding (Su 2021): the tables of one forward pass. The rotation itself is in `kernels`.

use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Tensor, TensorData};

use crate::config::{Position, RopeStyle};

/// Cosines and sines for the positions of one batch, shared by all layers. Computed on the host for exactly the
/// positions in use, so no table has to be kept, grown or moved.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// `[B or 1, T, E/2]`
    pub(crate) cos: Arc<[f32]>,
    /// `[B or 1, T, E/2]`
    pub(crate) sin: Arc<[f32]>,
    /// 1 where all rows of the batch stand at the same positions.
    pub(crate) rows: usize,
    pub(crate) style: RopeStyle,
    shape: [usize; 3],
    device: Device,
    /// The same on the device, when a computation there asks for it.
    on_device: OnceLock<(Tensor<3>, Tensor<3>)>,
}

impl Rotation {
    /// None where the model doesn't rotate. `positions` holds `T` positions for each of the `B` rows, or for all in one.
    pub fn new(position: Position, head_dim: usize, positions: &[Vec<usize>], device: &Device) -> Option<Self> {
        let Position::Rope { theta, style } = position else {
            return None;
        };
        let half = head_dim / 2;
        // f64 up to the angle, as a position of 100,000 leaves f32 two digits after the point.
        let frequencies: Vec<f64> = (0..half).map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64)).collect();
        let (rows, time) = (positions.len(), positions.first().map_or(0, Vec::len));
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for &position in positions.iter().flatten() {
            for frequency in &frequencies {
                let (s, c) = (position as f64 * frequency).sin_cos();
                cos.push(c as f32);
                sin.push(s as f32);
            }
        }
        Some(Self {
            cos: cos.into(),
            sin: sin.into(),
            rows,
            style,
            shape: [rows, time, half],
            device: device.clone(),
            on_device: OnceLock::new(),
        })
    }

    /// Cosines and sines on the device, `[B or 1, T, E/2]`.
    pub(crate) fn tensors(&self) -> &(Tensor<3>, Tensor<3>) {
        let tensor = |values: &[f32]| Tensor::from_data(TensorData::new(values.to_vec(), self.shape), &self.device);
        self.on_device.get_or_init(|| (tensor(&self.cos), tensor(&self.sin)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{device, kernels};

    fn rotation(style: RopeStyle, positions: Vec<usize>) -> Rotation {
        let position = Position::Rope { theta: 100.0, style };
        Rotation::new(position, 4, &[positions], &device::cpu()).expect("the position is RoPE")
    }

    /// Both flavours worked out by hand at position 1: angles 1 and 0.1.
    #[test]
    fn rotates_the_pairs_of_its_flavour() {
        let x = || Tensor::<4>::from_floats([[[[1.0, 2.0, 3.0, 4.0]]]], &device::cpu());
        let (c0, s0, c1, s1) = (1f32.cos(), 1f32.sin(), 0.1f32.cos(), 0.1f32.sin());
        let expected = [
            (RopeStyle::HalfSplit, [c0 - 3.0 * s0, 2.0 * c1 - 4.0 * s1, 3.0 * c0 + s0, 4.0 * c1 + 2.0 * s1]),
            (RopeStyle::Interleaved, [c0 - 2.0 * s0, 2.0 * c0 + s0, 3.0 * c1 - 4.0 * s1, 4.0 * c1 + 3.0 * s1]),
        ];
        for (style, expected) in expected {
            let y = kernels::rope(x(), &rotation(style, vec![1]));
            for (got, want) in crate::projection::floats(y.into_data()).iter().zip(expected) {
                assert!((got - want).abs() < 1e-6, "{style:?}: {got} is not {want}");
            }
        }
    }

    #[test]
    fn scores_depend_on_distance_only() {
        let device = device::cpu();
        let x = Tensor::<4>::from_floats([[[[0.3, -1.2, 0.7, 0.4], [1.1, 0.2, -0.5, 0.9]]]], &device);
        for style in [RopeStyle::HalfSplit, RopeStyle::Interleaved] {
            let score = |start: usize| {
                let y = kernels::rope(x.clone(), &rotation(style, vec![start, start + 3]));
                let y = crate::projection::floats(y.into_data());
                (0..4).map(|i| y[i] * y[4 + i]).sum::<f32>()
            };
            assert!((score(0) - score(40)).abs() < 1e-5);
        }
    }
}
