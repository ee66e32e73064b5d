//! The one error of the server: what went wrong, and which status and words a client gets for it.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hearth_shared::api::fine_tuning::JobError;
use hearth_shared::api::{ErrorBody, ErrorDetail};

/// The request's own faults carry the field and a code; ours are logged and answered without details.
#[derive(thiserror::Error, Debug)]
pub enum Error {
    #[error("{message}")]
    Invalid { message: String, param: Option<String>, code: Option<&'static str> },
    #[error("{message}")]
    NotFound { message: String, param: Option<&'static str>, code: &'static str },
    #[error("{0}")]
    Unauthorized(String),
    #[error("{message}")]
    Forbidden { message: String, code: &'static str },
    #[error("{message}")]
    Conflict { message: String, code: &'static str },
    #[error("the upload is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("{0}")]
    Unavailable(String),
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), param: Some(param.into()), code: None }
    }

    pub fn coded(param: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), param: Some(param.to_owned()), code: Some(code) }
    }

    pub fn model_not_found(id: &str) -> Self {
        Self::NotFound {
            message: format!("The model `{id}` does not exist or you do not have access to it."),
            param: Some("model"),
            code: "model_not_found",
        }
    }

    /// The same error with the name that may have been meant.
    #[must_use]
    pub fn meant(mut self, near: Option<&str>) -> Self {
        if let (Self::NotFound { message, .. } | Self::Invalid { message, .. }, Some(near)) = (&mut self, near) {
            message.push_str(&format!(" Did you mean `{near}`?"));
        }
        self
    }

    pub fn file_not_found(id: &str) -> Self {
        Self::NotFound { message: format!("No such File object: {id}"), param: Some("id"), code: "file_not_found" }
    }

    pub fn job_not_found(id: &str) -> Self {
        Self::NotFound {
            message: format!("Could not find fine tune: {id}"),
            param: Some("fine_tuning_job_id"),
            code: "fine_tune_not_found",
        }
    }

    pub fn status(&self) -> u16 {
        match self {
            Self::Invalid { .. } => 400,
            Self::Unauthorized(_) => 401,
            Self::Forbidden { .. } => 403,
            Self::NotFound { .. } => 404,
            Self::Conflict { .. } => 409,
            Self::TooLarge { .. } => 413,
            Self::Internal(_) => 500,
            Self::Unavailable(_) => 503,
        }
    }

    /// The body's four keys.
    pub fn detail(&self) -> ErrorDetail {
        let (kind, param, code) = match self {
            Self::Invalid { param, code, .. } => ("invalid_request_error", param.clone(), *code),
            Self::NotFound { param, code, .. } => ("invalid_request_error", param.map(str::to_owned), Some(*code)),
            Self::Unauthorized(_) => ("invalid_request_error", None, Some("invalid_api_key")),
            Self::Forbidden { code, .. } | Self::Conflict { code, .. } => ("invalid_request_error", None, Some(*code)),
            Self::TooLarge { .. } => ("invalid_request_error", Some("file".to_owned()), Some("file_too_large")),
            Self::Unavailable(_) => ("server_error", None, Some("unavailable")),
            Self::Internal(_) => ("server_error", None, None),
        };
        let message = match self {
            Self::Internal(_) => "The server had an error while processing your request; its log says more.".to_owned(),
            other => other.to_string(),
        };
        ErrorDetail { message, kind: kind.to_owned(), param, code: code.map(str::to_owned) }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Internal(error.into())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Internal(error.into())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Internal(error.into())
    }
}

/// What a planned job is refused for, where it is known at once.
impl From<JobError> for Error {
    fn from(error: JobError) -> Self {
        let code = ["not_enough_memory", "invalid_hyperparameters"].into_iter().find(|code| *code == error.code);
        Self::Invalid { message: error.message, param: error.param, code }
    }
}

impl From<hearth_shared::spec::SpecError> for Error {
    fn from(error: hearth_shared::spec::SpecError) -> Self {
        Self::Invalid { message: error.to_string(), param: Some(error.field), code: None }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if let Self::Internal(error) = &self {
            tracing::error!(error = format!("{error:#}"), "request failed");
        }
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(ErrorBody { error: self.detail() })).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_errors_keep_their_secrets() {
        let detail = Error::Internal(anyhow::anyhow!("/secret/path")).detail();
        assert!(!detail.message.contains("secret"));
        assert_eq!(detail.kind, "server_error");
    }
}
