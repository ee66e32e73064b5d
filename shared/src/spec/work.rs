//! What a job's own process reads: every path looked up, nothing left to ask the server for. Paths are the job layer's; the engine
//! sees only readers and folders.

use serde::{Deserialize, Serialize};

use super::{DistillSpec, ExportSpec, PretrainSpec, TextSpec, TrainSpec};

/// A job of any kind, as `spec.json` holds it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WorkSpec {
    FineTune(JobSpec),
    Pretrain(PretrainJob),
    Tokenizer(TokenizerJob),
    Export(ExportJob),
}

/// A fine-tune.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct JobSpec {
    /// Folder or GGUF file of the base model.
    pub model_path: String,
    /// Name that goes into the adapter's `base_model_name_or_path`.
    pub model_name: String,
    pub training_file: String,
    pub validation_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<TeacherJob>,
    pub train: TrainSpec,
}

/// A model from nothing.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct PretrainJob {
    pub training_files: Vec<String>,
    /// A folder of token ids that stands in place of texts; they are of `tokenizer_path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<String>,
    pub validation_file: Option<String>,
    /// A model's folder or GGUF file, or a `tokenizer.json`; none trains one.
    pub tokenizer_path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<TeacherJob>,
    pub seed: u64,
    pub spec: PretrainSpec,
}

/// Whose probabilities a run learns from, and how much.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct TeacherJob {
    /// Folder or GGUF file.
    pub path: String,
    pub spec: DistillSpec,
}

/// A vocabulary from texts.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct TokenizerJob {
    pub training_files: Vec<String>,
    pub vocab_size: u32,
    /// Bytes of the texts that are read; none reads all.
    pub sample_bytes: Option<u64>,
    pub texts: TextSpec,
}

/// Files for other programs.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ExportJob {
    /// Folder or GGUF file of the (base) model.
    pub model_path: String,
    pub adapter_path: Option<String>,
    /// What PEFT should load below the adapter.
    pub base_name: String,
    /// Of the GGUF file, without its ending.
    pub file_name: String,
    pub spec: ExportSpec,
}
