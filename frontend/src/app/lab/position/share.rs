//! What leaves the lab: its numbers on `window.__hearth` and as a file, a link to what is looked at, and the way back to the start.

use hearth_shared::lab::position::{LengthLoss, Losses};
use js_sys::{Array, Reflect};
use leptos::prelude::*;
use serde_json::{Map, Value, json};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};

use super::question::Question;
use super::session::{Session, use_session};
use super::siblings::{COUNT, SIBLINGS, TRAINED};
use super::work::WINDOWS;
use crate::app::components::icons::Icon;
use crate::app::components::toast::use_toasts;
use crate::app::i18n::{t, tu_string, use_i18n};
use crate::app::lab::publish;

const FILE: &str = "hearth-position.json";

/// Copy, save, start again.
#[component]
pub fn Actions() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let toasts = use_toasts();
    let copy = move |_| {
        spawn_local(async move {
            match copy_link(&session).await {
                Ok(()) => toasts.good(tu_string!(i18n, common.copied)),
                Err(_) => toasts.bad(tu_string!(i18n, position.copy_failed)),
            }
        });
    };
    let save = move |_| {
        if save(&untrack(|| numbers(&session))).is_err() {
            toasts.bad(tu_string!(i18n, position.export_failed));
        }
    };
    view! {
        <div class="position-actions">
            <button class="button small" data-act="copy-link" on:click=copy>
                <Icon name="copy" size=16/>
                {t!(i18n, position.copy_link)}
            </button>
            <button class="button small" data-act="export" on:click=save>
                <Icon name="download" size=16/>
                {t!(i18n, position.export)}
            </button>
            <button
                class="button small quiet"
                data-act="reset"
                on:click=move |_| session.set(&Question::default())
            >
                <Icon name="retry" size=16/>
                {t!(i18n, position.reset)}
            </button>
        </div>
    }
}

/// Everything shown, as numbers.
fn numbers(session: &Session) -> Value {
    let siblings: Map<String, Value> =
        (0..COUNT).filter_map(|at| Some((SIBLINGS[at].name.to_owned(), of(&session.losses(at)?)))).collect();
    let documents = session.documents.get().unwrap_or_default();
    let attention = session.attention.get();
    json!({
        "trained": TRAINED,
        "window": session.longest.get(),
        "windows": WINDOWS,
        "texts": documents.iter().map(|document| document.id.as_str()).collect::<Vec<_>>(),
        "scaling": session.scaling.get(),
        "siblings": siblings,
        "stretched": session.stretched().as_ref().map(of),
        "turns": session.turns(),
        "distances": session.had.with(|had| had.distances(attention).cloned()),
    })
}

fn of(losses: &Losses) -> Value {
    let means: Map<String, Value> =
        losses.lengths.iter().map(|read| (read.length.to_string(), read.mean().into())).collect();
    let stretches = |read: Option<&LengthLoss>| read.map(|read| read.stretches.clone());
    json!({
        "windows": losses.windows,
        "means": means,
        "split": losses.split(TRAINED),
        "stretches": stretches(losses.longest()),
        "cut_stretches": stretches(losses.at(TRAINED)),
        "ms": losses.ms,
    })
}

/// Puts the numbers on `window.__hearth.position`.
pub fn publish(session: &Session) {
    // Our own JSON parses.
    if let Ok(value) = js_sys::JSON::parse(&numbers(session).to_string()) {
        publish::publish("position", &value);
    }
}

async fn copy_link(session: &Session) -> Result<(), JsValue> {
    let pairs = untrack(|| session.question().pairs());
    let query = web_sys::UrlSearchParams::new()?;
    for (name, value) in pairs {
        query.append(name, &value);
    }
    let query = String::from(query.to_string());
    let mark = if query.is_empty() { "" } else { "?" };
    let link = format!("{}{}{mark}{query}", window().location().origin()?, super::PLACE);
    let navigator = window().navigator();
    // A page that is neither HTTPS nor this machine has none.
    if Reflect::get(&navigator, &"clipboard".into())?.is_undefined() {
        return Err(JsValue::UNDEFINED);
    }
    JsFuture::from(navigator.clipboard().write_text(&link)).await?;
    Ok(())
}

/// Hands the numbers to the browser's downloads.
fn save(numbers: &Value) -> Result<(), JsValue> {
    let blob = web_sys::Blob::new_with_str_sequence(&Array::of1(&format!("{numbers:#}").into()))?;
    let url = web_sys::Url::create_object_url_with_blob(&blob)?;
    let link: web_sys::HtmlAnchorElement = document().create_element("a")?.unchecked_into();
    link.set_href(&url);
    link.set_download(FILE);
    link.click();
    web_sys::Url::revoke_object_url(&url)
}
