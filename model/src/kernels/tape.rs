//! The CPU kernels on a gradient tape: what each remembers of its forward pass, and its backward pass. None where the
//! tensors are not f32 on the CPU's tape; then burn's own operations record themselves.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Tensor, TensorData};

use super::heads::{self, Attended};
use super::math::{self, Into, Mat};
use super::{Raw, dense, gated, head_view, new_raw, raw, rms, rotate, slice, together};
use crate::attention::{Mask, ScoreRule};
use crate::device::{CpuAutodiff, CpuBackend};
use crate::rope::Rotation;
use crate::rounding::Cast;

pub(super) type Taped = FloatTensor<CpuAutodiff>;

pub(super) fn taped<const N: usize>(x: &Tensor<N>) -> Option<Taped> {
    if !x.is_autodiff() || x.dtype() != DType::F32 {
        return None;
    }
    x.clone().try_into_primitive::<CpuAutodiff>().ok()
}

pub(super) fn untaped<const N: usize>(x: Taped) -> Tensor<N> {
    Tensor::from_primitive::<CpuAutodiff>(x)
}

/// Puts an operation on the tape; `state` is only built where somebody wants a gradient.
pub(super) fn record<const N: usize, Op: Backward<CpuBackend, N>>(
    operation: Op,
    parents: [&Taped; N],
    state: impl FnOnce() -> Op::State,
    output: Raw,
) -> Taped {
    let nodes = parents.map(|parent| parent.node());
    match operation.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(state(), output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}

/// The memory of a tensor on the tape, without gaps.
pub(super) fn memory(x: &Taped) -> Raw {
    x.primitive().to_contiguous()
}

pub(super) fn dims<const N: usize>(raw: &Raw) -> [usize; N] {
    let shape = raw.layout().shape();
    std::array::from_fn(|i| shape[i])
}

/// Values with another tensor's shape.
fn like(values: Vec<f32>, of: &Raw) -> Raw {
    Raw::from_data(TensorData::new(values, of.layout().shape().clone()))
}

#[derive(Debug)]
struct Linear;

/// `x` (where the weight is trained) and `w`.
type LinearState = (Option<Raw>, Raw);

impl Backward<CpuBackend, 2> for Linear {
    type State = LinearState;

    fn backward(self, ops: Ops<LinearState, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<CpuBackend>(&ops.node).to_contiguous();
        let [b, t, n] = dims(&dy);
        let (x, w) = &ops.state;
        let k = dims::<2>(w)[1];
        let dy = Mat::new(slice(&dy), b * t, n);
        if let Some(node) = &ops.parents[0] {
            let dx = math::multiplied(dy, Mat::new(slice(w), n, k), 1.0);
            grads.register::<CpuBackend>(node.id, new_raw(dx, [b, t, k]));
        }
        if let (Some(node), Some(x)) = (&ops.parents[1], x) {
            let dw = math::multiplied(dy.t(), Mat::new(slice(x), b * t, k), 1.0);
            grads.register::<CpuBackend>(node.id, new_raw(dw, [n, k]));
        }
    }
}

pub(super) fn linear(x: &Tensor<3>, w: &Tensor<2>) -> Option<Tensor<3>> {
    let (x, w) = (taped(x)?, taped(w)?);
    let (raw_x, raw_w) = (memory(&x), memory(&w));
    let [b, t, _] = dims(&raw_x);
    let [n, _] = dims(&raw_w);
    let y = new_raw(dense(slice(&raw_x), slice(&raw_w), n), [b, t, n]);
    let state = || (w.is_tracked().then_some(raw_x), raw_w);
    Some(untaped(record(Linear, [&x, &w], state, y)))
}

/// A frozen weight with an adapter beside it.
#[derive(Debug)]
struct Adapted;

#[derive(Clone, Debug)]
struct AdaptedState {
    /// The adapter's input: `x`, or `x` after dropout.
    input: Raw,
    dropped: bool,
    /// `input Aᵀ`, `[B·T, r]`
    low: Vec<f32>,
    w: Raw,
    a: Raw,
    b: Raw,
    scale: f32,
}

impl Backward<CpuBackend, 4> for Adapted {
    type State = AdaptedState;

    fn backward(self, ops: Ops<AdaptedState, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let s = &ops.state;
        let dy = grads.consume::<CpuBackend>(&ops.node).to_contiguous();
        let [batch, time, n] = dims(&dy);
        let (m, [r, k]) = (batch * time, dims(&s.a));
        let dy = Mat::new(slice(&dy), m, n);
        let [w, a, b] = [(&s.w, n, k), (&s.a, r, k), (&s.b, n, r)].map(|(raw, i, j)| Mat::new(slice(raw), i, j));

        let d_low = math::multiplied(dy, b, s.scale);
        let d_low = Mat::new(&d_low, m, r);
        if let Some(node) = &ops.parents[2] {
            let da = math::multiplied(d_low.t(), Mat::new(slice(&s.input), m, k), 1.0);
            grads.register::<CpuBackend>(node.id, new_raw(da, [r, k]));
        }
        if let Some(node) = &ops.parents[3] {
            let db = math::multiplied(dy.t(), Mat::new(&s.low, m, r), s.scale);
            grads.register::<CpuBackend>(node.id, new_raw(db, [n, r]));
        }
        if let Some(node) = &ops.parents[0] {
            let mut dx = math::multiplied(dy, w, 1.0);
            if !s.dropped {
                math::product(Into::adding(&mut dx, k), d_low, a, 1.0, true);
            }
            grads.register::<CpuBackend>(node.id, new_raw(dx, [batch, time, k]));
        }
        if let (Some(node), true) = (&ops.parents[1], s.dropped) {
            let dx = math::multiplied(d_low, a, 1.0);
            grads.register::<CpuBackend>(node.id, new_raw(dx, [batch, time, k]));
        }
    }
}

/// None where the weight is trained too: then the parts record themselves.
pub(super) fn adapted(
    x: &Tensor<3>,
    dropped: Option<&Tensor<3>>,
    w: &Tensor<2>,
    [a, b]: [&Tensor<2>; 2],
    scale: f32,
) -> Option<Tensor<3>> {
    let (x, w, a, b) = (taped(x)?, taped(w)?, taped(a)?, taped(b)?);
    if w.is_tracked() {
        return None;
    }
    let input = match dropped {
        Some(dropped) => taped(dropped)?,
        None => x.clone(),
    };
    let [raw_x, raw_input, raw_w, raw_a, raw_b] = [&x, &input, &w, &a, &b].map(memory);
    let [batch, time, k] = dims(&raw_x);
    let ([n, _], [r, _]) = (dims::<2>(&raw_w), dims::<2>(&raw_a));
    let m = batch * time;
    let mut y = dense(slice(&raw_x), slice(&raw_w), n);
    let low = math::multiplied(Mat::new(slice(&raw_input), m, k), Mat::new(slice(&raw_a), r, k).t(), 1.0);
    let b_turned = Mat::new(slice(&raw_b), n, r).t();
    math::product(Into::adding(&mut y, n), Mat::new(&low, m, r), b_turned, scale, true);
    let state =
        || AdaptedState { input: raw_input, dropped: dropped.is_some(), low, w: raw_w, a: raw_a, b: raw_b, scale };
    let y = new_raw(y, [batch, time, n]);
    Some(untaped(record(Adapted, [&x, &input, &a, &b], state, y)))
}

#[derive(Debug)]
struct RmsNorm;

/// `x`, `w`, each row's scale.
type RmsState = (Raw, Raw, Vec<f32>);

impl Backward<CpuBackend, 2> for RmsNorm {
    type State = RmsState;

    fn backward(self, ops: Ops<RmsState, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<CpuBackend>(&ops.node).to_contiguous();
        let (raw_x, w, scales) = &ops.state;
        let (x, w, dy) = (slice(raw_x), slice(w), slice(&dy));
        let width = w.len();
        let at = |row: usize| row * width..(row + 1) * width;
        if let Some(node) = &ops.parents[0] {
            let mut dx = vec![0.0; x.len()];
            math::rows(&mut dx, width, 2 * width, |row, dx| {
                let (x, dy, s) = (&x[at(row)], &dy[at(row)], scales[row]);
                math::wide(
                    #[inline(always)]
                    || {
                        for ((dx, dy), w) in dx.iter_mut().zip(dy).zip(w) {
                            *dx = dy * w;
                        }
                        let pull = math::dot(dx, x) * s * s * s / width as f32;
                        for (dx, x) in dx.iter_mut().zip(x) {
                            *dx = *dx * s - x * pull;
                        }
                    },
                );
            });
            grads.register::<CpuBackend>(node.id, like(dx, raw_x));
        }
        if let Some(node) = &ops.parents[1] {
            let mut dw = vec![0.0; width];
            for (row, s) in scales.iter().enumerate() {
                let (x, dy) = (&x[at(row)], &dy[at(row)]);
                math::wide(
                    #[inline(always)]
                    || {
                        for ((dw, x), dy) in dw.iter_mut().zip(x).zip(dy) {
                            *dw += x * s * dy;
                        }
                    },
                );
            }
            grads.register::<CpuBackend>(node.id, new_raw(dw, [width]));
        }
    }
}

pub(super) fn rms_norm(x: &Tensor<3>, w: &Tensor<1>, eps: f32) -> Option<Tensor<3>> {
    let (x, w) = (taped(x)?, taped(w)?);
    let (raw_x, raw_w) = (memory(&x), memory(&w));
    let (y, scales) = rms(slice(&raw_x), slice(&raw_w), eps);
    let y = like(y, &raw_x);
    Some(untaped(record(RmsNorm, [&x, &w], || (raw_x, raw_w, scales), y)))
}

#[derive(Debug)]
struct SwiGlu;

impl Backward<CpuBackend, 2> for SwiGlu {
    /// `gate`, `up`
    type State = (Raw, Raw);

    fn backward(self, ops: Ops<(Raw, Raw), 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        const CHUNK: usize = super::CHUNK;
        let dy = grads.consume::<CpuBackend>(&ops.node).to_contiguous();
        let (raw_gate, raw_up) = &ops.state;
        let (gate, up, dy) = (slice(raw_gate), slice(raw_up), slice(&dy));
        let (mut d_gate, mut d_up) = (vec![0.0; gate.len()], vec![0.0; gate.len()]);
        math::rows2((&mut d_gate, CHUNK), (&mut d_up, CHUNK), CHUNK * 4, |i, d_gate, d_up| {
            let at = i * CHUNK..i * CHUNK + d_gate.len();
            let (gate, up, dy) = (&gate[at.clone()], &up[at.clone()], &dy[at]);
            math::wide(
                #[inline(always)]
                || {
                    for j in 0..dy.len().min(gate.len()).min(up.len()).min(d_gate.len()).min(d_up.len()) {
                        let (g, s) = (gate[j], math::sigmoid(gate[j]));
                        d_gate[j] = dy[j] * up[j] * s * (1.0 + g * (1.0 - s));
                        d_up[j] = dy[j] * g * s;
                    }
                },
            );
        });
        for (parent, d) in ops.parents.iter().zip([d_gate, d_up]) {
            if let Some(node) = parent {
                grads.register::<CpuBackend>(node.id, like(d, raw_gate));
            }
        }
    }
}

pub(super) fn swiglu(gate: &Tensor<3>, up: &Tensor<3>) -> Option<Tensor<3>> {
    let (gate, up) = (taped(gate)?, taped(up)?);
    let (raw_gate, raw_up) = (memory(&gate), memory(&up));
    let y = like(gated(slice(&raw_gate), slice(&raw_up)), &raw_gate);
    Some(untaped(record(SwiGlu, [&gate, &up], || (raw_gate, raw_up), y)))
}

#[derive(Debug)]
struct Round;

impl Backward<CpuBackend, 1> for Round {
    type State = Cast;

    fn backward(self, ops: Ops<Cast, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<CpuBackend>(&ops.node).to_contiguous();
        if let Some(node) = &ops.parents[0] {
            let mut dx = slice(&dy).to_vec();
            ops.state.apply(&mut dx);
            grads.register::<CpuBackend>(node.id, like(dx, &dy));
        }
    }
}

pub(super) fn round<const N: usize>(x: &Tensor<N>, forward: Cast, backward: Cast) -> Option<Tensor<N>> {
    let x = taped(x)?;
    let raw = memory(&x);
    let mut values = slice(&raw).to_vec();
    forward.apply(&mut values);
    Some(untaped(record(Round, [&x], || backward, like(values, &raw))))
}

#[derive(Debug)]
struct Given;

impl Backward<CpuBackend, 1> for Given {
    type State = Raw;

    fn backward(self, ops: Ops<Raw, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<CpuBackend>(&ops.node).to_contiguous();
        if let Some(node) = &ops.parents[0] {
            let scale = slice(&dy)[0];
            let gradient = match scale {
                1.0 => ops.state.clone(),
                _ => like(slice(&ops.state).iter().map(|g| g * scale).collect(), &ops.state),
            };
            grads.register::<CpuBackend>(node.id, gradient);
        }
    }
}

pub(super) fn with_gradient<const N: usize>(x: &Tensor<N>, gradient: &Tensor<N>) -> Option<Tensor<1>> {
    let (x, gradient) = (taped(x)?, raw(gradient)?);
    Some(untaped(record(Given, [&x], || gradient, new_raw(vec![0.0], [1]))))
}

#[derive(Debug)]
struct Rope;

impl Backward<CpuBackend, 1> for Rope {
    type State = Rotation;

    fn backward(self, ops: Ops<Rotation, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<CpuBackend>(&ops.node);
        if let Some(node) = &ops.parents[0] {
            // A rotation's transpose is the rotation back.
            let dx = rotate(&dy, &ops.state, -1.0);
            grads.register::<CpuBackend>(node.id, like(dx, &dy));
        }
    }
}

pub(super) fn rope(x: &Tensor<4>, rotation: &Rotation) -> Option<Tensor<4>> {
    let x = taped(x)?;
    let y = like(rotate(x.primitive(), rotation, 1.0), x.primitive());
    Some(untaped(record(Rope, [&x], || rotation.clone(), y)))
}

#[derive(Debug)]
struct Attention;

#[derive(Clone, Debug)]
struct AttentionState {
    q: Raw,
    k: Raw,
    v: Raw,
    mask: Mask,
    rule: ScoreRule,
    /// `[B, T, H, E]`, shared with the output
    y: Raw,
    /// `[B, H, T]`
    lse: Vec<f32>,
}

impl Backward<CpuBackend, 3> for Attention {
    type State = AttentionState;

    fn backward(self, ops: Ops<AttentionState, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let s = &ops.state;
        let dy = grads.consume::<CpuBackend>(&ops.node).to_contiguous();
        let [q, k, v] = [&s.q, &s.k, &s.v].map(head_view);
        let inputs = heads::Inputs { q, k, v, mask: &s.mask, rule: &s.rule };
        let d = heads::attend_backward(&inputs, (slice(&s.y), &s.lse), slice(&dy));
        let all = ops.parents.iter().zip([(d.q, &s.q), (d.k, &s.k), (d.v, &s.v)]);
        for (parent, (values, of)) in all {
            if let Some(node) = parent {
                grads.register::<CpuBackend>(node.id, like(values, of));
            }
        }
    }
}

pub(super) fn attention([q, k, v]: [&Tensor<4>; 3], mask: &Mask, rule: &ScoreRule) -> Option<Tensor<3>> {
    let [batch, heads, time, size] = q.dims();
    let (q, k, v) = (taped(q)?, taped(k)?, taped(v)?);
    let [raw_q, raw_k, raw_v] = [&q, &k, &v].map(|x| together(x.primitive().clone()));
    let [view_q, view_k, view_v] = [&raw_q, &raw_k, &raw_v].map(head_view);
    let Attended { y, lse } = heads::attend(&heads::Inputs { q: view_q, k: view_k, v: view_v, mask, rule });
    let y = new_raw(y, [batch, time, heads * size]);
    let state = || {
        let (mask, rule) = (mask.without_bias(), rule.clone());
        AttentionState { q: raw_q, k: raw_k, v: raw_v, mask, rule, y: y.clone(), lse }
    };
    Some(untaped(record(Attention, [&q, &k, &v], state, y.clone())))
}
