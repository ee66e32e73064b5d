//! Where weights come from and go to: safetensors directories and GGUF files, read from any [`source::Source`].
//!
//! A checkpoint becomes [`Weights`]: tensors under the paths of `Transformer::params` and in their layout, whatever the file
//! was, still undecoded; the table in [`names`] translates.
//!
//! Files are not trusted. Every reader checks lengths, counts, offsets and shapes against the bytes that are there before it
//! allocates, and every refusal names the file, the tensor and the offset.

pub mod dequant;
pub mod gguf;
pub mod gguf_model;
#[cfg(test)]
mod hostile;
pub mod names;
pub mod quant;
pub mod safetensors;
pub mod source;

use std::borrow::Cow;
use std::collections::BTreeMap;

use thiserror::Error;

use crate::config::ModelConfig;

pub use dequant::DType;
pub use source::Source;

/// Why a checkpoint could not be read or written.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The source has no file of that name.
    #[error("{file}: not found; the source has {found}")]
    Missing {
        /// The file that was looked for.
        file: String,
        /// What is there instead, for the message.
        found: String,
    },
    /// The operating system refused.
    #[error("{file}: {error}")]
    Io {
        /// The file or directory.
        file: String,
        /// The system's reason.
        error: std::io::Error,
    },
    /// The file as a whole, or its header, is wrong at this byte.
    #[error("{file}: at byte {offset}: {fault}")]
    Header {
        /// The file.
        file: String,
        /// Byte offset from the start of the file.
        offset: u64,
        /// What is wrong there.
        fault: Fault,
    },
    /// One tensor is wrong.
    #[error("{file}: tensor `{tensor}` at byte {offset}: {fault}")]
    Tensor {
        /// The file.
        file: String,
        /// The tensor's name in that file.
        tensor: String,
        /// Byte offset from the start of the file: of the tensor's data, or of its description where it has no data.
        offset: u64,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A tensor the model needs is nowhere in the checkpoint.
    #[error("tensor `{tensor}` of shape {shape:?} is not in the checkpoint")]
    MissingTensor {
        /// The parameter's path.
        tensor: String,
        /// The shape the configuration asks for.
        shape: Vec<usize>,
    },
    /// A GGUF metadata entry the model needs is missing or has another type or value than it must.
    #[error("{file}: metadata `{key}`: {problem}")]
    Metadata {
        /// The file.
        file: String,
        /// The metadata key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is sound, but of a kind that is not supported.
    #[error("{file}: {what} is not supported{}", self::hint(.hint))]
    Unsupported {
        /// The file.
        file: String,
        /// The thing, by name.
        what: String,
        /// What would be supported instead; may be empty.
        hint: String,
    },
}

fn hint(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!(" ({hint})") }
}

/// What is wrong with a byte, a header or a tensor.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The bytes end before the thing does.
    #[error("needs {needed} bytes, the file has {available} there")]
    Truncated {
        /// Bytes the thing takes.
        needed: u64,
        /// Bytes that are there.
        available: u64,
    },
    /// More bytes than the header accounts for.
    #[error("{extra} bytes that no tensor accounts for")]
    Oversized {
        /// How many.
        extra: u64,
    },
    /// A count or length that the file is too small for, or above a fixed limit.
    #[error("{what} is {count}, at most {limit} can be there")]
    Absurd {
        /// What is counted.
        what: &'static str,
        /// The number in the file.
        count: u64,
        /// The most that can be right.
        limit: u64,
    },
    /// The first bytes are not the format's.
    #[error("not a {format} file")]
    NotThis {
        /// Name of the format that was expected.
        format: &'static str,
    },
    /// A type that is not known, or known and not supported.
    #[error("type {name} is not supported")]
    Type {
        /// The type's name, or its number where it has none.
        name: String,
    },
    /// The shape cannot be.
    #[error("shape {shape:?}: {problem}")]
    Shape {
        /// Outermost dimension first.
        shape: Vec<u64>,
        /// Why not.
        problem: String,
    },
    /// The shape is possible, but not the one the model has here.
    #[error("shape {found:?}, the model needs {expected:?}")]
    WrongShape {
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape of the parameter.
        expected: Vec<usize>,
    },
    /// The data range has another length than type and shape say.
    #[error("{found} bytes of data, type and shape take {expected}")]
    Length {
        /// Bytes in the range.
        found: u64,
        /// Bytes of the type and shape.
        expected: u64,
    },
    /// The data does not start where the tensors before it end.
    #[error("data starts at {found}, the tensors before it end at {expected}")]
    Misplaced {
        /// Offset in the header, from the start of the data.
        found: u64,
        /// Offset it must have.
        expected: u64,
    },
    /// The same name twice.
    #[error("the name appears twice")]
    Duplicate,
    /// Text that is not UTF-8.
    #[error("{what} is not UTF-8")]
    NotUtf8 {
        /// Which text.
        what: &'static str,
    },
    /// JSON or a value that does not parse.
    #[error("{0}")]
    Parse(String),
}

/// How the stored numbers lie, compared with the parameter's own layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The same.
    Same,
    /// `[in, out]` in the file, `[out, in]` for us: GPT-2's `Conv1D` in Hugging Face files.
    Transposed,
    /// Rows of each head stand in pairs for interleaved RoPE, half-split for us: llama in GGUF files.
    /// Half-split is what Hugging Face has, so adapters trained here fit the original checkpoint.
    InterleavedHeads {
        /// Number of heads the rows divide into.
        heads: usize,
    },
}

/// One tensor of a checkpoint, undecoded.
#[derive(Debug, Clone)]
pub struct Weight<'a> {
    /// The file it is in.
    pub file: Cow<'a, str>,
    /// Its name in that file.
    pub name: String,
    /// Byte offset of its data in the file.
    pub offset: u64,
    /// Type of the stored numbers.
    pub dtype: DType,
    /// The parameter's shape, outermost dimension first.
    pub shape: Vec<usize>,
    /// How the file's layout differs.
    pub layout: Layout,
    /// The stored bytes; the readers checked that their number fits type and shape.
    pub bytes: &'a [u8],
}

impl Weight<'_> {
    fn set_layout(&mut self, layout: Layout) -> Result<(), CheckpointError> {
        let bad = |w: &Self, problem: String| {
            let shape = w.shape.iter().map(|&d| d as u64).collect();
            Err(w.fault(Fault::Shape { shape, problem }))
        };
        match layout {
            Layout::Same => {}
            Layout::Transposed if self.shape.len() == 2 => self.shape.reverse(),
            Layout::Transposed => return bad(self, "must have two dimensions".to_owned()),
            Layout::InterleavedHeads { heads } => {
                if self.shape.first().is_none_or(|rows| !rows.is_multiple_of(2 * heads)) {
                    return bad(self, format!("its rows do not divide into {heads} heads of even size"));
                }
            }
        }
        self.layout = layout;
        Ok(())
    }

    /// The numbers in f32, in the parameter's layout, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        let values = dequant::to_f32(self.dtype, self.bytes);
        match (self.layout, self.shape.as_slice()) {
            (Layout::Transposed, &[rows, columns]) => transpose(&values, columns, rows),
            (Layout::InterleavedHeads { heads }, &[rows, ..]) => half_split(&values, heads, rows),
            _ => values,
        }
    }

    /// An error about this tensor.
    pub fn fault(&self, fault: Fault) -> CheckpointError {
        CheckpointError::Tensor { file: self.file.to_string(), tensor: self.name.clone(), offset: self.offset, fault }
    }
}

/// `[rows, columns]` to `[columns, rows]`.
pub(crate) fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for column in 0..columns {
        out.extend((0..rows).map(|row| values[row * columns + column]));
    }
    out
}

/// llama.cpp's permutation: within a head the file holds rows 0, E/2, 1, E/2 + 1, … of the original.
pub(crate) fn interleave(values: &[f32], heads: usize, rows: usize) -> Vec<f32> {
    let width = values.len() / rows;
    let head = rows / heads;
    let mut out = Vec::with_capacity(values.len());
    for first in (0..rows).step_by(head) {
        for pair in 0..head / 2 {
            for half in 0..2 {
                let row = first + half * (head / 2) + pair;
                out.extend_from_slice(&values[row * width..(row + 1) * width]);
            }
        }
    }
    out
}

/// Undoes [`interleave`].
fn half_split(values: &[f32], heads: usize, rows: usize) -> Vec<f32> {
    if rows == 0 || heads == 0 {
        return values.to_vec();
    }
    let width = values.len() / rows;
    let head = rows / heads;
    let mut out = Vec::with_capacity(values.len());
    for first in (0..rows).step_by(head) {
        for parity in 0..2 {
            for pair in 0..head / 2 {
                let row = first + 2 * pair + parity;
                out.extend_from_slice(&values[row * width..(row + 1) * width]);
            }
        }
    }
    out
}

/// All tensors of a checkpoint, under the file's names or, after [`Weights::named`], ours.
#[derive(Debug, Clone, Default)]
pub struct Weights<'a> {
    /// Ordered, so that loading and messages never depend on a hash.
    pub tensors: BTreeMap<String, Weight<'a>>,
}

impl<'a> Weights<'a> {
    /// Puts tensors under our paths: `path` translates a file's name, `layout` says how the file stores that parameter.
    /// Buffers that no model needs are dropped, as is a head that repeats a tied embedding.
    ///
    /// # Errors
    /// A name without translation, two names for one parameter, or rows that do not divide into heads.
    pub fn named(
        self,
        config: &ModelConfig,
        path: impl Fn(&str) -> Option<String>,
        layout: impl Fn(&str) -> Layout,
    ) -> Result<Self, CheckpointError> {
        let mut named = Self::default();
        for (name, mut weight) in self.tensors {
            if names::is_buffer(&name) {
                continue;
            }
            let Some(path) = path(&name) else {
                let problem = format!("a {:?} model has no tensor of this name", config.model_type);
                return Err(weight.fault(Fault::Parse(problem)));
            };
            if config.tied && path == "head.weight" {
                continue;
            }
            weight.set_layout(layout(&path))?;
            if named.tensors.contains_key(&path) {
                return Err(weight.fault(Fault::Duplicate));
            }
            named.tensors.insert(path, weight);
        }
        Ok(named)
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Weight<'a>> {
        self.tensors.get(name)
    }

    /// Whether the tensor of that name is there, and of that shape.
    ///
    /// # Errors
    /// When it is missing or has another shape.
    pub fn check(&self, name: &str, shape: &[usize]) -> Result<(), CheckpointError> {
        match self.get(name) {
            None => Err(missing(name, shape)),
            Some(weight) if weight.shape != shape => {
                Err(weight.fault(Fault::WrongShape { found: weight.shape.clone(), expected: shape.to_vec() }))
            }
            Some(_) => Ok(()),
        }
    }

    /// The tensor of that name and shape.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Weight<'a>, CheckpointError> {
        self.check(name, shape)?;
        self.tensors.remove(name).ok_or_else(|| missing(name, shape))
    }
}

fn missing(name: &str, shape: &[usize]) -> CheckpointError {
    CheckpointError::MissingTensor { tensor: name.to_owned(), shape: shape.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_split_undoes_the_permutation_of_llama_cpp() {
        // Two heads of size 4, one column: 0 1 2 3 is stored as 0 2 1 3.
        let stored = [0., 2., 1., 3., 10., 12., 11., 13.];
        let original = [0., 1., 2., 3., 10., 11., 12., 13.];
        assert_eq!(half_split(&stored, 2, 8), original);
        assert_eq!(interleave(&original, 2, 8), stored);
        // Rows of more than one number move as a whole.
        let wide: Vec<f32> = (0..36).map(|v| v as f32).collect();
        assert_eq!(half_split(&interleave(&wide, 2, 12), 2, 12), wide);
    }

    #[test]
    fn transpose_swaps_rows_and_columns() {
        assert_eq!(transpose(&[1., 2., 3., 4., 5., 6.], 2, 3), [1., 4., 2., 5., 3., 6.]);
    }
}
