//! One question before something is destroyed. The browser's own `<dialog>` keeps the focus inside and closes on Escape.

use leptos::html::Dialog as DialogElement;
use leptos::prelude::*;

use crate::app::i18n::{t, use_i18n};

/// What is asked.
#[derive(Clone)]
pub struct Question {
    pub title: String,
    pub text: String,
    /// The word on the button that does it.
    pub action: String,
    pub destroys: bool,
}

#[derive(Clone, Copy)]
pub struct Asker {
    asked: RwSignal<Option<(Question, Callback<()>)>>,
}

pub fn provide() {
    provide_context(Asker { asked: RwSignal::new(None) });
}

pub fn use_asker() -> Asker {
    expect_context::<Asker>()
}

impl Asker {
    /// Runs `yes` only if the person agrees.
    pub fn ask(self, question: Question, yes: impl Fn() + Send + Sync + 'static) {
        self.asked.set(Some((question, Callback::new(move |()| yes()))));
    }
}

#[component]
pub fn Dialogs() -> impl IntoView {
    let asker = use_asker();
    let i18n = use_i18n();
    let element: NodeRef<DialogElement> = NodeRef::new();
    Effect::new(move |_| {
        let open = asker.asked.with(Option::is_some);
        if let Some(dialog) = element.get() {
            if open && !dialog.open() {
                let _ = dialog.show_modal();
            } else if !open && dialog.open() {
                dialog.close();
            }
        }
    });
    let agree = move |_| {
        if let Some((_, yes)) = asker.asked.get_untracked() {
            yes.run(());
        }
        asker.asked.set(None);
    };
    let word = move |pick: fn(&Question) -> String| {
        move || asker.asked.with(|asked| asked.as_ref().map(|(question, _)| pick(question)))
    };
    let destroys = move || asker.asked.with(|asked| asked.as_ref().is_some_and(|(question, _)| question.destroys));
    view! {
        <dialog
            class="dialog"
            node_ref=element
            aria-labelledby="dialog-title"
            on:close=move |_| asker.asked.set(None)
        >
            <h2 id="dialog-title">{word(|question| question.title.clone())}</h2>
            <p>{word(|question| question.text.clone())}</p>
            <div class="dialog-actions">
                <button class="button" autofocus on:click=move |_| asker.asked.set(None)>
                    {t!(i18n, common.keep)}
                </button>
                <button
                    class="button"
                    class:danger=destroys
                    class:primary=move || !destroys()
                    on:click=agree
                >
                    {word(|question| question.action.clone())}
                </button>
            </div>
        </dialog>
    }
}
