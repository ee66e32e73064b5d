//! The proof by drawing: the next token drawn many times by consecutive seeds, so that counts stand beside probabilities.

use hearth_shared::lab::sampling::DRAWS;
use leptos::prelude::*;

use super::job::{HowFar, Job};
use super::session::use_session;
use super::word;
use crate::app::components::icons::Icon;
use crate::app::format;
use crate::app::i18n::{t_string, use_i18n};

#[component]
pub fn DrawButton() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let runs = Memo::new(move |_| session.drawing.with(Job::is_running));
    let name = move || t_string!(i18n, sampling.draw, count = format::group(u64::from(DRAWS)));
    let title = move || {
        let first = session.seed.get();
        t_string!(i18n, sampling.draw_title, first = first, last = u64::from(first) + u64::from(DRAWS) - 1)
    };
    view! {
        <div class="sampling-draw">
            <HowFar job=session.drawing label=word!(i18n, drawing) again=move |()| session.draw()/>
            <button
                class="button small"
                data-action="draw"
                title=title
                disabled=move || runs.get()
                on:click=move |_| session.draw()
            >
                <Icon name="dice" size=16/>
                {name}
            </button>
        </div>
    }
}
