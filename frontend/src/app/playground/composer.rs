//! Where the prompt is written. Enter sends, Shift+Enter breaks the line, Escape stops; an input method's Enter is its own.

use leptos::html::Textarea;
use leptos::prelude::*;

use super::conversation::{Answer, Conversation};
use super::settings::Settings;
use crate::app::components::icons::Icon;
use crate::app::i18n::{t, t_string, use_i18n};

/// How near to the end the reader must be for the page to follow the text.
const FOLLOW_PX: f64 = 160.0;

#[component]
pub fn Composer(conversation: Conversation, settings: Settings) -> impl IntoView {
    let i18n = use_i18n();
    let text = RwSignal::new(String::new());
    let input: NodeRef<Textarea> = NodeRef::new();
    let busy = move || conversation.busy.get() > 0;
    let send = move || {
        if conversation.busy.get_untracked() > 0 {
            return;
        }
        let prompt = text.get_untracked().trim().to_owned();
        if !prompt.is_empty() {
            conversation.say(prompt, settings);
            text.set(String::new());
            request_animation_frame(scroll_to_end);
        }
    };
    let on_key = move |event: leptos::ev::KeyboardEvent| {
        if event.key() == "Enter" && !event.shift_key() && !event.is_composing() {
            event.prevent_default();
            send();
        } else if event.key() == "Escape" {
            conversation.stop();
        }
    };
    // The field is as tall as its text, up to a limit that the style sets.
    Effect::new(move |_| {
        text.track();
        if let Some(input) = input.get() {
            let style = web_sys::HtmlElement::style(&input);
            let _ = style.set_property("height", "auto");
            let _ = style.set_property("height", &format!("{}px", input.scroll_height() + 2));
        }
    });
    Effect::new(move |_| {
        let near = is_near_end();
        conversation.exchanges.with(|all| {
            for answer in all.last().iter().flat_map(|last| &last.answers) {
                answer.with(|answer: &Answer| answer.text.len());
            }
        });
        if near {
            request_animation_frame(scroll_to_end);
        }
    });
    view! {
        <form
            class="composer"
            on:submit=move |event| {
                event.prevent_default();
                send();
            }
        >
            <textarea
                class="composer-input"
                rows="1"
                node_ref=input
                placeholder=move || t_string!(i18n, playground.placeholder)
                aria-label=move || t_string!(i18n, playground.prompt)
                prop:value=text
                on:input=move |event| text.set(event_target_value(&event))
                on:keydown=on_key
            ></textarea>
            <Show
                when=busy
                fallback=move || {
                    view! {
                        <button
                            class="composer-button"
                            type="submit"
                            disabled=move || text.with(|text| text.trim().is_empty())
                            aria-label=move || t_string!(i18n, playground.send)
                        >
                            <Icon name="send"/>
                        </button>
                    }
                }
            >
                <button
                    class="composer-button stop"
                    type="button"
                    aria-label=move || t_string!(i18n, playground.stop)
                    on:click=move |_| conversation.stop()
                >
                    <Icon name="stop"/>
                </button>
            </Show>
            <p class="composer-hint hint">{t!(i18n, playground.keys)}</p>
        </form>
    }
}

fn is_near_end() -> bool {
    let height = document().document_element().map_or(0, |root| root.scroll_height());
    let seen = window().scroll_y().unwrap_or(0.0)
        + window().inner_height().ok().and_then(|height| height.as_f64()).unwrap_or(0.0);
    f64::from(height) - seen < FOLLOW_PX
}

fn scroll_to_end() {
    if let Some(root) = document().document_element() {
        window().scroll_to_with_x_and_y(0.0, f64::from(root.scroll_height()));
    }
}
