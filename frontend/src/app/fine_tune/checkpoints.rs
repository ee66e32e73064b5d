//! A run's checkpoints, and the way from each to a lab and to a chat. An adapter's answer under names of their own; of whole weights the server makes
//! a model when somebody wants to see one.

use hearth_shared::api::List;
use hearth_shared::api::fine_tuning::{Checkpoint, Job};
use hearth_shared::api::jobs::JobKind;
use hearth_shared::api::models::Model;
use hearth_shared::spec::AdapterSpec;
use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::use_navigate;
use wasm_bindgen_futures::spawn_local;

use super::JOBS;
use super::feed::{Record, Saved};
use crate::app::client::{self, ClientError};
use crate::app::components::icons::Icon;
use crate::app::i18n::{t, t_string, use_i18n};

const LAB: &str = "/lab/attention";
const CHAT: &str = "/playground";

/// Whether its checkpoints are models already: adapters are, of whole weights they are made.
pub fn keeps_adapters(job: &Job) -> bool {
    job.hearth.kind == JobKind::FineTune && job.hearth.options.adapter().is_some()
}

/// Whether labs have a place for what the run trains: not for virtual tokens before the text.
fn opens_in_labs(job: &Job) -> bool {
    let adapter = job.hearth.spec.as_ref().and_then(|spec| spec.adapter.as_ref());
    !matches!(adapter, Some(AdapterSpec::Prefix(_) | AdapterSpec::Prompt(_)))
}

/// What the run can be gone on from, and looked into.
#[component]
pub fn Checkpoints(job: Memo<Option<Job>>, record: RwSignal<Record>) -> impl IntoView {
    let i18n = use_i18n();
    let count = Memo::new(move |_| record.with(|record| record.saved.len()));
    let rows = RwSignal::new(Vec::<Checkpoint>::new());
    let id = Memo::new(move |_| job.with(|job| job.as_ref().map(|job| job.id.clone())));
    let adapters = Memo::new(move |_| job.with(|job| job.as_ref().is_some_and(keeps_adapters)));
    let labs = Memo::new(move |_| job.with(|job| job.as_ref().is_some_and(opens_in_labs)));
    Effect::new(move |_| {
        count.track();
        // Only adapters answer by themselves.
        let Some(id) = id.get().filter(|_| adapters.get()) else { return };
        spawn_local(async move {
            let path = format!("{JOBS}/{id}/checkpoints?limit=100");
            if let Ok(list) = client::get::<List<Checkpoint>>(&path).await {
                let _ = rows.try_set(list.data);
            }
        });
    });
    let shown = Memo::new(move |_| -> Vec<Shown> {
        if adapters.get() {
            rows.get().into_iter().map(Shown::from).collect()
        } else {
            let kept = job.with(|job| Some(job.as_ref()?.hearth.spec.as_ref()?.keep_checkpoints));
            let best = job.with(|job| job.as_ref().is_some_and(waits_for_a_best));
            record.with(|record| standing(&record.saved, kept.map_or(usize::MAX, |kept| kept as usize), best))
        }
    });
    view! {
        <section class="card compare-scroll" tabindex="0">
            <div class="section-head">
                <h2>{t!(i18n, tune.checkpoints)}</h2>
            </div>
            <Show
                when=move || shown.with(|shown| !shown.is_empty())
                fallback=move || view! { <p class="soft">{t!(i18n, tune.no_checkpoints)}</p> }
            >
                <table class="checkpoints num">
                    <thead>
                        <tr>
                            <th>{t!(i18n, tune.step)}</th>
                            <th>{t!(i18n, tune.train_loss)}</th>
                            <th>{t!(i18n, tune.valid_loss)}</th>
                            <th></th>
                        </tr>
                    </thead>
                    <tbody>
                        <For each=move || shown.get() key=|row| (row.step, row.gone) let:row>
                            <ShownRow row id labs/>
                        </For>
                    </tbody>
                </table>
            </Show>
        </section>
    }
}

/// Whether the best one stays, however old.
fn waits_for_a_best(job: &Job) -> bool {
    job.hearth.spec.as_ref().is_some_and(|spec| spec.early_stop.is_some())
}

/// The lines of a run of whole weights, the newest first: so many of them stand, and the best where it is kept.
fn standing(saved: &[Saved], kept: usize, best: bool) -> Vec<Shown> {
    let found = |a: &&Saved, b: &&Saved| a.valid_loss.unwrap_or(f64::MAX).total_cmp(&b.valid_loss.unwrap_or(f64::MAX));
    let best = saved.iter().filter(|saved| best && saved.valid_loss.is_some()).min_by(found).map(|saved| saved.step);
    let rows = saved.iter().rev().enumerate();
    rows.map(|(at, saved)| Shown { gone: at >= kept && best != Some(saved.step), ..Shown::from(saved) }).collect()
}

/// A checkpoint's line.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    step: u64,
    train_loss: Option<f64>,
    valid_loss: Option<f64>,
    /// The name it answers under; none before a model is made of it.
    model: Option<String>,
    /// Cleared away, as older ones are.
    gone: bool,
}

impl From<Checkpoint> for Shown {
    fn from(row: Checkpoint) -> Self {
        Self {
            step: row.step_number,
            train_loss: row.metrics.train_loss,
            valid_loss: row.metrics.full_valid_loss.or(row.metrics.valid_loss),
            model: Some(row.fine_tuned_model_checkpoint),
            gone: false,
        }
    }
}

impl From<&Saved> for Shown {
    fn from(saved: &Saved) -> Self {
        Self { step: saved.step, train_loss: saved.train_loss, valid_loss: saved.valid_loss, model: None, gone: false }
    }
}

#[component]
fn ShownRow(row: Shown, id: Memo<Option<String>>, labs: Memo<bool>) -> impl IntoView {
    let loss = |loss: Option<f64>| loss.map_or_else(|| "—".to_owned(), |loss| format!("{loss:.3}"));
    let step = row.step;
    let ways = match row.model {
        None if row.gone => view! { <Gone/> }.into_any(),
        Some(model) => view! { <Ways model labs/> }.into_any(),
        None => view! { <Making step id/> }.into_any(),
    };
    view! {
        <tr>
            <td>{step}</td>
            <td>{loss(row.train_loss)}</td>
            <td>{loss(row.valid_loss)}</td>
            <td>{ways}</td>
        </tr>
    }
}

#[component]
fn Gone() -> impl IntoView {
    let i18n = use_i18n();
    view! { <span class="soft checkpoint-gone">{t!(i18n, tune.checkpoint_gone)}</span> }
}

/// Where `place` shows the model.
fn address(place: &str, model: &str) -> String {
    format!("{place}?model={}", js_sys::encode_uri_component(model))
}

/// To a model that is there.
#[component]
fn Ways(model: String, labs: Memo<bool>) -> impl IntoView {
    let i18n = use_i18n();
    let lab = StoredValue::new(address(LAB, &model));
    view! {
        <div class="checkpoint-ways">
            <Show when=move || labs.get()>
                <a class="button quiet small" data-act="checkpoint-lab" href=lab.get_value()>
                    <Icon name="eye" size=16/>
                    {t!(i18n, tune.open_lab)}
                </a>
            </Show>
            <a class="button quiet small" data-act="checkpoint-chat" href=address(CHAT, &model)>
                <Icon name="chat" size=16/>
                {t!(i18n, tune.try_it)}
            </a>
        </div>
    }
}

/// Has a model made of whole weights, and goes to it.
#[component]
fn Making(step: u64, id: Memo<Option<String>>) -> impl IntoView {
    let i18n = use_i18n();
    let navigate = use_navigate();
    let busy = RwSignal::new(false);
    let error = RwSignal::new(None::<ClientError>);
    let open = Callback::new(move |place: &'static str| {
        // A button that is disabled would lose the focus.
        let Some(id) = id.get_untracked().filter(|_| !busy.get_untracked()) else { return };
        let navigate = navigate.clone();
        busy.set(true);
        error.set(None);
        spawn_local(async move {
            let path = format!("/v1/hearth/jobs/{id}/checkpoints/{step}/model");
            let made = client::post::<Model>(&path, &serde_json::json!({})).await;
            if busy.try_set(false).is_some() {
                // The page was left meanwhile: nobody waits for it.
                return;
            }
            match made {
                Ok(model) => navigate(&address(place, &model.id), NavigateOptions::default()),
                Err(fault) => error.set(Some(fault)),
            }
        });
    });
    view! {
        <div class="checkpoint-ways" aria-busy=move || busy.get().to_string()>
            {[(LAB, "checkpoint-lab", "eye"), (CHAT, "checkpoint-chat", "chat")]
                .map(|(place, act, icon)| {
                    view! {
                        <button
                            class="button quiet small"
                            data-act=act
                            aria-disabled=move || busy.get().to_string()
                            on:click=move |_| open.run(place)
                        >
                            <Icon name=icon size=16/>
                            {move || if place == LAB { t_string!(i18n, tune.open_lab) } else { t_string!(i18n, tune.try_it) }}
                        </button>
                    }
                })}
            <p class="checkpoint-said soft" role="status">
                <Show when=move || busy.get()>
                    <span class="spinner" aria-hidden="true"></span>
                    {t!(i18n, tune.checkpoint_making)}
                </Show>
            </p>
            {move || {
                error
                    .get()
                    .map(|error| {
                        let words = match &error {
                            ClientError::Unreachable => t_string!(i18n, common.unreachable_title).to_owned(),
                            gone if gone.is_not_found() => t_string!(i18n, tune.checkpoint_gone).to_owned(),
                            other => other.to_string(),
                        };
                        view! {
                            <p class="checkpoint-said bad" role="alert">
                                <Icon name="warn" size=16/>
                                {words}
                            </p>
                        }
                    })
            }}
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_checkpoints_are_gone_but_the_best() {
        let saved = |step, valid_loss| Saved { step, train_loss: None, valid_loss };
        let all = [saved(1, Some(3.0)), saved(2, Some(2.0)), saved(3, Some(2.5)), saved(4, None)];
        let there = |kept, best| -> Vec<u64> {
            standing(&all, kept, best).into_iter().filter(|row| !row.gone).map(|row| row.step).collect()
        };
        assert_eq!(there(1, false), [4]);
        assert_eq!(there(1, true), [4, 2]);
        assert_eq!(there(9, false), [4, 3, 2, 1]);
    }
}
