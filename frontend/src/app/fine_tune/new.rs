//! The form that starts a run: model, data, settings, go. Nothing is sent before "Start".

use hearth_shared::api::files::FileObject;
use hearth_shared::api::fine_tuning::Job;
use hearth_shared::api::models::Model;
use hearth_shared::plan::ModelShape;
use hearth_shared::spec::{DataFacts, TrainSpec};
use hearth_shared::text::{Format, Report};
use leptos::html::Input;
use leptos::prelude::*;
use leptos_i18n::I18nContext;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_navigate, use_query_map};
use wasm_bindgen_futures::spawn_local;
use web_sys::{Blob, File, FormData};

use super::data::{self, DataSet, LEAST_TO_SPLIT};
use super::launch::Launch;
use super::options::Options;
use super::options_form::{Limits, OptionsForm};
use super::preview::Preview;
use super::report::ReportView;
use super::trial::Trial;
use super::{JOBS, counted};
use crate::app::client::{self, ClientError};
use crate::app::components::field::Faults;
use crate::app::components::icons::Icon;
use crate::app::components::toast::use_toasts;
use crate::app::format;
use crate::app::i18n::{Locale, t, t_string, tu_string, use_i18n};
use crate::app::store::{NANO, Store, use_store};

/// Data sets that come with the page: file, and the words for it.
const SAMPLES: [&str; 2] = ["json-answers-en.jsonl", "json-answers-zh.jsonl"];

#[derive(Clone, Copy)]
struct Form {
    model: Memo<Option<Model>>,
    data: RwSignal<Option<DataSet>>,
    /// Keep some rows apart to measure on.
    hold_out: RwSignal<bool>,
    counting: RwSignal<bool>,
    options: Options,
    faults: Faults,
    error: RwSignal<Option<String>>,
}

impl Form {
    /// Tokens that a row may have, by the settings and the model.
    fn longest_row(self) -> Option<u32> {
        let context = self.model.with(|model| model.as_ref().map(|model| model.hearth.context as u32))?;
        Some(self.options.spec().hearth.longest_row(context))
    }

    /// Rows are checked against a length that a person set: until that is done nobody knows whether one can be taken.
    fn is_rechecking(self) -> bool {
        self.counting.get() && self.options.max_length.with(Option::is_some)
    }

    fn held_out(self) -> bool {
        self.hold_out.get() && self.data.with(|data| data.as_ref().is_some_and(DataSet::can_split))
    }

    fn facts(self) -> Option<DataFacts> {
        let model = self.model.get()?;
        let held_out = self.held_out();
        self.data.with(|data| Some(data.as_ref()?.facts(&model, held_out)))
    }

    /// Takes a file: the rules at once, the tokens when the worker has counted them.
    async fn take(self, name: String, bytes: Vec<u8>) {
        let set = DataSet::read(name, bytes).await;
        // The person may have left while a large file was read.
        if self.data.is_disposed() {
            return;
        }
        self.options.preferences.set(set.report.format == Some(Format::Preference));
        if self.options.prompts.with_untracked(String::is_empty) {
            self.options.prompts.set(set.prompts(2).join("\n"));
        }
        self.error.set(None);
        self.data.set(Some(set));
    }
}

#[component]
pub fn NewRun() -> impl IntoView {
    let i18n = use_i18n();
    let store = use_store();
    let query = use_query_map();
    let model = Memo::new(move |_| chosen(query.with(|query| query.get("model")), store));
    let faults = Faults::default();
    provide_context(faults);
    let form = Form {
        model,
        data: RwSignal::new(None),
        hold_out: RwSignal::new(true),
        counting: RwSignal::new(false),
        options: Options::new(),
        faults,
        error: RwSignal::new(None),
    };
    count_in_background(form);
    let limits = limits(form);
    let decided = Memo::new(move |_| form.facts().map(|facts| form.options.decide(&facts)));
    let spec = Signal::derive(move || decided.get().and_then(Result::ok));
    view! {
        <div class="page new-run">
            <header class="page-head">
                <div>
                    <a class="back soft" href="/fine-tune"><Icon name="back" size=16/> {t!(i18n, tune.title)}</a>
                    <h1>{t!(i18n, tune.new_title)}</h1>
                    <p>{t!(i18n, tune.new_lead)}</p>
                </div>
            </header>
            <Step number=1 title=Signal::derive(move || t_string!(i18n, tune.step_model))>
                <ChooseModel form/>
            </Step>
            <Step number=2 title=Signal::derive(move || t_string!(i18n, tune.step_data))>
                <ChooseData form/>
                <ReportView
                    report=Signal::derive(move || form.data.with(|data| Some(data.as_ref()?.report.clone())))
                    counting=form.counting
                />
                <Preview data=form.data/>
            </Step>
            <Step number=3 title=Signal::derive(move || t_string!(i18n, tune.step_settings))>
                <label class="field suffix">
                    <span class="field-label">{t!(i18n, tune.suffix)}</span>
                    <input
                        class="input"
                        maxlength="40"
                        placeholder=move || t_string!(i18n, tune.suffix_placeholder)
                        prop:value=form.options.suffix
                        on:input=move |event| form.options.suffix.set(event_target_value(&event))
                    />
                    <span class="hint">{t!(i18n, tune.suffix_hint)}</span>
                </label>
                <OptionsForm options=form.options decided=spec facts=Signal::derive(move || form.facts()) limits/>
            </Step>
            <Trial model=form.model data=form.data options=form.options/>
            <Go form decided/>
        </div>
    }
}

/// The model of the address; without one hearth-nano, which is quick everywhere, else the first that is no tuned model.
fn chosen(asked: Option<String>, store: Store) -> Option<Model> {
    store.models.with(|models| {
        let models = models.ready()?;
        models
            .iter()
            .find(|model| Some(&model.id) == asked.as_ref())
            .or_else(|| models.iter().find(|model| model.id == NANO))
            .or_else(|| models.iter().find(|model| model.hearth.base.is_none()))
            .cloned()
    })
}

/// What the chosen model allows. Only the server knows how many layers it has.
fn limits(form: Form) -> Limits {
    let hash = Memo::new(move |_| form.model.with(|model| model.as_ref().map(|model| model.hearth.hash.clone())));
    let layers = RwSignal::new(None::<(String, u64)>);
    Effect::new(move |_| {
        let Some(hash) = hash.get() else { return };
        spawn_local(async move {
            // Without an answer the server checks.
            if let Ok(shape) = client::get::<ModelShape>(&format!("/v1/hearth/shapes/{hash}")).await {
                let _ = layers.try_set(Some((hash, shape.n_layers)));
            }
        });
    });
    let frozen = move || match (layers.get(), hash.get()) {
        (Some((of, layers)), Some(hash)) if of == hash => layers.saturating_sub(1) as f64,
        _ => f64::INFINITY,
    };
    let length = move || {
        let context = form.model.with(|model| model.as_ref().map(|model| model.hearth.context));
        let virtual_tokens =
            form.options.spec().hearth.adapter().map_or(0, |adapter| u64::from(adapter.virtual_tokens()));
        context.map_or(f64::INFINITY, |context| context.saturating_sub(virtual_tokens) as f64)
    };
    Limits { length: Memo::new(move |_| length()).into(), frozen: Memo::new(move |_| frozen()).into() }
}

/// Token counts need the model's tokenizer, which lives in the lab's worker. A page without one still works: the server counts.
fn count_in_background(form: Form) {
    let wanted = Memo::new(move |_| {
        let name = form.data.with(|data| Some(data.as_ref()?.name.clone()))?;
        let bytes = form.data.with(|data| data.as_ref().map_or(0, |data| data.bytes.len()));
        // Another length or another model's tokens make other rows too long.
        Some((name, bytes, form.model.get()?, form.longest_row()?))
    });
    Effect::new(move |_| {
        let Some(asked) = wanted.get() else {
            return;
        };
        let Some(set) = form.data.get_untracked() else {
            return;
        };
        form.counting.set(true);
        spawn_local(async move {
            let (name, _, model, longest) = asked.clone();
            let counted = data::count_tokens(&set, model, longest).await;
            // Something else may have been asked since, which then ends the counting.
            if wanted.try_get_untracked().flatten() != Some(asked) {
                return;
            }
            let _ = form.counting.try_set(false);
            if let Ok(counted) = counted {
                let _ = form.data.try_update(|data| {
                    if let Some(data) = data
                        && data.name == name
                    {
                        data.report = counted.report;
                        data.pieces = counted.pieces;
                    }
                });
            }
        });
    });
}

#[component]
pub fn Step(number: u32, #[prop(into)] title: Signal<&'static str>, children: Children) -> impl IntoView {
    view! {
        <section class="step card">
            <h2>
                <span class="step-number" aria-hidden="true">{number}</span>
                {title}
            </h2>
            <div class="step-body">{children()}</div>
        </section>
    }
}

#[component]
fn ChooseModel(form: Form) -> impl IntoView {
    let i18n = use_i18n();
    let store = use_store();
    let navigate = use_navigate();
    let choose = move |id: String| {
        let path = format!("/fine-tune/new?model={}", js_sys::encode_uri_component(&id));
        let options = NavigateOptions { replace: true, scroll: false, ..Default::default() };
        navigate(&path, options);
    };
    let models = move || {
        let now = form.model.with(|model| model.as_ref().map(|model| model.id.clone()));
        store.models.with(|models| {
            models
                .ready()
                .into_iter()
                .flatten()
                .filter(|model| model.hearth.base.is_none())
                .map(|model| {
                    let selected = Some(&model.id) == now.as_ref();
                    view! { <option value=model.id.clone() selected=selected>{model.id.clone()}</option> }
                })
                .collect_view()
        })
    };
    let about = move || {
        form.model.with(|model| {
            let info = &model.as_ref()?.hearth;
            Some(t_string!(
                i18n,
                tune.model_about,
                parameters = format::count(info.parameters),
                context = format::group(info.context),
                memory = format::bytes(info.memory)
            ))
        })
    };
    view! {
        <label class="field">
            <span class="visually-hidden">{t!(i18n, tune.step_model)}</span>
            <select class="select model-select" on:change=move |event| choose(event_target_value(&event))>
                {models}
            </select>
            <span class="hint num">{about}</span>
        </label>
    }
}

#[component]
fn ChooseData(form: Form) -> impl IntoView {
    let i18n = use_i18n();
    let toasts = use_toasts();
    let over = RwSignal::new(false);
    let reading = RwSignal::new(false);
    let input: NodeRef<Input> = NodeRef::new();
    let store = use_store();
    let take = move |file: File| {
        let most = store.system.with_untracked(|system| system.ready().map(|system| system.max_upload_bytes));
        if most.is_some_and(|most| file.size() > most as f64) {
            let most = format::bytes(most.unwrap_or(0));
            toasts.bad(tu_string!(i18n, tune.too_large, most = most));
            return;
        }
        reading.set(true);
        spawn_local(async move {
            match data::read_file(&file).await {
                Ok(bytes) => form.take(file.name(), bytes).await,
                Err(_) => toasts.bad(tu_string!(i18n, tune.unreadable, name = file.name())),
            }
            let _ = reading.try_set(false);
        });
    };
    let sample = move |name: &'static str| {
        spawn_local(async move {
            match data::read_sample(name).await {
                Ok(bytes) => form.take(name.to_owned(), bytes).await,
                Err(_) => toasts.bad(tu_string!(i18n, tune.unreadable, name = name)),
            }
        });
    };
    let on_drop = move |event: web_sys::DragEvent| {
        event.prevent_default();
        over.set(false);
        let file = event.data_transfer().and_then(|transfer| transfer.files()).and_then(|files| files.get(0));
        if let Some(file) = file {
            take(file);
        }
    };
    let on_choose = move |_| {
        let file = input.get_untracked().and_then(|input| input.files()).and_then(|files| files.get(0));
        if let Some(file) = file {
            take(file);
        }
    };
    let name = move || form.data.with(|data| data.as_ref().map(|data| data.name.clone()));
    let sample_word = move |name: &str| match name {
        "json-answers-zh.jsonl" => t_string!(i18n, tune.sample_zh),
        _ => t_string!(i18n, tune.sample_en),
    };
    view! {
        <div
            class="drop"
            class:over=move || over.get()
            class:filled=move || name().is_some()
            on:dragover=move |event| {
                event.prevent_default();
                over.set(true);
            }
            on:dragleave=move |_| over.set(false)
            on:drop=on_drop
        >
            <Icon name=Signal::derive(move || if name().is_some() { "file" } else { "upload" }) size=28/>
            <div>
                <strong>{move || name().unwrap_or_else(|| t_string!(i18n, tune.drop).to_owned())}</strong>
                <p class="soft">
                    {move || {
                        if reading.get() {
                            t_string!(i18n, tune.reading)
                        } else {
                            t_string!(i18n, tune.drop_formats)
                        }
                    }}
                </p>
            </div>
            <label class="button">
                <input
                    class="visually-hidden"
                    type="file"
                    accept=".jsonl,.json,.txt"
                    node_ref=input
                    on:change=on_choose
                />
                {move || {
                    if name().is_some() {
                        t_string!(i18n, tune.choose_other)
                    } else {
                        t_string!(i18n, tune.choose)
                    }
                }}
            </label>
        </div>
        <Show when=move || form.data.with(Option::is_none)>
            <p class="samples">
                <span class="soft">{t!(i18n, tune.or_sample)}</span>
                {SAMPLES
                    .into_iter()
                    .map(|name| {
                        view! {
                            <button class="button small" on:click=move |_| sample(name)>
                                {move || sample_word(name)}
                            </button>
                        }
                    })
                    .collect_view()}
            </p>
        </Show>
        <Show when=move || form.data.with(Option::is_some)>
            <label class="check">
                <input
                    type="checkbox"
                    prop:checked=form.hold_out
                    disabled=move || form.data.with(|data| data.as_ref().is_some_and(|data| !data.can_split()))
                    on:change=move |event| form.hold_out.set(event_target_checked(&event))
                />
                <span>
                    {t!(i18n, tune.hold_out)}
                    <small class="hint">{t!(i18n, tune.hold_out_hint, count = LEAST_TO_SPLIT)}</small>
                </span>
            </label>
        </Show>
    }
}

/// What keeps a data set from being trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bad {
    /// The file has to be mended.
    Rows,
    /// Rows are longer than they may be, and nothing else: a setting can help as well.
    Lengths,
}

fn bad_rows(report: &Report) -> Option<Bad> {
    match report.errors {
        0 => None,
        errors if errors == report.too_long => Some(Bad::Lengths),
        _ => Some(Bad::Rows),
    }
}

/// What keeps a row from being longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    /// What a person set, or what is usual: more can be set.
    Length,
    /// They take the model's context from the rows.
    VirtualTokens,
    /// The model reads no more.
    Context,
}

fn bound(longest: u32, context: u32, virtual_tokens: u32) -> Bound {
    match virtual_tokens {
        tokens if longest < context.saturating_sub(tokens) => Bound::Length,
        0 => Bound::Context,
        _ => Bound::VirtualTokens,
    }
}

/// What helps against rows that are too long.
fn too_long(i18n: I18nContext<Locale>, form: Form) -> String {
    let context = form.model.with(|model| model.as_ref().map_or(0, |model| model.hearth.context as u32));
    let longest = form.longest_row().unwrap_or(context);
    let virtual_tokens = form.options.spec().hearth.adapter().map_or(0, |adapter| adapter.virtual_tokens());
    match bound(longest, context, virtual_tokens) {
        Bound::Length => t_string!(i18n, tune.launch_too_long).to_owned(),
        Bound::VirtualTokens => {
            let (tokens, room) = (u64::from(virtual_tokens), u64::from(longest));
            t_string!(i18n, tune.launch_too_long_virtual, tokens = format::group(tokens), room = format::group(room))
        }
        Bound::Context => {
            t_string!(i18n, tune.launch_too_long_context, context = format::group(u64::from(context)))
        }
    }
}

#[component]
fn Go(form: Form, decided: Memo<Option<Result<TrainSpec, String>>>) -> impl IntoView {
    let i18n = use_i18n();
    let ready = move || {
        form.data.with(|data| data.as_ref().is_some_and(|data| data.report.is_valid()))
            && form.model.with(Option::is_some)
            && decided.with(|decided| !matches!(decided, Some(Err(_))))
            && !form.faults.any()
            && !form.is_rechecking()
    };
    let bad = move || form.data.with(|data| data.as_ref().and_then(|data| bad_rows(&data.report)));
    let line = move || {
        let facts = form.facts();
        if form.faults.any() {
            return t_string!(i18n, tune.launch_field).to_owned();
        }
        decided.with(|decided| match (decided, facts) {
            (None, _) | (_, None) => t_string!(i18n, tune.launch_waiting).to_owned(),
            _ if form.is_rechecking() => t_string!(i18n, tune.launch_checking).to_owned(),
            _ if bad() == Some(Bad::Rows) => t_string!(i18n, tune.launch_invalid).to_owned(),
            _ if bad() == Some(Bad::Lengths) => too_long(i18n, form),
            (Some(Err(error)), _) => error.clone(),
            (Some(Ok(spec)), Some(facts)) => {
                let per_epoch = facts.examples.div_ceil(u64::from(spec.batch_size));
                let steps = per_epoch * u64::from(spec.n_epochs);
                t_string!(
                    i18n,
                    tune.launch_plan,
                    examples = counted::examples(i18n, facts.examples),
                    passes = counted::passes(i18n, u64::from(spec.n_epochs)),
                    steps = counted::steps(i18n, steps)
                )
            }
        })
    };
    let (line, ready) = (Signal::derive(line), Signal::derive(ready));
    view! { <Launch place="/fine-tune" icon="tune" line ready error=form.error make=move || send(form)/> }
}

/// Uploads the data and makes the job.
async fn send(form: Form) -> Result<Job, ClientError> {
    let gone = || ClientError::Aborted;
    let set = form.data.get_untracked().ok_or_else(gone)?;
    let model = form.model.get_untracked().ok_or_else(gone)?;
    let held_out = untrack(|| form.held_out());
    let (train, validation) = if held_out {
        let (train, validation) = set.split();
        (train, Some(validation))
    } else {
        (set.bytes.clone(), None)
    };
    let training_file = upload_bytes(&set.name, &train).await?.id;
    let validation_file = match validation {
        Some(bytes) => Some(upload_bytes(&format!("held-out-{}", set.name), &bytes).await?.id),
        None => None,
    };
    let request = form.options.request(model.id, training_file, validation_file);
    client::post(JOBS, &request).await
}

async fn upload_bytes(name: &str, bytes: &[u8]) -> Result<FileObject, ClientError> {
    let parts = js_sys::Array::of1(&js_sys::Uint8Array::from(bytes));
    upload(name, &Blob::new_with_u8_array_sequence(&parts).map_err(garbled)?).await
}

/// Sends a file to the server.
pub async fn upload(name: &str, blob: &Blob) -> Result<FileObject, ClientError> {
    let form = FormData::new().map_err(garbled)?;
    form.append_with_str("purpose", "fine-tune").map_err(garbled)?;
    form.append_with_blob_and_filename("file", blob, name).map_err(garbled)?;
    client::post_form("/v1/files", &form).await
}

fn garbled(error: wasm_bindgen::JsValue) -> ClientError {
    ClientError::Garbled(format!("{error:?}"))
}

#[cfg(test)]
mod tests {
    use hearth_shared::text::validate::validate;

    use super::*;

    #[test]
    fn a_longer_row_is_advised_only_where_there_is_room_for_one() {
        assert_eq!(bound(30, 512, 0), Bound::Length);
        assert_eq!(bound(30, 512, 510), Bound::VirtualTokens);
        assert_eq!(bound(2, 512, 510), Bound::VirtualTokens);
        assert_eq!(bound(1, 512, 510), Bound::Length);
        assert_eq!(bound(512, 512, 0), Bound::Context);
    }

    #[test]
    fn rows_that_are_only_too_long_are_a_setting_s_matter() {
        let row = r#"{"messages": [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "1"}]}"#;
        let good = validate(row.as_bytes(), None, None);
        assert_eq!(bad_rows(&good), None);
        assert_eq!(bad_rows(&Report { errors: 3, too_long: 3, ..good.clone() }), Some(Bad::Lengths));
        assert_eq!(bad_rows(&Report { errors: 4, too_long: 3, ..good }), Some(Bad::Rows));
    }
}
