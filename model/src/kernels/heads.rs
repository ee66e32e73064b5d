//! Attention on the CPU without ever holding all scores: a block of queries at a time, forward and backward
//! (FlashAttention's recomputation, Dao 2022). It knows slices and strides, no tensors.

use super::math::{Into, Mat, add_scaled, dot, exp, max, product, rows, rows2, sum_by, wide};
use crate::attention::{Mask, ScoreRule};

/// Queries of one block: its scores over a few hundred keys stay in the cache nearest to the core.
const BLOCK: usize = 64;

/// `[B, heads, T, E]` somewhere in a slice; `E` lies together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads<'a> {
    pub data: &'a [f32],
    pub heads: usize,
    pub time: usize,
    pub size: usize,
    /// Of batch, head, time.
    pub strides: [usize; 3],
}

impl<'a> Heads<'a> {
    /// `time × E` of one head.
    fn of(&self, b: usize, h: usize, from: usize, count: usize) -> Mat<'a> {
        let [by_batch, by_head, by_time] = self.strides;
        let start = b * by_batch + h * by_head + from * by_time;
        Mat::strided(&self.data[start..], count, self.size, by_time)
    }

    fn row(&self, b: usize, h: usize, t: usize) -> &'a [f32] {
        let [by_batch, by_head, by_time] = self.strides;
        let start = b * by_batch + h * by_head + t * by_time;
        &self.data[start..start + self.size]
    }
}

/// Attention's inputs: `q` has `H` heads and `T` positions, `k` and `v` have `K` heads and `S` positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a> {
    pub q: Heads<'a>,
    pub k: Heads<'a>,
    pub v: Heads<'a>,
    pub mask: &'a Mask,
    pub rule: &'a ScoreRule,
}

/// What attention computes, and what its backward pass needs again.
#[derive(Debug)]
pub(crate) struct Attended {
    /// `[B, T, H, E]`: as the output projection reads it
    pub y: Vec<f32>,
    /// `[B, H, T]`: the logarithm of each row's sum of exponentials
    pub lse: Vec<f32>,
}

impl Inputs<'_> {
    /// Products of a query of head `h` at position `own` with the keys from `first` on, scaled, become scores in place.
    #[inline(always)]
    fn bend(&self, h: usize, own: usize, first: usize, row: &mut [f32]) {
        if let Some(cap) = self.rule.softcap {
            for x in row.iter_mut() {
                *x = cap * (*x / cap).tanh();
            }
        }
        if let Some(slopes) = &self.rule.slopes {
            // Distances as floats that count down: every one is exact.
            let (slope, far) = (slopes[h], (own - first) as f32);
            for (i, x) in (0u32..).zip(row) {
                *x -= slope * (far - i as f32);
            }
        }
    }

    fn kv_head(&self, h: usize) -> usize {
        h / (self.q.heads / self.k.heads)
    }

    /// Keys that any query of the block may see.
    fn span(&self, b: usize, from: usize, count: usize) -> (usize, usize) {
        let end = self.mask.past + from + count;
        // A later query never sees an earlier first key, but a row of padding sees none at all.
        (self.mask.first_key(b, from).min(end), end)
    }

    /// Turns scores of a block into probabilities in place and returns each row's log-sum-exp. Hidden keys become 0.
    fn soften(&self, (b, h): (usize, usize), block: Block, scores: &mut [f32], lse: &mut [f32]) {
        for (i, row) in scores.chunks_exact_mut(block.keys()).enumerate() {
            let (low, high) = block.visible(self.mask, b, i);
            let own = self.mask.past + block.from + i;
            wide(
                #[inline(always)]
                || {
                    row[..low].fill(0.0);
                    row[high..].fill(0.0);
                    let seen = &mut row[low..high];
                    let mut scale = self.rule.scale;
                    if !self.rule.is_linear() && low < high {
                        for x in seen.iter_mut() {
                            *x *= scale;
                        }
                        self.bend(h, own, block.key_from + low, seen);
                        scale = 1.0;
                    }
                    let best = max(seen) * scale;
                    for x in seen.iter_mut() {
                        *x = exp(*x * scale - best);
                    }
                    let sum = sum_by(seen, |x| x);
                    let inverse = if seen.is_empty() { 0.0 } else { 1.0 / sum };
                    for x in seen {
                        *x *= inverse;
                    }
                    lse[i] = if low < high { best + sum.ln() } else { 0.0 };
                },
            );
        }
    }
}

/// A block of queries and the keys it sees.
#[derive(Clone, Copy, Debug)]
struct Block {
    from: usize,
    count: usize,
    key_from: usize,
    key_to: usize,
}

impl Block {
    fn keys(&self) -> usize {
        self.key_to - self.key_from
    }

    /// The visible part of query `i`'s row of scores.
    fn visible(&self, mask: &Mask, b: usize, i: usize) -> (usize, usize) {
        let query = self.from + i;
        let high = (mask.past + query + 1).clamp(self.key_from, self.key_to) - self.key_from;
        let low = mask.first_key(b, query).clamp(self.key_from, self.key_to) - self.key_from;
        (low.min(high), high)
    }
}

fn blocks(inputs: &Inputs<'_>, b: usize) -> Vec<Block> {
    let time = inputs.q.time;
    (0..time)
        .step_by(BLOCK)
        .map(|from| {
            let count = BLOCK.min(time - from);
            let (key_from, key_to) = inputs.span(b, from, count);
            Block { from, count, key_from, key_to }
        })
        // A block of nothing but padding sees no key, and its output stays zero.
        .filter(|block| block.keys() > 0)
        .collect()
}

/// `softmax(q kᵀ / √E + mask) v`
pub(crate) fn attend(inputs: &Inputs<'_>) -> Attended {
    if inputs.q.time == 1 {
        return attend_one(inputs);
    }
    let (batch, heads, time, size) = (inputs.mask.batch, inputs.q.heads, inputs.q.time, inputs.q.size);
    // By head first, as each task writes its own slice; turned at the end.
    let mut by_head = vec![0.0; batch * heads * time * size];
    let mut lse = vec![0.0; batch * heads * time];
    let cost = time * (time + inputs.mask.past) * size / 8;
    rows2((&mut by_head, time * size), (&mut lse, time), cost, |task, y, lse| {
        let (b, h) = (task / heads, task % heads);
        let kv = inputs.kv_head(h);
        let mut scores = Vec::new();
        for block in blocks(inputs, b) {
            let (count, keys) = (block.count, block.keys());
            scores.resize(count * keys, 0.0);
            let k = inputs.k.of(b, kv, block.key_from, keys);
            let q = inputs.q.of(b, h, block.from, count);
            product(Into::new(&mut scores, keys), q, k.t(), 1.0, false);
            inputs.soften((b, h), block, &mut scores, &mut lse[block.from..block.from + count]);
            let v = inputs.v.of(b, kv, block.key_from, keys);
            let y = &mut y[block.from * size..(block.from + count) * size];
            product(Into::new(y, size), Mat::new(&scores, count, keys), v, 1.0, false);
        }
    });
    let mut y = vec![0.0; by_head.len()];
    turn(&by_head, &mut y, heads, time, size);
    Attended { y, lse }
}

/// `[B, H, T, E]` to `[B, T, H, E]`
fn turn(from: &[f32], to: &mut [f32], heads: usize, time: usize, size: usize) {
    rows(to, heads * size, heads * size, |row, out| {
        let (b, t) = (row / time, row % time);
        for (h, out) in out.chunks_exact_mut(size).enumerate() {
            let start = ((b * heads + h) * time + t) * size;
            out.copy_from_slice(&from[start..start + size]);
        }
    });
}

/// One query a row: a decoding step.
fn attend_one(inputs: &Inputs<'_>) -> Attended {
    let (heads, size, scale) = (inputs.q.heads, inputs.q.size, inputs.rule.scale);
    let rows_of = inputs.mask.batch * heads;
    let (mut y, mut lse) = (vec![0.0; rows_of * size], vec![0.0; rows_of]);
    let end = inputs.mask.past + 1;
    rows2((&mut y, size), (&mut lse, 1), 2 * end * size, |task, y, lse| {
        let (b, h) = (task / heads, task % heads);
        let kv = inputs.kv_head(h);
        let first = inputs.mask.first_key(b, 0).min(end);
        let q = inputs.q.row(b, h, 0);
        wide(
            #[inline(always)]
            || {
                let mut scores: Vec<f32> = (first..end).map(|s| dot(q, inputs.k.row(b, kv, s)) * scale).collect();
                inputs.bend(h, end - 1, first.min(end - 1), &mut scores);
                let best = max(&scores);
                for x in &mut scores {
                    *x = exp(*x - best);
                }
                let sum = sum_by(&scores, |x| x);
                for (s, x) in (first..end).zip(&scores) {
                    add_scaled(y, x / sum, inputs.v.row(b, kv, s));
                }
                lse[0] = if first < end { best + sum.ln() } else { 0.0 };
            },
        );
    });
    Attended { y, lse }
}

/// Gradients of attention's inputs, each `[B, heads, T, E]` without gaps.
#[derive(Debug)]
pub(crate) struct Gradients {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
}

/// The backward pass. `attended` is what [`attend`] gave: `y`, `[B, T, H, E]` as `dy`, and the log-sum-exps.
pub(crate) fn attend_backward(inputs: &Inputs<'_>, attended: (&[f32], &[f32]), dy: &[f32]) -> Gradients {
    let (batch, heads, time, size) = (inputs.mask.batch, inputs.q.heads, inputs.q.time, inputs.q.size);
    let (one, keys) = (time * size, inputs.k.time * size);
    let mut dq = vec![0.0; batch * heads * one];
    // Keys and values per query head: heads of a group run on different threads and are added up afterwards.
    let mut dkv = vec![0.0; batch * heads * 2 * keys];
    rows2((&mut dq, one), (&mut dkv, 2 * keys), time * keys / 2, |task, dq, dkv| {
        let (b, h) = (task / heads, task % heads);
        let (dk, dv) = dkv.split_at_mut(keys);
        one_head_backward(inputs, attended, dy, (b, h), [dq, dk, dv]);
    });
    let kv_heads = inputs.k.heads;
    let group = heads / kv_heads;
    let (mut k, mut v) = (vec![0.0; batch * kv_heads * keys], vec![0.0; batch * kv_heads * keys]);
    rows2((&mut k, keys), (&mut v, keys), group * keys, |kv, k, v| {
        let (b, kv) = (kv / kv_heads, kv % kv_heads);
        for h in kv * group..(kv + 1) * group {
            let start = (b * heads + h) * 2 * keys;
            wide(
                #[inline(always)]
                || {
                    add_scaled(k, 1.0, &dkv[start..start + keys]);
                    add_scaled(v, 1.0, &dkv[start + keys..start + 2 * keys]);
                },
            );
        }
    });
    Gradients { q: dq, k, v }
}

fn one_head_backward(
    inputs: &Inputs<'_>,
    (y, lse): (&[f32], &[f32]),
    dy: &[f32],
    (b, h): (usize, usize),
    [dq, dk, dv]: [&mut [f32]; 3],
) {
    let (heads, time, size, scale) = (inputs.q.heads, inputs.q.time, inputs.q.size, inputs.rule.scale);
    let kv = inputs.kv_head(h);
    let width = heads * size;
    let rows_of = |data, from: usize, count| {
        let start = (b * time + from) * width + h * size;
        Mat::strided(slice_from(data, start), count, size, width)
    };
    let lse = &lse[(b * heads + h) * time..][..time];
    let (mut p, mut ds) = (Vec::new(), Vec::new());
    for block in blocks(inputs, b) {
        let (count, keys, from) = (block.count, block.keys(), block.from);
        p.resize(count * keys, 0.0);
        ds.resize(count * keys, 0.0);
        let q = inputs.q.of(b, h, from, count);
        let k = inputs.k.of(b, kv, block.key_from, keys);
        let v = inputs.v.of(b, kv, block.key_from, keys);
        let dy_block = rows_of(dy, from, count);
        product(Into::new(&mut p, keys), q, k.t(), scale, false);
        product(Into::new(&mut ds, keys), dy_block, v.t(), 1.0, false);
        for i in 0..count {
            let (low, high) = block.visible(inputs.mask, b, i);
            let (p, ds) = (&mut p[i * keys..(i + 1) * keys], &mut ds[i * keys..(i + 1) * keys]);
            let start = (b * time + from + i) * width + h * size;
            wide(
                #[inline(always)]
                || {
                    // Σ p · dp = dy · y, so no second pass over the row is needed.
                    let correction = dot(&dy[start..start + size], &y[start..start + size]);
                    let lse = lse[from + i];
                    for x in [&mut *p, &mut *ds] {
                        x[..low].fill(0.0);
                        x[high..].fill(0.0);
                    }
                    let (p, ds) = (&mut p[low..high], &mut ds[low..high]);
                    if let Some(cap) = inputs.rule.softcap {
                        // The slope of tanh where the product stood.
                        for (p, ds) in p.iter().zip(ds.iter_mut()) {
                            *ds = (*ds - correction) * (1.0 - (*p / cap).tanh().powi(2));
                        }
                    } else {
                        for ds in ds.iter_mut() {
                            *ds -= correction;
                        }
                    }
                    if low < high {
                        inputs.bend(h, inputs.mask.past + from + i, block.key_from + low, p);
                    }
                    for (p, ds) in p.iter_mut().zip(ds) {
                        *p = exp(*p - lse);
                        *ds *= *p;
                    }
                },
            );
        }
        let (p, ds) = (Mat::new(&p, count, keys), Mat::new(&ds, count, keys));
        let keys_of = block.key_from * size..block.key_to * size;
        product(Into::adding(&mut dv[keys_of.clone()], size), p.t(), dy_block, 1.0, false);
        product(Into::adding(&mut dk[keys_of], size), ds.t(), q, scale, false);
        product(Into::new(&mut dq[from * size..(from + count) * size], size), ds, k, scale, false);
    }
}

fn slice_from(data: &[f32], start: usize) -> &[f32] {
    &data[start..]
}
