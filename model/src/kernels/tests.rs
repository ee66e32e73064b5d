//! Every fast path equals its slow twin, forward and backward.

use std::sync::Arc;

use burn::tensor::{Device, Distribution, Tensor};
use proptest::prelude::*;

use super::*;
use crate::attention::attend_in_steps;
use crate::config::{ModelConfig, Position, Rope};
use crate::device;
use crate::projection::floats;

/// A tensor of normal numbers that `path` alone decides.
fn random<const N: usize>(path: &str, shape: [usize; N], device: &Device) -> Tensor<N> {
    let values = crate::init::normal(path, shape.iter().product(), 1.0, 7);
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn taped<const N: usize>(path: &str, shape: [usize; N]) -> Tensor<N> {
    random(path, shape, &device::cpu().autodiff()).require_grad()
}

#[track_caller]
fn close<const N: usize>(a: Tensor<N>, b: Tensor<N>, tolerance: f32) {
    assert_eq!(a.dims(), b.dims());
    for (a, b) in floats(a.into_data()).into_iter().zip(floats(b.into_data())) {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{a} is not {b}");
    }
}

/// Both functions give the same, and so do their gradients under a random weighting of the result.
#[track_caller]
fn same_gradients<const I: usize, const N: usize, const O: usize>(
    inputs: [Tensor<N>; I],
    fast: impl Fn([Tensor<N>; I]) -> Tensor<O>,
    slow: impl Fn([Tensor<N>; I]) -> Tensor<O>,
) {
    let gradients = |y: Tensor<O>| {
        let weights = random("weights", y.dims(), &y.device());
        let mut grads = (y * weights).sum().backward();
        inputs.each_ref().map(|x| x.grad_remove(&mut grads).expect("every input is trained"))
    };
    let (a, b) = (fast(inputs.clone()), slow(inputs.clone()));
    close(a.clone().inner(), b.clone().inner(), 1e-5);
    for (a, b) in gradients(a).into_iter().zip(gradients(b)) {
        close(a, b, 3e-5);
    }
}

/// Over the first `dims` of heads of `size`.
fn rotation(style: RopeStyle, time: usize, [size, dims]: [usize; 2], device: &Device) -> Rotation {
    let mut config = ModelConfig::llama(8, size, 1, (1, 1), 64);
    config.position = Position::Rope(Rope { style, dims: Some(dims), ..Rope::new(100.0) });
    let positions = [(0..time).collect(), (3..time + 3).collect()];
    Rotation::new(&config, &positions, device).expect("the position is RoPE")
}

#[test]
fn norm_gradients() {
    let inputs = [taped("x", [2, 5, 40]), taped("w", [1, 1, 40])];
    let weight = |w: Tensor<3>| w.reshape([40]);
    same_gradients(inputs, |[x, w]| rms_norm(x, weight(w), 1e-2), |[x, w]| plain_rms_norm(x, weight(w), 1e-2));
}

#[test]
fn swiglu_gradients() {
    let inputs = [taped("gate", [2, 31, 50]), taped("up", [2, 31, 50])];
    same_gradients(inputs, |[g, u]| swiglu(g, u), |[g, u]| plain_swiglu(g, u));
}

#[test]
fn rope_gradients() {
    for (style, dims) in [(RopeStyle::HalfSplit, 10), (RopeStyle::Interleaved, 10), (RopeStyle::HalfSplit, 4)] {
        let rotation = rotation(style, 6, [10, dims], &device::cpu().autodiff());
        // Through the layout the projections give: time before heads.
        let turned = |x: Tensor<4>| x.swap_dims(1, 2);
        same_gradients(
            [taped("x", [2, 6, 3, 10])],
            |[x]| rope(turned(x), &rotation),
            |[x]| plain_rope(turned(x), &rotation),
        );
    }
}

#[test]
fn linear_gradients() {
    for time in [1, 9] {
        same_gradients(
            [taped("x", [2, time, 20]), taped("w", [1, 33, 20])],
            |[x, w]| linear(x, w.reshape([33, 20]), None),
            |[x, w]| plain_linear(x, w.reshape([33, 20])),
        );
    }
}

#[test]
fn adapter_gradients_with_and_without_dropout() {
    let key = DropoutKey { seed: 1, step: 2, row: 0 };
    let weight = random("weight", [24, 20], &device::cpu().autodiff());
    let site = Site { dropout: Some(&key), layer: 3, name: "q_proj", rounding: None };
    for drops in [false, true] {
        let dropped = |x: &Tensor<3>| drops.then(|| dropout(x.clone(), 0.4, key, site));
        same_gradients(
            [taped("x", [2, 7, 20]), taped("a", [1, 4, 20]), taped("b", [1, 24, 4])],
            |[x, a, b]| {
                let (a, b) = (a.reshape([4, 20]), b.reshape([24, 4]));
                let dropped = dropped(&x);
                tape::adapted(&x, dropped.as_ref(), &weight, [&a, &b], 0.7).expect("all of it is on the tape")
            },
            |[x, a, b]| {
                let low = plain_linear(dropped(&x).unwrap_or_else(|| x.clone()), a.reshape([4, 20]));
                plain_linear(x, weight.clone()) + plain_linear(low, b.reshape([24, 4])) * 0.7
            },
        );
    }
}

/// Every kind of mask, more queries than a block, groups of heads.
fn masks(batch: usize, time: usize) -> Vec<Mask> {
    let plain = Mask { batch, queries: time, ..Mask::default() };
    let pads: Vec<usize> = (0..batch).map(|b| (b * 29) % time).collect();
    let segments = |b: usize| (0..time).map(|t| ((t + 5 * b) / 23) as u32).collect();
    vec![
        plain.clone(),
        Mask { window: Some(11), ..plain.clone() },
        Mask { left_pad: pads.clone(), ..plain.clone() },
        // Keys in front of the first query, as a prefix puts them there.
        Mask { past: 5, ..plain.clone() },
        Mask { past: 5, left_pad: pads, window: Some(17), ..plain.clone() },
        Mask { segments: (0..batch).map(segments).collect(), ..plain },
    ]
}

#[test]
fn attention_gradients() {
    let (batch, heads, kv, size) = (3, 4, 2, 8);
    let plain = ScoreRule::plain(size);
    let slopes: Arc<[f32]> = Arc::new([0.5, 0.25, 0.125, 0.0625]);
    let rules = [
        plain.clone(),
        ScoreRule { slopes: Some(slopes.clone()), ..plain.clone() },
        ScoreRule { softcap: Some(0.8), scale: 0.3, slopes: None },
        ScoreRule { softcap: Some(2.0), slopes: Some(slopes), ..plain.clone() },
    ];
    for time in [1, 20, 130] {
        let rules = if time == 20 { &rules[..] } else { &rules[..1] };
        let both = rules.iter().flat_map(|rule| masks(batch, time).into_iter().map(move |mask| (mask, rule)));
        for (mask, rule) in both {
            let inputs = [taped("qkv", [batch, mask.past + time, heads + 2 * kv, size])];
            let split = |x: Tensor<4>| {
                let part = |from, n| x.clone().narrow(2, from, n).swap_dims(1, 2);
                [part(0, heads).narrow(2, mask.past, time), part(heads, kv), part(heads + kv, kv)]
            };
            // A row of padding is nobody's business: the steps give it something, the kernel nothing.
            let hide = |y: Tensor<3>| {
                let pad = |b: usize, t: usize| f32::from(mask.left_pad.get(b).is_none_or(|pad| t >= *pad));
                let keep: Vec<f32> = (0..batch * time).map(|i| pad(i / time, i % time)).collect();
                let keep = Tensor::<3>::from_data(TensorData::new(keep, [batch, time, 1]), &y.device());
                y * keep
            };
            same_gradients(
                inputs,
                |[x]| {
                    let [q, k, v] = split(x);
                    hide(attention(&q, &k, &v, &mask, rule).expect("all of it is on the tape"))
                },
                |[x]| {
                    let y = attend_in_steps(split(x), &mut mask.clone(), rule, (0.0, Site::default())).output();
                    hide(y.swap_dims(1, 2).reshape([batch, time, heads * size]))
                },
            );
        }
    }
}

#[test]
fn dropout_depends_on_its_key_only() {
    let device = device::cpu();
    let x = Tensor::<3>::ones([4, 50, 40], &device);
    let key = DropoutKey { seed: 5, step: 9, row: 0 };
    let site = Site { layer: 1, name: "up_proj", ..Site::default() };
    let whole = dropout(x.clone(), 0.25, key, site);
    close(whole.clone(), dropout(x.clone(), 0.25, key, site), 0.0);
    // The second half of the batch alone drops the same as within the whole.
    let half = dropout(x.clone().narrow(0, 2, 2), 0.25, DropoutKey { row: 2, ..key }, site);
    close(whole.clone().narrow(0, 2, 2), half, 0.0);
    let mean = floats(whole.clone().mean().into_data())[0];
    assert!((mean - 1.0).abs() < 0.03, "kept inputs make up for dropped ones, but the mean is {mean}");
    let others = [
        dropout(x.clone(), 0.25, DropoutKey { step: 10, ..key }, site),
        dropout(x.clone(), 0.25, key, Site { layer: 2, ..site }),
        dropout(x, 0.25, key, site.named("gate_proj")),
    ];
    for other in others {
        let differ = floats((other - whole.clone()).abs().mean().into_data())[0];
        assert!(differ > 0.2, "masks of different keys are alike: {differ}");
    }
}

proptest! {
    #[test]
    fn fast_forward_is_slow_forward(b in 1usize..3, t in 1usize..9, width in 1usize..70, out in 1usize..40) {
        let device = device::cpu();
        let x = Tensor::<3>::random([b, t, width], Distribution::Normal(0.0, 1.0), &device);
        let y = Tensor::<3>::random([b, t, width], Distribution::Normal(0.0, 1.0), &device);
        let w = Tensor::<2>::random([out, width], Distribution::Normal(0.0, 1.0), &device);
        let scale = Tensor::<1>::random([width], Distribution::Normal(0.0, 1.0), &device);
        close(linear(x.clone(), w.clone(), None), plain_linear(x.clone(), w), 1e-4);
        close(rms_norm(x.clone(), scale.clone(), 1e-5), plain_rms_norm(x.clone(), scale, 1e-5), 1e-5);
        close(swiglu(x.clone(), y.clone()), plain_swiglu(x, y), 1e-5);
    }
}
