//! The foot of a form that starts a run: what will happen, and the button. The run's page follows.

use hearth_shared::api::fine_tuning::Job;
use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::use_navigate;
use wasm_bindgen_futures::spawn_local;

use crate::app::client::ClientError;
use crate::app::components::icons::Icon;
use crate::app::i18n::{t, use_i18n};

#[component]
pub fn Launch<F, A>(
    /// Where the pages of such runs are.
    place: &'static str,
    icon: &'static str,
    /// What will happen, or what is missing.
    #[prop(into)]
    line: Signal<String>,
    #[prop(into)] ready: Signal<bool>,
    error: RwSignal<Option<String>>,
    /// Uploads and makes the job.
    make: F,
) -> impl IntoView
where
    F: Fn() -> A + Send + Sync + 'static,
    A: Future<Output = Result<Job, ClientError>> + 'static,
{
    let i18n = use_i18n();
    let navigate = use_navigate();
    let sending = RwSignal::new(false);
    let start = move |_| {
        let (navigate, made) = (navigate.clone(), make());
        sending.set(true);
        error.set(None);
        spawn_local(async move {
            match made.await {
                Ok(job) => navigate(&format!("{place}/{}", job.id), NavigateOptions::default()),
                Err(fault) => {
                    let _ = error.try_set(Some(fault.to_string()));
                }
            }
            let _ = sending.try_set(false);
        });
    };
    view! {
        <footer class="launch">
            <p class="num">{line}</p>
            <button
                class="button primary"
                data-act="start"
                disabled=move || !ready.get() || sending.get()
                on:click=start
            >
                {move || {
                    if sending.get() {
                        view! { <span class="spinner" aria-hidden="true"></span> }.into_any()
                    } else {
                        view! { <Icon name=icon size=18/> }.into_any()
                    }
                }}
                {t!(i18n, tune.start)}
            </button>
            {move || {
                error.get().map(|error| view! { <p class="launch-error" role="alert"><Icon name="warn" size=18/> {error}</p> })
            }}
        </footer>
    }
}
