//! The parts of a block that are not attention: norms, the feed-forward network.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation as act};

use crate::config::{Activation, MlpNames, ModelConfig, Norm};
use crate::kernels;
use crate::projection::{ParamMut, ParamRef, Projection, Site, filled_when_used, zeros_when_used};

/// RMSNorm (weight only) or LayerNorm (weight, and mostly a bias) over the last dimension.
#[derive(Module, Debug)]
pub struct NormLayer {
    /// `[D]`
    pub weight: Param<Tensor<1>>,
    /// `[D]`
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    kind: NormKind,
}

#[derive(Clone, Copy, Debug)]
struct NormKind {
    /// The mean is taken away first.
    centred: bool,
    eps: f64,
    /// Added to the weight.
    offset: f64,
}

impl NormLayer {
    /// The model's own kind, `D` wide.
    pub fn empty(config: &ModelConfig, device: &Device) -> Self {
        let bias = config.norm == Norm::Layer;
        Self {
            bias: bias.then(|| zeros_when_used([config.d_model], device)),
            kind: NormKind { centred: config.norm != Norm::Rms, eps: config.norm_eps, offset: config.norm_offset },
            ..Self::rms(config.d_model, config, device)
        }
    }

    /// An RMSNorm of any width.
    pub fn rms(width: usize, config: &ModelConfig, device: &Device) -> Self {
        Self {
            weight: filled_when_used([width], 1.0 - config.norm_offset as f32, device),
            bias: None,
            kind: NormKind { centred: false, eps: config.norm_eps, offset: config.norm_offset },
        }
    }

    /// `[B, T, D]` → `[B, T, D]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let NormKind { centred, eps, offset } = self.kind;
        let weight = self.weight.val();
        let weight = if offset == 0.0 { weight } else { weight + offset };
        match centred {
            false => kernels::rms_norm(x, weight, eps),
            true => kernels::layer_norm(x, weight, self.bias.as_ref().map(Param::val), eps),
        }
    }

    /// Every head by itself: `[B, T, heads, E]` → `[B, T, heads, E]`
    pub fn forward_heads(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, time, heads, size] = x.dims();
        self.forward(x.reshape([batch, time * heads, size])).reshape([batch, time, heads, size])
    }

    pub(crate) fn params<'a>(&'a self, path: &str, out: &mut Vec<(String, ParamRef<'a>)>) {
        out.push((format!("{path}.weight"), ParamRef::Vector(&self.weight)));
        if let Some(bias) = &self.bias {
            out.push((format!("{path}.bias"), ParamRef::Vector(bias)));
        }
    }

    pub(crate) fn params_mut<'a>(&'a mut self, path: &str, out: &mut Vec<(String, ParamMut<'a>)>) {
        out.push((format!("{path}.weight"), ParamMut::Vector(&mut self.weight)));
        if let Some(bias) = &mut self.bias {
            out.push((format!("{path}.bias"), ParamMut::Vector(bias)));
        }
    }
}

/// The feed-forward network of a block, or of one expert.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a few of them live as long as the model, each with megabytes behind it")]
pub enum Mlp {
    Gated(GatedMlp),
    Joined(JoinedMlp),
    Plain(PlainMlp),
}

/// `down(act(gate(x)) · up(x))` (SwiGLU when `act` is SiLU; Shazeer 2020).
#[derive(Module, Debug)]
pub struct GatedMlp {
    pub gate_proj: Projection,
    pub up_proj: Projection,
    pub down_proj: Projection,
    #[module(skip)]
    pub activation: Activation,
}

/// The same with gate and up in one matrix, as Phi-3 has it.
#[derive(Module, Debug)]
pub struct JoinedMlp {
    /// `[2F, D]`, gate first
    pub gate_up_proj: Projection,
    pub down_proj: Projection,
    #[module(skip)]
    pub activation: Activation,
}

/// `output(act(input(x)))`, under their family's names.
#[derive(Module, Debug)]
pub struct PlainMlp {
    pub input: Projection,
    pub output: Projection,
    #[module(skip)]
    names: [&'static str; 2],
    #[module(skip)]
    pub activation: Activation,
}

impl Mlp {
    pub fn empty(config: &ModelConfig, device: &Device) -> Self {
        let (d, f) = (config.d_model, config.ffn_dim);
        let projection = |inputs, outputs| Projection::empty(inputs, outputs, config.mlp_bias, device);
        let activation = config.activation;
        match config.mlp_names() {
            MlpNames::Gated => Self::Gated(GatedMlp {
                gate_proj: projection(d, f),
                up_proj: projection(d, f),
                down_proj: projection(f, d),
                activation,
            }),
            MlpNames::Joined => {
                Self::Joined(JoinedMlp { gate_up_proj: projection(d, 2 * f), down_proj: projection(f, d), activation })
            }
            MlpNames::Plain(input, output) => Self::Plain(PlainMlp {
                input: projection(d, f),
                output: projection(f, d),
                names: [input, output],
                activation,
            }),
        }
    }

    /// `[B, T, D]` → `[B, T, D]`
    pub fn forward(&self, x: Tensor<3>, site: Site<'_>) -> Tensor<3> {
        match self {
            Self::Gated(mlp) => {
                let gate = mlp.gate_proj.forward(x.clone(), site.named("gate_proj")); // [B, T, F]
                let up = mlp.up_proj.forward(x, site.named("up_proj")); // [B, T, F]
                mlp.down_proj.forward(gated(gate, up, mlp.activation), site.named("down_proj"))
            }
            Self::Joined(mlp) => {
                let both = mlp.gate_up_proj.forward(x, site.named("gate_up_proj")); // [B, T, 2F]
                let f = both.dims()[2] / 2;
                let (gate, up) = (both.clone().narrow(2, 0, f), both.narrow(2, f, f));
                mlp.down_proj.forward(gated(gate, up, mlp.activation), site.named("down_proj"))
            }
            Self::Plain(mlp) => {
                let [input, output] = mlp.names;
                let inner = mlp.input.forward(x, site.named(input)); // [B, T, F]
                let inner = activate(inner, mlp.activation);
                // GPT-2 has two matrices of that name.
                let output = if output == "c_proj" { "mlp.c_proj" } else { output };
                mlp.output.forward(inner, site.named(output))
            }
        }
    }

    /// Short name and projection, in the order of the forward pass.
    pub fn projections(&self) -> Vec<(&'static str, &Projection)> {
        match self {
            Self::Gated(mlp) => {
                vec![("gate_proj", &mlp.gate_proj), ("up_proj", &mlp.up_proj), ("down_proj", &mlp.down_proj)]
            }
            Self::Joined(mlp) => vec![("gate_up_proj", &mlp.gate_up_proj), ("down_proj", &mlp.down_proj)],
            Self::Plain(mlp) => vec![(mlp.names[0], &mlp.input), (mlp.names[1], &mlp.output)],
        }
    }

    pub fn projections_mut(&mut self) -> Vec<(&'static str, &mut Projection)> {
        match self {
            Self::Gated(mlp) => vec![
                ("gate_proj", &mut mlp.gate_proj),
                ("up_proj", &mut mlp.up_proj),
                ("down_proj", &mut mlp.down_proj),
            ],
            Self::Joined(mlp) => {
                vec![("gate_up_proj", &mut mlp.gate_up_proj), ("down_proj", &mut mlp.down_proj)]
            }
            Self::Plain(mlp) => vec![(mlp.names[0], &mut mlp.input), (mlp.names[1], &mut mlp.output)],
        }
    }
}

/// `act(gate) · up`
fn gated(gate: Tensor<3>, up: Tensor<3>, activation: Activation) -> Tensor<3> {
    match activation {
        Activation::Silu => kernels::swiglu(gate, up),
        other => activate(gate, other) * up,
    }
}

fn activate(x: Tensor<3>, activation: Activation) -> Tensor<3> {
    match activation {
        Activation::Silu => act::silu(x),
        Activation::Gelu => act::gelu(x),
        Activation::GeluTanh => act::gelu_approximate(x),
        Activation::Relu => act::relu(x),
    }
}
