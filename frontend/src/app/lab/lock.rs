//! A lock of the browser's, by which the page learns that its worker is gone: the worker holds it as long as it lives, and whoever waits for
//! it gets it the moment the worker does not. A worker that the browser ends says nothing else, and unlike a clock a lock never takes a
//! slow one for a dead one. Both sides compile this file; it knows neither of them. A page that is neither localhost nor HTTPS has no locks.

use futures::channel::oneshot;
use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;

/// Asks for a lock; the promise ends when it is let go, or is refused. web-sys has this only behind its unstable flag, hence by name.
fn request(name: &str, options: &Object, granted: &JsValue) -> Option<Promise> {
    let navigator = Reflect::get(&js_sys::global(), &"navigator".into()).ok()?;
    let locks = Reflect::get(&navigator, &"locks".into()).ok().filter(JsValue::is_object)?;
    let request: Function = Reflect::get(&locks, &"request".into()).ok()?.dyn_into().ok()?;
    let (name, options) = (JsValue::from(name), JsValue::from(options));
    request.call3(&locks, &name, &options, granted).ok()?.dyn_into().ok()
}

/// Takes a lock for as long as the program lives. Comes back when it is held, or when it cannot be.
#[cfg(feature = "worker")]
pub async fn hold(name: &str) {
    let (sender, held) = oneshot::channel();
    let granted = Closure::once_into_js(move |_: JsValue| -> Promise {
        // Who asked still waits.
        let _ = sender.send(());
        // Never kept, so the lock is never let go.
        Promise::new(&mut |_, _| {})
    });
    if let Some(end) = request(name, &Object::new(), &granted) {
        futures::future::select(held, JsFuture::from(end)).await;
    }
}

/// Comes back when whoever holds a lock is gone: `true` then, and `false` at once where nobody holds it or there are no locks.
#[cfg(feature = "app")]
pub async fn is_let_go(name: &str) -> bool {
    got(name, true).await == Some(false) && got(name, false).await == Some(true)
}

/// Whether the lock was to be had: at once, or after a wait. It is not kept. None where there are no locks.
#[cfg(feature = "app")]
async fn got(name: &str, at_once: bool) -> Option<bool> {
    let (sender, answer) = oneshot::channel();
    let granted = Closure::once_into_js(move |lock: JsValue| {
        let _ = sender.send(!lock.is_null());
    });
    let options = Object::new();
    Reflect::set(&options, &"ifAvailable".into(), &at_once.into()).ok()?;
    JsFuture::from(request(name, &options, &granted)?).await.ok()?;
    answer.await.ok()
}
