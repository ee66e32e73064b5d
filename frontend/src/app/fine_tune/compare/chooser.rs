//! Which runs are laid over each other: all that ever took a step, and how many of them are chosen.

use hearth_shared::api::List;
use hearth_shared::api::fine_tuning::Job;
use hearth_shared::api::jobs::JobKind;
use leptos::prelude::*;

use super::super::ALL_JOBS;
use super::super::names;
use super::{COLOURS, View};
use crate::app::client;
use crate::app::i18n::{t, t_string, use_i18n};

/// Runs that are chosen where an address chooses none.
const FIRST: usize = 2;
/// Jobs that the server lists at once.
const PAGE: usize = 100;

/// Whether a job has a curve: it trains, and has begun to.
fn has_curve(job: &Job) -> bool {
    matches!(job.hearth.kind, JobKind::FineTune | JobKind::Pretrain) && job.hearth.step > 0
}

fn newest(jobs: &[Job]) -> Vec<String> {
    jobs.iter().filter(|job| has_curve(job)).take(FIRST).map(|job| job.id.clone()).collect()
}

/// What can be chosen, the newest first. What an address chose stays among it, whatever it is, so that it can be put back.
fn listed(jobs: &[Job], chosen: &[String]) -> Vec<String> {
    jobs.iter().filter(|job| has_curve(job) || chosen.contains(&job.id)).map(|job| job.id.clone()).collect()
}

/// All jobs, as far as they have come.
#[derive(Clone, Copy)]
pub struct Known {
    jobs: RwSignal<Vec<Job>>,
    complete: RwSignal<bool>,
}

impl Known {
    pub fn new() -> Self {
        Self { jobs: RwSignal::new(Vec::new()), complete: RwSignal::new(false) }
    }

    /// Page after page to the oldest job. The newest runs are chosen where an address chooses none, and what it names that is not
    /// here is forgotten.
    pub(super) async fn load(self, view: View) {
        let mut choosing = view.runs.try_with_untracked(Vec::is_empty) == Some(true);
        let mut after = String::new();
        loop {
            let answer = client::get::<List<Job>>(&format!("{ALL_JOBS}?limit={PAGE}{after}")).await;
            let Ok(List { data, has_more, last_id, .. }) = answer else { break };
            // Nobody waits for the rest once the page is left.
            if self.jobs.is_disposed() {
                return;
            }
            view.files.learn(&data);
            let Some(newest) = self.jobs.try_update(|jobs| {
                jobs.extend(data);
                newest(jobs)
            }) else {
                return;
            };
            let next = last_id.filter(|_| has_more);
            if choosing && (newest.len() == FIRST || next.is_none()) {
                choosing = false;
                // A person may have been quicker.
                if view.runs.try_with_untracked(Vec::is_empty) == Some(true) {
                    view.runs.set(newest);
                }
            }
            match next {
                Some(id) => after = format!("&after={id}"),
                None => {
                    self.forget_unknown(view);
                    break;
                }
            }
        }
        let _ = self.complete.try_set(true);
    }

    fn forget_unknown(self, view: View) {
        let is_known = |id: &String| self.jobs.with_untracked(|jobs| jobs.iter().any(|job| job.id == *id));
        let kept = view.runs.with_untracked(|runs| runs.iter().filter(|id| is_known(id)).cloned().collect::<Vec<_>>());
        // Setting it again would draw everything anew.
        if view.runs.with_untracked(|runs| kept.len() != runs.len()) {
            view.runs.set(kept);
        }
    }
}

/// Open as long as nothing is chosen; afterwards a line that says how much is, so that the drawing comes first.
#[component]
pub fn Chooser(known: Known) -> impl IntoView {
    let i18n = use_i18n();
    let View { runs, .. } = expect_context::<View>();
    let Known { jobs, complete } = known;
    let listed = Memo::new(move |_| jobs.with(|jobs| runs.with(|runs| listed(jobs, runs))));
    let open = RwSignal::new(false);
    Effect::new(move |_| {
        if complete.get() && runs.with(Vec::is_empty) {
            open.set(true);
        }
    });
    let chosen = move || runs.with(Vec::len);
    let count = move || {
        let (chosen, all) = (chosen().to_string(), listed.with(Vec::len).to_string());
        t_string!(i18n, tune.compare_chosen, chosen = chosen, all = all)
    };
    let full = Signal::derive(move || chosen() >= COLOURS.len());
    view! {
        <details class="card compare-chooser" prop:open=open data-listed=move || listed.with(Vec::len).to_string()>
            <summary>{count}</summary>
            <fieldset class="compare-runs">
                <legend class="field-label">{t!(i18n, tune.compare_choose)}</legend>
                <For each=move || listed.get() key=String::clone let:id>
                    {
                        let job = jobs.with_untracked(|jobs| jobs.iter().find(|job| job.id == id).cloned());
                        job.map(|job| view! { <Choice job full/> })
                    }
                </For>
            </fieldset>
            <Show when=move || complete.get() && listed.with(Vec::is_empty)>
                <p class="soft">{t!(i18n, tune.compare_nothing)}</p>
            </Show>
            <Show when=move || full.get()>
                <p class="hint">
                    {move || t_string!(i18n, tune.compare_most, most = COLOURS.len().to_string())}
                </p>
            </Show>
        </details>
    }
}

/// A run to be chosen. `full`: there is no colour left for another one.
#[component]
fn Choice(job: Job, full: Signal<bool>) -> impl IntoView {
    let i18n = use_i18n();
    let View { runs, files, .. } = expect_context::<View>();
    let tail = names::tail(&job.id);
    let id = StoredValue::new(job.id.clone());
    let at = move || id.with_value(|id| runs.with(|runs| runs.iter().position(|run| run == id)));
    let colour = move || at().map_or("var(--line-strong)", |at| COLOURS[at % COLOURS.len()]);
    let toggle = move |_| {
        let id = id.get_value();
        runs.update(|runs| match runs.iter().position(|run| *run == id) {
            Some(at) => drop(runs.remove(at)),
            None if runs.len() < COLOURS.len() => runs.push(id),
            None => {}
        });
    };
    view! {
        <label class="chip" style:--key=colour>
            <input
                type="checkbox"
                value=id.get_value()
                prop:checked=move || at().is_some()
                disabled=move || full.get() && at().is_none()
                on:change=toggle
            />
            <span class="chart-key">
                <span class="compare-name">{move || names::name(i18n, &job, files)}</span>
            </span>
            <code class="run-id">{tail}</code>
        </label>
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use serde_json::json;

    fn job(id: &str, kind: &str, step: u64) -> Job {
        let job = json!({
            "id": id, "object": "job", "created_at": 0, "hyperparameters": {}, "model": "", "organization_id": "",
            "result_files": [], "status": "succeeded", "training_file": "", "seed": 0, "method": {"type": kind},
            "hearth": {"kind": kind, "options": {}, "step": step, "attempt": 1},
        });
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn only_what_took_a_step_of_training_can_be_chosen() {
        let jobs = [
            job("job-export", "export", 1),
            job("ftjob-a", "fine_tune", 5),
            job("ftjob-failed", "fine_tune", 0),
            job("job-words", "tokenizer", 0),
            job("job-b", "pretrain", 9),
            job("ftjob-c", "fine_tune", 1),
        ];
        assert_eq!(listed(&jobs, &[]), ["ftjob-a", "job-b", "ftjob-c"]);
        assert_eq!(newest(&jobs), ["ftjob-a", "job-b"]);
        let named = ["job-words".to_owned()];
        assert_eq!(listed(&jobs, &named), ["ftjob-a", "job-words", "job-b", "ftjob-c"]);
    }
}
