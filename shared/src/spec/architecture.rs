//! A new model as a person asks for it: a family, one dial for its size, and what of it should be otherwise.

use serde::{Deserialize, Serialize};

use super::{Auto, SpecError, bounded};

/// The families a new model can be of.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// RMSNorm, RoPE, SwiGLU, grouped queries, no biases.
    #[default]
    Llama,
    /// LayerNorm, learned positions, GELU, biases.
    Gpt2,
    /// Llama's blocks with a mixture of experts, two for each token (Mixtral).
    Moe,
    /// Parallel halves, one key head (PaLM).
    Palm,
}

/// A model to be made. `depth` alone gives a sensible one: so many layers, 64 times as wide, with heads of 64 (nanochat's rule).
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ArchitectureSpec {
    pub preset: Preset,
    /// Layers, 1..=128.
    pub depth: u32,
    /// Width of the residual stream, 8..=16384. Auto: 64 times the depth.
    pub d_model: Auto<u32>,
    /// Query heads; must divide the width. Auto: heads of 64.
    pub n_heads: Auto<u32>,
    /// Key heads; must divide the query heads. Auto: a third of them, all with `gpt2`, one with `palm`.
    pub kv_heads: Auto<u32>,
    /// Width of the feed-forward half, 8..=65536. Auto: the family's own.
    pub ffn_dim: Auto<u32>,
    /// Positions the model is made for, 8..=1048576.
    pub max_positions: u32,
    /// With `moe`: experts of a layer, 2..=256.
    pub experts: u32,
    /// With `moe`: every how many layers has experts, 1..=`depth`; 2 is GLaM's alternation of dense blocks and mixtures (Du 2022).
    pub moe_every: u32,
    /// With `moe`: while training, an expert takes at most so many times its even share of a micro-batch's tokens, 0.1..=100; those
    /// beyond pass it by. None takes all.
    pub capacity_factor: Option<f64>,
}

impl Default for ArchitectureSpec {
    fn default() -> Self {
        Self {
            preset: Preset::Llama,
            depth: 4,
            d_model: Auto::Auto,
            n_heads: Auto::Auto,
            kv_heads: Auto::Auto,
            ffn_dim: Auto::Auto,
            max_positions: 1024,
            experts: 8,
            moe_every: 1,
            capacity_factor: None,
        }
    }
}

/// Every size decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub n_layers: u32,
    pub d_model: u32,
    pub n_heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    pub ffn_dim: u32,
    pub max_positions: u32,
    /// 0 without a mixture.
    pub experts: u32,
    /// Layers with experts; 0 without a mixture.
    pub moe_layers: u32,
}

/// Experts that each token of a mixture goes to.
pub const ACTIVE_EXPERTS: u32 = 2;
const HEAD: u32 = 64;

impl ArchitectureSpec {
    /// # Errors
    /// The first size no model can have, with the nearest that it can.
    pub fn sizes(&self) -> Result<Sizes, SpecError> {
        bounded("depth", self.depth, 1, 128)?;
        bounded("max_positions", self.max_positions, 8, 1 << 20)?;
        let d_model = self.d_model.or(HEAD * self.depth);
        bounded("d_model", d_model, 8, 16_384)?;
        let n_heads = self.n_heads.or_else(|| nearest(d_model, d_model.div_ceil(HEAD)));
        divides("n_heads", n_heads, d_model, "the width")?;
        let head_dim = d_model / n_heads;
        if self.preset != Preset::Gpt2 && !head_dim.is_multiple_of(2) {
            let message = format!("heads of {head_dim} can't rotate, which takes pairs: choose an even head size");
            return Err(SpecError::new("n_heads", message));
        }
        let kv_heads = self.kv_heads.or_else(|| match self.preset {
            Preset::Gpt2 => n_heads,
            Preset::Palm => 1,
            Preset::Llama | Preset::Moe => {
                (1..=n_heads.div_ceil(3)).rev().find(|kv| n_heads.is_multiple_of(*kv)).unwrap_or(1)
            }
        });
        divides("kv_heads", kv_heads, n_heads, "the query heads")?;
        if self.preset == Preset::Gpt2 && kv_heads != n_heads {
            return Err(SpecError::new("kv_heads", format!("gpt2 has as many as query heads: {n_heads}")));
        }
        // SwiGLU has three matrices where a plain block has two: 8/3 of the width keeps the count.
        let gated = (d_model * 8).div_ceil(3).next_multiple_of(32);
        let ffn_dim = self.ffn_dim.or(match self.preset {
            Preset::Llama => gated,
            // Two experts together cost what a dense block does; beside dense blocks they are as wide as those (GLaM).
            Preset::Moe if self.moe_every == 1 => (gated / ACTIVE_EXPERTS).next_multiple_of(32),
            Preset::Moe => gated,
            Preset::Gpt2 | Preset::Palm => 4 * d_model,
        });
        bounded("ffn_dim", ffn_dim, 8, 1 << 16)?;
        let (experts, moe_layers) = self.mixture()?;
        let (n_layers, max_positions) = (self.depth, self.max_positions);
        Ok(Sizes { n_layers, d_model, n_heads, kv_heads, head_dim, ffn_dim, max_positions, experts, moe_layers })
    }

    /// Refuses what only a mixture has where there is none. Apart from [`Self::sizes`], which passes over it.
    ///
    /// # Errors
    /// The first such field.
    pub fn refuse_foreign(&self) -> Result<(), SpecError> {
        let plain = Self::default();
        let of_mixture = [
            ("experts", self.experts != plain.experts),
            ("moe_every", self.moe_every != plain.moe_every),
            ("capacity_factor", self.capacity_factor != plain.capacity_factor),
        ];
        match of_mixture.into_iter().find(|(_, set)| *set && self.preset != Preset::Moe) {
            Some((field, _)) => {
                Err(SpecError::new(field, "only the preset `moe` has experts: choose it, or leave this out"))
            }
            None => Ok(()),
        }
    }

    /// Experts of a layer, and layers that have some.
    fn mixture(&self) -> Result<(u32, u32), SpecError> {
        if self.preset != Preset::Moe {
            return Ok((0, 0));
        }
        bounded("experts", self.experts, ACTIVE_EXPERTS, 256)?;
        bounded("moe_every", self.moe_every, 1, self.depth)?;
        if let Some(factor) = self.capacity_factor {
            bounded("capacity_factor", factor, 0.1, 100.0)?;
        }
        Ok((self.experts, self.depth / self.moe_every))
    }
}

fn divides(field: &str, value: u32, whole: u32, what: &str) -> Result<(), SpecError> {
    if value > 0 && whole.is_multiple_of(value) {
        return Ok(());
    }
    let message = format!("{value} does not divide {what}, {whole}: {} does", nearest(whole, value));
    Err(SpecError::new(field, message))
}

/// The divisor of `whole` that is nearest to `wanted`.
fn nearest(whole: u32, wanted: u32) -> u32 {
    (1..=whole).filter(|n| whole.is_multiple_of(*n)).min_by_key(|n| n.abs_diff(wanted)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dial_makes_a_model() {
        let sizes = |preset, depth| ArchitectureSpec { preset, depth, ..ArchitectureSpec::default() }.sizes();
        let llama = sizes(Preset::Llama, 12).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((llama.d_model, llama.n_heads, llama.kv_heads, llama.head_dim), (768, 12, 4, 64));
        assert_eq!(llama.ffn_dim, 2048);
        let gpt2 = sizes(Preset::Gpt2, 12).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((gpt2.kv_heads, gpt2.ffn_dim), (12, 3072));
        let palm = sizes(Preset::Palm, 3).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((palm.kv_heads, palm.experts), (1, 0));
        let mixture = |moe_every| ArchitectureSpec { preset: Preset::Moe, depth: 6, moe_every, ..Default::default() };
        for (moe_every, expected) in [(1, (512, 8, 6)), (2, (1024, 8, 3)), (4, (1024, 8, 1))] {
            let sizes = mixture(moe_every).sizes();
            assert_eq!(sizes.map(|sizes| (sizes.ffn_dim, sizes.experts, sizes.moe_layers)), Ok(expected));
        }
    }

    #[test]
    fn an_impossible_size_names_the_nearest_possible_one() {
        let refused = |spec: ArchitectureSpec| match spec.sizes() {
            Err(error) => error.to_string(),
            Ok(sizes) => panic!("{sizes:?}"),
        };
        let base = ArchitectureSpec { d_model: Auto::Value(96), ..ArchitectureSpec::default() };
        let heads = ArchitectureSpec { n_heads: Auto::Value(7), ..base.clone() };
        assert_eq!(refused(heads), "n_heads: 7 does not divide the width, 96: 6 does");
        let keys = ArchitectureSpec { n_heads: Auto::Value(6), kv_heads: Auto::Value(4), ..base.clone() };
        assert_eq!(refused(keys), "kv_heads: 4 does not divide the query heads, 6: 3 does");
        let odd = ArchitectureSpec { n_heads: Auto::Value(32), ..base.clone() };
        assert!(refused(odd).starts_with("n_heads: heads of 3"));
        let mixture = ArchitectureSpec { preset: Preset::Moe, depth: 4, ..base.clone() };
        let rare = ArchitectureSpec { moe_every: 5, ..mixture.clone() };
        assert_eq!(refused(rare), "moe_every: 5 is not between 1 and 4");
        let empty = ArchitectureSpec { capacity_factor: Some(0.0), ..mixture };
        assert!(refused(empty).starts_with("capacity_factor"));
        assert!(refused(ArchitectureSpec { depth: 0, ..base }).starts_with("depth"));
    }
}
