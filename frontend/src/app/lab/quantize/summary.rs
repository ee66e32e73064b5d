//! What the setting costs and saves, in three numbers; and an honest word on speed.

use hearth_shared::lab::quantize::{Tried, rise};
use leptos::prelude::*;

use super::use_lab;
use crate::app::format;
use crate::app::i18n::{I18nContext, Locale, t, t_string, use_i18n};

/// From here on a number is told by its first digits and its power of ten.
pub const VAST: f64 = 1e12;

/// A share as a signed per cent: `+3.20 %`, `−0.10 %`, `+128 512 %`.
pub fn change(share: f64) -> String {
    let per_cent = share * 100.0;
    if per_cent >= 1_000.0 {
        return format!("+{} %", large(per_cent));
    }
    let digits = if per_cent.abs() >= 100.0 { 0 } else { 2 };
    format!("{per_cent:+.digits$} %").replace('-', "−")
}

/// `44.17`, `56 854`.
pub fn perplexity(value: f64) -> String {
    if value < 1_000.0 { format!("{value:.2}") } else { large(value) }
}

fn large(value: f64) -> String {
    if value < VAST { format::group(value.round() as u64) } else { format!("{value:.2e}") }
}

/// `4 bits`, in the reader's language; `f32` for what is not rounded.
pub fn bits_word(i18n: I18nContext<Locale>, bits: Option<u8>) -> String {
    bits.map_or_else(|| "f32".to_owned(), |bits| t_string!(i18n, quantize.bits, bits = bits))
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
    let was = of(|tried| perplexity(tried.base.perplexity()));
    let tokens = of(|tried| tried.loss.tokens.to_string());
    let measured =
        move |read: fn(&Tried) -> f64| move || lab.tried.with(|tried| lab.host.measured(read(tried.as_ref()?)));
    let before = measured(|tried| tried.base.ms);
    // Who gives every token of the vocabulary the same chance has a perplexity of its size.
    let guessing = move || {
        let size = lab.host.opened.with(|opened| opened.as_ref().map(|opened| opened.facts.vocab_size))?;
        let found = lab.tried.with(|tried| tried.as_ref().map(|tried| tried.loss.perplexity()))?;
        let worse = found > f64::from(size);
        worse.then(|| t_string!(i18n, quantize.worse_than_guessing, size = format::group(u64::from(size))))
    };
    view! {
        <section class="quantize-summary" aria-live="polite">
            <article class="card" data-tone=tone>
                <h2>{t!(i18n, quantize.perplexity)}</h2>
                <p class="quantize-figure num" id="quantize-perplexity">
                    {of(|tried| perplexity(tried.loss.perplexity()))}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_have_their_thousands_apart() {
        assert_eq!(perplexity(44.214), "44.21");
        assert_eq!(perplexity(56_853.81), "56\u{202f}854");
        assert_eq!(perplexity(3.21e20), "3.21e20");
        assert_eq!(change(0.0077), "+0.77 %");
        assert_eq!(change(-0.003), "−0.30 %");
        assert_eq!(change(5.74), "+574 %");
        assert_eq!(change(1_285.12), "+128\u{202f}512 %");
    }
}
