//! Reader of safetensors files, one or sharded, and the writer of one.
//!
//! The format (github.com/huggingface/safetensors): a little-endian u64, a JSON header of that length, then the data, which
//! the tensors must cover without gap or overlap. The reader is ours because its refusals name the tensor and the offset.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use super::{CheckpointError, DType, Fault, Layout, Source, Weight, Weights, names};

/// The file of an unsharded checkpoint.
pub const SINGLE: &str = "model.safetensors";
/// The index of a sharded one.
pub const INDEX: &str = "model.safetensors.index.json";

/// The reference implementation's limit on the header.
const MAX_HEADER: u64 = 100_000_000;

/// One tensor of the header.
#[derive(Debug, Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The header, with a name that appears twice noticed.
struct Header {
    tensors: Vec<(String, Info)>,
    duplicate: Option<String>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header { tensors: Vec::new(), duplicate: None };
                let mut seen = BTreeSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        header.duplicate.get_or_insert_with(|| name.clone());
                    }
                    if name == "__metadata__" {
                        map.next_value::<serde::de::IgnoredAny>()?;
                    } else {
                        header.tensors.push((name, map.next_value()?));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

fn dtype(name: &str) -> Option<DType> {
    match name {
        "F32" => Some(DType::F32),
        "F16" => Some(DType::F16),
        "BF16" => Some(DType::BF16),
        _ => None,
    }
}

/// Reads one file.
///
/// # Errors
/// Whatever is wrong with the header or a tensor, with its offset.
pub fn parse<'a>(file: &str, bytes: &'a [u8]) -> Result<Weights<'a>, CheckpointError> {
    let (header, base) = header(file, bytes)?;
    let available = (bytes.len() - base) as u64;
    let tensor = |name: &str, begin: u64, fault| CheckpointError::Tensor {
        file: file.to_owned(),
        tensor: name.to_owned(),
        offset: (base as u64).saturating_add(begin),
        fault,
    };
    if let Some(name) = header.duplicate {
        return Err(CheckpointError::Tensor {
            file: file.to_owned(),
            tensor: name,
            offset: 8,
            fault: Fault::Duplicate,
        });
    }
    let mut infos = header.tensors;
    infos.sort_by_key(|(_, info)| info.data_offsets);
    let mut expected = 0u64;
    let mut weights = Weights::default();
    for (name, info) in infos {
        let (begin, end) = info.data_offsets;
        if begin != expected {
            return Err(tensor(&name, begin, Fault::Misplaced { found: begin, expected }));
        }
        if end < begin {
            return Err(tensor(&name, begin, Fault::Parse(format!("data ends at {end}, before it starts"))));
        }
        if end > available {
            return Err(tensor(&name, begin, Fault::Truncated { needed: end - begin, available: available - begin }));
        }
        expected = end;
        let range = &bytes[base + begin as usize..base + end as usize];
        // Buffers of other types (masks, counters) may lie beside the weights; the model's own are checked when taken.
        let Some(dtype) = dtype(&info.dtype) else {
            if known_other(&info.dtype) && names::is_buffer(&name) {
                continue;
            }
            return Err(tensor(&name, begin, Fault::Type { name: info.dtype }));
        };
        let shape = shape(&info.shape, dtype, range.len() as u64).map_err(|fault| tensor(&name, begin, fault))?;
        let weight = Weight {
            file: Cow::Owned(file.to_owned()),
            name: name.clone(),
            offset: base as u64 + begin,
            dtype,
            shape,
            layout: Layout::Same,
            bytes: range,
        };
        weights.tensors.insert(name, weight);
    }
    if expected != available {
        let fault = Fault::Oversized { extra: available - expected };
        return Err(CheckpointError::Header { file: file.to_owned(), offset: base as u64 + expected, fault });
    }
    Ok(weights)
}

fn known_other(dtype: &str) -> bool {
    ["BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F64"].contains(&dtype)
}

fn header(file: &str, bytes: &[u8]) -> Result<(Header, usize), CheckpointError> {
    let fault = |offset, fault| CheckpointError::Header { file: file.to_owned(), offset, fault };
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(fault(0, Fault::Truncated { needed: 8, available: bytes.len() as u64 }));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        let limit = MAX_HEADER.min(rest.len() as u64);
        return Err(fault(0, Fault::Absurd { what: "the length of the header", count: length, limit }));
    }
    if length > rest.len() as u64 {
        return Err(fault(8, Fault::Truncated { needed: length, available: rest.len() as u64 }));
    }
    let length = length as usize;
    let header = serde_json::from_slice(&rest[..length]).map_err(|e| {
        // serde_json counts lines and columns; headers are one line.
        let at = if e.line() <= 1 { 8 + e.column().saturating_sub(1) as u64 } else { 8 };
        fault(at, Fault::Parse(format!("the header: {e}")))
    })?;
    Ok((header, 8 + length))
}

fn shape(dims: &[u64], dtype: DType, bytes: u64) -> Result<Vec<usize>, Fault> {
    let fault = |problem: &str| Fault::Shape { shape: dims.to_vec(), problem: problem.to_owned() };
    if dims.len() > 8 {
        return Err(fault("more than 8 dimensions"));
    }
    let size = dims.iter().try_fold(dtype.block_bytes() as u64, |n, &d| n.checked_mul(d));
    let expected = size.ok_or_else(|| fault("its size overflows 64 bits"))?;
    if expected != bytes {
        return Err(Fault::Length { found: bytes, expected });
    }
    dims.iter().map(|&d| usize::try_from(d).map_err(|_| fault("a dimension overflows"))).collect()
}

#[derive(Debug, Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Reads the checkpoint of a Hugging Face directory: `model.safetensors`, or the shards its index names.
///
/// # Errors
/// As [`parse`]; also when the index names a file or tensor that is not there.
pub fn from_source(source: &dyn Source) -> Result<Weights<'_>, CheckpointError> {
    if source.has(SINGLE) || !source.has(INDEX) {
        return parse(SINGLE, source.bytes(SINGLE).map_err(|e| prefer_safetensors(e, source))?);
    }
    let index: Index = serde_json::from_slice(source.bytes(INDEX)?).map_err(|e| CheckpointError::Header {
        file: INDEX.to_owned(),
        offset: 0,
        fault: Fault::Parse(e.to_string()),
    })?;
    let files: BTreeSet<&String> = index.weight_map.values().collect();
    let mut all = Weights::default();
    for file in files {
        for (name, weight) in parse(file, source.bytes(file)?)?.tensors {
            if all.tensors.contains_key(&name) {
                return Err(weight.fault(Fault::Duplicate));
            }
            all.tensors.insert(name, weight);
        }
    }
    for (name, file) in &index.weight_map {
        if all.get(name).is_none_or(|w| w.file != file.as_str()) && !names::is_buffer(name) {
            return Err(CheckpointError::Tensor {
                file: INDEX.to_owned(),
                tensor: name.clone(),
                offset: 0,
                fault: Fault::Parse(format!("the index says it is in {file}, where it is not")),
            });
        }
    }
    Ok(all)
}

/// Pickles run code when they are opened, so there is no reader for them; say so instead of "not found".
fn prefer_safetensors(error: CheckpointError, source: &dyn Source) -> CheckpointError {
    let pickle = source.names().into_iter().find(|n| n.ends_with(".bin") || n.ends_with(".pt") || n.ends_with(".pth"));
    match pickle {
        Some(file) => CheckpointError::Unsupported {
            file,
            what: "a pickled checkpoint".to_owned(),
            hint: "it could run code; save it as safetensors".to_owned(),
        },
        None => error,
    }
}

/// The type a checkpoint is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Nothing is lost.
    #[default]
    F32,
    /// Half the size; values above 65504 become infinite.
    F16,
    /// Half the size, the range of f32.
    BF16,
}

impl Precision {
    /// As `config.json` names it.
    pub const fn torch_dtype(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
        }
    }

    /// Little-endian bytes of the numbers.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect(),
            Self::BF16 => values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect(),
        }
    }

    const fn dtype(self) -> safetensors::Dtype {
        match self {
            Self::F32 => safetensors::Dtype::F32,
            Self::F16 => safetensors::Dtype::F16,
            Self::BF16 => safetensors::Dtype::BF16,
        }
    }
}

/// A tensor to be written, already encoded.
#[derive(Debug, Clone)]
pub struct Encoded {
    precision: Precision,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Encoded {
    /// Encodes row-major values.
    pub fn new(precision: Precision, shape: Vec<usize>, values: &[f32]) -> Self {
        Self { precision, shape, bytes: precision.encode(values) }
    }

    /// The encoded values.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl safetensors::View for &Encoded {
    fn dtype(&self) -> safetensors::Dtype {
        self.precision.dtype()
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes one file, as `safetensors.torch.save_file` does.
///
/// # Errors
/// When the system refuses.
#[cfg(not(target_arch = "wasm32"))]
pub fn write(path: &std::path::Path, tensors: &BTreeMap<String, Encoded>) -> Result<(), CheckpointError> {
    let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(tensors, Some(metadata), path).map_err(|e| CheckpointError::Io {
        file: path.display().to_string(),
        error: std::io::Error::other(e.to_string()),
    })
}

/// The bytes of one file, for where there is no file system.
///
/// # Errors
/// When a tensor's description cannot be written.
pub fn to_bytes(tensors: &BTreeMap<String, Encoded>) -> Result<Vec<u8>, CheckpointError> {
    let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(tensors, Some(metadata)).map_err(|e| CheckpointError::Header {
        file: SINGLE.to_owned(),
        offset: 0,
        fault: Fault::Parse(e.to_string()),
    })
}
