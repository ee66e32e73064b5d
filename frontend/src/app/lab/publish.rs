//! What the lab shares with the browser around it: the address, the clock, the system's theme, and `window.__hearth`,
//! where tests and curious people find the numbers of the last pass.

use hearth_shared::lab::{attention::Looked, example};
use js_sys::{Array, Float32Array, Object, Reflect};
use leptos::prelude::*;
use serde::Serialize;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};

use super::PLACE;
use super::address::Address;
use super::forward::{Forward, Head, Step};
use crate::app::address::{self, Pairs};

/// Milliseconds by the page's clock.
#[must_use]
pub fn now() -> f64 {
    window().performance().map_or_else(js_sys::Date::now, |clock| clock.now())
}

/// Runs `work` between two marks of the browser's own profile; the last run of a name is kept there.
pub fn timed(name: &str, work: impl FnOnce()) {
    let clock = window().performance();
    if let Some(clock) = &clock {
        clock.clear_marks_with_mark_name(name);
        // A profile without an entry is no reason to stop.
        let _ = clock.mark(name);
    }
    work();
    if let Some(clock) = clock {
        clock.clear_measures_with_measure_name(name);
        let _ = clock.measure_with_start_mark(name, name);
    }
}

/// The state in the address that is being opened.
#[must_use]
pub fn address() -> Address {
    read(&address::query())
}

/// The state in the window's address; none where it is not this lab's.
#[must_use]
pub fn shown_address() -> Option<Address> {
    is_here().then(|| read(&address::shown()))
}

fn read(pairs: &[(String, String)]) -> Address {
    Address::read(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

/// `/lab` alone is the attention lab; below it are the others too.
fn is_here() -> bool {
    let path = window().location().pathname().unwrap_or_default();
    path == PLACE || path == "/lab/attention"
}

/// Replaces the address without a new entry in the history.
pub fn set_address(pairs: &Pairs) {
    if is_here() {
        address::replace(PLACE, pairs);
    }
}

/// The same with a new entry.
pub fn push_address(pairs: &Pairs) {
    if is_here() {
        address::push(PLACE, pairs);
    }
}

/// Runs `action` when the system turns light or dark, until the view is gone.
pub fn on_system_theme(action: impl Fn() + 'static) {
    let Ok(Some(query)) = window().match_media("(prefers-color-scheme: dark)") else {
        return;
    };
    let closure = Closure::<dyn Fn()>::new(action);
    let _ = query.add_event_listener_with_callback("change", closure.as_ref().unchecked_ref());
    let kept = StoredValue::new_local(Some((query, closure)));
    on_cleanup(move || {
        if let Some((query, closure)) = kept.try_update_value(Option::take).flatten() {
            let _ = query.remove_event_listener_with_callback("change", closure.as_ref().unchecked_ref());
        }
    });
}

/// Puts the pass's numbers on `window.__hearth.lab`. Without `answer_ms` they are an example's, which has no times and no engine.
pub fn publish_pass(forward: &Forward, answer_ms: Option<f64>) {
    let traced = &forward.traced;
    let last = traced.tokens.len().saturating_sub(1);
    let lab = Object::new();
    let set = |name: &str, value: JsValue| {
        // A plain object takes any property.
        let _ = Reflect::set(&lab, &name.into(), &value);
    };
    set("model", traced.model.as_str().into());
    match answer_ms {
        Some(answer_ms) => {
            set("engine", traced.engine.word().into());
            set("forward_ms", traced.timing.forward_ms.into());
            set("answer_ms", answer_ms.into());
        }
        None => set("example", JsValue::TRUE),
    }
    set("tokens", traced.tokens.iter().map(|token| JsValue::from(token.id)).collect::<Array>().into());
    set("logits", Float32Array::from(forward.logits(last)).into());
    let weights: Array = (0..forward.facts.n_layers as usize)
        .flat_map(|layer| (0..forward.facts.n_heads as usize).map(move |head| Head { layer, head }))
        .map(|at| JsValue::from(Float32Array::from(forward.picture(at, Step::Weights).data)))
        .collect();
    set("weights", weights.into());
    publish("lab", &lab);
}

/// Puts a value on `window.__hearth`, for tests and for curious people with a console.
pub fn publish(name: &str, value: &JsValue) {
    let window: JsValue = window().into();
    let root = Reflect::get(&window, &"__hearth".into())
        .ok()
        .filter(JsValue::is_object)
        .unwrap_or_else(|| Object::new().into());
    let _ = Reflect::set(&root, &name.into(), value);
    let _ = Reflect::set(&window, &"__hearth".into(), &root);
}

/// Puts the head and the token in hand on `window.__hearth.attention`.
pub fn publish_looked(forward: &Forward, at: Head, row: usize) {
    let looked = Looked {
        model: forward.traced.model.clone(),
        layer: at.layer as u32,
        head: at.head as u32,
        row: row as u32,
        weights: forward.picture(at, Step::Weights).row(row).to_vec(),
    };
    publish_value("attention", &looked);
}

/// The same with a value of Rust.
pub fn publish_value(name: &str, value: &impl Serialize) {
    if let Ok(json) = serde_json::to_string(value) {
        publish_json(name, &json);
    }
}

/// The same with a value written as JSON.
pub fn publish_json(name: &str, json: &str) {
    if let Ok(value) = js_sys::JSON::parse(json) {
        publish(name, &value);
    }
}

/// The same with numbers that may be an example's; then they say so, as a file of them does.
pub fn publish_numbers(name: &str, json: &str, rehearsal: bool) {
    if !rehearsal {
        publish_json(name, json);
    } else if let Some(marked) = example::marked_text(json) {
        publish_json(name, &marked);
    }
}
