//! The tokenizer lab: a text as several vocabularies cut it, merge by merge.

use leptos::prelude::*;

use crate::app::i18n::{t, use_i18n};

/// The page at `/lab/tokenizer`.
#[component]
pub fn Words() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <div class="page lab">
            <super::tabs::Tabs/>
            <header class="lab-head">
                <h1>{t!(i18n, words.title)}</h1>
                <p>{t!(i18n, words.lead)}</p>
            </header>
        </div>
    }
}
