//! What the setting costs and saves, in three numbers; and an honest word on speed.

use hearth_shared::lab::quantize::{Tried, rise};
use leptos::prelude::*;

use super::use_lab;
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

/// A share as a signed per cent: `+3.2 %`, `−0.1 %`.
pub fn change(share: f64) -> String {
    let per_cent = share * 100.0;
    let digits = if per_cent.abs() >= 100.0 { 0 } else { 2 };
    format!("{per_cent:+.digits$} %").replace('-', "−")
}

#[component]
pub fn Summary() -> impl IntoView {
    let i18n = use_i18n();
    let lab = use_lab();
    let of = move |read: fn(&Tried) -> String| move || lab.tried.with(|tried| tried.as_ref().map(read));
    let cost = move || lab.tried.with(|tried| tried.as_ref().map_or(0.0, |tried| rise(tried.base.nll, tried.loss.nll)));
    let tone = move || match cost() {
        cost if cost < 0.01 => "good",
        cost if cost < 0.05 => "warn",
        _ => "bad",
    };
    let ratio = of(|tried| format!("{:.2} ×", tried.bytes as f64 / tried.full_bytes.max(1) as f64));
    let full = of(|tried| format::bytes(tried.full_bytes));
    let was = of(|tried| format!("{:.2}", tried.base.perplexity()));
    let tokens = of(|tried| tried.loss.tokens.to_string());
    let measured =
        move |read: fn(&Tried) -> f64| move || lab.tried.with(|tried| lab.host.measured(read(tried.as_ref()?)));
    let before = measured(|tried| tried.base.ms);
    // Who gives every token of the vocabulary the same chance has a perplexity of its size.
    let guessing = move || {
        let size = lab.host.opened.with(|opened| opened.as_ref().map(|opened| opened.facts.vocab_size))?;
        let perplexity = lab.tried.with(|tried| tried.as_ref().map(|tried| tried.loss.perplexity()))?;
        let worse = perplexity > f64::from(size);
        worse.then(|| t_string!(i18n, quantize.worse_than_guessing, size = format::group(u64::from(size))))
    };
    view! {
        <section class="quantize-summary" aria-live="polite">
            <article class="card" data-tone=tone>
                <h2>{t!(i18n, quantize.perplexity)}</h2>
                <p class="quantize-figure num" id="quantize-perplexity">
                    {of(|tried| format!("{:.2}", tried.loss.perplexity()))}
                </p>
                <p class="num">
                    <span class="badge" class=("good", move || tone() == "good") class=("bad", move || tone() == "bad")>
                        {move || change(cost())}
                    </span>
                    " "
                    {move || t_string!(i18n, quantize.from, was = was().unwrap_or_default())}
                </p>
                {move || guessing().map(|words| view! { <p class="hint bad" id="quantize-guessing">{words}</p> })}
                <p class="hint">
                    {move || t_string!(i18n, quantize.on_tokens, tokens = tokens().unwrap_or_default())}
                </p>
            </article>
            <article class="card">
                <h2>{t!(i18n, quantize.size)}</h2>
                <p class="quantize-figure num" id="quantize-size">{of(|tried| format::bytes(tried.bytes))}</p>
                <p class="num">
                    <span class="badge">{ratio}</span>
                    " "
                    {move || t_string!(i18n, quantize.of_full, full = full().unwrap_or_default())}
                </p>
                <p class="hint">{t!(i18n, quantize.size_hint)}</p>
            </article>
            <article class="card">
                <h2>{t!(i18n, quantize.speed)}</h2>
                <p class="quantize-figure num">{measured(|tried| tried.loss.ms)}</p>
                <p class="num">{move || before().map(|was| t_string!(i18n, quantize.from, was = was))}</p>
                <p class="hint">{t!(i18n, quantize.speed_hint)}</p>
            </article>
        </section>
    }
}
