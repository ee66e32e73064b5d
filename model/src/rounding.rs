//! Mixed precision (Micikevicius 2018): inputs, outputs and gradients of every product are in a shorter number format, while sums
//! are kept in f32. Master weights, norms, softmax and the loss stay f32. A GPU that has the format computes in it. On the CPU
//! numbers are rounded to it, so that its behaviour can be studied on a machine that does not have it; that is slower than f32,
//! not faster.

use burn::tensor::{DType, Device, FloatDType, Tensor};
use hearth_shared::spec::Precision;

use crate::device::{self, DeviceKind};
use crate::kernels;

/// A binary floating point format with a sign, shorter than f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Format {
    /// Bits behind the leading one.
    mantissa: i32,
    /// Exponent of the smallest number with a leading one; below, numbers lie evenly.
    lowest: i32,
    /// The largest finite number.
    largest: f32,
    /// What a larger one becomes.
    beyond: f32,
}

/// Google's brain float.
pub const BF16: Format = Format { mantissa: 7, lowest: -126, largest: 3.389_531_4e38, beyond: f32::INFINITY };
/// IEEE 754's binary16.
pub const F16: Format = Format { mantissa: 10, lowest: -14, largest: 65504.0, beyond: f32::INFINITY };
/// Open Compute Project's OFP8 (Micikevicius 2022), which has no infinity; larger numbers become the largest, as in torch.
pub const E4M3: Format = Format { mantissa: 3, lowest: -6, largest: 448.0, beyond: 448.0 };
pub const E5M2: Format = Format { mantissa: 2, lowest: -14, largest: 57344.0, beyond: f32::INFINITY };

impl Format {
    /// The nearest number of the format, of two equally near ones the even one. Without a branch, so that a loop of it runs in vector
    /// units.
    #[inline]
    pub fn round(self, x: f32) -> f32 {
        let (sign, bits) = (x.to_bits() & SIGN, x.to_bits() & !SIGN);
        // With a leading one: the bits that go are rounded into those that stay, and a carry moves the exponent.
        let gone = 23 - self.mantissa as u32;
        let odd = (bits >> gone) & 1;
        let normal = f32::from_bits(((bits + (1 << (gone - 1)) - 1 + odd) >> gone) << gone);
        // Below, f32's own addition rounds to the unit of a number so large.
        let lattice = f32::from_bits(((self.lowest - self.mantissa + 23 + 127) as u32) << 23);
        let even = (f32::from_bits(bits) + lattice) - lattice;
        let rounded = if bits < ((self.lowest + 127) as u32) << 23 { even } else { normal };
        let bounded = if rounded > self.largest { self.beyond } else { rounded };
        let special = bits >= INFINITE;
        f32::from_bits(sign | if special { bits } else { bounded.to_bits() })
    }
}

const SIGN: u32 = 1 << 31;
/// Infinity's bits; those of numbers that are none are larger.
const INFINITE: u32 = 0xff << 23;

/// What happens to the numbers of one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cast {
    format: Format,
    /// The largest number is brought to the format's largest first, and back behind.
    scaled: bool,
}

impl Cast {
    const fn plain(format: Format) -> Self {
        Self { format, scaled: false }
    }

    const fn scaled(format: Format) -> Self {
        Self { format, scaled: true }
    }

    pub(crate) fn apply(self, values: &mut [f32]) {
        let scale = if self.scaled { self.scale(values) } else { 1.0 };
        let back = 1.0 / scale;
        kernels::each(values, |x| self.format.round(x * scale) * back);
    }

    /// A power of two, so that scaling itself rounds nothing.
    fn scale(self, values: &[f32]) -> f32 {
        let most = values.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        if most == 0.0 || !most.is_finite() {
            return 1.0;
        }
        let exponent = (f64::from(self.format.largest) / f64::from(most)).log2().floor();
        exponent.clamp(-126.0, 126.0).exp2() as f32
    }
}

/// How products are rounded in a forward and backward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounding {
    /// Of what goes into a product …
    input: Cast,
    /// … of the gradient that comes back out of it …
    input_gradient: Cast,
    /// … of its result …
    output: Cast,
    /// … and of the gradient that goes into its backward pass.
    output_gradient: Cast,
    /// The type that products are computed in, where nothing is emulated. Casts to it and back have casts as gradients.
    native: Option<FloatDType>,
}

impl Rounding {
    /// How `device` trains in `precision`; none is f32.
    ///
    /// # Errors
    /// It can't: why not.
    pub fn on(device: &Device, precision: Precision) -> Result<Option<Self>, &'static str> {
        let kind = device::kind(device);
        if kind == DeviceKind::Cpu {
            return Ok(Self::of(precision));
        }
        let (precision, native, has) = match precision {
            Precision::F32 => return Ok(None),
            Precision::Auto if kind != DeviceKind::Cuda => return Ok(None),
            Precision::Auto | Precision::Bf16 => (Precision::Bf16, FloatDType::BF16, DType::BF16),
            Precision::F16 => (Precision::F16, FloatDType::F16, DType::F16),
            Precision::Fp8 => return Err("fp8 is emulated on the CPU only so far: use `bf16` here"),
        };
        if !device.supports_dtype(has) {
            return Err("this device does not compute in that type: use `f32` or `auto` here");
        }
        Ok(Self::computed(precision, native))
    }

    /// What the device computes in `native` itself.
    pub(crate) fn computed(precision: Precision, native: FloatDType) -> Option<Self> {
        Self::of(precision).map(|rounding| Self { native: Some(native), ..rounding })
    }

    /// Emulated; none for f32.
    pub fn of(precision: Precision) -> Option<Self> {
        let all = |format| {
            let cast = Cast::plain(format);
            Self { input: cast, input_gradient: cast, output: cast, output_gradient: cast, native: None }
        };
        match precision {
            Precision::Auto | Precision::F32 => None,
            Precision::Bf16 => Some(all(BF16)),
            Precision::F16 => Some(all(F16)),
            // Micikevicius 2022: more precision forward, more range backward; results leave the unit as bf16.
            Precision::Fp8 => {
                Some(Self { input: Cast::scaled(E4M3), output_gradient: Cast::scaled(E5M2), ..all(BF16) })
            }
        }
    }

    /// A tensor on its way into a product.
    pub(crate) fn input<const N: usize>(&self, x: Tensor<N>) -> Tensor<N> {
        match self.native {
            Some(format) => x.cast(format),
            None => kernels::round(x, self.input, self.input_gradient),
        }
    }

    /// A product's result.
    pub(crate) fn output<const N: usize>(&self, y: Tensor<N>) -> Tensor<N> {
        match self.native {
            Some(_) => y.cast(FloatDType::F32),
            None => kernels::round(y, self.output, self.output_gradient),
        }
    }

    /// The gradient of a product's result, where the tape does not see it.
    pub(crate) fn output_gradient<const N: usize>(&self, dy: Tensor<N>) -> Tensor<N> {
        match self.native {
            Some(format) => dy.cast(format),
            None => kernels::round(dy, self.output_gradient, self.output_gradient),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_of_the_formats() {
        let cases = [
            (F16, 65519.0, 65504.0),
            (F16, 65520.0, f32::INFINITY),
            (F16, -1e30, f32::NEG_INFINITY),
            (F16, 2f32.powi(-25), 0.0),
            (F16, 1.5 * 2f32.powi(-25), 2f32.powi(-24)),
            (F16, 2049.0, 2048.0),
            (F16, 2051.0, 2052.0),
            (BF16, 257.0, 256.0),
            (BF16, 259.0, 260.0),
            (BF16, f32::MAX, f32::INFINITY),
            (E4M3, 464.0, 448.0),
            (E4M3, 2f32.powi(-10), 0.0),
            (E5M2, 61439.0, 57344.0),
            (E5M2, 61440.0, f32::INFINITY),
        ];
        for (format, x, want) in cases {
            assert_eq!(format.round(x), want, "{format:?} of {x}");
        }
        assert_eq!(E4M3.round(-465.0), -448.0);
        assert!(F16.round(f32::NAN).is_nan());
    }

    /// The definition: multiples of the unit that goes with the number's exponent, in exact arithmetic.
    fn by_definition(format: Format, x: f32) -> f32 {
        if x == 0.0 || !x.is_finite() {
            return x;
        }
        let exponent = ((x.to_bits() >> 23) & 0xff) as i32 - 127;
        let unit = f64::from(exponent.max(format.lowest) - format.mantissa).exp2();
        let rounded = ((f64::from(x) / unit).round_ties_even() * unit) as f32;
        if rounded.abs() > format.largest { format.beyond.copysign(x) } else { rounded }
    }

    /// Every 251st bit pattern, all with few bits behind the leading one, and their neighbours, for every format.
    #[test]
    fn rounding_by_bits_is_rounding_by_definition() {
        let spread = (0..u32::MAX / 251).map(|i| i * 251);
        let near_ties = (0..=u32::MAX >> 11).flat_map(|high| [0, 1, (1 << 11) - 1].map(|low| (high << 11) | low));
        for bits in spread.chain(near_ties) {
            let x = f32::from_bits(bits);
            for format in [BF16, F16, E4M3, E5M2] {
                let (fast, slow) = (format.round(x), by_definition(format, x));
                assert!(
                    fast.to_bits() == slow.to_bits() || (fast.is_nan() && x.is_nan()),
                    "{format:?}, {x:e}: {fast:e}, not {slow:e}"
                );
            }
        }
    }

    #[test]
    fn a_scale_uses_the_whole_range() {
        let mut values = [1e-9, -3e-9, 2.7e-10, 0.0];
        let cast = Cast::scaled(E4M3);
        cast.apply(&mut values);
        for (x, want) in values.iter().zip([1e-9, -3e-9, 2.7e-10, 0.0f32]) {
            assert!((x - want).abs() <= want.abs() / 16.0, "{x} for {want}");
        }
        let mut plain = [1e-9f32];
        Cast::plain(E4M3).apply(&mut plain);
        assert_eq!(plain, [0.0]);
    }
}
