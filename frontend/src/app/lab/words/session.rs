//! The tokenizer lab's state and what moves it: the text, the vocabularies beside each other, the step in hand, what was
//! learned. Views read it; the worker is reached from here and from `learn.rs`.

use std::{cell::Cell, rc::Rc};

use gloo::timers::future::TimeoutFuture;
use hearth_shared::lab::{
    LabError, LabModel, Progress, Reply, Request, Stage,
    words::{Ask, Cost, Cut, Found, Learned, MOST_CHARACTERS, Size, Trail, Vocabulary, beginning},
};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use wasm_bindgen_futures::spawn_local;

use super::super::engine::{Life, engine};
use super::super::host;
use super::super::{keep, rehearsal};
use super::address::{Address, FIRST_SIZE, fits};
use super::{bring, export};
use crate::app::address;
use crate::app::store::{NANO, Store, use_store};

/// The page waits this long for the next keystroke.
const PAUSE_MS: u32 = 90;
/// What was learned outlives a reload under this name.
const LESSONS: &str = "lessons";

/// What the lab is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Status {
    /// The engine or the list of models is not there yet.
    #[default]
    Waiting,
    /// A vocabulary is on its way.
    Fetching {
        call: u64,
        progress: Progress,
    },
    Computing,
    Ready,
    Failed(LabError),
}

/// What merges are learned from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Texts {
    /// The held-out texts that come with the page.
    #[default]
    Sample,
    /// The text in the box.
    Own,
}

impl Texts {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::Own => "own",
        }
    }

    pub fn from_word(word: &str) -> Self {
        if word == "own" { Self::Own } else { Self::Sample }
    }
}

/// A text as one vocabulary cuts it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub name: String,
    pub cut: Result<Cut, LabError>,
}

/// What the languages cost in one vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct CostRow {
    pub name: String,
    pub costs: Vec<Cost>,
}

/// The way to one vocabulary's tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    pub name: String,
    pub algorithm: String,
    pub trail: Option<Trail>,
}

/// A vocabulary that was learned in this tab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lesson {
    pub name: String,
    pub learned: Learned,
}

/// See the top of the file. Copies are handles to the same state.
#[derive(Clone, Copy)]
pub struct Session {
    pub text: RwSignal<String>,
    pub special: RwSignal<bool>,
    /// Names of the vocabularies side by side: models, files, and lessons.
    pub chosen: RwSignal<Vec<String>>,
    pub stepped: RwSignal<Option<String>>,
    /// None is the last.
    pub step: RwSignal<Option<usize>>,
    pub size: RwSignal<f64>,
    pub texts: RwSignal<Texts>,
    pub lessons: RwSignal<Vec<Lesson>>,
    /// Vocabularies from files, each as a model of which nothing else is there.
    pub brought: RwSignal<Vec<LabModel>>,
    pub status: RwSignal<Status>,
    pub length: RwSignal<Size>,
    pub rows: RwSignal<Vec<Row>>,
    pub merged: RwSignal<Option<Merged>>,
    pub costs: RwSignal<Vec<CostRow>>,
    /// What is shown was computed beforehand: the worker is not there yet.
    pub rehearsal: RwSignal<bool>,
    pub store: Store,
    first_text: StoredValue<String>,
    asked: StoredValue<u32>,
    /// Asks again when nothing else changed.
    again: Trigger,
}

/// Everything an answer depends on.
#[derive(Clone, Debug, PartialEq)]
struct Question {
    text: String,
    special: bool,
    vocabularies: Vec<(String, Option<Vocabulary>)>,
    stepped: Option<String>,
}

/// Makes the state from the address, and keeps the worker and the address in step with it.
pub fn provide(first_text: &str) -> Session {
    let pairs = address::query();
    let address = Address::read(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let chosen = if address.vocabularies.is_empty() { vec![NANO.to_owned()] } else { address.vocabularies };
    let session = Session {
        text: RwSignal::new(String::new()),
        special: RwSignal::new(address.special),
        chosen: RwSignal::new(chosen),
        stepped: RwSignal::new(address.stepped),
        step: RwSignal::new(address.step),
        size: RwSignal::new(f64::from(address.size)),
        texts: RwSignal::new(address.texts),
        lessons: RwSignal::new(keep::load(LESSONS)),
        brought: RwSignal::new(Vec::new()),
        status: RwSignal::new(Status::Waiting),
        length: RwSignal::new(Size::default()),
        rows: RwSignal::new(Vec::new()),
        merged: RwSignal::new(None),
        costs: RwSignal::new(Vec::new()),
        rehearsal: RwSignal::new(false),
        store: use_store(),
        first_text: StoredValue::new(first_text.to_owned()),
        asked: StoredValue::new(0),
        again: Trigger::new(),
    };
    session.write(address.text.as_deref().unwrap_or(first_text));
    provide_context(session);
    if pairs.is_empty() {
        rehearsal::begin("tokenizer", session.rehearsal);
    }
    session.keep_answered();
    session.keep_looked_up();
    session.keep_address();
    session.keep_published();
    session.keep_lessons();
    session
}

pub fn use_session() -> Session {
    expect_context::<Session>()
}

/// The part of a text that is cut.
pub fn kept(text: &str) -> &str {
    beginning(text, MOST_CHARACTERS)
}

impl Session {
    /// Takes a text, or its beginning.
    pub fn write(&self, text: &str) {
        self.text.set(kept(text).to_owned());
    }

    /// As the page was before anything was done. What was learned stays, beside the others.
    pub fn reset(&self) {
        let first = self.first_text.get_value();
        self.special.set(false);
        self.chosen.set(vec![NANO.to_owned()]);
        self.stepped.set(None);
        self.step.set(None);
        self.size.set(f64::from(FIRST_SIZE));
        self.texts.set(Texts::Sample);
        self.write(&first);
    }

    pub fn retry(&self) {
        if self.store.models.with_untracked(|models| models.ready().is_none()) {
            self.store.refresh();
        }
        self.again.notify();
    }

    /// Puts a vocabulary beside the others, or takes it away.
    pub fn toggle(&self, name: &str) {
        self.chosen.update(|chosen| match chosen.iter().position(|known| known == name) {
            Some(place) => drop(chosen.remove(place)),
            None => chosen.push(name.to_owned()),
        });
    }

    /// A name for a lesson of this size that no other has.
    pub fn new_name(&self, vocab_size: u32) -> String {
        let plain = format!("BPE {vocab_size}");
        let taken = |name: &String| self.lessons.with_untracked(|all| all.iter().any(|lesson| lesson.name == *name));
        let others = (2..).map(|number| format!("{plain} ({number})"));
        std::iter::once(plain.clone()).chain(others).find(|name| !taken(name)).unwrap_or(plain)
    }

    pub fn add_lesson(&self, lesson: Lesson) {
        let name = lesson.name.clone();
        self.lessons.update(|lessons| lessons.push(lesson));
        self.chosen.update(|chosen| chosen.push(name.clone()));
        self.stepped.set(Some(name));
        self.step.set(None);
    }

    /// Puts a file's vocabulary beside the others, under a name that none of them has.
    pub fn bring(&self, model: LabModel) {
        let Some(brought) = self.brought.try_get_untracked() else {
            // The lab was left meanwhile.
            return;
        };
        let name = bring::free(&model.id, |name| {
            brought.iter().any(|other| other.id == name)
                || self.lessons.with_untracked(|all| all.iter().any(|lesson| lesson.name == name))
                || untrack(|| self.store.model(name)).is_some()
        });
        self.brought.update(|all| all.push(LabModel { id: name.clone(), ..model }));
        self.chosen.update(|chosen| chosen.push(name));
    }

    pub fn forget(&self, name: &str) {
        self.lessons.update(|lessons| lessons.retain(|lesson| lesson.name != name));
        self.chosen.update(|chosen| chosen.retain(|known| known != name));
        if self.stepped.with_untracked(|stepped| stepped.as_deref() == Some(name)) {
            self.stepped.set(None);
        }
    }

    /// The word for [`Status`] in the page's mark-up.
    pub fn state(&self) -> &'static str {
        self.status.with(|status| match status {
            Status::Waiting | Status::Fetching { .. } => "opening",
            Status::Computing => "computing",
            Status::Ready if self.rehearsal.get() => "example",
            Status::Ready => "ready",
            Status::Failed(_) => "failed",
        })
    }

    /// The step in hand and how many there are.
    pub fn place(&self) -> (usize, usize) {
        let steps = self.merged.with(|merged| {
            merged.as_ref().and_then(|merged| merged.trail.as_ref()).map_or(0, |trail| trail.steps.len())
        });
        (self.step.get().unwrap_or(steps).min(steps), steps)
    }

    /// The last step is no number: it stays the last when the text grows.
    pub fn go_to(&self, step: usize) {
        let (_, steps) = untrack(|| self.place());
        self.step.set((step < steps).then_some(step));
    }

    fn vocabulary(&self, name: &str) -> Option<Vocabulary> {
        let lesson = self
            .lessons
            .with(|all| all.iter().find(|lesson| lesson.name == name).map(|lesson| lesson.learned.json.clone()));
        if let Some(json) = lesson {
            return Some(Vocabulary::Learned { json });
        }
        let brought = self.brought.with(|all| all.iter().find(|model| model.id == name).cloned());
        let model = brought.or_else(|| host::find(self.store, name).ok());
        model.map(|model| Vocabulary::Model { model })
    }

    fn question(&self) -> Question {
        let chosen = self.chosen.get();
        let stepped = self.stepped.get().filter(|name| chosen.contains(name)).or_else(|| chosen.first().cloned());
        let vocabularies = chosen.into_iter().map(|name| (name.clone(), self.vocabulary(&name))).collect();
        Question { text: self.text.get(), special: self.special.get(), vocabularies, stepped }
    }

    /// Asks whenever something that the answer depends on changes, after a short pause in typing.
    fn keep_answered(self) {
        let life = engine().life();
        // The worker that answers, counted from 1; before the first there may be the example.
        let epoch = Memo::new(move |_| match life.get() {
            Life::Ready { epoch, .. } => Some(epoch),
            Life::Starting => self.rehearsal.get().then_some(0),
            _ => None,
        });
        let models_known = Memo::new(move |_| self.store.models.with(|models| models.ready().is_some()));
        // Polling the models must not ask again: only what the question is made of does.
        let question = Memo::new(move |_| models_known.get().then(|| self.question()));
        Effect::new(move |_| {
            self.again.track();
            let question = question.get();
            let (Some(_), Some(question)) = (epoch.get(), question) else {
                return;
            };
            self.asked.update_value(|count| *count += 1);
            let mine = self.asked.get_value();
            spawn_local(async move {
                if mine > 1 {
                    TimeoutFuture::new(PAUSE_MS).await;
                }
                if self.is_last(mine) {
                    self.answer(question, mine).await;
                }
            });
        });
    }

    /// Asks the server once for each model that an address names and the list leaves out.
    fn keep_looked_up(self) {
        let asked = StoredValue::new(Vec::<String>::new());
        Effect::new(move |_| {
            if self.store.models.with(|models| models.ready().is_none()) {
                return;
            }
            let missing = self.chosen.get().into_iter().filter(|name| self.vocabulary(name).is_none());
            for name in missing {
                if asked.with_value(|asked| asked.contains(&name)) {
                    continue;
                }
                asked.update_value(|asked| asked.push(name.clone()));
                // What does not come stays unknown, and its row says so.
                spawn_local(async move {
                    let _ = self.store.load_unlisted(&name).await;
                });
            }
        });
    }

    /// Whether nothing was asked since, and the page is still there.
    fn is_last(&self, mine: u32) -> bool {
        self.asked.try_get_value() == Some(mine)
    }

    async fn answer(self, question: Question, mine: u32) {
        self.status.set(Status::Computing);
        let outcome = self.ask_all(question, mine).await;
        if !self.is_last(mine) {
            return;
        }
        match outcome {
            Ok(()) => {
                if !matches!(engine().life().get_untracked(), Life::Starting) {
                    self.rehearsal.set(false);
                }
                export::publish_state(self);
                self.status.set(Status::Ready);
            }
            Err(LabError::Superseded) => {}
            Err(error) => self.status.set(Status::Failed(error)),
        }
    }

    /// The cut first: it brings the vocabularies that the other two then find in the worker.
    async fn ask_all(self, question: Question, mine: u32) -> Result<(), LabError> {
        let Question { text, special, vocabularies, stepped } = question;
        let known: Vec<Vocabulary> = vocabularies.iter().filter_map(|(_, known)| known.clone()).collect();
        let ask = Ask::Cut { text: text.clone(), special, vocabularies: known };
        let Found::Cut { size, cuts } = self.ask(ask, mine).await? else {
            return Err(LabError::Superseded);
        };
        let mut cuts = cuts.into_iter();
        let rows: Vec<Row> = vocabularies
            .iter()
            .filter_map(|(name, known)| {
                let missing = || LabError::UnknownModel { name: name.clone() };
                let cut = if known.is_some() { cuts.next()? } else { Err(missing()) };
                Some(Row { name: name.clone(), cut })
            })
            .collect();
        let good: Vec<(String, Vocabulary)> = (vocabularies.into_iter().zip(&rows))
            .filter(|(_, row)| row.cut.is_ok())
            .filter_map(|((name, known), _)| Some((name, known?)))
            .collect();
        self.length.set(size);
        self.rows.set(rows);
        let chosen = good.iter().find(|(name, _)| Some(name) == stepped.as_ref()).or(good.first()).cloned();
        let merged = match chosen {
            Some((name, vocabulary)) => match self.ask(Ask::Merge { text, special, vocabulary }, mine).await? {
                Found::Merged { algorithm, trail } => Some(Merged { name, algorithm, trail }),
                _ => None,
            },
            None => None,
        };
        self.merged.set(merged);
        let names: Vec<String> = good.iter().map(|(name, _)| name.clone()).collect();
        // What the example said is asked again.
        let is_own = !self.rehearsal.get_untracked();
        if is_own && self.costs.with_untracked(|costs| costs.iter().map(|row| &row.name).eq(&names)) {
            return Ok(());
        }
        let vocabularies = good.into_iter().map(|(_, vocabulary)| vocabulary).collect();
        if let Found::Cost { costs } = self.ask(Ask::Cost { vocabularies }, mine).await? {
            let rows =
                names.into_iter().zip(costs).filter_map(|(name, costs)| Some(CostRow { name, costs: costs.ok()? }));
            self.costs.set(rows.collect());
        }
        Ok(())
    }

    async fn ask(self, ask: Ask, mine: u32) -> Result<Found, LabError> {
        // The id is known only when the call is made; its first progress comes later.
        let id = Rc::new(Cell::new(0_u64));
        let named = id.clone();
        let on_progress = move |progress: Progress| {
            if progress.stage == Stage::Fetch && self.is_last(mine) {
                self.status.set(Status::Fetching { call: named.get(), progress });
            }
        };
        let (call, answer) = engine().call(Request::Words(ask), Vec::new(), on_progress);
        id.set(call);
        let answer = answer.await;
        if !self.is_last(mine) {
            return Err(LabError::Superseded);
        }
        self.status.set(Status::Computing);
        match answer?.reply {
            Reply::Words(found) => Ok(*found),
            _ => Err(LabError::Other { message: "the worker answered something else".to_owned() }),
        }
    }

    /// What a link carries.
    pub fn address(&self) -> Address {
        // No link has what is only in this tab.
        let mut own: Vec<String> = self.lessons.with(|all| all.iter().map(|lesson| lesson.name.clone()).collect());
        self.brought.with(|all| own.extend(all.iter().map(|model| model.id.clone())));
        let mut vocabularies = self.chosen.get();
        vocabularies.retain(|name| !own.contains(name));
        if vocabularies == [NANO] {
            vocabularies.clear();
        }
        let text = self.text.get();
        Address {
            text: self.first_text.with_value(|first| *first != text).then_some(text),
            vocabularies,
            special: self.special.get(),
            stepped: self.stepped.get().filter(|name| !own.contains(name)),
            step: self.step.get(),
            size: self.size.get() as u32,
            texts: self.texts.get(),
        }
    }

    /// What a link says: the text in any case, for the first one depends on the reader's language.
    pub fn link(&self) -> Address {
        Address { text: Some(self.text.get()), ..self.address() }
    }

    /// Whether a learned vocabulary is shown, which no link can carry.
    pub fn shows_lesson(&self) -> bool {
        self.lessons.with(|all| self.chosen.with(|chosen| all.iter().any(|lesson| chosen.contains(&lesson.name))))
    }

    fn keep_address(self) {
        let opened = address::query();
        let pairs = move || {
            let mut pairs = self.address().pairs();
            // Too long for a link of ours; but the link that was opened has it, and keeps it as long as it is looked at.
            let is_kept =
                |name: &str, value: &str| name == "text" && !fits(value) && self.text.with(|text| text == value);
            let kept = opened.iter().find(|(name, value)| is_kept(name, value));
            pairs.extend(kept.map(|(_, value)| ("text", value.clone())));
            pairs
        };
        address::follow(pairs, |pairs| address::replace("/lab/tokenizer", pairs));
    }

    fn keep_lessons(self) {
        Effect::new(move |first: Option<()>| {
            // A frame of the page's own shares the tab's storage: who learns nothing must not write over who does.
            self.lessons.with(|lessons| {
                if first.is_some() {
                    keep::store(LESSONS, lessons);
                }
            });
        });
    }

    /// Keeps what is published in step with what is looked at.
    fn keep_published(self) {
        Effect::new(move |_| {
            self.step.track();
            self.lessons.track();
            self.merged.track();
            if untrack(|| self.status.get()) == Status::Ready {
                untrack(|| export::publish_state(self));
            }
        });
    }
}
