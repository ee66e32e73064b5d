//! What the model will see: one example at a time, with what is trained apart from what is masked.

use hearth_shared::lab::Piece;
use hearth_shared::text::{Example, Message, Role};
use leptos::prelude::*;

use super::data::DataSet;
use crate::app::components::icons::Icon;
use crate::app::i18n::{t, t_string, use_i18n};

#[component]
pub fn Preview(#[prop(into)] data: Signal<Option<DataSet>>) -> impl IntoView {
    let i18n = use_i18n();
    let index = RwSignal::new(0_usize);
    let count = Memo::new(move |_| data.with(|data| data.as_ref().map_or(0, |data| data.examples.len())));
    let now = Memo::new(move |_| {
        let index = index.get().min(count.get().saturating_sub(1));
        data.with(|data| {
            let data = data.as_ref()?;
            let (row, example) = data.examples.get(index)?.clone();
            Some((row, example, data.pieces.get(index).cloned().unwrap_or_default()))
        })
    });
    let step = move |by: isize| {
        let last = count.get_untracked().saturating_sub(1);
        index.update(|index| *index = index.saturating_add_signed(by).min(last));
    };
    let any = move || count.get() > 0;
    let pairs = move || now.with(|now| matches!(now, Some((_, Example::Preference { .. }, _))));
    let at_end = move || index.get() + 1 >= count.get();
    view! {
        <Show when=any>
            <div class="preview">
                <header class="preview-head">
                    <h3>{t!(i18n, tune.preview)}</h3>
                    <div class="preview-pager num">
                        <button
                            class="icon-button small"
                            aria-label=move || t_string!(i18n, tune.previous)
                            disabled=move || index.get() == 0
                            on:click=move |_| step(-1)
                        >
                            <Icon name="back" size=16/>
                        </button>
                        {move || {
                            let row = now.with(|now| now.as_ref().map_or(0, |now| now.0));
                            t_string!(i18n, tune.row_number, row = row)
                        }}
                        <button
                            class="icon-button small"
                            aria-label=move || t_string!(i18n, tune.next)
                            disabled=at_end
                            on:click=move |_| step(1)
                        >
                            <Icon name="arrow" size=16/>
                        </button>
                    </div>
                </header>
                <div class="preview-body">
                    {move || {
                        now.get()
                            .map(|(_, example, pieces)| {
                                if pieces.is_empty() {
                                    view! { <Turns example/> }.into_any()
                                } else {
                                    view! { <Pieces pieces/> }.into_any()
                                }
                            })
                    }}
                </div>
                <div class="chart-legend">
                    <span class="chart-key" style="--key: var(--ember)">{t!(i18n, tune.is_trained)}</span>
                    <Show when=pairs>
                        <span class="chart-key" style="--key: var(--data-2)">{t!(i18n, tune.is_unlearned)}</span>
                    </Show>
                    <span class="chart-key" style="--key: var(--line-strong)">{t!(i18n, tune.is_masked)}</span>
                </div>
            </div>
        </Show>
    }
}

/// The example as the model's template writes it, cut at the very token where training begins and ends.
#[component]
fn Pieces(pieces: Vec<Piece>) -> impl IntoView {
    let i18n = use_i18n();
    let total: u32 = pieces.iter().map(|piece| piece.tokens).sum();
    let trained: u32 = pieces.iter().filter(|piece| piece.trained).map(|piece| piece.tokens).sum();
    let spans = pieces
        .into_iter()
        .map(|piece| {
            let state = move || match piece.trained {
                true => t_string!(i18n, tune.trained),
                false => t_string!(i18n, tune.masked),
            };
            let title = move || format!("{} · {}", state(), piece.tokens);
            view! { <span class="piece" class:trained=piece.trained title=title>{piece.text}</span> }
        })
        .collect_view();
    view! {
        <p class="pieces mono" data-trained=trained.to_string()>{spans}</p>
        <p class="hint num">{move || t_string!(i18n, tune.piece_count, trained = trained, total = total)}</p>
    }
}

/// The turns of an example whose tokens nobody has cut yet.
#[component]
fn Turns(example: Example) -> impl IntoView {
    let i18n = use_i18n();
    match example {
        Example::Text(text) => view! { <p class="turn trained">{text}</p> }.into_any(),
        Example::Chat(messages) => {
            messages.into_iter().map(|message| view! { <Turn message/> }).collect_view().into_any()
        }
        Example::Preference { preferred, rejected } => {
            let prompt = preferred.iter().zip(&rejected).take_while(|(a, b)| a == b).count();
            let turns = |messages: &[Message], rejected: bool| {
                messages.iter().cloned().map(|message| view! { <Turn message rejected/> }).collect_view()
            };
            view! {
                {turns(&preferred[..prompt], false)}
                <div class="pair">
                    <section class="pair-side preferred">
                        <h4>{t!(i18n, tune.preferred)}</h4>
                        {turns(&preferred[prompt..], false)}
                    </section>
                    <section class="pair-side">
                        <h4>{t!(i18n, tune.rejected)}</h4>
                        {turns(&rejected[prompt..], true)}
                    </section>
                </div>
            }
            .into_any()
        }
    }
}

#[component]
fn Turn(
    message: Message,
    /// Of the answer that the model learns to leave.
    #[prop(optional)]
    rejected: bool,
) -> impl IntoView {
    let i18n = use_i18n();
    let role = message.role;
    let name = move || match role {
        Role::System => t_string!(i18n, tune.role_system),
        Role::User => t_string!(i18n, tune.role_user),
        Role::Assistant => t_string!(i18n, tune.role_assistant),
        Role::Tool => t_string!(i18n, tune.role_tool),
    };
    let trained = message.is_trained();
    // Said in words too: colour alone tells some readers nothing.
    let state = move || match (trained, rejected) {
        (true, true) => t_string!(i18n, tune.unlearned),
        (true, false) => t_string!(i18n, tune.trained),
        (false, _) => t_string!(i18n, tune.masked),
    };
    let (learned, left) = (trained && !rejected, trained && rejected);
    view! {
        <div class="turn" class:trained=learned class:unlearned=left>
            <span class="turn-role">{name} <small>{state}</small></span>
            <p>{message.content}</p>
        </div>
    }
}
