//! The lab's state and what moves it: which model is open, which text was traced, which head, step and cell are in hand.
//! Views read it; the worker is reached through `engine` only from here. Tensors stay out of the signals: a signal says
//! that there is a new pass, the pass itself stands beside it.

use std::rc::Rc;

use gloo::timers::future::TimeoutFuture;
use hearth_shared::lab::{LabError, Reply, Request};
use js_sys::Float32Array;
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::address::Address;
use super::engine::{Answer, engine};
use super::forward::{Cell, Forward, Head, Step};
use super::host::{self, Host, Status};
use super::inside::looks::Looks;
use super::inside::part::Part;
use super::next::{Ranking, Sliders};
use super::{pieces, publish};
use crate::app::address;

/// The page waits this long for the next keystroke before it asks for a pass.
const PAUSE_MS: u32 = 90;

/// See the top of the file. Copies are handles to the same state.
#[derive(Clone, Copy)]
pub struct Session {
    pub host: Host,
    pub text: RwSignal<String>,
    pub at: RwSignal<Head>,
    pub step: RwSignal<Step>,
    /// The cell that was clicked or reached by keys. Its row is the chosen token.
    pub pinned: RwSignal<Cell>,
    /// The cell under the pointer and the step it is in.
    pub hovered: RwSignal<Option<(Step, Cell)>>,
    pub temperature: RwSignal<f64>,
    pub top_k: RwSignal<f64>,
    pub top_p: RwSignal<f64>,
    /// What is open of what lies deeper; its numbers are in `inside`.
    pub part: RwSignal<Option<Part>>,
    /// The block of the stack that is open.
    pub block: RwSignal<Option<usize>>,
    /// How the parts are looked at.
    pub looks: RwSignal<Looks>,
    /// The enlarged matrix is a table.
    pub as_table: RwSignal<bool>,
    /// The call that a pass was asked with, while it is on its way.
    pass: RwSignal<Option<u64>>,
    /// Milliseconds from asking to having the numbers on the page.
    pub answer_ms: RwSignal<Option<f64>>,
    /// Counts passes; [`Session::forward`] is the pass itself.
    version: RwSignal<u32>,
    forward: StoredValue<Option<Rc<Forward>>, LocalStorage>,
    ranking: StoredValue<Option<(u32, usize, Rc<Ranking>)>, LocalStorage>,
    /// The row was never chosen: it follows the end of the text.
    follows_end: StoredValue<bool>,
    /// What was cancelled last is a pass, and no model that is fetched.
    stopped_pass: StoredValue<bool>,
    first_text: &'static str,
}

/// Makes the state from the address, and keeps engine and address in step with it.
pub fn provide(first_text: &'static str) -> Session {
    let address = publish::address();
    let sliders = address.sliders;
    let session = Session {
        host: host::provide_with_example(address.model, address.choice, "attention"),
        text: RwSignal::new(address.text.unwrap_or_else(|| first_text.to_owned())),
        at: RwSignal::new(address.at),
        step: RwSignal::new(address.step),
        pinned: RwSignal::new(address.cell.unwrap_or_default()),
        hovered: RwSignal::new(None),
        temperature: RwSignal::new(round(sliders.temperature)),
        top_k: RwSignal::new(f64::from(sliders.top_k)),
        top_p: RwSignal::new(round(sliders.top_p)),
        part: RwSignal::new(address.part),
        block: RwSignal::new(address.block),
        looks: RwSignal::new(address.looks),
        as_table: RwSignal::new(address.as_table),
        pass: RwSignal::new(None),
        answer_ms: RwSignal::new(None),
        version: RwSignal::new(0),
        forward: StoredValue::new_local(None),
        ranking: StoredValue::new_local(None),
        follows_end: StoredValue::new(address.cell.is_none()),
        stopped_pass: StoredValue::new(false),
        first_text,
    };
    provide_context(session);
    session.keep_traced();
    session.keep_address();
    session.keep_history();
    session.keep_published();
    session
}

pub fn use_session() -> Session {
    expect_context::<Session>()
}

/// A slider's f32 as the f64 a person wrote.
fn round(value: f32) -> f64 {
    (f64::from(value) * 1e4).round() / 1e4
}

impl Session {
    /// The pass in hand. Reading it in an effect or a view follows new passes.
    pub fn forward(&self) -> Option<Rc<Forward>> {
        self.version.track();
        self.forward.get_value()
    }

    /// Grows with every pass.
    pub fn version(&self) -> u32 {
        self.version.get()
    }

    pub fn sliders(&self) -> Sliders {
        Sliders {
            temperature: self.temperature.get() as f32,
            top_k: self.top_k.get() as u32,
            top_p: self.top_p.get() as f32,
        }
    }

    /// The chosen token, inside the pass in hand.
    pub fn row(&self) -> usize {
        let last = self.forward().map_or(0, |forward| forward.tokens().len().saturating_sub(1));
        self.pinned.get().row.min(last)
    }

    /// The cell under the pointer, else the chosen one, inside the picture it is in.
    pub fn active(&self) -> (Step, Cell) {
        if let Some(hovered) = self.hovered.get() {
            return hovered;
        }
        let (step, pinned) = (self.step.get(), self.pinned.get());
        let (rows, cols) = self.forward().map_or((1, 1), |forward| {
            let picture = forward.picture(self.at.get(), step);
            (picture.rows.max(1), picture.cols.max(1))
        });
        let cell = Cell { row: pinned.row.min(rows - 1), col: pinned.col.min(cols - 1) };
        (step, cell)
    }

    pub fn pin(&self, cell: Cell) {
        self.follows_end.set_value(false);
        self.pinned.set(cell);
    }

    /// Where the text behind the chosen token begins, in bytes; none where a token ends inside a character.
    pub fn end_of_chosen(&self) -> Option<usize> {
        let forward = self.forward()?;
        let (row, tokens) = (self.row(), forward.tokens());
        self.text.with(|text| {
            if row + 1 >= tokens.len() {
                return Some(text.len());
            }
            let before = pieces::whole(tokens[..=row].iter().map(|token| token.text.clone()))?;
            text.starts_with(&before).then_some(before.len())
        })
    }

    /// Goes on behind the chosen token with another, and follows the end again. Gives the text as it was where words were lost; going
    /// back in the browser's history brings it again in any case.
    pub fn append(&self, token: u32) -> Option<String> {
        let end = untrack(|| self.end_of_chosen())?;
        let old = self.text.get_untracked();
        // The address may not have followed yet.
        publish::set_address(&untrack(|| self.address().pairs()));
        self.follows_end.set_value(true);
        self.text.set(format!("{}{}", &old[..end], self.host.word(token)));
        publish::push_address(&untrack(|| self.address().pairs()));
        (end < old.len()).then_some(old)
    }

    /// Takes the text and the chosen token of the entry that the browser's history went to.
    fn keep_history(self) {
        let moved = window_event_listener(leptos::ev::popstate, move |_| {
            let Some(address) = publish::shown_address() else {
                return;
            };
            self.follows_end.set_value(address.cell.is_none());
            if let Some(cell) = address.cell {
                self.pinned.set(cell);
            }
            self.text.set(address.text.unwrap_or_else(|| self.first_text.to_owned()));
        });
        on_cleanup(move || moved.remove());
    }

    /// All tokens by logit after token `row`: sorted once, however the sliders move.
    pub fn ranking(&self, forward: &Forward, row: usize) -> Rc<Ranking> {
        let version = self.version.get_untracked();
        let known = self.ranking.with_value(|known| known.clone().filter(|(v, r, _)| (*v, *r) == (version, row)));
        if let Some((_, _, ranking)) = known {
            return ranking;
        }
        let ranking = Rc::new(Ranking::new(forward.logits(row)));
        self.ranking.set_value(Some((version, row, ranking.clone())));
        ranking
    }

    /// Traces the text whenever it or the model changes, after a short pause in typing.
    fn keep_traced(self) {
        let asked = StoredValue::new(0_u32);
        Effect::new(move |_| {
            if self.host.status.with(|status| matches!(status, Status::Opening { .. })) {
                self.stopped_pass.set_value(false);
            }
        });
        Effect::new(move |before: Option<String>| {
            let text = self.text.get();
            if self.host.opened.with(Option::is_none) {
                let is_stopped =
                    self.host.status.with_untracked(|status| *status == Status::Failed(LabError::Cancelled));
                if is_stopped && self.stopped_pass.get_value() && before.is_some_and(|before| before != text) {
                    // The worker went with the pass that was stopped.
                    self.host.open_anew();
                }
                return text;
            }
            asked.update_value(|count| *count += 1);
            let (mine, typed) = (asked.get_value(), text.clone());
            spawn_local(async move {
                if self.version.get_untracked() > 0 {
                    TimeoutFuture::new(PAUSE_MS).await;
                }
                if asked.try_get_value() == Some(mine) {
                    self.trace(text).await;
                }
            });
            typed
        });
    }

    /// Whether a pass is on its way that a person can stop.
    pub fn is_passing(&self) -> bool {
        self.pass.with(Option::is_some)
    }

    /// Stops the pass on its way; the one before stays.
    pub fn stop(&self) {
        if let Some(call) = self.pass.get_untracked() {
            self.stopped_pass.set_value(true);
            engine().cancel(call);
        }
    }

    async fn trace(self, text: String) {
        if text.is_empty() {
            // Its answer would stand there as if it were of no text.
            if let Some(call) = self.pass.get_untracked() {
                self.pass.set(None);
                engine().abandon(call);
            }
            self.host.status.set(Status::Failed(LabError::EmptyText));
            return;
        }
        let start = publish::now();
        self.host.status.set(Status::Computing);
        self.stopped_pass.set_value(false);
        let (call, answer) = engine().call(Request::Trace { text: text.clone() }, Vec::new(), |_| {});
        self.pass.set(Some(call));
        let answer = answer.await;
        // A newer one may have taken its place, or the page may be gone.
        if self.pass.try_get_untracked() != Some(Some(call)) {
            return;
        }
        self.pass.set(None);
        match answer {
            Ok(Answer { reply: Reply::Traced(traced), buffers }) => {
                let Some(opened) = self.host.opened.get_untracked() else {
                    return;
                };
                let data = buffers.iter().map(|b| Float32Array::new(b).to_vec()).collect();
                match Forward::new(text, opened.facts, *traced, data) {
                    Ok(forward) => self.take(forward, publish::now() - start),
                    Err(message) => self.host.status.set(Status::Failed(LabError::Other { message })),
                }
            }
            Ok(_) | Err(LabError::Superseded) => {}
            // The supervisor is on it, and the model is opened again.
            Err(LabError::Crashed { .. }) => {}
            Err(error) => self.host.status.set(Status::Failed(error)),
        }
    }

    /// A new pass: what is in hand stays where it was as far as the new pass reaches.
    fn take(self, forward: Forward, answer_ms: f64) {
        let facts = &forward.facts;
        let last = forward.tokens().len().saturating_sub(1);
        let at = self.at.get_untracked();
        let inside =
            Head { layer: at.layer.min(facts.n_layers as usize - 1), head: at.head.min(facts.n_heads as usize - 1) };
        if inside != at {
            self.at.set(inside);
        }
        self.keep_within(facts.n_layers as usize);
        self.hovered.set(None);
        let pinned = self.pinned.get_untracked();
        if self.follows_end.get_value() || pinned.row > last {
            self.pinned.set(Cell { row: last, col: pinned.col.min(last) });
        }
        let forward = Rc::new(forward);
        self.forward.set_value(Some(forward.clone()));
        self.version.update(|version| *version += 1);
        self.host.answered();
        let answer_ms = (!self.host.rehearsal.get_untracked()).then_some(answer_ms);
        publish::publish_pass(&forward, answer_ms);
        self.answer_ms.set(answer_ms);
    }

    /// Lets go of a block and a depth that a model of so many layers has not.
    fn keep_within(self, layers: usize) {
        if self.block.get_untracked().is_some_and(|block| block >= layers) {
            self.block.set(None);
        }
        let looks = self.looks.get_untracked();
        if looks.within(layers) != looks {
            self.looks.set(looks.within(layers));
        }
    }

    /// What is published of the head and the token in hand follows them.
    fn keep_published(self) {
        Effect::new(move |_| {
            let (at, row) = (self.at.get(), self.row());
            if let Some(forward) = self.forward() {
                publish::publish_looked(&forward, at, row);
            }
        });
    }

    /// Everything as it was at first; model and engine stay.
    pub fn reset(self) {
        let plain = Address::default();
        let tokens = untrack(|| self.forward()).map_or(0, |forward| forward.tokens().len());
        self.follows_end.set_value(true);
        self.pinned.set(Cell { row: tokens.saturating_sub(1), col: 0 });
        self.at.set(plain.at);
        self.step.set(plain.step);
        self.temperature.set(round(plain.sliders.temperature));
        self.top_k.set(f64::from(plain.sliders.top_k));
        self.top_p.set(round(plain.sliders.top_p));
        self.part.set(plain.part);
        self.block.set(plain.block);
        self.looks.set(plain.looks);
        self.as_table.set(plain.as_table);
        self.text.set(self.first_text.to_owned());
    }

    /// What a link says of the lab now.
    pub fn address(&self) -> Address {
        let pinned = self.pinned.get();
        Address {
            text: Some(self.text.get()),
            model: self.host.model_word(),
            choice: self.host.choice.get(),
            at: self.at.get(),
            step: self.step.get(),
            cell: (!self.follows_end.get_value()).then_some(pinned),
            sliders: self.sliders(),
            part: self.part.get(),
            block: self.block.get(),
            looks: self.looks.get(),
            as_table: self.as_table.get(),
        }
    }

    fn keep_address(self) {
        address::follow(move || self.address().pairs(), publish::set_address);
    }
}
