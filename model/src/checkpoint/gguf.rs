//! Reader of GGUF files, versions 2 and 3, little-endian.
//!
//! Follows the specification in ggml's `docs/gguf.md` and llama.cpp's rule that tensors lie one after another in the order
//! of their descriptions, each padded to the alignment. Everything is borrowed from the file's bytes: the memory used is a
//! small multiple of the header's length, whatever the counts in it claim.
//!
//! It knows nothing of models; `gguf_model` reads architecture and names out of it.

mod value;
pub mod write;

use std::collections::{BTreeMap, HashSet};

use super::{CheckpointError, DType, Fault};
use value::{Kind, dtype};

pub use value::{Numbers, Value};

/// Arrays of arrays deeper than this are refused.
const MAX_DEPTH: usize = 4;
/// ggml's limit on dimensions.
const MAX_DIMS: u32 = 4;
/// Names longer than this are refused; llama.cpp's limit is 63.
const MAX_NAME: u64 = 1024;

/// A parsed file.
#[derive(Debug)]
pub struct Gguf<'a> {
    /// Name of the file, for messages.
    pub file: String,
    /// Metadata by key.
    pub metadata: BTreeMap<&'a str, Value<'a>>,
    /// Tensors in the file's order.
    pub tensors: Vec<Tensor<'a>>,
}

/// A tensor as the file describes it.
#[derive(Debug, Clone)]
pub struct Tensor<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// Outermost dimension first (the file stores the innermost first).
    pub shape: Vec<usize>,
    /// Type of the stored numbers.
    pub dtype: DType,
    /// Byte offset of the data from the start of the file.
    pub offset: u64,
    /// The data.
    pub bytes: &'a [u8],
}

impl<'a> Gguf<'a> {
    /// Parses and checks a whole file.
    ///
    /// # Errors
    /// Whatever is wrong with the header or a tensor's description, with its offset.
    pub fn parse(file: &str, bytes: &'a [u8]) -> Result<Self, CheckpointError> {
        let mut r = Reader { file, bytes, at: 0 };
        let (n_tensors, metadata) = r.beginning()?;
        let alignment = r.alignment(&metadata)?;
        let described = r.descriptions(n_tensors)?;
        let tensors = r.place(described, alignment)?;
        Ok(Self { file: file.to_owned(), metadata, tensors })
    }

    /// The metadata alone, without a tensor: for who needs a vocabulary and has no more than the file's beginning.
    ///
    /// # Errors
    /// Whatever is wrong with the header; that it ends too early, where `bytes` do not reach behind the metadata.
    pub fn beginning(file: &str, bytes: &'a [u8]) -> Result<Self, CheckpointError> {
        let (_, metadata) = Reader { file, bytes, at: 0 }.beginning()?;
        Ok(Self { file: file.to_owned(), metadata, tensors: Vec::new() })
    }

    /// A required entry.
    ///
    /// # Errors
    /// When it is missing or `read` refuses it.
    pub fn need<'s, T>(
        &'s self,
        key: &str,
        what: &str,
        read: impl Fn(&'s Value<'a>) -> Option<T>,
    ) -> Result<T, CheckpointError> {
        self.opt(key, what, read)?.ok_or_else(|| self.bad(key, "is missing"))
    }

    /// An optional entry.
    ///
    /// # Errors
    /// When it is there and `read` refuses it.
    pub fn opt<'s, T>(
        &'s self,
        key: &str,
        what: &str,
        read: impl Fn(&'s Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, CheckpointError> {
        let Some(value) = self.metadata.get(key) else {
            return Ok(None);
        };
        let found = value.type_name();
        read(value).map(Some).ok_or_else(|| self.bad(key, &format!("must be {what}, is {found}")))
    }

    /// An error about an entry.
    pub fn bad(&self, key: &str, problem: &str) -> CheckpointError {
        CheckpointError::Metadata { file: self.file.clone(), key: key.to_owned(), problem: problem.to_owned() }
    }
}

/// A tensor's description, before its data is found.
struct Described<'a> {
    name: &'a str,
    at: u64,
    shape: Vec<usize>,
    dtype: DType,
    size: u64,
    offset: u64,
}

struct Reader<'a, 'f> {
    file: &'f str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a, '_> {
    fn fault_at(&self, offset: usize, fault: Fault) -> CheckpointError {
        CheckpointError::Header { file: self.file.to_owned(), offset: offset as u64, fault }
    }

    fn unsupported(&self, what: &str) -> CheckpointError {
        CheckpointError::Unsupported {
            file: self.file.to_owned(),
            what: what.to_owned(),
            hint: "versions 2 and 3, little-endian, are".to_owned(),
        }
    }

    /// The number of tensors, and the metadata.
    fn beginning(&mut self) -> Result<(usize, BTreeMap<&'a str, Value<'a>>), CheckpointError> {
        if self.bytes.get(..4) != Some(b"GGUF") {
            return Err(self.fault_at(0, Fault::NotThis { format: "GGUF" }));
        }
        self.at = 4;
        match self.u32()? {
            2 | 3 => {}
            version if version.swap_bytes() < 16 => return Err(self.unsupported("a big-endian GGUF")),
            version => return Err(self.unsupported(&format!("GGUF version {version}"))),
        }
        // The shortest tensor description: length of the name, dimensions, type, offset. The shortest entry: key, type, value.
        let n_tensors = self.count("the number of tensors", 24)?;
        let n_entries = self.count("the number of metadata entries", 13)?;
        Ok((n_tensors, self.metadata(n_entries)?))
    }

    fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    fn take(&mut self, n: u64) -> Result<&'a [u8], CheckpointError> {
        let available = self.left();
        if n > available {
            return Err(self.fault_at(self.at, Fault::Truncated { needed: n, available }));
        }
        let start = self.at;
        // Fits: it is at most the length of a slice.
        self.at += n as usize;
        Ok(&self.bytes[start..self.at])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32, CheckpointError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, CheckpointError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A count of things that take `least` bytes each, or more.
    fn count(&mut self, what: &'static str, least: u64) -> Result<usize, CheckpointError> {
        let at = self.at;
        let count = self.u64()?;
        let limit = self.left() / least;
        if count > limit {
            return Err(self.fault_at(at, Fault::Absurd { what, count, limit }));
        }
        Ok(count as usize)
    }

    fn string(&mut self, what: &'static str, limit: u64) -> Result<&'a str, CheckpointError> {
        let at = self.at;
        let length = self.u64()?;
        if length > limit {
            return Err(self.fault_at(at, Fault::Absurd { what, count: length, limit }));
        }
        std::str::from_utf8(self.take(length)?)
            .map_err(|e| self.fault_at(at + 8 + e.valid_up_to(), Fault::NotUtf8 { what }))
    }

    fn kind(&mut self) -> Result<Kind, CheckpointError> {
        let at = self.at;
        let id = self.u32()?;
        Kind::from_id(id)
            .ok_or_else(|| self.fault_at(at, Fault::Type { name: format!("number {id} of a metadata value") }))
    }

    fn metadata(&mut self, n: usize) -> Result<BTreeMap<&'a str, Value<'a>>, CheckpointError> {
        let mut metadata = BTreeMap::new();
        for _ in 0..n {
            let at = self.at;
            let key = self.string("the length of a metadata key", MAX_NAME)?;
            let kind = self.kind()?;
            let value = self.value(kind, 0)?;
            if metadata.insert(key, value).is_some() {
                return Err(self.fault_at(at, Fault::Parse(format!("metadata `{key}` appears twice"))));
            }
        }
        Ok(metadata)
    }

    fn value(&mut self, kind: Kind, depth: usize) -> Result<Value<'a>, CheckpointError> {
        match kind {
            Kind::String => Ok(Value::String(self.string("the length of a string", u64::MAX)?)),
            Kind::Array => self.array_value(depth),
            _ => Ok(kind.decode(self.take(kind.size() as u64)?)),
        }
    }

    fn array_value(&mut self, depth: usize) -> Result<Value<'a>, CheckpointError> {
        let at = self.at;
        if depth >= MAX_DEPTH {
            let fault =
                Fault::Absurd { what: "the depth of an array", count: depth as u64 + 1, limit: MAX_DEPTH as u64 };
            return Err(self.fault_at(at, fault));
        }
        let kind = self.kind()?;
        let count = self.count("the length of an array", kind.size() as u64)?;
        match kind {
            Kind::String => {
                // Grows with what is really read: a claimed count reserves nothing.
                let mut strings = Vec::new();
                for _ in 0..count {
                    strings.push(self.string("the length of a string", u64::MAX)?);
                }
                Ok(Value::Strings(strings))
            }
            Kind::Array => {
                for _ in 0..count {
                    self.array_value(depth + 1)?;
                }
                Ok(Value::Nested(count as u64))
            }
            _ => Ok(Value::Numbers(Numbers { kind, bytes: self.take((count * kind.size()) as u64)? })),
        }
    }

    fn alignment(&self, metadata: &BTreeMap<&str, Value<'_>>) -> Result<u64, CheckpointError> {
        let Some(value) = metadata.get("general.alignment") else {
            return Ok(32);
        };
        value.as_u64().filter(|a| a.is_power_of_two() && (8..=1 << 20).contains(a)).ok_or_else(|| {
            CheckpointError::Metadata {
                file: self.file.to_owned(),
                key: "general.alignment".to_owned(),
                problem: "must be a power of two between 8 and 1048576".to_owned(),
            }
        })
    }

    fn descriptions(&mut self, n: usize) -> Result<Vec<Described<'a>>, CheckpointError> {
        let mut seen = HashSet::new();
        let mut out = Vec::new();
        for _ in 0..n {
            let at = self.at as u64;
            let name = self.string("the length of a tensor's name", MAX_NAME)?;
            let tensor = |fault| CheckpointError::Tensor {
                file: self.file.to_owned(),
                tensor: name.to_owned(),
                offset: at,
                fault,
            };
            if !seen.insert(name) {
                return Err(tensor(Fault::Duplicate));
            }
            let mut r = Reader { file: self.file, bytes: self.bytes, at: self.at };
            // Whatever ends inside a description is told with the tensor's name.
            let named = |e| match e {
                CheckpointError::Header { fault, .. } => tensor(fault),
                other => other,
            };
            let (shape, dtype, size) = r.shape_and_type(named)?;
            let offset = r.u64().map_err(named)?;
            self.at = r.at;
            out.push(Described { name, at, shape, dtype, size, offset });
        }
        Ok(out)
    }

    /// Shape (outermost first), type and size in bytes.
    fn shape_and_type(
        &mut self,
        named: impl Fn(CheckpointError) -> CheckpointError,
    ) -> Result<(Vec<usize>, DType, u64), CheckpointError> {
        let at = self.at;
        let n_dims = self.u32().map_err(&named)?;
        if n_dims > MAX_DIMS {
            let fault =
                Fault::Absurd { what: "the number of dimensions", count: n_dims.into(), limit: MAX_DIMS.into() };
            return Err(named(self.fault_at(at, fault)));
        }
        let mut dims = Vec::new();
        for _ in 0..n_dims {
            dims.push(self.u64().map_err(&named)?);
        }
        let innermost = dims.first().copied().unwrap_or(1);
        dims.reverse();
        let id = self.u32().map_err(&named)?;
        let dtype = dtype(id).map_err(|name| named(self.fault_at(at, Fault::Type { name })))?;
        let shape_fault = |problem: String| named(self.fault_at(at, Fault::Shape { shape: dims.clone(), problem }));
        if dims.contains(&0) {
            return Err(shape_fault("a dimension is 0".to_owned()));
        }
        let block = dtype.block() as u64;
        if !innermost.is_multiple_of(block) {
            return Err(shape_fault(format!("rows of {} come in blocks of {block}", dtype.name())));
        }
        let size = dims
            .iter()
            .try_fold(1u64, |n, &d| n.checked_mul(d))
            .and_then(|n| (n / block).checked_mul(dtype.block_bytes() as u64));
        let size = size.ok_or_else(|| shape_fault("its size overflows 64 bits".to_owned()))?;
        let shape = dims.iter().map(|&d| usize::try_from(d)).collect::<Result<_, _>>();
        Ok((shape.map_err(|_| shape_fault("a dimension overflows".to_owned()))?, dtype, size))
    }

    /// Finds the data of each tensor and checks that they fill the rest of the file without gap or overlap.
    fn place(&self, described: Vec<Described<'a>>, alignment: u64) -> Result<Vec<Tensor<'a>>, CheckpointError> {
        let length = self.bytes.len() as u64;
        let base = (self.at as u64).next_multiple_of(alignment);
        let mut expected = 0u64;
        let mut tensors = Vec::with_capacity(described.len());
        for d in described {
            let tensor = |offset, fault| CheckpointError::Tensor {
                file: self.file.to_owned(),
                tensor: d.name.to_owned(),
                offset,
                fault,
            };
            if d.offset != expected {
                return Err(tensor(d.at, Fault::Misplaced { found: d.offset, expected }));
            }
            // `expected` never passes the file's length, so that this cannot overflow.
            let start = base + expected;
            let available = length.saturating_sub(start);
            if d.size > available {
                return Err(tensor(start, Fault::Truncated { needed: d.size, available }));
            }
            let bytes = &self.bytes[start as usize..(start + d.size) as usize];
            tensors.push(Tensor { name: d.name, shape: d.shape, dtype: d.dtype, offset: start, bytes });
            expected = (expected + d.size).next_multiple_of(alignment);
        }
        // Writers differ on whether the last tensor is padded.
        let end = base + expected;
        if length > end {
            return Err(self.fault_at(end as usize, Fault::Oversized { extra: length - end }));
        }
        Ok(tensors)
    }
}
