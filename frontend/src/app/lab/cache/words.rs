//! What a side generated: its tokens one by one, and as a text. A token shares its cursor with the chart and the pictures.

use leptos::prelude::*;

use super::run::Side;
use super::session::use_session;
use crate::app::i18n::{t, use_i18n};
use crate::app::lab::pieces::joined;
use crate::app::lab::visible;

/// A token as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shown {
    index: usize,
    id: u32,
    /// It stands behind the place where the text parted from the one with everything kept.
    parted: bool,
}

#[component]
pub fn Words(side: Side, #[prop(into)] title: Signal<String>, name: &'static str) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let shown = Memo::new(move |_| {
        session.run.with(|run| {
            let run = run.as_ref()?;
            let parts = run.parts_at(side).unwrap_or(usize::MAX);
            let all = run.tokens(side).enumerate();
            Some(all.map(|(index, token)| Shown { index, id: token.id, parted: index >= parts }).collect::<Vec<_>>())
        })
    });
    let shown = move || shown.get().unwrap_or_default();
    let prompt = Memo::new(move |_| session.run.with(|run| run.as_ref().map_or(0, |run| run.begun.prompt.len())));
    let text = move || joined(shown().into_iter().map(|token| session.host.word(token.id)));
    view! {
        <div class="cache-words">
            <h3 class="chart-key" style=format!("--key: {}", side.colour())>{title}</h3>
            <ol class="cache-tokens" aria-label=title data-side=name>
                <For each=shown key=|token| *token let:token>
                    <li
                        class="cache-token"
                        class:parted=token.parted
                        class:lit=move || session.cursor.get() == Some((prompt.get() + token.index) as f64)
                        on:pointerenter=move |_| {
                            session.cursor.set(Some((prompt.get_untracked() + token.index) as f64));
                        }
                        on:pointerleave=move |_| session.cursor.set(None)
                    >
                        {visible(&session.host.word(token.id))}
                    </li>
                </For>
            </ol>
            <p class="cache-text">
                <span class="visually-hidden">{t!(i18n, cache.as_text)}</span>
                {text}
            </p>
        </div>
    }
}
