//! The cache lab: the same tokens generated with and without keys and values kept.

use leptos::prelude::*;

use crate::app::i18n::{t, use_i18n};

/// The page at `/lab/cache`.
#[component]
pub fn Cache() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <div class="page lab">
            <super::tabs::Tabs/>
            <header class="lab-head">
                <h1>{t!(i18n, cache.title)}</h1>
                <p>{t!(i18n, cache.lead)}</p>
            </header>
        </div>
    }
}
