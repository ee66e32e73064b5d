//! The labs. This file is the attention lab: a model in the tab, a text, and every number between the two. The views are in `lab/`, the state in
//! `lab/session.rs`; the model runs in the worker and is reached through `lab/engine.rs`. The other labs are modules of their own here.

mod address;
pub mod cache;
mod chances;
mod controls;
pub mod engine;
mod examples;
pub mod forward;
mod heads;
mod heat;
pub mod host;
mod inside;
mod inspect;
mod keep;
mod lock;
mod matrix;
mod next;
mod opening;
mod picture;
mod pieces;
pub mod position;
mod prompt;
pub mod publish;
pub mod quantize;
mod rehearsal;
pub mod sampling;
pub mod session;
mod share;
mod snapshot;
mod steps;
mod tabs;
mod tokens;
mod tour;
mod wire;
pub mod words;

use leptos::prelude::*;

use super::components::tour::Tour;
use super::i18n::{t, use_i18n};
use examples::Example;

/// Where this lab is; `/lab/attention` is below it.
const PLACE: &str = "/lab";

/// Sentences to begin with: an echo for induction heads, a reference, the other language.
const EXAMPLES: [Example; 4] = [
    ("en", "The old man and the sea. The old man and the"),
    ("en", "The Congress gave the President the power, and he used it well."),
    ("zh", "却说曹操引大军杀来，玄德与孔明商议，孔明曰：“主公勿忧。”"),
    ("zh", "床前明月光，疑是地上霜。举头望明月，低头"),
];

/// The page at `/lab` and `/lab/attention`.
#[component]
pub fn Lab() -> impl IntoView {
    let i18n = use_i18n();
    let first = examples::first(&EXAMPLES, i18n.get_locale_untracked());
    let session = session::provide(first);
    inside::state::provide(session);
    let state = move || session.host.state();
    let engine = move || session.host.engine_word();
    let of_pass = move |read: fn(&forward::Forward) -> String| session.forward().map(|forward| read(&forward));
    let forward_ms = move || {
        let measured = !session.host.rehearsal.get();
        of_pass(|forward| format!("{:.1}", forward.traced.timing.forward_ms)).filter(|_| measured)
    };
    view! {
        <div
            class="page lab"
            data-lab=state
            data-engine=engine
            data-model=move || of_pass(|forward| forward.traced.model.clone())
            data-tokens=move || of_pass(|forward| forward.tokens().len().to_string())
            data-forward-ms=forward_ms
            data-answer-ms=move || session.answer_ms.get().map(|ms| format!("{ms:.1}"))
        >
            <tabs::Tabs/>
            <header class="lab-head">
                <div class="lab-title">
                    <h1>{t!(i18n, lab.title)}</h1>
                    <Tour stops=&tour::STOPS/>
                </div>
                <p>{t!(i18n, lab.lead)}</p>
            </header>
            <controls::Controls/>
            <opening::Notices/>
            <Show when=move || session.forward().is_some()>
                <tokens::Tokens/>
                <div class="lab-body">
                    <heads::Heads/>
                    <steps::Steps/>
                </div>
                <chances::Chances/>
                <inside::Deeper/>
            </Show>
        </div>
    }
}

/// A number as the inspector writes it: four digits after the point, a real minus sign.
fn figure(value: f64) -> String {
    let text = if value == 0.0 || (0.001..1e5).contains(&value.abs()) {
        format!("{value:.4}")
    } else {
        format!("{value:.2e}")
    };
    text.replace('-', "−")
}

/// A share as a percentage: `14.38 %`, `< 0.01 %`.
fn percent(share: f64) -> String {
    if share > 0.0 && share < 1e-4 {
        return "< 0.01 %".to_owned();
    }
    format!("{:.2} %", share * 100.0)
}

/// Milliseconds: `12 ms`, `1.3 s`.
fn milliseconds(ms: f64) -> String {
    if ms >= 1000.0 {
        format!("{:.1} s", ms / 1000.0)
    } else if ms >= 10.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{ms:.1} ms")
    }
}

/// A token with its white space visible. The bytes of a part of a character stand as they are.
fn visible(text: &str) -> String {
    if text.is_empty() {
        return "∅".to_owned();
    }
    if pieces::is_part(text) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| match c {
            ' ' => '·',
            '\n' => '↵',
            '\t' => '⇥',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_tokens_read_well() {
        assert_eq!(figure(-1.5), "−1.5000");
        assert_eq!(figure(0.0), "0.0000");
        assert_eq!(figure(1e-7), "1.00e−7");
        assert_eq!(percent(0.14384), "14.38 %");
        assert_eq!(percent(1e-6), "< 0.01 %");
        assert_eq!(percent(0.0), "0.00 %");
        assert_eq!(milliseconds(1_340.0), "1.3 s");
        assert_eq!([visible(" fox\n"), visible("⟨E6 9D⟩")], ["·fox↵", "⟨E6 9D⟩"]);
    }
}
