//! The planner: what a run will need and take, on this machine and on others, as you drag. It is the arithmetic of
//! `hearth_shared::plan`, done in this tab; the server only says what it has.

pub(super) mod answer;
pub(super) mod form;
mod plan;
pub(super) mod question;

use gloo::timers::callback::Timeout;
use hearth_shared::plan::ModelShape;
use hearth_shared::plan::devices::{DeviceSheet, sheets};
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::i18n::{t, use_i18n};
use super::store::use_store;
use super::{address, client};
use plan::Plan;
use question::Question;

/// A word of this page in the reader's language, as a signal.
macro_rules! word {
    ($i18n:ident, $key:ident) => {
        Signal::derive(move || t_string!($i18n, plan.$key).to_owned())
    };
}
use word;

/// What every part of the page reads.
#[derive(Clone, Copy)]
pub(super) struct Desk {
    pub(super) question: RwSignal<Question>,
    /// This machine, once it has been measured.
    here: RwSignal<Option<DeviceSheet>>,
    /// The chosen model, or why there is none.
    shape: Memo<Result<ModelShape, String>>,
    /// What it comes to, once there is a shape.
    plan: Memo<Option<Plan>>,
}

impl Desk {
    /// Asks the server what this machine has.
    pub(super) fn new(question: RwSignal<Question>) -> Self {
        let here = RwSignal::new(None);
        spawn_local(async move {
            // Without a server the table of devices stays.
            if let Ok(sheet) = client::get::<DeviceSheet>("/v1/hearth/device").await {
                let _ = here.try_set(Some(sheet));
            }
        });
        let shape = shape(question);
        let plan = Memo::new(move |_| {
            let (shape, device) = (shape.get().ok()?, device(question, here)?);
            Some(question.with(|question| Plan::of(question, shape, device)))
        });
        Self { question, here, shape, plan }
    }

    /// Weights of the model, once it has a shape.
    pub(super) fn parameters(self) -> Option<u64> {
        self.shape.with(|shape| shape.as_ref().ok().map(|shape| shape.parameters))
    }

    /// What the run needs of this machine and what there is, in bytes, where that is too little. A machine that is not known refuses nothing.
    pub(super) fn too_large(self) -> Option<(u64, u64)> {
        self.here.with(Option::is_some).then_some(())?;
        self.plan.with(|plan| {
            let plan = plan.as_ref().filter(|plan| plan.device.memory > 0.0 && !plan.fits())?;
            Some((plan.estimate.memory.total, plan.device.memory as u64))
        })
    }
}

/// The device that the question is about: this machine, else one of the list.
fn device(question: RwSignal<Question>, here: RwSignal<Option<DeviceSheet>>) -> Option<DeviceSheet> {
    match question.with(|question| question.device.clone()) {
        None => here.get().or_else(|| sheets().pop()),
        Some(name) => sheets().into_iter().find(|sheet| sheet.name == name),
    }
}

#[component]
pub fn Planner() -> impl IntoView {
    let i18n = use_i18n();
    let pairs = address::query();
    let asked = Question::read(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let question = RwSignal::new(asked);
    provide_context(Desk::new(question));
    remember(question);
    view! {
        <div class="page planner">
            <header class="page-head">
                <div>
                    <h1>{t!(i18n, plan.title)}</h1>
                    <p>{t!(i18n, plan.lead)}</p>
                </div>
            </header>
            <answer::Summary/>
            <div class="planner-body">
                <form::Form/>
                <div class="planner-beside">
                    <answer::Answers/>
                </div>
            </div>
        </div>
    }
}

/// The shape of what is asked about: a new model's at once, a model's of the server when it has answered.
fn shape(question: RwSignal<Question>) -> Memo<Result<ModelShape, String>> {
    let store = use_store();
    let known = RwSignal::new(None::<(String, Result<ModelShape, String>)>);
    let wanted = Memo::new(move |_| {
        let id = question.with(|question| question.model.clone())?;
        store.model(&id).map(|model| model.hearth.hash)
    });
    Effect::new(move |_| {
        let Some(hash) = wanted.get() else { return };
        spawn_local(async move {
            let answer = client::get::<ModelShape>(&format!("/v1/hearth/shapes/{hash}")).await;
            let _ = known.try_set(Some((hash, answer.map_err(|error| error.to_string()))));
        });
    });
    Memo::new(move |_| {
        if question.with(|question| question.model.is_none()) {
            return question.with(Question::new_shape).map_err(|error| error.to_string());
        }
        match (known.get(), wanted.get()) {
            (Some((hash, answer)), Some(wanted)) if hash == wanted => answer,
            _ => Err(String::new()),
        }
    })
}

/// Milliseconds after which a change stands in the address: browsers count how often it is replaced.
const SETTLED_MS: u32 = 300;

fn remember(question: RwSignal<Question>) {
    let pending = StoredValue::new_local(None::<Timeout>);
    Effect::new(move |_| {
        let pairs = question.with(Question::pairs);
        pending.set_value(Some(Timeout::new(SETTLED_MS, move || address::replace("/planner", &pairs))));
    });
}
