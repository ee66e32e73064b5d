//! The chapters in the reader's language, fetched once, and what the reader has done. Shared by the path and every chapter's page. Progress
//! lives in the browser's storage alone.

use futures::future::try_join_all;
use hearth_shared::learn::CHAPTERS;
use hearth_shared::learn::chapter::Chapter;
use hearth_shared::learn::progress::Progress;
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use crate::app::client::{self, ClientError, storage};
use crate::app::i18n::{Locale, use_i18n};
use crate::app::store::Load;

const KEY: &str = "hearth.learning";

/// See the top of the file. Copies are handles to the same state.
#[derive(Clone, Copy)]
pub struct Course {
    /// In the order of [`CHAPTERS`].
    pub chapters: RwSignal<Load<Vec<Chapter>>>,
    pub progress: RwSignal<Progress>,
    /// Of the chapters that are there or on their way.
    language: StoredValue<Option<Locale>>,
}

pub fn provide() {
    provide_context(Course {
        chapters: RwSignal::new(Load::Waiting),
        progress: RwSignal::new(stored()),
        language: StoredValue::new(None),
    });
}

pub fn use_course() -> Course {
    expect_context::<Course>()
}

impl Course {
    /// Has the chapters fetched, now and whenever another language is chosen. What is there stays until the others are.
    pub fn keep_loaded(self) {
        let i18n = use_i18n();
        Effect::new(move |_| self.load(i18n.get_locale()));
    }

    /// After a failure.
    pub fn reload(self, locale: Locale) {
        self.language.set_value(None);
        self.load(locale);
    }

    fn load(self, locale: Locale) {
        let failed = self.chapters.with_untracked(|chapters| matches!(chapters, Load::Failed(_)));
        if !failed && self.language.get_value() == Some(locale) {
            return;
        }
        self.language.set_value(Some(locale));
        spawn_local(async move {
            let fetched = try_join_all(CHAPTERS.map(|name| fetch(locale, name))).await;
            // Another language may have been chosen meanwhile.
            if self.language.get_value() == Some(locale) {
                self.chapters.set(fetched.into());
            }
        });
    }

    /// Changes the progress, on top of what another tab may have stored.
    pub fn change(self, change: impl FnOnce(&mut Progress)) {
        let mut progress = self.progress.get_untracked();
        progress.merge(stored());
        change(&mut progress);
        self.replace(progress);
    }

    /// Puts another progress in its place, here and in the storage.
    pub fn replace(self, progress: Progress) {
        if let Some(storage) = storage() {
            // A full or forbidden storage only means that the progress ends with the tab.
            let _ = storage.set_item(KEY, &progress.to_file());
        }
        if self.progress.with_untracked(|now| *now != progress) {
            self.progress.set(progress);
        }
    }
}

fn stored() -> Progress {
    let text = storage().and_then(|storage| storage.get_item(KEY).ok().flatten());
    text.and_then(|text| Progress::from_file(&text).ok()).unwrap_or_default()
}

async fn fetch(locale: Locale, name: &str) -> Result<Chapter, ClientError> {
    let path = format!("/learn/{locale}/{name}.md");
    let text = client::get_text(&path).await?;
    Chapter::parse(&text).map_err(|error| ClientError::Garbled(format!("{path}: {error}")))
}
