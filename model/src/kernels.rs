//! The computations that decide the model's speed: each is written once in burn's operations, for every device.

use burn::tensor::{Tensor, TensorData, activation};

use crate::attention::Mask;
use crate::config::RopeStyle;
use crate::projection::{DropoutKey, Site};
use crate::rope::Rotation;

/// `x Wᵀ + b`: `[B, T, in]`, `[out, in]`, `[out]` → `[B, T, out]`.
pub(crate) fn linear(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let [batch, time, inputs] = x.dims();
    let outputs = weight.dims()[0];
    // One matrix product of B·T rows: burn would run B of them with the weight broadcast.
    let y = x.reshape([batch * time, inputs]).matmul(weight.transpose());
    let y = y.reshape([batch, time, outputs]);
    match bias {
        Some(bias) => y + bias.reshape([1, 1, outputs]),
        None => y,
    }
}

/// `x / √(mean(x²) + eps) · w` over the last dimension.
pub(crate) fn rms_norm(x: Tensor<3>, weight: Tensor<1>, eps: f64) -> Tensor<3> {
    let scale = (x.clone().square().mean_dim(2) + eps).sqrt().recip(); // [B, T, 1]
    let width = x.dims()[2];
    x * scale * weight.reshape([1, 1, width])
}

/// `(x - mean) / √(variance + eps) · w + b` over the last dimension.
pub(crate) fn layer_norm(x: Tensor<3>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<3> {
    let width = x.dims()[2];
    let x = x.clone() - x.mean_dim(2);
    let scale = (x.clone().square().mean_dim(2) + eps).sqrt().recip(); // [B, T, 1]
    x * scale * weight.reshape([1, 1, width]) + bias.reshape([1, 1, width])
}

/// `silu(gate) · up`
pub(crate) fn swiglu(gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
    activation::silu(gate) * up
}

/// Rotates `[B, heads, T, E]` by the table's angles.
pub(crate) fn rope(x: Tensor<4>, rotation: &Rotation) -> Tensor<4> {
    let [b, h, t, e] = x.dims();
    let half = e / 2;
    let table = |values: &Tensor<3>| values.clone().unsqueeze_dim::<4>(1); // [B or 1, 1, T, E/2]
    let (cos, sin) = (table(&rotation.cos), table(&rotation.sin));
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

/// A fused attention where this device has one: `[B, H, T, E]`, `[B, K, S, E]` twice → `[B, H, T, E]`.
pub(crate) fn attention(
    _q: &Tensor<4>,
    _k: &Tensor<4>,
    _v: &Tensor<4>,
    _mask: &Mask,
) -> Option<Tensor<4>> {
    None
}

/// Zeroes each input with probability `p` and scales the rest by `1 / (1 - p)`.
pub(crate) fn dropout(x: Tensor<3>, p: f32, key: DropoutKey, site: Site<'_>) -> Tensor<3> {
    let [batch, time, width] = x.dims();
    let keep = 1.0 / (1.0 - p);
    let threshold = (f64::from(p) * (1u64 << 32) as f64) as u64;
    let mut mask = Vec::with_capacity(batch * time * width);
    for b in 0..batch as u64 {
        let row = row_key(key, site, b);
        mask.extend((0..(time * width) as u64).map(|i| {
            if mix(row ^ mix(i)) >> 32 < threshold {
                0.0
            } else {
                keep
            }
        }));
    }
    let mask = Tensor::from_data(TensorData::new(mask, [batch, time, width]), &x.device());
    x * mask
}

/// The generator's key for one row of the step's batch in one projection.
fn row_key(key: DropoutKey, site: Site<'_>, b: u64) -> u64 {
    let name = site
        .name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    [key.seed, key.step, site.layer as u64, name, key.row + b]
        .into_iter()
        .fold(0, |hash, part| mix(hash ^ mix(part)))
}

/// SplitMix64's output function (Steele 2014): every input bit reaches every output bit.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
