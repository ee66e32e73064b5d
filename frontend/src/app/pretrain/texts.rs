//! The texts that a new model reads: files that are listed, not read, so that their size does not matter to the tab.

use hearth_shared::spec::bytes_per_token;
use js_sys::Uint8Array;
use leptos::html::Input;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Blob, FileList, Response};

use crate::app::components::icons::Icon;
use crate::app::components::toast::use_toasts;
use crate::app::format;
use crate::app::i18n::{t, t_string, tu_string, use_i18n};
use crate::app::store::use_store;

/// Texts that come with the page: what hearth-nano never read.
const SAMPLE: &str = "heldout.jsonl";
/// Bytes of a file's head that are shown.
const HEAD: f64 = 600.0;

/// A file that was chosen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Listed {
    pub name: String,
    pub bytes: f64,
    /// How it begins.
    pub head: String,
}

/// The files, and what is shown of them.
#[derive(Clone, Copy)]
pub(super) struct Files {
    pub listed: RwSignal<Vec<Listed>>,
    blobs: StoredValue<Vec<Blob>, LocalStorage>,
}

impl Files {
    pub(super) fn new() -> Self {
        Self { listed: RwSignal::new(Vec::new()), blobs: StoredValue::new_local(Vec::new()) }
    }

    pub(super) fn bytes(self) -> f64 {
        self.listed.with(|listed| listed.iter().map(|file| file.bytes).sum())
    }

    /// With a vocabulary of so many. Guessed: nothing is read before the run.
    pub(super) fn tokens(self, vocab_size: u32) -> f64 {
        self.bytes() / bytes_per_token(u64::from(vocab_size))
    }

    /// Name and content of each.
    pub(super) fn all(self) -> Vec<(String, Blob)> {
        let names =
            self.listed.with_untracked(|listed| listed.iter().map(|file| file.name.clone()).collect::<Vec<_>>());
        names.into_iter().zip(self.blobs.get_value()).collect()
    }

    async fn add(self, name: String, blob: Blob) {
        let head = head_of(&blob).await.unwrap_or_default();
        // The cut may go through a character.
        let head = String::from_utf8_lossy(&head).trim_end_matches('\u{fffd}').to_owned();
        let listed = Listed { name, bytes: blob.size(), head };
        if self.listed.is_disposed() {
            return;
        }
        // The second of one name takes the first one's place.
        self.remove(&listed.name);
        self.blobs.update_value(|blobs| blobs.push(blob));
        self.listed.update(|all| all.push(listed));
    }

    fn remove(self, name: &str) {
        let at = self.listed.with_untracked(|listed| listed.iter().position(|file| file.name == name));
        if let Some(at) = at {
            self.blobs.update_value(|blobs| drop(blobs.remove(at)));
            self.listed.update(|listed| drop(listed.remove(at)));
        }
    }
}

#[component]
pub(super) fn ChooseTexts(
    files: Files,
    /// Tokens of the vocabulary.
    #[prop(into)]
    vocab_size: Signal<u32>,
) -> impl IntoView {
    let i18n = use_i18n();
    let toasts = use_toasts();
    let store = use_store();
    let over = RwSignal::new(false);
    let input: NodeRef<Input> = NodeRef::new();
    let take = move |list: Option<FileList>| {
        let most = store.system.with_untracked(|system| system.ready().map(|system| system.max_upload_bytes));
        for file in (0..list.as_ref().map_or(0, FileList::length)).filter_map(|at| list.as_ref()?.get(at)) {
            if most.is_some_and(|most| file.size() > most as f64) {
                let most = format::bytes(most.unwrap_or(0));
                toasts.bad(tu_string!(i18n, tune.too_large, most = most));
            } else {
                let name = file.name();
                spawn_local(files.add(name, file.unchecked_into()));
            }
        }
    };
    let sample = move |_| {
        spawn_local(async move {
            match sample().await {
                Some(blob) => files.add(SAMPLE.to_owned(), blob).await,
                None => toasts.bad(tu_string!(i18n, tune.unreadable, name = SAMPLE)),
            }
        });
    };
    let on_drop = move |event: web_sys::DragEvent| {
        event.prevent_default();
        over.set(false);
        take(event.data_transfer().and_then(|transfer| transfer.files()));
    };
    let none = move || files.listed.with(Vec::is_empty);
    view! {
        <div
            class="drop"
            class:over=move || over.get()
            class:filled=move || !none()
            on:dragover=move |event| {
                event.prevent_default();
                over.set(true);
            }
            on:dragleave=move |_| over.set(false)
            on:drop=on_drop
        >
            <Icon name="upload" size=28/>
            <div>
                <strong>{t!(i18n, pretrain.drop)}</strong>
                <p class="soft">{t!(i18n, pretrain.drop_formats)}</p>
            </div>
            <label class="button">
                <input
                    class="visually-hidden"
                    type="file"
                    multiple
                    accept=".txt,.md,.text,.jsonl,.ndjson"
                    node_ref=input
                    on:change=move |_| take(input.get_untracked().and_then(|input| input.files()))
                />
                {t!(i18n, tune.choose)}
            </label>
        </div>
        <Show when=none>
            <p class="samples">
                <span class="soft">{t!(i18n, tune.or_sample)}</span>
                <button type="button" class="button small" data-act="sample" on:click=sample>
                    {t!(i18n, pretrain.sample)}
                </button>
            </p>
        </Show>
        <ul class="texts">
            <For each=move || files.listed.get() key=|file| file.name.clone() let:file>
                <Text files file/>
            </For>
        </ul>
        <Show when=move || !none()>
            <p class="hint num">
                {move || {
                    let tokens = format::count(files.tokens(vocab_size.get()) as u64);
                    t_string!(i18n, pretrain.texts_sum, bytes = format::bytes(files.bytes() as u64), tokens = tokens)
                }}
            </p>
        </Show>
    }
}

#[component]
fn Text(files: Files, file: Listed) -> impl IntoView {
    let i18n = use_i18n();
    let Listed { name, bytes, head } = file;
    let gone = name.clone();
    view! {
        <li>
            <Icon name="file" size=18/>
            <details>
                <summary>
                    <strong>{name}</strong>
                    <span class="soft num">{format::bytes(bytes as u64)}</span>
                </summary>
                <pre>{head}</pre>
            </details>
            <button
                type="button"
                class="button quiet small"
                aria-label=move || t_string!(i18n, pretrain.remove)
                title=move || t_string!(i18n, pretrain.remove)
                on:click=move |_| files.remove(&gone)
            >
                <Icon name="close" size=16/>
            </button>
        </li>
    }
}

async fn head_of(blob: &Blob) -> Option<Vec<u8>> {
    let head = blob.slice_with_f64_and_f64(0.0, HEAD.min(blob.size())).ok()?;
    let buffer = JsFuture::from(head.array_buffer()).await.ok()?;
    Some(Uint8Array::new(&buffer).to_vec())
}

async fn sample() -> Option<Blob> {
    let response = JsFuture::from(window().fetch_with_str(&format!("/samples/{SAMPLE}"))).await.ok()?;
    let response: Response = response.dyn_into().ok()?;
    if !response.ok() {
        return None;
    }
    JsFuture::from(response.blob().ok()?).await.ok()?.dyn_into().ok()
}
