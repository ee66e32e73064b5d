//! What is left to draw from, in three numbers.

use hearth_shared::lab::sampling::Distribution;
use leptos::prelude::*;

use super::session::use_session;
use crate::app::format;
use crate::app::i18n::{I18nContext, Locale, t, t_string, use_i18n};
use crate::app::lab::percent;

#[component]
pub fn Summary() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let of = move |read: fn(&Distribution) -> Option<String>| {
        move || session.answered.with(|answered| read(&answered.as_ref()?.found))
    };
    let whole = of(|found| Some(format::group(u64::from(found.vocab_size))));
    let entropy = move |read: fn(&Distribution) -> Option<f64>| {
        move || session.answered.with(|answered| Some(bits(i18n, read(&answered.as_ref()?.found)?)))
    };
    let before = entropy(|found| Some(found.stages.first()?.entropy));
    let timed = move || {
        session.answered.with(|answered| {
            let found = &answered.as_ref()?.found;
            let (read, stages) = (session.host.measured(found.forward_ms)?, session.host.measured(found.stages_ms)?);
            Some(if found.forwarded > 0 {
                t_string!(i18n, sampling.timed_read, count = found.forwarded, read = read, stages = stages)
            } else {
                t_string!(i18n, sampling.timed_kept, stages = stages)
            })
        })
    };
    view! {
        <dl class="sampling-figures num card" aria-live="polite">
            <div>
                <dt>{t!(i18n, sampling.can_be_drawn)}</dt>
                <dd id="sampling-kept">{of(|found| Some(format::group(u64::from(found.stages.last()?.kept))))}</dd>
                <dd class="hint">
                    {move || t_string!(i18n, sampling.of_vocabulary, all = whole().unwrap_or_default())}
                </dd>
            </div>
            <div>
                <dt>{t!(i18n, sampling.mass)}</dt>
                <dd id="sampling-mass">{of(|found| Some(percent(found.mass)))}</dd>
                <dd class="hint">{t!(i18n, sampling.mass_hint)}</dd>
            </div>
            <div>
                <dt>{t!(i18n, sampling.entropy)}</dt>
                <dd id="sampling-entropy">{entropy(|found| Some(found.stages.last()?.entropy))}</dd>
                <dd class="hint">
                    {move || t_string!(i18n, sampling.entropy_hint, before = before().unwrap_or_default())}
                </dd>
            </div>
            <div class="sampling-timed">
                <dt class="visually-hidden">{t!(i18n, sampling.time)}</dt>
                <dd class="hint">{timed}</dd>
            </div>
        </dl>
    }
}

/// `2.31 bit`, in the language's own word.
pub fn bits(i18n: I18nContext<Locale>, entropy: f64) -> String {
    t_string!(i18n, sampling.bits, count = format!("{entropy:.2}"))
}
