//! What a person takes away from a lab: the link to what they see, its numbers and its drawing as files; and the way back to the
//! beginning.

use hearth_shared::lab::{example, table};
use js_sys::Reflect;
use leptos::prelude::*;
use serde_json::Value;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use super::picture;
use crate::app::address::{self, Pairs};
use crate::app::components::{icons::Icon, toast::use_toasts};
use crate::app::download;
use crate::app::i18n::{t, t_string, tu_string, use_i18n};

#[component]
pub fn Share(
    /// The lab's path.
    place: &'static str,
    /// What the address says of the lab now.
    #[prop(into)]
    pairs: Callback<(), Pairs>,
    /// Of the file, without its ending.
    name: &'static str,
    /// The numbers as JSON; none before there are any.
    #[prop(into)]
    export: Callback<(), Option<String>>,
    #[prop(into)] reset: Callback<()>,
    /// Whether what is shown was computed beforehand: the files then say so, and hold no time and no engine.
    #[prop(optional, into)]
    rehearsal: Option<Signal<bool>>,
    /// What the link leaves out, where it leaves something out.
    #[prop(optional, into)]
    missing: Option<Callback<(), Option<String>>>,
) -> impl IntoView {
    let i18n = use_i18n();
    let toasts = use_toasts();
    let copy = move |_| {
        // The address follows after a pause; the link is of now.
        address::replace(place, &untrack(|| pairs.run(())));
        let link = address::link();
        let missing = missing.and_then(|missing| untrack(|| missing.run(())));
        spawn_local(async move {
            match (written(&link).await, missing) {
                (Ok(()), None) => toasts.good(tu_string!(i18n, lab.link_copied)),
                (Ok(()), Some(missing)) => toasts.say(missing),
                (Err(_), _) => toasts.bad(tu_string!(i18n, lab.link_not_copied, link = link)),
            }
        });
    };
    let is_example = move || rehearsal.is_some_and(|rehearsal| rehearsal.get_untracked());
    let file = move |ending: &str| {
        let example = if is_example() { "-example" } else { "" };
        format!("{name}{example}.{ending}")
    };
    let numbers = move || {
        let text = untrack(|| export.run(()))?;
        if is_example() { example::marked_text(&text) } else { Some(text) }
    };
    let save = move |_| match numbers() {
        Some(text) => download::save_text(&text, &file("json")),
        None => toasts.bad(tu_string!(i18n, lab.no_numbers)),
    };
    let tabulate = move |_| {
        let document = numbers().and_then(|text| serde_json::from_str::<Value>(&text).ok());
        match document {
            Some(document) => download::save_text(&table::csv(&document), &file("csv")),
            None => toasts.bad(tu_string!(i18n, lab.no_numbers)),
        }
    };
    let draw = move |_| {
        // Before the wait: the engine may come while the picture is drawn.
        let file = file("png");
        spawn_local(async move {
            match picture::save(&file).await {
                Ok(true) => {}
                Ok(false) => toasts.bad(tu_string!(i18n, lab.no_picture)),
                Err(_) => toasts.bad(tu_string!(i18n, lab.picture_failed)),
            }
        });
    };
    view! {
        <div class="lab-share">
            <button class="button small quiet" data-action="link" on:click=copy>
                <Icon name="copy" size=16/>
                {t!(i18n, lab.copy_link)}
            </button>
            <button
                class="button small quiet"
                data-action="export"
                title=move || t_string!(i18n, lab.export)
                on:click=save
            >
                <Icon name="download" size=16/>
                "JSON"
            </button>
            <button
                class="button small quiet"
                data-action="table"
                title=move || t_string!(i18n, lab.export_table)
                on:click=tabulate
            >
                <Icon name="download" size=16/>
                "CSV"
            </button>
            <button class="button small quiet" data-action="picture" on:click=draw>
                <Icon name="image" size=16/>
                {t!(i18n, lab.picture)}
            </button>
            <button class="button small quiet" data-action="reset" on:click=move |_| reset.run(())>
                <Icon name="retry" size=16/>
                {t!(i18n, lab.reset)}
            </button>
        </div>
    }
}

/// Puts a text into the clipboard. A page that is neither HTTPS nor this machine has none.
async fn written(text: &str) -> Result<(), JsValue> {
    let navigator = window().navigator();
    if Reflect::get(&navigator, &"clipboard".into())?.is_undefined() {
        return Err(JsValue::UNDEFINED);
    }
    JsFuture::from(navigator.clipboard().write_text(text)).await?;
    Ok(())
}
