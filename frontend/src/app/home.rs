//! The first page: what Hearth is, what to do first, and what is on this machine.

mod machine;
mod models;
mod pulls;

use leptos::prelude::*;

use super::components::icons::{Icon, Mark};
use super::i18n::{t, t_string, use_i18n};

#[component]
pub fn Home() -> impl IntoView {
    let i18n = use_i18n();
    let title = move |key: &str| match key {
        "lab" => t_string!(i18n, home.inside_title),
        "chat" => t_string!(i18n, home.talk_title),
        _ => t_string!(i18n, home.teach_title),
    };
    let text = move |key: &str| match key {
        "lab" => t_string!(i18n, home.inside_text),
        "chat" => t_string!(i18n, home.talk_text),
        _ => t_string!(i18n, home.teach_text),
    };
    let action = move |key: &str| match key {
        "lab" => t_string!(i18n, home.inside_action),
        "chat" => t_string!(i18n, home.talk_action),
        _ => t_string!(i18n, home.teach_action),
    };
    let paths = [("lab", "/lab/attention"), ("chat", "/playground"), ("tune", "/fine-tune/new")];
    view! {
        <div class="page home">
            <section class="hero">
                <div>
                    <h1>{t!(i18n, home.title)}</h1>
                    <p class="hero-lead">{t!(i18n, home.lead)}</p>
                </div>
                <div class="hero-mark"><Mark/></div>
            </section>
            <section aria-label=move || t_string!(i18n, home.start)>
                <ul class="paths">
                    {paths
                        .into_iter()
                        .map(|(icon, href)| {
                            view! {
                                <li>
                                    <a class="path" href=href>
                                        <span class="path-icon">
                                            <Icon name=icon size=24/>
                                        </span>
                                        <h2>{move || title(icon)}</h2>
                                        <p>{move || text(icon)}</p>
                                        <span class="path-action">
                                            {move || action(icon)} <Icon name="arrow" size=16/>
                                        </span>
                                    </a>
                                </li>
                            }
                        })
                        .collect_view()}
                </ul>
            </section>
            <machine::Machine/>
            <models::Models/>
        </div>
    }
}
