//! The lab's state and what moves it: what is looked at, what was answered, and the one call on its way. Views read it; the worker is
//! asked from here alone.

use gloo::timers::callback::Timeout;
use hearth_shared::lab::example::{self, Exchange};
use hearth_shared::lab::position::{Distances, Losses, Method, Scaling, Turns};
use hearth_shared::lab::{Engine, LabError, Progress, Reply, Request};
use leptos::prelude::*;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::Response;

use super::question::{Curve, Question};
use super::siblings::{COUNT, Document, addresses, long_documents, rope};
use super::work::{Had, Job, Wanted};
use super::{PLACE, numbers};
use crate::app::lab::engine::{Answer, Life, engine};
use crate::app::lab::rehearsal;
use crate::app::{address, release};

/// The page's copy of the texts that no training saw.
const TEXTS: &str = "/samples/heldout.jsonl";
/// A factor counts when the slider has rested so long.
const RESTED_MS: u32 = 300;

/// What the engine is doing for this lab.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Status {
    #[default]
    Idle,
    Computing {
        job: Job,
        progress: Option<Progress>,
    },
    /// The person stopped it; it goes on when they say so, or when something else is looked at.
    Stopped,
    Failed(LabError),
}

/// See the top of the file. Copies are handles to the same state.
#[derive(Clone, Copy)]
pub struct Session {
    pub longest: RwSignal<u32>,
    pub curve: RwSignal<Curve>,
    pub shown: RwSignal<[bool; COUNT]>,
    pub method: RwSignal<Method>,
    pub factor: RwSignal<f64>,
    pub at: RwSignal<f64>,
    pub attention: RwSignal<usize>,
    /// Method and factor, once they rest.
    pub scaling: RwSignal<Scaling>,
    pub status: RwSignal<Status>,
    pub had: RwSignal<Had>,
    /// What a worker answered to the same questions once. It is shown where this tab has measured nothing yet.
    example: RwSignal<Had>,
    pub documents: RwSignal<Option<Vec<Document>>>,
    /// The call on its way and what it is for.
    doing: StoredValue<Option<(u64, Job)>>,
    working: StoredValue<bool>,
}

/// Makes the state from the address, and keeps engine and address in step with it.
pub fn provide() -> Session {
    let pairs = address::query();
    let question = Question::read(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let session = Session {
        longest: RwSignal::new(question.longest),
        curve: RwSignal::new(question.curve),
        shown: RwSignal::new(question.shown),
        method: RwSignal::new(question.method),
        factor: RwSignal::new(question.factor),
        at: RwSignal::new(f64::from(question.at)),
        attention: RwSignal::new(question.attention),
        scaling: RwSignal::new(question.scaling()),
        status: RwSignal::new(Status::Idle),
        had: RwSignal::new(Had::default()),
        example: RwSignal::new(Had::default()),
        documents: RwSignal::new(None),
        doing: StoredValue::new(None),
        working: StoredValue::new(false),
    };
    provide_context(session);
    session.read_texts();
    if pairs.is_empty() {
        session.keep_example();
    }
    session.keep_scaling();
    session.keep_working();
    session.keep_address();
    Effect::new(move |_| numbers::publish(&session));
    // The first visit fetches the models before the service worker stands between page and server.
    release::keep_offline(&addresses());
    on_cleanup(move || {
        if let Some(Some((call, _))) = session.doing.try_get_value() {
            engine().abandon(call);
        }
    });
    session
}

pub fn use_session() -> Session {
    expect_context::<Session>()
}

impl Session {
    /// What is looked at, as a link carries it.
    pub fn question(&self) -> Question {
        Question {
            longest: self.longest.get(),
            curve: self.curve.get(),
            shown: self.shown.get(),
            method: self.method.get(),
            factor: self.factor.get(),
            at: self.at.get() as u32,
            attention: self.attention.get(),
        }
    }

    pub fn set(&self, question: &Question) {
        self.longest.set(question.longest);
        self.curve.set(question.curve);
        self.shown.set(question.shown);
        self.method.set(question.method);
        self.factor.set(question.factor);
        self.at.set(f64::from(question.at));
        self.attention.set(question.attention);
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            longest: self.longest.get(),
            shown: self.shown.get(),
            scaling: self.scaling.get(),
            attention: self.attention.get(),
        }
    }

    fn has_failed(&self) -> bool {
        self.status.with(|status| matches!(status, Status::Failed(_)))
    }

    pub fn is_stopped(&self) -> bool {
        self.status.with(|status| *status == Status::Stopped)
    }

    /// The word for the engine, which here is always the same; none while nothing was measured in this tab.
    pub fn engine_word(&self) -> Option<&'static str> {
        let has_measured = self.had.with(|had| *had != Had::default());
        (has_measured && !self.is_example()).then(|| Engine::Cpu.word())
    }

    /// Milliseconds that the losses on the page took in this tab; none before the first of them.
    pub fn measured_ms(&self) -> Option<f64> {
        let wanted = self.wanted();
        self.had.with(|had| {
            let losses = wanted.jobs().into_iter().filter_map(|job| match job {
                Job::Losses { sibling, scaling, longest } => had.losses(sibling, scaling, longest),
                _ => None,
            });
            losses.map(|losses| losses.ms).reduce(|all, ms| all + ms)
        })
    }

    /// Whether a part of what is shown was computed beforehand.
    pub fn is_example(&self) -> bool {
        let wanted = self.wanted();
        self.had.with(|had| self.example.with(|example| wanted.borrows(had, example)))
    }

    /// `opening` until there is anything to see, then `computing` until all of it is there. While the engine starts, `example` where
    /// that shows everything.
    pub fn state(&self) -> &'static str {
        let life = engine().life().get();
        let failed = self.has_failed() || matches!(life, Life::Down { .. });
        let settled = Scaling::new(self.method.get(), self.factor.get()) == self.scaling.get();
        let (wanted, borrows) = (self.wanted(), self.is_example());
        let covered = self.had.with(|had| self.example.with(|example| wanted.is_covered(had, example)));
        let none = self.had.with(|had| *had == Had::default());
        match self.had.with(|had| wanted.next(had)) {
            _ if failed => "failed",
            Some(_) if covered && settled && matches!(life, Life::Starting) => "example",
            Some(_) if self.is_stopped() => "stopped",
            _ if none && !borrows => "opening",
            Some(_) => "computing",
            None if settled => "ready",
            None => "computing",
        }
    }

    /// Of a sibling as it was trained, in the windows that are chosen.
    pub fn losses(&self, sibling: usize) -> Option<Losses> {
        let longest = self.longest.get();
        let read = |had: &Had| had.losses(sibling, Scaling::NONE, longest).cloned();
        if self.shown.with(|shown| shown[sibling]) { self.known(read) } else { self.had.with(read) }
    }

    /// Of the stretched one; none without a method.
    pub fn stretched(&self) -> Option<Losses> {
        let (longest, scaling) = (self.longest.get(), self.scaling.get());
        let has_method = scaling.method != Method::None;
        self.known(|had| had.losses(rope(), scaling, longest).filter(|_| has_method).cloned())
    }

    /// Under the scaling in hand.
    pub fn turns(&self) -> Option<Turns> {
        let scaling = self.scaling.get();
        self.known(|had| had.turns(scaling).cloned())
    }

    /// Of the sibling whose attention is shown.
    pub fn distances(&self) -> Option<Distances> {
        let attention = self.attention.get();
        self.known(|had| had.distances(attention).cloned())
    }

    /// What this tab has measured, else what the example says.
    fn known<T>(&self, read: impl Fn(&Had) -> Option<T>) -> Option<T> {
        self.had.with(&read).or_else(|| self.example.with(&read))
    }

    /// Stops what is computed; what is there stays.
    pub fn stop(self) {
        if let Some((call, _)) = self.doing.get_value() {
            // Before the call ends, which it does as if something else were asked for.
            self.status.set(Status::Stopped);
            engine().cancel(call);
        }
    }

    /// Goes on after a failure or a stop.
    pub fn retry(self) {
        self.status.set(Status::Idle);
        if self.documents.with_untracked(Option::is_none) {
            self.read_texts();
        }
    }

    fn read_texts(self) {
        spawn_local(async move {
            match texts().await {
                Ok(text) => {
                    let _ = self.documents.try_set(Some(long_documents(&text)));
                }
                Err(message) => {
                    let error = LabError::Fetch { url: TEXTS.to_owned(), message };
                    let _ = self.status.try_set(Status::Failed(error));
                }
            }
        });
    }

    /// Fetches the example and takes from it what answers the first questions on the page's own texts.
    fn keep_example(self) {
        let exchanges = RwSignal::new(Vec::<Exchange>::new());
        let language = rehearsal::language();
        spawn_local(async move {
            let known = rehearsal::fetch("position", &language).await;
            // The page may be gone by now.
            let _ = exchanges.try_set(known.into_iter().map(|(exchange, _)| exchange).collect());
        });
        let first = Question::default();
        let wanted =
            Wanted { longest: first.longest, shown: first.shown, scaling: first.scaling(), attention: first.attention };
        Effect::new(move |_| {
            let documents = self.documents.get().unwrap_or_default();
            let mut example = Had::default();
            exchanges.with(|exchanges| {
                let asks = wanted.jobs().into_iter().filter_map(|job| job.ask(&documents));
                for asked in asks.map(|ask| example::plain(&Request::Position(ask))) {
                    let known = exchanges.iter().find(|exchange| exchange.request == asked);
                    if let Some(Exchange { reply: Reply::Position(found), .. }) = known {
                        example.take((**found).clone());
                    }
                }
            });
            self.example.set(example);
        });
    }

    fn keep_scaling(self) {
        let timer = StoredValue::new_local(None::<Timeout>);
        Effect::new(move |_| {
            let scaling = Scaling::new(self.method.get(), self.factor.get());
            let rested = Timeout::new(RESTED_MS, move || {
                if self.scaling.try_get_untracked().is_some_and(|now| now != scaling) {
                    self.scaling.set(scaling);
                }
            });
            timer.set_value(Some(rested));
        });
    }

    /// Asks for what is missing whenever what is looked at changes, and stops what nobody looks at any more.
    fn keep_working(self) {
        let life = engine().life();
        let halted = Memo::new(move |_| self.has_failed() || self.is_stopped());
        Effect::new(move |before: Option<Wanted>| {
            let (wanted, life) = (self.wanted(), life.get());
            let has_texts = self.documents.with(Option::is_some);
            let halted = halted.get();
            if before.is_some_and(|before| before != wanted) && untrack(|| self.is_stopped()) {
                // This effect follows.
                self.status.set(Status::Idle);
                return wanted;
            }
            if let Some((call, job)) = self.doing.get_value()
                && !wanted.jobs().contains(&job)
            {
                engine().abandon(call);
            }
            if has_texts && !halted && matches!(life, Life::Starting | Life::Ready { .. }) {
                self.start();
            }
            wanted
        });
    }

    fn start(self) {
        if self.working.get_value() || self.next_job().is_none() {
            return;
        }
        self.working.set_value(true);
        spawn_local(async move {
            self.work().await;
            // The page may be gone by now.
            let _ = self.working.try_set_value(false);
        });
    }

    /// One call after the other until nothing is missing.
    async fn work(self) {
        while let Some(job) = self.next_job() {
            if self.status.try_get_untracked() == Some(Status::Stopped) {
                return;
            }
            let documents = self.documents.get_untracked().unwrap_or_default();
            let Some(ask) = job.ask(&documents) else { break };
            let on_progress = move |told: Progress| {
                self.status.try_update(|status| {
                    if let Status::Computing { progress, .. } = status {
                        *progress = Some(told);
                    }
                });
            };
            let (call, answer) = engine().call(Request::Position(ask), Vec::new(), on_progress);
            self.doing.set_value(Some((call, job)));
            self.status.set(Status::Computing { job, progress: None });
            let answer = answer.await;
            let _ = self.doing.try_set_value(None);
            match answer {
                Ok(Answer { reply: Reply::Position(found), .. }) => {
                    self.had.try_update(|had| had.take(*found));
                }
                Err(LabError::Cancelled) if self.status.try_get_untracked() == Some(Status::Stopped) => return,
                Ok(_) | Err(LabError::Cancelled | LabError::Superseded) => {}
                // The supervisor is on it; its next worker is asked again.
                Err(LabError::Crashed { .. }) => break,
                Err(error) => {
                    let _ = self.status.try_set(Status::Failed(error));
                    return;
                }
            }
        }
        if self.status.try_with_untracked(|status| *status != Status::Idle) == Some(true) {
            self.status.set(Status::Idle);
        }
    }

    /// None when all is there, or the page is gone.
    fn next_job(self) -> Option<Job> {
        let had = self.had.try_get_untracked()?;
        let wanted = Wanted {
            longest: self.longest.try_get_untracked()?,
            shown: self.shown.try_get_untracked()?,
            scaling: self.scaling.try_get_untracked()?,
            attention: self.attention.try_get_untracked()?,
        };
        wanted.next(&had)
    }

    fn keep_address(self) {
        address::follow(move || self.question().pairs(), |pairs| address::replace(PLACE, pairs));
    }
}

async fn texts() -> Result<String, String> {
    let said = |error: JsValue| format!("{error:?}");
    let response = JsFuture::from(window().fetch_with_str(TEXTS)).await.map_err(said)?;
    let response: Response = response.dyn_into().map_err(said)?;
    if !response.ok() {
        return Err(format!("HTTP {}", response.status()));
    }
    let text = JsFuture::from(response.text().map_err(said)?).await.map_err(said)?;
    text.as_string().ok_or_else(|| "no text".to_owned())
}
