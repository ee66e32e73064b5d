//! The tokenizer lab: a text as several vocabularies cut it, merge by merge; what languages cost; a vocabulary learned in the
//! tab. State is in `words/session.rs`; the worker computes every number. No model is opened here.

mod address;
mod bring;
mod controls;
mod cost;
mod export;
mod learn;
mod notices;
mod rows;
mod session;
mod shown;
mod stepper;

use leptos::prelude::*;

use crate::app::i18n::{t, use_i18n};

/// The page at `/lab/tokenizer`.
#[component]
pub fn Words() -> impl IntoView {
    let i18n = use_i18n();
    let session = session::provide(super::examples::first(&controls::EXAMPLES, i18n.get_locale_untracked()));
    let answered = Memo::new(move |_| session.rows.with(|rows| !rows.is_empty()));
    let loaded = Memo::new(move |_| session.rows.with(|rows| rows.iter().any(|row| row.cut.is_ok())));
    let none_chosen = Memo::new(move |_| session.chosen.with(Vec::is_empty));
    view! {
        <div class="page lab words" data-lab=move || session.state()>
            <super::tabs::Tabs/>
            <header class="lab-head">
                <h1>{t!(i18n, words.title)}</h1>
                <p>{t!(i18n, words.lead)}</p>
            </header>
            <controls::Controls/>
            <notices::Notices/>
            <Show when=move || answered.get()>
                <rows::Rows/>
            </Show>
            <Show when=move || loaded.get()>
                <stepper::Stepper/>
                <cost::Costs/>
            </Show>
            <Show when=move || none_chosen.get() && !answered.get()>
                <section class="empty words-unchosen">
                    <h2>{t!(i18n, words.none_chosen)}</h2>
                    <p>{t!(i18n, words.choose_one)}</p>
                </section>
            </Show>
            <learn::Lesson/>
        </div>
    }
}
