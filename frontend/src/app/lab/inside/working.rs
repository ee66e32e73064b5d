//! What stands before an open part's pictures: how far the worker is and a way to stop it, why it stopped, or that the text is too short.

use leptos::prelude::*;

use super::part::Part;
use super::state::{Doing, use_inside};
use crate::app::components::{Progress, icons::Icon};
use crate::app::i18n::{t, t_string, use_i18n};

/// The kinds of [`Doing`], so that a bar that moves is not made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Quiet,
    Runs,
    Stopped,
    Failed,
}

#[component]
pub fn Working(part: Part) -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let kind = Memo::new(move |_| {
        inside.doing.with(|doing| match doing {
            Doing::Idle => Kind::Quiet,
            Doing::Running { .. } => Kind::Runs,
            Doing::Stopped => Kind::Stopped,
            Doing::Failed(_) => Kind::Failed,
        })
    });
    let short = Memo::new(move |_| !inside.can(part));
    let reason = move || match inside.doing.get() {
        Doing::Failed(error) => error.to_string(),
        _ => String::new(),
    };
    view! {
        <Show when=move || short.get()>
            <p class="notice warn inside-short">{t!(i18n, inside.too_short)}</p>
        </Show>
        {move || match kind.get() {
            Kind::Quiet => ().into_any(),
            Kind::Runs => view! { <Runs/> }.into_any(),
            Kind::Stopped => {
                view! {
                    <div class="inside-work">
                        <span class="badge warn">{t!(i18n, inside.stopped)}</span>
                        <Again/>
                    </div>
                }
                    .into_any()
            }
            Kind::Failed => {
                view! {
                    <div class="notice bad" role="alert">
                        <Icon name="warn"/>
                        <div>
                            <strong>{move || t_string!(i18n, lab.failed_title)}</strong>
                            <p>{reason}</p>
                        </div>
                        <Again/>
                    </div>
                }
                    .into_any()
            }
        }}
    }
}

#[component]
fn Again() -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    view! {
        <button class="button small" data-action="again" on:click=move |_| inside.again()>
            <Icon name="retry" size=16/>
            {t!(i18n, common.retry)}
        </button>
    }
}

/// The bar, and the way to stop.
#[component]
fn Runs() -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let far = move || match inside.doing.get() {
        Doing::Running { done, total: Some(total), .. } if total > 0 => Some((done, total)),
        _ => None,
    };
    let share = Signal::derive(move || far().map(|(done, total)| done as f64 / total as f64));
    let label = Signal::derive(move || match far() {
        Some((done, total)) => t_string!(i18n, inside.how_far, done = done, total = total),
        None => t_string!(i18n, lab.computing).to_owned(),
    });
    view! {
        <div class="inside-work">
            <div class="inside-progress">
                <span class="hint num" aria-hidden="true">{label}</span>
                <Progress value=share label=label/>
            </div>
            <button class="button small" data-action="stop" on:click=move |_| inside.stop()>
                <Icon name="stop" size=16/>
                {t!(i18n, common.cancel)}
            </button>
        </div>
    }
}
