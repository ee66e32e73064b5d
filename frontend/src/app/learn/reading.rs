//! A chapter: its text and its exercises, the lab beside them (below them on a phone), and the way to the next one.

use hearth_shared::learn::CHAPTERS;
use hearth_shared::learn::chapter::{Chapter, Part};
use hearth_shared::learn::exercise::Watched;
use leptos::ev::MouseEvent;
use leptos::html::Iframe;
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;
use wasm_bindgen::JsCast;
use web_sys::Element;

use super::course::use_course;
use super::exercise::ExerciseCard;
use super::frame::{LabFrame, Seen};
use super::jobs::Jobs;
use super::markdown::html;
use crate::app::components::icons::Icon;
use crate::app::components::split::{Split, Splitter};
use crate::app::components::{Failure, Skeleton};
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::store::Load;

/// Windows where the lab stands below the text. As in `learn.css`.
const STACKED: &str = "(max-width: 68rem)";
const SPLIT: &str = "hearth.learn.split";

/// The page at `/learn/:chapter`. Another chapter has another frame: everything below is made anew.
#[component]
pub fn Reading() -> impl IntoView {
    let params = use_params_map();
    let name = Memo::new(move |_| params.with(|params| params.get("chapter").unwrap_or_default()));
    move || {
        let at = name.with(|name| CHAPTERS.iter().position(|chapter| chapter == name));
        match at {
            Some(at) => view! { <ChapterPage at/> }.into_any(),
            None => view! { <Unknown/> }.into_any(),
        }
    }
}

#[component]
fn Unknown() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <section class="page narrow">
            <div class="empty">
                <Icon name="compass" size=40/>
                <h1>{t!(i18n, learn.unknown_title)}</h1>
                <p>{t!(i18n, learn.unknown_text)}</p>
                <a class="button primary" href="/learn">{t!(i18n, learn.title)}</a>
            </div>
        </section>
    }
}

#[component]
fn ChapterPage(at: usize) -> impl IntoView {
    let i18n = use_i18n();
    let course = use_course();
    course.keep_loaded();
    if let Some(name) = CHAPTERS.get(at) {
        course.change(|progress| {
            progress.opened.insert((*name).to_owned());
        });
    }
    let chapter = Memo::new(move |_| course.chapters.with(|chapters| chapters.ready()?.get(at).cloned()));
    // Both languages have the same lab, so that another language leaves the frame alone.
    let lab = Memo::new(move |_| {
        chapter.with(|chapter| {
            let chapter = chapter.as_ref()?;
            Some((chapter.lab.clone(), chapter.tasks().map(|task| task.exercise).collect::<Vec<_>>()))
        })
    });
    let split = Split::stored(SPLIT);
    // Fine-tunes in the lab's place have a width of their own, and no separator.
    let share = move || {
        let jobs = lab.with(|lab| matches!(lab, Some((None, _))));
        if jobs { None } else { split.property() }
    };
    let seen = RwSignal::new(None::<Seen>);
    let frame: NodeRef<Iframe> = NodeRef::new();
    let failure = move || {
        course.chapters.with(|chapters| match chapters {
            Load::Failed(error) => Some(error.clone()),
            _ => None,
        })
    };
    view! {
        <div class="page learn-chapter" data-chapter=CHAPTERS.get(at).copied()>
            <a class="back soft" href="/learn">
                <Icon name="back" size=16/>
                {t!(i18n, learn.title)}
            </a>
            <div class="learn-body" class:splitting=move || split.is_dragged() style:--split=share>
                {move || match (chapter.get(), failure()) {
                    (Some(chapter), _) => view! { <Text at chapter seen frame/> }.into_any(),
                    (None, Some(error)) => {
                        let retry = move |()| course.reload(i18n.get_locale_untracked());
                        view! { <Failure error=Signal::stored(error) retry/> }.into_any()
                    }
                    (None, None) => view! { <div class="card"><Skeleton lines=9/></div> }.into_any(),
                }}
                {move || match lab.get() {
                    Some((None, exercises)) if exercises.iter().any(|exercise| exercise.watched == Watched::Jobs) => {
                        view! { <Jobs seen/> }.into_any()
                    }
                    Some((Some(lab), exercises)) => view! {
                        <Splitter
                            split
                            label=Signal::derive(move || t_string!(i18n, learn.split).to_owned())
                            help=Signal::derive(move || t_string!(i18n, learn.split_help).to_owned())
                        />
                        <LabFrame lab exercises seen frame/>
                    }
                    .into_any(),
                    _ => ().into_any(),
                }}
            </div>
        </div>
    }
}

#[component]
fn Text(at: usize, chapter: Chapter, seen: RwSignal<Option<Seen>>, frame: NodeRef<Iframe>) -> impl IntoView {
    let i18n = use_i18n();
    let Chapter { title, minutes, able, parts, .. } = chapter;
    let mut exercises = 0;
    let parts = parts.into_iter().map(|part| match part {
        Part::Text(text) => view! { <div class="learn-prose" inner_html=html(&text)></div> }.into_any(),
        Part::Exercise(task) => {
            exercises += 1;
            view! { <ExerciseCard task number=exercises seen/> }.into_any()
        }
    });
    let parts = parts.collect_view();
    view! {
        <article class="learn-text" on:click=move |event| reveal(&event, frame)>
            <header class="learn-title">
                <p class="hint num">
                    {move || t_string!(i18n, learn.chapter, number = at + 1, all = CHAPTERS.len())}
                    " · "
                    {move || t_string!(i18n, learn.minutes, minutes = minutes)}
                </p>
                <h1>{title}</h1>
                <p class="soft">{able}</p>
            </header>
            {parts}
            <Neighbours at/>
        </article>
    }
}

/// A link into the frame is followed where the reader can see it.
fn reveal(event: &MouseEvent, frame: NodeRef<Iframe>) {
    let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
    let link = target.and_then(|target| target.closest("a.learn-try").ok().flatten());
    let stacked = window().match_media(STACKED).ok().flatten().is_some_and(|query| query.matches());
    if link.is_some()
        && stacked
        && let Some(frame) = frame.get_untracked()
    {
        frame.scroll_into_view();
    }
}

/// To the chapter before and the one behind.
#[component]
fn Neighbours(at: usize) -> impl IntoView {
    let i18n = use_i18n();
    let course = use_course();
    let title = move |at: usize| {
        course.chapters.with(|chapters| chapters.ready()?.get(at).map(|chapter| chapter.title.clone()))
    };
    let before = at.checked_sub(1).and_then(|at| Some((at, CHAPTERS.get(at).copied()?)));
    let behind = CHAPTERS.get(at + 1).map(|name| (at + 1, *name));
    view! {
        <nav class="learn-neighbours" aria-label=move || t_string!(i18n, learn.chapters)>
            {before
                .map(|(at, name)| {
                    view! {
                        <a href=format!("/learn/{name}") data-to="before">
                            <span class="hint">{t!(i18n, learn.before)}</span>
                            <strong>{move || title(at)}</strong>
                        </a>
                    }
                })}
            {behind
                .map(|(at, name)| {
                    view! {
                        <a class="behind" href=format!("/learn/{name}") data-to="behind">
                            <span class="hint">{t!(i18n, learn.behind)}</span>
                            <strong>{move || title(at)}</strong>
                        </a>
                    }
                })}
        </nav>
    }
}
