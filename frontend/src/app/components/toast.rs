//! Short messages at the edge of the page: they go by themselves, and may carry one action, mostly "undo".

use std::sync::Arc;

use gloo::timers::future::TimeoutFuture;
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::icons::Icon;
use crate::app::i18n::{t_string, use_i18n};

/// How long a message stays; longer where there is something to press.
const STAY_MS: u32 = 5_000;
const STAY_WITH_ACTION_MS: u32 = 9_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Bad,
}

/// A button's label and what it does. Nobody's scope holds it: what offered it may be gone when it is pressed.
type Action = (String, Arc<dyn Fn() + Send + Sync>);

#[derive(Clone)]
struct Toast {
    id: u64,
    tone: Tone,
    text: String,
    action: Option<Action>,
}

#[derive(Clone, Copy)]
pub struct Toaster {
    shown: RwSignal<Vec<Toast>>,
    next: StoredValue<u64>,
}

pub fn provide() {
    provide_context(Toaster { shown: RwSignal::new(Vec::new()), next: StoredValue::new(0) });
}

pub fn use_toasts() -> Toaster {
    expect_context::<Toaster>()
}

impl Toaster {
    pub fn say(self, text: impl Into<String>) {
        self.push(Tone::Plain, text.into(), None);
    }

    pub fn good(self, text: impl Into<String>) {
        self.push(Tone::Good, text.into(), None);
    }

    pub fn bad(self, text: impl Into<String>) {
        self.push(Tone::Bad, text.into(), None);
    }

    /// A message with one button.
    pub fn offer(self, text: impl Into<String>, label: impl Into<String>, action: impl Fn() + Send + Sync + 'static) {
        self.push(Tone::Plain, text.into(), Some((label.into(), Arc::new(action))));
    }

    fn push(self, tone: Tone, text: String, action: Option<Action>) {
        let id = self.next.get_value();
        self.next.set_value(id + 1);
        let stay = if action.is_some() { STAY_WITH_ACTION_MS } else { STAY_MS };
        self.shown.update(|shown| shown.push(Toast { id, tone, text, action }));
        spawn_local(async move {
            TimeoutFuture::new(stay).await;
            self.remove(id);
        });
    }

    fn remove(self, id: u64) {
        self.shown.update(|shown| shown.retain(|toast| toast.id != id));
    }
}

#[component]
pub fn Toasts() -> impl IntoView {
    let toaster = use_toasts();
    let i18n = use_i18n();
    let close = move || t_string!(i18n, common.close).to_owned();
    view! {
        <div class="toasts" role="status" aria-live="polite">
            <For each=move || toaster.shown.get() key=|toast| toast.id let:toast>
                <div
                    class="toast"
                    class:good=toast.tone == Tone::Good
                    class:bad=toast.tone == Tone::Bad
                >
                    <span>{toast.text.clone()}</span>
                    {toast
                        .action
                        .clone()
                        .map(|(label, action)| {
                            view! {
                                <button
                                    class="toast-action"
                                    on:click=move |_| {
                                        action();
                                        toaster.remove(toast.id);
                                    }
                                >
                                    {label}
                                </button>
                            }
                        })}
                    <button
                        class="icon-button small"
                        aria-label=close
                        on:click=move |_| toaster.remove(toast.id)
                    >
                        <Icon name="close" size=14/>
                    </button>
                </div>
            </For>
        </div>
    }
}
