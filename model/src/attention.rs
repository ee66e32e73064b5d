//! `softmax(Q Kᵀ / √E + mask) V`, the only attention call of the model (Vaswani 2017; grouped queries: Ainslie 2023).

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData, activation};

use crate::cache::KvCache;
use crate::config::{Architecture, ModelConfig};
use crate::kernels;
use crate::projection::{Projection, Site};
use crate::rope::Rotation;
use crate::trace::LayerTrace;

/// The attention half of a block.
#[derive(Module, Debug)]
pub struct Attention {
    pub inputs: Inputs,
    /// `[D, H·E]`; GPT-2's name for it is `c_proj`.
    pub o_proj: Projection,
    #[module(skip)]
    heads: Heads,
}

/// Where queries, keys and values come from.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a few of them live as long as the model, each with megabytes behind it")]
pub enum Inputs {
    Split(SplitInputs),
    Fused(FusedInputs),
}

#[derive(Module, Debug)]
pub struct SplitInputs {
    /// `[H·E, D]`
    pub q_proj: Projection,
    /// `[K·E, D]`
    pub k_proj: Projection,
    /// `[K·E, D]`
    pub v_proj: Projection,
}

/// GPT-2 has one matrix for all three; kept whole, so that an adapter on it is the one PEFT knows.
#[derive(Module, Debug)]
pub struct FusedInputs {
    /// `[H·E + 2·K·E, D]`
    pub c_attn: Projection,
}

#[derive(Clone, Copy, Debug)]
struct Heads {
    /// `H`
    q: usize,
    /// `K`
    kv: usize,
    /// `E`
    size: usize,
}

/// What every layer's attention of one forward pass shares.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub rotation: Option<Rotation>,
    pub mask: Mask,
    pub cache: Option<&'a mut KvCache>,
    pub traced: bool,
}

/// Which keys a query may see.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    /// `B`
    pub batch: usize,
    /// `T`
    pub queries: usize,
    /// Keys in front of the first query (held by a cache): key `j` and query `i` are the same token when `j = past + i`.
    pub past: usize,
    pub window: Option<usize>,
    /// Padding keys in front of each row; empty is none.
    pub left_pad: Vec<usize>,
    /// `B` rows of `past + T` document numbers; empty is one document.
    pub segments: Vec<Vec<u32>>,
    /// The same as numbers to add to the scores, `[B or 1, 1, T, S]`; only made when somebody needs it.
    pub(crate) bias: Option<Tensor<4>>,
}

/// What a hidden key's score becomes. Not infinity: a row of padding sees nothing and must still be a number.
const HIDDEN: f32 = -1e30;

impl Mask {
    /// The first key query `i` of row `b` may see; it sees all up to and including its own.
    pub fn first_key(&self, b: usize, i: usize) -> usize {
        let first = self.document_start(b, i);
        match self.window {
            Some(window) => first.max((self.past + i + 1).saturating_sub(window)),
            None => first,
        }
    }

    /// The key that stands at position 0 for query `i` of row `b`: behind the padding, at its document's start.
    pub fn document_start(&self, b: usize, i: usize) -> usize {
        let own = self.past + i;
        let padded = self.left_pad.get(b).copied().unwrap_or(0);
        let Some(row) = self.segments.get(b) else {
            return padded;
        };
        let other = row[..own].iter().rposition(|segment| *segment != row[own]);
        other.map_or(padded, |last_other| padded.max(last_other + 1))
    }

    /// The same rules without the tensor made from them.
    pub(crate) fn without_bias(&self) -> Self {
        Self { left_pad: self.left_pad.clone(), segments: self.segments.clone(), bias: None, ..*self }
    }

    /// `[B or 1, 1, T, S]`: 0 where a query sees the key, else a very low number.
    fn bias(&mut self, device: &Device) -> Tensor<4> {
        if let Some(bias) = &self.bias {
            return bias.clone();
        }
        let rows = if self.left_pad.is_empty() && self.segments.is_empty() { 1 } else { self.batch };
        let keys = self.past + self.queries;
        let mut values = vec![HIDDEN; rows * self.queries * keys];
        for b in 0..rows {
            for i in 0..self.queries {
                let row = (b * self.queries + i) * keys;
                let own = self.past + i;
                let first = self.first_key(b, i);
                if first <= own {
                    values[row + first..=row + own].fill(0.0);
                }
            }
        }
        let bias = Tensor::from_data(TensorData::new(values, [rows, 1, self.queries, keys]), device);
        self.bias = Some(bias.clone());
        bias
    }
}

impl Attention {
    pub fn empty(config: &ModelConfig, device: &Device) -> Self {
        let (d, q, kv) = (config.d_model, config.q_width(), config.kv_width());
        let bias = config.attention_bias;
        let inputs = if config.model_type == Architecture::Gpt2 {
            Inputs::Fused(FusedInputs { c_attn: Projection::empty(d, q + 2 * kv, bias, device) })
        } else {
            Inputs::Split(SplitInputs {
                q_proj: Projection::empty(d, q, bias, device),
                k_proj: Projection::empty(d, kv, bias, device),
                v_proj: Projection::empty(d, kv, bias, device),
            })
        };
        Self {
            inputs,
            o_proj: Projection::empty(q, d, config.output_bias, device),
            heads: Heads { q: config.n_heads, kv: config.kv_heads, size: config.head_dim },
        }
    }

    /// `[B, T, D]` → `[B, T, D]`, and what to remember of it when the context is traced.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        context: &mut Context<'_>,
        site: Site<'_>,
    ) -> (Tensor<3>, Option<Traced>) {
        let [batch, time, _] = x.dims();
        let (q, k, v) = self.inputs(x, site);
        let heads = |x: Tensor<3>, n| x.reshape([batch, time, n, self.heads.size]).swap_dims(1, 2);
        let mut q = heads(q, self.heads.q); // [B, H, T, E]
        let mut k = heads(k, self.heads.kv); // [B, K, T, E]
        let mut v = heads(v, self.heads.kv); // [B, K, T, E]
        if let Some(rotation) = &context.rotation {
            q = kernels::rope(q, rotation);
            k = kernels::rope(k, rotation);
        }
        if let Some(cache) = &mut context.cache {
            (k, v) = cache.append(site.layer, k, v); // [B, K, S, E]
        }
        let mask = &mut context.mask;
        let fused = if context.traced {
            None
        } else {
            kernels::attention(&q, &k, &v, mask) // [B, T, H·E]
        };
        let (y, traced) = match fused {
            Some(y) => (y, None),
            None => {
                let steps = attend_in_steps(q, k, v, mask);
                let y = steps.output.clone().swap_dims(1, 2); // [B, T, H, E]
                let y = y.reshape([batch, time, self.heads.q * self.heads.size]); // [B, T, H·E]
                (y, context.traced.then_some(steps))
            }
        };
        let name = match self.inputs {
            Inputs::Split(_) => "o_proj",
            Inputs::Fused(_) => "attention.c_proj",
        };
        (self.o_proj.forward(y, site.named(name)), traced)
    }

    fn inputs(&self, x: Tensor<3>, site: Site<'_>) -> (Tensor<3>, Tensor<3>, Tensor<3>) {
        match &self.inputs {
            Inputs::Split(split) => (
                split.q_proj.forward(x.clone(), site.named("q_proj")),
                split.k_proj.forward(x.clone(), site.named("k_proj")),
                split.v_proj.forward(x, site.named("v_proj")),
            ),
            Inputs::Fused(fused) => {
                let all = fused.c_attn.forward(x, site.named("c_attn"));
                let (q, kv) = (self.heads.q * self.heads.size, self.heads.kv * self.heads.size);
                (all.clone().narrow(2, 0, q), all.clone().narrow(2, q, kv), all.narrow(2, q + kv, kv))
            }
        }
    }

    /// Short name and projection, in the order of the forward pass.
    pub fn projections(&self) -> Vec<(&'static str, &Projection)> {
        match &self.inputs {
            Inputs::Split(split) => vec![
                ("q_proj", &split.q_proj),
                ("k_proj", &split.k_proj),
                ("v_proj", &split.v_proj),
                ("o_proj", &self.o_proj),
            ],
            Inputs::Fused(fused) => vec![("c_attn", &fused.c_attn), ("c_proj", &self.o_proj)],
        }
    }

    pub fn projections_mut(&mut self) -> Vec<(&'static str, &mut Projection)> {
        match &mut self.inputs {
            Inputs::Split(split) => vec![
                ("q_proj", &mut split.q_proj),
                ("k_proj", &mut split.k_proj),
                ("v_proj", &mut split.v_proj),
                ("o_proj", &mut self.o_proj),
            ],
            Inputs::Fused(fused) => {
                vec![("c_attn", &mut fused.c_attn), ("c_proj", &mut self.o_proj)]
            }
        }
    }
}

/// The steps of one attention call.
#[derive(Debug)]
pub(crate) struct Traced {
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    scores: Tensor<4>,
    weights: Tensor<4>,
    /// `[B, H, T, E]`
    output: Tensor<4>,
}

impl Traced {
    /// `[B, H, T, E]`
    #[cfg(test)]
    pub(crate) fn output(self) -> Tensor<4> {
        self.output
    }

    pub(crate) fn finish(self, attention: Tensor<3>, residual: Tensor<3>) -> LayerTrace {
        LayerTrace {
            q: self.q,
            k: self.k,
            v: self.v,
            scores: self.scores,
            weights: self.weights,
            output: self.output,
            attention,
            residual,
        }
    }
}

/// Attention with every intermediate result: what the labs show, and what the fused kernels are tested against.
///
/// `q` is `[B, H, T, E]`; `k` and `v` are `[B, K, S, E]`.
pub(crate) fn attend_in_steps(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: &mut Mask) -> Traced {
    let [b, h, t, e] = q.dims();
    let [_, kv, s, _] = k.dims();
    // Queries of one group share a key head: line the group up along time, and no key is copied.
    let group = h / kv;
    let grouped = q.clone().reshape([b, kv, group * t, e]);
    let scores = grouped.matmul(k.clone().swap_dims(2, 3)) / (e as f64).sqrt(); // [B, K, G·T, S]
    let scores = scores.reshape([b, h, t, s]);
    let bias = mask.bias(&q.device());
    let weights = activation::softmax(scores.clone() + bias, 3); // [B, H, T, S]
    let output = weights.clone().reshape([b, kv, group * t, s]).matmul(v.clone()); // [B, K, G·T, E]
    Traced { q, k, v, scores, weights, output: output.reshape([b, h, t, e]) }
}
