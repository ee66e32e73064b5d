//! The text as tokens, each shaded by the weight the chosen token gives it in the head in hand.

use leptos::ev::KeyboardEvent;
use leptos::prelude::*;

use super::forward::{Cell, Focus, Step};
use super::pieces::is_part;
use super::session::{Session, use_session};
use super::{percent, visible};
use crate::app::i18n::{t, t_string, use_i18n};

#[component]
pub fn Tokens() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let words = Memo::new(move |_| {
        session
            .forward()
            .map_or_else(Vec::new, |forward| forward.tokens().iter().map(|token| token.text.clone()).collect())
    });
    let has_parts = Memo::new(move |_| words.with(|words| words.iter().any(|word| is_part(word))));
    let move_by = move |event: KeyboardEvent| {
        let row = session.row();
        let row = match event.key().as_str() {
            "ArrowLeft" => row.saturating_sub(1),
            "ArrowRight" => row + 1,
            "Home" => 0,
            "End" => usize::MAX,
            _ => return,
        };
        event.prevent_default();
        let last = words.with(Vec::len).saturating_sub(1);
        choose(session, row.min(last));
    };
    view! {
        <section class="lab-tokens" aria-labelledby="tokens-title">
            <div class="section-head">
                <h2 id="tokens-title">{t!(i18n, lab.tokens_title)}</h2>
                <p class="hint">{t!(i18n, lab.tokens_help)}</p>
            </div>
            <div
                class="tokens"
                role="listbox"
                tabindex="0"
                aria-labelledby="tokens-title"
                aria-activedescendant=move || format!("token-{}", session.row())
                on:keydown=move_by
                on:pointerleave=move |_| session.hovered.set(None)
            >
                {move || {
                    words
                        .get()
                        .into_iter()
                        .enumerate()
                        .map(|(index, text)| view! { <Token index=index text=text/> })
                        .collect_view()
                }}
            </div>
            <Show when=move || has_parts.get()>
                <p class="hint">{t!(i18n, lab.part_help)}</p>
            </Show>
            <p class="visually-hidden">
                {move || t_string!(i18n, lab.tokens, count = words.with(Vec::len))}
            </p>
        </section>
    }
}

/// Makes a token the chosen one, keeping the column where the picture in hand has one.
pub(super) fn choose(session: Session, row: usize) {
    let pinned = session.pinned.get_untracked();
    let col = if session.step.get_untracked().is_square() { pinned.col.min(row) } else { pinned.col };
    session.pin(Cell { row, col });
}

#[component]
fn Token(index: usize, text: String) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let focus = move || {
        let (step, cell) = session.active();
        let focus = Focus::of(step, cell);
        (focus.query.unwrap_or_else(|| session.row()), focus.key)
    };
    let weight = Memo::new(move |_| {
        let (query, _) = focus();
        let forward = session.forward()?;
        let weights = forward.picture(session.at.get(), Step::Weights);
        (query < weights.rows && index <= query && index < weights.cols).then(|| f64::from(weights.at(query, index)))
    });
    let shade = move || format!("{:.1}%", weight.get().unwrap_or_default().sqrt() * 100.0);
    let label = {
        let text = text.clone();
        move || {
            t_string!(
                i18n,
                lab.token_label,
                index = index + 1,
                text = text.clone(),
                weight = weight.get().map_or_else(|| "0".to_owned(), percent)
            )
        }
    };
    let point = move |_| {
        let query = session.row();
        if index <= query {
            session.hovered.set(Some((Step::Weights, Cell { row: query, col: index })));
        } else {
            session.hovered.set(None);
        }
    };
    let later = move || index > focus().0;
    let partial = is_part(&text);
    let title = move || {
        let about = partial.then(|| t_string!(i18n, lab.part_title).to_owned());
        let lines: Vec<String> = weight.get().map(percent).into_iter().chain(about).collect();
        (!lines.is_empty()).then(|| lines.join(" · "))
    };
    view! {
        <span
            id=format!("token-{index}")
            class="token"
            class:query=move || focus().0 == index
            class:key=move || focus().1 == Some(index)
            class:later=later
            class:partial=partial
            role="option"
            aria-selected=move || (session.row() == index).to_string()
            aria-label=label
            style:--shade=shade
            title=title
            on:pointerenter=point
            on:click=move |_| choose(session, index)
        >
            {visible(&text)}
        </span>
    }
}
