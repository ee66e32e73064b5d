//! The learning path: chapters of text beside the labs, with exercises that are judged by what the lab in the frame really computed. What an
//! exercise asks and how it judges is `hearth_shared::learn`; the chapters are files under `public/learn`.

mod course;
mod exercise;
mod frame;
mod jobs;
mod keep;
mod markdown;
mod path;
mod reading;

pub use course::{provide, use_course};
pub use path::Learn;
pub use reading::Reading;

use hearth_shared::learn::CHAPTERS;
use leptos::prelude::*;

/// The title of the chapter at a path, once the chapters are there.
pub fn title_at(course: course::Course, path: &str) -> Option<String> {
    let name = path.strip_prefix("/learn/")?.trim_end_matches('/');
    let at = CHAPTERS.iter().position(|chapter| *chapter == name)?;
    course.chapters.with(|chapters| Some(chapters.ready()?.get(at)?.title.clone()))
}

/// Units of the drawing.
const SIDE: f64 = 48.0;
const RADIUS: f64 = 20.0;

/// How much of something is done, as a ring that closes; what stands in it says the same in words.
#[component]
fn Ring(
    done: usize,
    all: usize,
    /// For those who do not see it.
    #[prop(into)]
    label: Signal<String>,
    /// What stands in its middle.
    #[prop(into)]
    text: String,
) -> impl IntoView {
    let length = std::f64::consts::TAU * RADIUS;
    let filled = done as f64 / all.max(1) as f64 * length;
    let (middle, whole) = (SIDE / 2.0, all > 0 && done >= all);
    view! {
        <svg class="learn-ring" class:whole=whole viewBox=format!("0 0 {SIDE} {SIDE}") role="img" aria-label=label>
            <circle class="learn-ring-ground" cx=middle cy=middle r=RADIUS></circle>
            <circle
                class="learn-ring-done"
                cx=middle
                cy=middle
                r=RADIUS
                stroke-dasharray=format!("{filled:.2} {length:.2}")
                transform=format!("rotate(-90 {middle} {middle})")
            ></circle>
            <text x=middle y=middle + 5.0 text-anchor="middle" aria-hidden="true">{text}</text>
        </svg>
    }
}
