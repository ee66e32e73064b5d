//! A run's model for other programs: a format is chosen, a job writes and compares the files, and they are handed to the browser. What was
//! written before is listed as long as the server has it.

use gloo::timers::future::TimeoutFuture;
use hearth_shared::api::List;
use hearth_shared::api::files::FileObject;
use hearth_shared::api::fine_tuning::{Job, JobEvent, JobStatus};
use hearth_shared::api::jobs::{CreateExport, CreateWork};
use hearth_shared::spec::{AdapterSpec, ExportDtype, ExportFormat, ExportSpec};
use leptos::ev::KeyboardEvent;
use leptos::html::Details;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::HtmlElement;

use super::{ALL_JOBS, download, log_words};
use crate::app::client::{self, ClientError};
use crate::app::components::icons::Icon;
use crate::app::components::toast::use_toasts;
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::store::use_store;

const POLL_MS: u32 = 500;

/// Format, numbers, what people call it.
const CHOICES: [(ExportFormat, ExportDtype, &str); 6] = [
    (ExportFormat::Safetensors, ExportDtype::F32, "Hugging Face · f32"),
    (ExportFormat::Safetensors, ExportDtype::Bf16, "Hugging Face · bf16"),
    (ExportFormat::Safetensors, ExportDtype::F16, "Hugging Face · f16"),
    (ExportFormat::Gguf, ExportDtype::F16, "GGUF · F16"),
    (ExportFormat::Gguf, ExportDtype::Q8_0, "GGUF · Q8_0"),
    (ExportFormat::Gguf, ExportDtype::Q4_0, "GGUF · Q4_0"),
];

/// Architectures that are written as GGUF files.
const IN_GGUF: [&str; 4] = ["llama", "mistral", "qwen2", "gpt2"];
/// The architecture of what no family of transformers says.
const OWN: &str = "hearth";

/// Why a format cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// What was trained is no change of a weight.
    Unmergeable,
    /// Transformers has no such architecture, and so llama.cpp hasn't either.
    Own,
    NotInGguf,
}

/// `architecture`: none where it is not known; the job will tell then.
fn refusal(format: ExportFormat, adapter: Option<&AdapterSpec>, architecture: Option<&str>) -> Option<Refusal> {
    let merges = !matches!(adapter, Some(AdapterSpec::Prefix(_) | AdapterSpec::Prompt(_) | AdapterSpec::Bottleneck(_)));
    match (format, architecture) {
        (ExportFormat::Peft, _) => None,
        _ if !merges => Some(Refusal::Unmergeable),
        (_, Some(OWN)) => Some(Refusal::Own),
        (ExportFormat::Gguf, Some(name)) if !IN_GGUF.contains(&name) => Some(Refusal::NotInGguf),
        _ => None,
    }
}

/// What people call an export.
fn label(spec: &ExportSpec) -> String {
    let dtype = spec.dtype().ok();
    let known = CHOICES.iter().find(|(format, of, _)| *format == spec.format && Some(*of) == dtype);
    let format = match spec.format {
        ExportFormat::Safetensors => "Hugging Face",
        ExportFormat::Gguf => "GGUF",
        ExportFormat::Peft => "PEFT",
    };
    known.map_or_else(
        || format!("{format} · {}", dtype.map_or("auto", ExportDtype::as_str)),
        |(.., label)| (*label).to_owned(),
    )
}

/// The exports of a model among jobs, the newest of each kind that did not fail, in the jobs' order.
fn of_model(jobs: Vec<Job>, model: &str) -> Vec<(Job, ExportSpec)> {
    let mut found: Vec<(Job, ExportSpec)> = Vec::new();
    for job in jobs {
        let Some(CreateWork::Export(asked)) = &job.hearth.request else { continue };
        let (of, spec) = (&asked.model, asked.spec);
        let lost = matches!(job.status, JobStatus::Failed | JobStatus::Cancelled);
        let is_older = found.iter().any(|(_, newer)| label(newer) == label(&spec));
        if of == model && !lost && !is_older {
            found.push((job, spec));
        }
    }
    found
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Idle,
    /// What the job says last.
    Working(String),
    /// What the comparison said.
    Done(String),
    Failed(String),
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
struct Made {
    label: String,
    files: Vec<FileObject>,
}

/// Copies are handles to the same state.
#[derive(Clone, Copy)]
struct Session {
    state: RwSignal<State>,
    made: RwSignal<Vec<Made>>,
}

impl Session {
    /// What is listed of this model, and the job that still writes, which is then followed.
    async fn recall(self, model: String) {
        let path = format!("{ALL_JOBS}?kind=export&limit=100");
        let Ok(list) = client::get::<List<Job>>(&path).await else { return };
        let (ended, going): (Vec<_>, Vec<_>) =
            of_model(list.data, &model).into_iter().partition(|(job, _)| job.status.ended());
        let mut made = Vec::new();
        for (job, spec) in ended {
            let mut files = Vec::new();
            for id in &job.result_files {
                // A file that was removed is not offered.
                files.extend(client::get::<FileObject>(&format!("/v1/files/{id}")).await.ok());
            }
            if !files.is_empty() {
                made.push(Made { label: label(&spec), files });
            }
        }
        let _ = self.made.try_set(made);
        if let Some((job, _)) = going.into_iter().next()
            && self.state.try_get_untracked() == Some(State::Idle)
        {
            let _ = self.state.try_set(State::Working(String::new()));
            self.settle(follow(job, self.state).await, model);
        }
    }

    fn start(self, model: String, spec: ExportSpec) {
        self.state.set(State::Working(String::new()));
        spawn_local(async move {
            let asked = CreateWork::Export(CreateExport { model: model.clone(), spec, metadata: None });
            let end = match client::post::<Job>(ALL_JOBS, &asked).await {
                Ok(job) => follow(job, self.state).await,
                Err(error) => Err(error),
            };
            self.settle(end, model);
        });
    }

    fn settle(self, end: Result<State, ClientError>, model: String) {
        let end = end.unwrap_or_else(|error| State::Failed(error.to_string()));
        let is_done = matches!(end, State::Done(_));
        if self.state.try_set(end).is_none() && is_done {
            spawn_local(self.recall(model));
        }
    }
}

/// The menu of what can be taken away.
#[component]
pub fn Export(
    model: Memo<Option<String>>,
    /// What was trained, where that is not the model's own weights.
    #[prop(into)]
    adapter: Signal<Option<AdapterSpec>>,
) -> impl IntoView {
    let i18n = use_i18n();
    let session = Session { state: RwSignal::new(State::Idle), made: RwSignal::new(Vec::new()) };
    Effect::new(move |_| {
        if let Some(model) = model.get() {
            spawn_local(session.recall(model));
        }
    });
    let menu: NodeRef<Details> = NodeRef::new();
    let close = move |event: KeyboardEvent| {
        let open = menu.get_untracked().filter(|menu| menu.has_attribute("open"));
        let Some(menu) = open.filter(|_| event.key() == "Escape") else { return };
        event.stop_propagation();
        let _ = menu.remove_attribute("open");
        let opener = menu.query_selector("summary").ok().flatten();
        if let Some(opener) = opener.and_then(|opener| opener.dyn_into::<HtmlElement>().ok()) {
            let _ = opener.focus();
        }
    };
    let in_hearth_alone =
        Signal::derive(move || adapter.with(|adapter| matches!(adapter, Some(AdapterSpec::Bottleneck(_)))));
    view! {
        <details class="export" node_ref=menu on:keydown=close>
            <summary class="button">
                <Icon name="download" size=16/>
                {t!(i18n, tune.export)}
            </summary>
            <div class="export-menu card">
                <p class="hint">{t!(i18n, tune.export_hint)}</p>
                <Choices session model adapter/>
                <Show when=move || adapter.with(Option::is_some)>
                    <Adapter model own=in_hearth_alone/>
                </Show>
                <div aria-live="polite">{move || view! { <Answer state=session.state.get()/> }}</div>
                {move || session.made.get().into_iter().map(|made| view! { <Listed made/> }).collect_view()}
            </div>
        </details>
    }
}

/// The formats; those that cannot be are there with the reason.
#[component]
fn Choices(session: Session, model: Memo<Option<String>>, adapter: Signal<Option<AdapterSpec>>) -> impl IntoView {
    let i18n = use_i18n();
    let store = use_store();
    let architecture =
        Memo::new(move |_| model.get().and_then(|id| store.model(&id)).map(|model| model.hearth.architecture));
    let refused = move |format: ExportFormat| {
        adapter.with(|adapter| architecture.with(|name| refusal(format, adapter.as_ref(), name.as_deref())))
    };
    let working = move || session.state.with(|state| matches!(state, State::Working(_)));
    let reason = move || {
        // The wider reason covers GGUF as well.
        let why = refused(ExportFormat::Safetensors).or_else(|| refused(ExportFormat::Gguf))?;
        Some(match why {
            Refusal::Unmergeable => t_string!(i18n, tune.export_unmergeable),
            Refusal::Own => t_string!(i18n, tune.export_own),
            Refusal::NotInGguf => t_string!(i18n, tune.export_not_in_gguf),
        })
    };
    let start = move |format: ExportFormat, dtype: ExportDtype| {
        // A button that is disabled loses the focus, and Escape with it.
        let waits = untrack(working);
        if let Some(model) = model.get_untracked().filter(|_| !waits) {
            session.start(model, ExportSpec { format, dtype: Some(dtype) });
        }
    };
    view! {
        <div class="export-choices">
            {CHOICES
                .into_iter()
                .map(|(format, dtype, label)| {
                    view! {
                        <button
                            type="button"
                            class="button small"
                            data-export=label
                            disabled=move || refused(format).is_some()
                            aria-disabled=move || working().to_string()
                            aria-describedby="export-reason"
                            on:click=move |_| start(format, dtype)
                        >
                            {label}
                        </button>
                    }
                })
                .collect_view()}
        </div>
        <p id="export-reason" class="hint">{reason}</p>
    }
}

/// The adapter alone, as it was trained.
#[component]
fn Adapter(
    model: Memo<Option<String>>,
    /// PEFT has no such adapters.
    own: Signal<bool>,
) -> impl IntoView {
    let i18n = use_i18n();
    let store = use_store();
    let toasts = use_toasts();
    let save = move |_| {
        let model = model.get_untracked().and_then(|id| untrack(|| store.model(&id)));
        spawn_local(async move {
            let saved = match &model {
                Some(model) => download::adapter(model).await,
                None => Err(ClientError::Unreachable),
            };
            if let Err(error) = saved {
                toasts.bad(error.to_string());
            }
        });
    };
    view! {
        <div class="export-choices">
            <button type="button" class="button small" data-act="download" on:click=save>
                <Icon name="download" size=16/>
                {move || if own.get() { t_string!(i18n, tune.download_own) } else { t_string!(i18n, tune.download) }}
            </button>
        </div>
    }
}

#[component]
fn Answer(state: State) -> impl IntoView {
    let i18n = use_i18n();
    match state {
        State::Idle => ().into_any(),
        State::Working(words) => {
            let words = move || match words.as_str() {
                "" => t_string!(i18n, tune.export_waiting).to_owned(),
                words => log_words::say(i18n, words),
            };
            view! { <p class="export-state"><span class="spinner" aria-hidden="true"></span> {words}</p> }.into_any()
        }
        State::Failed(error) => {
            let error = move || log_words::say(i18n, &error);
            view! { <p class="hint bad" role="alert">{error}</p> }.into_any()
        }
        State::Done(words) => view! { <p class="hint num">{move || log_words::say(i18n, &words)}</p> }.into_any(),
    }
}

/// The files of one export.
#[component]
fn Listed(made: Made) -> impl IntoView {
    view! {
        <section class="export-made">
            <h3 class="field-label">{made.label}</h3>
            <ul class="export-files">{made.files.into_iter().map(|file| view! { <Written file/> }).collect_view()}</ul>
        </section>
    }
}

#[component]
fn Written(file: FileObject) -> impl IntoView {
    let toasts = use_toasts();
    let label = format!("{} · {}", file.filename, format::bytes(file.bytes));
    let save = move |_| {
        let (id, name) = (file.id.clone(), file.filename.clone());
        spawn_local(async move {
            if let Err(error) = download::file(&id, &name).await {
                toasts.bad(error.to_string());
            }
        });
    };
    view! {
        <li>
            <button type="button" class="button quiet small" on:click=save>
                <Icon name="download" size=16/>
                {label}
            </button>
        </li>
    }
}

/// Stays with a job to its end.
async fn follow(mut job: Job, state: RwSignal<State>) -> Result<State, ClientError> {
    let mut words = String::new();
    while !job.status.ended() {
        TimeoutFuture::new(POLL_MS).await;
        if state.is_disposed() {
            return Err(ClientError::Aborted);
        }
        let events: List<JobEvent> = client::get(&format!("{ALL_JOBS}/{}/events?limit=1", job.id)).await?;
        if let Some(event) = events.data.into_iter().next() {
            words = event.message;
            let _ = state.try_set(State::Working(words.clone()));
        }
        job = client::get(&format!("{ALL_JOBS}/{}", job.id)).await?;
    }
    if job.status != JobStatus::Succeeded {
        return Ok(State::Failed(job.error.map_or(words, |error| error.message)));
    }
    let events: List<JobEvent> = client::get(&format!("{ALL_JOBS}/{}/events?limit=20", job.id)).await?;
    // The comparison, by which the files were let through.
    let compared = events.data.into_iter().map(|event| event.message).find(|message| message.contains("NLL"));
    Ok(State::Done(compared.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use hearth_shared::spec::{BottleneckSpec, LoraSpec, VirtualTokensSpec};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_written_is_known_before_it_is_tried() {
        use {AdapterSpec as A, ExportFormat as F};
        let (lora, tokens) = (A::Lora(LoraSpec::default()), VirtualTokensSpec::default());
        for merged in [None, Some(&lora), Some(&A::Ia3)] {
            assert_eq!(refusal(F::Safetensors, merged, Some("llama")), None);
            assert_eq!(refusal(F::Gguf, merged, Some("llama")), None);
            assert_eq!(refusal(F::Gguf, merged, Some("mixtral")), Some(Refusal::NotInGguf));
            assert_eq!(refusal(F::Safetensors, merged, Some("mixtral")), None);
            assert_eq!(refusal(F::Safetensors, merged, Some(OWN)), Some(Refusal::Own));
            assert_eq!(refusal(F::Gguf, merged, None), None);
        }
        for apart in [A::Prefix(tokens), A::Prompt(tokens), A::Bottleneck(BottleneckSpec::default())] {
            assert_eq!(refusal(F::Gguf, Some(&apart), Some("llama")), Some(Refusal::Unmergeable));
            assert_eq!(refusal(F::Safetensors, Some(&apart), None), Some(Refusal::Unmergeable));
            assert_eq!(refusal(F::Peft, Some(&apart), Some("llama")), None);
        }
    }

    fn job(id: &str, model: &str, dtype: &str, status: &str) -> Job {
        let job = json!({
            "id": id, "object": "job", "created_at": 0, "hyperparameters": {}, "model": model, "organization_id": "",
            "result_files": [], "status": status, "training_file": "", "seed": 0, "method": {"type": "export"},
            "hearth": {
                "kind": "export", "options": {}, "step": 0, "attempt": 0,
                "request": {"kind": "export", "model": model, "format": "gguf", "dtype": dtype},
            },
        });
        serde_json::from_value(job).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_newest_export_of_each_kind_is_listed() {
        let jobs = vec![
            job("5", "mine", "q8_0", "failed"),
            job("4", "mine", "q8_0", "succeeded"),
            job("3", "other", "f16", "succeeded"),
            job("2", "mine", "q8_0", "succeeded"),
            job("1", "mine", "f32", "running"),
        ];
        let found: Vec<_> =
            of_model(jobs, "mine").into_iter().map(|(job, spec)| format!("{} {}", job.id, label(&spec))).collect();
        assert_eq!(found, ["4 GGUF · Q8_0", "1 GGUF · f32"]);
    }
}
