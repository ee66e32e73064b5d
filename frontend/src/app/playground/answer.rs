//! One answer: its text as it comes, who wrote it, how fast, and what can be done with it.

use leptos::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use super::conversation::{Answer, State};
use crate::app::components::icons::Icon;
use crate::app::components::toast::use_toasts;
use crate::app::format;
use crate::app::i18n::{t, t_string, tu_string, use_i18n};

#[component]
pub fn AnswerView(
    answer: ArcRwSignal<Answer>,
    /// Only the last prompt can be asked again: later ones build on it.
    last: Signal<bool>,
    retry: Callback<()>,
) -> impl IntoView {
    let i18n = use_i18n();
    let toasts = use_toasts();
    let answer = RwSignal::from(answer);
    let busy = Memo::new(move |_| answer.with(Answer::is_busy));
    let waiting = Memo::new(move |_| answer.with(|answer| answer.state == State::Waiting));
    let copy = move |_| {
        let text = answer.with_untracked(|answer| answer.text.clone());
        spawn_local(async move {
            let written = JsFuture::from(window().navigator().clipboard().write_text(&text)).await;
            match written {
                Ok(_) => toasts.good(tu_string!(i18n, common.copied)),
                Err(_) => toasts.bad(tu_string!(i18n, playground.copy_failed)),
            }
        });
    };
    let speed = move || {
        answer.with(|answer| {
            let rate = answer.tokens_per_second()?;
            Some(t_string!(i18n, playground.speed, rate = format::rate(rate)))
        })
    };
    let detail = move || {
        answer.with(|answer| {
            let first = format!("{:.0}", answer.first_ms);
            match answer.tokens {
                0 => None,
                1 => Some(t_string!(i18n, playground.detail_single, first = first)),
                tokens => Some(t_string!(i18n, playground.detail, tokens = tokens, first = first)),
            }
        })
    };
    let ending = move || {
        answer.with(|answer| match &answer.state {
            State::Done(reason) if reason == "length" => Some(t_string!(i18n, playground.cut)),
            State::Stopped => Some(t_string!(i18n, playground.stopped)),
            _ => None,
        })
    };
    let failure = move || {
        answer.with(|answer| match &answer.state {
            State::Failed(error) => Some(error.to_string()),
            _ => None,
        })
    };
    let empty = move || answer.with(|answer| answer.text.is_empty() && matches!(answer.state, State::Done(_)));
    view! {
        <section class="answer" class:busy=busy aria-busy=move || busy.get().to_string()>
            <header class="answer-head">
                <strong>{move || answer.with(|answer| answer.model.clone())}</strong>
                <span class="answer-speed num">{speed}</span>
            </header>
            <Show when=move || waiting.get()>
                <p class="thinking">
                    <span class="spinner" aria-hidden="true"></span>
                    {t!(i18n, playground.waiting)}
                </p>
            </Show>
            <div class="answer-text">
                {move || answer.with(|answer| blocks(&answer.text))}
            </div>
            <Show when=empty>
                <p class="soft">{t!(i18n, playground.empty_answer)}</p>
            </Show>
            {move || {
                failure()
                    .map(|error| {
                        view! {
                            <p class="answer-failure" role="alert">
                                <Icon name="warn" size=18/>
                                {error}
                            </p>
                        }
                    })
            }}
            <footer class="answer-foot" class:hidden=busy>
                <button
                    class="icon-button small"
                    aria-label=move || t_string!(i18n, common.copy)
                    title=move || t_string!(i18n, common.copy)
                    on:click=copy
                >
                    <Icon name="copy" size=16/>
                </button>
                <Show when=move || last.get()>
                    <button
                        class="icon-button small"
                        aria-label=move || t_string!(i18n, playground.again)
                        title=move || t_string!(i18n, playground.again)
                        on:click=move |_| retry.run(())
                    >
                        <Icon name="retry" size=16/>
                    </button>
                </Show>
                <span class="num">{detail}</span>
                {move || ending().map(|ending| view! { <span class="badge">{ending}</span> })}
            </footer>
        </section>
    }
}

/// Prose and fenced code apart; nothing else is read as mark-up, so that the text is what the model wrote.
fn blocks(text: &str) -> impl IntoView + use<> {
    let parts: Vec<String> = text.split("```").map(str::to_owned).collect();
    parts
        .into_iter()
        .enumerate()
        .filter(|(_, part)| !part.trim().is_empty())
        .map(|(index, part)| {
            if index % 2 == 0 {
                view! { <p>{part.trim_matches('\n').to_owned()}</p> }.into_any()
            } else {
                let code = part.split_once('\n').map_or(part.as_str(), |(_, code)| code);
                view! { <pre tabindex="0"><code>{code.trim_end().to_owned()}</code></pre> }.into_any()
            }
        })
        .collect_view()
}
