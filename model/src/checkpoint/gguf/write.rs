//! Writer of GGUF files, version 3, little-endian. The data of the tensors is asked for one by one, so that a file may be
//! larger than memory.
//!
//! It knows nothing of models; `gguf_model::write` says what stands in the file.

use std::collections::BTreeMap;
use std::io::{Error, Result, Write};

use super::value::{Kind, dtype_id};
use super::{Gguf, Tensor, Value};
use crate::checkpoint::quant::Packing;

/// What the specification takes where a file doesn't say.
const ALIGNMENT: u64 = 32;

/// What a GGUF file cannot say, or its readers would not understand.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("a GGUF file cannot hold this model: `{field}` = {value}{}", self::why(.why))]
pub struct Inexpressible {
    /// The field of the configuration or of `tokenizer.json`.
    pub field: String,
    /// What it holds.
    pub value: String,
    /// What stands against it; may be empty.
    pub why: String,
}

fn why(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(" ({why})") }
}

impl Inexpressible {
    pub(crate) fn new(field: impl Into<String>, value: impl ToString, why: &str) -> Self {
        Self { field: field.into(), value: value.to_string(), why: why.to_owned() }
    }
}

/// Everything that stands before the data.
#[derive(Debug, Clone, Default)]
pub struct Head<'a> {
    /// Metadata by key. Integers are written with 32 bits where they fit and reals as f32, which is what llama.cpp asks for.
    pub metadata: BTreeMap<String, Value<'a>>,
    /// Tensors in the file's order.
    pub tensors: Vec<Description>,
}

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name in the file.
    pub name: String,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// Type of the stored numbers.
    pub packing: Packing,
}

impl Description {
    /// Bytes of its data.
    pub fn size(&self) -> u64 {
        let (numbers, dtype) = (self.shape.iter().map(|&d| d as u64).product::<u64>(), self.packing.dtype());
        numbers / dtype.block() as u64 * dtype.block_bytes() as u64
    }
}

impl Head<'_> {
    /// What a reader would find, but for the data.
    pub fn view(&self) -> Gguf<'_> {
        let tensors = self.tensors.iter().map(|t| Tensor {
            name: &t.name,
            shape: t.shape.clone(),
            dtype: t.packing.dtype(),
            offset: 0,
            bytes: &[],
        });
        Gguf {
            file: "the file to be written".to_owned(),
            metadata: self.metadata.iter().map(|(key, value)| (key.as_str(), value.clone())).collect(),
            tensors: tensors.collect(),
        }
    }

    /// Writes the file. `data` gives the bytes of the tensor of that index.
    ///
    /// # Errors
    /// The system's, or data of another length than its description says.
    pub fn write(&self, out: &mut impl Write, mut data: impl FnMut(usize) -> Vec<u8>) -> Result<()> {
        let mut head = b"GGUF".to_vec();
        head.extend(3u32.to_le_bytes());
        head.extend((self.tensors.len() as u64).to_le_bytes());
        head.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            string(&mut head, key);
            entry(&mut head, value)?;
        }
        let mut offset = 0u64;
        for tensor in &self.tensors {
            string(&mut head, &tensor.name);
            head.extend((tensor.shape.len() as u32).to_le_bytes());
            // The file has the innermost dimension first.
            tensor.shape.iter().rev().for_each(|&d| head.extend((d as u64).to_le_bytes()));
            head.extend(dtype_id(tensor.packing.dtype()).to_le_bytes());
            head.extend(offset.to_le_bytes());
            offset = (offset + tensor.size()).next_multiple_of(ALIGNMENT);
        }
        pad(&mut head);
        out.write_all(&head)?;
        for (index, tensor) in self.tensors.iter().enumerate() {
            let mut bytes = data(index);
            if bytes.len() as u64 != tensor.size() {
                let problem = format!("`{}` has {} bytes of data, not {}", tensor.name, bytes.len(), tensor.size());
                return Err(Error::other(problem));
            }
            pad(&mut bytes);
            out.write_all(&bytes)?;
        }
        Ok(())
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A value's type and the value.
fn entry(out: &mut Vec<u8>, value: &Value<'_>) -> Result<()> {
    let mut plain = |kind: Kind, bytes: &[u8]| {
        out.extend((kind as u32).to_le_bytes());
        out.extend(bytes);
    };
    match value {
        Value::Unsigned(v) => match u32::try_from(*v) {
            Ok(v) => plain(Kind::U32, &v.to_le_bytes()),
            Err(_) => plain(Kind::U64, &v.to_le_bytes()),
        },
        Value::Signed(v) => match i32::try_from(*v) {
            Ok(v) => plain(Kind::I32, &v.to_le_bytes()),
            Err(_) => plain(Kind::I64, &v.to_le_bytes()),
        },
        Value::Float(v) => plain(Kind::F32, &(*v as f32).to_le_bytes()),
        Value::Bool(v) => plain(Kind::Bool, &[u8::from(*v)]),
        Value::String(text) => {
            plain(Kind::String, &[]);
            string(out, text);
        }
        Value::Strings(texts) => {
            plain(Kind::Array, &(Kind::String as u32).to_le_bytes());
            out.extend((texts.len() as u64).to_le_bytes());
            texts.iter().for_each(|text| string(out, text));
        }
        Value::Numbers(numbers) => {
            plain(Kind::Array, &(numbers.kind as u32).to_le_bytes());
            out.extend((numbers.len() as u64).to_le_bytes());
            out.extend(numbers.bytes);
        }
        // The reader keeps only their number.
        Value::Nested(_) => return Err(Error::other("arrays of arrays are not written")),
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::checkpoint::gguf::Numbers;
    use proptest::prelude::*;

    fn written(head: &Head<'_>, data: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        head.write(&mut out, |i| data[i].clone()).unwrap();
        out
    }

    #[test]
    fn every_value_comes_back() {
        let types = [-1i32, 3, 1].map(i32::to_le_bytes).concat();
        let values = [
            ("u32", Value::Unsigned(7)),
            ("u64", Value::Unsigned(1 << 40)),
            ("i32", Value::Signed(-7)),
            ("i64", Value::Signed(-(1 << 40))),
            ("f32", Value::Float(0.5)),
            ("bool", Value::Bool(true)),
            ("string", Value::String("火 hearth")),
            ("strings", Value::Strings(vec!["a", "", "灶"])),
            ("numbers", Value::Numbers(Numbers::i32(&types))),
        ];
        let metadata = values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let head = Head { metadata, tensors: Vec::new() };
        let bytes = written(&head, &[]);
        let read = Gguf::parse("f", &bytes).unwrap();
        assert_eq!(read.metadata, head.view().metadata);
        let nested = Head { metadata: [("n".to_owned(), Value::Nested(2))].into(), tensors: Vec::new() };
        assert!(nested.write(&mut Vec::new(), |_| Vec::new()).is_err());
    }

    #[test]
    fn data_of_another_length_is_refused() {
        let tensors = vec![Description { name: "a".into(), shape: vec![2, 32], packing: Packing::Q8_0 }];
        let head = Head { metadata: BTreeMap::new(), tensors };
        let error = head.write(&mut Vec::new(), |_| vec![0; 67]).unwrap_err().to_string();
        assert!(error.contains("67") && error.contains("68"), "{error}");
    }

    proptest! {
        #[test]
        fn tensors_come_back(shapes in prop::collection::vec((1usize..4, 1usize..3), 0..5)) {
            let types = [Packing::F32, Packing::F16, Packing::Q8_0, Packing::Q4_0];
            let describe = |(i, &(rows, blocks)): (usize, &(usize, usize))| {
                let shape = if i % 2 == 0 { vec![rows, 32 * blocks] } else { vec![32 * rows] };
                Description { name: format!("t{i}"), shape, packing: types[i % 4] }
            };
            let tensors: Vec<Description> = shapes.iter().enumerate().map(describe).collect();
            let data: Vec<Vec<u8>> = tensors.iter().enumerate().map(|(i, t)| vec![i as u8 + 1; t.size() as usize]).collect();
            let head = Head { metadata: BTreeMap::new(), tensors };
            let bytes = written(&head, &data);
            prop_assert_eq!(bytes.len() % 32, 0);
            let read = Gguf::parse("f", &bytes).unwrap();
            prop_assert_eq!(read.tensors.len(), data.len());
            for ((read, described), data) in read.tensors.iter().zip(&head.tensors).zip(&data) {
                prop_assert_eq!(read.name, described.name.as_str());
                prop_assert_eq!(&read.shape, &described.shape);
                prop_assert_eq!(read.dtype, described.packing.dtype());
                prop_assert_eq!(read.bytes, data.as_slice());
                prop_assert_eq!(read.offset % 32, 0);
            }
        }
    }
}
