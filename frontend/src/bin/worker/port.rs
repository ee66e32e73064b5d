//! The worker's one connection to the page.

use hearth_shared::lab::{Call, Event};
use js_sys::ArrayBuffer;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

use crate::wire;

#[wasm_bindgen]
unsafe extern "C" {
    /// Writes into the browser's console.
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    safe fn complain(error: &JsValue);
}

/// The global object of a worker.
pub fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// Milliseconds by the worker's own clock.
pub fn now() -> f64 {
    scope().performance().map_or_else(js_sys::Date::now, |clock| clock.now())
}

/// Says something to the page; the buffers move there.
pub fn post(event: &Event, buffers: &[ArrayBuffer]) {
    let sent = wire::pack(event, buffers)
        .and_then(|(message, transfer)| scope().post_message_with_transfer(&message, &transfer));
    if let Err(error) = sent {
        complain(&error);
    }
}

/// Hears every call from now on.
pub fn listen(hear: impl Fn(Call, Vec<ArrayBuffer>) + 'static) {
    let closure = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| match wire::unpack(&event.data()) {
        Ok((call, buffers)) => hear(call, buffers),
        Err(error) => complain(&error.into()),
    });
    scope().set_onmessage(Some(closure.as_ref().unchecked_ref()));
    // The worker listens as long as it lives.
    closure.forget();
}
