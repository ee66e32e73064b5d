//! The lab in its frame, and what it publishes there: read as long as the frame stands, because the page inside is of the same origin.

use gloo::timers::callback::Interval;
use hearth_shared::learn::exercise::Exercise;
use js_sys::{JSON, Reflect};
use leptos::html::Iframe;
use leptos::prelude::*;
use wasm_bindgen::JsValue;
use web_sys::HtmlIFrameElement;

use super::exercise::Marks;
use super::markdown::FRAME;
use crate::app::components::icons::Icon;
use crate::app::embed;
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::theme::use_theme;

/// The lab is looked at so often.
const POLL_MS: u32 = 400;

/// What was seen of the state that exercises judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub json: String,
    /// What the chapter began with, before the reader did anything.
    pub begun: String,
}

#[component]
pub fn LabFrame(
    /// Its address.
    lab: String,
    /// Of the chapter; they all look at this lab.
    exercises: Vec<&'static Exercise>,
    seen: RwSignal<Option<Seen>>,
    frame: NodeRef<Iframe>,
) -> impl IntoView {
    let i18n = use_i18n();
    let theme = use_theme();
    if let Some(key) = exercises.first().and_then(|exercise| exercise.watched.published()) {
        watch(frame, key, seen);
    }
    Effect::new(move |_| {
        let (locale, theme) = (i18n.get_locale(), theme.get());
        if let Some(frame) = frame.get() {
            embed::tell(&frame, locale, theme);
        }
    });
    view! {
        <aside class="learn-lab" aria-label=move || t_string!(i18n, learn.lab)>
            <iframe
                node_ref=frame
                name=FRAME
                title=move || t_string!(i18n, learn.lab)
                src=embed::framed(&lab)
                data-frame=move || seen.with(Option::is_some).then_some("ready")
            ></iframe>
            <div class="learn-foot">
                <Marks exercises/>
                <a class="learn-alone hint" href=lab target="_blank" rel="noopener">
                    <Icon name="columns" size=14/>
                    {t!(i18n, learn.lab_alone)}
                </a>
            </div>
        </aside>
    }
}

/// Looks at what the lab publishes until the component is gone. The first state there is what the chapter began with.
fn watch(frame: NodeRef<Iframe>, key: &'static str, seen: RwSignal<Option<Seen>>) {
    let last = StoredValue::new_local(JsValue::UNDEFINED);
    let first = StoredValue::new(None::<String>);
    let look = move || {
        let Some(state) = frame.get_untracked().and_then(|frame| published(&frame, key)) else {
            return;
        };
        // A lab publishes a new object whenever something changed.
        if last.with_value(|last| *last == state) {
            return;
        }
        let Some(json) = JSON::stringify(&state).ok().map(String::from) else {
            return;
        };
        last.set_value(state);
        let begun = first.get_value().unwrap_or_else(|| json.clone());
        first.set_value(Some(begun.clone()));
        seen.set(Some(Seen { json, begun }));
    };
    let timer = StoredValue::new_local(Some(Interval::new(POLL_MS, look)));
    on_cleanup(move || drop(timer.try_update_value(Option::take)));
}

/// What stands under a name on `window.__hearth` of the page inside, while its lab is at rest.
fn published(frame: &HtmlIFrameElement, key: &str) -> Option<JsValue> {
    let lab = frame.content_document()?.query_selector("[data-lab]").ok()??;
    let word = |name: &str| lab.get_attribute(name);
    // The sampling lab draws its runs after the rest is ready.
    let draws = matches!(word("data-runs").as_deref(), Some("idle" | "running"));
    if draws || word("data-lab").as_deref() != Some("ready") {
        return None;
    }
    let window: JsValue = frame.content_window()?.into();
    let root = Reflect::get(&window, &"__hearth".into()).ok().filter(JsValue::is_object)?;
    Reflect::get(&root, &key.into()).ok().filter(JsValue::is_object)
}
