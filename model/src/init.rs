//! Random weights that depend on a seed and a parameter's path only: adding a layer or an adapter changes no other draw.
//!
//! | family | matrices | what writes to the residual stream | embedding |
//! |---|---|---|---|
//! | gpt2 (Radford 2019) | 0.02 | 0.02 / √(2L) | 0.02 (learned positions 0.01) |
//! | llama, mistral, mixtral, qwen, phi3, smollm3, gemma2, gptj: our choice | 0.02 | 0.02 / √(2L) | 0.02 |
//! | gpt_neox (Black 2022: Nguyen & Salazar 2019, Wang 2021) | √(2 / 5D) | 2 / (L √D) | √(2 / 5D) |
//! | bloom (Le Scao 2022) | √(1 / 3D) | √(1 / 3D) / √(2L) | √(1 / 3D) |
//! | hearth: our choice | 0.02 | 0.02 / √(2L) | 0.02 (learned positions 0.01) |
//! | hearth with scaled embeddings (PaLM, Chowdhery 2022) | 1 / √in | 1 / √in | 1 / scale, so that what the first block reads has deviation 1 |
//!
//! For the families of the second row no paper is followed. transformers draws each of their matrices with 0.02, what writes to the
//! residual stream included. Here that has GPT-2's factor in every family, so that the stream of a new model does not grow with its depth
//! and models that differ in their family only begin alike. A model whose weights are loaded draws nothing.
//!
//! Deviations of normal distributions; `L` layers, `D` width, `in` a matrix's inputs. Norm weights are 1 (with a norm offset: 1 less the
//! offset), biases 0.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::config::{Architecture, MlpNames, ModelConfig};

/// Values for a fresh model's parameter; none keeps what an empty model has (norm weights 1, biases 0).
pub(crate) fn values(path: &str, shape: &[usize], config: &ModelConfig, seed: u64) -> Option<Vec<f32>> {
    if shape.len() < 2 {
        return None;
    }
    Some(normal(path, shape.iter().product(), deviation(path, shape[1], config), seed))
}

/// The table above.
fn deviation(path: &str, inputs: usize, config: &ModelConfig) -> f64 {
    let (width, layers) = (config.d_model as f64, config.n_layers as f64);
    let residual = writes_to_residual(path, config);
    let deeper = |deviation: f64| if residual { deviation / (2.0 * layers).sqrt() } else { deviation };
    match (config.model_type, config.embedding_scale) {
        (Architecture::GptNeox, _) if residual => 2.0 / (layers * width.sqrt()),
        (Architecture::GptNeox, _) => (2.0 / (5.0 * width)).sqrt(),
        (Architecture::Bloom, _) => deeper((1.0 / (3.0 * width)).sqrt()),
        (Architecture::Hearth, Some(scale)) if path == "embed.weight" => 1.0 / scale,
        (Architecture::Hearth, Some(_)) => 1.0 / (inputs as f64).sqrt(),
        _ if path == "positions.weight" => 0.01,
        // What writes to the residual stream is smaller, so that the stream's size doesn't grow with depth.
        _ => deeper(0.02),
    }
}

fn writes_to_residual(path: &str, config: &ModelConfig) -> bool {
    let down = match config.mlp_names() {
        MlpNames::Gated | MlpNames::Joined => "down_proj",
        MlpNames::Plain(_, output) => output,
    };
    let name = path.strip_suffix(".weight").and_then(|stem| stem.rsplit('.').next());
    name.is_some_and(|name| name == down || name == config.output_name())
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

    #[test]
    fn matrices_have_their_familys_deviation() {
        use crate::config::Gpt2Size;
        let gpt2 = ModelConfig::gpt2(Gpt2Size::Small, 1000);
        let neox = ModelConfig { model_type: Architecture::GptNeox, ..gpt2.clone() };
        let bloom = ModelConfig { model_type: Architecture::Bloom, ..gpt2.clone() };
        let palm = ModelConfig::palm(1000, 768, 12, 12, 64);
        let cases = [
            (&gpt2, "layers.3.attention.c_attn.weight", 0.02),
            (&gpt2, "layers.3.attention.c_proj.weight", 0.02 / 24f64.sqrt()),
            (&gpt2, "layers.3.mlp.c_proj.weight", 0.02 / 24f64.sqrt()),
            (&gpt2, "positions.weight", 0.01),
            (&neox, "layers.3.mlp.dense_h_to_4h.weight", 0.022_821_8),
            (&neox, "layers.3.attention.dense.weight", 0.006_014_1),
            (&bloom, "layers.3.attention.query_key_value.weight", 0.020_833_3),
            (&bloom, "layers.3.mlp.dense_4h_to_h.weight", 0.020_833_3 / 24f64.sqrt()),
            (&palm, "embed.weight", 1.0 / 768f64.sqrt()),
            (&palm, "layers.3.mlp.down_proj.weight", 1.0 / 768f64.sqrt()),
        ];
        for (config, path, expected) in cases {
            let draws = values(path, &[200, 768], config, 1).expect("a matrix is drawn");
            let found = (draws.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / draws.len() as f64).sqrt();
            assert!((found / expected - 1.0).abs() < 0.01, "{:?} {path}: {found}, not {expected}", config.model_type);
        }
    }
}
