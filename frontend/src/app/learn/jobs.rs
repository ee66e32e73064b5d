//! What the server says of fine-tuning jobs, where an exercise asks for one: the list, and of those that ended well the first and the last
//! loss, from the result file that the job left.

use std::collections::BTreeMap;

use gloo::timers::future::TimeoutFuture;
use hearth_shared::api::List;
use hearth_shared::api::fine_tuning::{Job, JobStatus};
use hearth_shared::learn::tuning::{Tuned, TunedJob, losses};
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::frame::Seen;
use crate::app::client::{self, ClientError};
use crate::app::components::{Failure, icons::Icon};
use crate::app::fine_tune::JOBS;
use crate::app::i18n::{t, use_i18n};

const POLL_MS: u32 = 4_000;
/// Result files that one look fetches: the newest jobs' come first.
const MOST_FILES: usize = 8;

/// First and last loss by a job's id. A result never changes.
type Known = BTreeMap<String, (f64, f64)>;

/// Follows the jobs as long as it stands; beside the text, the way to a new one.
#[component]
pub fn Jobs(seen: RwSignal<Option<Seen>>) -> impl IntoView {
    let i18n = use_i18n();
    let trouble = RwSignal::new(None::<ClientError>);
    let known = StoredValue::new(Known::new());
    let look = move || async move {
        let outcome = ask(known).await;
        let error = outcome.as_ref().err().cloned();
        if let Ok(tuned) = outcome
            && let (Ok(json), Ok(begun)) = (serde_json::to_string(&tuned), serde_json::to_string(&Tuned::default()))
        {
            let now = Some(Seen { json, begun });
            if seen.try_with_untracked(|before| *before != now) == Some(true) {
                seen.set(now);
            }
        }
        let _ = trouble.try_set(error);
    };
    spawn_local(async move {
        while !trouble.is_disposed() {
            if !document().hidden() {
                look().await;
            }
            TimeoutFuture::new(POLL_MS).await;
        }
    });
    view! {
        <aside class="learn-jobs">
            <div class="card">
                <Icon name="tune" size=28/>
                <p>{t!(i18n, learn.jobs_text)}</p>
                <a class="button primary" href="/fine-tune/new">{t!(i18n, learn.jobs_action)}</a>
                <a class="button quiet" href="/fine-tune">{t!(i18n, learn.jobs_list)}</a>
            </div>
            {move || {
                trouble
                    .get()
                    .map(|error| {
                        let retry = Callback::new(move |()| spawn_local(look()));
                        view! { <Failure error=Signal::stored(error) retry/> }
                    })
            }}
        </aside>
    }
}

async fn ask(known: StoredValue<Known>) -> Result<Tuned, ClientError> {
    let list = client::get::<List<Job>>(&format!("{JOBS}?limit=100")).await?;
    let mut jobs = Vec::new();
    let mut fetched = 0;
    for job in list.data {
        let mut losses = known.try_with_value(|known| known.get(&job.id).copied()).flatten();
        if losses.is_none() && job.status == JobStatus::Succeeded && fetched < MOST_FILES {
            fetched += 1;
            losses = result(&job).await?;
            if let Some(losses) = losses {
                known.try_update_value(|known| known.insert(job.id.clone(), losses));
            }
        }
        jobs.push(TunedJob { id: job.id, status: job.status, losses });
    }
    Ok(Tuned { jobs })
}

async fn result(job: &Job) -> Result<Option<(f64, f64)>, ClientError> {
    let Some(file) = job.result_files.first() else {
        return Ok(None);
    };
    match client::get_text(&format!("/v1/files/{file}/content")).await {
        Ok(csv) => Ok(losses(&csv)),
        // Somebody removed it; the job itself stands.
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
