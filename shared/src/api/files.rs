//! `/v1/files`.

use serde::{Deserialize, Serialize};

/// An uploaded file or a job's result.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FileObject {
    pub id: String,
    /// Always `file`.
    pub object: String,
    pub bytes: u64,
    pub created_at: i64,
    pub expires_at: Option<i64>,
    pub filename: String,
    /// `fine-tune` or `fine-tune-results`.
    pub purpose: String,
    /// `processed`; OpenAI keeps the field though it is deprecated.
    pub status: String,
    pub status_details: Option<String>,
}
