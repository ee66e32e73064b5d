//! An exercise on the page: what is asked, and where the reader stands: not tried, tried and what is missing, or solved and what was
//! reached. The verdict is the exercise's own; nothing is judged here.

use hearth_shared::learn::chapter::{Task, filled};
use hearth_shared::learn::exercise::{Exercise, Facts, Verdict};
use hearth_shared::learn::progress::Progress;
use leptos::ev::MouseEvent;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

use super::course::{Course, use_course};
use super::frame::Seen;
use super::markdown::html;
use crate::app::components::icons::Icon;
use crate::app::components::toast::use_toasts;
use crate::app::i18n::{t, t_string, tu_string, use_i18n};

/// Where the reader stands.
#[derive(Clone, Debug, PartialEq)]
enum Standing {
    Untried,
    /// Earlier; now there is nothing to judge.
    Tried,
    Missing {
        line: &'static str,
        facts: Facts,
    },
    Solved(Facts),
}

impl Standing {
    fn word(&self) -> &'static str {
        match self {
            Self::Untried => "untried",
            Self::Tried | Self::Missing { .. } => "tried",
            Self::Solved(_) => "solved",
        }
    }
}

/// The verdict on what was seen; none where there is nothing to judge. Until the reader has begun, a verdict is none if the untouched lab
/// has the same: what was done is about another exercise.
fn verdict(exercise: &Exercise, seen: Option<&Seen>, begun: bool) -> Option<Verdict> {
    let seen = seen?;
    let now = judged(exercise, &seen.json)?;
    (begun || judged(exercise, &seen.begun).as_ref() != Some(&now)).then_some(now)
}

fn judged(exercise: &Exercise, json: &str) -> Option<Verdict> {
    match exercise.judge(json) {
        Ok(verdict) => verdict,
        Err(error) => {
            leptos::logging::warn!("{}: {error}", exercise.id);
            None
        }
    }
}

#[component]
pub fn ExerciseCard(
    task: Task,
    /// Of the chapter, from 1.
    number: usize,
    #[prop(into)] seen: Signal<Option<Seen>>,
) -> impl IntoView {
    let i18n = use_i18n();
    let course = use_course();
    let exercise = task.exercise;
    let toasts = use_toasts();
    let begun = StoredValue::new(false);
    let verdict = Memo::new(move |_| {
        let found = seen.with(|seen| verdict(exercise, seen.as_ref(), begun.get_value()));
        if found.is_some() {
            begun.set_value(true);
        }
        found
    });
    Effect::new(move |_| {
        let verdict = verdict.get();
        if note(course, exercise, verdict.as_ref()) {
            // The lab may fill the window, and this card be out of sight.
            toasts.good(tu_string!(i18n, learn.solved_now, number = number));
        }
    });
    let standing = Memo::new(move |_| {
        let (tried, solved) = course
            .progress
            .with(|progress| (progress.tried.contains(exercise.id), progress.solved.get(exercise.id).cloned()));
        match (solved, verdict.get()) {
            (Some(facts), _) | (None, Some(Verdict::Solved { facts })) => Standing::Solved(facts),
            (None, Some(Verdict::Missing { line, facts })) => Standing::Missing { line, facts },
            (None, None) if tried => Standing::Tried,
            (None, None) => Standing::Untried,
        }
    });
    let word = Memo::new(move |_| standing.with(Standing::word));
    let asked = filled(&html(task.task()), &exercise.asked());
    let hint = filled(&html(task.hint()), &exercise.asked());
    let answer = move || {
        standing.with(|standing| match standing {
            Standing::Missing { line, facts } => filled(&html(task.line(line)), facts),
            // A file from elsewhere may know that it was solved, and not by what.
            Standing::Solved(facts) => {
                Some(filled(&html(task.solved()), facts)).filter(|line| !line.contains('{')).unwrap_or_default()
            }
            Standing::Tried | Standing::Untried => String::new(),
        })
    };
    let misses = move || standing.with(|standing| matches!(standing, Standing::Missing { .. }));
    let title = heading(exercise.id);
    view! {
        <section
            class="learn-exercise"
            data-exercise=exercise.id
            data-state=move || word.get()
            aria-labelledby=title.clone()
        >
            <h3 id=title.clone() tabindex="-1">
                {move || t_string!(i18n, learn.exercise, number = number)}
                " "
                <Badge word/>
            </h3>
            <div class="learn-task" inner_html=asked></div>
            <div class="learn-answer" aria-live="polite" inner_html=answer></div>
            <details class="learn-hint" hidden=move || !misses()>
                <summary>{t!(i18n, learn.hint)}</summary>
                <div inner_html=hint></div>
            </details>
        </section>
    }
}

/// The id of an exercise's heading on the page.
fn heading(id: &str) -> String {
    format!("exercise-{id}")
}

/// Remembers what was reached, and says whether it was solved just now. The first solution stays.
fn note(course: Course, exercise: &Exercise, verdict: Option<&Verdict>) -> bool {
    let Some(verdict) = verdict else { return false };
    let known = course.progress.with_untracked(|progress| match verdict {
        Verdict::Solved { .. } => progress.is_solved(exercise.id),
        Verdict::Missing { .. } => progress.tried.contains(exercise.id),
    });
    if known {
        return false;
    }
    course.change(|progress| match verdict {
        Verdict::Solved { facts } => progress.solve(exercise.id, facts.clone()),
        Verdict::Missing { .. } => {
            progress.tried.insert(exercise.id.to_owned());
        }
    });
    verdict.is_solved()
}

/// Where the reader stands with each of a chapter's exercises, to stand beside a lab that hides their cards; each leads to its card.
#[component]
pub fn Marks(exercises: Vec<&'static Exercise>) -> impl IntoView {
    let i18n = use_i18n();
    let course = use_course();
    let marks = (1_usize..).zip(exercises).map(|(number, exercise)| {
        let id = exercise.id;
        let word = Memo::new(move |_| course.progress.with(|progress| reached(progress, id)));
        let show = move |event: MouseEvent| {
            let card = document().get_element_by_id(&heading(id)).and_then(|card| card.dyn_into::<HtmlElement>().ok());
            if let Some(card) = card {
                event.prevent_default();
                card.scroll_into_view();
                // A heading takes the focus where it is told to.
                let _ = card.focus();
            }
        };
        view! {
            <li>
                <a href=format!("#{}", heading(id)) data-mark=id data-standing=move || word.get() on:click=show>
                    {move || t_string!(i18n, learn.exercise, number = number)}
                    " "
                    <Badge word/>
                </a>
            </li>
        }
    });
    view! {
        <ul class="learn-marks" aria-live="polite" aria-label=move || t_string!(i18n, learn.marks)>
            {marks.collect_view()}
        </ul>
    }
}

/// The word of what is remembered of an exercise, as [`Standing::word`] has it.
fn reached(progress: &Progress, id: &str) -> &'static str {
    if progress.is_solved(id) {
        "solved"
    } else if progress.tried.contains(id) {
        "tried"
    } else {
        "untried"
    }
}

#[component]
fn Badge(word: Memo<&'static str>) -> impl IntoView {
    let i18n = use_i18n();
    move || match word.get() {
        "solved" => view! {
            <span class="badge good">
                <Icon name="check" size=14/>
                {t!(i18n, learn.solved)}
            </span>
        }
        .into_any(),
        "tried" => view! { <span class="badge warn">{t!(i18n, learn.tried)}</span> }.into_any(),
        _ => view! { <span class="badge">{t!(i18n, learn.untried)}</span> }.into_any(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use hearth_shared::learn::exercise::find;

    use super::*;

    fn words(characters: u32) -> String {
        let row = r#"{"name": "hearth-nano", "ids": [1, 2]}"#;
        format!(r#"{{"characters": {characters}, "vocabularies": [{row}], "learned": []}}"#)
    }

    #[test]
    fn what_is_remembered_has_the_word_of_the_standing_it_leads_to() {
        let mut progress = Progress::default();
        assert_eq!(reached(&progress, "tokens-dear"), Standing::Untried.word());
        progress.tried.insert("tokens-dear".to_owned());
        assert_eq!(reached(&progress, "tokens-dear"), Standing::Tried.word());
        assert_eq!(reached(&progress, "tokens-own"), Standing::Untried.word());
        progress.solve("tokens-dear", Facts::new());
        assert_eq!(reached(&progress, "tokens-dear"), Standing::Solved(Facts::new()).word());
    }

    #[test]
    fn an_exercise_is_judged_once_something_was_done_that_it_is_about() {
        let seen = |characters| Seen { json: words(characters), begun: words(9) };
        let found = |id, characters, begun| verdict(find(id).unwrap(), Some(&seen(characters)), begun);
        assert_eq!(found("tokens-dear", 9, false), None, "nothing was done");
        assert!(found("tokens-dear", 8, false).is_some());
        // It asks for a vocabulary first: of another text it says the same.
        assert_eq!(found("tokens-own", 8, false), None);
        assert!(found("tokens-own", 8, true).is_some());
        assert!(found("tokens-dear", 9, true).is_some(), "once begun, it stays judged");
    }
}
