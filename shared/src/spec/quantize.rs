//! How numbers are rounded to few bits: the choices, and what they cost in bytes.

use serde::{Deserialize, Serialize};

/// Numbers that share a scale under [`Grain::Block`], as in GGUF's plain types.
pub const BLOCK: usize = 32;
/// A scale is kept as f16, a zero point as one byte.
const SCALE_BITS: u64 = 16;
const ZERO_POINT_BITS: u64 = 8;

/// Uniform quantization of weight matrices `[out, in]`, and perhaps of what goes into their products (Jacob 2018; Nagel 2021, "A White
/// Paper on Neural Network Quantization").
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantizeSpec {
    /// Of a weight, 2 to 8. None leaves the weights as they are.
    pub weight_bits: Option<u8>,
    /// Of an input of a product, 2 to 8: symmetric, a scale for each token, measured as it comes. None leaves them as they are.
    pub input_bits: Option<u8>,
    /// Levels lie around zero, as many on either side. Else from the smallest number to the largest, zero among them.
    pub symmetric: bool,
    pub grain: Grain,
    pub calibration: Calibration,
}

impl Default for QuantizeSpec {
    fn default() -> Self {
        Self {
            weight_bits: Some(8),
            input_bits: None,
            symmetric: true,
            grain: Grain::Row,
            calibration: Calibration::MinMax,
        }
    }
}

/// Which numbers share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grain {
    /// All of a matrix.
    Tensor,
    /// Those of one output.
    Row,
    /// Those of one input.
    Column,
    /// [`BLOCK`] neighbours of a row.
    Block,
}

/// Where the outermost levels are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calibration {
    /// At the outermost numbers: nothing is cut off.
    MinMax,
    /// Where one number in a thousand lies beyond.
    Percentile,
    /// Where the squared error is least, among twenty places.
    Mse,
}

impl QuantizeSpec {
    /// Bits of a matrix of so many rows and columns, scales and zero points counted.
    pub fn matrix_bits(&self, rows: usize, cols: usize) -> u64 {
        let numbers = (rows * cols) as u64;
        let Some(bits) = self.weight_bits else {
            return numbers * 32;
        };
        let groups = match self.grain {
            Grain::Tensor => 1,
            Grain::Row => rows,
            Grain::Column => cols,
            Grain::Block => rows * cols.div_ceil(BLOCK),
        };
        let each = SCALE_BITS + if self.symmetric { 0 } else { ZERO_POINT_BITS };
        numbers * u64::from(bits) + groups as u64 * each
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_count_the_scales() {
        let spec = QuantizeSpec::default();
        assert_eq!(spec.matrix_bits(10, 64), 10 * 64 * 8 + 10 * 16);
        let block = QuantizeSpec { weight_bits: Some(4), grain: Grain::Block, symmetric: false, ..spec };
        assert_eq!(block.matrix_bits(1, 33), 33 * 4 + 2 * 24);
        assert_eq!(QuantizeSpec { weight_bits: None, ..spec }.matrix_bits(2, 3), 192);
    }
}
