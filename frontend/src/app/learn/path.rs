//! The path: every chapter as a card with what is done of it, and where to go on.

use hearth_shared::learn::CHAPTERS;
use hearth_shared::learn::chapter::Chapter;
use hearth_shared::learn::exercise::EXERCISES;
use leptos::prelude::*;

use super::Ring;
use super::course::{Course, use_course};
use super::keep::Keep;
use crate::app::components::icons::Icon;
use crate::app::components::{Failure, Skeleton};
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::store::Load;

/// The page at `/learn`.
#[component]
pub fn Learn() -> impl IntoView {
    let i18n = use_i18n();
    let course = use_course();
    course.keep_loaded();
    view! {
        <div class="page learn">
            <header class="page-head">
                <div>
                    <h1>{t!(i18n, learn.title)}</h1>
                    <p>{t!(i18n, learn.lead)}</p>
                </div>
                <Keep/>
            </header>
            {move || match course.chapters.get() {
                Load::Waiting => view! { <div class="card"><Skeleton lines=6/></div> }.into_any(),
                Load::Failed(error) => {
                    let retry = move |()| course.reload(i18n.get_locale_untracked());
                    view! { <Failure error=Signal::stored(error) retry/> }.into_any()
                }
                Load::Ready(chapters) => {
                    view! {
                        <Whole chapters=chapters.clone()/>
                        <ol class="learn-path">
                            {chapters
                                .into_iter()
                                .enumerate()
                                .map(|(at, chapter)| view! { <Card at chapter/> })
                                .collect_view()}
                        </ol>
                    }
                        .into_any()
                }
            }}
        </div>
    }
}

/// Exercises of a chapter: how many are solved, how many there are.
fn done(course: Course, chapter: &Chapter) -> (usize, usize) {
    course.progress.with(|progress| {
        let solved = chapter.tasks().filter(|task| progress.is_solved(task.exercise.id)).count();
        (solved, chapter.tasks().count())
    })
}

/// All chapters together, and the next one.
#[component]
fn Whole(chapters: Vec<Chapter>) -> impl IntoView {
    let i18n = use_i18n();
    let course = use_course();
    let solved = Memo::new(move |_| {
        course.progress.with(|progress| EXERCISES.iter().filter(|exercise| progress.is_solved(exercise.id)).count())
    });
    let all = EXERCISES.len();
    let label = Signal::derive(move || t_string!(i18n, learn.of_exercises, solved = solved.get(), all = all));
    let fresh = move || course.progress.with(|progress| progress.opened.is_empty() && progress.solved.is_empty());
    let next = move || {
        let open = chapters.iter().position(|chapter| {
            let (solved, all) = done(course, chapter);
            solved < all
        });
        open.and_then(|at| Some((CHAPTERS.get(at).copied()?, chapters.get(at)?.title.clone())))
    };
    view! {
        <section class="learn-whole card" data-solved=move || solved.get() aria-label=label>
            {move || view! { <Ring done=solved.get() all label text=format!("{}/{all}", solved.get())/> }}
            <p>{label}</p>
            {move || match next() {
                Some((name, title)) => {
                    view! {
                        <a class="button primary" href=format!("/learn/{name}") data-action="next">
                            {move || {
                                if fresh() {
                                    t_string!(i18n, learn.begin).to_owned()
                                } else {
                                    t_string!(i18n, learn.go_on, title = title.clone())
                                }
                            }}
                            <Icon name="arrow" size=16/>
                        </a>
                    }
                        .into_any()
                }
                None => view! { <p class="learn-finished">{t!(i18n, learn.finished)}</p> }.into_any(),
            }}
        </section>
    }
}

#[component]
fn Card(at: usize, chapter: Chapter) -> impl IntoView {
    let i18n = use_i18n();
    let course = use_course();
    let name = CHAPTERS.get(at).copied().unwrap_or_default();
    let Chapter { title, able, minutes, .. } = chapter.clone();
    let count = Memo::new(move |_| done(course, &chapter));
    let label = Signal::derive(move || {
        let (solved, all) = count.get();
        t_string!(i18n, learn.of_exercises, solved = solved, all = all)
    });
    let opened = move || course.progress.with(|progress| progress.opened.contains(name));
    let ring = move || {
        let (done, all) = count.get();
        view! { <Ring done all label text=(at + 1).to_string()/> }
    };
    view! {
        <li class="learn-stop" class:done=move || { let (solved, all) = count.get(); all > 0 && solved == all }>
            {ring}
            <a class="learn-card" href=format!("/learn/{name}") data-chapter=name>
                <h2>{title}</h2>
                <p>{able}</p>
                <span class="learn-meta num">
                    <span>
                        <Icon name="clock" size=14/>
                        {move || t_string!(i18n, learn.minutes, minutes = minutes)}
                    </span>
                    <span>{label}</span>
                    {move || opened().then(|| view! { <span class="badge">{t!(i18n, learn.opened)}</span> })}
                </span>
            </a>
        </li>
    }
}
