//! What a person sets in the attention lab: the text, the model, the engine; and when the answer came.

use leptos::prelude::*;

use super::examples::Examples;
use super::host::Status;
use super::inside::document;
use super::inside::state::use_inside;
use super::opening::{EngineSwitch, ModelChoice};
use super::prompt::Prompt;
use super::session::use_session;
use super::share::Share;
use super::{EXAMPLES, PLACE, milliseconds};
use crate::app::components::icons::Icon;
use crate::app::i18n::{t, t_string, use_i18n};

#[component]
pub fn Controls() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    view! {
        <section class="lab-controls card">
            <div class="lab-text">
                <Prompt
                    id="lab-text"
                    label=Signal::derive(move || t_string!(i18n, lab.text_label).to_owned())
                    text=session.text
                />
                <Examples examples=&EXAMPLES choose=move |text: &str| session.text.set(text.to_owned())/>
            </div>
            <div class="lab-settings">
                <ModelChoice/>
                <EngineSwitch/>
            </div>
            <Line/>
        </section>
    }
}

/// One line on the answer: its time, or what is being done; and what can be taken away.
#[component]
fn Line() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let inside = use_inside();
    let answered = move || {
        let forward = session.forward()?;
        let ms = milliseconds(session.answer_ms.get()?);
        Some(view! {
            <span class="badge good">
                <Icon name="clock" size=14/>
                {t_string!(i18n, lab.answered, ms = ms)}
            </span>
            <span class="hint num">
                {t_string!(
                    i18n,
                    lab.answered_detail,
                    forward = milliseconds(forward.traced.timing.forward_ms),
                    tokens = forward.tokens().len()
                )}
            </span>
        })
    };
    let cut = move || {
        let forward = session.forward()?;
        let whole = forward.traced.cut_from?;
        let shown = forward.tokens().len();
        Some(view! {
            <span class="badge warn">{t_string!(i18n, lab.cut, shown = shown, whole = whole)}</span>
        })
    };
    view! {
        <div class="lab-line">
            <div class="lab-state" aria-live="polite">
                {move || match session.host.status.get() {
                    Status::Ready => answered().into_any(),
                    Status::Computing => {
                        view! {
                            <span class="badge">
                                <span class="spinner"></span>
                                {t!(i18n, lab.computing)}
                            </span>
                        }
                            .into_any()
                    }
                    _ => ().into_any(),
                }}
                {cut}
            </div>
            // A pass is mostly done before it is seen: the style lets a moment go by.
            <Show when=move || session.is_passing()>
                <button class="button small lab-stop" data-action="stop" on:click=move |_| session.stop()>
                    <Icon name="stop" size=16/>
                    {t!(i18n, common.cancel)}
                </button>
            </Show>
            <Share
                place=PLACE
                pairs=move |()| session.address().pairs()
                name="hearth-attention"
                export=move |()| document::file(inside)
                reset=move |()| session.reset()
                rehearsal=session.host.rehearsal
            />
        </div>
    }
}
