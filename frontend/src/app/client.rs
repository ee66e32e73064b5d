//! REST from the page: typed requests, the server's error object, and streams of server-sent events. It knows no page.

pub mod sse;

use std::fmt;

use hearth_shared::api::ErrorBody;
use js_sys::{Object, Reflect, Uint8Array};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, AbortSignal, FormData, Headers, Request, RequestInit, Response};

/// Where the key of a server that asks for one is kept.
const KEY: &str = "hearth.key";

/// Why a request gave nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ClientError {
    /// No answer: the server is stopped or the network is down.
    Unreachable,
    /// The person or the page called it off.
    Aborted,
    /// The server said no, in OpenAI's four keys.
    Refused { status: u16, message: String, param: Option<String>, code: Option<String> },
    /// An answer the page cannot read.
    Garbled(String),
}

impl ClientError {
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
    pub fn needs_key(&self) -> bool {
        matches!(self, Self::Refused { status: 401, .. })
    }
    /// The request field at fault, if the server named one.
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::Refused { param, .. } => param.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => out.write_str("The server does not answer."),
            Self::Aborted => out.write_str("Stopped."),
            Self::Refused { message, .. } => out.write_str(message),
            Self::Garbled(what) => write!(out, "The answer could not be read: {what}"),
        }
    }
}

/// A value and whether it came from the service worker's cache because the server is away.
pub struct Answer<T> {
    pub value: T,
    pub stale: bool,
}

pub async fn get<T: DeserializeOwned>(path: &str) -> Result<T, ClientError> {
    Ok(get_answer(path).await?.value)
}

pub async fn get_answer<T: DeserializeOwned>(path: &str) -> Result<Answer<T>, ClientError> {
    let response = send(Call::new("GET", path)).await?;
    let stale = response.headers().has("x-hearth-stale").unwrap_or(false);
    Ok(Answer { value: read_json(response).await?, stale })
}

pub async fn post<T: DeserializeOwned>(path: &str, body: &impl Serialize) -> Result<T, ClientError> {
    read_json(send(Call::new("POST", path).json(body)?).await?).await
}

pub async fn delete<T: DeserializeOwned>(path: &str) -> Result<T, ClientError> {
    read_json(send(Call::new("DELETE", path)).await?).await
}

/// Uploads a form, for example a file.
pub async fn post_form<T: DeserializeOwned>(path: &str, form: &FormData) -> Result<T, ClientError> {
    let mut call = Call::new("POST", path);
    call.body = Some(form.into());
    read_json(send(call).await?).await
}

/// The text behind a path of the page's own.
pub async fn get_text(path: &str) -> Result<String, ClientError> {
    read_text(send(Call::new("GET", path)).await?).await.ok_or_else(|| ClientError::Garbled("no text".to_owned()))
}

/// The bytes behind a path of the page's own.
pub async fn get_bytes(path: &str) -> Result<Vec<u8>, ClientError> {
    let response = send(Call::new("GET", path)).await?;
    let buffer = JsFuture::from(response.array_buffer().map_err(garbled)?).await.map_err(garbled)?;
    Ok(Uint8Array::new(&buffer).to_vec())
}

/// The bytes behind a path, for a download that needs the key.
pub async fn get_blob(path: &str) -> Result<web_sys::Blob, ClientError> {
    let response = send(Call::new("GET", path)).await?;
    let blob = response.blob().map_err(garbled)?;
    JsFuture::from(blob).await.map_err(garbled)?.dyn_into().map_err(garbled)
}

/// A request in the making.
pub struct Call {
    method: &'static str,
    path: String,
    body: Option<JsValue>,
    json: bool,
    accept: Option<&'static str>,
    last_event: Option<String>,
    signal: Option<AbortSignal>,
}

impl Call {
    pub fn new(method: &'static str, path: &str) -> Self {
        Self { method, path: path.to_owned(), body: None, json: false, accept: None, last_event: None, signal: None }
    }

    pub fn json(mut self, body: &impl Serialize) -> Result<Self, ClientError> {
        let text = serde_json::to_string(body).map_err(|error| ClientError::Garbled(error.to_string()))?;
        self.body = Some(text.into());
        self.json = true;
        Ok(self)
    }

    pub fn events(mut self, after: Option<String>) -> Self {
        self.accept = Some("text/event-stream");
        self.last_event = after;
        self
    }

    pub fn signal(mut self, abort: &AbortController) -> Self {
        self.signal = Some(abort.signal());
        self
    }

    fn request(&self) -> Result<Request, JsValue> {
        let headers = Headers::new()?;
        if self.json {
            headers.set("content-type", "application/json")?;
        }
        if let Some(accept) = self.accept {
            headers.set("accept", accept)?;
        }
        if let Some(id) = &self.last_event {
            headers.set("last-event-id", id)?;
        }
        if let Some(key) = key() {
            headers.set("authorization", &format!("Bearer {key}"))?;
        }
        let init = RequestInit::new();
        init.set_method(self.method);
        init.set_headers(&headers);
        if let Some(body) = &self.body {
            init.set_body(body);
        }
        init.set_signal(self.signal.as_ref());
        Request::new_with_str_and_init(&self.path, &init)
    }
}

/// Sends, and turns every answer that is not a success into an error.
pub async fn send(call: Call) -> Result<Response, ClientError> {
    let window = web_sys::window().ok_or(ClientError::Unreachable)?;
    let request = call.request().map_err(garbled)?;
    let response: Response =
        JsFuture::from(window.fetch_with_request(&request)).await.map_err(unreachable)?.dyn_into().map_err(garbled)?;
    if response.ok() {
        return Ok(response);
    }
    let status = response.status();
    let text = read_text(response).await.unwrap_or_default();
    Err(match serde_json::from_str::<ErrorBody>(&text) {
        Ok(body) => {
            ClientError::Refused { status, message: body.error.message, param: body.error.param, code: body.error.code }
        }
        Err(_) => ClientError::Refused {
            status,
            message: if text.is_empty() || text.len() > 400 { format!("HTTP {status}") } else { text },
            param: None,
            code: None,
        },
    })
}

/// The key the person gave for this server, if any.
pub fn key() -> Option<String> {
    storage()?.get_item(KEY).ok().flatten()
}

pub fn set_key(key: &str) {
    if let Some(storage) = storage() {
        // A full or forbidden storage only means that the person is asked again.
        let _ = storage.set_item(KEY, key.trim());
    }
}

/// What the browser keeps for this address, where it allows that.
pub fn storage() -> Option<web_sys::Storage> {
    web_sys::window()?.local_storage().ok().flatten()
}

/// The tab's own storage, where it is allowed: it ends with the tab.
pub fn tab_storage() -> Option<web_sys::Storage> {
    web_sys::window()?.session_storage().ok().flatten()
}

/// A model id (or any other) as one path segment or more: `/` and `:` stay, the rest is escaped.
pub fn path_escape(id: &str) -> String {
    String::from(js_sys::encode_uri(id)).replace('?', "%3F").replace('#', "%23")
}

async fn read_text(response: Response) -> Option<String> {
    JsFuture::from(response.text().ok()?).await.ok()?.as_string()
}

async fn read_json<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    let text = read_text(response).await.ok_or_else(|| ClientError::Garbled("no text".to_owned()))?;
    let text = if text.is_empty() { "null" } else { &text };
    serde_json::from_str(text).map_err(|error| ClientError::Garbled(error.to_string()))
}

/// One read of a body's stream: bytes, or none at its end.
async fn read_chunk(reader: &web_sys::ReadableStreamDefaultReader) -> Result<Option<Vec<u8>>, ClientError> {
    let result = JsFuture::from(reader.read()).await.map_err(unreachable)?;
    let result: Object = result.dyn_into().map_err(garbled)?;
    if Reflect::get(&result, &"done".into()).is_ok_and(|done| done.is_truthy()) {
        return Ok(None);
    }
    let value = Reflect::get(&result, &"value".into()).map_err(garbled)?;
    Ok(Some(Uint8Array::new(&value).to_vec()))
}

fn unreachable(error: JsValue) -> ClientError {
    let name = Reflect::get(&error, &"name".into()).ok().and_then(|name| name.as_string());
    match name.as_deref() {
        Some("AbortError") => ClientError::Aborted,
        _ => ClientError::Unreachable,
    }
}

fn garbled(error: impl Into<JsValue>) -> ClientError {
    ClientError::Garbled(format!("{:?}", error.into()))
}
