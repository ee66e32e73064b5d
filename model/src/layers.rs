//! The parts of a block that are not attention: norms, the feed-forward network.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation as act};

use crate::config::{Activation, ModelConfig, Norm};
use crate::kernels;
use crate::projection::{ParamMut, ParamRef, Projection, Site, filled_when_used, zeros_when_used};

/// RMSNorm (weight only) or LayerNorm (weight and bias) over the last dimension.
#[derive(Module, Debug)]
pub struct NormLayer {
    /// `[D]`
    pub weight: Param<Tensor<1>>,
    /// `[D]`; its presence makes this a LayerNorm.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    pub eps: f64,
}

impl NormLayer {
    pub fn empty(config: &ModelConfig, device: &Device) -> Self {
        Self {
            weight: filled_when_used([config.d_model], 1.0, device),
            bias: (config.norm == Norm::Layer).then(|| zeros_when_used([config.d_model], device)),
            eps: config.norm_eps,
        }
    }

    /// `[B, T, D]` → `[B, T, D]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.bias {
            None => kernels::rms_norm(x, self.weight.val(), self.eps),
            Some(bias) => kernels::layer_norm(x, self.weight.val(), bias.val(), self.eps),
        }
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

/// The feed-forward half of a block.
#[derive(Module, Debug)]
#[cfg_attr(
    not(target_arch = "wasm32"),
    expect(
        clippy::large_enum_variant,
        reason = "a few of them live as long as the model, each with megabytes behind it"
    )
)]
pub enum Mlp {
    Gated(GatedMlp),
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

/// `c_proj(act(c_fc(x)))`, named as in GPT-2.
#[derive(Module, Debug)]
pub struct PlainMlp {
    pub c_fc: Projection,
    pub c_proj: Projection,
    #[module(skip)]
    pub activation: Activation,
}

impl Mlp {
    pub fn empty(config: &ModelConfig, device: &Device) -> Self {
        let [d, f, bias] = [config.d_model, config.ffn_dim, usize::from(config.mlp_bias)];
        let projection = |inputs, outputs| Projection::empty(inputs, outputs, bias == 1, device);
        let activation = config.activation;
        if config.mlp_gated {
            Self::Gated(GatedMlp {
                gate_proj: projection(d, f),
                up_proj: projection(d, f),
                down_proj: projection(f, d),
                activation,
            })
        } else {
            Self::Plain(PlainMlp { c_fc: projection(d, f), c_proj: projection(f, d), activation })
        }
    }

    /// `[B, T, D]` → `[B, T, D]`
    pub fn forward(&self, x: Tensor<3>, site: Site<'_>) -> Tensor<3> {
        match self {
            Self::Gated(mlp) => {
                let gate = mlp.gate_proj.forward(x.clone(), site.named("gate_proj")); // [B, T, F]
                let up = mlp.up_proj.forward(x, site.named("up_proj")); // [B, T, F]
                let inner = match mlp.activation {
                    Activation::Silu => kernels::swiglu(gate, up),
                    other => activate(gate, other) * up,
                };
                mlp.down_proj.forward(inner, site.named("down_proj"))
            }
            Self::Plain(mlp) => {
                let inner = mlp.c_fc.forward(x, site.named("c_fc")); // [B, T, F]
                let inner = activate(inner, mlp.activation);
                mlp.c_proj.forward(inner, site.named("mlp.c_proj"))
            }
        }
    }

    /// Short name and projection, in the order of the forward pass.
    pub fn projections(&self) -> Vec<(&'static str, &Projection)> {
        match self {
            Self::Gated(mlp) => {
                vec![("gate_proj", &mlp.gate_proj), ("up_proj", &mlp.up_proj), ("down_proj", &mlp.down_proj)]
            }
            Self::Plain(mlp) => vec![("c_fc", &mlp.c_fc), ("c_proj", &mlp.c_proj)],
        }
    }

    pub fn projections_mut(&mut self) -> Vec<(&'static str, &mut Projection)> {
        match self {
            Self::Gated(mlp) => vec![
                ("gate_proj", &mut mlp.gate_proj),
                ("up_proj", &mut mlp.up_proj),
                ("down_proj", &mut mlp.down_proj),
            ],
            Self::Plain(mlp) => vec![("c_fc", &mut mlp.c_fc), ("c_proj", &mut mlp.c_proj)],
        }
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
