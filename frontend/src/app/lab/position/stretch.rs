//! How the rotation is stretched: four ways and a factor. The model is measured again under each; no weight changes.

use hearth_shared::lab::position::{Method, Scaling};
use leptos::prelude::*;

use super::question::{FACTORS, METHODS, method_word};
use super::session::use_session;
use super::siblings::TRAINED;
use super::word;
use crate::app::components::field::Slider;
use crate::app::i18n::{I18nContext, Locale, t, t_string, use_i18n};

/// A method's short name.
pub fn name(i18n: I18nContext<Locale>, method: Method) -> &'static str {
    match method {
        Method::None => t_string!(i18n, position.method_none),
        Method::Linear => t_string!(i18n, position.method_linear),
        Method::Ntk => t_string!(i18n, position.method_ntk),
        Method::Yarn => t_string!(i18n, position.method_yarn),
    }
}

fn story(i18n: I18nContext<Locale>, method: Method) -> &'static str {
    match method {
        Method::None => t_string!(i18n, position.method_none_story),
        Method::Linear => t_string!(i18n, position.method_linear_story),
        Method::Ntk => t_string!(i18n, position.method_ntk_story),
        Method::Yarn => t_string!(i18n, position.method_yarn_story),
    }
}

#[component]
pub fn Stretch() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let stretches = move || session.method.get() != Method::None;
    // What the measurement says of the stretched model against the same weights without.
    let outcome = move || {
        let plain = session.losses(super::siblings::rope())?.split(TRAINED)?;
        let now = session.stretched()?.split(TRAINED)?;
        let signed = |value: f64| format!("{value:+.3}").replace('-', "−");
        Some(t_string!(
            i18n,
            position.outcome,
            trained = TRAINED,
            inside = signed(now.inside - plain.inside),
            beyond = signed(now.beyond - plain.beyond)
        ))
    };
    let waiting = move || {
        let settled = Scaling::new(session.method.get(), session.factor.get()) == session.scaling.get();
        stretches() && !session.is_stopped() && (!settled || session.stretched().is_none())
    };
    view! {
        <section class="card position-stretch" aria-labelledby="position-stretch">
            <h2 id="position-stretch">{t!(i18n, position.stretch_title)}</h2>
            <p class="hint">{move || t_string!(i18n, position.stretch_help, trained = TRAINED)}</p>
            <div class="segments" role="group" aria-labelledby="position-stretch">
                {METHODS
                    .into_iter()
                    .map(|method| {
                        view! {
                            <button
                                data-method=method_word(method)
                                aria-pressed=move || (session.method.get() == method).to_string()
                                on:click=move |_| session.method.set(method)
                            >
                                {move || name(i18n, method)}
                            </button>
                        }
                    })
                    .collect_view()}
            </div>
            <p class="position-story">{move || story(i18n, session.method.get())}</p>
            <div class:off=move || !stretches() class="position-factor">
                <Slider
                    label=word!(i18n, factor)
                    hint=word!(i18n, factor_hint)
                    value=session.factor
                    min=FACTORS.0
                    max=FACTORS.1
                    step=0.5
                    digits=1
                />
            </div>
            <p class="position-outcome num" aria-live="polite">
                {move || {
                    if waiting() {
                        view! {
                            <span class="badge">
                                <span class="spinner"></span>
                                {t!(i18n, lab.computing)}
                            </span>
                        }
                            .into_any()
                    } else {
                        outcome().into_any()
                    }
                }}
            </p>
        </section>
    }
}
