//! What a reader does with the progress as a whole: takes it along as a file, brings it from another browser, or begins anew. Beginning anew
//! asks first, and can be undone.

use hearth_shared::learn::progress::{ImportError, Progress};
use leptos::html::Input;
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::File;

use super::course::use_course;
use crate::app::components::dialog::{Question, use_asker};
use crate::app::components::icons::Icon;
use crate::app::components::toast::{Toaster, use_toasts};
use crate::app::download;
use crate::app::fine_tune::read_file;
use crate::app::i18n::{I18nContext, Locale, t, tu_string, use_i18n};

const FILE: &str = "hearth-learning.json";
/// Bytes of a file that is read at all; what is in it is checked where it is taken apart.
const LARGEST: f64 = 1e6;

#[component]
pub fn Keep() -> impl IntoView {
    let i18n = use_i18n();
    let course = use_course();
    let toasts = use_toasts();
    let asker = use_asker();
    let input: NodeRef<Input> = NodeRef::new();
    let empty = Memo::new(move |_| course.progress.with(Progress::is_empty));
    let export = move |_| download::save_text(&course.progress.with_untracked(Progress::to_file), FILE);
    let import = move |_| {
        let Some(input) = input.get_untracked() else { return };
        let Some(file) = input.files().and_then(|files| files.get(0)) else { return };
        spawn_local(async move {
            match read(&file).await {
                Ok(progress) => {
                    course.change(|now| now.merge(progress));
                    toasts.good(tu_string!(i18n, learn.imported));
                }
                Err(error) => refuse(i18n, toasts, error),
            }
            // The same file may be chosen again.
            input.set_value("");
        });
    };
    let reset = move |_| {
        let question = Question {
            title: tu_string!(i18n, learn.reset_title).to_owned(),
            text: tu_string!(i18n, learn.reset_text).to_owned(),
            action: tu_string!(i18n, learn.reset).to_owned(),
            destroys: true,
        };
        asker.ask(question, move || {
            let before = course.progress.get_untracked();
            course.replace(Progress::default());
            toasts.offer(tu_string!(i18n, learn.reset_done), tu_string!(i18n, common.undo), move || {
                let before = before.clone();
                course.change(|now| now.merge(before));
            });
        });
    };
    view! {
        <div class="head-actions learn-keep">
            <button class="button small quiet" data-action="export" disabled=move || empty.get() on:click=export>
                <Icon name="download" size=16/>
                {t!(i18n, learn.export)}
            </button>
            <label class="button small quiet">
                <input
                    class="visually-hidden"
                    type="file"
                    accept=".json"
                    data-action="import"
                    node_ref=input
                    on:change=import
                />
                <Icon name="upload" size=16/>
                {t!(i18n, learn.import)}
            </label>
            <button class="button small quiet" data-action="reset" disabled=move || empty.get() on:click=reset>
                <Icon name="retry" size=16/>
                {t!(i18n, learn.reset)}
            </button>
        </div>
    }
}

async fn read(file: &File) -> Result<Progress, ImportError> {
    if file.size() > LARGEST {
        return Err(ImportError::TooLarge);
    }
    let bytes = read_file(file).await.map_err(|_| ImportError::Foreign)?;
    Progress::from_file(&String::from_utf8_lossy(&bytes))
}

fn refuse(i18n: I18nContext<Locale>, toasts: Toaster, error: ImportError) {
    toasts.bad(match error {
        ImportError::TooLarge => tu_string!(i18n, learn.import_too_large),
        ImportError::Foreign => tu_string!(i18n, learn.import_foreign),
        ImportError::Newer => tu_string!(i18n, learn.import_newer),
    });
}
