//! 4-bit NormalFloat with double quantization (Dettmers 2023, QLoRA): weights in blocks of 64, each with its largest magnitude; these
//! in turn, their mean taken away, in 8 bits in blocks of 256. 4.127 bits a weight.

/// The sixteen values of the paper's appendix E: quantiles of a normal distribution with a 0 among them, scaled to -1..=1.
pub const LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];
/// Weights that share a magnitude.
pub const BLOCK: usize = 64;
/// Magnitudes that share one of theirs.
const SCALES: usize = 256;

/// A matrix of `[out, in]` in NF4; its blocks run along the rows, over their ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Nf4 {
    shape: [usize; 2],
    /// Two numbers of [`LEVELS`] a byte, the first in the high half.
    codes: Vec<u8>,
    /// Of each block, a number of [`dynamic_levels`].
    scales: Vec<u8>,
    /// Of 256 blocks.
    scale_scales: Vec<f32>,
    /// The blocks' mean magnitude.
    mean: f32,
}

impl Nf4 {
    /// # Panics
    /// `values` are not as many as the shape has.
    pub fn new(values: &[f32], shape: [usize; 2]) -> Self {
        assert_eq!(values.len(), shape[0] * shape[1], "as many values as {shape:?} has");
        let magnitudes: Vec<f32> = values.chunks(BLOCK).map(largest).collect();
        let (codes, scales) = (codes(values, &magnitudes), magnitudes);
        let mean = (scales.iter().map(|m| f64::from(*m)).sum::<f64>() / scales.len().max(1) as f64) as f32;
        let centred: Vec<f32> = scales.iter().map(|m| m - mean).collect();
        let levels = dynamic_levels();
        let scale_scales: Vec<f32> = centred.chunks(SCALES).map(largest).collect();
        let nearest_level = |(group, scale): (&[f32], &f32)| {
            let inverse = if *scale > 0.0 { 1.0 / scale } else { 0.0 };
            group.iter().map(|m| nearest(&levels, m * inverse) as u8).collect::<Vec<_>>()
        };
        let scales = centred.chunks(SCALES).zip(&scale_scales).flat_map(nearest_level).collect();
        Self { shape, codes, scales, scale_scales, mean }
    }

    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.codes.len() + self.scales.len() + 4 * self.scale_scales.len() + 4
    }

    /// All numbers again, row by row.
    pub fn unpack(&self) -> Vec<f32> {
        let levels = dynamic_levels();
        let mut values = vec![0.0; self.shape[0] * self.shape[1]];
        crate::kernels::chunks(&mut values, BLOCK * 64, |i, chunk| {
            for (block, values) in (i * 64..).zip(chunk.chunks_mut(BLOCK)) {
                let scale = levels[usize::from(self.scales[block])] * self.scale_scales[block / SCALES] + self.mean;
                let table = LEVELS.map(|level| level * scale);
                let codes = &self.codes[block * BLOCK / 2..];
                for (pair, code) in values.chunks_mut(2).zip(codes) {
                    pair[0] = table[usize::from(code >> 4)];
                    if let Some(second) = pair.get_mut(1) {
                        *second = table[usize::from(code & 15)];
                    }
                }
            }
        });
        values
    }
}

fn largest(block: &[f32]) -> f32 {
    block.iter().fold(0.0, |most, x| x.abs().max(most))
}

fn codes(values: &[f32], magnitudes: &[f32]) -> Vec<u8> {
    let code = |(block, magnitude): (&[f32], &f32)| {
        let inverse = if *magnitude > 0.0 { 1.0 / magnitude } else { 0.0 };
        block.iter().map(|x| nearest(&LEVELS, x * inverse) as u8).collect::<Vec<_>>()
    };
    let each: Vec<u8> = values.chunks(BLOCK).zip(magnitudes).flat_map(code).collect();
    each.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0)).collect()
}

/// Index of the level nearest to `x`; levels rise.
fn nearest(levels: &[f32], x: f32) -> usize {
    let above = levels.partition_point(|level| *level < x);
    match above {
        0 => 0,
        above if above == levels.len() => above - 1,
        above if x - levels[above - 1] <= levels[above] - x => above - 1,
        above => above,
    }
}

/// The 256 values of the dynamic 8-bit format (Dettmers 2022, 8-bit Optimizers, section 2.1): seven powers of ten, the larger ones
/// with more steps between, both signs, 0 and 1.
fn dynamic_levels() -> [f32; 256] {
    let mut levels = Vec::with_capacity(256);
    for power in 0..7 {
        let steps = 1 << power;
        let scale = 10f64.powi(power - 6);
        for step in 0..steps {
            // Middles of `steps` equal parts of 0.1..=1.
            let middle = 0.1 + 0.9 * (f64::from(step) + 0.5) / f64::from(steps);
            levels.extend([(scale * middle) as f32, (-scale * middle) as f32]);
        }
    }
    levels.extend([0.0, 1.0]);
    levels.sort_by(f32::total_cmp);
    std::array::from_fn(|i| levels[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(count: usize) -> Vec<f32> {
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        // Blocks of different size, so that magnitudes have something to quantise.
        (0..count).map(|i| next() * (1.0 + (i / BLOCK % 7) as f32)).collect()
    }

    #[test]
    fn levels_survive_but_for_the_second_quantization() {
        let values: Vec<f32> = (0..640).map(|i| LEVELS[i % 16] * 3.0).collect();
        // One magnitude for all blocks: its mean says it exactly.
        assert_eq!(Nf4::new(&values, [10, 64]).unpack(), values);
        assert_eq!(Nf4::new(&[0.0; 6], [2, 3]).unpack(), [0.0; 6]);
    }

    #[test]
    fn every_number_is_the_nearest_one() {
        let values = random(301 * 67);
        let packed = Nf4::new(&values, [301, 67]);
        let again = packed.unpack();
        assert_eq!(again.len(), values.len());
        // Half the widest gap between two levels, and what an 8-bit scale is off by.
        let bound = 0.152 + 0.012;
        for (block, back) in values.chunks(BLOCK).zip(again.chunks(BLOCK)) {
            let most = largest(block).max(1.0);
            assert!(block.iter().zip(back).all(|(x, y)| (x - y).abs() <= bound * most), "{block:?} {back:?}");
        }
        let bits = 8.0 * packed.bytes() as f64 / values.len() as f64;
        assert!((4.12..4.15).contains(&bits), "{bits}");
    }
}
