//! The decoder, top to bottom. It knows no adapter, quantiser or parallel axis: those are applied to its projections from
//! outside.
//!
//! Shapes: `B` batch, `T` time (positions), `D` model width, `H` heads, `K` key/value heads, `E` head size,
//! `F` feed-forward width, `V` vocabulary.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData, module, s};

use crate::attention::{Attention, Context, Mask, ScoreRule};
use crate::cache::KvCache;
use crate::config::{BlockKind, Dropout, ModelConfig, NormPlacement, Position, RopeScaling};
use crate::layers::NormLayer;
use crate::moe::{FeedForward, Routing};
use crate::projection::{DropoutKey, ParamMut, ParamRef, Projection, Site, zeros_when_used};
use crate::rope::Rotation;
use crate::rounding::Rounding;
use crate::trace::Trace;
use crate::virtual_tokens::{self, Prefix};
use crate::{init, kernels};

/// A decoder-only language model.
#[derive(Module, Debug)]
pub struct Transformer {
    /// `[V, D]`
    pub embed: Param<Tensor<2>>,
    /// `[P, D]`, embeddings in front of every text
    pub prompt: Option<Param<Tensor<2>>>,
    /// `[max_positions, D]`, only with learned positions
    pub positions: Option<Param<Tensor<2>>>,
    pub embed_norm: Option<NormLayer>,
    pub layers: Vec<Block>,
    pub norm: NormLayer,
    /// `[V, D]`; none when the embedding is the head.
    pub head: Option<Projection>,
    /// `[V]`; the bias of a tied head
    pub head_bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    config: ModelConfig,
}

/// `x + attention(norm(x))`, then `x + mlp(norm(x))`; or both halves of the same `x`. What a half computes may go through a norm of
/// its own before it is added.
#[derive(Module, Debug)]
pub struct Block {
    pub attention_norm: NormLayer,
    pub attention: Attention,
    pub attention_post_norm: Option<NormLayer>,
    /// None where both halves read through one norm.
    pub mlp_norm: Option<NormLayer>,
    pub mlp: FeedForward,
    pub mlp_post_norm: Option<NormLayer>,
    #[module(skip)]
    parallel: bool,
    /// Of what each half adds, while training.
    #[module(skip)]
    dropout: f32,
}

/// What a forward pass is given besides tokens. The default is a plain batch of full rows.
#[derive(Debug, Default)]
pub struct Forward<'a> {
    /// `B` counts of padding tokens in front of each row. With a cache: for its first call only, the cache remembers. Behind virtual
    /// tokens the first call holds all padding.
    pub left_pad: Option<&'a [usize]>,
    /// Packing: `B` rows of `T` document numbers. No attention across documents; positions restart with each.
    pub segments: Option<&'a [Vec<u32>]>,
    /// Keys and values of earlier calls; this call's are added.
    pub cache: Option<&'a mut KvCache>,
    /// Logits of the last position only.
    pub last_only: bool,
    /// Filled with every intermediate result.
    pub trace: Option<&'a mut Trace>,
    /// Training with dropout; none drops nothing.
    pub dropout: Option<DropoutKey>,
    /// Training in a shorter number format.
    pub rounding: Option<Rounding>,
    /// Training with experts: their capacity holds, and what they were sent is kept here.
    pub routing: Option<&'a mut Routing>,
}

impl Block {
    fn empty(config: &ModelConfig, layer: usize, device: &Device) -> Self {
        let norm = || NormLayer::empty(config, device);
        let post = config.norm_placement == NormPlacement::PreAndPost;
        Self {
            attention_norm: norm(),
            attention: Attention::empty(config, layer, device),
            attention_post_norm: post.then(norm),
            mlp_norm: (config.block != BlockKind::ParallelShared).then(norm),
            mlp: FeedForward::empty(config, layer, device),
            mlp_post_norm: post.then(norm),
            parallel: config.block != BlockKind::Serial,
            dropout: config.dropout.residual,
        }
    }

    /// `[B, T, D]` → `[B, T, D]`; the trace is filled where there is one.
    fn forward(
        &self,
        x: Tensor<3>,
        context: &mut Context<'_>,
        site: Site<'_>,
        routing: Option<&mut Routing>,
        trace: Option<&mut Trace>,
    ) -> Tensor<3> {
        let add = |norm: &Option<NormLayer>, y: Tensor<3>, name| {
            let y = norm.as_ref().map_or(y.clone(), |norm| norm.forward(y));
            dropped(y, self.dropout, site.named(name))
        };
        let normed = self.attention_norm.forward(x.clone());
        let (attended, traced) = self.attention.forward(normed.clone(), context, site);
        let attended = add(&self.attention_post_norm, attended, "attention");
        let after = x.clone() + attended.clone();
        let input = match &self.mlp_norm {
            None => normed,
            Some(norm) => norm.forward(if self.parallel { x } else { after.clone() }),
        };
        let fed = add(&self.mlp_post_norm, self.mlp.forward(input, site, routing), "mlp");
        let y = after + fed;
        if let (Some(trace), Some(traced)) = (trace, traced) {
            trace.layers.push(traced.finish(attended, y.clone()));
        }
        y
    }

    fn params<'a>(&'a self, path: &str, out: &mut Vec<(String, ParamRef<'a>)>) {
        let optional = |norm: &'a Option<NormLayer>, name: &str, out: &mut Vec<(String, ParamRef<'a>)>| {
            if let Some(norm) = norm {
                norm.params(&format!("{path}.{name}"), out);
            }
        };
        self.attention_norm.params(&format!("{path}.attention_norm"), out);
        self.attention.params(&format!("{path}.attention"), out);
        optional(&self.attention_post_norm, "attention_post_norm", out);
        optional(&self.mlp_norm, "mlp_norm", out);
        self.mlp.params(&format!("{path}.mlp"), out);
        optional(&self.mlp_post_norm, "mlp_post_norm", out);
    }

    fn params_mut<'a>(&'a mut self, path: &str, out: &mut Vec<(String, ParamMut<'a>)>) {
        let optional = |norm: &'a mut Option<NormLayer>, name: &str, out: &mut Vec<(String, ParamMut<'a>)>| {
            if let Some(norm) = norm {
                norm.params_mut(&format!("{path}.{name}"), out);
            }
        };
        self.attention_norm.params_mut(&format!("{path}.attention_norm"), out);
        self.attention.params_mut(&format!("{path}.attention"), out);
        optional(&mut self.attention_post_norm, "attention_post_norm", out);
        optional(&mut self.mlp_norm, "mlp_norm", out);
        self.mlp.params_mut(&format!("{path}.mlp"), out);
        optional(&mut self.mlp_post_norm, "mlp_post_norm", out);
    }
}

/// `x` with some of it dropped, where the site is in training.
fn dropped(x: Tensor<3>, rate: f32, site: Site<'_>) -> Tensor<3> {
    match site.dropout {
        Some(key) if rate > 0.0 => kernels::dropout(x, rate, *key, site),
        _ => x,
    }
}

impl Transformer {
    /// A model with random weights, drawn as its family's paper says (the table is in `init`). Each parameter's draw
    /// depends on the seed and its path only.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Self {
        let mut model = Self::empty(config, device);
        for (path, mut param) in model.params_mut() {
            let shape = param.shape();
            if let Some(values) = init::values(&path, &shape, config, seed) {
                param.set(values);
            }
        }
        model
    }

    /// A model whose weights are still to be loaded. Costs no memory until then.
    pub fn empty(config: &ModelConfig, device: &Device) -> Self {
        let d = config.d_model;
        // A head of its own carries its bias itself.
        let tied_bias = config.tied && config.head_bias;
        Self {
            embed: zeros_when_used([config.vocab_size, d], device),
            prompt: None,
            positions: (config.position == Position::Learned)
                .then(|| zeros_when_used([config.max_positions, d], device)),
            embed_norm: config.embedding_norm.then(|| NormLayer::empty(config, device)),
            layers: (0..config.n_layers).map(|layer| Block::empty(config, layer, device)).collect(),
            norm: NormLayer::empty(config, device),
            head: (!config.tied).then(|| Projection::empty(d, config.vocab_size, config.head_bias, device)),
            head_bias: tied_bias.then(|| zeros_when_used([config.vocab_size], device)),
            config: config.clone(),
        }
    }

    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Drops by other rates from now on.
    pub fn set_dropout(&mut self, rates: Dropout) {
        self.config.dropout = rates;
        for block in &mut self.layers {
            block.dropout = rates.residual;
            block.attention.set_dropout(rates.attention);
        }
    }

    /// Stretches the rotation in another way from now on; a model that doesn't rotate stays as it is.
    pub fn set_rope_scaling(&mut self, scaling: RopeScaling) {
        if let Position::Rope(rope) = &mut self.config.position {
            rope.scaling = scaling;
        }
    }

    /// From now on every layer sees so many positions back, its own included; none sees all.
    pub fn set_window(&mut self, window: Option<usize>) {
        self.config.sliding_window = window;
        self.config.sliding_layers.clear();
        for block in &mut self.layers {
            block.attention.set_slides(window.is_some());
        }
    }

    /// Tokens that fit into a text, what stands in front of it left out.
    pub fn context(&self) -> usize {
        let virtual_tokens = self.prompt_rows().max(self.prefix_keys());
        self.config.max_positions.saturating_sub(virtual_tokens)
    }

    fn prompt_rows(&self) -> usize {
        self.prompt.as_ref().map_or(0, |prompt| prompt.lazy_shape()[0])
    }

    /// Every layer has as many.
    fn prefix_keys(&self) -> usize {
        let prefix = self.layers.first().and_then(|block| block.attention.prefix.as_ref());
        prefix.map_or(0, Prefix::count)
    }

    /// Where the weights are, with or without a gradient tape.
    pub fn device(&self) -> Device {
        self.embed.lazy_device()
    }

    /// `[B, T]` token ids → `[B, T, V]` logits, or `[B, 1, V]` of the last position.
    pub fn forward(&self, tokens: Tensor<2, Int>, mut ctx: Forward<'_>) -> Tensor<3> {
        let last_only = std::mem::take(&mut ctx.last_only);
        let x = self.hidden(tokens, ctx); // [B, T, D]
        let time = x.dims()[1];
        self.logits(if last_only { x.slice(s![.., time - 1..time, ..]) } else { x })
    }

    /// `[B, T, D]` normalised hidden states → `[B, T, V]` logits.
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        let logits = match &self.head {
            Some(head) => head.forward(hidden, Site::default()),
            None => kernels::linear(hidden, self.embed.val(), self.head_bias.as_ref().map(Param::val)),
        };
        match self.config.logit_softcap {
            Some(cap) => (logits / cap).tanh() * cap,
            None => logits,
        }
    }

    /// The head's bias, `[V]`.
    pub fn head_bias(&self) -> Option<Tensor<1>> {
        self.head.as_ref().map_or(self.head_bias.as_ref(), |head| head.bias.as_ref()).map(Param::val)
    }

    /// The head's weight, `[V, D]`: its own matrix or the embedding.
    pub fn head_weight(&self) -> Tensor<2> {
        match &self.head {
            Some(head) => head.weight.val(),
            None => self.embed.val(),
        }
    }

    /// `[B, T]` token ids → `[B, T, D]` hidden states after the last norm; what the head reads.
    pub fn hidden(&self, tokens: Tensor<2, Int>, mut ctx: Forward<'_>) -> Tensor<3> {
        let mut trace = ctx.trace.take();
        let mut routing = ctx.routing.take();
        let mut stages = self.stages(tokens.dims(), Forward { trace: None, routing: None, ..ctx });
        stages.context.traced = trace.is_some();
        let mut x = stages.embedded(tokens); // [B, T, D]
        if let Some(trace) = &mut trace {
            trace.embedding = Some(x.clone());
            trace.layers.clear();
        }
        for layer in 0..self.layers.len() {
            x = stages.block(layer, x, routing.as_deref_mut(), trace.as_deref_mut());
        }
        if let Some(cache) = stages.context.cache.take() {
            cache.advance(stages.new_keys);
        }
        stages.last(x)
    }

    /// The same in its parts.
    pub(crate) fn stages<'a>(&'a self, [batch, time]: [usize; 2], ctx: Forward<'a>) -> Stages<'a> {
        let device = self.device();
        let mut cache = ctx.cache;
        let begins = cache.as_deref().is_none_or(KvCache::is_empty);
        let (prompt, prefix) = if begins { (self.prompt_rows(), self.prefix_keys()) } else { (0, 0) };
        let queries = prompt + time;
        if let Some(cache) = &mut cache {
            if let (Some(left_pad), true) = (ctx.left_pad, cache.is_empty()) {
                cache.set_left_pad(left_pad);
            }
            cache.reserve(prefix + queries, &device);
        }
        let past = prefix + cache.as_deref().map_or(0, KvCache::len);
        let left_pad = cache.as_deref().map_or(ctx.left_pad.unwrap_or_default(), KvCache::left_pad);
        let mask = mask([batch, queries, past], left_pad, ctx.segments);
        let positions = positions(&mask);
        let context = Context {
            rotation: Rotation::new(&self.config, &positions, &device),
            windowed: Mask { window: self.config.sliding_window, ..mask.clone() },
            mask,
            rule: ScoreRule::new(&self.config),
            cache,
            begins,
            traced: false,
        };
        let new_keys = prefix + queries;
        Stages { model: self, context, positions, prompt, new_keys, dropout: ctx.dropout, rounding: ctx.rounding }
    }

    /// `[B, T]` token ids → `[B, T, D]`, what the first block reads.
    fn embedded(&self, tokens: Tensor<2, Int>, stages: &Stages<'_>, site: Site<'_>) -> Tensor<3> {
        let (device, positions) = (self.device(), &stages.positions);
        let mut x = module::embedding(self.embed.val(), tokens); // [B, T, D]
        if let Some(scale) = self.config.embedding_scale {
            x = x * scale;
        }
        if let Some(prompt) = self.prompt.as_ref().filter(|_| stages.prompt > 0) {
            let prompt = prompt.val().unsqueeze::<3>(); // [1, P, D]
            x = virtual_tokens::insert(x, prompt, 1, &stages.context.mask.left_pad); // [B, P + T, D]
        }
        let time = positions.first().map_or(0, Vec::len);
        if let Some(table) = &self.positions {
            let flat: Vec<i32> = positions.iter().flatten().map(|p| *p as i32).collect();
            let ids = Tensor::<2, Int>::from_data(TensorData::new(flat, [positions.len(), time]), &device);
            x = x + module::embedding(table.val(), ids); // [B or 1, T, D]
        }
        if self.config.position == Position::Sinusoidal {
            let width = self.config.d_model;
            let values: Vec<f32> = positions.iter().flatten().flat_map(|p| sinusoid(*p, width)).collect();
            x = x + Tensor::from_data(TensorData::new(values, [positions.len(), time, width]), &device);
        }
        if let Some(norm) = &self.embed_norm {
            x = norm.forward(x);
        }
        dropped(x, self.config.dropout.embedding, site.named("embedding"))
    }

    /// Those that require gradients, in the same order.
    pub(crate) fn trained(&self) -> Vec<(String, ParamRef<'_>)> {
        self.params().into_iter().filter(|(_, param)| param.is_require_grad()).collect()
    }

    /// Every parameter under a path that never changes: `embed.weight`, `positions.weight`, `embed_norm.weight`,
    /// `layers.3.attention_norm.weight`, `layers.3.attention.q_proj.weight` (the projections under their family's names: `k_proj`,
    /// `v_proj`, `o_proj`; GPT-2: `c_attn`, `c_proj`; …), `layers.3.attention.q_norm.weight`, `layers.3.mlp_norm.weight`,
    /// `layers.3.mlp.gate_proj.weight`, `layers.3.mlp.experts.2.gate_proj.weight`, `layers.3.mlp.router.weight`,
    /// `layers.3.mlp_post_norm.weight`, `norm.weight`, `head.weight`; biases end in `.bias`. What is put on from outside ends in `.lora.a`,
    /// `.ia3`, `.bottleneck.up`, `.prefix.keys`, …, or is the `prompt`.
    ///
    /// The order is the model's, the same at every call.
    pub fn params(&self) -> Vec<(String, ParamRef<'_>)> {
        let mut out = vec![("embed.weight".to_owned(), ParamRef::Matrix(&self.embed))];
        if let Some(prompt) = &self.prompt {
            out.push(("prompt".to_owned(), ParamRef::Matrix(prompt)));
        }
        if let Some(positions) = &self.positions {
            out.push(("positions.weight".to_owned(), ParamRef::Matrix(positions)));
        }
        if let Some(norm) = &self.embed_norm {
            norm.params("embed_norm", &mut out);
        }
        for (i, block) in self.layers.iter().enumerate() {
            block.params(&format!("layers.{i}"), &mut out);
        }
        self.norm.params("norm", &mut out);
        if let Some(head) = &self.head {
            head.params("head", &mut out);
        }
        if let Some(bias) = &self.head_bias {
            out.push(("head.bias".to_owned(), ParamRef::Vector(bias)));
        }
        out
    }

    /// The same, to be replaced.
    pub fn params_mut(&mut self) -> Vec<(String, ParamMut<'_>)> {
        let mut out = vec![("embed.weight".to_owned(), ParamMut::Matrix(&mut self.embed))];
        if let Some(prompt) = &mut self.prompt {
            out.push(("prompt".to_owned(), ParamMut::Matrix(prompt)));
        }
        if let Some(positions) = &mut self.positions {
            out.push(("positions.weight".to_owned(), ParamMut::Matrix(positions)));
        }
        if let Some(norm) = &mut self.embed_norm {
            norm.params_mut("embed_norm", &mut out);
        }
        for (i, block) in self.layers.iter_mut().enumerate() {
            block.params_mut(&format!("layers.{i}"), &mut out);
        }
        self.norm.params_mut("norm", &mut out);
        if let Some(head) = &mut self.head {
            head.params_mut("head", &mut out);
        }
        if let Some(bias) = &mut self.head_bias {
            out.push(("head.bias".to_owned(), ParamMut::Vector(bias)));
        }
        out
    }

    /// Asks `read` for the values of every parameter (path, shape → numbers row by row, exactly the shape's count), one
    /// at a time, so that a reader needs room for one tensor. None leaves a parameter as it is.
    ///
    /// # Errors
    /// The reader's own.
    pub fn load<E>(&mut self, read: Read<'_, E>) -> Result<(), E> {
        for (path, mut param) in self.params_mut() {
            if let Some(values) = read(&path, &param.shape())? {
                param.set(values);
            }
        }
        Ok(())
    }

    /// The projections of every block an adapter can sit on: layer, half (`attention`, `mlp`), short name.
    pub fn projections(&self) -> Vec<(ProjectionPath, &Projection)> {
        let mut out = Vec::new();
        for (layer, block) in self.layers.iter().enumerate() {
            for (name, projection) in block.attention.projections() {
                out.push((ProjectionPath { layer, half: Half::Attention, name }, projection));
            }
            for (name, projection) in block.mlp.projections() {
                out.push((ProjectionPath { layer, half: Half::Mlp, name }, projection));
            }
        }
        out
    }

    pub fn projections_mut(&mut self) -> Vec<(ProjectionPath, &mut Projection)> {
        let mut out = Vec::new();
        for (layer, block) in self.layers.iter_mut().enumerate() {
            for (name, projection) in block.attention.projections_mut() {
                out.push((ProjectionPath { layer, half: Half::Attention, name }, projection));
            }
            for (name, projection) in block.mlp.projections_mut() {
                out.push((ProjectionPath { layer, half: Half::Mlp, name }, projection));
            }
        }
        out
    }
}

/// A forward pass in its parts: [`Stages::embedded`], every block in order, [`Stages::last`].
#[derive(Debug)]
pub(crate) struct Stages<'a> {
    model: &'a Transformer,
    context: Context<'a>,
    positions: Vec<Vec<usize>>,
    /// Rows in front of the text.
    prompt: usize,
    /// What every layer adds to the cache.
    new_keys: usize,
    dropout: Option<DropoutKey>,
    rounding: Option<Rounding>,
}

impl Stages<'_> {
    /// `[B, T]` token ids → `[B, T, D]`, what the first block reads.
    pub(crate) fn embedded(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let site = Site { dropout: self.dropout.as_ref(), rounding: self.rounding, ..Site::default() };
        self.model.embedded(tokens, self, site)
    }

    /// `[B, T, D]` → `[B, T, D]`
    pub(crate) fn block(
        &mut self,
        layer: usize,
        x: Tensor<3>,
        routing: Option<&mut Routing>,
        trace: Option<&mut Trace>,
    ) -> Tensor<3> {
        let site = Site { dropout: self.dropout.as_ref(), rounding: self.rounding, layer, ..Site::default() };
        self.model.layers[layer].forward(x, &mut self.context, site, routing, trace)
    }

    /// `[B, T, D]` → `[B, T, D]`, what the head reads.
    pub(crate) fn last(&self, x: Tensor<3>) -> Tensor<3> {
        // What stands behind the prompt, padding included: its rows were moved in front of it, and nobody reads them.
        let text = x.dims()[1] - self.prompt;
        self.model.norm.forward(if self.prompt > 0 { x.narrow(1, self.prompt, text) } else { x })
    }
}

/// What [`Transformer::load`] asks: path and shape to numbers.
pub type Read<'a, E> = &'a mut dyn FnMut(&str, &[usize]) -> Result<Option<Vec<f32>>, E>;

/// Names a projection of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProjectionPath {
    pub layer: usize,
    pub half: Half,
    /// `q_proj`, `down_proj`, `c_attn`, …
    pub name: &'static str,
}

/// Which half of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    Attention,
    Mlp,
}

/// `past` keys stand in front of the first query.
fn mask([batch, queries, past]: [usize; 3], left_pad: &[usize], segments: Option<&[Vec<u32>]>) -> Mask {
    Mask {
        batch,
        queries,
        past,
        // All zeros is no padding, and the kernels are faster without.
        left_pad: if left_pad.iter().any(|pad| *pad > 0) { left_pad.to_vec() } else { Vec::new() },
        segments: segments.unwrap_or_default().to_vec(),
        ..Mask::default()
    }
}

/// The position of every token, for `B` rows or, where all rows are alike, for one. Padding stands at 0.
fn positions(mask: &Mask) -> Vec<Vec<usize>> {
    let rows = if mask.left_pad.is_empty() && mask.segments.is_empty() { 1 } else { mask.batch };
    let position = |b: usize, i: usize| (mask.past + i).saturating_sub(mask.document_start(b, i));
    (0..rows).map(|b| (0..mask.queries).map(|i| position(b, i)).collect()).collect()
}

/// Sines in the even places, cosines in the odd ones, of `position / 10000^(2i/D)` (Vaswani 2017, section 3.5).
fn sinusoid(position: usize, width: usize) -> impl Iterator<Item = f32> {
    (0..width).map(move |i| {
        let angle = position as f64 / 10_000f64.powf((i / 2 * 2) as f64 / width as f64);
        if i % 2 == 0 { angle.sin() as f32 } else { angle.cos() as f32 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `PE(pos, 2i) = sin(pos / 10000^(2i/d))`, `PE(pos, 2i + 1) = cos(…)` for `d = 6`, by numpy in f64.
    #[test]
    fn sines_and_cosines_are_those_of_the_paper() {
        let rows = [
            (0, [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]),
            (1, [0.841_471, 0.540_302_3, 0.046_399_2, 0.998_923, 0.002_154_4, 0.999_997_7]),
            (7, [0.656_986_6, 0.753_902_3, 0.319_224_7, 0.947_679_1, 0.015_080_5, 0.999_886_3]),
            (1000, [0.826_879_5, 0.562_379_1, 0.650_316_9, -0.759_663_1, 0.834_463_2, -0.551_063_7]),
        ];
        for (position, expected) in rows {
            let found: Vec<f32> = sinusoid(position, 6).collect();
            assert_eq!(found.len(), expected.len());
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-7), "{position}: {found:?}");
        }
    }
}
