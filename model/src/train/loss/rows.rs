//! A row of logits becomes a row of `softmax - onehot` in place, with its loss on the way. Written so that the compiler can use
//! the widest vectors the machine has; every machine runs the same arithmetic in its own order.

use super::{Objective, Sums};

/// Turns `[n, V]` logits into the gradient of `Σ weight · objective`, row by row; `losses` gets each row's.
pub(super) fn to_gradients(
    logits: &mut [f32],
    (targets, weights): (&[i32], &[f32]),
    objective: Objective<'_>,
    losses: &mut Vec<f64>,
) -> Sums {
    let vocab = logits.len() / targets.len();
    let one = |(row, (target, weight)): (&mut [f32], (&i32, &f32))| one_row(row, *target as usize, objective, *weight);
    let each: Vec<(f64, bool)>;
    #[cfg(not(target_arch = "wasm32"))]
    {
        use rayon::prelude::*;
        each = logits.par_chunks_mut(vocab).zip(targets.par_iter().zip(weights)).map(one).collect();
    }
    #[cfg(target_arch = "wasm32")]
    {
        each = logits.chunks_mut(vocab).zip(targets.iter().zip(weights)).map(one).collect();
    }
    // Summed here, in row order, so that threads don't change the bits.
    let mut sums = Sums { count: targets.len() as u64, ..Sums::default() };
    for (loss, correct) in each {
        sums.loss += loss;
        losses.push(loss);
        sums.correct += u64::from(correct);
    }
    sums
}

fn one_row(row: &mut [f32], target: usize, objective: Objective<'_>, scale: f32) -> (f64, bool) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the features were just seen.
            return unsafe { one_row_avx2(row, target, objective, scale) };
        }
    }
    plain(row, target, objective, scale)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn one_row_avx2(row: &mut [f32], target: usize, objective: Objective<'_>, scale: f32) -> (f64, bool) {
    plain(row, target, objective, scale)
}

const LANES: usize = 16;

#[inline(always)]
fn plain(row: &mut [f32], target: usize, objective: Objective<'_>, scale: f32) -> (f64, bool) {
    let wanted = row[target];
    let mut best = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    let mut max = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for chunk in chunks {
        for (best, x) in best.iter_mut().zip(chunk) {
            *best = if *x > *best { *x } else { *best };
        }
    }
    max = best.into_iter().fold(max, f32::max);

    let mut sums = [0.0f32; LANES];
    let mut sum = 0.0f64;
    // The sum of a long row is kept in short stretches, each added in f64.
    for stretch in row.chunks_mut(LANES * 64) {
        let mut chunks = stretch.chunks_exact_mut(LANES);
        for chunk in &mut chunks {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *x = exp(*x - max);
                *sum += *x;
            }
        }
        for x in chunks.into_remainder() {
            *x = exp(*x - max);
            sum += f64::from(*x);
        }
        sum += sums.iter().map(|s| f64::from(*s)).sum::<f64>();
        sums = [0.0; LANES];
    }
    let lse = sum.ln() + f64::from(max);
    let Objective { label_smoothing, z_loss, .. } = objective;
    // The z-loss weighs `lse²`, whose gradient is the softmax once more, times `2 lse`.
    let factor = (f64::from(scale) * (1.0 + 2.0 * z_loss * lse) / sum) as f32;
    let spread = (f64::from(scale) * label_smoothing / row.len() as f64) as f32;
    for x in row.iter_mut() {
        *x = *x * factor - spread;
    }
    row[target] -= scale * (1.0 - label_smoothing) as f32;
    (lse - f64::from(wanted), wanted >= max)
}

/// `eˣ` for x ≤ 0, within 2 ulp; 0 below the smallest normal number. Range reduction by ln 2 and a degree-6 polynomial.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts, so that the product with a small whole number is exact.
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x < -87.0 { -87.0 } else { x };
    // Adding and taking away 1.5 · 2²³ rounds to a whole number.
    let magic = 12_582_912.0f32;
    let n = (clamped * LOG2_E + magic) - magic;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.0 / 720.0;
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p * r + c;
    }
    let scale = f32::from_bits(((n as i32 + 127) << 23) as u32);
    if x < -87.0 { 0.0 } else { p * scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exact_enough() {
        for i in 0..100_000 {
            let x = -(i as f32) * 1e-3;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((got - want).abs() <= want * 3e-7 + 1e-37, "{x}: {got} {want}");
        }
        assert_eq!((exp(0.0), exp(-1e4)), (1.0, 0.0));
    }

    #[test]
    fn equals_softmax_in_f64() {
        for vocab in [1, 7, 16, 50, 4096, 5001] {
            let logits: Vec<f32> = (0..vocab * 3).map(|i| ((i * 7919) % 1013) as f32 / 100.0 - 5.0).collect();
            let targets = [0, (vocab / 2) as i32, (vocab - 1) as i32];
            let mut got = logits.clone();
            let mut losses = Vec::new();
            let weights = [0.5, 0.5, -2.0];
            let sums = to_gradients(&mut got, (&targets, &weights), Objective::default(), &mut losses);
            let mut loss = 0.0;
            for (r, row) in logits.chunks(vocab).enumerate() {
                let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
                let target = targets[r] as usize;
                let one = sum.ln() - f64::from(row[target]);
                assert!((losses[r] - one).abs() < 1e-5);
                loss += one;
                for (i, x) in row.iter().enumerate() {
                    let want = f64::from(weights[r]) * (f64::from(*x).exp() / sum - f64::from(u8::from(i == target)));
                    assert!((f64::from(got[r * vocab + i]) - want).abs() < 1e-6);
                }
            }
            assert!((sums.loss - loss).abs() < 1e-5 * loss.max(1.0), "{vocab}: {} {loss}", sums.loss);
        }
    }

    /// Against differences of the objective itself, written out in f64.
    #[test]
    fn smoothing_and_z_loss_have_their_gradients() {
        let logits: Vec<f32> = (0..37).map(|i| ((i * 7919) % 101) as f32 / 20.0 - 2.0).collect();
        let objective = Objective { label_smoothing: 0.2, z_loss: 0.05, ..Objective::default() };
        let value = |logits: &[f64]| {
            let lse = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
            let mean = logits.iter().sum::<f64>() / logits.len() as f64;
            lse - 0.8 * logits[5] - 0.2 * mean + 0.05 * lse * lse
        };
        let mut got = logits.clone();
        let sums = to_gradients(&mut got, (&[5], &[1.0]), objective, &mut Vec::new());
        let exact: Vec<f64> = logits.iter().map(|x| f64::from(*x)).collect();
        for (i, got) in got.iter().enumerate() {
            let moved = |by: f64| {
                value(&exact.iter().enumerate().map(|(j, x)| if i == j { x + by } else { *x }).collect::<Vec<_>>())
            };
            let want = (moved(1e-4) - moved(-1e-4)) / 2e-4;
            assert!((f64::from(*got) - want).abs() < 1e-5, "{i}: {got} {want}");
        }
        // What is reported stays the plain cross entropy, so that runs compare.
        let lse = exact.iter().map(|x| x.exp()).sum::<f64>().ln();
        assert!((sums.loss - (lse - exact[5])).abs() < 1e-5);
    }

    #[test]
    fn the_widest_vectors_agree_with_plain_code() {
        let logits: Vec<f32> = (0..1000).map(|i| ((i * 37) % 101) as f32 / 7.0).collect();
        let (mut a, mut b) = (logits.clone(), logits);
        let objective = Objective { label_smoothing: 0.1, z_loss: 0.01, ..Objective::default() };
        let (x, y) = (one_row(&mut a, 3, objective, 1.0), plain(&mut b, 3, objective, 1.0));
        assert!((x.0 - y.0).abs() < 1e-5 && x.1 == y.1);
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
