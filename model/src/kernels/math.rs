//! Arithmetic on slices of f32: the inner loops of the CPU kernels. It knows no tensors and no model.
//!
//! Every function gives the same bits for the same input, whatever the number of threads: work is split by rows, and the
//! order of additions within a row is fixed.

/// A matrix somewhere in a slice: `rows × cols`, with a stride for each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mat<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub cols: usize,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl<'a> Mat<'a> {
    /// Row after row without gaps.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows `row_stride` apart.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(
            rows == 0 || cols == 0 || (rows - 1) * row_stride + cols <= data.len(),
            "a matrix lies within its slice"
        );
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transpose, without moving anything.
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

/// Where a product goes.
#[derive(Debug)]
pub(crate) struct Into<'a> {
    /// Rows `stride` apart.
    pub data: &'a mut [f32],
    pub stride: usize,
    /// Add to what is there instead of replacing it.
    pub add: bool,
}

impl<'a> Into<'a> {
    pub fn new(data: &'a mut [f32], stride: usize) -> Self {
        Self { data, stride, add: false }
    }

    pub fn adding(data: &'a mut [f32], stride: usize) -> Self {
        Self { data, stride, add: true }
    }
}

/// Multiplications below which threads cost more than they save.
const PARALLEL_PRODUCT: usize = 1 << 21;

/// `out (+)= scale · a b`, with all threads when the product is large and `parallel` allows it.
pub(crate) fn product(out: Into<'_>, a: Mat<'_>, b: Mat<'_>, scale: f32, parallel: bool) {
    if a.rows == 0 || b.cols == 0 {
        return;
    }
    assert!((a.rows - 1) * out.stride + b.cols <= out.data.len(), "the product fits where it goes");
    let (to, stride, add) = (out.data.as_mut_ptr(), out.stride, out.add);
    // SAFETY: it fits, and `out` is borrowed mutably, so it overlaps neither input.
    unsafe { multiply((to, stride, add), a, b, scale, parallel) }
}

/// Inner sizes from which a product is no special case to the library, which never reads the place of one that is not added.
const PLAIN_PRODUCT: usize = 16;

/// `scale · a b`, in memory that nobody cleared before.
pub(crate) fn multiplied(a: Mat<'_>, b: Mat<'_>, scale: f32) -> Vec<f32> {
    let (m, n) = (a.rows, b.cols);
    if [m, n, a.cols].into_iter().min() < Some(PLAIN_PRODUCT) {
        let mut out = vec![0.0; m * n];
        product(Into::new(&mut out, n), a, b, scale, true);
        return out;
    }
    let mut out = Vec::with_capacity(m * n);
    // SAFETY: the vector has room for every number of the product, and each is written.
    unsafe {
        multiply((out.as_mut_ptr(), n, false), a, b, scale, true);
        out.set_len(m * n);
    }
    out
}

/// `to (+)= scale · a b`, where rows of `to` begin `stride` apart.
///
/// # Safety
/// `to` has room for the product and overlaps neither input; where it is added to, it holds numbers.
unsafe fn multiply((to, stride, add): (*mut f32, usize, bool), a: Mat<'_>, b: Mat<'_>, scale: f32, parallel: bool) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows, "inner sizes agree");
    let threads = if parallel && m * n * k >= PARALLEL_PRODUCT { parallelism() } else { gemm::Parallelism::None };
    // SAFETY: `Mat`'s constructors keep every index of the inputs inside their slices, the caller vouches for `to`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            to,
            1,
            stride as isize,
            add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0f32,
            scale,
            false,
            false,
            false,
            threads,
        );
    }
}

fn parallelism() -> gemm::Parallelism {
    #[cfg(not(target_arch = "wasm32"))]
    {
        gemm::Parallelism::Rayon(0)
    }
    #[cfg(target_arch = "wasm32")]
    {
        gemm::Parallelism::None
    }
}

/// Elements one thread should have to make it worth waking.
#[cfg(not(target_arch = "wasm32"))]
const GRAIN: usize = 1 << 14;

/// Runs `f(row, slice)` for every row of `out`, on all threads when there is enough to do. `cost` is the number of
/// elements one row stands for.
pub(crate) fn rows(out: &mut [f32], width: usize, cost: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    if out.is_empty() || width == 0 {
        return;
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        use rayon::prelude::*;
        let per_task = GRAIN.div_ceil(cost.max(1));
        if out.len() / width > per_task {
            out.par_chunks_mut(width * per_task).enumerate().for_each(|(task, chunk)| {
                for (i, row) in chunk.chunks_mut(width).enumerate() {
                    f(task * per_task + i, row);
                }
            });
            return;
        }
    }
    let _ = cost;
    for (i, row) in out.chunks_mut(width).enumerate() {
        f(i, row);
    }
}

/// The same over two outputs with rows of their own widths.
pub(crate) fn rows2(
    (a, a_width): (&mut [f32], usize),
    (b, b_width): (&mut [f32], usize),
    cost: usize,
    f: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    if a.is_empty() || b.is_empty() {
        return;
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        use rayon::prelude::*;
        let n = GRAIN.div_ceil(cost.max(1));
        if a.len() / a_width > n {
            let pairs = a.par_chunks_mut(a_width * n).zip(b.par_chunks_mut(b_width * n));
            pairs.enumerate().for_each(|(task, (a, b))| {
                let pairs = a.chunks_mut(a_width).zip(b.chunks_mut(b_width));
                for (i, (a, b)) in pairs.enumerate() {
                    f(task * n + i, a, b);
                }
            });
            return;
        }
    }
    let _ = cost;
    for (i, (a, b)) in a.chunks_mut(a_width).zip(b.chunks_mut(b_width)).enumerate() {
        f(i, a, b);
    }
}

/// Compiles `f` for the widest vector unit of this machine and runs it. `f` must be a closure with its loops inside, and
/// what it calls must be inlined, or it stays as narrow as the build's baseline.
#[inline(always)]
pub(crate) fn wide<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512vl") {
            // SAFETY: this machine has the features the function is compiled for.
            return unsafe { avx512(f) };
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { avx2(f) };
        }
    }
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
fn avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Sums in this many lanes, so that a compiler that may not reorder additions can still use vectors: two of AVX-512, four
/// of AVX2. More would no longer stay in registers.
const LANES: usize = 32;

/// `Σ a · b`
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_rows, b_rows) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = a_rows.remainder().iter().zip(b_rows.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_rows.zip(b_rows) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    reduce(&lanes) + tail
}

/// `Σ f(x)`
#[inline(always)]
pub(crate) fn sum_by(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let rows = x.chunks_exact(LANES);
    let tail: f32 = rows.remainder().iter().map(|x| f(*x)).sum();
    for x in rows {
        for i in 0..LANES {
            lanes[i] += f(x[i]);
        }
    }
    reduce(&lanes) + tail
}

#[inline(always)]
fn reduce(lanes: &[f32; LANES]) -> f32 {
    let mut four = [0.0f32; 4];
    for part in lanes.chunks_exact(4) {
        for i in 0..4 {
            four[i] += part[i];
        }
    }
    (four[0] + four[2]) + (four[1] + four[3])
}

/// The largest element; minus infinity of nothing.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let rows = x.chunks_exact(16);
    let tail = rows.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for x in rows {
        for i in 0..16 {
            lanes[i] = if x[i] > lanes[i] { x[i] } else { lanes[i] };
        }
    }
    lanes.into_iter().fold(tail, f32::max)
}

/// `out += scale · x`
#[inline(always)]
pub(crate) fn add_scaled(out: &mut [f32], scale: f32, x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += scale * x;
    }
}

/// `eˣ` within 2 units in the last place, without a branch, so that a loop over it becomes vectors. Below -87 it is as at
/// -87 (1.6e-38), above 88 as at 88.
///
/// Range reduction `x = n ln 2 + r` with `ln 2` in two parts (Cody & Waite 1980), and the Taylor polynomial of degree 7 on
/// `|r| ≤ ln 2 / 2`.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "the two parts of ln 2 are exact in their sum")]
pub(crate) fn exp(x: f32) -> f32 {
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    // Adding 1.5 · 2²³ rounds to an integer that then stands in the low bits.
    let shifted = x * std::f32::consts::LOG2_E + 12_582_912.0;
    let n = shifted - 12_582_912.0;
    let r = x - n * 0.693_359_375 + n * 2.121_944_4e-4;
    let mut p = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p * r + c;
    }
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// `1 / (1 + e⁻ˣ)`
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `y = W x` for a few `x`: `x` is `[m, k]`, `w` is `[n, k]`, the result `[m, n]`. Reads `w` once, which is what a
/// decoding step's time consists of.
pub(crate) fn matvec(x: &[f32], w: &[f32], k: usize) -> Vec<f32> {
    let (m, n) = (x.len() / k, w.len() / k);
    let mut turned = vec![0.0; n * m];
    rows(&mut turned, m * ROWS, k * m * ROWS / 4, |block, out| {
        let first = block * ROWS * k;
        let w = &w[first..first + out.len() / m * k];
        some_rows(x, w, k, out);
    });
    if m == 1 {
        return turned;
    }
    let mut out = vec![0.0; m * n];
    for (i, out) in out.chunks_exact_mut(n).enumerate() {
        for (j, out) in out.iter_mut().enumerate() {
            *out = turned[j * m + i];
        }
    }
    out
}

/// Rows of a matrix-vector product that one call of the vectorised loop does.
const ROWS: usize = 16;

/// `out[j, i] = w[j] · x[i]`
fn some_rows(x: &[f32], w: &[f32], k: usize, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if x.len() == k && k.is_multiple_of(16) && std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: this machine has the feature; `w` holds `out.len()` rows of `k`, a multiple of a vector, as `x` does.
        unsafe { x86::rows(x, w, out) };
        return;
    }
    let m = x.len() / k;
    wide(
        #[inline(always)]
        || {
            for (w, out) in w.chunks_exact(k).zip(out.chunks_exact_mut(m)) {
                for (x, out) in x.chunks_exact(k).zip(out) {
                    *out = dot(x, w);
                }
            }
        },
    );
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512, _MM_HINT_T0, _mm_prefetch, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_reduce_add_ps, _mm512_setzero_ps,
    };

    /// `out[j] = w[j] · x`, four rows at a time: four streams keep more of the memory's width busy than one.
    ///
    /// # Safety
    /// `x.len()` is a multiple of 16 and `w.len()` is `out.len() · x.len()`.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn rows(x: &[f32], w: &[f32], out: &mut [f32]) {
        let k = x.len();
        for (four, out) in out.chunks_mut(4).enumerate() {
            let w = w[four * 4 * k..].as_ptr();
            if let [a, b, c, d] = out {
                // SAFETY: four more rows lie behind `w`.
                let sums = unsafe { dots::<4>(x, w) };
                (*a, *b, *c, *d) = (sums[0], sums[1], sums[2], sums[3]);
                continue;
            }
            for (j, out) in out.iter_mut().enumerate() {
                // SAFETY: row `j` of the rest lies behind `w`.
                *out = unsafe { dots::<1>(x, w.add(j * k)) }[0];
            }
        }
    }

    /// # Safety
    /// `x.len()` is a multiple of 16, and `N` rows of that length lie at `w`.
    #[target_feature(enable = "avx512f")]
    unsafe fn dots<const N: usize>(x: &[f32], w: *const f32) -> [f32; N] {
        let k = x.len();
        let mut sums: [__m512; N] = [_mm512_setzero_ps(); N];
        for i in (0..k).step_by(16) {
            // SAFETY: `i + 16 ≤ k`, and each row has `k` elements; a prefetch may point anywhere.
            unsafe {
                let x = _mm512_loadu_ps(x.as_ptr().add(i));
                for (j, sum) in sums.iter_mut().enumerate() {
                    let at = w.add(j * k + i);
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(4 * k).cast());
                    *sum = _mm512_fmadd_ps(_mm512_loadu_ps(at), x, *sum);
                }
            }
        }
        sums.map(|sum| _mm512_reduce_add_ps(sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exp_is_accurate_everywhere() {
        let mut worst = 0.0f64;
        for i in -870_000..880_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 3e-7, "relative error {worst}");
        assert!(exp(-1e30) < 2e-38 && exp(f32::NEG_INFINITY) < 2e-38);
    }

    proptest! {
        #[test]
        fn dot_and_sums_are_right(values in prop::collection::vec((-3f32..3.0, -3f32..3.0), 0..300)) {
            let (a, b): (Vec<f32>, Vec<f32>) = values.into_iter().unzip();
            let exact: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            prop_assert!((f64::from(wide(|| dot(&a, &b))) - exact).abs() < 1e-3);
            let exact: f64 = a.iter().map(|a| f64::from(*a).powi(2)).sum();
            prop_assert!((f64::from(sum_by(&a, |x| x * x)) - exact).abs() < 1e-3);
            prop_assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }

        #[test]
        fn uncleared_memory_takes_the_same_product(m in 1usize..40, n in 1usize..40, k in 1usize..40) {
            let a: Vec<f32> = (0..m * k).map(|i| ((i * 37) % 19) as f32 - 9.0).collect();
            let b: Vec<f32> = (0..k * n).map(|i| ((i * 53) % 23) as f32 - 11.0).collect();
            let (a, b) = (Mat::new(&a, m, k), Mat::new(&b, k, n));
            let mut expected = vec![f32::NAN; m * n];
            product(Into::new(&mut expected, n), a, b, 0.5, true);
            prop_assert_eq!(multiplied(a, b, 0.5), expected);
        }

        #[test]
        fn matvec_is_the_product(m in 1usize..5, n in 1usize..70, k in prop_oneof![1usize..90, Just(16), Just(64)]) {
            // Small whole numbers: every order of additions gives the same.
            let x: Vec<f32> = (0..m * k).map(|i| ((i * 37) % 19) as f32 - 9.0).collect();
            let w: Vec<f32> = (0..n * k).map(|i| ((i * 53) % 23) as f32 - 11.0).collect();
            let mut expected = vec![0.0; m * n];
            product(Into::new(&mut expected, n), Mat::new(&x, m, k), Mat::new(&w, n, k).t(), 1.0, true);
            prop_assert_eq!(matvec(&x, &w, k), expected);
        }
    }
}
