//! Parts that every page uses. They know no page and no server.

pub mod chart;
pub mod dialog;
pub mod field;
pub mod icons;
pub mod split;
pub mod toast;
pub mod tour;

use leptos::prelude::*;

use super::client::ClientError;
use super::i18n::{t, use_i18n};
use icons::Icon;

/// Calls `work` when the page shows what signals changed: effects run before attributes that follow the same signals are set, and even a frame
/// may come between.
pub fn after_drawing(work: impl FnOnce() + 'static) {
    request_animation_frame(move || request_animation_frame(work));
}

/// A failed load: what happened, and a way to try again.
#[component]
pub fn Failure(#[prop(into)] error: Signal<ClientError>, #[prop(into)] retry: Callback<()>) -> impl IntoView {
    let i18n = use_i18n();
    let unreachable = move || error.with(|error| *error == ClientError::Unreachable);
    view! {
        <div class="notice bad" role="alert">
            <Icon name="warn"/>
            <div>
                <strong>
                    {move || {
                        if unreachable() {
                            t!(i18n, common.unreachable_title).into_any()
                        } else {
                            t!(i18n, common.failed_title).into_any()
                        }
                    }}
                </strong>
                <p>
                    {move || {
                        if unreachable() {
                            t!(i18n, common.unreachable_text).into_any()
                        } else {
                            error.get().to_string().into_any()
                        }
                    }}
                </p>
            </div>
            <Retry retry/>
        </div>
    }
}

/// Tries again what failed.
#[component]
pub fn Retry(#[prop(into)] retry: Callback<()>) -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <button class="button small" on:click=move |_| retry.run(())>
            <Icon name="retry" size=16/>
            {t!(i18n, common.retry)}
        </button>
    }
}

/// A bar that fills, or sweeps where the whole is unknown.
#[component]
pub fn Progress(
    /// 0 to 1; none where the whole is unknown.
    #[prop(into)]
    value: Signal<Option<f64>>,
    #[prop(into)] label: Signal<String>,
) -> impl IntoView {
    let percent = move || value.get().map(|value| (value * 100.0).clamp(0.0, 100.0));
    view! {
        <div
            class="progress"
            class:unknown=move || value.get().is_none()
            role="progressbar"
            aria-label=label
            aria-valuemin="0"
            aria-valuemax="100"
            aria-valuenow=move || percent().map(|percent| format!("{percent:.0}"))
        >
            <div
                class="progress-fill"
                style:width=move || percent().map(|percent| format!("{percent:.2}%"))
            ></div>
        </div>
    }
}

/// Grey lines where text will be.
#[component]
pub fn Skeleton(#[prop(default = 3)] lines: usize) -> impl IntoView {
    view! {
        <div class="skeleton" aria-hidden="true">
            {(0..lines).map(|_| view! { <span></span> }).collect_view()}
        </div>
    }
}
