//! Reading requests: JSON bodies whose faults are named by field, and query strings.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Error;

/// A field OpenAI has and Hearth does not, with the values that ask for nothing.
pub struct Unsupported {
    pub field: &'static str,
    pub harmless: fn(&Value) -> bool,
}

/// Any value asks for something.
pub const fn never(field: &'static str) -> Unsupported {
    Unsupported { field, harmless: |_| false }
}

/// Zero asks for nothing.
pub const fn zero(field: &'static str) -> Unsupported {
    Unsupported { field, harmless: |value| value.as_f64() == Some(0.0) }
}

/// An empty list or object asks for nothing.
pub const fn empty(field: &'static str) -> Unsupported {
    Unsupported {
        field,
        harmless: |value| {
            value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(|map| map.is_empty())
        },
    }
}

/// `false` asks for nothing.
pub const fn off(field: &'static str) -> Unsupported {
    Unsupported { field, harmless: |value| value.as_bool() == Some(false) }
}

/// A request's body.
pub trait Checked: DeserializeOwned {
    /// Known fields that would be passed over in silence otherwise. Unknown ones are.
    const UNSUPPORTED: &'static [Unsupported];
}

/// A JSON body.
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: Checked> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        parse(&bytes(request, state).await?).map(Json)
    }
}

/// The body's bytes, within the route's limit.
pub async fn bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Error> {
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(error) => {
            Error::Invalid { message: error.body_text(), param: None, code: Some("invalid_body") }
        }
        _ => Error::Invalid { message: "the body cannot be read".into(), param: None, code: None },
    })
}

/// Reads a body; every fault is named by its field.
pub fn parse<T: Checked>(bytes: &[u8]) -> Result<T, Error> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| Error::Invalid {
        message: format!("We could not parse the JSON body of your request: {error}"),
        param: None,
        code: Some("invalid_json"),
    })?;
    for Unsupported { field, harmless } in T::UNSUPPORTED {
        let present = field.split('.').try_fold(&value, |value, part| value.get(part));
        if present.is_some_and(|value| !value.is_null() && !harmless(value)) {
            return Err(Error::coded(field, "unsupported_parameter", format!("`{field}` is not supported yet.")));
        }
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let message = error.into_inner().to_string();
        // A missing field is reported at the object that lacks it.
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        let param = match (path.as_str(), missing) {
            (".", missing) => missing.map(str::to_owned),
            (path, Some(missing)) => Some(format!("{path}.{missing}")),
            (path, None) => Some(path.to_owned()),
        };
        Error::Invalid { message, param, code: None }
    })
}

/// The query string.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let Query(value) = Query::from_request_parts(parts, state).await.map_err(|rejection| Error::Invalid {
            message: rejection.body_text(),
            param: None,
            code: None,
        })?;
        Ok(Self(value))
    }
}

/// `limit` and `after` of every list.
#[derive(serde::Deserialize, utoipa::IntoParams, Clone, Debug, Default)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// The last id of the page before.
    pub after: Option<String>,
    /// 1 to 100 (files: 10,000); 20 if absent.
    pub limit: Option<u32>,
}

impl Page {
    pub fn limit(&self, default: u32, most: u32) -> Result<u32, Error> {
        match self.limit {
            None => Ok(default),
            Some(limit) if (1..=most).contains(&limit) => Ok(limit),
            Some(limit) => Err(Error::invalid("limit", format!("{limit} is not between 1 and {most}"))),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail loudly")]
mod tests {
    use super::*;
    use hearth_shared::api::chat::ChatRequest;

    fn param(body: &str) -> Option<String> {
        parse::<ChatRequest>(body.as_bytes()).unwrap_err().detail().param
    }

    #[test]
    fn faults_are_named_by_field() {
        assert_eq!(param(r#"{"messages": []}"#).unwrap(), "model");
        assert_eq!(param(r#"{"model": "m", "messages": [{"role": "user"}]}"#).unwrap(), "messages[0].content");
        assert_eq!(param(r#"{"model": "m", "messages": [], "temperature": "hot"}"#).unwrap(), "temperature");
        assert_eq!(param("{"), None);
    }

    #[test]
    fn unsupported_fields_are_refused_and_unknown_ones_are_not() {
        let tools = r#"{"model": "m", "messages": [], "tools": [{"type": "function"}]}"#;
        assert_eq!(param(tools).unwrap(), "tools");
        for fine in [r#""tools": []"#, r#""tools": null"#, r#""frequency_penalty": 0"#, r#""whatever": {"a": 1}"#] {
            let body = format!(r#"{{"model": "m", "messages": [], {fine}}}"#);
            assert!(parse::<ChatRequest>(body.as_bytes()).is_ok(), "{fine}");
        }
    }
}
