//! Models from nothing: the list of runs, and the form that starts one. A run's page is that of every run.

mod new;
mod texts;

use hearth_shared::api::jobs::JobKind;
use leptos::prelude::*;

use super::components::icons::Icon;
use super::fine_tune::Runs;
use super::i18n::{t, use_i18n};
pub use new::NewModel;

#[component]
pub fn Pretrain() -> impl IntoView {
    let i18n = use_i18n();
    let empty = move || view! { <Empty/> }.into_any();
    view! {
        <div class="page">
            <header class="page-head">
                <div>
                    <h1>{t!(i18n, pretrain.title)}</h1>
                    <p>{t!(i18n, pretrain.lead)}</p>
                </div>
                <div class="head-actions">
                    <a class="button" href="/fine-tune/compare">
                        <Icon name="plan" size=18/>
                        {t!(i18n, tune.compare)}
                    </a>
                    <a class="button primary" href="/pretrain/new">
                        <Icon name="plus" size=18/>
                        {t!(i18n, pretrain.new)}
                    </a>
                </div>
            </header>
            <Runs kind=JobKind::Pretrain place="/pretrain" empty/>
        </div>
    }
}

#[component]
fn Empty() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <div class="empty">
            <Icon name="cube" size=40/>
            <h2>{t!(i18n, pretrain.empty_title)}</h2>
            <p>{t!(i18n, pretrain.empty_text)}</p>
            <a class="button primary" href="/pretrain/new">{t!(i18n, pretrain.empty_action)}</a>
        </div>
    }
}
