//! Rotary position embedding (Su 2021) and the ways to stretch it: the tables of one forward pass. The rotation itself is in
//! `kernels`.

use std::f64::consts::{PI, TAU};
use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Tensor, TensorData};

use crate::config::{ModelConfig, Position, Rope, RopeScaling, RopeStyle};

/// Cosines and sines for the positions of one batch, shared by all layers. Computed on the host for exactly the
/// positions in use, so no table has to be kept, grown or moved.
///
/// `R` is how many dimensions at the start of a head rotate.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// `[B or 1, T, R/2]`
    pub(crate) cos: Arc<[f32]>,
    /// `[B or 1, T, R/2]`
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
    pub fn new(config: &ModelConfig, positions: &[Vec<usize>], device: &Device) -> Option<Self> {
        let Position::Rope(rope) = config.position else {
            return None;
        };
        let longest = positions.iter().flatten().max().map_or(0, |last| last + 1);
        let dims = rope.dims.unwrap_or(config.head_dim);
        let (frequencies, scale) = frequencies(&rope, dims, config.max_positions, longest);
        let (rows, time) = (positions.len(), positions.first().map_or(0, Vec::len));
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for &position in positions.iter().flatten() {
            for frequency in &frequencies {
                let (s, c) = (position as f64 * frequency).sin_cos();
                cos.push((c * scale) as f32);
                sin.push((s * scale) as f32);
            }
        }
        Some(Self {
            cos: cos.into(),
            sin: sin.into(),
            rows,
            style: rope.style,
            shape: [rows, time, dims / 2],
            device: device.clone(),
            on_device: OnceLock::new(),
        })
    }

    /// Pairs of a head that rotate.
    pub(crate) fn pairs(&self) -> usize {
        self.shape[2]
    }

    /// Cosines and sines on the device, `[B or 1, T, R/2]`.
    pub(crate) fn tensors(&self) -> &(Tensor<3>, Tensor<3>) {
        let tensor = |values: &[f32]| Tensor::from_data(TensorData::new(values.to_vec(), self.shape), &self.device);
        self.on_device.get_or_init(|| (tensor(&self.cos), tensor(&self.sin)))
    }
}

/// Radians per position of each pair, and what cosines and sines are multiplied by. `dims` rotate, the model was made for
/// `max_positions`, and the text has reached `longest`.
///
/// f64 up to the angle, as a position of 100,000 leaves f32 two digits after the point.
pub fn frequencies(rope: &Rope, dims: usize, max_positions: usize, longest: usize) -> (Vec<f64>, f64) {
    let powers = |theta: f64| (0..dims / 2).map(move |i| theta.powf(-2.0 * i as f64 / dims as f64));
    match rope.scaling {
        RopeScaling::None => (powers(rope.theta).collect(), 1.0),
        RopeScaling::Linear { factor } => (powers(rope.theta).map(|f| f / factor).collect(), 1.0),
        RopeScaling::Ntk { factor } => (powers(ntk_theta(rope.theta, factor, dims)).collect(), 1.0),
        RopeScaling::Dynamic { factor } => {
            let stretch = longest.max(max_positions) as f64 / max_positions as f64;
            (powers(ntk_theta(rope.theta, factor * stretch - (factor - 1.0), dims)).collect(), 1.0)
        }
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
            let stretched = powers(rope.theta).map(|f| {
                // Turns within the original length: many are kept, few are interpolated.
                let turns = original as f64 * f / TAU;
                let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                (1.0 - kept) * f / factor + kept * f
            });
            (stretched.collect(), 1.0)
        }
        RopeScaling::Yarn { factor, original, beta_fast, beta_slow, attention_factor, truncate } => {
            // The pair that makes `turns` turns within the original length.
            let pair = |turns: f64| dims as f64 * (original as f64 / (turns * 2.0 * PI)).ln() / (2.0 * rope.theta.ln());
            let (mut low, mut high) = (pair(beta_fast), pair(beta_slow));
            if truncate {
                (low, high) = (low.floor(), high.ceil());
            }
            let (low, mut high) = (low.max(0.0), high.min(dims as f64 - 1.0));
            if low == high {
                high += 0.001;
            }
            let stretched = (0..).zip(powers(rope.theta)).map(|(i, f)| {
                let interpolated = ((f64::from(i) - low) / (high - low)).clamp(0.0, 1.0);
                f / factor * interpolated + f * (1.0 - interpolated)
            });
            (stretched.collect(), attention_factor)
        }
    }
}

/// The theta at which the slowest pair turns `factor` times slower and the fastest as before.
pub(crate) fn ntk_theta(theta: f64, factor: f64, dims: usize) -> f64 {
    theta * factor.powf(dims as f64 / (dims as f64 - 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{device, kernels};

    fn rotation(style: RopeStyle, positions: Vec<usize>) -> Rotation {
        let mut config = ModelConfig::llama(8, 4, 1, (1, 1), 64);
        config.position = Position::Rope(Rope { style, ..Rope::new(100.0) });
        Rotation::new(&config, &[positions], &device::cpu()).expect("the position is RoPE")
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

    /// The ends of each way to stretch, from its paper.
    #[test]
    fn scaling_slows_the_slow_pairs() {
        let of = |scaling, longest| {
            let rope = Rope { scaling, ..Rope::new(10_000.0) };
            frequencies(&rope, 64, 1024, longest)
        };
        let (plain, one) = of(RopeScaling::None, 10);
        assert_eq!((plain[0], one), (1.0, 1.0));
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
        let (linear, _) = of(RopeScaling::Linear { factor: 4.0 }, 10);
        assert!(linear.iter().zip(&plain).all(|(a, b)| near(*a, b / 4.0)));
        let (ntk, _) = of(RopeScaling::Ntk { factor: 4.0 }, 10);
        assert!(near(ntk[0], 1.0) && near(ntk[31], plain[31] / 4.0));
        // Within the trained length nothing changes; at four times it, as NTK by 4 · 4 - 3.
        let dynamic = |longest| of(RopeScaling::Dynamic { factor: 4.0 }, longest).0;
        assert_eq!(dynamic(1024), plain);
        assert!(near(dynamic(4096)[31], plain[31] / 13.0));
        let llama3 = RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original: 1024 };
        let (llama3, _) = of(llama3, 10);
        assert!(near(llama3[0], 1.0) && near(llama3[31], plain[31] / 8.0));
        let yarn = RopeScaling::Yarn {
            factor: 8.0,
            original: 1024,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: 1.2,
            truncate: true,
        };
        let (yarn, scale) = of(yarn, 10);
        assert!(near(yarn[0], 1.0) && near(yarn[31], plain[31] / 8.0) && scale == 1.2);
    }
}
