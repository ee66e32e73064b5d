//! The way from one lab to the next.

use leptos::prelude::*;
use leptos_router::hooks::use_location;

use crate::app::i18n::{t_string, use_i18n};

/// Addresses, the first for the lab that `/lab` opens.
const LABS: [&str; 6] =
    ["/lab/attention", "/lab/position", "/lab/cache", "/lab/sampling", "/lab/tokenizer", "/lab/quantization"];

#[component]
pub fn Tabs() -> impl IntoView {
    let i18n = use_i18n();
    let location = use_location();
    let name = move |path| match path {
        "/lab/position" => t_string!(i18n, lab.tab_position),
        "/lab/cache" => t_string!(i18n, lab.tab_cache),
        "/lab/sampling" => t_string!(i18n, lab.tab_sampling),
        "/lab/tokenizer" => t_string!(i18n, lab.tab_tokenizer),
        "/lab/quantization" => t_string!(i18n, lab.tab_quantization),
        _ => t_string!(i18n, lab.tab_attention),
    };
    let here = move |path: &'static str| {
        location.pathname.with(|now| now == path || now == "/lab" && path == LABS[0]).then_some("page")
    };
    view! {
        <nav class="lab-tabs" aria-label=move || t_string!(i18n, lab.tabs)>
            {LABS
                .into_iter()
                .map(|path| {
                    view! {
                        <a href=path aria-current=move || here(path)>
                            {move || name(path)}
                        </a>
                    }
                })
                .collect_view()}
        </nav>
    }
}
