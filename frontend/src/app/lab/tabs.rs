//! The way from one lab to the next.

use leptos::html::Nav;
use leptos::prelude::*;
use leptos_router::hooks::use_location;
use web_sys::HtmlElement;

use crate::app::components::after_drawing;
use crate::app::i18n::{t_string, use_i18n};
use crate::app::shell::lab_name;

/// Addresses, the first for the lab that `/lab` opens.
const LABS: [&str; 6] =
    ["/lab/attention", "/lab/position", "/lab/cache", "/lab/sampling", "/lab/tokenizer", "/lab/quantization"];

#[component]
pub fn Tabs() -> impl IntoView {
    let i18n = use_i18n();
    let location = use_location();
    let row = NodeRef::<Nav>::new();
    let here = move |path: &'static str| {
        location.pathname.with(|now| now == path || now == "/lab" && path == LABS[0]).then_some("page")
    };
    Effect::new(move |_| {
        location.pathname.track();
        // In the other language the tabs are of other widths.
        let _ = i18n.get_locale();
        if let Some(row) = row.get() {
            after_drawing(move || show_current(&row));
        }
    });
    view! {
        <nav class="lab-tabs" node_ref=row aria-label=move || t_string!(i18n, lab.tabs)>
            {LABS
                .into_iter()
                .map(|path| {
                    view! {
                        <a href=path aria-current=move || here(path)>
                            {move || lab_name(i18n, path)}
                        </a>
                    }
                })
                .collect_view()}
        </nav>
    }
}

/// Moves the current tab to the middle of a row that is wider than its place, and nothing else.
fn show_current(row: &HtmlElement) {
    let Ok(Some(tab)) = row.query_selector("[aria-current]") else { return };
    let (row_box, tab_box) = (row.get_bounding_client_rect(), tab.get_bounding_client_rect());
    let apart = (tab_box.left() + tab_box.right() - row_box.left() - row_box.right()) / 2.0;
    row.set_scroll_left(row.scroll_left() + apart as i32);
}
