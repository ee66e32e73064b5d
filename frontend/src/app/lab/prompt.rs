//! Where a person writes what the model reads from its beginning: a text area that keeps as much as a model here can read, and says
//! so when there was more.

use hearth_shared::lab::words::beginning;
use leptos::prelude::*;
use web_sys::HtmlTextAreaElement;

use crate::app::components::icons::Icon;
use crate::app::format;
use crate::app::i18n::{t_string, use_i18n};

/// More than the longest pass takes of any text.
const CHARACTERS: usize = 8_000;

#[component]
pub fn Prompt(
    id: &'static str,
    /// Further classes of the text area.
    #[prop(optional)]
    class: &'static str,
    #[prop(into)] label: Signal<String>,
    text: RwSignal<String>,
) -> impl IntoView {
    let i18n = use_i18n();
    // Characters of the whole text, where some of it was left out.
    let whole = RwSignal::new(None::<usize>);
    let write = move |event: web_sys::Event| {
        let area = event_target::<HtmlTextAreaElement>(&event);
        let all = area.value();
        let kept = beginning(&all, CHARACTERS);
        let is_cut = kept.len() < all.len();
        whole.set(is_cut.then(|| all.chars().count()));
        text.set(kept.to_owned());
        if is_cut {
            // The signal may hold this already: then it would not put it back.
            area.set_value(kept);
        }
    };
    let cut = move || {
        // A text from elsewhere, such as an example, is whole.
        let whole = whole.get().filter(|_| text.with(|text| text.chars().count() == CHARACTERS))?;
        let (whole, kept) = (format::group(whole as u64), format::group(CHARACTERS as u64));
        let words = t_string!(i18n, lab.cut_text, whole = whole, kept = kept);
        Some(view! { <p class="notice warn lab-cut" role="status"><Icon name="info"/><span>{words}</span></p> })
    };
    view! {
        <label class="field">
            <span class="field-label">{label}</span>
            <textarea
                id=id
                class=format!("textarea {class}")
                rows="3"
                dir="auto"
                spellcheck="false"
                prop:value=move || text.get()
                on:input=write
            ></textarea>
        </label>
        {cut}
    }
}
