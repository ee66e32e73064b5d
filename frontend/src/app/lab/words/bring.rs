//! A vocabulary from a file: a model's `tokenizer.json` without the model. The worker fetches it by the address of its bytes, as it fetches
//! a model's from the server, so that it does not travel with every question. It ends with the lab.

use std::collections::BTreeMap;

use hearth_shared::lab::{LabFile, LabModel};
use leptos::html::Input;
use leptos::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;
use wasm_bindgen_futures::spawn_local;
use web_sys::{File, Url};

use super::session::use_session;
use crate::app::components::icons::Icon;
use crate::app::components::toast::use_toasts;
use crate::app::fine_tune::read_file;
use crate::app::format;
use crate::app::i18n::{t, tu_string, use_i18n};

/// What the file is called in every model's folder.
const JSON: &str = "tokenizer.json";
/// Bytes of a file that is taken. What is larger the worker would put into the browser's storage, where nobody would take it away.
const LARGEST: u32 = 16 << 20;
/// Characters of a name.
const LONGEST_NAME: usize = 40;

/// Why a file was not taken.
enum Refused {
    TooLarge,
    Foreign,
    /// There is no token in it.
    Empty,
}

/// A file as far as it is looked at here.
#[derive(Deserialize)]
struct Whole {
    model: Inside,
}

#[derive(Deserialize)]
struct Inside {
    vocab: Entries,
}

/// Tokens with their ids, or in the order of their ids with what they cost.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entries {
    Ids(BTreeMap<String, IgnoredAny>),
    Costs(Vec<IgnoredAny>),
}

/// A button for a file, and where such files are to be had.
#[component]
pub fn Bring() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let toasts = use_toasts();
    let input: NodeRef<Input> = NodeRef::new();
    let take = move |_| {
        let Some(input) = input.get_untracked() else { return };
        let Some(file) = input.files().and_then(|files| files.get(0)) else { return };
        spawn_local(async move {
            let name = file.name();
            match read(&file).await {
                Ok(model) => session.bring(LabModel { id: stem(&name), ..model }),
                Err(Refused::TooLarge) => {
                    let most = format::bytes(u64::from(LARGEST));
                    toasts.bad(tu_string!(i18n, words.file_too_large, most = most));
                }
                Err(Refused::Empty) => toasts.bad(tu_string!(i18n, words.file_empty, name = name)),
                Err(Refused::Foreign) => toasts.bad(tu_string!(i18n, words.file_foreign, name = name)),
            }
            // The same file may be chosen again.
            input.set_value("");
        });
    };
    on_cleanup(move || {
        for model in session.brought.try_get_untracked().unwrap_or_default() {
            let _ = Url::revoke_object_url(model.base.trim_end_matches('#'));
        }
    });
    view! {
        <div class="words-bring">
            <label class="button small">
                <input
                    class="visually-hidden"
                    type="file"
                    accept=".json"
                    data-action="bring"
                    aria-describedby="words-bring-hint"
                    node_ref=input
                    on:change=take
                />
                <Icon name="upload" size=16/>
                {t!(i18n, words.from_file)}
            </label>
            <p id="words-bring-hint" class="hint">
                {t!(i18n, words.from_file_hint)}
            </p>
        </div>
    }
}

/// The file as a model of which nothing else is there.
async fn read(file: &File) -> Result<LabModel, Refused> {
    if file.size() > f64::from(LARGEST) {
        return Err(Refused::TooLarge);
    }
    let bytes = read_file(file).await.map_err(|_| Refused::Foreign)?;
    if !is_tokenizer(&bytes) {
        return Err(Refused::Foreign);
    }
    if is_empty(&bytes) {
        return Err(Refused::Empty);
    }
    let url = Url::create_object_url_with_blob(file).map_err(|_| Refused::Foreign)?;
    Ok(LabModel {
        id: String::new(),
        // No two files have one address.
        hash: url.rsplit('/').next().unwrap_or_default().to_owned(),
        // Behind the mark the name of a file says nothing: there is only this one.
        base: format!("{url}#"),
        key: None,
        parameters: 0,
        files: vec![LabFile { name: JSON.to_owned(), bytes: bytes.len() as u64, place: None }],
    })
}

/// Whether the worker should look at it at all; what is wrong inside, its tokenizer says.
fn is_tokenizer(bytes: &[u8]) -> bool {
    let fields: Result<BTreeMap<String, IgnoredAny>, _> = serde_json::from_slice(bytes);
    fields.is_ok_and(|fields| fields.contains_key("model"))
}

/// Whether its vocabulary is there and has nothing in it: every text would have no tokens.
fn is_empty(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Whole>(bytes).is_ok_and(|file| match file.model.vocab {
        Entries::Ids(ids) => ids.is_empty(),
        Entries::Costs(costs) => costs.is_empty(),
    })
}

/// What the vocabulary of a file is called.
fn stem(file: &str) -> String {
    let stem = file.strip_suffix(".json").filter(|stem| !stem.is_empty()).unwrap_or(file);
    stem.chars().take(LONGEST_NAME).collect()
}

/// `name`, or with a number behind it: one that is not taken.
pub fn free(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let others = (2_u32..).map(|number| format!("{name} ({number})"));
    std::iter::once(name.to_owned()).chain(others).find(|name| !taken(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokenizer_is_told_from_other_files() {
        assert!(is_tokenizer(br#"{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}"#));
        for other in [&b"{}"[..], b"", b"[1]", b"\xff\x00", br#"{"hidden_size": 128}"#, br#"{"model": "#] {
            assert!(!is_tokenizer(other), "{other:?}");
        }
    }

    #[test]
    fn a_vocabulary_without_tokens_is_told_from_others() {
        for empty in [&br#"{"model": {"type": "BPE", "vocab": {}, "merges": []}}"#[..], br#"{"model": {"vocab": []}}"#]
        {
            assert!(is_empty(empty), "{empty:?}");
        }
        let others = [
            &br#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}"#[..],
            br#"{"model": {"type": "Unigram", "vocab": [["a", -1.5]]}}"#,
            // What is wrong here, its tokenizer says.
            br#"{"model": {"type": "BPE"}}"#,
            br#"{"model": null}"#,
        ];
        for other in others {
            assert!(!is_empty(other), "{other:?}");
        }
    }

    #[test]
    fn a_file_gets_a_name_that_no_other_has() {
        assert_eq!((stem("qwen3.json"), stem(".json")), ("qwen3".to_owned(), ".json".to_owned()));
        assert_eq!(stem("字.txt"), "字.txt");
        assert_eq!(stem(&"x".repeat(100)).len(), LONGEST_NAME);
        let known = ["tokenizer", "tokenizer (2)"];
        assert_eq!(free("tokenizer", |name| known.contains(&name)), "tokenizer (3)");
        assert_eq!(free("gpt2", |name| known.contains(&name)), "gpt2");
    }
}
