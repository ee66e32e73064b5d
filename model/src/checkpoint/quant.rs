//! Numbers into the block formats of GGUF files: the other direction of `dequant`, for the types that Hearth writes.
//!
//! The arithmetic follows ggml's `quantize_row_q8_0_ref` and `quantize_row_q4_0_ref` operation by operation, so that the
//! bytes are the ones that llama.cpp's own tools write.

use half::f16;

use super::DType;

/// A type that Hearth writes into GGUF files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packing {
    /// Nothing is lost.
    F32,
    /// IEEE half precision.
    F16,
    /// Blocks of 32 numbers with one scale: 8.5 bits a number.
    Q8_0,
    /// Blocks of 32 numbers with one scale: 4.5 bits a number.
    Q4_0,
}

impl Packing {
    /// The type as a reader knows it.
    pub const fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Q8_0 => DType::Q8_0,
            Self::Q4_0 => DType::Q4_0,
        }
    }

    /// The first number that the type has no room for: one that is too large, or none at all.
    pub fn misfit(self, values: &[f32]) -> Option<f32> {
        // A block's scale, the largest number over this, is a half.
        let steps = match self {
            Self::F32 => return None,
            Self::F16 => 1.0,
            Self::Q8_0 => 127.0,
            Self::Q4_0 => 8.0,
        };
        values.iter().copied().find(|v| !f16::from_f32(v / steps).is_finite())
    }

    /// Little-endian bytes of the numbers. Numbers after the last whole block are left out.
    ///
    /// Splits the work over the cores natively.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        let (block, bytes) = (self.dtype().block(), self.dtype().block_bytes());
        let blocks = values.len() / block;
        let values = &values[..blocks * block];
        let mut out = vec![0u8; blocks * bytes];
        // About 16,000 numbers a piece: enough to drown the cost of a task.
        let piece = 16384 / block;
        let (from, to) = (piece * block, piece * bytes);
        #[cfg(not(target_arch = "wasm32"))]
        {
            use rayon::prelude::*;
            out.par_chunks_mut(to).zip(values.par_chunks(from)).for_each(|(out, values)| self.pack(values, out));
        }
        #[cfg(target_arch = "wasm32")]
        out.chunks_mut(to).zip(values.chunks(from)).for_each(|(out, values)| self.pack(values, out));
        out
    }

    fn pack(self, values: &[f32], out: &mut [u8]) {
        match self {
            Self::F32 => each::<1, 4>(values, out, |v, o| *o = v[0].to_le_bytes()),
            Self::F16 => each::<1, 2>(values, out, |v, o| *o = f16::from_f32(v[0]).to_le_bytes()),
            Self::Q8_0 => each(values, out, q8_0),
            Self::Q4_0 => each(values, out, q4_0),
        }
    }
}

fn each<const NUMBERS: usize, const BYTES: usize>(
    values: &[f32],
    out: &mut [u8],
    block: impl Fn(&[f32; NUMBERS], &mut [u8; BYTES]),
) {
    for (v, o) in values.as_chunks::<NUMBERS>().0.iter().zip(out.as_chunks_mut::<BYTES>().0) {
        block(v, o);
    }
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

fn q8_0(v: &[f32; 32], o: &mut [u8; 34]) {
    let largest = v.iter().fold(0f32, |most, v| most.max(v.abs()));
    let d = largest / 127.0;
    let id = inverse(d);
    o[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for i in 0..32 {
        // `f32::round` is C's `roundf`: halves go away from zero.
        o[2 + i] = (v[i] * id).round() as i8 as u8;
    }
}

fn q4_0(v: &[f32; 32], o: &mut [u8; 18]) {
    // With its sign; of two as large the first.
    let largest = v.iter().fold(0f32, |most, &v| if v.abs() > most.abs() { v } else { most });
    let d = largest / -8.0;
    let id = inverse(d);
    o[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    // The largest number becomes 0; its opposite would become 16, which has no room.
    let four_bits = |v: f32| ((v * id + 8.5) as u8).min(15);
    for i in 0..16 {
        o[2 + i] = four_bits(v[i]) | four_bits(v[i + 16]) << 4;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::dequant::to_f32;
    use super::super::gguf::Gguf;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_are_those_of_the_reference() {
        let file = include_bytes!("../../../tests/golden/quantized.gguf");
        let gguf = Gguf::parse("quantized.gguf", file).unwrap();
        let find = |name: &str| gguf.tensors.iter().find(|t| t.name == name).unwrap();
        let values = to_f32(DType::F32, find("values").bytes);
        for packing in [Packing::F16, Packing::Q8_0, Packing::Q4_0] {
            let expected = find(packing.dtype().name());
            assert_eq!(expected.dtype, packing.dtype());
            assert!(packing.encode(&values) == expected.bytes, "{packing:?}");
        }
        assert_eq!(to_f32(DType::F32, &Packing::F32.encode(&values)), values);
    }

    #[test]
    fn what_has_no_room_is_found() {
        assert_eq!(Packing::F16.misfit(&[1.0, -65504.0]), None);
        assert_eq!(Packing::F16.misfit(&[1.0, -65520.0]), Some(-65520.0));
        assert_eq!(Packing::Q4_0.misfit(&[-65520.0]), None);
        assert_eq!(Packing::Q4_0.misfit(&[8.0 * 65520.0]), Some(8.0 * 65520.0));
        assert!(Packing::Q8_0.misfit(&[f32::NAN]).is_some());
        assert_eq!(Packing::F32.misfit(&[f32::MAX]), None);
    }

    proptest! {
        /// The scale is rounded to a half too: up to 1/2048 of the largest number.
        #[test]
        fn what_is_unpacked_is_within_half_a_step(
            values in prop::collection::vec(-4f32..4.0, 32..=96),
            magnitude in prop::sample::select(vec![1e-2f32, 1.0, 1e3]),
        ) {
            let values: Vec<f32> = values.iter().map(|v| v * magnitude).collect();
            let whole = values.len() / 32 * 32;
            for (packing, steps) in [(Packing::Q8_0, 127.0), (Packing::Q4_0, 8.0)] {
                let back = to_f32(packing.dtype(), &packing.encode(&values));
                prop_assert_eq!(back.len(), whole);
                for (block, back) in values.chunks_exact(32).zip(back.chunks_exact(32)) {
                    let largest = block.iter().fold(0f32, |most, &v| if v.abs() > most.abs() { v } else { most });
                    let step = largest.abs() / steps;
                    for (v, b) in block.iter().zip(back) {
                        // In 4 bits there are 8 steps on the side of the largest number and 7 on the other.
                        let cut = packing == Packing::Q4_0 && v * largest < 0.0 && v.abs() > 7.5 * step;
                        let half = if cut { 1.0 } else { 0.5 };
                        prop_assert!((v - b).abs() <= half * step + largest.abs() / 2000.0, "{} became {}", v, b);
                    }
                }
            }
        }
    }
}
