//! Merge by merge: how the beginning of the text becomes one vocabulary's tokens, to be walked forward and back.

use gloo::timers::callback::Interval;
use hearth_shared::lab::words::{Piece, STEPPED_CHARACTERS, Trail};
use leptos::prelude::*;

use super::session::{Merged, Session, use_session};
use super::shown::seen;
use crate::app::components::icons::Icon;
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

/// A walk takes about so long, however many steps there are.
const WALK_MS: usize = 15_000;
const SLOWEST_MS: usize = 700;
const QUICKEST_MS: usize = 50;

#[component]
pub fn Stepper() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let has_trail =
        Memo::new(move |_| session.merged.with(|merged| merged.as_ref().is_some_and(|merged| merged.trail.is_some())));
    let has_none = Memo::new(move |_| {
        let without = |merged: &Merged| merged.trail.is_none().then(|| (merged.name.clone(), merged.algorithm.clone()));
        session.merged.with(|merged| merged.as_ref().and_then(without))
    });
    view! {
        <section class="words-stepper card" aria-labelledby="words-stepper-title">
            <div class="section-head">
                <h2 id="words-stepper-title">{t!(i18n, words.stepper_title)}</h2>
                <Choice/>
            </div>
            <p class="hint">{t!(i18n, words.stepper_help)}</p>
            {move || {
                has_none
                    .get()
                    .map(|(name, algorithm)| {
                        let words = t_string!(i18n, words.no_merges, name = name, algorithm = algorithm);
                        view! { <p class="notice words-none">{words}</p> }
                    })
            }}
            <Show when=move || has_trail.get()>
                <Walk/>
                <Line/>
                <Pieces/>
            </Show>
        </section>
    }
}

/// Whose merges.
#[component]
fn Choice() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let now = move || session.merged.with(|merged| merged.as_ref().map(|merged| merged.name.clone()));
    // What did not load has no merges.
    let names = Memo::new(move |_| {
        let loaded =
            |name: &String| session.rows.with(|rows| rows.iter().any(|row| row.name == *name && row.cut.is_ok()));
        session.chosen.get().into_iter().filter(loaded).collect::<Vec<_>>()
    });
    view! {
        <label class="words-stepped">
            <span class="visually-hidden">{t!(i18n, words.stepped)}</span>
            <select
                class="select"
                name="stepped"
                on:change=move |event| {
                    session.step.set(None);
                    session.stepped.set(Some(event_target_value(&event)));
                }
            >
                {move || {
                    let now = now();
                    names
                        .get()
                        .into_iter()
                        .map(|name| {
                            let selected = now.as_ref() == Some(&name);
                            view! { <option value=name.clone() selected=selected>{name.clone()}</option> }
                        })
                        .collect_view()
                }}
            </select>
        </label>
    }
}

/// First, back, play, forward, last; and a slider over them all.
#[component]
fn Walk() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let playing = RwSignal::new(false);
    keep_playing(session, playing);
    let go = move |to: fn(usize, usize) -> usize| {
        move |_| {
            playing.set(false);
            let (step, steps) = untrack(|| session.place());
            session.go_to(to(step, steps));
        }
    };
    let play = move |_| {
        let (step, steps) = untrack(|| session.place());
        if !playing.get_untracked() && step >= steps {
            session.go_to(0);
        }
        playing.update(|playing| *playing = !*playing);
    };
    let at_first = move || session.place().0 == 0;
    let at_last = move || session.place().0 >= session.place().1;
    let label = move || if playing.get() { t_string!(i18n, words.pause) } else { t_string!(i18n, words.play) };
    view! {
        <div class="words-walk" role="group" aria-label=move || t_string!(i18n, words.stepper_title)>
            <button class="icon-button" data-walk="first" disabled=at_first
                aria-label=move || t_string!(i18n, words.first) title=move || t_string!(i18n, words.first)
                on:click=go(|_, _| 0)
            >
                <span aria-hidden="true">"⇤"</span>
            </button>
            <button class="icon-button" data-walk="back" disabled=at_first
                aria-label=move || t_string!(i18n, words.back) title=move || t_string!(i18n, words.back)
                on:click=go(|step, _| step.saturating_sub(1))
            >
                <Icon name="back"/>
            </button>
            <button class="icon-button words-play" data-walk="play" aria-label=label title=label on:click=play>
                {move || if playing.get() { view! { <Icon name="pause"/> } } else { view! { <Icon name="play"/> } }}
            </button>
            <button class="icon-button" data-walk="forward" disabled=at_last
                aria-label=move || t_string!(i18n, words.forward) title=move || t_string!(i18n, words.forward)
                on:click=go(|step, _| step + 1)
            >
                <Icon name="arrow"/>
            </button>
            <button class="icon-button" data-walk="last" disabled=at_last
                aria-label=move || t_string!(i18n, words.last) title=move || t_string!(i18n, words.last)
                on:click=go(|_, steps| steps)
            >
                <span aria-hidden="true">"⇥"</span>
            </button>
            <Scrub playing=playing/>
        </div>
    }
}

/// The slider over all steps, and which is in hand.
#[component]
fn Scrub(playing: RwSignal<bool>) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let fill = move || {
        let (step, steps) = session.place();
        format!("{:.2}%", step as f64 / steps.max(1) as f64 * 100.0)
    };
    let scrub = move |event| {
        playing.set(false);
        if let Ok(step) = event_target_value(&event).parse() {
            session.go_to(step);
        }
    };
    let words = move || {
        let (step, steps) = session.place();
        t_string!(i18n, words.step_of, step = step, steps = steps)
    };
    view! {
        <input
            type="range"
            class="words-scrub"
            min="0"
            max=move || session.place().1
            step="1"
            prop:value=move || session.place().0.to_string()
            style:--fill=fill
            aria-label=move || t_string!(i18n, words.scrub)
            aria-valuetext=words
            on:input=scrub
        />
        <span class="hint num words-place">{words}</span>
    }
}

fn keep_playing(session: Session, playing: RwSignal<bool>) {
    let timer = StoredValue::new_local(None::<Interval>);
    Effect::new(move |_| {
        if !playing.get() {
            timer.set_value(None);
            return;
        }
        let (_, steps) = untrack(|| session.place());
        let pause = (WALK_MS / steps.max(1)).clamp(QUICKEST_MS, SLOWEST_MS) as u32;
        let tick = move || {
            let (step, steps) = untrack(|| session.place());
            session.go_to(step + 1);
            if step + 1 >= steps {
                playing.set(false);
            }
        };
        timer.set_value(Some(Interval::new(pause, tick)));
    });
}

/// What the step in hand did, or that nothing was merged yet; and at the end whether it came out as the tokenizer says.
#[component]
fn Line() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let words = move || {
        let (step, _) = session.place();
        with_trail(session, |trail| match step.checked_sub(1).and_then(|last| Some((last, trail.pair(last)?))) {
            None if trail.from_bytes => {
                t_string!(i18n, words.start_bytes, count = format::group(trail.start.len() as u64))
            }
            None => t_string!(i18n, words.start_characters, count = format::group(trail.start.len() as u64)),
            Some((last, (left, right))) => t_string!(
                i18n,
                words.joins,
                left = seen(&left).text,
                right = seen(&right).text,
                joined = seen(&[left.as_slice(), right.as_slice()].concat()).text,
                rank = format::group(u64::from(trail.steps[last].rank)),
                places = trail.steps[last].places.len()
            ),
        })
    };
    let count = move || {
        let (step, _) = session.place();
        with_trail(session, |trail| {
            t_string!(i18n, words.pieces, count = format::group(trail.pieces(step).len() as u64))
        })
    };
    let ending = move || {
        let (step, steps) = session.place();
        let equal = with_trail(session, |trail| trail.equal).filter(|_| step >= steps)?;
        Some(if equal {
            view! {
                <span class="badge good" data-equal="true">
                    <Icon name="check" size=14/>
                    {t!(i18n, words.equal)}
                </span>
            }
            .into_any()
        } else {
            view! { <span class="badge bad" data-equal="false">{t!(i18n, words.not_equal)}</span> }.into_any()
        })
    };
    let notes = move || {
        let whole_length = session.length.get().characters;
        with_trail(session, |trail| {
            let cut = whole_length > u64::from(trail.characters);
            let cut = cut.then(|| t_string!(i18n, words.only_beginning, count = STEPPED_CHARACTERS));
            let whole = (trail.whole > 0).then(|| t_string!(i18n, words.taken_whole, count = trail.whole));
            cut.into_iter().chain(whole).map(|words| view! { <p class="hint">{words}</p> }).collect_view()
        })
    };
    view! {
        <div class="words-line" aria-live="polite">
            <bdi class="words-joins">{words}</bdi>
            <span class="badge num">{count}</span>
            {ending}
        </div>
        {notes}
    }
}

fn with_trail<T>(session: Session, read: impl FnOnce(&Trail) -> T) -> Option<T> {
    session.merged.with(|merged| merged.as_ref()?.trail.as_ref().map(read))
}

/// The pieces so far, word by word: no merge crosses from one into the next.
#[component]
fn Pieces() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let words = move || {
        let (step, _) = session.place();
        with_trail(session, |trail| {
            let pieces = trail.pieces(step);
            pieces.chunk_by(|left, right| left.word == right.word).map(|word| word_view(trail, word)).collect_view()
        })
    };
    view! {
        <div
            class="words-pieces"
            dir="auto"
            role="group"
            tabindex="0"
            aria-label=move || t_string!(i18n, words.pieces_label)
        >
            {words}
        </div>
        <p class="hint words-key">
            <span class="words-piece fresh" aria-hidden="true">"ab"</span>
            {t!(i18n, words.key_fresh)}
            <span class="words-piece next" aria-hidden="true">"a"</span>
            {t!(i18n, words.key_next)}
        </p>
    }
}

fn word_view(trail: &Trail, word: &[Piece]) -> impl IntoView + use<> {
    let mut ends_line = false;
    let pieces: Vec<_> = word
        .iter()
        .map(|piece| {
            let seen = seen(&trail.bytes(piece));
            ends_line |= seen.ends_line;
            view! {
                <span
                    class="words-piece"
                    class:fresh=piece.fresh
                    class:next=piece.next
                    class:part=seen.part
                    title=piece.id
                >
                    {seen.text}
                </span>
            }
        })
        .collect();
    view! {
        <span class="words-word">{pieces}</span>
        {ends_line.then(|| view! { <i class="words-break" aria-hidden="true"></i> })}
    }
}
