//! `softmax(Q Kᵀ / √E + mask) V`, the only attention call of the model (Vaswani 2017; grouped queries: Ainslie 2023).

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData, activation};

use crate::cache::KvCache;
use crate::config::{InputNames, ModelConfig, Position};
use crate::kernels;
use crate::layers::NormLayer;
use crate::projection::{ParamMut, ParamRef, Projection, Site};
use crate::rope::Rotation;
use crate::trace::LayerTrace;
use crate::virtual_tokens::Prefix;

/// The attention half of a block.
#[derive(Module, Debug)]
pub struct Attention {
    pub inputs: Inputs,
    /// `[E]`, of every query and key head, where the model normalises them
    pub qk_norm: Option<QkNorm>,
    /// `[D, H·E]`, under its family's name: `o_proj`, `c_proj`, `dense`, `out_proj`
    pub o_proj: Projection,
    /// In front of every text.
    pub prefix: Option<Prefix>,
    #[module(skip)]
    kind: Kind,
}

/// Where queries, keys and values come from.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a few of them live as long as the model, each with megabytes behind it")]
pub enum Inputs {
    Split(SplitInputs),
    Joined(JoinedInputs),
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

/// One matrix for all three; kept whole, so that an adapter on it is the one PEFT knows.
#[derive(Module, Debug)]
pub struct JoinedInputs {
    /// `[H·E + 2·K·E, D]`
    pub all: Projection,
    #[module(skip)]
    name: &'static str,
    /// Query, key and value of one head lie together, not all queries.
    #[module(skip)]
    by_head: bool,
}

/// Norms of queries and keys.
#[derive(Module, Debug)]
pub struct QkNorm {
    pub q: NormLayer,
    pub k: NormLayer,
}

/// What one layer's attention is, weights aside.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// `H`
    q: usize,
    /// `K`
    kv: usize,
    /// `E`
    size: usize,
    rotates: bool,
    /// It has the model's sliding window.
    slides: bool,
    output_name: &'static str,
    /// Of the weights, while training.
    dropout: f32,
}

/// What every layer's attention of one forward pass shares.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub rotation: Option<Rotation>,
    pub mask: Mask,
    /// The same with the model's sliding window.
    pub windowed: Mask,
    pub rule: ScoreRule,
    pub cache: Option<&'a mut KvCache>,
    /// No earlier call has put anything into the cache.
    pub begins: bool,
    pub traced: bool,
}

/// How the product of a query and a key becomes a score, before hidden keys are masked.
#[derive(Clone, Debug)]
pub(crate) struct ScoreRule {
    /// The product is multiplied by this.
    pub scale: f32,
    /// Then it becomes `cap · tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// Then `slope · distance` is taken away: `H` slopes.
    pub slopes: Option<Arc<[f32]>>,
}

impl ScoreRule {
    pub fn new(config: &ModelConfig) -> Self {
        Self {
            scale: (1.0 / config.query_scalar.unwrap_or(config.head_dim as f64).sqrt()) as f32,
            softcap: config.attention_softcap.map(|cap| cap as f32),
            slopes: (config.position == Position::Alibi).then(|| alibi_slopes(config.n_heads)),
        }
    }

    /// `1 / √E` and nothing else.
    #[cfg(test)]
    pub fn plain(size: usize) -> Self {
        Self { scale: 1.0 / (size as f32).sqrt(), softcap: None, slopes: None }
    }

    /// A scale is all there is.
    pub fn is_linear(&self) -> bool {
        self.softcap.is_none() && self.slopes.is_none()
    }
}

/// `2^(-8h/n)` for `n` heads; where `n` is no power of two, the missing ones come from between those of `2n` (Press 2021 and
/// its code).
fn alibi_slopes(heads: usize) -> Arc<[f32]> {
    let power = 1usize << heads.ilog2();
    let slope = |i: usize, n: usize| 2f64.powf(-8.0 * i as f64 / n as f64) as f32;
    let between = (0..heads - power).map(|i| slope(2 * i + 1, 2 * power));
    (1..=power).map(|i| slope(i, power)).chain(between).collect()
}

/// Which keys a query may see.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    /// `B`
    pub batch: usize,
    /// `T`
    pub queries: usize,
    /// Keys in front of the first query (held by a cache, or a prefix): key `j` and query `i` are the same token when `j = past + i`.
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
    pub fn empty(config: &ModelConfig, layer: usize, device: &Device) -> Self {
        let (d, q, kv) = (config.d_model, config.q_width(), config.kv_width());
        let bias = config.attention_bias;
        let joined = |name, by_head| {
            Inputs::Joined(JoinedInputs { all: Projection::empty(d, q + 2 * kv, bias, device), name, by_head })
        };
        let inputs = match config.input_names() {
            InputNames::Joined(name) => joined(name, false),
            InputNames::ByHead(name) => joined(name, true),
            InputNames::Split => Inputs::Split(SplitInputs {
                q_proj: Projection::empty(d, q, bias, device),
                k_proj: Projection::empty(d, kv, bias, device),
                v_proj: Projection::empty(d, kv, bias, device),
            }),
        };
        let norm = || NormLayer::rms(config.head_dim, config, device);
        Self {
            inputs,
            qk_norm: config.qk_norm.then(|| QkNorm { q: norm(), k: norm() }),
            o_proj: Projection::empty(q, d, config.output_bias, device),
            prefix: None,
            kind: Kind {
                q: config.n_heads,
                kv: config.kv_heads,
                size: config.head_dim,
                rotates: config.rotates(layer),
                slides: config.window(layer).is_some(),
                output_name: config.output_name(),
                dropout: config.dropout.attention,
            },
        }
    }

    /// The share of weights that is dropped while training.
    pub(crate) fn set_dropout(&mut self, rate: f32) {
        self.kind.dropout = rate;
    }

    /// Whether it has the model's sliding window.
    pub(crate) fn set_slides(&mut self, slides: bool) {
        self.kind.slides = slides;
    }

    /// `[B, T, D]` → `[B, T, D]`, and what to remember of it when the context is traced.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        context: &mut Context<'_>,
        site: Site<'_>,
    ) -> (Tensor<3>, Option<Traced>) {
        let [batch, time, _] = x.dims();
        let (mut q, mut k, v) = self.inputs(x, site); // [B, T, H or K, E]
        if let Some(norm) = &self.qk_norm {
            q = norm.q.forward_heads(q);
            k = norm.k.forward_heads(k);
        }
        let mut q = q.swap_dims(1, 2); // [B, H, T, E]
        let mut k = k.swap_dims(1, 2); // [B, K, T, E]
        let mut v = v.swap_dims(1, 2); // [B, K, T, E]
        if let Some(rotation) = context.rotation.as_ref().filter(|_| self.kind.rotates) {
            q = kernels::rope(q, rotation);
            k = kernels::rope(k, rotation);
        }
        if let (Some(prefix), true) = (&self.prefix, context.begins) {
            (k, v) = prefix.in_front(k, v, &context.mask.left_pad);
        }
        if let Some(cache) = &mut context.cache {
            (k, v) = cache.append(site.layer, k, v); // [B, K, S, E]
        }
        let mask = if self.kind.slides { &mut context.windowed } else { &mut context.mask };
        let drops = site.dropout.is_some() && self.kind.dropout > 0.0;
        let fused = if context.traced || drops || site.rounding.is_some() {
            None
        } else {
            kernels::attention(&q, &k, &v, mask, &context.rule) // [B, T, H·E]
        };
        let (y, traced) = match fused {
            Some(y) => (y, None),
            None => {
                let steps = attend_in_steps([q, k, v], mask, &context.rule, (self.kind.dropout, site));
                let y = steps.output.clone().swap_dims(1, 2); // [B, T, H, E]
                let y = y.reshape([batch, time, self.kind.q * self.kind.size]); // [B, T, H·E]
                (y, context.traced.then_some(steps))
            }
        };
        // GPT-2 has two matrices of that name.
        let name = if self.kind.output_name == "c_proj" { "attention.c_proj" } else { self.kind.output_name };
        (self.o_proj.forward(y, site.named(name)), traced)
    }

    /// `[B, T, H, E]`, `[B, T, K, E]` twice.
    fn inputs(&self, x: Tensor<3>, site: Site<'_>) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
        let [batch, time, _] = x.dims();
        let Kind { q: q_heads, kv: kv_heads, size, .. } = self.kind;
        let heads = |x: Tensor<3>, n| x.reshape([batch, time, n, size]);
        match &self.inputs {
            Inputs::Split(split) => (
                heads(split.q_proj.forward(x.clone(), site.named("q_proj")), q_heads),
                heads(split.k_proj.forward(x.clone(), site.named("k_proj")), kv_heads),
                heads(split.v_proj.forward(x, site.named("v_proj")), kv_heads),
            ),
            Inputs::Joined(joined) => {
                let all = joined.all.forward(x, site.named(joined.name));
                if joined.by_head {
                    let all = all.reshape([batch, time, q_heads, 3 * size]);
                    let part = |i: usize| all.clone().narrow(3, i * size, size);
                    return (part(0), part(1), part(2));
                }
                let (q, kv) = (q_heads * size, kv_heads * size);
                let part = |from, width, n| heads(all.clone().narrow(2, from, width), n);
                (part(0, q, q_heads), part(q, kv, kv_heads), part(q + kv, kv, kv_heads))
            }
        }
    }

    /// Short name and projection, in the order of the forward pass.
    pub fn projections(&self) -> Vec<(&'static str, &Projection)> {
        let mut out = match &self.inputs {
            Inputs::Split(split) => {
                vec![("q_proj", &split.q_proj), ("k_proj", &split.k_proj), ("v_proj", &split.v_proj)]
            }
            Inputs::Joined(joined) => vec![(joined.name, &joined.all)],
        };
        out.push((self.kind.output_name, &self.o_proj));
        out
    }

    pub fn projections_mut(&mut self) -> Vec<(&'static str, &mut Projection)> {
        projections_mut(&mut self.inputs, &mut self.o_proj, self.kind.output_name)
    }

    pub(crate) fn params<'a>(&'a self, path: &str, out: &mut Vec<(String, ParamRef<'a>)>) {
        for (name, projection) in self.projections() {
            projection.params(&format!("{path}.{name}"), out);
        }
        if let Some(norm) = &self.qk_norm {
            norm.q.params(&format!("{path}.q_norm"), out);
            norm.k.params(&format!("{path}.k_norm"), out);
        }
        if let Some(prefix) = &self.prefix {
            out.push((format!("{path}.prefix.keys"), ParamRef::Matrix(&prefix.keys)));
            out.push((format!("{path}.prefix.values"), ParamRef::Matrix(&prefix.values)));
        }
    }

    pub(crate) fn params_mut<'a>(&'a mut self, path: &str, out: &mut Vec<(String, ParamMut<'a>)>) {
        let Self { inputs, qk_norm, o_proj, prefix, kind } = self;
        for (name, projection) in projections_mut(inputs, o_proj, kind.output_name) {
            projection.params_mut(&format!("{path}.{name}"), out);
        }
        if let Some(norm) = qk_norm {
            norm.q.params_mut(&format!("{path}.q_norm"), out);
            norm.k.params_mut(&format!("{path}.k_norm"), out);
        }
        if let Some(prefix) = prefix {
            out.push((format!("{path}.prefix.keys"), ParamMut::Matrix(&mut prefix.keys)));
            out.push((format!("{path}.prefix.values"), ParamMut::Matrix(&mut prefix.values)));
        }
    }
}

fn projections_mut<'a>(
    inputs: &'a mut Inputs,
    o_proj: &'a mut Projection,
    output_name: &'static str,
) -> Vec<(&'static str, &'a mut Projection)> {
    let mut out = match inputs {
        Inputs::Split(split) => {
            vec![("q_proj", &mut split.q_proj), ("k_proj", &mut split.k_proj), ("v_proj", &mut split.v_proj)]
        }
        Inputs::Joined(joined) => vec![(joined.name, &mut joined.all)],
    };
    out.push((output_name, o_proj));
    out
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
/// `q` is `[B, H, T, E]`; `k` and `v` are `[B, K, S, E]`. Weights are dropped with probability `rate` where the site is in training.
pub(crate) fn attend_in_steps(
    [q, k, v]: [Tensor<4>; 3],
    mask: &mut Mask,
    rule: &ScoreRule,
    (rate, site): (f32, Site<'_>),
) -> Traced {
    let [b, h, t, e] = q.dims();
    let [_, kv, s, _] = k.dims();
    // Queries of one group share a key head: line the group up along time, and no key is copied.
    let group = h / kv;
    let grouped = q.clone().reshape([b, kv, group * t, e]);
    let product = |x: Tensor<4>, y: Tensor<4>| match &site.rounding {
        Some(rounding) => rounding.output(rounding.input(x).matmul(rounding.input(y))),
        None => x.matmul(y),
    };
    let scores = product(grouped, k.clone().swap_dims(2, 3)) * rule.scale; // [B, K, G·T, S]
    let mut scores = scores.reshape([b, h, t, s]);
    if let Some(cap) = rule.softcap {
        scores = (scores / cap).tanh() * cap;
    }
    if let Some(slopes) = &rule.slopes {
        scores = scores + distances(slopes, mask.past, [t, s], &q.device());
    }
    let bias = mask.bias(&q.device());
    let weights = activation::softmax(scores.clone() + bias, 3); // [B, H, T, S]
    let kept = match site.dropout {
        Some(key) if rate > 0.0 => kernels::dropout_weights(weights.clone(), rate, *key, site),
        _ => weights.clone(),
    };
    let output = product(kept.reshape([b, kv, group * t, s]), v.clone()); // [B, K, G·T, E]
    Traced { q, k, v, scores, weights, output: output.reshape([b, h, t, e]) }
}

/// `[1, H, T, S]`: what ALiBi adds to the scores. Keys after the query are masked anyway.
fn distances(slopes: &[f32], past: usize, [t, s]: [usize; 2], device: &Device) -> Tensor<4> {
    let mut values = Vec::with_capacity(slopes.len() * t * s);
    for slope in slopes {
        for i in 0..t {
            values.extend((0..s).map(|j| -slope * (past + i).saturating_sub(j) as f32));
        }
    }
    Tensor::from_data(TensorData::new(values, [1, slopes.len(), t, s]), device)
}

#[cfg(test)]
mod tests {
    use hearth_shared::spec::Precision;

    use super::*;
    use crate::checkpoint::safetensors::parse;
    use crate::projection::floats;
    use crate::rounding::Rounding;

    /// As the paper's code gives them for 8 and 12 heads.
    #[test]
    fn slopes_are_the_papers() {
        assert_eq!(alibi_slopes(8).to_vec(), (1..=8).map(|i| 0.5f32.powi(i)).collect::<Vec<_>>());
        let twelve = alibi_slopes(12);
        assert_eq!(twelve[..8], alibi_slopes(8)[..]);
        let between: Vec<f32> = [0.5f64, 1.5, 2.5, 3.5].map(|p| 0.5f64.powf(p) as f32).to_vec();
        assert_eq!(twelve[8..], between);
    }

    /// Causal attention of two rows, four query heads over two key heads, and its gradients, between the casts that torch makes in
    /// `tests/golden/make_precision.py`. Sums in another order may round to the number beside, `unit` relative.
    #[test]
    fn rounded_attention_is_that_of_torchs_casts() {
        let bytes = include_bytes!("../../tests/golden/precision/products.safetensors");
        let file = parse("products.safetensors", bytes).expect("the file is committed");
        let device = crate::device::cpu().autodiff();
        for (precision, name, unit) in [
            (Precision::Bf16, "bf16", 1.0 / 128.0),
            (Precision::F16, "f16", 1.0 / 1024.0),
            (Precision::Fp8, "fp8", 1.0 / 128.0),
        ] {
            let numbers = |key: &str| {
                let weight = file.get(&format!("attention/{name}/{key}")).expect("the script writes it");
                TensorData::new(weight.to_f32(), weight.shape.clone())
            };
            // Of result and gradients, how many are the reference's to the bit, and how many there are.
            let compare = |rounding: Option<Rounding>| {
                let inputs = ["q", "k", "v"].map(|key| Tensor::<4>::from_data(numbers(key), &device).require_grad());
                let mut mask = Mask { batch: 2, queries: 7, ..Mask::default() };
                let site = Site { rounding, ..Site::default() };
                let output = attend_in_steps(inputs.clone(), &mut mask, &ScoreRule::plain(8), (0.0, site)).output();
                let tape = (output.clone() * Tensor::from_data(numbers("dy"), &device)).sum().backward();
                let [q, k, v] = inputs.map(|x| x.grad(&tape).expect("every input is trained"));
                let (mut equal, mut all) = (0, 0);
                for (key, got) in [("y", output.inner()), ("dq", q), ("dk", k), ("dv", v)] {
                    for (a, b) in floats(got.into_data()).into_iter().zip(floats(numbers(key))) {
                        let near = (a - b).abs() <= unit * b.abs().max(0.25);
                        assert!(near || rounding.is_none(), "{name} {key}: {a} for {b}");
                        equal += usize::from(a == b);
                        all += 1;
                    }
                }
                (equal, all)
            };
            let (equal, all) = compare(Rounding::of(precision));
            assert!(equal * 10 >= all * 9, "{name}: {equal} of {all} equal");
            let (plain, _) = compare(None);
            assert!(plain * 10 < all, "{name}: {plain} of {all} need no rounding");
        }
    }
}
