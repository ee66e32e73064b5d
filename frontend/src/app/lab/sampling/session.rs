//! The sampling lab's state and what moves it: the text, the sliders, and what was answered. A slider asks for the stages at once; the
//! tree and the runs follow when it rests. Views read it; the worker is reached through `engine` only from here.

use gloo::timers::future::TimeoutFuture;
use hearth_shared::lab::sampling::{Ask, CHARACTERS, Chance, Distribution, Draws, Found, Runs, Tree, TreeSpec, ending};
use hearth_shared::lab::{LabError, Progress, Reply, Request};
use hearth_shared::spec::Sampling;
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::address::{Address, Knobs, Plan};
use super::document;
use super::job::{Job, halt};
use crate::app::address;
use crate::app::lab::engine::engine;
use crate::app::lab::host::{self, Host, Status};
use crate::app::lab::pieces;

/// Where this lab is.
pub const PLACE: &str = "/lab/sampling";
/// The page waits this long for the next keystroke.
const TYPING_MS: u32 = 90;
/// And this long for the next move of a slider.
const SLIDING_MS: u32 = 10;
/// Tree and runs wait until everything has rested for so long.
const REST_MS: u32 = 220;

/// What a distribution is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub text: String,
    pub sampling: Sampling,
}

/// A distribution and what it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    pub asked: Asked,
    pub found: Distribution,
}

/// Continuations and what they are of.
#[derive(Clone, Debug, PartialEq)]
pub struct Continued {
    pub asked: Asked,
    pub found: Runs,
}

/// See the top of the file. Copies are handles to the same state.
#[derive(Clone, Copy)]
pub struct Session {
    pub host: Host,
    pub text: RwSignal<String>,
    pub temperature: RwSignal<f64>,
    /// 0 keeps all.
    pub top_k: RwSignal<f64>,
    pub top_p: RwSignal<f64>,
    pub min_p: RwSignal<f64>,
    pub penalty: RwSignal<f64>,
    pub seed: RwSignal<u32>,
    pub runs: RwSignal<f64>,
    /// Tokens of each run.
    pub count: RwSignal<f64>,
    pub branches: RwSignal<f64>,
    pub depth: RwSignal<f64>,
    /// Per cent.
    pub floor: RwSignal<f64>,
    pub answered: RwSignal<Option<Answered>>,
    pub tree: RwSignal<Option<Tree>>,
    pub continued: RwSignal<Option<Continued>>,
    /// Draws of the token that is next in what was answered.
    pub draws: RwSignal<Option<Draws>>,
    /// Whether the same seeds gave the same texts again.
    pub repeated: RwSignal<Option<bool>>,
    /// The token under the pointer, in every picture.
    pub cursor: RwSignal<Option<u32>>,
    pub reading: RwSignal<Job>,
    pub growing: RwSignal<Job>,
    pub running: RwSignal<Job>,
    pub drawing: RwSignal<Job>,
    first_text: &'static str,
    /// Asks again when nothing else changed.
    again: Trigger,
    /// Counts what was begun: of two things that wait the older is dropped.
    turns: StoredValue<[u32; 3]>,
}

/// What waits for the sliders to rest.
#[derive(Clone, Copy)]
enum Lane {
    Reading,
    Growing,
    Running,
}

/// Makes the state from the address, and keeps engine and address in step with it.
pub fn provide(first_text: &'static str) -> Session {
    let pairs = address::query();
    let address = Address::read(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let (knobs, plan) = (address.knobs, address.plan);
    let session = Session {
        host: host::provide_with_example(address.model, address.choice, "sampling"),
        text: RwSignal::new(String::new()),
        temperature: RwSignal::new(knobs.temperature),
        top_k: RwSignal::new(knobs.top_k),
        top_p: RwSignal::new(knobs.top_p),
        min_p: RwSignal::new(knobs.min_p),
        penalty: RwSignal::new(knobs.penalty),
        seed: RwSignal::new(plan.seed),
        runs: RwSignal::new(f64::from(plan.runs)),
        count: RwSignal::new(f64::from(plan.count)),
        branches: RwSignal::new(f64::from(plan.branches)),
        depth: RwSignal::new(f64::from(plan.depth)),
        floor: RwSignal::new(plan.floor),
        answered: RwSignal::new(None),
        tree: RwSignal::new(None),
        continued: RwSignal::new(None),
        draws: RwSignal::new(None),
        repeated: RwSignal::new(None),
        cursor: RwSignal::new(None),
        reading: RwSignal::new(Job::Idle),
        growing: RwSignal::new(Job::Idle),
        running: RwSignal::new(Job::Idle),
        drawing: RwSignal::new(Job::Idle),
        first_text,
        again: Trigger::new(),
        turns: StoredValue::new([0; 3]),
    };
    session.write(address.text.as_deref().unwrap_or(first_text));
    provide_context(session);
    session.keep_answered();
    session.keep_grown();
    session.keep_continued();
    session.keep_address();
    session.keep_published();
    session
}

pub fn use_session() -> Session {
    expect_context::<Session>()
}

/// The part of a text that is read: what comes next depends on the end.
pub fn kept(text: &str) -> &str {
    ending(text, CHARACTERS)
}

impl Session {
    /// Takes a text, or its end.
    pub fn write(&self, text: &str) {
        self.text.set(kept(text).to_owned());
    }

    /// What tokens say that would be put behind the text; none where they are no whole characters.
    pub fn says(&self, ids: &[u32]) -> Option<String> {
        pieces::whole(ids.iter().map(|id| self.host.word(*id)))
    }

    /// Puts tokens behind the text.
    pub fn append(&self, ids: &[u32]) {
        if let Some(more) = self.says(ids) {
            let text = self.text.get_untracked() + &more;
            self.write(&text);
        }
    }

    pub fn knobs(&self) -> Knobs {
        Knobs {
            temperature: self.temperature.get(),
            top_k: self.top_k.get(),
            top_p: self.top_p.get(),
            min_p: self.min_p.get(),
            penalty: self.penalty.get(),
        }
    }

    pub fn turn_knobs(&self, knobs: Knobs) {
        self.temperature.set(knobs.temperature);
        self.top_k.set(knobs.top_k);
        self.top_p.set(knobs.top_p);
        self.min_p.set(knobs.min_p);
        self.penalty.set(knobs.penalty);
    }

    pub fn plan(&self) -> Plan {
        Plan {
            seed: self.seed.get(),
            runs: self.runs.get() as u32,
            count: self.count.get() as u32,
            branches: self.branches.get() as u32,
            depth: self.depth.get() as u32,
            floor: self.floor.get(),
        }
    }

    /// Everything as it was at first; the model stays.
    pub fn reset(&self) {
        let plan = Plan::default();
        self.turn_knobs(Knobs::ALL_ON);
        self.seed.set(plan.seed);
        self.runs.set(f64::from(plan.runs));
        self.count.set(f64::from(plan.count));
        self.branches.set(f64::from(plan.branches));
        self.depth.set(f64::from(plan.depth));
        self.floor.set(plan.floor);
        self.write(self.first_text);
    }

    /// Asks for everything again, after a stop or a failure.
    pub fn retry(&self) {
        self.again.notify();
    }

    /// The pointer left a picture. A finger that is lifted leaves too: what it tapped stays, to be read.
    pub fn point_away(&self, event: &web_sys::PointerEvent) {
        if event.pointer_type() != "touch" {
            self.cursor.set(None);
        }
    }

    /// A token of the distribution in hand.
    pub fn chance(&self, id: u32) -> Option<Chance> {
        self.answered.with(|answered| answered.as_ref()?.found.tokens.iter().find(|chance| chance.id == id).cloned())
    }

    fn asked(&self) -> Asked {
        Asked { text: self.text.get(), sampling: self.knobs().sampling() }
    }

    /// Does `work` after a pause, unless something newer of its kind comes before or the page goes.
    fn later(self, lane: Lane, pause: u32, work: impl Future<Output = ()> + 'static) {
        let mine = self.next_turn(lane);
        spawn_local(async move {
            TimeoutFuture::new(pause).await;
            if self.turns.try_get_value().is_some_and(|turns| turns[lane as usize] == mine) {
                work.await;
            }
        });
    }

    fn next_turn(self, lane: Lane) -> u32 {
        self.turns.update_value(|turns| turns[lane as usize] += 1);
        self.turns.get_value()[lane as usize]
    }

    /// Asks the worker; an answer to a call that is not the job's any more is none.
    async fn ask(self, ask: Ask, job: RwSignal<Job>) -> Result<Found, LabError> {
        let on_progress = move |told: Progress| {
            let _ = job.try_update(|job| {
                if let Job::Running { progress, .. } = job {
                    *progress = Some(told);
                }
            });
        };
        let (call, answer) = engine().call(Request::Sampling(ask), Vec::new(), on_progress);
        job.set(Job::Running { call, progress: None });
        let answer = answer.await;
        if !job.try_get_untracked().is_some_and(|job| job.is_call(call)) {
            return Err(LabError::Superseded);
        }
        match answer?.reply {
            Reply::Sampling(found) => Ok(*found),
            _ => Err(LabError::Superseded),
        }
    }

    /// Forgets what is of another model or of no text.
    fn forget(self) {
        for lane in [Lane::Reading, Lane::Growing, Lane::Running] {
            self.next_turn(lane);
        }
        for job in [self.reading, self.growing, self.running, self.drawing] {
            halt(job);
        }
        self.answered.set(None);
        self.tree.set(None);
        self.continued.set(None);
        self.draws.set(None);
        self.repeated.set(None);
        self.cursor.set(None);
    }

    /// Asks for the stages whenever the text, a slider or the model changes.
    fn keep_answered(self) {
        let asked = Memo::new(move |_| self.asked());
        Effect::new(move |before: Option<String>| {
            self.again.track();
            let asked = asked.get();
            let text = asked.text.clone();
            if self.host.opened.with(Option::is_none) {
                self.forget();
                return text;
            }
            if text.is_empty() {
                self.forget();
                self.host.status.set(Status::Failed(LabError::EmptyText));
                return text;
            }
            // They would hold up the slider, and are of something else now.
            for job in [self.growing, self.running, self.drawing] {
                halt(job);
            }
            let typed = before.is_some_and(|before| before != text);
            self.later(Lane::Reading, if typed { TYPING_MS } else { SLIDING_MS }, self.answer(asked));
            text
        });
        Effect::new(move |_| {
            if self.reading.with(|job| *job == Job::Stopped) {
                self.host.status.set(Status::Ready);
            }
        });
        on_cleanup(move || {
            for job in [self.reading, self.growing, self.running, self.drawing] {
                if let Some(Job::Running { call, .. }) = job.try_get_untracked() {
                    engine().abandon(call);
                }
            }
        });
    }

    async fn answer(self, asked: Asked) {
        self.host.status.set(Status::Computing);
        let Asked { text, sampling } = asked.clone();
        match self.ask(Ask::Distribution { text, sampling }, self.reading).await {
            Ok(Found::Distribution(found)) => {
                self.reading.set(Job::Done);
                let same =
                    self.answered.with_untracked(|known| known.as_ref().is_some_and(|known| known.asked == asked));
                if !same {
                    self.draws.set(None);
                }
                self.answered.set(Some(Answered { asked, found: *found }));
                self.host.answered();
            }
            // The supervisor is on a crash, and the model is opened again.
            Ok(_) | Err(LabError::Superseded | LabError::Crashed { .. }) => {}
            Err(error) => {
                self.reading.set(Job::Idle);
                self.host.status.set(Status::Failed(error));
            }
        }
    }

    /// The call of `job` ended without an answer.
    fn failed(job: RwSignal<Job>, error: LabError) {
        match error {
            LabError::Superseded | LabError::Crashed { .. } => {}
            LabError::Cancelled => job.set(Job::Stopped),
            error => job.set(Job::Failed(error)),
        }
    }

    /// Grows the tree whenever there is another distribution, or another tree is wanted.
    fn keep_grown(self) {
        let spec = Memo::new(move |_| {
            let Plan { branches, depth, floor, .. } = self.plan();
            TreeSpec { branches, depth, floor: floor / 100.0 }
        });
        Effect::new(move |_| {
            let spec = spec.get();
            if let Some(asked) = self.answered.with(|answered| answered.as_ref().map(|known| known.asked.clone())) {
                halt(self.growing);
                self.later(Lane::Growing, REST_MS, self.grow(asked, spec));
            }
        });
    }

    async fn grow(self, asked: Asked, tree: TreeSpec) {
        let Asked { text, sampling } = asked;
        match self.ask(Ask::Tree { text, sampling, tree }, self.growing).await {
            Ok(Found::Tree(tree)) => {
                self.tree.set(Some(tree));
                self.growing.set(Job::Done);
            }
            Ok(_) => {}
            Err(error) => Self::failed(self.growing, error),
        }
    }

    /// Draws the runs whenever there is another distribution, or other runs are wanted.
    fn keep_continued(self) {
        let wanted = Memo::new(move |_| {
            let Plan { seed, runs, count, .. } = self.plan();
            (seed, runs, count)
        });
        Effect::new(move |_| {
            let _ = wanted.get();
            if let Some(asked) = self.answered.with(|answered| answered.as_ref().map(|known| known.asked.clone())) {
                halt(self.running);
                self.later(Lane::Running, REST_MS, self.continue_text(asked, false));
            }
        });
    }

    /// The same runs once more, to compare them.
    pub fn repeat(self) {
        let asked = self.answered.with_untracked(|answered| answered.as_ref().map(|known| known.asked.clone()));
        if let Some(asked) = asked {
            self.later(Lane::Running, 0, self.continue_text(asked, true));
        }
    }

    async fn continue_text(self, asked: Asked, again: bool) {
        let Plan { seed, runs, count, .. } = untrack(|| self.plan());
        let Asked { text, sampling } = asked.clone();
        let ask = Ask::Runs { text, sampling, first: u64::from(seed), runs, count };
        match self.ask(ask, self.running).await {
            Ok(Found::Runs(found)) => {
                let seeds = |runs: &Runs| runs.runs.iter().map(|run| run.seed).collect::<Vec<_>>();
                let same = self.continued.with_untracked(|before| {
                    let before = before.as_ref().filter(|before| before.asked == asked).map(|before| &before.found)?;
                    let alike = before.count == found.count && seeds(before) == seeds(&found);
                    alike.then(|| before.runs == found.runs)
                });
                self.repeated.set(same.filter(|_| again));
                self.continued.set(Some(Continued { asked, found }));
                self.running.set(Job::Done);
            }
            Ok(_) => {}
            Err(error) => Self::failed(self.running, error),
        }
    }

    /// Draws the next token many times.
    pub fn draw(self) {
        let Some(Asked { text, sampling }) =
            self.answered.with_untracked(|answered| answered.as_ref().map(|known| known.asked.clone()))
        else {
            return;
        };
        let ask = Ask::Draws { text, sampling, first: u64::from(self.seed.get_untracked()) };
        spawn_local(async move {
            match self.ask(ask, self.drawing).await {
                Ok(Found::Draws(found)) => {
                    self.draws.set(Some(found));
                    self.drawing.set(Job::Done);
                }
                Ok(_) => {}
                Err(error) => Self::failed(self.drawing, error),
            }
        });
    }

    pub fn address(&self) -> Address {
        Address {
            // Said even when it is the first one: that depends on the reader's language.
            text: Some(self.text.get()),
            model: self.host.model_word(),
            choice: self.host.choice.get(),
            knobs: self.knobs(),
            plan: self.plan(),
        }
    }

    fn keep_address(self) {
        address::follow(move || self.address().pairs(), |pairs| address::replace(PLACE, pairs));
    }

    /// Keeps what is published in step with what is shown.
    fn keep_published(self) {
        Effect::new(move |_| document::publish(self));
    }
}
