//! What comes next: the distribution after the chosen token, reshaped live by the sliders from the same logits.

use leptos::prelude::*;

use super::next::{Candidate, Next, next};
use super::pieces::is_part;
use super::session::use_session;
use super::{percent, visible};
use crate::app::components::field::Slider;
use crate::app::components::toast::use_toasts;
use crate::app::format;
use crate::app::i18n::{t, t_string, tu_string, use_i18n};

/// Bars shown.
const SHOWN: usize = 12;
const LARGEST_K: f64 = 200.0;

#[component]
pub fn Chances() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let token = move || {
        session.forward().and_then(|forward| forward.tokens().get(session.row()).map(|token| visible(&token.text)))
    };
    // The token that the text really goes on with, where it does.
    let actual = Memo::new(move |_| {
        let forward = session.forward()?;
        forward.tokens().get(session.row() + 1).map(|token| token.id)
    });
    let found = Memo::new(move |_| {
        let Some(forward) = session.forward() else {
            return Next::default();
        };
        let row = session.row();
        let ranking = session.ranking(&forward, row);
        next(forward.logits(row), &ranking, session.sliders(), SHOWN, actual.get())
    });
    let place = move || {
        let count = session.forward().map_or(0, |forward| forward.tokens().len());
        t_string!(i18n, lab.next_at, index = session.row() + 1, count = count)
    };
    view! {
        <section class="lab-next card" aria-labelledby="next-title">
            <div class="section-head">
                <h2 id="next-title">{t!(i18n, lab.next_title)}</h2>
                <span class="badge num">{place}</span>
            </div>
            <p class="hint">
                {move || t_string!(i18n, lab.next_help, token = token().unwrap_or_default())}
            </p>
            <div class="next-body">
                <div class="next-sliders">
                    <Sliders/>
                    <Summary found=found/>
                </div>
                <div class="chances">
                    <div class="chances-head" aria-hidden="true">
                        <span>{t!(i18n, lab.next_share)}</span>
                        <span>{t!(i18n, lab.next_logit)}</span>
                    </div>
                    <ol>
                        {move || {
                            let found = found.get();
                            let top = found.shown.iter().map(|c| c.before.max(c.after)).fold(1e-6, f32::max);
                            let actual = actual.get();
                            found
                                .shown
                                .into_iter()
                                .map(|candidate| {
                                    view! {
                                        <Chance
                                            candidate=candidate
                                            top=top
                                            actual=actual == Some(candidate.token)
                                        />
                                    }
                                })
                                .collect_view()
                        }}
                    </ol>
                </div>
            </div>
        </section>
    }
}

#[component]
fn Sliders() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let text = move |read: fn(crate::app::i18n::I18nContext<crate::app::i18n::Locale>) -> &'static str| {
        Signal::derive(move || read(i18n).to_owned())
    };
    let reset = move |_| {
        session.temperature.set(1.0);
        session.top_k.set(0.0);
        session.top_p.set(1.0);
    };
    view! {
        <Slider
            label=text(|i18n| t_string!(i18n, lab.temperature))
            hint=text(|i18n| t_string!(i18n, lab.temperature_hint))
            value=session.temperature
            min=0.0
            max=2.0
            step=0.05
        />
        <Slider
            label=text(|i18n| t_string!(i18n, lab.top_k))
            hint=text(|i18n| t_string!(i18n, lab.top_k_hint))
            value=session.top_k
            min=0.0
            max=LARGEST_K
            step=1.0
            digits=0
        />
        <Slider
            label=text(|i18n| t_string!(i18n, lab.top_p))
            hint=text(|i18n| t_string!(i18n, lab.top_p_hint))
            value=session.top_p
            min=0.0
            max=1.0
            step=0.01
        />
        <button class="button small quiet" on:click=reset>
            {t!(i18n, lab.reset)}
        </button>
    }
}

/// How much is left to draw from.
#[component]
fn Summary(found: Memo<Next>) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let kept = move || {
        let all = session.forward().map_or(0, |forward| forward.facts.vocab_size);
        t_string!(
            i18n,
            lab.kept,
            kept = format::group(found.with(|found| found.kept) as u64),
            all = format::group(u64::from(all))
        )
    };
    let mass = move || {
        let mass = found.with(|found| f64::from(found.kept_mass));
        t_string!(i18n, lab.kept_mass, mass = percent(mass))
    };
    let entropy = move || {
        let bits = found.with(|found| found.entropy);
        t_string!(i18n, lab.entropy, bits = format!("{bits:.2}"))
    };
    view! {
        <ul class="next-summary num" aria-live="polite">
            <li id="next-kept">{kept}</li>
            <li>{mass}</li>
            <li id="next-entropy">{entropy}</li>
        </ul>
    }
}

#[component]
fn Chance(candidate: Candidate, top: f32, actual: bool) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let word = session.host.word(candidate.token);
    let partial = is_part(&word);
    let shown = visible(&word);
    let width = |share: f32| format!("{:.2}%", share / top * 100.0);
    let cut = candidate.after == 0.0;
    let toasts = use_toasts();
    let end = session.end_of_chosen();
    let is_last = end.is_none_or(|end| session.text.with(|text| end == text.len()));
    let refusal = if partial {
        Some(t_string!(i18n, lab.append_part))
    } else if end.is_none() {
        Some(t_string!(i18n, lab.append_inside))
    } else {
        None
    };
    let title = match refusal {
        Some(refusal) => refusal.to_owned(),
        None if is_last => t_string!(i18n, lab.append, token = shown.clone()),
        None => t_string!(i18n, lab.append_here, token = shown.clone()),
    };
    let go_on = move |_| {
        let Some(old) = session.append(candidate.token) else {
            return;
        };
        let text = session.text;
        toasts.offer(tu_string!(i18n, lab.rest_gone), tu_string!(i18n, common.undo), move || {
            // The lab may be left by then.
            let _ = text.try_set(old.clone());
        });
    };
    view! {
        <li>
            <button
                class="chance"
                class:cut=cut
                class:actual=actual
                disabled=refusal.is_some()
                title=title
                data-token=candidate.token
                data-share=candidate.after
                on:click=go_on
            >
                <span class="chance-place num">{candidate.place + 1}</span>
                <span class="chance-word">{shown}</span>
                <span class="chance-bar" aria-hidden="true">
                    <i class="before" style:width=width(candidate.before)></i>
                    <i class="after" style:width=width(candidate.after)></i>
                </span>
                <span class="chance-share num">
                    {if cut {
                        t_string!(i18n, lab.cut_off).to_owned()
                    } else {
                        percent(f64::from(candidate.after))
                    }}
                </span>
                <span class="chance-logit num">{format!("{:.2}", candidate.logit).replace('-', "−")}</span>
                {actual
                    .then(|| view! { <span class="badge good">{t!(i18n, lab.actual)}</span> })}
                {refusal.map(|refusal| view! { <span class="visually-hidden">{refusal}</span> })}
            </button>
        </li>
    }
}
