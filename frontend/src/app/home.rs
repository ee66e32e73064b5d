//! The first page: what Hearth is, what to do first, and what is on this machine.

mod machine;
mod models;
mod pulls;

use leptos::prelude::*;

use super::components::icons::Icon;
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
                <Weave/>
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

/// Rows of the drawing beside the title.
const WEAVE: usize = 11;

/// A causal attention pattern as a drawing: every row looks back at itself, at the row before, and at the first. It shows
/// no model's numbers; the lab does that.
#[component]
fn Weave() -> impl IntoView {
    let cell = |row: usize, column: usize| {
        let back = (row - column) as f64;
        let recent = (-back * 0.55).exp();
        let sink = if column == 0 { 0.42 } else { 0.0 };
        let echo = if row >= 4 && back == 4.0 { 0.5 } else { 0.0 };
        let strength = (0.10 + recent * 0.9 + sink + echo).min(1.0);
        view! {
            <rect
                x=column * 20
                y=row * 20
                width="17"
                height="17"
                rx="4"
                style:--strength=format!("{strength:.2}")
                style:--wait=format!("{}ms", row * 45 + column * 18)
            ></rect>
        }
    };
    let side = WEAVE * 20;
    view! {
        <svg class="weave" viewBox=format!("-2 -2 {side} {side}") aria-hidden="true" focusable="false">
            {(0..WEAVE)
                .flat_map(|row| (0..=row).map(move |column| cell(row, column)))
                .collect_view()}
        </svg>
    }
}
