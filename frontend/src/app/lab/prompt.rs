//! Where a person writes what a lab reads: a text area that keeps the part which the lab can read, and says so when there was more.

use hearth_shared::lab::words::beginning;
use leptos::prelude::*;
use web_sys::HtmlTextAreaElement;

use crate::app::components::icons::Icon;
use crate::app::format;
use crate::app::i18n::{t_string, use_i18n};

/// More than the longest pass takes of any text.
const CHARACTERS: usize = 8_000;

fn of_a_pass(text: &str) -> &str {
    beginning(text, CHARACTERS)
}

#[component]
pub fn Prompt(
    id: &'static str,
    /// Further classes of the text area.
    #[prop(optional)]
    class: &'static str,
    #[prop(default = "3")] rows: &'static str,
    #[prop(into)] label: Signal<String>,
    text: RwSignal<String>,
    /// The part of a text that is read.
    #[prop(default = of_a_pass)]
    keep: fn(&str) -> &str,
    /// Says how many characters there were, and how many of them are kept.
    #[prop(optional, into)]
    cut: Option<Callback<(String, String), String>>,
) -> impl IntoView {
    let i18n = use_i18n();
    // Characters of what was written, and what is kept of it, where that is less.
    let written = RwSignal::new(None::<(usize, String)>);
    let write = move |event: web_sys::Event| {
        let area = event_target::<HtmlTextAreaElement>(&event);
        let all = area.value();
        let kept = keep(&all);
        let is_cut = kept.len() < all.len();
        written.set(is_cut.then(|| (all.chars().count(), kept.to_owned())));
        text.set(kept.to_owned());
        if is_cut {
            // The signal may hold this already: then it would not put it back.
            area.set_value(kept);
        }
    };
    let notice = move || {
        let (whole, kept) = written.get()?;
        if text.with(|text| *text != kept) {
            return None;
        }
        let (whole, kept) = (format::group(whole as u64), format::group(kept.chars().count() as u64));
        let words = match cut {
            Some(cut) => cut.run((whole, kept)),
            None => t_string!(i18n, lab.cut_text, whole = whole, kept = kept),
        };
        Some(view! { <p class="notice warn lab-cut" role="status"><Icon name="info"/><span>{words}</span></p> })
    };
    view! {
        <label class="field">
            <span class="field-label">{label}</span>
            <textarea
                id=id
                class=format!("textarea {class}")
                rows=rows
                dir="auto"
                spellcheck="false"
                prop:value=move || text.get()
                on:input=write
            ></textarea>
        </label>
        {notice}
    }
}
