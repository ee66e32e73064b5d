//! How much a step computes.

use crate::config::ModelConfig;

/// Floating point operations for each token of a training step, in rows of `length` tokens: of the products the model consists of, what
/// gradient checkpointing computes again left out (Chowdhery 2022, appendix B, with causal attention counted as the half it is).
/// A weight that is not trained costs no gradient of its own.
pub fn flops_per_token(config: &ModelConfig, length: f64, all_trained: bool) -> f64 {
    let (d, f) = (config.d_model as f64, config.ffn_dim as f64);
    let (q, kv) = (config.q_width() as f64, config.kv_width() as f64);
    let mlp = if config.mlp_gated { 3.0 } else { 2.0 } * d * f;
    let layer = |i: usize| {
        let active = config.moe_in(i).map_or(1.0, |moe| moe.top_k as f64);
        2.0 * d * (q + kv) + active * mlp
    };
    let weights = (0..config.n_layers).map(layer).sum::<f64>() + d * config.vocab_size as f64;
    let products = 2.0 * weights;
    // Queries with keys, and weights with values, each over half of the row.
    let attention = config.n_layers as f64 * 2.0 * 2.0 * q * length / 2.0;
    let backward = if all_trained { 2.0 * products } else { products } + 2.0 * attention;
    products + attention + backward
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PaLM's appendix counts 6 for each weight and 12 · layers · width · length for attention, which is not halved there.
    #[test]
    fn flops_are_the_papers() {
        let config = ModelConfig::llama(100, 32, 2, (4, 4), 64);
        let weights = 2.0 * (4.0 * 32.0 * 32.0 + 3.0 * 32.0 * config.ffn_dim as f64) + 32.0 * 100.0;
        let attention = 12.0 * 2.0 * 32.0 * 50.0 / 2.0;
        assert_eq!(flops_per_token(&config, 50.0, true), 6.0 * weights + attention);
        assert_eq!(flops_per_token(&config, 50.0, false), 4.0 * weights + attention);
    }
}
