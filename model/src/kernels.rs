//! The computations that decide the model's speed. Each is written once in burn's operations for every device (`plain_*`),
//! and once on slices for the CPU ([`math`], [`heads`]), with a backward pass of its own ([`tape`]); tests hold them
//! together.

mod head;
mod heads;
mod math;
pub(crate) mod packed;
mod tape;
#[cfg(test)]
mod tests;

use burn::tensor::{DType, Tensor, TensorData, activation};

use crate::attention::{Mask, ScoreRule};
use crate::config::RopeStyle;
use crate::device::CpuBackend;
use crate::projection::{DropoutKey, Lora, Site};
use crate::rope::Rotation;
use crate::rounding::Cast;
pub(crate) use head::HeadProduct;
use math::Mat;
pub(crate) use math::wide;

/// A tensor of the CPU backend: the memory itself.
type Raw = burn::backend::tensor::FloatTensor<CpuBackend>;

/// The tensor's memory without gaps, when it is f32 on the CPU and not on a gradient tape.
fn raw<const N: usize>(x: &Tensor<N>) -> Option<Raw> {
    if x.is_autodiff() || x.dtype() != DType::F32 {
        return None;
    }
    let raw = x.clone().try_into_primitive::<CpuBackend>().ok()?;
    Some(raw.to_contiguous())
}

/// A contiguous tensor's numbers.
fn slice(raw: &Raw) -> &[f32] {
    let layout = raw.layout();
    &raw.storage::<f32>()[layout.start_offset()..][..layout.num_elements()]
}

fn new_raw<const N: usize>(values: Vec<f32>, shape: [usize; N]) -> Raw {
    Raw::from_data(TensorData::new(values, shape))
}

fn tensor<const N: usize>(values: Vec<f32>, shape: [usize; N]) -> Tensor<N> {
    Tensor::from_primitive::<CpuBackend>(new_raw(values, shape))
}

/// `x Wᵀ + b`: `[B, T, in]`, `[out, in]`, `[out]` → `[B, T, out]`.
pub(crate) fn linear(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let [batch, time, _] = x.dims();
    let outputs = weight.dims()[0];
    let y = if let (Some(x), Some(w)) = (raw(&x), raw(&weight)) {
        let y = dense(slice(&x), slice(&w), outputs);
        tensor(y, [batch, time, outputs])
    } else if let Some(y) = tape::linear(&x, &weight) {
        y
    } else {
        plain_linear(x, weight)
    };
    match bias {
        Some(bias) => y + bias.reshape([1, 1, outputs]),
        None => y,
    }
}

fn plain_linear(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    let [batch, time, inputs] = x.dims();
    let outputs = weight.dims()[0];
    // One matrix product of B·T rows: burn would run B of them with the weight broadcast.
    let y = x.reshape([batch * time, inputs]).matmul(weight.transpose());
    y.reshape([batch, time, outputs])
}

/// Rows up to which a product is bound by reading the weight.
const FEW: usize = 4;

/// `[m, k] · [n, k]ᵀ`
fn dense(x: &[f32], w: &[f32], n: usize) -> Vec<f32> {
    let k = w.len() / n;
    let m = x.len() / k;
    if m <= FEW {
        return math::matvec(x, w, k);
    }
    math::multiplied(Mat::new(x, m, k), Mat::new(w, n, k).t(), 1.0)
}

/// [`linear`] with an adapter beside it: `x Wᵀ + b + scale · (x' Aᵀ) Bᵀ`, where `x'` is `x` after dropout.
pub(crate) fn adapted(
    x: Tensor<3>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    lora: &Lora,
    site: Site<'_>,
) -> Tensor<3> {
    let dropped = match site.dropout {
        Some(key) if lora.dropout > 0.0 => Some(dropout(x.clone(), lora.dropout, *key, site)),
        _ => None,
    };
    let outputs = weight.dims()[0];
    let (a, b) = (lora.a.val(), lora.b.val());
    let y = match tape::adapted(&x, dropped.as_ref(), &weight, [&a, &b], lora.scale) {
        Some(y) => y,
        None => {
            let low = linear(dropped.unwrap_or_else(|| x.clone()), a, None);
            linear(x, weight, None) + linear(low, b, None) * lora.scale
        }
    };
    match bias {
        Some(bias) => y + bias.reshape([1, 1, outputs]),
        None => y,
    }
}

/// `x / √(mean(x²) + eps) · w` over the last dimension.
pub(crate) fn rms_norm(x: Tensor<3>, weight: Tensor<1>, eps: f64) -> Tensor<3> {
    if let (Some(raw_x), Some(w)) = (raw(&x), raw(&weight)) {
        let (y, _) = rms(slice(&raw_x), slice(&w), eps as f32);
        return tensor(y, x.dims());
    }
    tape::rms_norm(&x, &weight, eps as f32).unwrap_or_else(|| plain_rms_norm(x, weight, eps))
}

fn plain_rms_norm(x: Tensor<3>, weight: Tensor<1>, eps: f64) -> Tensor<3> {
    let scale = (x.clone().square().mean_dim(2) + eps).sqrt().recip(); // [B, T, 1]
    let width = x.dims()[2];
    x * scale * weight.reshape([1, 1, width])
}

/// The result and each row's `1 / √(mean(x²) + eps)`.
fn rms(x: &[f32], w: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let width = w.len();
    let (mut y, mut scales) = (vec![0.0; x.len()], vec![0.0; x.len() / width]);
    math::rows2((&mut y, width), (&mut scales, 1), width, |row, y, scale| {
        let x = &x[row * width..(row + 1) * width];
        wide(
            #[inline(always)]
            || {
                let s = 1.0 / (math::sum_by(x, |x| x * x) / width as f32 + eps).sqrt();
                for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                    *y = x * s * w;
                }
                scale[0] = s;
            },
        );
    });
    (y, scales)
}

/// `(x - mean) / √(variance + eps) · w + b` over the last dimension.
pub(crate) fn layer_norm(x: Tensor<3>, weight: Tensor<1>, bias: Option<Tensor<1>>, eps: f64) -> Tensor<3> {
    let width = x.dims()[2];
    let x = x.clone() - x.mean_dim(2);
    let scale = (x.clone().square().mean_dim(2) + eps).sqrt().recip(); // [B, T, 1]
    let y = x * scale * weight.reshape([1, 1, width]);
    match bias {
        Some(bias) => y + bias.reshape([1, 1, width]),
        None => y,
    }
}

/// `silu(gate) · up`
pub(crate) fn swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    if let (Some(g), Some(u)) = (raw(&gate), raw(&up)) {
        return tensor(gated(slice(&g), slice(&u)), gate.dims());
    }
    tape::swiglu(&gate, &up).unwrap_or_else(|| plain_swiglu(gate, up))
}

fn plain_swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    activation::silu(gate) * up
}

/// Elements of one call of an element-wise loop.
const CHUNK: usize = 1024;

fn gated(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; gate.len()];
    math::rows(&mut y, CHUNK, CHUNK * 4, |i, y| {
        let at = i * CHUNK..i * CHUNK + y.len();
        let (gate, up) = (&gate[at.clone()], &up[at]);
        wide(
            #[inline(always)]
            || {
                for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
                    *y = g * math::sigmoid(*g) * u;
                }
            },
        );
    });
    y
}

/// A scalar whose gradient by `x` is `gradient`. Its own value means nothing.
pub(crate) fn with_gradient<const N: usize>(x: Tensor<N>, gradient: Tensor<N>) -> Tensor<1> {
    tape::with_gradient(&x, &gradient).unwrap_or_else(|| (x * Tensor::from_inner(gradient)).sum())
}

/// `x` in another number format, and its gradient in one of its own.
///
/// # Panics
/// On another device than the CPU, which a run refuses before.
pub(crate) fn round<const N: usize>(x: Tensor<N>, forward: Cast, backward: Cast) -> Tensor<N> {
    if let Some(raw) = raw(&x) {
        let mut values = slice(&raw).to_vec();
        forward.apply(&mut values);
        return tensor(values, x.dims());
    }
    tape::round(&x, forward, backward).expect("number formats are emulated on the CPU")
}

/// Calls `f` with each piece of `size` numbers and its index, on all threads.
pub(crate) fn chunks(values: &mut [f32], size: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    math::rows(values, size, size, |i, values| f(i, values));
}

/// Replaces each number.
pub(crate) fn each(values: &mut [f32], f: impl Fn(f32) -> f32 + Sync) {
    math::rows(values, CHUNK, CHUNK * 4, |_, values| values.iter_mut().for_each(|x| *x = f(*x)));
}

/// Rotates `[B, heads, T, E]` by the table's angles.
pub(crate) fn rope(x: Tensor<4>, rotation: &Rotation) -> Tensor<4> {
    if x.is_autodiff() {
        if let Some(y) = tape::rope(&x, rotation) {
            return y;
        }
    } else if x.dtype() == DType::F32
        && let Ok(raw) = x.clone().try_into_primitive::<CpuBackend>()
    {
        return tensor(rotate(&raw, rotation, 1.0), x.dims());
    }
    plain_rope(x, rotation)
}

fn plain_rope(x: Tensor<4>, rotation: &Rotation) -> Tensor<4> {
    let [b, h, t, whole] = x.dims();
    let half = rotation.pairs();
    let e = 2 * half;
    if e < whole {
        let turned = plain_rope(x.clone().narrow(3, 0, e), rotation);
        return Tensor::cat(vec![turned, x.narrow(3, e, whole - e)], 3);
    }
    let table = |values: &Tensor<3>| values.clone().unsqueeze_dim::<4>(1); // [B or 1, 1, T, E/2]
    let (cos, sin) = rotation.tensors();
    let (cos, sin) = (table(cos), table(sin));
    match rotation.style {
        RopeStyle::HalfSplit => {
            let low = x.clone().narrow(3, 0, half);
            let high = x.narrow(3, half, half);
            let turned_low = low.clone() * cos.clone() - high.clone() * sin.clone();
            let turned_high = high * cos + low * sin;
            Tensor::cat(vec![turned_low, turned_high], 3)
        }
        RopeStyle::Interleaved => {
            let pairs = x.reshape([b, h, t, half, 2]);
            let even = pairs.clone().narrow(4, 0, 1).squeeze_dim::<4>(4);
            let odd = pairs.narrow(4, 1, 1).squeeze_dim::<4>(4);
            let turned_even = even.clone() * cos.clone() - odd.clone() * sin.clone();
            let turned_odd = odd * cos + even * sin;
            Tensor::stack::<5>(vec![turned_even, turned_odd], 4).reshape([b, h, t, e])
        }
    }
}

/// Strides of `[B, heads, T, E]`'s first three dimensions, when the last lies together.
fn head_strides(raw: &Raw) -> Option<[usize; 3]> {
    let strides = raw.layout().strides();
    let by = |i: usize| usize::try_from(strides[i]).ok();
    (strides[3] == 1).then_some([by(0)?, by(1)?, by(2)?])
}

/// Rotates forward (`direction` 1) or back (-1): `[B, heads, T, E]` without gaps.
fn rotate(x: &Raw, rotation: &Rotation, direction: f32) -> Vec<f32> {
    let shape = x.layout().shape();
    let [heads, time, size] = [shape[1], shape[2], shape[3]];
    let (x, strides) = match head_strides(x) {
        Some(strides) => (x.clone(), strides),
        None => (x.to_contiguous(), [heads * time * size, time * size, size]),
    };
    let data = &x.storage::<f32>()[x.layout().start_offset()..];
    let half = rotation.pairs();
    let mut y = vec![0.0; shape.num_elements()];
    math::rows(&mut y, size, size * 2, |row, y| {
        let (b, h, t) = (row / (heads * time), row / time % heads, row % time);
        let start = b * strides[0] + h * strides[1] + t * strides[2];
        let x = &data[start..start + size];
        let table = (b % rotation.rows * time + t) * half;
        let (cos, sin) = (&rotation.cos[table..table + half], &rotation.sin[table..table + half]);
        let ((x, rest), (y, y_rest)) = (x.split_at(2 * half), y.split_at_mut(2 * half));
        y_rest.copy_from_slice(rest);
        wide(
            #[inline(always)]
            || turn_pairs(x, y, (cos, sin, direction), rotation.style),
        );
    });
    y
}

#[inline(always)]
fn turn_pairs(x: &[f32], y: &mut [f32], (cos, sin, direction): (&[f32], &[f32], f32), style: RopeStyle) {
    let half = cos.len();
    match style {
        RopeStyle::HalfSplit => {
            let ((low, high), (y_low, y_high)) = (x.split_at(half), y.split_at_mut(half));
            for i in 0..half {
                let s = sin[i] * direction;
                y_low[i] = low[i] * cos[i] - high[i] * s;
                y_high[i] = high[i] * cos[i] + low[i] * s;
            }
        }
        RopeStyle::Interleaved => {
            for i in 0..half {
                let (even, odd, s) = (x[2 * i], x[2 * i + 1], sin[i] * direction);
                y[2 * i] = even * cos[i] - odd * s;
                y[2 * i + 1] = odd * cos[i] + even * s;
            }
        }
    }
}

/// A fused attention where this device has one: `[B, H, T, E]`, `[B, K, S, E]` twice → `[B, T, H·E]`.
pub(crate) fn attention(
    q: &Tensor<4>,
    k: &Tensor<4>,
    v: &Tensor<4>,
    mask: &Mask,
    rule: &ScoreRule,
) -> Option<Tensor<3>> {
    if q.is_autodiff() {
        return tape::attention([q, k, v], mask, rule);
    }
    let [batch, heads, time, size] = q.dims();
    let inputs = [q, k, v].map(|x| x.clone().try_into_primitive::<CpuBackend>().ok());
    let [Some(q), Some(k), Some(v)] = inputs else {
        return None;
    };
    if q.dtype() != DType::F32 {
        return None;
    }
    let [q, k, v] = [together(q), together(k), together(v)];
    let attended = heads::attend(&heads::Inputs { q: head_view(&q), k: head_view(&k), v: head_view(&v), mask, rule });
    Some(tensor(attended.y, [batch, time, heads * size]))
}

/// The same tensor with each head's row in one piece.
fn together(raw: Raw) -> Raw {
    match head_strides(&raw) {
        Some(_) => raw,
        None => raw.to_contiguous(),
    }
}

fn head_view(raw: &Raw) -> heads::Heads<'_> {
    let shape = raw.layout().shape();
    heads::Heads {
        data: &raw.storage::<f32>()[raw.layout().start_offset()..],
        heads: shape[1],
        time: shape[2],
        size: shape[3],
        strides: head_strides(raw).expect("`together` made the rows contiguous"),
    }
}

/// Zeroes each input with probability `p` and scales the rest by `1 / (1 - p)`.
pub(crate) fn dropout(x: Tensor<3>, p: f32, key: DropoutKey, site: Site<'_>) -> Tensor<3> {
    let [batch, time, width] = x.dims();
    let keep = 1.0 / (1.0 - p);
    let threshold = (f64::from(p) * (1u64 << 32) as f64) as u64;
    let mut mask = vec![0.0; batch * time * width];
    math::rows(&mut mask, time * width, time * width, |b, row| {
        let row_key = row_key(key, site, b as u64);
        for (i, value) in (0u64..).zip(row) {
            if mix(row_key ^ mix(i)) >> 32 >= threshold {
                *value = keep;
            }
        }
    });
    let mask = Tensor::from_data(TensorData::new(mask, [batch, time, width]), &x.device());
    x * mask
}

/// [`dropout`] of attention's weights, `[B, H, T, S]`. What is dropped depends on head, query and key, not on how long the
/// batch is.
pub(crate) fn dropout_weights(weights: Tensor<4>, p: f32, key: DropoutKey, site: Site<'_>) -> Tensor<4> {
    let [batch, heads, time, keys] = weights.dims();
    let keep = 1.0 / (1.0 - p);
    let threshold = (f64::from(p) * (1u64 << 32) as f64) as u64;
    let site = site.named("weights");
    let mut mask = vec![0.0; batch * heads * time * keys];
    math::rows(&mut mask, keys, keys, |at, row| {
        let (b, h, t) = (at / (heads * time), at / time % heads, at % time);
        let key = mix(row_key(key, site, b as u64) ^ mix((h as u64) << 32 | t as u64));
        for (s, value) in (0u64..).zip(row) {
            if mix(key ^ mix(s)) >> 32 >= threshold {
                *value = keep;
            }
        }
    });
    let mask = Tensor::from_data(TensorData::new(mask, [batch, heads, time, keys]), &weights.device());
    weights * mask
}

/// The generator's key for one row of the step's batch in one projection.
fn row_key(key: DropoutKey, site: Site<'_>, b: u64) -> u64 {
    let name = site
        .name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    [key.seed, key.step, site.layer as u64, name, key.row + b].into_iter().fold(0, |hash, part| mix(hash ^ mix(part)))
}

/// SplitMix64's output function (Steele 2014): every input bit reaches every output bit.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
