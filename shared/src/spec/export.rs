//! A model for other programs: which files, and what numbers in them.

use serde::{Deserialize, Serialize};

use super::SpecError;

/// What is written.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// A folder for transformers, vLLM and others of Hugging Face's world
    Safetensors,
    /// A file for llama.cpp, Ollama and others of theirs, with tokenizer and template in it
    Gguf,
    /// The adapter of a tuned model alone, for PEFT
    Peft,
}

/// What numbers are stored in.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ExportDtype {
    F32,
    F16,
    Bf16,
    /// Blocks of 32 numbers in 8 bits
    #[serde(rename = "q8_0")]
    Q8_0,
    /// Blocks of 32 numbers in 4 bits
    #[serde(rename = "q4_0")]
    Q4_0,
}

impl ExportDtype {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        }
    }
}

/// An export as a client asks for it.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExportSpec {
    pub format: ExportFormat,
    /// `safetensors`: f32, f16 or bf16; `gguf`: f32, f16, q8_0 or q4_0; `peft`: f32. Without it f16 in `gguf`, else f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<ExportDtype>,
}

impl ExportSpec {
    /// The numbers, decided.
    ///
    /// # Errors
    /// The format has no such numbers.
    pub fn dtype(&self) -> Result<ExportDtype, SpecError> {
        use {ExportDtype as D, ExportFormat as F};
        let (usual, known): (D, &[D]) = match self.format {
            F::Safetensors => (D::F32, &[D::F32, D::F16, D::Bf16]),
            F::Gguf => (D::F16, &[D::F32, D::F16, D::Q8_0, D::Q4_0]),
            F::Peft => (D::F32, &[D::F32]),
        };
        let dtype = self.dtype.unwrap_or(usual);
        if known.contains(&dtype) {
            return Ok(dtype);
        }
        let (words, known) = (dtype.as_str(), known.iter().map(|dtype| dtype.as_str()).collect::<Vec<_>>().join(", "));
        Err(SpecError::new("dtype", format!("not in {words}: this format is written in {known}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_has_its_numbers() {
        let dtype = |json: &str| serde_json::from_str::<ExportSpec>(json).unwrap_or_else(|e| panic!("{e}")).dtype();
        assert_eq!(dtype(r#"{"format": "gguf"}"#), Ok(ExportDtype::F16));
        assert_eq!(dtype(r#"{"format": "safetensors", "dtype": "bf16"}"#), Ok(ExportDtype::Bf16));
        let refused = dtype(r#"{"format": "peft", "dtype": "q4_0"}"#);
        assert_eq!(refused.err().map(|error| error.field).as_deref(), Some("dtype"));
    }
}
