//! The quantization lab.

use leptos::prelude::*;

use crate::app::i18n::{t, use_i18n};

/// The page at `/lab/quantization`.
#[component]
pub fn Quantize() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <div class="page lab">
            <super::tabs::Tabs/>
            <header class="lab-head">
                <h1>{t!(i18n, quantize.title)}</h1>
                <p>{t!(i18n, quantize.lead)}</p>
            </header>
        </div>
    }
}
