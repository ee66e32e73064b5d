//! What a person sets in the tokenizer lab: the text, the vocabularies, how control tokens are read; and what is done with the
//! whole: a link, a file, the beginning.

use leptos::prelude::*;

use super::address::fits;
use super::bring::Bring;
use super::export;
use super::session::{kept, use_session};
use crate::app::components::field::CheckField;
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::lab::examples::{Example, Examples};
use crate::app::lab::prompt::Prompt;
use crate::app::lab::share::Share;

/// Texts that show what vocabularies do differently. The first two are what the page begins with.
pub const EXAMPLES: [Example; 9] = [
    ("en", "A tokenizer cuts text into tokens. 分词器把文字切成词元。 1234567 naïve 👩‍🚀"),
    ("zh", "分词器把文字切成词元。A tokenizer cuts text into tokens. 1234567 龘 👩‍🚀"),
    ("en", "Unbelievably, the antidisestablishmentarianists tokenized everything."),
    ("zh", "床前明月光，疑是地上霜。举头望明月，低头思故乡。"),
    ("en", "fn main() {\n    let xs: Vec<u32> = (0..10).map(|i| i * i).collect();\n\tprintln!(\"{xs:?}\");\n}"),
    ("en", "👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇨🇳 é e\u{301}"),
    ("ar", "يقطع المُرمِّز النص إلى رموز، من اليمين إلى اليسار."),
    ("en", "0 12 123 1234 12345 3.14159 1,234,567 2026-11-26 −40 °C"),
    ("en", "one space  two   three\n\n\n\tTab, then  \n end   "),
];

#[component]
pub fn Controls() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let cut = move |(whole, kept)| t_string!(i18n, words.cut_text, whole = whole, kept = kept);
    let missing = move |()| {
        let too_long = session.text.with(|text| !fits(text));
        let words = match (too_long, session.shows_lesson()) {
            (true, true) => t_string!(i18n, words.copied_without_both),
            (true, false) => t_string!(i18n, words.copied_without_text),
            (false, true) => t_string!(i18n, words.copied_without_learned),
            (false, false) => return None,
        };
        Some(words.to_owned())
    };
    view! {
        <section class="lab-controls words-controls card">
            <div class="lab-text">
                <Prompt
                    id="lab-text"
                    rows="4"
                    label=Signal::derive(move || t_string!(i18n, words.text_label).to_owned())
                    text=session.text
                    keep=kept
                    cut=Callback::new(cut)
                />
                <Examples examples=&EXAMPLES choose=move |text: &str| session.write(text)/>
            </div>
            <div class="lab-settings">
                <Vocabularies/>
                <CheckField
                    label=Signal::derive(move || t_string!(i18n, words.special).to_owned())
                    hint=Signal::derive(move || t_string!(i18n, words.special_hint).to_owned())
                    value=session.special
                    name="special"
                />
            </div>
            <div class="lab-line">
                <Lengths/>
                <Share
                    place="/lab/tokenizer"
                    pairs=move |()| session.link().pairs()
                    name="hearth-tokens"
                    export=move |()| serde_json::to_string_pretty(&export::state(session)).ok()
                    reset=move |()| session.reset()
                    missing=Callback::new(missing)
                    rehearsal=session.rehearsal
                />
            </div>
        </section>
    }
}

/// Every model of the server has a vocabulary; those from files and the learned ones stand beside them.
#[component]
fn Vocabularies() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let names = Memo::new(move |_| {
        let mut models = session.store.models.get().into_ready().unwrap_or_default();
        let listed: Vec<String> = models.iter().map(|model| model.id.clone()).collect();
        session.store.unlisted.with(|all| {
            models.extend(all.iter().filter(|model| !listed.contains(&model.id)).cloned());
        });
        let has_words = |name: &str| name == "tokenizer.json" || name.to_lowercase().ends_with(".gguf");
        let models = models
            .into_iter()
            .filter(|model| model.hearth.files.iter().any(|file| has_words(&file.name)))
            .map(|model| model.id);
        let brought = session.brought.with(|all| all.iter().map(|model| model.id.clone()).collect::<Vec<_>>());
        let lessons = session.lessons.with(|all| all.iter().map(|lesson| lesson.name.clone()).collect::<Vec<_>>());
        models.chain(brought).chain(lessons).collect::<Vec<String>>()
    });
    view! {
        <fieldset class="words-vocabularies">
            <legend class="field-label">{t!(i18n, words.vocabularies)}</legend>
            <div class="words-choices">
                <For each=move || names.get() key=Clone::clone let:name>
                    <Choice name=name/>
                </For>
            </div>
            <p class="hint">
                {move || {
                    if names.with(Vec::len) < 2 {
                        t_string!(i18n, words.only_one)
                    } else {
                        t_string!(i18n, words.vocabularies_hint)
                    }
                }}
            </p>
            <Bring/>
        </fieldset>
    }
}

#[component]
fn Choice(name: String) -> impl IntoView {
    let session = use_session();
    let shown = name.clone();
    let toggled = name.clone();
    let is_chosen = move || session.chosen.with(|chosen| chosen.contains(&name));
    view! {
        <label class="words-choice">
            <input
                type="checkbox"
                name="vocabulary"
                value=shown.clone()
                prop:checked=is_chosen
                on:change=move |_| session.toggle(&toggled)
            />
            <span>{shown}</span>
        </label>
    }
}

#[component]
fn Lengths() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let words = move || {
        let length = session.length.get();
        t_string!(
            i18n,
            words.lengths,
            characters = format::group(length.characters),
            bytes = format::group(length.bytes)
        )
    };
    let computing = move || session.state() == "computing";
    view! {
        <span class="hint num words-lengths" aria-live="polite">
            {words}
        </span>
        <Show when=computing>
            <span class="badge">
                <span class="spinner" aria-hidden="true"></span>
                {t!(i18n, lab.computing)}
            </span>
        </Show>
    }
}
