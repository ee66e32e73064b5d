//! What a person takes away from a lab: the link to what they see, its numbers as a file; and the way back to the beginning.

use js_sys::Array;
use leptos::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Blob, BlobPropertyBag};

use crate::app::components::{icons::Icon, toast};
use crate::app::fine_tune::download;
use crate::app::i18n::{t, tu_string, use_i18n};

#[component]
pub fn Share(
    /// Of the file, without its ending.
    name: &'static str,
    /// The numbers as JSON; none before there are any.
    #[prop(into)]
    export: Callback<(), Option<String>>,
    #[prop(into)] reset: Callback<()>,
) -> impl IntoView {
    let i18n = use_i18n();
    let toasts = toast::use_toasts();
    let copy = move |_| {
        spawn_local(async move {
            let link = window().location().href().unwrap_or_default();
            let written = JsFuture::from(window().navigator().clipboard().write_text(&link)).await;
            match written {
                Ok(_) => toasts.good(tu_string!(i18n, lab.link_copied)),
                Err(_) => toasts.bad(tu_string!(i18n, lab.link_not_copied, link = link)),
            }
        });
    };
    let save = move |_| {
        if let Some(text) = export.run(()) {
            let options = BlobPropertyBag::new();
            options.set_type("application/json");
            let parts = Array::of1(&text.into());
            if let Ok(blob) = Blob::new_with_str_sequence_and_options(&parts, &options) {
                download::save(&blob, &format!("{name}.json"));
            }
        }
    };
    view! {
        <div class="lab-share">
            <button class="button small quiet" data-action="copy-link" on:click=copy>
                <Icon name="copy" size=16/>
                {t!(i18n, lab.copy_link)}
            </button>
            <button class="button small quiet" data-action="export" on:click=save>
                <Icon name="file" size=16/>
                {t!(i18n, lab.export)}
            </button>
            <button class="button small quiet" data-action="reset" on:click=move |_| reset.run(())>
                <Icon name="retry" size=16/>
                {t!(i18n, lab.reset)}
            </button>
        </div>
    }
}
