//! What lies deeper in the pass in hand, and what is asked of the worker for it: only what is open is computed, and a new pass forgets
//! what was found for the last one. Views read it; the worker is reached through `engine` only from here.

use hearth_shared::lab::inside::{Ablated, Ask, At, Found, Lens, Stack, Statistics, Task};
use hearth_shared::lab::{LabError, Progress, Reply, Request};
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::document;
use super::looks::Scope;
use super::part::Part;
use crate::app::lab::engine::{Answer, engine};
use crate::app::lab::forward::Head;
use crate::app::lab::publish;
use crate::app::lab::session::Session;

/// What the worker is doing for the open part.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Doing {
    #[default]
    Idle,
    Running {
        part: Part,
        /// Every head, one at a time.
        all: bool,
        done: u64,
        total: Option<u64>,
    },
    /// The person stopped it; what it had found stays.
    Stopped,
    Failed(LabError),
}

impl Doing {
    fn running(&self) -> Option<(Part, bool)> {
        match self {
            Self::Running { part, all, .. } => Some((*part, *all)),
            _ => None,
        }
    }
}

/// See the top of the file. Copies are handles to the same state.
#[derive(Clone, Copy)]
pub struct Inside {
    pub session: Session,
    pub stack: RwSignal<Option<Stack>>,
    pub lens: RwSignal<Option<Lens>>,
    pub ablated: RwSignal<Option<Ablated>>,
    pub statistics: RwSignal<Option<Statistics>>,
    pub doing: RwSignal<Doing>,
    /// How much of the attention job is planned.
    pub scope: Memo<Scope>,
    /// The token under the pointer, in every picture that has tokens.
    pub pointed: RwSignal<Option<usize>>,
    /// Counts what was asked for: what comes back for an older one is dropped.
    turn: StoredValue<u32>,
    call: StoredValue<Option<u64>>,
}

/// Makes the state, and keeps the worker and `window.__hearth.inside` in step with it.
pub fn provide(session: Session) -> Inside {
    let inside = Inside {
        session,
        stack: RwSignal::new(None),
        lens: RwSignal::new(None),
        ablated: RwSignal::new(None),
        statistics: RwSignal::new(None),
        doing: RwSignal::new(Doing::Idle),
        scope: Memo::new(move |_| session.looks.get().scope),
        pointed: RwSignal::new(None),
        turn: StoredValue::new(0),
        call: StoredValue::new(None),
    };
    provide_context(inside);
    inside.keep_computed();
    inside.keep_published();
    inside
}

pub fn use_inside() -> Inside {
    expect_context::<Inside>()
}

/// A head as the protocol names it.
#[must_use]
pub fn at(head: Head) -> At {
    At { layer: head.layer as u32, head: head.head as u32 }
}

impl Inside {
    /// The token under the pointer, else the chosen one.
    pub fn token(&self) -> usize {
        self.pointed.get().unwrap_or_else(|| self.session.row())
    }

    /// The text is long enough for this part.
    pub fn can(&self, part: Part) -> bool {
        self.session.forward().is_some_and(|forward| forward.tokens().len() >= part.least_tokens())
    }

    /// What the part shows first is there.
    pub fn has(&self, part: Part) -> bool {
        match part {
            Part::Stack => self.stack.with(Option::is_some),
            Part::Lens => self.lens.with(Option::is_some),
            Part::Ablate => {
                let chosen = at(self.session.at.get());
                self.ablated.with(|ablated| ablated.as_ref().is_some_and(|ablated| ablated.head(chosen).is_some()))
            }
            Part::Statistics => self.statistics.with(Option::is_some),
            Part::Job => true,
        }
    }

    /// The word for the open part's state, where one is open.
    pub fn word(&self) -> Option<&'static str> {
        let part = self.session.part.get()?;
        Some(match self.doing.get() {
            Doing::Running { .. } => "working",
            Doing::Failed(_) => "failed",
            Doing::Stopped => "stopped",
            Doing::Idle if self.has(part) || !self.can(part) => "ready",
            Doing::Idle => "working",
        })
    }

    /// Opens a part in the place of the open one, or closes it.
    pub fn toggle(self, part: Part) {
        self.pointed.set(None);
        self.session.part.update(|open| *open = (*open != Some(part)).then_some(part));
    }

    /// Asks again, after a failure or a stop.
    pub fn again(self) {
        if let Some(part) = self.session.part.get_untracked() {
            self.start(part);
        }
    }

    /// Stops what runs.
    pub fn stop(self) {
        if let Some(call) = self.call.get_value() {
            engine().cancel(call);
        }
        self.next_turn();
        self.doing.set(Doing::Stopped);
    }

    /// Measures every head that isn't known yet, layer by layer, so that the map fills while it runs.
    pub fn ablate_all(self) {
        let sizes = untrack(|| self.session.forward()).map(|forward| (forward.facts.n_layers, forward.facts.n_heads));
        let Some((layers, heads)) = sizes else {
            return;
        };
        let turn = self.begin(Part::Ablate, true, Some(u64::from(layers) * u64::from(heads)));
        spawn_local(async move {
            let outcome = self.ablate_layers(turn, layers, heads).await;
            self.end(turn, outcome);
        });
    }

    async fn ablate_layers(self, turn: u32, layers: u32, heads: u32) -> Result<(), LabError> {
        for layer in 0..layers {
            let of_layer = (0..heads).map(|head| At { layer, head });
            let (unknown, known) = self.ablated.with_untracked(|ablated| {
                let has = |at: &At| ablated.as_ref().is_some_and(|ablated| ablated.head(*at).is_some());
                let known = ablated.as_ref().map_or(0, |ablated| ablated.heads.len());
                (of_layer.filter(|at| !has(at)).collect::<Vec<_>>(), known as u64)
            });
            if !unknown.is_empty() {
                let found = self.ask(turn, Task::Ablate { heads: unknown }, known).await?;
                self.take(found);
            }
        }
        Ok(())
    }

    /// Follows the pass, the open part and, where the part is about one, the chosen head.
    fn keep_computed(self) {
        Effect::new(move |before: Option<u32>| {
            let version = self.session.version();
            let part = self.session.part.get();
            if part == Some(Part::Ablate) {
                self.session.at.track();
            }
            untrack(|| {
                if before != Some(version) {
                    self.forget();
                }
                self.want(part);
            });
            version
        });
        on_cleanup(move || {
            if let Some(call) = self.call.try_get_value().flatten() {
                engine().abandon(call);
            }
        });
    }

    fn forget(self) {
        self.next_turn();
        self.doing.set(Doing::Idle);
        self.pointed.set(None);
        self.stack.set(None);
        self.lens.set(None);
        self.ablated.set(None);
        self.statistics.set(None);
    }

    fn want(self, part: Option<Part>) {
        let running = self.doing.with_untracked(Doing::running);
        let wanted = part.filter(|part| self.can(*part) && !self.has(*part));
        let goes_on = running.is_some_and(|(now, all)| match wanted {
            // Another head is wanted: only the measurement of all of them comes to it.
            Some(Part::Ablate) => now == Part::Ablate && all,
            Some(wanted) => now == wanted,
            None => part == Some(now),
        });
        if goes_on {
            return;
        }
        self.next_turn();
        self.doing.set(Doing::Idle);
        if let Some(part) = wanted {
            self.start(part);
        }
    }

    fn start(self, part: Part) {
        let task = match part {
            Part::Stack => Task::Stack,
            Part::Lens => Task::Lens,
            Part::Ablate => Task::Ablate { heads: vec![at(self.session.at.get_untracked())] },
            Part::Statistics => Task::Statistics,
            Part::Job => return,
        };
        let turn = self.begin(part, false, None);
        spawn_local(async move {
            let outcome = self.ask(turn, task, 0).await.map(|found| self.take(found));
            self.end(turn, outcome);
        });
    }

    fn begin(self, part: Part, all: bool, total: Option<u64>) -> u32 {
        let turn = self.next_turn();
        self.doing.set(Doing::Running { part, all, done: 0, total });
        turn
    }

    fn end(self, turn: u32, outcome: Result<(), LabError>) {
        if self.turn.try_get_value() != Some(turn) {
            return;
        }
        self.doing.set(match outcome {
            // The supervisor is on a crash: the model is opened again, and a new pass comes.
            Ok(()) | Err(LabError::Superseded | LabError::Crashed { .. }) => Doing::Idle,
            Err(LabError::Cancelled) => Doing::Stopped,
            Err(error) => Doing::Failed(error),
        });
    }

    /// Ends what runs.
    fn next_turn(self) -> u32 {
        self.turn.update_value(|turn| *turn += 1);
        if let Some(call) = self.call.get_value() {
            self.call.set_value(None);
            engine().abandon(call);
        }
        self.turn.get_value()
    }

    /// Asks the worker; an answer for an older question, or for a page that is gone, is none. `before` is what was done already.
    async fn ask(self, turn: u32, task: Task, before: u64) -> Result<Found, LabError> {
        let forward = untrack(|| self.session.forward());
        let tokens = forward.map(|forward| forward.tokens().iter().map(|token| token.id).collect());
        let ask = Ask { tokens: tokens.unwrap_or_default(), task };
        let on_progress = move |told: Progress| {
            if self.turn.try_get_value() != Some(turn) {
                return;
            }
            self.doing.update(|doing| {
                if let Doing::Running { all, done, total, .. } = doing {
                    *done = before + told.done;
                    *total = if *all { *total } else { told.total };
                }
            });
        };
        let (call, answer) = engine().call(Request::Inside(ask), Vec::new(), on_progress);
        self.call.set_value(Some(call));
        let answer = answer.await;
        if self.turn.try_get_value() != Some(turn) {
            return Err(LabError::Superseded);
        }
        self.call.set_value(None);
        match answer? {
            Answer { reply: Reply::Inside(found), .. } => Ok(*found),
            _ => Err(LabError::Superseded),
        }
    }

    fn take(self, found: Found) {
        match found {
            Found::Stack(stack) => self.stack.set(Some(stack)),
            Found::Lens(lens) => self.lens.set(Some(lens)),
            Found::Ablated(more) => self.ablated.update(|ablated| ablated.get_or_insert_default().add(more)),
            Found::Statistics(statistics) => self.statistics.set(Some(statistics)),
        }
    }

    fn keep_published(self) {
        Effect::new(move |_| {
            if let Some(found) = document::found(self) {
                let rehearsal = self.session.host.rehearsal.get();
                publish::publish_numbers("inside", &found.to_string(), rehearsal);
            }
        });
    }
}
