//! Number formats of checkpoint files and how their bytes become f32.
//!
//! The block formats are llama.cpp's (`ggml-common.h`); the arithmetic follows `gguf.quants.dequantize` operation by
//! operation, so that the results are equal in every bit.

use half::{bf16, f16};

/// Type of the stored numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(non_camel_case_types, reason = "the formats' own names")]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    BF16,
    /// Blocks of 32: scale; 4 bits.
    Q4_0,
    /// Blocks of 32: scale, minimum; 4 bits.
    Q4_1,
    /// Blocks of 32: scale; 5 bits.
    Q5_0,
    /// Blocks of 32: scale, minimum; 5 bits.
    Q5_1,
    /// Blocks of 32: scale; 8 bits.
    Q8_0,
    /// Super-blocks of 256 with 6-bit scales and minima; 4 bits.
    Q4_K,
    /// Super-blocks of 256 with 6-bit scales and minima; 5 bits.
    Q5_K,
    /// Super-blocks of 256 with 8-bit scales; 6 bits.
    Q6_K,
}

impl DType {
    /// Numbers in a block; 1 for plain types.
    pub const fn block(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
        }
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }

    /// The type's name in its own world.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
        }
    }
}

/// Decodes whole blocks; bytes after the last whole block are left out.
///
/// Splits the work over the cores natively. The only allocation is the result: `bytes.len() / block_bytes * block` numbers.
pub fn to_f32(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    let blocks = bytes.len() / dtype.block_bytes();
    let bytes = &bytes[..blocks * dtype.block_bytes()];
    let mut out = vec![0f32; blocks * dtype.block()];
    // About 16,000 numbers a piece: enough to drown the cost of a task.
    let piece = (16384 / dtype.block()).max(1);
    let (from, to) = (piece * dtype.block_bytes(), piece * dtype.block());
    #[cfg(not(target_arch = "wasm32"))]
    {
        use rayon::prelude::*;
        out.par_chunks_mut(to).zip(bytes.par_chunks(from)).for_each(|(out, bytes)| decode(dtype, bytes, out));
    }
    #[cfg(target_arch = "wasm32")]
    out.chunks_mut(to).zip(bytes.chunks(from)).for_each(|(out, bytes)| decode(dtype, bytes, out));
    out
}

fn decode(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        DType::F32 => each::<4, 1>(bytes, out, |b, o| o[0] = f32::from_le_bytes(*b)),
        DType::F16 => each::<2, 1>(bytes, out, |b, o| o[0] = f16::from_le_bytes(*b).to_f32()),
        DType::BF16 => each::<2, 1>(bytes, out, |b, o| o[0] = bf16::from_le_bytes(*b).to_f32()),
        DType::Q4_0 => each(bytes, out, q4_0),
        DType::Q4_1 => each(bytes, out, q4_1),
        DType::Q5_0 => each(bytes, out, q5_0),
        DType::Q5_1 => each(bytes, out, q5_1),
        DType::Q8_0 => each(bytes, out, q8_0),
        DType::Q4_K => each(bytes, out, q4_k),
        DType::Q5_K => each(bytes, out, q5_k),
        DType::Q6_K => each(bytes, out, q6_k),
    }
}

fn each<const BYTES: usize, const NUMBERS: usize>(
    bytes: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; BYTES], &mut [f32; NUMBERS]),
) {
    for (b, o) in bytes.as_chunks::<BYTES>().0.iter().zip(out.as_chunks_mut::<NUMBERS>().0) {
        block(b, o);
    }
}

fn scale(low: u8, high: u8) -> f32 {
    f16::from_le_bytes([low, high]).to_f32()
}

fn q4_0(b: &[u8; 18], o: &mut [f32; 32]) {
    let d = scale(b[0], b[1]);
    for i in 0..16 {
        let q = b[2 + i];
        o[i] = d * f32::from((q & 15) as i8 - 8);
        o[i + 16] = d * f32::from((q >> 4) as i8 - 8);
    }
}

fn q4_1(b: &[u8; 20], o: &mut [f32; 32]) {
    let (d, m) = (scale(b[0], b[1]), scale(b[2], b[3]));
    for i in 0..16 {
        let q = b[4 + i];
        o[i] = d * f32::from(q & 15) + m;
        o[i + 16] = d * f32::from(q >> 4) + m;
    }
}

/// The fifth bit of number `i`, in place.
fn fifth(high: u32, i: usize) -> u8 {
    ((high >> i) as u8 & 1) << 4
}

fn q5_0(b: &[u8; 22], o: &mut [f32; 32]) {
    let d = scale(b[0], b[1]);
    let high = u32::from_le_bytes([b[2], b[3], b[4], b[5]]);
    for i in 0..16 {
        let q = b[6 + i];
        o[i] = d * f32::from((q & 15 | fifth(high, i)) as i8 - 16);
        o[i + 16] = d * f32::from((q >> 4 | fifth(high, i + 16)) as i8 - 16);
    }
}

fn q5_1(b: &[u8; 24], o: &mut [f32; 32]) {
    let (d, m) = (scale(b[0], b[1]), scale(b[2], b[3]));
    let high = u32::from_le_bytes([b[4], b[5], b[6], b[7]]);
    for i in 0..16 {
        let q = b[8 + i];
        o[i] = d * f32::from(q & 15 | fifth(high, i)) + m;
        o[i + 16] = d * f32::from(q >> 4 | fifth(high, i + 16)) + m;
    }
}

fn q8_0(b: &[u8; 34], o: &mut [f32; 32]) {
    let d = scale(b[0], b[1]);
    for i in 0..32 {
        o[i] = f32::from(b[2 + i] as i8) * d;
    }
}

/// Scale and minimum of sub-block `i` of eight, 6 bits each, packed into 12 bytes.
fn scale_min(s: &[u8], i: usize) -> (u8, u8) {
    if i < 4 {
        (s[i] & 63, s[i + 4] & 63)
    } else {
        (s[i + 4] & 15 | s[i - 4] >> 2 & 48, s[i + 4] >> 4 | s[i] >> 2 & 48)
    }
}

fn q4_k(b: &[u8; 144], o: &mut [f32; 256]) {
    let (d, dmin) = (scale(b[0], b[1]), scale(b[2], b[3]));
    for sub in 0..8 {
        let (s, m) = scale_min(&b[4..16], sub);
        let (s, m) = (d * f32::from(s), dmin * f32::from(m));
        let (quants, shift) = (&b[16 + sub / 2 * 32..][..32], sub % 2 * 4);
        for i in 0..32 {
            o[sub * 32 + i] = s * f32::from(quants[i] >> shift & 15) - m;
        }
    }
}

fn q5_k(b: &[u8; 176], o: &mut [f32; 256]) {
    let (d, dmin) = (scale(b[0], b[1]), scale(b[2], b[3]));
    for sub in 0..8 {
        let (s, m) = scale_min(&b[4..16], sub);
        let (s, m) = (d * f32::from(s), dmin * f32::from(m));
        let (quants, shift) = (&b[48 + sub / 2 * 32..][..32], sub % 2 * 4);
        for i in 0..32 {
            let q = quants[i] >> shift & 15 | (b[16 + i] >> sub & 1) << 4;
            o[sub * 32 + i] = s * f32::from(q) - m;
        }
    }
}

fn q6_k(b: &[u8; 210], o: &mut [f32; 256]) {
    let d = scale(b[208], b[209]);
    for half in 0..2 {
        let (low, high) = (&b[half * 64..][..64], &b[128 + half * 32..][..32]);
        for quarter in 0..4 {
            for i in 0..32 {
                let l = low[quarter % 2 * 32 + i] >> (quarter / 2 * 4) & 15;
                let h = high[i] >> (quarter * 2) & 3;
                let at = half * 128 + quarter * 32 + i;
                let s = d * f32::from(b[192 + at / 16] as i8);
                o[at] = s * f32::from((l | h << 4) as i8 - 32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_block_is_left_out() {
        assert!(to_f32(DType::Q8_0, &[0; 33]).is_empty());
        assert_eq!(to_f32(DType::F32, &[0, 0, 128, 63, 9]), [1.0]);
    }

    #[test]
    fn pieces_join_without_a_seam() {
        let bytes: Vec<u8> = (0..100_000u32).flat_map(|i| (i as f32).to_le_bytes()).collect();
        assert!(to_f32(DType::F32, &bytes).iter().enumerate().all(|(i, &v)| v == i as f32));
    }
}
