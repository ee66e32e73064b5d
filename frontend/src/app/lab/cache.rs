//! The cache lab: the model generates the same tokens twice, with keys and values kept and with the whole text computed again, and
//! every difference is measured: time, work, memory. The state is in `cache/session.rs`; the model runs in the worker.

mod address;
mod bytes;
mod controls;
mod dial;
mod document;
mod picture;
mod rolling;
mod run;
mod session;
mod timed;
mod words;
mod work;

use leptos::prelude::*;

use super::examples::{self, Example};
use super::{opening, tabs};
use crate::app::i18n::{t, use_i18n};

/// A word of this page in the reader's language, as a signal.
macro_rules! word {
    ($i18n:ident, $key:ident) => {
        Signal::derive(move || t_string!($i18n, cache.$key).to_owned())
    };
}
use word;

/// Beginnings to go on from.
const EXAMPLES: [Example; 4] = [
    ("en", "The old man and the sea. The old man"),
    ("en", "The Congress gave the President the power, and he used it"),
    ("zh", "却说曹操引大军杀来，玄德与孔明商议，孔明曰：“"),
    ("zh", "床前明月光，疑是地上霜。"),
];

/// The page at `/lab/cache`.
#[component]
pub fn Cache() -> impl IntoView {
    let i18n = use_i18n();
    let first = examples::first(&EXAMPLES, i18n.get_locale_untracked());
    let session = session::provide(first);
    let state = move || session.host.state();
    let engine = move || session.host.engine_word();
    let begun = Memo::new(move |_| session.run.with(Option::is_some));
    view! {
        <div
            class="page lab lab-cache"
            class:no-text=move || session.text.with(String::is_empty)
            data-lab=state
            data-engine=engine
        >
            <tabs::Tabs/>
            <header class="lab-head">
                <h1>{t!(i18n, cache.title)}</h1>
                <p>{t!(i18n, cache.lead)}</p>
            </header>
            <controls::Controls/>
            <opening::Notices/>
            <Show when=move || begun.get()>
                <timed::Timed/>
                <work::WorkDone/>
                <bytes::Bytes/>
                <rolling::Rolling/>
            </Show>
        </div>
    }
}
