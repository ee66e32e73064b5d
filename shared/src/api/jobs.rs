//! `/v1/jobs`: jobs of every kind under one life cycle. A fine-tune is one of them; it is made under `/v1/fine_tuning/jobs`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::Memory;
use crate::spec::{ExportSpec, PretrainSpec, TextSpec, TrainSpec};

use super::ErrorDetail;

/// What a job does.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    #[default]
    FineTune,
    Pretrain,
    Tokenizer,
    Export,
}

impl JobKind {
    pub const ALL: [Self; 4] = [Self::FineTune, Self::Pretrain, Self::Tokenizer, Self::Export];

    /// The word on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FineTune => "fine_tune",
            Self::Pretrain => "pretrain",
            Self::Tokenizer => "tokenizer",
            Self::Export => "export",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// `POST /v1/jobs`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CreateWork {
    Pretrain(Box<CreatePretrain>),
    Tokenizer(CreateTokenizer),
    Export(CreateExport),
}

impl CreateWork {
    pub fn kind(&self) -> JobKind {
        match self {
            Self::Pretrain(_) => JobKind::Pretrain,
            Self::Tokenizer(_) => JobKind::Tokenizer,
            Self::Export(_) => JobKind::Export,
        }
    }

    pub fn training_files(&self) -> &[String] {
        match self {
            Self::Pretrain(asked) => &asked.training_files,
            Self::Tokenizer(asked) => &asked.training_files,
            Self::Export(_) => &[],
        }
    }

    pub fn validation_file(&self) -> Option<&str> {
        match self {
            Self::Pretrain(asked) => asked.validation_file.as_deref(),
            Self::Tokenizer(_) | Self::Export(_) => None,
        }
    }

    /// None where no texts are read.
    pub fn texts(&self) -> Option<&TextSpec> {
        match self {
            Self::Pretrain(asked) => Some(&asked.spec.texts),
            Self::Tokenizer(asked) => Some(&asked.texts),
            Self::Export(_) => None,
        }
    }

    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Pretrain(asked) => asked.name.as_deref(),
            Self::Tokenizer(asked) => asked.name.as_deref(),
            Self::Export(asked) => Some(&asked.model),
        }
    }

    pub fn metadata(&self) -> Option<&BTreeMap<String, String>> {
        match self {
            Self::Pretrain(asked) => asked.metadata.as_ref(),
            Self::Tokenizer(asked) => asked.metadata.as_ref(),
            Self::Export(asked) => asked.metadata.as_ref(),
        }
    }
}

/// A model from nothing.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatePretrain {
    /// The model's name once it is there; letters, digits, `-`, `_`, `.`. Made from the job's id where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Ids of uploaded files: plain text, or JSONL with a text in each row.
    pub training_files: Vec<String>,
    /// Text that is never trained on; its loss is the validation loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    #[serde(flatten)]
    pub spec: PretrainSpec,
    /// Answer with the plan and make no job.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// A vocabulary: byte-level BPE with ChatML's special tokens. The result file is a `tokenizer.json`.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateTokenizer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub training_files: Vec<String>,
    /// Tokens, the 256 bytes and the special ones included, 320..=200000.
    pub vocab_size: u32,
    /// Bytes of the texts that are read, drawn evenly; none reads all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_bytes: Option<u64>,
    #[serde(default)]
    pub texts: TextSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// A model as files for other programs, compared with the model before they are listed. The result files are what was written.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateExport {
    /// A model that is here; a tuned one is written with its adapter merged, unless the format is `peft`.
    pub model: String,
    #[serde(flatten)]
    pub spec: ExportSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// What was found in a job's texts.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TextReport {
    pub files: u64,
    pub documents: u64,
    /// Of text, without what a JSONL row has around it.
    pub bytes: u64,
}

/// The answer to a `dry_run` of a pretraining.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PretrainPlan {
    /// Always `job.plan`.
    pub object: String,
    pub report: TextReport,
    /// All weights.
    pub parameters: u64,
    /// Guessed from the bytes: the texts are tokenized when the job runs.
    pub tokens: u64,
    /// Null where the run was refused.
    pub spec: Option<TrainSpec>,
    pub memory: Option<Memory>,
    pub memory_limit: Option<u64>,
    pub memory_available: Option<u64>,
    pub total_steps: Option<u64>,
    pub flops: Option<f64>,
    /// Seconds that all steps take on this machine's device.
    pub seconds: Option<f64>,
    #[serde(default)]
    pub warnings: Vec<String>,
    pub error: Option<ErrorDetail>,
}
