//! The cache lab's state and what moves it: what is asked for, the run that grows piece by piece, and the cache that is only
//! counted. Views read it; the worker is reached through `engine` only from here.

use hearth_shared::lab::cache::{Advanced, Ask, Begun, Found};
use hearth_shared::lab::{LabError, Reply, Request};
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::address::{Address, Imagined};
use super::document;
use super::run::{Run, Wanted};
use crate::app::address;
use crate::app::lab::engine::{Answer, engine};
use crate::app::lab::host::{self, Host, Status};

/// Where this lab is.
pub const PLACE: &str = "/lab/cache";

/// See the top of the file. Copies are handles to the same state.
#[derive(Clone, Copy)]
pub struct Session {
    pub host: Host,
    pub text: RwSignal<String>,
    /// Tokens to generate.
    pub count: RwSignal<f64>,
    /// Positions that the third side sees; 0 is no third side.
    pub window: RwSignal<u32>,
    pub imagined: RwSignal<Imagined>,
    /// The run so far, or the last one.
    pub run: RwSignal<Option<Run>>,
    /// The token under the pointer, in every picture: how long the text was when it was chosen.
    pub cursor: RwSignal<Option<f64>>,
    first_text: &'static str,
    /// Counts runs: what comes back for an older one is dropped.
    turn: StoredValue<u32>,
    call: StoredValue<Option<u64>>,
}

/// Makes the state from the address, and keeps engine and address in step with it.
pub fn provide(first_text: &'static str) -> Session {
    let pairs = address::query();
    let address = Address::read(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let session = Session {
        host: host::provide_with_example(address.model, address.choice, "cache"),
        text: RwSignal::new(address.text.unwrap_or_else(|| first_text.to_owned())),
        count: RwSignal::new(f64::from(address.count)),
        window: RwSignal::new(address.window),
        imagined: RwSignal::new(address.imagined),
        run: RwSignal::new(None),
        cursor: RwSignal::new(None),
        first_text,
        turn: StoredValue::new(0),
        call: StoredValue::new(None),
    };
    provide_context(session);
    session.begin_when_open();
    session.keep_address();
    session.keep_published();
    session
}

pub fn use_session() -> Session {
    expect_context::<Session>()
}

impl Session {
    /// What the controls ask for.
    pub fn wanted(&self) -> Wanted {
        Wanted { text: self.text.get(), count: self.count.get() as u32, window: self.window.get() }
    }

    /// Generates from the beginning, in the place of whatever runs.
    pub fn start(self) {
        let wanted = untrack(|| self.wanted());
        let turn = self.next_turn();
        if wanted.text.is_empty() {
            self.host.status.set(Status::Failed(LabError::EmptyText));
            return;
        }
        self.host.status.set(Status::Computing);
        spawn_local(async move {
            let outcome = self.generate(turn, wanted).await;
            if self.turn.try_get_value() != Some(turn) {
                return;
            }
            match outcome {
                Ok(()) => {
                    self.publish();
                    self.host.answered();
                }
                // The supervisor is on a crash, and the model is opened again.
                Err(LabError::Superseded | LabError::Crashed { .. }) => {}
                Err(LabError::Cancelled) => self.stopped(),
                Err(error) => self.host.status.set(Status::Failed(error)),
            }
        });
    }

    /// Stops the run; what it has stays.
    pub fn stop(self) {
        if let Some(call) = self.call.get_value() {
            engine().cancel(call);
        }
        self.next_turn();
        self.stopped();
    }

    /// Everything as it was at first.
    pub fn reset(self) {
        let plain = Address::default();
        self.text.set(self.first_text.to_owned());
        self.count.set(f64::from(plain.count));
        self.window.set(plain.window);
        self.imagined.set(plain.imagined);
        if self.host.opened.with_untracked(Option::is_some) {
            self.start();
        }
    }

    /// The run as a JSON document; none before its first token.
    pub fn document(&self) -> Option<String> {
        self.run.with(|run| {
            let run = run.as_ref().filter(|run| !run.steps.is_empty())?;
            Some(document::text(run, self.imagined.get()))
        })
    }

    fn stopped(self) {
        self.run.update(|run| {
            if let Some(run) = run {
                run.stopped = !run.is_done();
            }
        });
        self.publish();
        self.host.status.set(Status::Ready);
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

    async fn generate(self, turn: u32, wanted: Wanted) -> Result<(), LabError> {
        let window = Some(wanted.window).filter(|&window| window > 0);
        let begin = Ask::Begin { text: wanted.text.clone(), count: wanted.count, window };
        let begun = self.begun(turn, begin).await?;
        self.host.heard();
        self.cursor.set(None);
        self.run.set(Some(Run::new(wanted, begun)));
        loop {
            let advanced = self.advanced(turn).await?;
            self.run.update(|run| {
                if let Some(run) = run {
                    run.steps.extend(advanced.steps);
                    run.held = advanced.held;
                }
            });
            if advanced.done {
                return Ok(());
            }
        }
    }

    async fn begun(self, turn: u32, ask: Ask) -> Result<Begun, LabError> {
        match self.ask(turn, ask).await? {
            Found::Begun(begun) => Ok(*begun),
            Found::Advanced(_) => Err(LabError::Superseded),
        }
    }

    async fn advanced(self, turn: u32) -> Result<Advanced, LabError> {
        match self.ask(turn, Ask::Advance).await? {
            Found::Advanced(advanced) => Ok(advanced),
            Found::Begun(_) => Err(LabError::Superseded),
        }
    }

    /// Asks the worker; an answer for an older run, or for a page that is gone, is none.
    async fn ask(self, turn: u32, ask: Ask) -> Result<Found, LabError> {
        let (call, answer) = engine().call(Request::Cache(ask), Vec::new(), |_| {});
        self.call.set_value(Some(call));
        let answer = answer.await;
        if self.turn.try_get_value() != Some(turn) {
            return Err(LabError::Superseded);
        }
        self.call.set_value(None);
        match answer? {
            Answer { reply: Reply::Cache(found), .. } => Ok(*found),
            _ => Err(LabError::Superseded),
        }
    }

    /// The first run comes by itself, and so does one for every model that is opened.
    fn begin_when_open(self) {
        Effect::new(move |_| {
            if self.host.opened.with(Option::is_some) {
                self.start();
            } else {
                self.next_turn();
                // Its tokens are words of another model.
                self.run.set(None);
            }
        });
        on_cleanup(move || {
            if let Some(call) = self.call.try_get_value().flatten() {
                engine().abandon(call);
            }
        });
    }

    pub fn address(&self) -> Address {
        let Wanted { text, count, window } = self.wanted();
        Address {
            // Said even when it is the first one: that depends on the reader's language.
            text: Some(text),
            model: self.host.model_word(),
            choice: self.host.choice.get(),
            count,
            window,
            imagined: self.imagined.get(),
        }
    }

    fn keep_address(self) {
        address::follow(move || self.address().pairs(), |pairs| address::replace(PLACE, pairs));
    }

    /// What is counted is published as the dials move; a run's own numbers when it ends.
    fn keep_published(self) {
        Effect::new(move |_| {
            self.imagined.track();
            self.publish();
        });
    }

    fn publish(&self) {
        self.run.with_untracked(|run| {
            if let Some(run) = run {
                let rehearsal = self.host.rehearsal.get_untracked();
                document::publish(run, self.imagined.get_untracked(), rehearsal);
            }
        });
    }
}
