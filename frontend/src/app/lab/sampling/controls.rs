//! What a person sets in the sampling lab: the text, the model, the engine, and the sampler's sliders.

use leptos::prelude::*;

use super::address::{Knobs as Setting, PENALTIES, SHARES, TEMPERATURES, TOP_KS};
use super::document;
use super::job::HowFar;
use super::session::{PLACE, kept, use_session};
use super::{EXAMPLES, word};
use crate::app::components::field::Slider;
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::lab::examples::Examples;
use crate::app::lab::opening::{EngineSwitch, ModelChoice};
use crate::app::lab::prompt::Prompt;
use crate::app::lab::share::Share;

#[component]
pub fn Controls() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let cut = move |(whole, kept)| t_string!(i18n, sampling.cut_text, whole = whole, kept = kept);
    view! {
        <section class="lab-controls card">
            <div class="lab-text">
                <Prompt
                    id="sampling-text"
                    label=word!(i18n, text_label)
                    text=session.text
                    keep=kept
                    cut=Callback::new(cut)
                />
                <Examples examples=&EXAMPLES choose=move |text: &str| session.write(text)/>
            </div>
            <div class="lab-settings">
                <ModelChoice/>
                <EngineSwitch/>
            </div>
            <div class="lab-line">
                <Read/>
                <HowFar job=session.reading label=word!(i18n, reading) again=move |()| session.retry()/>
                <Share
                    place=PLACE
                    pairs=move |()| session.address().pairs()
                    name="hearth-sampling"
                    export=move |()| document::text(session)
                    reset=move |()| session.reset()
                    rehearsal=session.host.rehearsal
                />
            </div>
        </section>
    }
}

/// What was read, and whether it is all.
#[component]
fn Read() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let parts = Memo::new(move |_| {
        session.answered.with(|answered| {
            let found = &answered.as_ref()?.found;
            Some((found.prompt.len(), found.cut_from))
        })
    });
    move || {
        parts.get().map(|(count, cut_from)| match cut_from {
            Some(whole) => {
                let words = t_string!(i18n, sampling.cut_tokens, shown = count, whole = whole);
                view! { <span class="badge warn sampling-read">{words}</span> }.into_any()
            }
            None => view! { <span class="hint num">{t_string!(i18n, lab.tokens, count = count)}</span> }.into_any(),
        })
    }
}

/// The sampler's five sliders in the order in which it looks at them, and settings to begin with.
#[component]
pub fn Knobs() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let settings = [("all", Setting::ALL_ON), ("off", Setting::ALL_OFF), ("greedy", Setting::GREEDY)];
    let name = move |setting: &str| match setting {
        "all" => t_string!(i18n, sampling.all_on),
        "off" => t_string!(i18n, sampling.all_off),
        _ => t_string!(i18n, sampling.greedy),
    };
    view! {
        <section class="card sampling-knobs" aria-labelledby="knobs-title">
            <h2 id="knobs-title">{t!(i18n, sampling.knobs)}</h2>
            <div class="sampling-settings" role="group" aria-labelledby="knobs-title">
                {settings
                    .map(|(setting, knobs)| {
                        view! {
                            <button
                                class="chip"
                                data-setting=setting
                                aria-pressed=move || (session.knobs() == knobs).to_string()
                                on:click=move |_| session.turn_knobs(knobs)
                            >
                                {move || name(setting)}
                            </button>
                        }
                    })
                    .collect_view()}
            </div>
            <div class="sampling-sliders">
                <Slider
                    label=word!(i18n, penalty) hint=word!(i18n, penalty_hint)
                    value=session.penalty min=PENALTIES.0 max=PENALTIES.1 step=0.05
                />
                <Slider
                    label=word!(i18n, temperature) hint=word!(i18n, temperature_hint)
                    value=session.temperature min=TEMPERATURES.0 max=TEMPERATURES.1 step=0.05
                />
                <Slider
                    label=word!(i18n, top_k) hint=word!(i18n, top_k_hint)
                    value=session.top_k min=TOP_KS.0 max=TOP_KS.1 step=1.0 digits=0
                />
                <Slider
                    label=word!(i18n, top_p) hint=word!(i18n, top_p_hint)
                    value=session.top_p min=SHARES.0 max=SHARES.1 step=0.01
                />
                <Slider
                    label=word!(i18n, min_p) hint=word!(i18n, min_p_hint)
                    value=session.min_p min=SHARES.0 max=SHARES.1 step=0.01
                />
            </div>
        </section>
    }
}
