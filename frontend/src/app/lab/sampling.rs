//! The sampling lab: how a row of logits becomes a token, stage by stage; what would have followed, as a tree; and what each seed makes of
//! one text. The state is in `sampling/session.rs`; the model runs in the worker.

mod address;
mod branches;
mod controls;
mod document;
mod drawn;
mod flow;
mod job;
mod layout;
mod runs;
mod session;
mod summary;
mod waterfall;

use leptos::prelude::*;

use super::examples::{self, Example};
use super::{opening, tabs};
use crate::app::i18n::{t, use_i18n};

/// A word of this page in the reader's language, as a signal.
macro_rules! word {
    ($i18n:ident, $key:ident) => {
        Signal::derive(move || t_string!($i18n, sampling.$key).to_owned())
    };
}
use word;

/// Beginnings with a sure next token, with many, and in the other language.
const EXAMPLES: [Example; 5] = [
    ("en", "The old man and the sea. The old man and the"),
    ("en", "The Congress gave the President the power, and he"),
    ("en", "\"What is it?\" she said. \"I"),
    ("zh", "却说曹操引大军杀来，玄德与孔明商议，孔明曰：“"),
    ("zh", "床前明月光，疑是地上霜。举头望明月，低头"),
];

/// The page at `/lab/sampling`.
#[component]
pub fn Sampling() -> impl IntoView {
    let i18n = use_i18n();
    let first = examples::first(&EXAMPLES, i18n.get_locale_untracked());
    let session = session::provide(first);
    let state = move || session.host.state();
    let engine = move || session.host.engine_word();
    let answered = Memo::new(move |_| session.answered.with(Option::is_some));
    view! {
        <div
            class="page lab lab-sampling"
            data-lab=state
            data-engine=engine
            data-tree=move || session.growing.with(job::Job::word)
            data-runs=move || session.running.with(job::Job::word)
            data-draws=move || session.drawing.with(job::Job::word)
        >
            <tabs::Tabs/>
            <header class="lab-head">
                <h1>{t!(i18n, sampling.title)}</h1>
                <p>{t!(i18n, sampling.lead)}</p>
            </header>
            <controls::Controls/>
            <opening::Notices/>
            <div class="sampling-body">
                <controls::Knobs/>
                <div class="sampling-results">
                    <Show when=move || answered.get()>
                        <summary::Summary/>
                        <section class="card sampling-way" aria-labelledby="way-title">
                            <div class="section-head">
                                <h2 id="way-title">{t!(i18n, sampling.way_title)}</h2>
                                <drawn::DrawButton/>
                            </div>
                            <p class="sampling-help">{t!(i18n, sampling.way_help)}</p>
                            <flow::Flow/>
                            <waterfall::Waterfall/>
                        </section>
                        <branches::Branches/>
                        <runs::Runs/>
                    </Show>
                </div>
            </div>
        </div>
    }
}
