//! Uniform quantization (Jacob 2018; Nagel 2021): numbers are put on evenly spaced levels, a scale for each group. What comes out are
//! the values of those levels, as f32: the products are then the ones that a kernel for few bits would give, up to the order of its sums.

use burn::tensor::Tensor;
use hearth_shared::spec::{Calibration, Grain, QUANTIZE_BLOCK, QuantizeSpec};

/// Share of a group's numbers that [`Calibration::Percentile`] leaves beyond the outermost levels.
const BEYOND: f64 = 0.001;
/// Places that [`Calibration::Mse`] tries, and the innermost of them as a share of the outermost numbers.
const PLACES: u32 = 20;
const INNERMOST: f32 = 0.3;

/// The levels of one group: `scale · (step - zero)`, for steps from `lowest` to `highest`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    scale: f32,
    zero: f32,
    lowest: f32,
    highest: f32,
}

impl Levels {
    /// Levels of so many bits between two numbers, which are moved so that zero is a level.
    fn between(low: f32, high: f32, bits: u8, symmetric: bool) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        if symmetric {
            let highest = ((1_u32 << (bits - 1)) - 1) as f32;
            let scale = low.abs().max(high) / highest;
            return Self { scale, zero: 0.0, lowest: -highest, highest };
        }
        let highest = ((1_u32 << bits) - 1) as f32;
        let scale = (high - low) / highest;
        let zero = if scale > 0.0 { (-low / scale).round() } else { 0.0 };
        Self { scale, zero, lowest: 0.0, highest }
    }

    /// The nearest level.
    fn round(self, x: f32) -> f32 {
        if self.scale <= 0.0 {
            return 0.0;
        }
        let step = (x / self.scale + self.zero).round_ties_even().clamp(self.lowest, self.highest);
        (step - self.zero) * self.scale
    }

    /// All levels, rising.
    pub fn all(self) -> Vec<f32> {
        (self.lowest as i32..=self.highest as i32).map(|step| (step as f32 - self.zero) * self.scale).collect()
    }
}

/// A matrix on its levels.
#[derive(Clone, Debug, PartialEq)]
pub struct Rounded {
    /// Row by row, as they were given.
    pub values: Vec<f32>,
    /// The levels of the group that holds the largest magnitude.
    pub levels: Levels,
}

/// Puts a matrix of `[rows, cols]` on levels of so many bits.
///
/// # Panics
/// `values` are not as many as the shape has, or bits are not 2 to 8.
pub fn rounded(values: &[f32], [rows, cols]: [usize; 2], bits: u8, spec: &QuantizeSpec) -> Rounded {
    assert_eq!(values.len(), rows * cols, "as many values as rows times columns");
    assert!((2..=8).contains(&bits), "{bits} bits");
    let mut out = values.to_vec();
    let mut widest = (f32::NEG_INFINITY, Levels::between(0.0, 0.0, bits, spec.symmetric));
    let mut group = |at: &mut dyn Iterator<Item = usize>| {
        let at: Vec<usize> = at.collect();
        let numbers: Vec<f32> = at.iter().map(|&i| values[i]).collect();
        let levels = calibrated(&numbers, bits, spec);
        let most = numbers.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        if most > widest.0 {
            widest = (most, levels);
        }
        for (i, x) in at.into_iter().zip(numbers) {
            out[i] = levels.round(x);
        }
    };
    match spec.grain {
        Grain::Tensor => group(&mut (0..values.len())),
        Grain::Row => (0..rows).for_each(|row| group(&mut (row * cols..(row + 1) * cols))),
        Grain::Column => (0..cols).for_each(|col| group(&mut (col..values.len()).step_by(cols))),
        Grain::Block => {
            for start in (0..rows).flat_map(|row| (0..cols).step_by(QUANTIZE_BLOCK).map(move |col| (row, col))) {
                let (row, col) = start;
                group(&mut (row * cols + col..row * cols + cols.min(col + QUANTIZE_BLOCK)));
            }
        }
    }
    Rounded { values: out, levels: widest.1 }
}

fn calibrated(numbers: &[f32], bits: u8, spec: &QuantizeSpec) -> Levels {
    let (low, high) = numbers.iter().fold((0.0_f32, 0.0_f32), |(low, high), &x| (low.min(x), high.max(x)));
    let levels = |low, high| Levels::between(low, high, bits, spec.symmetric);
    match spec.calibration {
        Calibration::MinMax => levels(low, high),
        Calibration::Percentile if spec.symmetric => {
            let most = quantile(numbers.iter().map(|x| x.abs()).collect(), 1.0 - BEYOND);
            levels(-most, most)
        }
        Calibration::Percentile => {
            let low = quantile(numbers.to_vec(), BEYOND / 2.0);
            levels(low, quantile(numbers.to_vec(), 1.0 - BEYOND / 2.0))
        }
        Calibration::Mse => {
            let error = |levels: &Levels| numbers.iter().map(|&x| f64::from(levels.round(x) - x).powi(2)).sum::<f64>();
            let place = |i| 1.0 - (1.0 - INNERMOST) * i as f32 / (PLACES - 1) as f32;
            let tried = (0..PLACES).map(|i| levels(low * place(i), high * place(i)));
            let best = tried.map(|levels| (error(&levels), levels)).min_by(|a, b| a.0.total_cmp(&b.0));
            best.map_or_else(|| levels(low, high), |(_, levels)| levels)
        }
    }
}

/// The number that a share of all lie below.
fn quantile(mut numbers: Vec<f32>, share: f64) -> f32 {
    if numbers.is_empty() {
        return 0.0;
    }
    let at = ((numbers.len() - 1) as f64 * share).round() as usize;
    let (_, number, _) = numbers.select_nth_unstable_by(at, f32::total_cmp);
    *number
}

/// Inputs of a product on symmetric levels of so many bits, a scale for each token: `[B, T, in]`.
pub(crate) fn inputs(x: Tensor<3>, bits: u8) -> Tensor<3> {
    let highest = f64::from((1_u32 << (bits - 1)) - 1);
    // A token of zeros keeps them.
    let scale = x.clone().abs().max_dim(2).clamp_min(1e-30) / highest; // [B, T, 1]
    (x / scale.clone()).round().clamp(-highest, highest) * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATRIX: [f32; 8] = [1.0, -0.5, 0.25, 0.0, 100.0, 50.0, -25.0, 10.0];

    fn spec(grain: Grain) -> QuantizeSpec {
        QuantizeSpec { grain, ..QuantizeSpec::default() }
    }

    fn furthest(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn a_number_goes_to_the_nearest_level() {
        // Scale 1 for the tensor: 127 levels on either side of zero.
        let rounded = rounded(&[127.0, 0.4, -0.6, 63.5], [1, 4], 8, &spec(Grain::Tensor));
        assert_eq!(rounded.values, [127.0, 0.0, -1.0, 64.0]);
        assert_eq!(rounded.levels.all().len(), 255);
    }

    #[test]
    fn a_scale_of_its_own_saves_the_small_row() {
        let error = |grain| furthest(&rounded(&MATRIX, [2, 4], 8, &spec(grain)).values[..4], &MATRIX[..4]);
        assert!(error(Grain::Row) <= 1.0 / 254.0 + 1e-6);
        assert!(error(Grain::Tensor) > 0.1);
        // A row of four is one block.
        assert_eq!(error(Grain::Block), error(Grain::Row));
    }

    #[test]
    fn columns_are_groups_too() {
        let rounded = rounded(&MATRIX, [2, 4], 8, &spec(Grain::Column));
        let scales = [100.0, 50.0, 25.0, 10.0].map(|most: f32| most / 127.0);
        for (i, (here, was)) in rounded.values.iter().zip(MATRIX).enumerate() {
            assert!((here - was).abs() <= scales[i % 4] / 2.0 + 1e-6, "{i}: {here}, {was}");
        }
    }

    #[test]
    fn asymmetric_levels_reach_from_end_to_end_and_hold_zero() {
        let one_sided: Vec<f32> = (0..64).map(|i| i as f32 / 63.0).collect();
        let error = |symmetric| {
            let spec = QuantizeSpec { symmetric, ..spec(Grain::Tensor) };
            furthest(&rounded(&one_sided, [1, 64], 4, &spec).values, &one_sided)
        };
        assert!(error(false) < error(true) * 0.6, "{} {}", error(false), error(true));
        let levels = rounded(&[-0.3, 0.9], [1, 2], 2, &QuantizeSpec { symmetric: false, ..spec(Grain::Tensor) }).levels;
        assert_eq!(levels.all().len(), 4);
        assert!(levels.all().contains(&0.0));
    }

    #[test]
    fn calibration_cuts_an_outlier_off_where_that_pays() {
        let mut numbers: Vec<f32> = (0..4000_u32).map(|i| ((i * 37 % 997) as f32 / 997.0 - 0.5) * 2.0).collect();
        numbers[7] = 40.0;
        let error = |calibration| {
            let spec = QuantizeSpec { calibration, ..spec(Grain::Tensor) };
            let values = rounded(&numbers, [1, 4000], 4, &spec).values;
            values.iter().zip(&numbers).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
        };
        let (wide, least) = (error(Calibration::MinMax), error(Calibration::Mse));
        assert!(least <= wide, "{least} {wide}");
        let inner = |calibration| {
            let spec = QuantizeSpec { calibration, ..spec(Grain::Tensor) };
            let values = rounded(&numbers, [1, 4000], 4, &spec).values;
            furthest(&values[8..], &numbers[8..])
        };
        assert!(inner(Calibration::Percentile) < 0.1, "{}", inner(Calibration::Percentile));
        assert!(inner(Calibration::MinMax) > 0.9);
    }

    #[test]
    fn inputs_are_rounded_token_by_token() {
        let device = crate::device::cpu();
        let x = Tensor::<3>::from_data([[[1.0_f32, 0.5, -0.24], [100.0, 1.0, 0.0], [0.0, 0.0, 0.0]]], &device);
        let y = inputs(x, 8).into_data().try_to_vec::<f32>();
        let y = y.unwrap_or_default();
        assert!(furthest(&y[..3], &[1.0, 0.5, -0.24]) < 1.0 / 254.0 + 1e-6, "{y:?}");
        assert!(furthest(&y[3..6], &[100.0, 100.0 / 127.0, 0.0]) < 1e-4, "{y:?}");
        assert_eq!(y[6..], [0.0; 3]);
    }
}
