//! The seam every weight matrix of the transformer goes through: dense at first, adapted (or compressed) from outside.
//!
//! Weights are `[out, in]`, as torch's `Linear` stores them: a checkpoint loads without a transpose, and on the CPU one
//! output of a decoding step is the product of two contiguous rows. GPT-2's Conv1D files are `[in, out]` and are turned
//! when they are read and written.

use std::sync::Arc;

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Shape, Tensor, TensorData, activation};

use crate::compress::inputs::InputSums;
use crate::compress::nf4::Nf4;
use crate::compress::quantize;
use crate::kernels;
use crate::rounding::Rounding;

/// Where in the model and in which step of training a call happens: what dropout drops, and how products are rounded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Site<'a> {
    pub dropout: Option<&'a DropoutKey>,
    pub layer: usize,
    pub name: &'static str,
    pub rounding: Option<Rounding>,
}

impl Site<'_> {
    /// The same place, another projection.
    pub fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }
}

/// Names one draw of all dropout masks. Two calls with the same key drop the same inputs, in any process, whatever ran
/// before: no generator has a state to save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropoutKey {
    pub seed: u64,
    /// The optimizer step.
    pub step: u64,
    /// Index of the batch's first row among all rows of the step, so that splitting a step into micro-batches drops the same inputs.
    pub row: u64,
}

/// `y = x Wᵀ + b`, and what an adapter makes of it where there is one.
#[derive(Module, Debug)]
pub struct Projection {
    /// `[out, in]`; empty where it is packed
    pub weight: Param<Tensor<2>>,
    /// The frozen weight in 4 bits, in place of the other.
    #[module(skip)]
    pub packed: Option<Arc<Nf4>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<1>>>,
    pub lora: Option<Lora>,
    pub ia3: Option<Ia3>,
    pub bottleneck: Option<Bottleneck>,
    /// Inputs are put on levels of so many bits, a scale for each token.
    #[module(skip)]
    pub input_bits: Option<u8>,
    /// Where somebody measures what goes into the product.
    #[module(skip)]
    pub input_sums: Option<Arc<InputSums>>,
}

/// `y + up(gelu(down(y)))` behind a projection's outputs (Houlsby 2019).
#[derive(Module, Debug)]
pub struct Bottleneck {
    /// `[width, out]`
    pub down: Param<Tensor<2>>,
    /// `[width]`
    pub down_bias: Param<Tensor<1>>,
    /// `[out, width]`
    pub up: Param<Tensor<2>>,
    /// `[out]`
    pub up_bias: Param<Tensor<1>>,
}

impl Bottleneck {
    fn forward(&self, y: Tensor<3>, site: Site<'_>) -> Tensor<3> {
        let inner = linear(y.clone(), self.down.val(), Some(self.down_bias.val()), site);
        y + linear(activation::gelu(inner), self.up.val(), Some(self.up_bias.val()), site)
    }
}

/// Factors of a projection's outputs or inputs ((IA)³, Liu 2022).
#[derive(Module, Debug)]
pub struct Ia3 {
    /// `[out]`, or `[in]`
    pub vector: Param<Tensor<1>>,
    #[module(skip)]
    pub of_input: bool,
}

/// Whether a parameter's path is that of something put on the model from outside.
pub fn is_adapter(path: &str) -> bool {
    let inside = [".lora.", ".prefix.", ".bottleneck."];
    path == "prompt" || path.ends_with(".ia3") || inside.iter().any(|part| path.contains(part))
}

/// `scale · (dropout(x) Aᵀ) Bᵀ` (Hu 2021), beside the dense weight; with a magnitude each output of both together is divided by the
/// length of its row of `W + scale · B A` and multiplied by its magnitude (DoRA, Liu 2024).
#[derive(Module, Debug)]
pub struct Lora {
    /// `[r, in]`
    pub a: Param<Tensor<2>>,
    /// `[out, r]`
    pub b: Param<Tensor<2>>,
    /// `[out]`
    pub magnitude: Option<Param<Tensor<1>>>,
    #[module(skip)]
    pub scale: f32,
    /// Probability that an input of the adapter is dropped while training.
    #[module(skip)]
    pub dropout: f32,
}

impl Lora {
    /// `[out, in]`: `scale · B A`, what the adapter adds to its weight.
    pub fn delta(&self) -> Tensor<2> {
        self.b.val().matmul(self.a.val()) * self.scale
    }

    /// `[out]`: what DoRA multiplies each output by. The length of the rows counts as a constant (Liu 2024, section 4.3).
    pub(crate) fn stretch(&self, weight: &Tensor<2>) -> Option<Tensor<1>> {
        let magnitude = self.magnitude.as_ref()?.val();
        let outputs = magnitude.dims()[0];
        let turned = (weight.clone() + self.delta()).detach();
        Some(magnitude / turned.square().sum_dim(1).sqrt().reshape([outputs]))
    }
}

impl Projection {
    /// A projection whose weights are zeros until they are loaded.
    pub fn empty(inputs: usize, outputs: usize, bias: bool, device: &Device) -> Self {
        Self {
            weight: zeros_when_used([outputs, inputs], device),
            bias: bias.then(|| zeros_when_used([outputs], device)),
            packed: None,
            lora: None,
            ia3: None,
            bottleneck: None,
            input_bits: None,
            input_sums: None,
        }
    }

    /// `[.., in]` → `[.., out]`
    pub fn forward(&self, x: Tensor<3>, site: Site<'_>) -> Tensor<3> {
        let x = match self.input_bits {
            Some(bits) => quantize::inputs(x, bits),
            None => x,
        };
        let bias = self.bias.as_ref().map(Param::val);
        let factors = self.ia3.as_ref().map(|ia3| (ia3.of_input, ia3.vector.val().unsqueeze::<3>()));
        let x = match &factors {
            Some((true, factors)) => x * factors.clone(),
            _ => x,
        };
        if let Some(sums) = &self.input_sums {
            sums.add(&x);
        }
        let y = match &self.lora {
            None => self.dense(x, bias, site),
            Some(lora) => self.adapted(x, bias, lora, site),
        };
        let y = match factors {
            Some((false, factors)) => y * factors,
            _ => y,
        };
        match &self.bottleneck {
            Some(bottleneck) => bottleneck.forward(y, site),
            None => y,
        }
    }

    /// `[out, in]`, unpacked where it is packed.
    pub fn weight(&self) -> Tensor<2> {
        match &self.packed {
            None => self.weight.val(),
            Some(packed) => {
                Tensor::from_data(TensorData::new(packed.unpack(), packed.shape()), &self.weight.lazy_device())
            }
        }
    }

    /// Keeps the weight in 4 bits from now on; it can't be trained then.
    pub fn pack(&mut self) {
        if self.packed.is_none() {
            let packed = Nf4::new(&floats(self.weight.val().into_data()), self.shape());
            self.weight = zeros_when_used([1, 1], &self.weight.lazy_device()).set_require_grad(false);
            self.packed = Some(Arc::new(packed));
        }
    }

    /// The opposite of [`Self::pack`], up to what packing rounded.
    pub fn unpack(&mut self) {
        if self.packed.is_some() {
            self.weight = Param::from_tensor(self.weight()).set_require_grad(false);
            self.packed = None;
        }
    }

    fn dense(&self, x: Tensor<3>, bias: Option<Tensor<1>>, site: Site<'_>) -> Tensor<3> {
        match &self.packed {
            Some(packed) if site.rounding.is_none() => plus(kernels::packed::linear(x, packed), bias),
            _ => linear(x, self.weight(), bias, site),
        }
    }

    fn adapted(&self, x: Tensor<3>, bias: Option<Tensor<1>>, lora: &Lora, site: Site<'_>) -> Tensor<3> {
        let stretch = lora.magnitude.is_some().then(|| lora.stretch(&self.weight())).flatten();
        let stretch = stretch.map(|stretch| stretch.unsqueeze::<3>()); // [1, 1, out]
        let drops = site.dropout.is_some() && lora.dropout > 0.0;
        let fused = site.rounding.is_none() && self.packed.is_none() && !(drops && stretch.is_some());
        if fused && stretch.is_none() {
            return kernels::adapted(x, self.weight.val(), bias, lora, site);
        }
        let y = if fused {
            kernels::adapted(x, self.weight.val(), None, lora, site)
        } else {
            let dropped = match site.dropout {
                Some(key) if drops => kernels::dropout(x.clone(), lora.dropout, *key, site),
                _ => x.clone(),
            };
            let low = linear(dropped.clone(), lora.a.val(), None, site);
            let beside = linear(low, lora.b.val(), None, site) * lora.scale;
            let y = self.dense(x, None, site);
            match &stretch {
                // As PEFT does it: the weight's own part is stretched by what the adapter saw of the input.
                Some(stretch) if drops => {
                    let seen = self.dense(dropped, None, site);
                    let stretched = y + seen * (stretch.clone() - 1.0) + beside * stretch.clone();
                    return plus(stretched, bias);
                }
                _ => y + beside,
            }
        };
        plus(stretch.map_or(y.clone(), |stretch| y * stretch), bias)
    }

    /// `[out, in]` of the dense weight.
    pub fn shape(&self) -> [usize; 2] {
        if let Some(packed) = &self.packed {
            return packed.shape();
        }
        let shape = self.weight.lazy_shape();
        [shape[0], shape[1]]
    }

    /// Every parameter with its path below this projection; a packed weight is none.
    pub(crate) fn params<'a>(&'a self, path: &str, out: &mut Vec<(String, ParamRef<'a>)>) {
        if self.packed.is_none() {
            out.push((format!("{path}.weight"), ParamRef::Matrix(&self.weight)));
        }
        if let Some(bias) = &self.bias {
            out.push((format!("{path}.bias"), ParamRef::Vector(bias)));
        }
        if let Some(lora) = &self.lora {
            out.push((format!("{path}.lora.a"), ParamRef::Matrix(&lora.a)));
            out.push((format!("{path}.lora.b"), ParamRef::Matrix(&lora.b)));
            if let Some(magnitude) = &lora.magnitude {
                out.push((format!("{path}.lora.magnitude"), ParamRef::Vector(magnitude)));
            }
        }
        if let Some(ia3) = &self.ia3 {
            out.push((format!("{path}.ia3"), ParamRef::Vector(&ia3.vector)));
        }
        if let Some(bottleneck) = &self.bottleneck {
            out.push((format!("{path}.bottleneck.down"), ParamRef::Matrix(&bottleneck.down)));
            out.push((format!("{path}.bottleneck.down_bias"), ParamRef::Vector(&bottleneck.down_bias)));
            out.push((format!("{path}.bottleneck.up"), ParamRef::Matrix(&bottleneck.up)));
            out.push((format!("{path}.bottleneck.up_bias"), ParamRef::Vector(&bottleneck.up_bias)));
        }
    }

    pub(crate) fn params_mut<'a>(&'a mut self, path: &str, out: &mut Vec<(String, ParamMut<'a>)>) {
        if self.packed.is_none() {
            out.push((format!("{path}.weight"), ParamMut::Matrix(&mut self.weight)));
        }
        if let Some(bias) = &mut self.bias {
            out.push((format!("{path}.bias"), ParamMut::Vector(bias)));
        }
        if let Some(lora) = &mut self.lora {
            out.push((format!("{path}.lora.a"), ParamMut::Matrix(&mut lora.a)));
            out.push((format!("{path}.lora.b"), ParamMut::Matrix(&mut lora.b)));
            if let Some(magnitude) = &mut lora.magnitude {
                out.push((format!("{path}.lora.magnitude"), ParamMut::Vector(magnitude)));
            }
        }
        if let Some(ia3) = &mut self.ia3 {
            out.push((format!("{path}.ia3"), ParamMut::Vector(&mut ia3.vector)));
        }
        if let Some(bottleneck) = &mut self.bottleneck {
            out.push((format!("{path}.bottleneck.down"), ParamMut::Matrix(&mut bottleneck.down)));
            out.push((format!("{path}.bottleneck.down_bias"), ParamMut::Vector(&mut bottleneck.down_bias)));
            out.push((format!("{path}.bottleneck.up"), ParamMut::Matrix(&mut bottleneck.up)));
            out.push((format!("{path}.bottleneck.up_bias"), ParamMut::Vector(&mut bottleneck.up_bias)));
        }
    }
}

/// `x Wᵀ + b`, rounded where the site says so.
fn linear(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>, site: Site<'_>) -> Tensor<3> {
    match &site.rounding {
        None => kernels::linear(x, weight, bias),
        Some(rounding) => {
            let bias = bias.map(|bias| rounding.input(bias));
            rounding.output(kernels::linear(rounding.input(x), rounding.input(weight), bias))
        }
    }
}

fn plus(y: Tensor<3>, bias: Option<Tensor<1>>) -> Tensor<3> {
    match bias {
        Some(bias) => y + bias.unsqueeze::<3>(),
        None => y,
    }
}

/// One parameter of a model, borrowed.
#[derive(Clone, Copy, Debug)]
pub enum ParamRef<'a> {
    Vector(&'a Param<Tensor<1>>),
    Matrix(&'a Param<Tensor<2>>),
}

impl ParamRef<'_> {
    pub fn id(&self) -> ParamId {
        match self {
            Self::Vector(param) => param.id,
            Self::Matrix(param) => param.id,
        }
    }

    /// Known before the parameter holds anything.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Vector(param) => param.lazy_shape().to_vec(),
            Self::Matrix(param) => param.lazy_shape().to_vec(),
        }
    }

    pub fn is_require_grad(&self) -> bool {
        match self {
            Self::Vector(param) => param.val().is_require_grad(),
            Self::Matrix(param) => param.val().is_require_grad(),
        }
    }

    /// All numbers, row by row. Blocks: not for WebGPU.
    pub fn to_vec(&self) -> Vec<f32> {
        let data = match self {
            Self::Vector(param) => param.val().into_data(),
            Self::Matrix(param) => param.val().into_data(),
        };
        floats(data)
    }

    /// All numbers, row by row, on any device.
    pub async fn to_vec_async(&self) -> Vec<f32> {
        let data = match self {
            Self::Vector(param) => param.val().into_data_async().await,
            Self::Matrix(param) => param.val().into_data_async().await,
        };
        floats(data.expect("a parameter's own device can read it"))
    }
}

/// The numbers of any float tensor as f32.
pub(crate) fn floats(data: TensorData) -> Vec<f32> {
    let data = data.convert::<f32>();
    data.try_into_vec().expect("converted to f32 above")
}

/// One parameter of a model, to be replaced.
#[derive(Debug)]
pub enum ParamMut<'a> {
    Vector(&'a mut Param<Tensor<1>>),
    Matrix(&'a mut Param<Tensor<2>>),
}

impl ParamMut<'_> {
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Vector(param) => param.lazy_shape().to_vec(),
            Self::Matrix(param) => param.lazy_shape().to_vec(),
        }
    }

    /// All numbers, row by row. Blocks: not for WebGPU.
    pub fn to_vec(&self) -> Vec<f32> {
        match self {
            Self::Vector(param) => ParamRef::Vector(param).to_vec(),
            Self::Matrix(param) => ParamRef::Matrix(param).to_vec(),
        }
    }

    /// Puts `values` (row by row, exactly the shape's count) on the parameter's device. Its id and whether it is
    /// trained stay as they are.
    ///
    /// # Panics
    /// The count is not the shape's.
    pub fn set(&mut self, values: Vec<f32>) {
        match self {
            Self::Vector(param) => replace(param, values),
            Self::Matrix(param) => replace(param, values),
        }
    }

    /// Replaces the values by what `f` makes of them, flat, without moving them. Its id and whether it is trained stay as
    /// they are.
    pub(crate) fn change(&mut self, f: impl FnOnce(Tensor<1>) -> Tensor<1>) {
        match self {
            Self::Vector(param) => change(param, f),
            Self::Matrix(param) => change(param, f),
        }
    }

    /// Whether training changes it, now or after `Module::train`.
    pub fn set_require_grad(&mut self, on: bool) {
        match self {
            Self::Vector(param) => **param = param.clone().set_require_grad(on),
            Self::Matrix(param) => **param = param.clone().set_require_grad(on),
        }
    }
}

fn replace<const N: usize>(param: &mut Param<Tensor<N>>, values: Vec<f32>) {
    let shape = param.lazy_shape();
    assert_eq!(values.len(), shape.num_elements(), "as many values as the shape {shape:?} has");
    let device = param.lazy_device();
    let tensor = Tensor::from_data(TensorData::new(values, shape), &device);
    // Keeps what training will do with it, which a plain device's tensor doesn't know.
    *param = param.clone().transform_for_load(tensor, param.id);
}

/// # Panics
/// The parameter is not on a tape.
fn change<const N: usize>(param: &mut Param<Tensor<N>>, f: impl FnOnce(Tensor<1>) -> Tensor<1>) {
    let values = param.val().inner();
    let (shape, count) = (values.dims(), values.shape().num_elements());
    let changed = f(values.reshape([count])).reshape(shape);
    *param = param.clone().transform_for_load(Tensor::from_inner(changed), param.id);
}

/// A trainable parameter that costs nothing until it is loaded or used.
pub(crate) fn zeros_when_used<const N: usize>(shape: [usize; N], device: &Device) -> Param<Tensor<N>> {
    filled_when_used(shape, 0.0, device)
}

pub(crate) fn filled_when_used<const N: usize>(shape: [usize; N], value: f32, device: &Device) -> Param<Tensor<N>> {
    Param::uninitialized(
        ParamId::new(),
        move |device, grad| {
            let tensor = Tensor::full(shape, value, device);
            if grad { tensor.require_grad() } else { tensor }
        },
        device.clone(),
        true,
        Shape::from(shape),
    )
}
