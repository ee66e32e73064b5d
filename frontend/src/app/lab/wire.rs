//! How a protocol message crosses between page and worker: `{ json, buffers }`, the buffers transferred. Both sides compile
//! this file; it knows neither of them.

use js_sys::{Array, ArrayBuffer, Object, Reflect};
use serde::{Serialize, de::DeserializeOwned};
use wasm_bindgen::{JsCast, JsValue};

/// The message and the list of what is transferred with it.
///
/// # Errors
/// The message does not serialise (a number that is not finite is written as null, so this does not happen for ours).
pub fn pack<M: Serialize>(message: &M, buffers: &[ArrayBuffer]) -> Result<(JsValue, Array), JsValue> {
    let json = serde_json::to_string(message).map_err(|error| JsValue::from(error.to_string()))?;
    let transfer: Array = buffers.iter().map(JsValue::from).collect();
    let object = Object::new();
    Reflect::set(&object, &"json".into(), &json.into())?;
    Reflect::set(&object, &"buffers".into(), &transfer)?;
    Ok((object.into(), transfer))
}

/// # Errors
/// The message is not one of ours.
pub fn unpack<M: DeserializeOwned>(data: &JsValue) -> Result<(M, Vec<ArrayBuffer>), String> {
    let json =
        Reflect::get(data, &"json".into()).ok().and_then(|json| json.as_string()).ok_or("the message has no text")?;
    let message = serde_json::from_str(&json).map_err(|error| error.to_string())?;
    let buffers = Reflect::get(data, &"buffers".into())
        .ok()
        .and_then(|list| list.dyn_into::<Array>().ok())
        .map(|list| list.iter().filter_map(|item| item.dyn_into().ok()).collect())
        .unwrap_or_default();
    Ok((message, buffers))
}
