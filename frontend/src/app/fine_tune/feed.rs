//! What a run has said so far, and the stream that keeps it up to date. A lost connection is taken up after the last event
//! that came; a run that fell back to a checkpoint overwrites what it does again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use gloo::timers::future::TimeoutFuture;
use hearth_shared::api::fine_tuning::{Job, JobEvent};
use hearth_shared::event::{Level, Metrics, RunEvent, Stage};
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::AbortController;

use super::ALL_JOBS;
use crate::app::client::{self, Call, sse};
use crate::app::store::Load;

/// Events are shown in batches: a replay brings thousands at once.
const BATCH: Duration = Duration::from_millis(80);
const RECONNECT_MS: u32 = 1_500;
const POLL_MS: u32 = 4_000;

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub step: u64,
    pub prompt: String,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    pub step: u64,
    pub train_loss: Option<f64>,
    pub valid_loss: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub seq: u64,
    pub time: i64,
    pub level: Level,
    pub text: String,
}

/// Everything the page of a run shows, beside the job object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub metrics: Vec<Metrics>,
    pub samples: Vec<Sample>,
    pub saved: Vec<Saved>,
    pub log: Vec<Line>,
    /// What is done before the first step, and how far that is, in bytes.
    pub stage: Option<(Stage, u64, u64)>,
    pub last: u64,
}

impl Record {
    fn take(&mut self, event: JobEvent) {
        if event.seq <= self.last {
            return;
        }
        self.last = event.seq;
        let said = event.data.and_then(|data| serde_json::from_value::<RunEvent>(data).ok());
        match said {
            Some(RunEvent::Metrics(metrics)) => {
                self.forget_from(metrics.step);
                self.metrics.push(metrics);
                return;
            }
            Some(RunEvent::Stage { stage, done, total }) => {
                self.stage = Some((stage, done, total));
                return;
            }
            Some(RunEvent::Sample { step, prompt, text }) => {
                self.samples.retain(|old| old.step != step || old.prompt != prompt);
                self.samples.push(Sample { step, prompt, text });
                return;
            }
            Some(RunEvent::Checkpoint { step, train_loss, valid_loss, .. }) => {
                self.saved.retain(|old| old.step != step);
                self.saved.push(Saved { step, train_loss, valid_loss });
            }
            _ => {}
        }
        self.log.push(Line { seq: event.seq, time: event.created_at, level: event.level, text: event.message });
    }

    /// The run is at this step (again): what it said of it and later steps is void.
    fn forget_from(&mut self, step: u64) {
        while self.metrics.last().is_some_and(|last| last.step >= step) {
            self.metrics.pop();
        }
        self.samples.retain(|sample| sample.step < step);
        self.saved.retain(|saved| saved.step < step);
    }
}

/// Tokens a second; none at the first step of a process, which has nothing behind it to be measured by.
pub fn speed(metrics: &Metrics) -> Option<f64> {
    Some(metrics.tokens_per_second).filter(|rate| *rate > 0.0)
}

#[derive(Clone, Copy)]
pub struct Feed {
    pub job: RwSignal<Load<Job>>,
    pub record: RwSignal<Record>,
}

/// Follows a job for as long as the calling component lives.
pub fn follow(id: String) -> Feed {
    let feed = Feed { job: RwSignal::new(Load::Waiting), record: RwSignal::new(Record::default()) };
    let Ok(abort) = AbortController::new() else {
        return feed;
    };
    let alive = Rc::new(Cell::new(true));
    {
        let (abort, alive) = (abort.clone(), alive.clone());
        let stop = StoredValue::new_local(move || {
            alive.set(false);
            abort.abort();
        });
        on_cleanup(move || stop.with_value(|stop| stop()));
    }
    spawn_local(poll(id.clone(), feed, alive.clone()));
    spawn_local(listen(id, feed, alive, abort));
    feed
}

impl Feed {
    pub async fn refresh(self, id: &str) {
        match client::get::<Job>(&format!("{ALL_JOBS}/{id}")).await {
            Ok(job) => {
                if self.job.try_with_untracked(|now| now.ready() != Some(&job)) == Some(true) {
                    let _ = self.job.try_set(Load::Ready(job));
                }
            }
            Err(error) => {
                if self.job.try_with_untracked(|now| now.ready().is_none()) == Some(true) {
                    let _ = self.job.try_set(Load::Failed(error));
                }
            }
        }
    }

    fn ended(self) -> bool {
        self.job.try_with_untracked(|job| job.ready().is_some_and(|job| job.status.ended())).unwrap_or(true)
    }
}

/// The job object changes with its events and without them (a pause takes effect between two steps).
async fn poll(id: String, feed: Feed, alive: Rc<Cell<bool>>) {
    while alive.get() {
        feed.refresh(&id).await;
        if feed.ended() {
            return;
        }
        TimeoutFuture::new(POLL_MS).await;
    }
}

async fn listen(id: String, feed: Feed, alive: Rc<Cell<bool>>, abort: AbortController) {
    let inbox: Rc<RefCell<Vec<JobEvent>>> = Rc::default();
    while alive.get() {
        let last = feed.record.try_with_untracked(|record| record.last).unwrap_or(0);
        let call = Call::new("GET", &format!("{ALL_JOBS}/{id}/events")).events((last > 0).then(|| last.to_string()));
        let (box_, alive_) = (inbox.clone(), alive.clone());
        let ended = sse::follow(call, &abort, |event| {
            if let Ok(event) = serde_json::from_str::<JobEvent>(&event.data) {
                let first = box_.borrow().is_empty();
                box_.borrow_mut().push(event);
                if first {
                    deliver_soon(feed, box_.clone(), id.clone());
                }
            }
            alive_.get()
        })
        .await;
        // What is still in the box must not be asked for again.
        deliver(feed, &inbox);
        if ended.is_ok() {
            feed.refresh(&id).await;
            if feed.ended() {
                return;
            }
        }
        TimeoutFuture::new(RECONNECT_MS).await;
    }
}

fn deliver_soon(feed: Feed, inbox: Rc<RefCell<Vec<JobEvent>>>, id: String) {
    set_timeout(
        move || {
            // A sentence in the log mostly means that the job object changed too.
            if deliver(feed, &inbox) {
                spawn_local(async move { feed.refresh(&id).await });
            }
        },
        BATCH,
    );
}

/// Empties the box into the record; whether there was something other than numbers.
fn deliver(feed: Feed, inbox: &RefCell<Vec<JobEvent>>) -> bool {
    let events: Vec<JobEvent> = inbox.borrow_mut().drain(..).collect();
    if events.is_empty() {
        return false;
    }
    let words = events.iter().any(|event| event.kind != "metrics");
    let _ = feed.record.try_update(|record| {
        for event in events {
            record.take(event);
        }
    });
    words
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    fn metrics(seq: u64, step: u64) -> JobEvent {
        let metrics = Metrics { step, train_loss: seq as f64, ..Metrics::default() };
        JobEvent {
            id: format!("e-{seq}"),
            object: String::new(),
            created_at: 0,
            level: Level::Info,
            message: String::new(),
            kind: "metrics".to_owned(),
            data: Some(serde_json::to_value(RunEvent::Metrics(metrics)).unwrap()),
            seq,
        }
    }

    #[test]
    fn a_step_done_again_replaces_what_followed_it() {
        let mut record = Record::default();
        for (seq, step) in [(1, 1), (2, 2), (3, 3), (4, 2)] {
            record.take(metrics(seq, step));
        }
        let steps: Vec<_> = record.metrics.iter().map(|m| (m.step, m.train_loss)).collect();
        assert_eq!(steps, [(1, 1.0), (2, 4.0)]);
    }

    #[test]
    fn a_rate_that_is_not_known_yet_is_no_rate() {
        assert_eq!(speed(&Metrics::default()), None);
        assert_eq!(speed(&Metrics { tokens_per_second: 12.5, ..Metrics::default() }), Some(12.5));
    }

    #[test]
    fn a_replayed_event_counts_once() {
        let mut record = Record::default();
        record.take(metrics(1, 1));
        record.take(metrics(1, 1));
        assert_eq!(record.metrics.len(), 1);
    }
}
