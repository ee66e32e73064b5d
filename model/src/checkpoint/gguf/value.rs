//! Metadata values of a GGUF file, and the numbers that name its types.

use crate::checkpoint::DType;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// f32 or f64.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// Text.
    String(&'a str),
    /// Array of strings.
    Strings(Vec<&'a str>),
    /// Array of numbers or booleans, undecoded.
    Numbers(Numbers<'a>),
    /// Array of this many arrays: checked, not kept; no model needs one.
    Nested(u64),
}

/// An array of numbers or booleans.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Numbers<'a> {
    pub(super) kind: Kind,
    pub(super) bytes: &'a [u8],
}

impl<'a> Numbers<'a> {
    /// An array of 32-bit signed integers, little-endian.
    pub fn i32(bytes: &'a [u8]) -> Self {
        Self { kind: Kind::I32, bytes }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.kind.size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The elements.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let kind = self.kind;
        self.bytes.chunks_exact(kind.size()).map(move |b| kind.decode(b))
    }
}

impl Value<'_> {
    /// As an unsigned integer, where it is one or a signed one that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::Unsigned(v) => Some(v),
            Self::Signed(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// As a number.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::Float(v) => Some(v),
            Self::Unsigned(v) => Some(v as f64),
            Self::Signed(v) => Some(v as f64),
            _ => None,
        }
    }

    /// The type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Unsigned(_) | Self::Signed(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a boolean",
            Self::String(_) => "a string",
            Self::Strings(_) => "an array of strings",
            Self::Numbers(_) => "an array of numbers",
            Self::Nested(_) => "an array of arrays",
        }
    }
}

/// Type of a metadata value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl Kind {
    pub(super) fn from_id(id: u32) -> Option<Self> {
        use Kind::*;
        [U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64].get(id as usize).copied()
    }

    /// Bytes of one value; the least it can take where that varies.
    pub(super) fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::String => 8,
            Self::Array => 12,
        }
    }

    /// Decodes a number or boolean of exactly `size()` bytes.
    pub(super) fn decode<'a>(self, b: &[u8]) -> Value<'a> {
        let mut wide = [0u8; 8];
        wide[..b.len().min(8)].copy_from_slice(&b[..b.len().min(8)]);
        let unsigned = u64::from_le_bytes(wide);
        match self {
            Self::I8 => Value::Signed(i64::from(unsigned as i8)),
            Self::I16 => Value::Signed(i64::from(unsigned as i16)),
            Self::I32 => Value::Signed(i64::from(unsigned as i32)),
            Self::I64 => Value::Signed(unsigned as i64),
            Self::F32 => Value::Float(f64::from(f32::from_bits(unsigned as u32))),
            Self::F64 => Value::Float(f64::from_bits(unsigned)),
            Self::Bool => Value::Bool(unsigned != 0),
            _ => Value::Unsigned(unsigned),
        }
    }
}

/// The number that names a tensor's type, which [`dtype`] reads.
pub(super) fn dtype_id(dtype: DType) -> u32 {
    match dtype {
        DType::F32 => 0,
        DType::F16 => 1,
        DType::Q4_0 => 2,
        DType::Q4_1 => 3,
        DType::Q5_0 => 6,
        DType::Q5_1 => 7,
        DType::Q8_0 => 8,
        DType::Q4_K => 12,
        DType::Q5_K => 13,
        DType::Q6_K => 14,
        DType::BF16 => 30,
    }
}

/// The supported type of a tensor, or the name of the unsupported one.
pub(super) fn dtype(id: u32) -> Result<DType, String> {
    Ok(match id {
        0 => DType::F32,
        1 => DType::F16,
        2 => DType::Q4_0,
        3 => DType::Q4_1,
        6 => DType::Q5_0,
        7 => DType::Q5_1,
        8 => DType::Q8_0,
        12 => DType::Q4_K,
        13 => DType::Q5_K,
        14 => DType::Q6_K,
        30 => DType::BF16,
        _ => {
            let known = [
                (9, "Q8_1"),
                (10, "Q2_K"),
                (11, "Q3_K"),
                (15, "Q8_K"),
                (16, "IQ2_XXS"),
                (17, "IQ2_XS"),
                (18, "IQ3_XXS"),
                (19, "IQ1_S"),
                (20, "IQ4_NL"),
                (21, "IQ3_S"),
                (22, "IQ2_S"),
                (23, "IQ4_XS"),
                (24, "I8"),
                (25, "I16"),
                (26, "I32"),
                (27, "I64"),
                (28, "F64"),
                (29, "IQ1_M"),
                (34, "TQ1_0"),
                (35, "TQ2_0"),
                (39, "MXFP4"),
            ];
            let name = known.iter().find(|k| k.0 == id).map(|k| k.1);
            return Err(name.map_or_else(|| format!("number {id}"), str::to_owned));
        }
    })
}
