//! Texts to begin with, as chips below a text box.

use leptos::prelude::*;

use crate::app::i18n::{Locale, t_string, use_i18n};

/// Its language, and the text.
pub type Example = (&'static str, &'static str);

/// The first example in the reader's language, else the first.
pub fn first(examples: &'static [Example], locale: Locale) -> &'static str {
    let language = locale.to_string();
    examples.iter().find(|(of, _)| *of == language).or(examples.first()).map_or("", |(_, text)| text)
}

#[component]
pub fn Examples(examples: &'static [Example], #[prop(into)] choose: Callback<&'static str>) -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <div class="lab-examples" role="group" aria-label=move || t_string!(i18n, lab.examples)>
            {examples
                .iter()
                .map(|&(language, text)| {
                    view! {
                        <button class="chip" lang=language dir="auto" on:click=move |_| choose.run(text)>
                            {text}
                        </button>
                    }
                })
                .collect_view()}
        </div>
    }
}
