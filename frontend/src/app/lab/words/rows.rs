//! One text, cut by every chosen vocabulary: tokens as chips, and the counts.

use std::sync::Arc;

use hearth_shared::lab::{
    LabError,
    words::{Cut, SHOWN_TOKENS, hex},
};
use leptos::ev::KeyboardEvent;
use leptos::prelude::*;
use wasm_bindgen::JsCast;

use super::session::{Row, use_session};
use super::shown::seen;
use crate::app::components::icons::Icon;
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

#[component]
pub fn Rows() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let fewest = Memo::new(move |_| {
        let counts =
            |rows: &Vec<Row>| rows.iter().filter_map(|row| row.cut.as_ref().ok()).map(|cut| cut.ids.len()).min();
        session.rows.with(counts)
    });
    view! {
        <section class="words-rows" aria-labelledby="words-rows-title" data-picture="whole">
            <div class="section-head">
                <h2 id="words-rows-title">{t!(i18n, words.rows_title)}</h2>
                <p class="hint">{t!(i18n, words.rows_help)}</p>
            </div>
            {move || {
                let fewest = fewest.get();
                session
                    .rows
                    .get()
                    .into_iter()
                    .enumerate()
                    .map(|(index, row)| match row.cut {
                        Ok(cut) => {
                            view! { <Whole index=index name=row.name cut=cut fewest=fewest/> }.into_any()
                        }
                        Err(error) => view! { <Missing name=row.name error=error/> }.into_any(),
                    })
                    .collect_view()
            }}
        </section>
    }
}

#[component]
fn Missing(name: String, error: LabError) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let title = move || t_string!(i18n, words.missing, name = name.clone());
    let why = move || match &error {
        LabError::UnknownModel { .. } => t_string!(i18n, words.no_such_model).to_owned(),
        LabError::Load { message } => t_string!(i18n, words.does_not_load, detail = message.clone()),
        other => other.to_string(),
    };
    view! {
        <div class="notice bad" role="alert">
            <Icon name="warn"/>
            <div>
                <strong>{title}</strong>
                <p>{why}</p>
            </div>
            <button class="button small" on:click=move |_| session.retry()>
                {t!(i18n, common.retry)}
            </button>
        </div>
    }
}

/// The text's cut by one vocabulary.
#[component]
fn Whole(index: usize, name: String, cut: Cut, fewest: Option<usize>) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let tokens = cut.ids.len();
    let length = session.length.get_untracked();
    let ratio =
        |above: u64| if tokens == 0 { "–".to_owned() } else { format!("{:.2}", above as f64 / tokens as f64) };
    let (per_bytes, per_characters) = (ratio(length.bytes), ratio(length.characters));
    let beside = fewest.filter(|&fewest| fewest > 0 && fewest < tokens).map(|fewest| {
        let more = (tokens as f64 / fewest as f64 - 1.0) * 100.0;
        move || t_string!(i18n, words.more_tokens, more = format!("{more:.0}"))
    });
    let (algorithm, vocab_size, parts) = (cut.algorithm.clone(), cut.vocab_size, cut.broken);
    let facts = move || {
        let size = format::group(u64::from(vocab_size));
        t_string!(i18n, words.vocabulary_facts, algorithm = algorithm.clone(), size = size)
    };
    let broken = (parts > 0).then_some(move || match parts {
        1 => t_string!(i18n, words.broken_single).to_owned(),
        count => t_string!(i18n, words.broken, count = format::group(u64::from(count))),
    });
    let rest = (tokens > cut.shown.len()).then_some(move || {
        t_string!(i18n, words.rest, shown = format::group(SHOWN_TOKENS as u64), whole = format::group(tokens as u64))
    });
    let has_parts = cut.shown.iter().any(|bytes| std::str::from_utf8(bytes).is_err());
    let exact = cut.exact;
    let title = format!("words-row-{index}");
    view! {
        <article class="words-row card" data-vocabulary=name aria-labelledby=title>
            <header class="words-row-head">
                <h3 id=title.clone()>{name.clone()}</h3>
                <span class="hint num">{facts}</span>
                {(!exact).then(|| view! { <span class="badge warn">{t!(i18n, words.not_exact)}</span> })}
            </header>
            <div class="words-measures">
                <dl class="words-counts num">
                    <div>
                        <dt>{t!(i18n, words.tokens)}</dt>
                        <dd>{format::group(tokens as u64)}</dd>
                    </div>
                    <div>
                        <dt>{t!(i18n, words.bytes_per_token)}</dt>
                        <dd>{per_bytes}</dd>
                    </div>
                    <div>
                        <dt>{t!(i18n, words.characters_per_token)}</dt>
                        <dd>{per_characters}</dd>
                    </div>
                </dl>
                {beside.map(|words| view! { <span class="badge">{words}</span> })}
                {broken.map(|words| view! { <span class="badge">{words}</span> })}
            </div>
            {if tokens == 0 {
                view! { <p class="soft">{t!(i18n, words.empty)}</p> }.into_any()
            } else {
                view! { <Chips row=index labelled=title.clone() cut=cut/> }.into_any()
            }}
            {has_parts.then(|| view! { <p class="hint">{t!(i18n, lab.part_help)}</p> })}
            {rest.map(|words| view! { <p class="hint">{words}</p> })}
        </article>
    }
}

#[component]
fn Chips(row: usize, labelled: String, cut: Cut) -> impl IntoView {
    let i18n = use_i18n();
    let picked = RwSignal::new(None::<usize>);
    let shown = cut.shown.len();
    let about_part = t_string!(i18n, lab.part_title);
    let chips: Vec<_> =
        cut.shown.iter().enumerate().map(|(index, bytes)| chip(row, index, bytes, about_part)).collect();
    let cut = Arc::new(cut);
    let move_by = move |event: KeyboardEvent| {
        let now = picked.get_untracked();
        let next = match event.key().as_str() {
            "ArrowLeft" | "ArrowUp" => now.map_or(0, |now| now.saturating_sub(1)),
            "ArrowRight" | "ArrowDown" => now.map_or(0, |now| now + 1),
            "Home" => 0,
            "End" => usize::MAX,
            _ => return,
        };
        event.prevent_default();
        picked.set(Some(next.min(shown.saturating_sub(1))));
    };
    // Thousands of chips and one mark: it is moved by hand.
    Effect::new(move |before: Option<Option<usize>>| {
        let now = picked.get();
        before.flatten().inspect(|&index| mark(row, index, false));
        now.inspect(|&index| mark(row, index, true));
        now
    });
    let detail = move || {
        let Some(index) = picked.get() else {
            return t_string!(i18n, words.point_at).to_owned();
        };
        let bytes = cut.shown.get(index).cloned().unwrap_or_default();
        t_string!(
            i18n,
            words.detail,
            index = format::group(index as u64 + 1),
            count = format::group(cut.ids.len() as u64),
            id = cut.ids.get(index).copied().unwrap_or_default(),
            bytes = hex(&bytes),
            text = seen(&bytes).text
        )
    };
    let point = move |event: web_sys::PointerEvent| {
        if let Some(index) = token_under(&event) {
            picked.set(Some(index));
        }
    };
    view! {
        <div
            class="words-chips"
            dir="auto"
            role="listbox"
            tabindex="0"
            aria-labelledby=labelled
            aria-activedescendant=move || picked.get().map(|index| name_of(row, index))
            on:keydown=move_by
            on:focus=move |_| {
                if picked.get_untracked().is_none() {
                    picked.set(Some(0));
                }
            }
            on:pointerover=point
            on:pointerdown=point
        >
            {chips}
        </div>
        <p class="words-detail num" aria-live="polite">
            <bdi>{detail}</bdi>
        </p>
    }
}

fn name_of(row: usize, index: usize) -> String {
    format!("words-{row}-{index}")
}

fn chip(row: usize, index: usize, bytes: &[u8], about_part: &'static str) -> impl IntoView + use<> {
    let seen = seen(bytes);
    let class = format!("words-token tint-{}{}", index % 4, if seen.part { " part" } else { "" });
    view! {
        <span
            id=name_of(row, index)
            class=class
            role="option"
            aria-selected="false"
            title=seen.part.then_some(about_part)
            data-token=index
        >
            {seen.text}
        </span>
        {seen.ends_line.then(|| view! { <i class="words-break" aria-hidden="true"></i> })}
    }
}

fn mark(row: usize, index: usize, on: bool) {
    if let Some(chip) = document().get_element_by_id(&name_of(row, index)) {
        // Setting a plain attribute by a legal name does not fail.
        let _ = chip.set_attribute("aria-selected", if on { "true" } else { "false" });
    }
}

fn token_under(event: &web_sys::Event) -> Option<usize> {
    let element = event.target()?.dyn_into::<web_sys::Element>().ok()?;
    element.closest("[data-token]").ok()??.get_attribute("data-token")?.parse().ok()
}
