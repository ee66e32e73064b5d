//! A lab before its engine is there: what its worker once answered, fetched from the page's own files. It knows no lab.

use hearth_shared::lab::example::{self, Exchange};
use js_sys::{ArrayBuffer, Uint8Array};
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::engine::{Life, engine};
use crate::app::client;
use crate::app::i18n::use_i18n;

/// An answer that was given before, and its buffers.
pub type Known = (Exchange, Vec<ArrayBuffer>);

/// The language that an example is in: the reader's.
pub fn language() -> String {
    use_i18n().get_locale_untracked().to_string()
}

/// The example of this name; nothing where there is none, or where it is of another version of the protocol.
pub async fn fetch(name: &str, language: &str) -> Vec<Known> {
    let Ok(file) = client::get_bytes(&format!("/examples/{name}-{language}.bin")).await else { return Vec::new() };
    match example::read(&file) {
        Ok(exchanges) => exchanges
            .into_iter()
            .map(|(exchange, buffers)| {
                let buffers = buffers.into_iter().map(|bytes| Uint8Array::from(bytes).buffer()).collect();
                (exchange, buffers)
            })
            .collect(),
        Err(error) => {
            leptos::logging::warn!("example {name}: {error}");
            Vec::new()
        }
    }
}

/// Lets the engine answer from the example until its worker is there, and then sets `rehearsal`. Nothing happens where the worker
/// is there first, or where there is no example: the lab waits for its engine.
pub fn begin(name: &'static str, rehearsal: RwSignal<bool>) {
    on_cleanup(|| {
        engine().rehearse(Vec::new());
    });
    if !matches!(engine().life().get_untracked(), Life::Starting) {
        return;
    }
    let language = language();
    spawn_local(async move {
        let known = fetch(name, &language).await;
        // The page may be gone by now, or nothing may have come.
        if rehearsal.try_get_untracked().is_some() && !known.is_empty() && engine().rehearse(known) {
            rehearsal.set(true);
        }
    });
}
