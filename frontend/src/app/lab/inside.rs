//! Deeper into the pass in hand: the stack, the logit lens, the loss without a head, heads in numbers, and attention as a big-data
//! job. One part is open at a time, and only that one is computed. State is in `inside/state.rs`.

mod ablate;
mod block;
pub mod document;
mod job;
mod lens;
pub mod looks;
pub mod part;
mod planned;
mod stack;
pub mod state;
mod statistics;
mod strip;
mod working;

use leptos::prelude::*;

use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};
use part::Part;
use state::use_inside;

#[component]
pub fn Deeper() -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let open = Memo::new(move |_| inside.session.part.get());
    view! {
        <section class="inside card" aria-labelledby="inside-title" data-inside=move || inside.word()>
            <div>
                <h2 id="inside-title">{t!(i18n, inside.title)}</h2>
                <p class="hint">{t!(i18n, inside.lead)}</p>
            </div>
            <div class="inside-parts">
                {Part::ALL.into_iter().map(|part| view! { <Opener part/> }).collect_view()}
            </div>
            <div id="inside-panel" class="inside-panel">
                {move || match open.get() {
                    None => ().into_any(),
                    Some(Part::Stack) => view! { <stack::StackPart/> }.into_any(),
                    Some(Part::Lens) => view! { <lens::LensPart/> }.into_any(),
                    Some(Part::Ablate) => view! { <ablate::AblatePart/> }.into_any(),
                    Some(Part::Statistics) => view! { <statistics::StatisticsPart/> }.into_any(),
                    Some(Part::Job) => view! { <job::JobPart/> }.into_any(),
                }}
            </div>
        </section>
    }
}

/// The switch of a part: its picture, its name, and what it shows.
#[component]
fn Opener(part: Part) -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let open = move || inside.session.part.get() == Some(part);
    let name = move || match part {
        Part::Stack => t_string!(i18n, inside.part_stack),
        Part::Lens => t_string!(i18n, inside.part_lens),
        Part::Ablate => t_string!(i18n, inside.part_ablate),
        Part::Statistics => t_string!(i18n, inside.part_statistics),
        Part::Job => t_string!(i18n, inside.part_job),
    };
    let words = move || match part {
        Part::Stack => t_string!(i18n, inside.about_stack),
        Part::Lens => t_string!(i18n, inside.about_lens),
        Part::Ablate => t_string!(i18n, inside.about_ablate),
        Part::Statistics => t_string!(i18n, inside.about_statistics),
        Part::Job => t_string!(i18n, inside.about_job),
    };
    view! {
        <button
            class="inside-part"
            data-part=part.word()
            aria-expanded=move || open().to_string()
            aria-controls="inside-panel"
            on:click=move |_| inside.toggle(part)
        >
            <svg
                class="icon"
                width="26"
                height="26"
                viewBox="0 0 24 24"
                fill="none"
                stroke="currentColor"
                stroke-width="1.6"
                stroke-linecap="round"
                stroke-linejoin="round"
                aria-hidden="true"
                focusable="false"
                inner_html=part.glyph()
            ></svg>
            <strong>{name}</strong>
            <span>{words}</span>
        </button>
    }
}

/// Floating point operations, short; a dash for none.
fn operations(flops: f64) -> String {
    if flops > 0.0 { format::count(flops as u64) } else { "–".to_owned() }
}

/// A size with three digits that count.
fn amount(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.01 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.0e}"),
    }
    .replace('-', "−")
}

/// A difference with its sign: `+0.123`, `−0.004`.
fn difference(nats: f64) -> String {
    format!("{nats:+.3}").replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([amount(123.4), amount(12.34), amount(1.234), amount(0.0)], ["123", "12.3", "1.23", "0.00"]);
        assert_eq!(amount(0.0012), "1e−3");
        assert_eq!([difference(0.1234), difference(-0.0042)], ["+0.123", "−0.004"]);
        assert_eq!([operations(0.0), operations(2_500_000.0)], ["–", "2.5 M"]);
    }
}
