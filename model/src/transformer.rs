//! The decoder, top to bottom. It knows no adapter, quantiser or parallel axis: those are applied to its projections from
//! outside.
//!
//! Shapes: `B` batch, `T` time (positions), `D` model width, `H` heads, `K` key/value heads, `E` head size,
//! `F` feed-forward width, `V` vocabulary.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData, module, s};

use crate::attention::{Attention, Context, Mask};
use crate::cache::KvCache;
use crate::config::{Architecture, ModelConfig, Position};
use crate::init;
use crate::layers::{Mlp, NormLayer};
use crate::projection::{DropoutKey, ParamMut, ParamRef, Projection, Site, zeros_when_used};
use crate::rope::Rotation;
use crate::trace::Trace;

/// A decoder-only language model.
#[derive(Module, Debug)]
pub struct Transformer {
    /// `[V, D]`
    pub embed: Param<Tensor<2>>,
    /// `[max_positions, D]`, only with learned positions
    pub positions: Option<Param<Tensor<2>>>,
    pub layers: Vec<Block>,
    pub norm: NormLayer,
    /// `[V, D]`; none when the embedding is the head.
    pub head: Option<Projection>,
    #[module(skip)]
    config: ModelConfig,
}

/// `x + attention(norm(x))`, then `x + mlp(norm(x))`.
#[derive(Module, Debug)]
pub struct Block {
    pub attention_norm: NormLayer,
    pub attention: Attention,
    pub mlp_norm: NormLayer,
    pub mlp: Mlp,
}

/// What a forward pass is given besides tokens. The default is a plain batch of full rows.
#[derive(Debug, Default)]
pub struct Forward<'a> {
    /// `B` counts of padding tokens in front of each row. With a cache: for its first call only, the cache remembers.
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
}

impl Transformer {
    /// A model with random weights: normal with deviation 0.02, the projections that write to the residual stream smaller
    /// by `√(2 · layers)` (GPT-2's rule), norms 1, biases 0. Each parameter's draw depends on the seed and its path only.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Self {
        let mut model = Self::empty(config, device);
        let layers = config.n_layers;
        for (path, mut param) in model.params_mut() {
            let shape = param.shape();
            if let Some(values) = init::values(&path, &shape, layers, seed) {
                param.set(values);
            }
        }
        model
    }

    /// A model whose weights are still to be loaded. Costs no memory until then.
    pub fn empty(config: &ModelConfig, device: &Device) -> Self {
        let d = config.d_model;
        Self {
            embed: zeros_when_used([config.vocab_size, d], device),
            positions: (config.position == Position::Learned)
                .then(|| zeros_when_used([config.max_positions, d], device)),
            layers: (0..config.n_layers)
                .map(|_| Block {
                    attention_norm: NormLayer::empty(config, device),
                    attention: Attention::empty(config, device),
                    mlp_norm: NormLayer::empty(config, device),
                    mlp: Mlp::empty(config, device),
                })
                .collect(),
            norm: NormLayer::empty(config, device),
            head: (!config.tied).then(|| Projection::empty(d, config.vocab_size, false, device)),
            config: config.clone(),
        }
    }

    pub fn config(&self) -> &ModelConfig {
        &self.config
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
        match &self.head {
            Some(head) => head.forward(hidden, Site::default()),
            None => crate::kernels::linear(hidden, self.embed.val(), None),
        }
    }

    /// The head's weight, `[V, D]`: its own matrix or the embedding.
    pub fn head_weight(&self) -> Tensor<2> {
        match &self.head {
            Some(head) => head.weight.val(),
            None => self.embed.val(),
        }
    }

    /// `[B, T]` token ids → `[B, T, D]` hidden states after the last norm; what the head reads.
    pub fn hidden(&self, tokens: Tensor<2, Int>, ctx: Forward<'_>) -> Tensor<3> {
        let [batch, time] = tokens.dims();
        let device = self.device();
        let mut cache = ctx.cache;
        if let Some(cache) = &mut cache {
            if let (Some(left_pad), true) = (ctx.left_pad, cache.is_empty()) {
                cache.set_left_pad(left_pad);
            }
            cache.reserve(time, &device);
        }
        let mask = self.mask([batch, time], ctx.left_pad, ctx.segments, cache.as_deref());
        let positions = positions(&mask);

        let mut x = module::embedding(self.embed.val(), tokens); // [B, T, D]
        if let Some(table) = &self.positions {
            let flat: Vec<i32> = positions.iter().flatten().map(|p| *p as i32).collect();
            let ids = Tensor::<2, Int>::from_data(TensorData::new(flat, [positions.len(), time]), &device);
            x = x + module::embedding(table.val(), ids); // [B or 1, T, D]
        }
        let mut trace = ctx.trace;
        if let Some(trace) = &mut trace {
            trace.embedding = Some(x.clone());
            trace.layers.clear();
        }
        let mut context = Context {
            rotation: Rotation::new(self.config.position, self.config.head_dim, &positions, &device),
            mask,
            cache,
            traced: trace.is_some(),
        };
        for (layer, block) in self.layers.iter().enumerate() {
            let site = Site { dropout: ctx.dropout.as_ref(), layer, name: "" };
            let attended = block.attention_norm.forward(x.clone());
            let (attended, traced) = block.attention.forward(attended, &mut context, site);
            x = x + attended.clone();
            let fed = block.mlp.forward(block.mlp_norm.forward(x.clone()), site);
            x = x + fed;
            if let (Some(trace), Some(traced)) = (&mut trace, traced) {
                trace.layers.push(traced.finish(attended, x.clone()));
            }
        }
        if let Some(cache) = context.cache {
            cache.advance(time);
        }
        self.norm.forward(x)
    }

    fn mask(
        &self,
        [batch, queries]: [usize; 2],
        left_pad: Option<&[usize]>,
        segments: Option<&[Vec<u32>]>,
        cache: Option<&KvCache>,
    ) -> Mask {
        let left_pad = match cache {
            Some(cache) => cache.left_pad(),
            None => left_pad.unwrap_or_default(),
        };
        Mask {
            batch,
            queries,
            past: cache.map_or(0, KvCache::len),
            window: self.config.sliding_window,
            // All zeros is no padding, and the kernels are faster without.
            left_pad: if left_pad.iter().any(|pad| *pad > 0) { left_pad.to_vec() } else { Vec::new() },
            segments: segments.unwrap_or_default().to_vec(),
            ..Mask::default()
        }
    }

    /// Every parameter under a path that never changes: `embed.weight`, `positions.weight`,
    /// `layers.3.attention_norm.weight`, `layers.3.attention.q_proj.weight` (`k_proj`, `v_proj`, `o_proj`; GPT-2: `c_attn`,
    /// `c_proj`), `layers.3.mlp_norm.weight`, `layers.3.mlp.gate_proj.weight` (`up_proj`, `down_proj`; GPT-2: `c_fc`,
    /// `c_proj`), `norm.weight`, `head.weight`; biases end in `.bias`, adapters in `.lora.a` and `.lora.b`.
    ///
    /// The order is the model's, the same at every call.
    pub fn params(&self) -> Vec<(String, ParamRef<'_>)> {
        let mut out = vec![("embed.weight".to_owned(), ParamRef::Matrix(&self.embed))];
        if let Some(positions) = &self.positions {
            out.push(("positions.weight".to_owned(), ParamRef::Matrix(positions)));
        }
        for (i, block) in self.layers.iter().enumerate() {
            block.attention_norm.params(&format!("layers.{i}.attention_norm"), &mut out);
            for (name, projection) in block.attention.projections() {
                projection.params(&format!("layers.{i}.attention.{name}"), &mut out);
            }
            block.mlp_norm.params(&format!("layers.{i}.mlp_norm"), &mut out);
            for (name, projection) in block.mlp.projections() {
                projection.params(&format!("layers.{i}.mlp.{name}"), &mut out);
            }
        }
        self.norm.params("norm", &mut out);
        if let Some(head) = &self.head {
            head.params("head", &mut out);
        }
        out
    }

    /// The same, to be replaced.
    pub fn params_mut(&mut self) -> Vec<(String, ParamMut<'_>)> {
        let mut out = vec![("embed.weight".to_owned(), ParamMut::Matrix(&mut self.embed))];
        if let Some(positions) = &mut self.positions {
            out.push(("positions.weight".to_owned(), ParamMut::Matrix(positions)));
        }
        for (i, block) in self.layers.iter_mut().enumerate() {
            block.attention_norm.params_mut(&format!("layers.{i}.attention_norm"), &mut out);
            for (name, projection) in block.attention.projections_mut() {
                projection.params_mut(&format!("layers.{i}.attention.{name}"), &mut out);
            }
            block.mlp_norm.params_mut(&format!("layers.{i}.mlp_norm"), &mut out);
            for (name, projection) in block.mlp.projections_mut() {
                projection.params_mut(&format!("layers.{i}.mlp.{name}"), &mut out);
            }
        }
        self.norm.params_mut("norm", &mut out);
        if let Some(head) = &mut self.head {
            head.params_mut("head", &mut out);
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

    /// Whether files of this family store projections `[in, out]`.
    pub fn transposed_in_files(&self) -> bool {
        self.config.model_type == Architecture::Gpt2
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

/// The position of every token, for `B` rows or, where all rows are alike, for one. Padding stands at 0.
fn positions(mask: &Mask) -> Vec<Vec<usize>> {
    let rows = if mask.left_pad.is_empty() && mask.segments.is_empty() { 1 } else { mask.batch };
    let position = |b: usize, i: usize| (mask.past + i).saturating_sub(mask.document_start(b, i));
    (0..rows).map(|b| (0..mask.queries).map(|i| position(b, i)).collect()).collect()
}
