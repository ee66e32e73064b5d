//! The window: the same model that sees only its last few positions, and from which token on its text is another one.

use hearth_shared::lab::cache::NEW;
use leptos::prelude::*;

use super::controls::RunButton;
use super::dial::Dial;
use super::run::Side;
use super::session::use_session;
use super::word;
use super::words::Words;
use crate::app::components::icons::Icon;
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

const WINDOWS: [u32; 10] = [0, 1, 2, 4, 8, 16, 32, 64, 96, NEW.1];

#[component]
pub fn Rolling() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let set = Callback::new(move |window| session.window.set(window));
    let window = Memo::new(move |_| session.run.with(|run| run.as_ref().and_then(|run| run.begun.window)));
    let held = move || {
        session.run.with(|run| {
            let run = run.as_ref().filter(|run| run.held.positions > 0)?;
            let all = u64::from(run.held.positions);
            let kept = u64::from(run.begun.window?).min(all);
            let bytes = |positions| format::bytes(run.begun.shape.kv_cache(positions, 4.0) as u64);
            Some(t_string!(
                i18n,
                cache.window_held,
                kept = kept,
                all = all,
                bytes = bytes(kept),
                all_bytes = bytes(all)
            ))
        })
    };
    view! {
        <section
            class="card cache-window"
            class:off=move || session.window.get() == 0
            aria-labelledby="window-title"
        >
            <div class="section-head">
                <h2 id="window-title">{t!(i18n, cache.window_title)}</h2>
                <Parts/>
            </div>
            <p class="cache-help">{t!(i18n, cache.window_help)}</p>
            <div class="cache-window-ask">
                <Dial
                    label=word!(i18n, window) hint=word!(i18n, window_hint) name="window" stops=&WINDOWS
                    value=session.window set
                />
                <RunButton/>
            </div>
            <Show
                when=move || window.get().is_some()
                fallback=move || view! { <p class="hint">{t!(i18n, cache.window_off)}</p> }
            >
                <p class="cache-here num">{held}</p>
                <div class="cache-sides">
                    <Words side=Side::Kept title=word!(i18n, sees_all) name="all"/>
                    <Words side=Side::Windowed title=word!(i18n, windowed) name="windowed"/>
                </div>
                <p class="hint">{t!(i18n, cache.window_masks)}</p>
            </Show>
        </section>
    }
}

/// Where the window's text leaves the other.
#[component]
fn Parts() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let parts = Memo::new(move |_| {
        session.run.with(|run| {
            let run = run.as_ref().filter(|run| run.begun.window.is_some() && !run.steps.is_empty())?;
            Some((run.steps.len(), run.parts_at(Side::Windowed)))
        })
    });
    view! {
        <span aria-live="polite" id="cache-window-verdict">
            {move || match parts.get() {
                None => ().into_any(),
                Some((count, None)) => {
                    view! {
                        <span class="badge good">
                            <Icon name="check" size=14/>
                            {t_string!(i18n, cache.window_equal, count = count)}
                        </span>
                    }
                        .into_any()
                }
                Some((_, Some(step))) => {
                    view! {
                        <span class="badge ember">{t_string!(i18n, cache.window_parts, index = step + 1)}</span>
                    }
                        .into_any()
                }
            }}
        </span>
    }
}
