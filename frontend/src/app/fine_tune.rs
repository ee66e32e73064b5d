//! Fine-tuning: the list of runs, the form that starts one, and the page of a run.

mod checkpoints;
mod compare;
mod counted;
mod data;
mod download;
mod export;
mod feed;
mod launch;
mod list;
mod log_words;
mod names;
mod new;
mod options;
mod options_form;
mod preview;
mod report;
mod run;
mod run_charts;
mod run_parts;
mod settings;
mod trial;

pub use compare::Compare;
pub use data::{read_file, read_sample};
pub use launch::Launch;
pub use list::{FineTune, Runs};
pub use new::{NewRun, Step, upload};
pub use run::Run;

use hearth_shared::api::fine_tuning::{Job, JobStatus};
use leptos::prelude::*;
use leptos_i18n::I18nContext;

use super::i18n::{Locale, t_string, use_i18n};

/// Where fine-tunes are made.
pub const JOBS: &str = "/v1/fine_tuning/jobs";
/// Where jobs of every kind are followed.
const ALL_JOBS: &str = "/v1/jobs";

/// A status in words and colour.
#[component]
fn Status(#[prop(into)] status: Signal<JobStatus>) -> impl IntoView {
    let i18n = use_i18n();
    let tone = move || match status.get() {
        JobStatus::Succeeded => "badge good",
        JobStatus::Failed => "badge bad",
        JobStatus::Running => "badge ember",
        JobStatus::Paused => "badge warn",
        _ => "badge",
    };
    view! {
        <span class=tone>
            <Show when=move || status.get() == JobStatus::Running>
                <span class="spinner" aria-hidden="true"></span>
            </Show>
            {move || status_word(i18n, status.get())}
        </span>
    }
}

fn status_word(i18n: I18nContext<Locale>, status: JobStatus) -> &'static str {
    match status {
        JobStatus::ValidatingFiles => t_string!(i18n, tune.status_validating),
        JobStatus::Queued => t_string!(i18n, tune.status_queued),
        JobStatus::Running => t_string!(i18n, tune.status_running),
        JobStatus::Paused => t_string!(i18n, tune.status_paused),
        JobStatus::Succeeded => t_string!(i18n, tune.status_succeeded),
        JobStatus::Failed => t_string!(i18n, tune.status_failed),
        JobStatus::Cancelled => t_string!(i18n, tune.status_cancelled),
    }
}

/// A Unix time as the reader's clock shows it.
fn clock(seconds: i64, locale: Locale) -> String {
    let date = js_sys::Date::new(&wasm_bindgen::JsValue::from_f64(seconds as f64 * 1000.0));
    let tag = match locale {
        Locale::en => "en-GB",
        Locale::zh => "zh-CN",
    };
    let options = js_sys::Object::new();
    for (key, value) in [("dateStyle", "medium"), ("timeStyle", "short")] {
        let _ = js_sys::Reflect::set(&options, &key.into(), &value.into());
    }
    String::from(date.to_locale_string(tag, &options))
}

/// Where a run begins, in words: from a model, or from nothing.
fn origin(i18n: I18nContext<Locale>, job: &Job) -> String {
    match names::architecture(i18n, job) {
        Some((family, depth)) => t_string!(i18n, pretrain.origin, family = family, depth = depth),
        None => t_string!(i18n, tune.from_base, base = job.model.clone()),
    }
}
