//! The root of the page: what every part shares (language, theme, server state, toasts), and which address shows what.

pub mod address;
pub mod client;
pub mod components;
mod download;
mod embed;
pub mod fine_tune;
pub mod format;
pub mod home;
pub mod i18n;
pub mod lab;
pub mod learn;
mod place;
pub mod planner;
pub mod playground;
pub mod pretrain;
pub mod release;
mod shell;
pub mod store;
pub mod theme;

use leptos::prelude::*;
use leptos_router::components::{Route, Router, Routes};
use leptos_router::path;

use components::{dialog, toast};
use i18n::{I18nContextProvider, language_cookie, t, use_i18n};

/// Mounts the page and takes the boot screen of `index.html` away.
pub fn start() {
    release::watch_for_crashes();
    mount_to_body(App);
    if let Some(boot) = document().get_element_by_id("boot") {
        boot.remove();
    }
}

#[component]
fn App() -> impl IntoView {
    view! {
        <I18nContextProvider cookie_options=language_cookie()>
            <Page/>
        </I18nContextProvider>
    }
}

/// Inside the language context, so that everything below may translate.
#[component]
fn Page() -> impl IntoView {
    theme::provide();
    toast::provide();
    dialog::provide();
    store::provide();
    playground::provide();
    learn::provide();
    embed::provide();
    release::provide();
    view! {
        <Router>
            <shell::Shell>
                <Routes fallback=NotFound>
                    <Route path=path!("/") view=home::Home/>
                    <Route path=path!("/lab") view=place::attention/>
                    <Route path=path!("/lab/attention") view=place::attention/>
                    <Route path=path!("/lab/position") view=place::position/>
                    <Route path=path!("/lab/cache") view=place::cache/>
                    <Route path=path!("/lab/sampling") view=place::sampling/>
                    <Route path=path!("/lab/tokenizer") view=place::tokenizer/>
                    <Route path=path!("/lab/quantization") view=place::quantization/>
                    <Route path=path!("/learn") view=place::chapters/>
                    <Route path=path!("/learn/:chapter") view=place::reading/>
                    <Route path=path!("/playground") view=place::talk/>
                    <Route path=path!("/planner") view=place::plan/>
                    <Route path=path!("/fine-tune") view=place::runs/>
                    <Route path=path!("/fine-tune/new") view=place::new_run/>
                    <Route path=path!("/fine-tune/compare") view=place::compare/>
                    <Route path=path!("/fine-tune/:run") view=place::run/>
                    <Route path=path!("/pretrain") view=place::models/>
                    <Route path=path!("/pretrain/new") view=place::new_model/>
                    <Route path=path!("/pretrain/:run") view=place::run/>
                </Routes>
            </shell::Shell>
        </Router>
        <toast::Toasts/>
        <dialog::Dialogs/>
    }
}

#[component]
fn NotFound() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <section class="page narrow">
            <div class="empty">
                <components::icons::Icon name="compass" size=40/>
                <h1>{t!(i18n, shell.lost_title)}</h1>
                <p>{t!(i18n, shell.lost_text)}</p>
                <a class="button primary" href="/">{t!(i18n, shell.lost_action)}</a>
            </div>
        </section>
    }
}
