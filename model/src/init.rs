//! Random weights that depend on a seed and a parameter's path only: adding a layer or an adapter changes no other draw.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// Deviation of every matrix of a fresh model.
const DEVIATION: f64 = 0.02;

/// Values for a fresh model's parameter; none keeps what an empty model has (norm weights 1, biases 0).
pub(crate) fn values(path: &str, shape: &[usize], layers: usize, seed: u64) -> Option<Vec<f32>> {
    if shape.len() < 2 {
        return None;
    }
    // What writes to the residual stream is smaller, so that the stream's size doesn't grow with depth (Radford 2019).
    let residual = ["o_proj.weight", "down_proj.weight", "c_proj.weight"];
    let scale = if residual.iter().any(|end| path.ends_with(end)) { 1.0 / (2.0 * layers as f64).sqrt() } else { 1.0 };
    Some(normal(path, shape.iter().product(), DEVIATION * scale, seed))
}

/// `count` draws from a normal distribution.
pub(crate) fn normal(path: &str, count: usize, deviation: f64, seed: u64) -> Vec<f32> {
    let mut rng = generator(path, seed);
    let mut out = Vec::with_capacity(count + 1);
    while out.len() < count {
        // Box and Muller: two uniforms make two normals. 1 - u is never 0.
        let radius = (-2.0 * (1.0 - uniform(&mut rng)).ln()).sqrt() * deviation;
        let (sin, cos) = (std::f64::consts::TAU * uniform(&mut rng)).sin_cos();
        out.push((radius * cos) as f32);
        out.push((radius * sin) as f32);
    }
    out.truncate(count);
    out
}

/// `count` draws from `-bound..bound`.
pub(crate) fn symmetric(path: &str, count: usize, bound: f64, seed: u64) -> Vec<f32> {
    let mut rng = generator(path, seed);
    (0..count).map(|_| ((2.0 * uniform(&mut rng) - 1.0) * bound) as f32).collect()
}

/// `0..1`, 53 bits.
pub(crate) fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

fn generator(path: &str, seed: u64) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(path.as_bytes());
    ChaCha8Rng::from_seed(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_has_its_moments_and_repeats() {
        let a = normal("layers.0", 20_001, 0.5, 7);
        assert_eq!(a.len(), 20_001);
        assert_eq!(a, normal("layers.0", 20_001, 0.5, 7));
        assert_ne!(a, normal("layers.1", 20_001, 0.5, 7));
        let mean = a.iter().sum::<f32>() / a.len() as f32;
        let deviation = (a.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / a.len() as f32).sqrt();
        assert!(mean.abs() < 0.02 && (deviation - 0.5).abs() < 0.02);
    }
}
