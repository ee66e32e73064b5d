//! `/v1/models`, and the pull and import of new ones under `/v1/hearth/models`.

use serde::{Deserialize, Serialize};

/// A model that can be asked. Ids hold `/` and `:`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Model {
    pub id: String,
    /// Always `model`.
    pub object: String,
    pub created: i64,
    pub owned_by: String,
    pub hearth: ModelInfo,
}

/// What Hearth knows of a model beyond OpenAI's four fields.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelInfo {
    /// The model this one was tuned from.
    pub base: Option<String>,
    /// The content hash of the model that this one is an adapter of; a whole model has none.
    #[serde(default)]
    pub base_hash: Option<String>,
    /// The job that made it.
    pub job: Option<String>,
    /// SHA-256 over names and contents of its files.
    pub hash: String,
    /// Bytes on disk.
    pub bytes: u64,
    pub parameters: u64,
    /// Hugging Face's `model_type`.
    pub architecture: String,
    /// The longest sequence in tokens.
    pub context: u64,
    /// Memory needed to serve it, bytes.
    pub memory: u64,
    /// Whether it has a chat template.
    pub chat: bool,
    /// `huggingface`, `gguf` or `adapter`.
    pub format: String,
    /// Whether the server holds it in memory now.
    pub loaded: bool,
    /// Its files under `/v1/hearth/models/{id}/files/{name}`, for the worker in the tab.
    pub files: Vec<ModelFile>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelFile {
    pub name: String,
    pub bytes: u64,
}

/// A model that `pull` knows how to fetch.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pullable {
    pub name: String,
    pub title: String,
    pub bytes: u64,
    pub licence: String,
    /// Whether it is here already.
    pub present: bool,
}

/// `POST /v1/hearth/pulls`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PullRequest {
    pub name: String,
}

/// A download, running or ended. `DELETE /v1/hearth/pulls/{name}` cancels it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pull {
    pub name: String,
    pub state: PullState,
    /// Where from: `huggingface` or `pip`.
    pub source: Option<String>,
    pub bytes_done: u64,
    pub bytes_total: Option<u64>,
    pub bytes_per_second: Option<f64>,
    /// The model's id, once `state` is `succeeded`.
    pub model: Option<String>,
    /// What went wrong and what to do, once `state` is `failed`.
    pub error: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PullState {
    Connecting,
    Downloading,
    Checking,
    Importing,
    Succeeded,
    Failed,
    Cancelled,
}

impl PullState {
    pub fn ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// `POST /v1/hearth/imports`: a path on the server's own disk; only a server on loopback takes it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImportRequest {
    pub path: String,
    pub name: String,
}
