//! The form that starts a model from nothing: texts, vocabulary, size, settings, and beside them what it will hold and take, as one
//! drags. The plan is the planner's.

use hearth_shared::api::fine_tuning::Job;
use hearth_shared::api::jobs::{CreatePretrain, CreateWork};
use hearth_shared::plan::ModelShape;
use hearth_shared::spec::{
    ArchitectureSpec, Auto, HearthOptions, Preset, PretrainSpec, SampleSpec, Split, TextFacts, TextSpec, TokenizerSpec,
    Tuning,
};
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::texts::{ChooseTexts, Files};
use crate::app::client::{self, ClientError};
use crate::app::components::field::{ChoiceField, Faults, NumberField};
use crate::app::components::icons::Icon;
use crate::app::fine_tune::{Launch, Step, upload};
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::planner::Desk;
use crate::app::planner::answer::Answers;
use crate::app::planner::form::{Batch, How, NewModel as Sizes, Vocabulary as VocabularySize};
use crate::app::planner::question::Question;
use crate::app::store::{Load, use_store};

/// A word of this page in the reader's language, as a signal.
macro_rules! word_of {
    ($i18n:ident, $key:ident) => {
        Signal::derive(move || t_string!($i18n, pretrain.$key).to_owned())
    };
}

/// Tokens of an answer at a checkpoint.
const SAMPLE_TOKENS: u32 = 48;

#[derive(Clone, Copy)]
struct Form {
    desk: Desk,
    files: Files,
    split: RwSignal<Split>,
    /// The model whose vocabulary is taken; none learns one.
    vocabulary: RwSignal<Option<String>>,
    name: RwSignal<String>,
    /// None: as many as suit the size.
    epochs: RwSignal<Option<f64>>,
    /// None: as the size asks.
    rate: RwSignal<Option<f64>>,
    prompts: RwSignal<String>,
    faults: Faults,
    error: RwSignal<Option<String>>,
}

impl Form {
    fn spec(self) -> PretrainSpec {
        let question = self.desk.question.get();
        let tokenizer = match self.vocabulary.get() {
            Some(model) => TokenizerSpec::Model(model),
            None => TokenizerSpec::Train { vocab_size: question.vocab },
        };
        let prompts = self.prompts.get();
        let samples = prompts.lines().map(str::trim).filter(|line| !line.is_empty());
        let plain = ArchitectureSpec::default();
        // What the other families have no place for is refused, and the dials keep it.
        let mixture = question.preset == Preset::Moe;
        PretrainSpec {
            architecture: ArchitectureSpec {
                preset: question.preset,
                depth: question.depth,
                experts: if mixture { question.experts } else { plain.experts },
                moe_every: if mixture { question.moe_every.min(question.depth) } else { plain.moe_every },
                max_positions: question.length.max(1024),
                ..plain
            },
            tokenizer,
            texts: TextSpec { split: self.split.get(), ..TextSpec::default() },
            n_epochs: self.epochs.get().map_or(Auto::Auto, |epochs| Auto::Value(epochs as u32)),
            batch_size: Auto::Value(question.batch),
            options: HearthOptions {
                tuning: Tuning::Full,
                max_length: Auto::Value(question.length),
                micro_batch_tokens: Auto::Value(question.length.saturating_mul(question.rows.min(question.batch))),
                learning_rate: self.rate.get().map_or(Auto::Auto, Auto::Value),
                optimizer: question.optimizer,
                precision: question.precision,
                gradient_checkpointing: question.checkpointing,
                samples: samples
                    .take(8)
                    .map(|prompt| SampleSpec { prompt: prompt.to_owned(), max_tokens: SAMPLE_TOKENS })
                    .collect(),
                ..HearthOptions::default()
            },
        }
    }

    fn vocab_size(self) -> u32 {
        self.desk.question.with(|question| question.vocab)
    }

    /// Passes over the texts, and steps; or why there can be no run.
    fn steps(self) -> Option<Result<(u32, u64), String>> {
        let parameters = self.desk.parameters()?;
        let tokens = self.files.tokens(self.vocab_size()) as u64;
        if self.files.listed.with(Vec::is_empty) {
            return None;
        }
        let facts = TextFacts { tokens, parameters };
        let decided = self.spec().resolve(&facts, 0);
        Some(decided.map_err(|error| error.to_string()).map(|spec| {
            let rows = tokens / u64::from(spec.max_length.max(1));
            (spec.n_epochs, u64::from(spec.n_epochs) * rows.div_ceil(u64::from(spec.batch_size)))
        }))
    }
}

#[component]
pub fn NewModel() -> impl IntoView {
    let i18n = use_i18n();
    let small = Question { depth: 3, vocab: 4096, length: 256, batch: 16, rows: 8, ..Question::default() };
    let desk = Desk::new(RwSignal::new(small));
    provide_context(desk);
    let faults = Faults::default();
    provide_context(faults);
    let form = Form {
        desk,
        files: Files::new(),
        split: RwSignal::new(Split::File),
        vocabulary: RwSignal::new(None),
        name: RwSignal::new(String::new()),
        epochs: RwSignal::new(None),
        rate: RwSignal::new(None),
        prompts: RwSignal::new(String::new()),
        faults,
        error: RwSignal::new(None),
    };
    let steps = Memo::new(move |_| form.steps());
    // The plan's time is that of these texts.
    Effect::new(move |_| {
        let tokens = steps.with(|steps| match steps {
            Some(Ok((epochs, _))) => Some(form.files.tokens(form.vocab_size()) * f64::from(*epochs) / 1e6),
            _ => None,
        });
        if desk.question.with_untracked(|question| question.tokens != tokens) {
            desk.question.update(|question| question.tokens = tokens);
        }
    });
    view! {
        <div class="page new-model">
            <header class="page-head">
                <div>
                    <a class="back soft" href="/pretrain"><Icon name="back" size=16/> {t!(i18n, pretrain.title)}</a>
                    <h1>{t!(i18n, pretrain.new_title)}</h1>
                    <p>{t!(i18n, pretrain.new_lead)}</p>
                </div>
            </header>
            <div class="new-model-body">
                <div class="new-model-form">
                    <Step number=1 title=Signal::derive(move || t_string!(i18n, pretrain.step_texts))>
                        <ChooseTexts files=form.files vocab_size=Signal::derive(move || form.vocab_size())/>
                        <Documents form/>
                    </Step>
                    <Step number=2 title=Signal::derive(move || t_string!(i18n, pretrain.step_model))>
                        <Vocabulary form/>
                        <Sizes without_vocabulary=true/>
                    </Step>
                    <Step number=3 title=Signal::derive(move || t_string!(i18n, tune.step_settings))>
                        <Batch/>
                        <How/>
                        <Settings form/>
                    </Step>
                    <Go form steps/>
                </div>
                <aside class="new-model-plan" id="plan" tabindex="-1">
                    <Answers brief=true/>
                </aside>
            </div>
        </div>
    }
}

#[component]
fn Documents(form: Form) -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <ChoiceField
            label=word_of!(i18n, split) hint=word_of!(i18n, split_hint) value=form.split name="split"
            choices=vec![
                (Split::File, word_of!(i18n, split_file)), (Split::Line, word_of!(i18n, split_line)),
                (Split::BlankLine, word_of!(i18n, split_blank_line)),
            ]
        />
    }
}

/// One that is learned from the texts, or a model's.
#[component]
fn Vocabulary(form: Form) -> impl IntoView {
    let i18n = use_i18n();
    let store = use_store();
    let question = form.desk.question;
    let names = Memo::new(move |_| match store.models.get() {
        Load::Ready(models) => models
            .into_iter()
            .filter(|model| model.hearth.base.is_none())
            .map(|model| (model.id, model.hearth.hash))
            .collect(),
        _ => Vec::<(String, String)>::new(),
    });
    let choose = move |id: String| {
        let hash =
            names.with_untracked(|names| names.iter().find(|(name, _)| *name == id).map(|(_, hash)| hash.clone()));
        form.vocabulary.set(hash.is_some().then_some(id));
        let Some(hash) = hash else { return };
        spawn_local(async move {
            // The plan depends on how many tokens it has.
            if let Ok(shape) = client::get::<ModelShape>(&format!("/v1/hearth/shapes/{hash}")).await {
                let _ = question.try_update(|question| question.vocab = shape.vocab_size as u32);
            }
        });
    };
    view! {
        <label class="field">
            <span class="field-label">{t!(i18n, pretrain.vocabulary)}</span>
            <select class="select" name="vocabulary" on:change=move |event| choose(event_target_value(&event))>
                <option value="" selected=move || form.vocabulary.with(Option::is_none)>
                    {t!(i18n, pretrain.vocabulary_new)}
                </option>
                <For each=move || names.get() key=|(id, _)| id.clone() let:model>
                    <option value=model.0.clone()>{model.0.clone()}</option>
                </For>
            </select>
            <span class="hint">{t!(i18n, pretrain.vocabulary_hint)}</span>
        </label>
        <Show when=move || form.vocabulary.with(Option::is_none)>
            <VocabularySize/>
        </Show>
    }
}

#[component]
fn Settings(form: Form) -> impl IntoView {
    let i18n = use_i18n();
    // What is chosen for an empty field hangs on texts and size; the hints say by what rule.
    let automatic = Signal::derive(move || t_string!(i18n, tune.auto).to_owned());
    view! {
        <div class="options">
            <NumberField
                label=word_of!(i18n, epochs) hint=word_of!(i18n, epochs_hint) value=form.epochs name="epochs"
                automatic min=1.0 max=100.0 whole=true
            />
            <NumberField
                label=word_of!(i18n, rate) hint=word_of!(i18n, rate_hint) value=form.rate name="rate" automatic
                min=1e-7 max=1.0
            />
            <label class="field">
                <span class="field-label">{t!(i18n, pretrain.name)}</span>
                <input
                    class="input"
                    name="name"
                    maxlength="64"
                    prop:value=form.name
                    on:input=move |event| form.name.set(event_target_value(&event))
                />
                <span class="hint">{t!(i18n, pretrain.name_hint)}</span>
            </label>
        </div>
        <label class="field">
            <span class="field-label">{t!(i18n, pretrain.prompts)}</span>
            <textarea
                class="input"
                rows="3"
                name="prompts"
                prop:value=form.prompts
                on:input=move |event| form.prompts.set(event_target_value(&event))
            ></textarea>
            <span class="hint">{t!(i18n, pretrain.prompts_hint)}</span>
        </label>
    }
}

/// Why a run cannot start.
#[derive(Clone, Debug, PartialEq)]
enum Stop {
    /// A field holds what cannot be.
    Field,
    NoTexts,
    /// In the arithmetic's words.
    Impossible(String),
    /// Bytes that it needs, and that there are.
    TooLarge(u64, u64),
}

/// What a person has to see to first.
fn stop(steps: Option<&Result<(u32, u64), String>>, wrong: bool, too_large: Option<(u64, u64)>) -> Option<Stop> {
    match (steps, too_large) {
        _ if wrong => Some(Stop::Field),
        (None, _) => Some(Stop::NoTexts),
        (Some(Err(error)), _) => Some(Stop::Impossible(error.clone())),
        (Some(Ok(_)), Some((needed, room))) => Some(Stop::TooLarge(needed, room)),
        (Some(Ok(_)), None) => None,
    }
}

#[component]
fn Go(form: Form, steps: Memo<Option<Result<(u32, u64), String>>>) -> impl IntoView {
    let i18n = use_i18n();
    // One memo: two that follow the same signal may be told apart in time.
    let go = Memo::new(move |_| {
        steps.with(|steps| match stop(steps.as_ref(), form.faults.any(), form.desk.too_large()) {
            Some(stop) => Err(stop),
            None => Ok(steps.clone().and_then(Result::ok).unwrap_or_default()),
        })
    });
    let ready = Signal::derive(move || go.with(Result::is_ok));
    let line = Signal::derive(move || match go.get() {
        Err(Stop::Field) => t_string!(i18n, pretrain.launch_field).to_owned(),
        Err(Stop::NoTexts) => t_string!(i18n, pretrain.launch_waiting).to_owned(),
        Err(Stop::Impossible(error)) => error,
        Err(Stop::TooLarge(needed, room)) => {
            let (needed, room) = (format::bytes(needed), format::bytes(room));
            t_string!(i18n, pretrain.launch_too_large, needed = needed, room = room)
        }
        Ok((epochs, steps)) => {
            t_string!(i18n, pretrain.launch_plan, epochs = epochs, steps = format::group(steps))
        }
    });
    view! { <Launch place="/pretrain" icon="cube" line ready error=form.error make=move || send(form)/> }
}

/// Uploads the texts and makes the job.
async fn send(form: Form) -> Result<Job, ClientError> {
    let name = Some(form.name.get_untracked().trim().to_owned()).filter(|name| !name.is_empty());
    let spec = untrack(|| form.spec());
    let mut training_files = Vec::new();
    for (name, blob) in form.files.all() {
        training_files.push(upload(&name, &blob).await?.id);
    }
    let asked = CreatePretrain { name, training_files, spec, ..CreatePretrain::default() };
    client::post("/v1/jobs", &CreateWork::Pretrain(Box::new(asked))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_starts_that_cannot_run_here() {
        let good = Ok((1, 20));
        assert_eq!(stop(Some(&good), false, None), None);
        assert_eq!(stop(Some(&good), false, Some((8, 4))), Some(Stop::TooLarge(8, 4)));
        assert_eq!(stop(Some(&good), true, None), Some(Stop::Field));
        assert_eq!(stop(None, false, Some((8, 4))), Some(Stop::NoTexts));
        let bad = Err("too few".to_owned());
        assert_eq!(stop(Some(&bad), false, None), Some(Stop::Impossible("too few".to_owned())));
    }
}
