//! Reading requests: JSON bodies whose faults are named by field, and query strings.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::Error;
use crate::fields::{Fault, Fields, Unknown};

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
pub trait Checked: DeserializeOwned + ToSchema + 'static {
    /// Known fields that would be passed over in silence otherwise.
    const UNSUPPORTED: &'static [Unsupported];
    /// Known fields that may hold anything: what another server's clients send and what asks for nothing here, and what is read
    /// with more patience than the schema has. A field that is neither here nor above nor in the schema is refused.
    const LOOSE: &'static [&'static [&'static str]] = &[];

    /// What only the body's own words tell, because it is the same as nothing once it is read.
    ///
    /// # Errors
    /// The field that should not be there.
    fn refuse(_: &Value) -> Result<(), Error> {
        Ok(())
    }
}

/// Fields of both completion requests that are hints to the caches, queues and guards of other servers (OpenAI's, llama.cpp's,
/// Ollama's): without them the answer is the same.
pub const HINTS: [&str; 10] = [
    "cache_prompt",
    "id_slot",
    "keep_alive",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "return_progress",
    "safety_identifier",
    "stream_options",
    "timings_per_token",
];

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
    let unsupported = T::UNSUPPORTED.iter().map(|known| known.field);
    let loose: Vec<&str> = unsupported.chain(T::LOOSE.iter().copied().flatten().copied()).collect();
    let fields = Fields::of::<T>();
    if let Some(unknown) = fields.unknown(&value, &loose) {
        return Err(unrecognized(&unknown));
    }
    T::refuse(&value)?;
    let read = fields.read(&value, &loose);
    read.map_err(|Fault { path, message }| Error::Invalid { message, param: path, code: None })
}

/// OpenAI's words, and what may have been meant.
fn unrecognized(Unknown { path, nearest, is_outer }: &Unknown) -> Error {
    let meant = match nearest {
        Some(name) if *is_outer => format!("; it belongs at the top level: {name}"),
        Some(name) => format!("; did you mean {name}?"),
        None => String::new(),
    };
    Error::coded(path, "unknown_parameter", format!("Unrecognized request argument supplied: {path}{meant}"))
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
    use hearth_shared::api::fine_tuning::CreateJob;

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
    fn unsupported_fields_are_refused_and_harmless_ones_are_not() {
        let tools = r#"{"model": "m", "messages": [], "tools": [{"type": "function"}]}"#;
        assert_eq!(param(tools).unwrap(), "tools");
        for fine in [r#""tools": []"#, r#""tools": null"#, r#""frequency_penalty": 0"#, r#""cache_prompt": true"#] {
            let body = format!(r#"{{"model": "m", "messages": [], {fine}}}"#);
            assert!(parse::<ChatRequest>(body.as_bytes()).is_ok(), "{fine}");
        }
    }

    #[test]
    fn words_that_nobody_knows_are_refused_with_the_nearest_one() {
        let body = r#"{"model": "m", "training_file": "f", "hearth": {"tuning": "loraa"}}"#;
        let detail = parse::<CreateJob>(body.as_bytes()).unwrap_err().detail();
        assert_eq!(detail.param.as_deref(), Some("hearth.tuning"));
        let all = "lora, full, ia3, prefix, prompt, bottleneck";
        assert_eq!(detail.message, format!("`loraa` is not one of {all}; did you mean `lora`?"));
    }

    #[test]
    fn fields_that_nobody_knows_are_refused_with_the_nearest_name() {
        let body = r#"{"model": "m", "messages": [], "hearth": {"repetition_penaltyy": 1.3}}"#;
        let detail = parse::<ChatRequest>(body.as_bytes()).unwrap_err().detail();
        assert_eq!(detail.param.as_deref(), Some("hearth.repetition_penaltyy"));
        assert_eq!(detail.code.as_deref(), Some("unknown_parameter"));
        assert!(detail.message.ends_with("did you mean repetition_penalty?"), "{}", detail.message);
        assert_eq!(param(r#"{"model": "m", "messages": [], "whatever": {"a": 1}}"#).unwrap(), "whatever");
    }
}
