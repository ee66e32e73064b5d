//! The position lab: what is asked of a model that knows where its tokens stand, and what it answers.

use leptos::prelude::*;

use crate::app::i18n::{t, use_i18n};

/// The page at `/lab/position`.
#[component]
pub fn Position() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <div class="page lab">
            <super::tabs::Tabs/>
            <header class="lab-head">
                <h1>{t!(i18n, position.title)}</h1>
                <p>{t!(i18n, position.lead)}</p>
            </header>
        </div>
    }
}
