//! The build this page is: it reloads when the server or the lab worker is of another one, keeps itself for offline use
//! through the service worker, and shows a way out when it crashes.

use leptos::prelude::*;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::{JsFuture, spawn_local};

use super::store::{Load, use_store};

/// The id of the sources this page was built from; none in a hand-made build, which then accepts every server.
pub const BUILD: Option<&str> = option_env!("HEARTH_BUILD_ID");

/// Remembers the build this tab already reloaded for, so that a server that keeps serving an old page cannot make a loop.
const RELOADED_FOR: &str = "hearth.reloaded-for";

/// Watches the server's build, and registers the service worker.
pub fn provide() {
    let store = use_store();
    Effect::new(move |_| {
        if let Load::Ready(system) = store.system.get()
            && let Some(build) = &system.build
        {
            meet(build);
        }
    });
    // A hand-made build has no list of files to keep.
    if BUILD.is_some() {
        spawn_local(async move {
            if let Err(error) = register().await {
                leptos::logging::warn!("no offline copy: {error:?}");
            }
        });
    }
}

/// Call with the build id of a peer (server, worker). Another id than ours reloads the page, once for each id.
/// Returns whether both are of one build.
pub fn meet(build: &str) -> bool {
    if BUILD.is_none_or(|ours| ours == build) {
        return true;
    }
    let session = window().session_storage().ok().flatten();
    let seen = session.as_ref().and_then(|session| session.get_item(RELOADED_FOR).ok().flatten());
    if seen.as_deref() != Some(build) {
        if let Some(session) = session {
            let _ = session.set_item(RELOADED_FOR, build);
        }
        let _ = window().location().reload();
    }
    false
}

/// Asks the service worker to keep these addresses for times without a server.
pub fn keep_offline(urls: &[String]) {
    let Some(container) = service_worker() else {
        return;
    };
    let message = js_sys::Object::new();
    let list: js_sys::Array = urls.iter().map(|url| JsValue::from_str(url)).collect();
    let _ = js_sys::Reflect::set(&message, &"keep".into(), &list);
    if let Some(key) = super::client::key() {
        let _ = js_sys::Reflect::set(&message, &"key".into(), &key.into());
    }
    spawn_local(async move {
        let Ok(ready) = container.ready() else { return };
        if let Ok(registration) = JsFuture::from(ready).await
            && let Ok(registration) = registration.dyn_into::<web_sys::ServiceWorkerRegistration>()
            && let Some(active) = registration.active()
        {
            let _ = active.post_message(&message);
        }
    });
}

/// A panic stops this page for good: say so and offer a reload instead of dead buttons.
pub fn watch_for_crashes() {
    std::panic::set_hook(Box::new(|info| {
        console_error_panic_hook::hook(info);
        if let Some(panel) = document().get_element_by_id("crash") {
            let _ = panel.remove_attribute("hidden");
            if let Ok(Some(detail)) = panel.query_selector("pre") {
                detail.set_text_content(Some(&info.to_string()));
            }
        }
    }));
}

/// None where the browser has none: an address that is neither HTTPS nor this machine.
fn service_worker() -> Option<web_sys::ServiceWorkerContainer> {
    let navigator = window().navigator();
    js_sys::Reflect::get(&navigator, &"serviceWorker".into())
        .ok()
        .filter(|container| !container.is_undefined())
        .map(|_| navigator.service_worker())
}

async fn register() -> Result<(), JsValue> {
    let Some(container) = service_worker() else {
        return Ok(());
    };
    JsFuture::from(container.register("/sw.js")).await?;
    Ok(())
}

/// Runs `action` when the tab becomes visible again.
pub fn on_return(action: impl Fn() + 'static) {
    let closure = Closure::<dyn Fn()>::new(move || {
        if !document().hidden() {
            action();
        }
    });
    let _ = document().add_event_listener_with_callback("visibilitychange", closure.as_ref().unchecked_ref());
    // The page lives as long as the tab, and so does its listener.
    closure.forget();
}
