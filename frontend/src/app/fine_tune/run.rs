//! The page of one run: what it is doing, how the loss falls, what it writes, and what can be done with it.

use hearth_shared::api::fine_tuning::{Job, JobStatus};
use hearth_shared::api::jobs::JobKind;
use hearth_shared::event::Stage;
use hearth_shared::text::Report;
use leptos::prelude::*;
use leptos_i18n::I18nContext;
use leptos_router::hooks::use_params_map;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::HtmlElement;

use super::checkpoints::{Checkpoints, keeps_adapters};
use super::export::Export;
use super::feed::{self, Feed, Record, follow};
use super::names::{self, Files};
use super::report::ReportView;
use super::run_charts::Charts;
use super::run_parts::{Decided, Log, Samples};
use super::{ALL_JOBS, Status, clock, log_words, origin};
use crate::app::client;
use crate::app::components::dialog::{Question, use_asker};
use crate::app::components::icons::Icon;
use crate::app::components::toast::use_toasts;
use crate::app::components::{Failure, Progress, Skeleton};
use crate::app::format;
use crate::app::i18n::{Locale, t, t_string, tu_string, use_i18n};
use crate::app::store::{Load, use_store};

/// Another id is another run: everything below is made anew.
#[component]
pub fn Run() -> impl IntoView {
    let params = use_params_map();
    let id = Memo::new(move |_| params.with(|params| params.get("run").unwrap_or_default()));
    move || view! { <RunPage id=id.get()/> }
}

#[component]
fn RunPage(id: String) -> impl IntoView {
    let feed = follow(id.clone());
    let state = Memo::new(move |_| {
        feed.job.with(|job| match job {
            Load::Waiting => 0,
            Load::Ready(_) => 1,
            Load::Failed(error) if error.is_not_found() => 2,
            Load::Failed(_) => 3,
        })
    });
    let id = StoredValue::new(id);
    let pretrained =
        Memo::new(move |_| feed.job.with(|job| job.ready().is_some_and(|job| job.hearth.kind != JobKind::FineTune)));
    view! {
        <div class="page run">
            <Back pretrained/>
            {move || match state.get() {
                0 => view! { <div class="card"><Skeleton lines=6/></div> }.into_any(),
                1 => view! { <Known id=id.get_value() feed/> }.into_any(),
                2 => view! { <Unknown/> }.into_any(),
                _ => {
                    let error = feed.job.with_untracked(|job| match job {
                        Load::Failed(error) => Some(error.clone()),
                        _ => None,
                    });
                    let retry = Callback::new(move |()| {
                        spawn_local(async move { feed.refresh(&id.get_value()).await });
                    });
                    error.map(|error| view! { <Failure error=Signal::stored(error) retry/> }).into_any()
                }
            }}
        </div>
    }
}

/// To the list that the run stands in.
#[component]
fn Back(pretrained: Memo<bool>) -> impl IntoView {
    let i18n = use_i18n();
    let place = move || if pretrained.get() { "/pretrain" } else { "/fine-tune" };
    view! {
        <a class="back soft" href=place>
            <Icon name="back" size=16/>
            {move || if pretrained.get() { t_string!(i18n, pretrain.title) } else { t_string!(i18n, tune.title) }}
        </a>
    }
}

#[component]
fn Unknown() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <div class="empty">
            <Icon name="compass" size=40/>
            <h1>{t!(i18n, tune.unknown_title)}</h1>
            <p>{t!(i18n, tune.unknown_text)}</p>
            <a class="button primary" href="/fine-tune">{t!(i18n, tune.unknown_action)}</a>
        </div>
    }
}

#[component]
fn Known(id: String, feed: Feed) -> impl IntoView {
    let i18n = use_i18n();
    let job = Memo::new(move |_| feed.job.get().into_ready());
    let status = Memo::new(move |_| job.with(|job| job.as_ref().map_or(JobStatus::Queued, |job| job.status)));
    let files = Files::new();
    Effect::new(move |_| job.with(|job| files.learn(job.as_slice())));
    let refused = Memo::new(move |_| job.with(|job| job.as_ref().and_then(refused)));
    let title = move || {
        job.with(|job| {
            let job = job.as_ref()?;
            Some(names::name(i18n, job, files))
        })
    };
    let created = move || job.with(|job| job.as_ref().map(|job| clock(job.created_at, i18n.get_locale())));
    let begins = move || job.with(|job| job.as_ref().map(|job| origin(i18n, job)));
    view! {
        <header class="run-head">
            <div>
                <h1>{title}</h1>
                <p class="run-sub soft">
                    <Status status/>
                    <span>{begins}</span>
                    <span class="num">{created}</span>
                    <code class="run-id">{id.clone()}</code>
                </p>
            </div>
            <Actions id feed job status/>
        </header>
        <Failed job refused/>
        <Refused refused/>
        <Figures job record=feed.record status/>
        <Charts record=feed.record status/>
        <div class="run-columns">
            <Samples record=feed.record status/>
            <Checkpoints job record=feed.record/>
        </div>
        <Decided job files/>
        <Log record=feed.record/>
    }
}

/// Where the report stands on the page.
const REPORT: &str = "report";

/// A report on data that the server did not take, and whether that was the data to train on, rather than to measure on.
fn refused(job: &Job) -> Option<(Report, bool)> {
    let both = [(&job.hearth.report, true), (&job.hearth.validation_report, false)];
    both.into_iter().find_map(|(report, training)| {
        let report = serde_json::from_value::<Report>(report.clone()?).ok()?;
        (!report.is_valid()).then_some((report, training))
    })
}

/// Why the run failed, and the way to the report where that was the data's fault.
#[component]
fn Failed(job: Memo<Option<Job>>, refused: Memo<Option<(Report, bool)>>) -> impl IntoView {
    let i18n = use_i18n();
    let failure = Memo::new(move |_| job.with(|job| Some(job.as_ref()?.error.as_ref()?.message.clone())));
    let words = move || match refused.with(|refused| refused.as_ref().map(|(report, _)| report.errors)) {
        Some(errors) => t_string!(i18n, tune.log_refused, errors = format::group(errors)),
        None => log_words::say(i18n, &failure.get().unwrap_or_default()),
    };
    let see = move |_| {
        let report = document().get_element_by_id(REPORT).and_then(|report| report.dyn_into::<HtmlElement>().ok());
        if let Some(report) = report {
            report.scroll_into_view();
            let _ = report.focus();
        }
    };
    view! {
        <Show when=move || failure.with(Option::is_some)>
            <div class="notice bad" role="alert">
                <Icon name="warn"/>
                <div>
                    <strong>{t!(i18n, tune.failed)}</strong>
                    <p>{words}</p>
                </div>
                <Show when=move || refused.with(Option::is_some)>
                    <button class="button small" data-act="see-report" on:click=see>
                        {t!(i18n, tune.report_see)}
                    </button>
                </Show>
            </div>
        </Show>
    }
}

#[component]
fn Refused(refused: Memo<Option<(Report, bool)>>) -> impl IntoView {
    let i18n = use_i18n();
    let report = Signal::derive(move || refused.with(|refused| refused.as_ref().map(|(report, _)| report.clone())));
    let title = move || match refused.with(|refused| refused.as_ref().is_some_and(|(_, training)| !training)) {
        true => t_string!(i18n, tune.report_validation),
        false => t_string!(i18n, tune.report_training),
    };
    view! {
        <Show when=move || refused.with(Option::is_some)>
            <section class="card run-report" id=REPORT tabindex="-1" aria-labelledby="report-title">
                <div class="section-head">
                    <h2 id="report-title">{title}</h2>
                </div>
                <ReportView report counting=RwSignal::new(false)/>
            </section>
        </Show>
    }
}

#[component]
fn Actions(id: String, feed: Feed, job: Memo<Option<Job>>, status: Memo<JobStatus>) -> impl IntoView {
    let i18n = use_i18n();
    let store = use_store();
    let toasts = use_toasts();
    let asker = use_asker();
    let id = StoredValue::new(id);
    let busy = RwSignal::new(false);
    let act = move |verb: &'static str| {
        busy.set(true);
        spawn_local(async move {
            let path = format!("{ALL_JOBS}/{}/{verb}", id.get_value());
            match client::post::<Job>(&path, &serde_json::json!({})).await {
                Ok(now) => {
                    let _ = feed.job.try_set(Load::Ready(now));
                }
                Err(error) => toasts.bad(error.to_string()),
            }
            let _ = busy.try_set(false);
        });
    };
    let cancel = move |_| {
        let kept = feed.record.with_untracked(|record| !record.saved.is_empty());
        let text = match job.with_untracked(|job| job.as_ref().is_some_and(keeps_adapters)) {
            _ if !kept => tu_string!(i18n, tune.cancel_text_none),
            true => tu_string!(i18n, tune.cancel_text),
            false => tu_string!(i18n, tune.cancel_text_whole),
        };
        let question = Question {
            title: tu_string!(i18n, tune.cancel_title).to_owned(),
            text: text.to_owned(),
            action: tu_string!(i18n, tune.cancel_action).to_owned(),
            destroys: true,
        };
        asker.ask(question, move || act("cancel"));
    };
    let tuned = Memo::new(move |_| job.with(|job| job.as_ref()?.fine_tuned_model.clone()));
    // The list of models was loaded before this one existed.
    Effect::new(move |_| {
        if tuned.with(Option::is_some) {
            store.refresh_models();
        }
    });
    let adapter = Signal::derive(move || job.with(|job| job.as_ref()?.hearth.spec.as_ref()?.adapter.clone()));
    let chat = move || {
        tuned.with(|tuned| {
            let (base, kind) = job.with(|job| job.as_ref().map(|job| (job.model.clone(), job.hearth.kind)))?;
            let escape = |id: &str| String::from(js_sys::encode_uri_component(id));
            let address = format!("/playground?model={}", escape(tuned.as_ref()?));
            // What begins from nothing has nothing to stand beside.
            let beside = (kind == JobKind::FineTune).then(|| format!("&other={}", escape(&base)));
            Some(address + &beside.unwrap_or_default())
        })
    };
    view! {
        <div class="run-actions">
            <Show when=move || status.get() == JobStatus::Running>
                <button class="button" data-act="pause" disabled=busy on:click=move |_| act("pause")>
                    <Icon name="pause" size=16/> {t!(i18n, tune.pause)}
                </button>
            </Show>
            <Show when=move || status.get() == JobStatus::Paused>
                <button class="button primary" data-act="resume" disabled=busy on:click=move |_| act("resume")>
                    <Icon name="play" size=16/> {t!(i18n, tune.resume)}
                </button>
            </Show>
            <Show when=move || !status.get().ended()>
                <button class="button" data-act="cancel" disabled=busy on:click=cancel>
                    <Icon name="stop" size=16/> {t!(i18n, tune.cancel)}
                </button>
            </Show>
            <Show when=move || tuned.with(Option::is_some)>
                <Export model=tuned adapter/>
                <a class="button primary" data-act="chat" href=chat>
                    <Icon name="chat" size=16/> {t!(i18n, tune.chat)}
                </a>
            </Show>
        </div>
    }
}

/// How far a run is, from 0 to 1; none where it is not known yet. What ended without a step did nothing.
fn share((now, total): (u64, u64), status: JobStatus) -> Option<f64> {
    match (total, status) {
        (0, JobStatus::Succeeded) => Some(1.0),
        (0, status) => status.ended().then_some(0.0),
        (total, _) => Some(now as f64 / total as f64),
    }
}

/// The numbers of the last step.
#[component]
fn Figures(job: Memo<Option<Job>>, record: RwSignal<Record>, status: Memo<JobStatus>) -> impl IntoView {
    let i18n = use_i18n();
    let steps = Memo::new(move |_| {
        let (now, total) =
            record.with(|record| record.metrics.last().map_or((0, 0), |last| (last.step, last.total_steps)));
        let known =
            job.with(|job| job.as_ref().map_or((0, 0), |job| (job.hearth.step, job.hearth.total_steps.unwrap_or(0))));
        (now.max(known.0), total.max(known.1))
    });
    let share = Signal::derive(move || share(steps.get(), status.get()));
    let step_line = Signal::derive(move || {
        let (now, total) = steps.get();
        match (now, total) {
            (0, _) if status.get().ended() => t_string!(i18n, tune.ended_before).to_owned(),
            (0, 0) => match record.with(|record| record.stage) {
                Some((stage, done, total)) => preparing(i18n, stage, done, total),
                None => t_string!(i18n, tune.preparing).to_owned(),
            },
            _ => t_string!(i18n, tune.step_of, now = format::group(now), total = format::group(total)),
        }
    });
    let last = move |pick: fn(&hearth_shared::event::Metrics) -> Option<String>| {
        move || record.with(|record| record.metrics.last().and_then(pick)).unwrap_or_else(|| "—".to_owned())
    };
    let valid = move || {
        record
            .with(|record| record.metrics.iter().rev().find_map(|metrics| metrics.valid_loss))
            .map_or_else(|| "—".to_owned(), |loss| format!("{loss:.3}"))
    };
    let pairs = Memo::new(move |_| job.with(|job| job.as_ref().is_some_and(|job| job.method.kind == "dpo")));
    let accuracy = move || match pairs.get() {
        true => t_string!(i18n, tune.accuracy_pairs),
        false => t_string!(i18n, tune.accuracy),
    };
    let left = move || {
        let locale = i18n.get_locale();
        if status.get() != JobStatus::Running {
            return "—".to_owned();
        }
        record
            .with(|record| record.metrics.last().and_then(|last| last.seconds_left))
            .map_or_else(|| "—".to_owned(), |seconds| format::duration(seconds, locale))
    };
    view! {
        <section class="card run-figures">
            <div class="run-progress">
                <div class="num">
                    <strong>{step_line}</strong>
                    <span class="soft">
                        {move || share.get().map(|share| format!("{:.0} %", share * 100.0))}
                    </span>
                </div>
                <Progress value=share label=step_line/>
            </div>
            <dl class="figures num">
                <div>
                    <dt>{t!(i18n, tune.train_loss)}</dt>
                    <dd data-figure="train-loss">{last(|metrics| Some(format!("{:.3}", metrics.train_loss)))}</dd>
                </div>
                <div>
                    <dt>{t!(i18n, tune.valid_loss)}</dt>
                    <dd data-figure="valid-loss">{valid}</dd>
                </div>
                <div>
                    <dt>{accuracy}</dt>
                    <dd>{last(|metrics| Some(format!("{:.0} %", metrics.train_accuracy * 100.0)))}</dd>
                </div>
                <div>
                    <dt>{t!(i18n, tune.speed)}</dt>
                    <dd data-figure="speed">{last(|metrics| feed::speed(metrics).map(format::rate))}</dd>
                </div>
                <div>
                    <dt>{t!(i18n, tune.trained_tokens)}</dt>
                    <dd>{last(|metrics| Some(format::group(metrics.trained_tokens)))}</dd>
                </div>
                <div>
                    <dt>{t!(i18n, tune.epoch)}</dt>
                    <dd>{last(|metrics| Some(format!("{:.1}", metrics.epoch)))}</dd>
                </div>
                <div>
                    <dt>{t!(i18n, tune.time_left)}</dt>
                    <dd>{left}</dd>
                </div>
                <StepFigure job record/>
                <MemoryFigure job record/>
            </dl>
        </section>
    }
}

/// What the process holds while the run goes on; afterwards what the run took of that at its fullest, which is what a plan says. A
/// process holds something before it has a model: each number says which of the two it is.
#[component]
fn MemoryFigure(job: Memo<Option<Job>>, record: RwSignal<Record>) -> impl IntoView {
    let i18n = use_i18n();
    let peak = Memo::new(move |_| job.with(|job| job.as_ref()?.hearth.measured?.peak_memory));
    let used = move || peak.get().or_else(|| record.with(|record| record.metrics.last().and_then(|last| last.memory)));
    let name = move || match peak.get() {
        Some(_) => t_string!(i18n, tune.memory_peak),
        None => t_string!(i18n, tune.memory),
    };
    // Between two steps a process holds less than in the middle of one; older runs have only that.
    let between = move || record.with(|record| record.metrics.iter().filter_map(|metrics| metrics.memory).max());
    let whole = Memo::new(move |_| job.with(|job| job.as_ref()?.hearth.measured?.peak_process).or_else(between));
    let beside = move || {
        peak.get()?;
        Some(t_string!(i18n, tune.memory_whole, value = format::bytes(whole.get()?)))
    };
    let planned = move || {
        let planned = job.with(|job| job.as_ref()?.hearth.planned)?;
        Some(t_string!(i18n, tune.planned, value = format::bytes(planned.memory.total)))
    };
    view! {
        <div>
            <dt>{name}</dt>
            <dd
                data-figure="memory"
                data-peak=move || peak.get().map(|bytes| bytes.to_string())
                data-whole=move || whole.get().map(|bytes| bytes.to_string())
            >
                {move || used().map_or_else(|| "—".to_owned(), format::bytes)}
                <small class="soft figure-note">{planned}</small>
                <small class="soft figure-note">{beside}</small>
            </dd>
        </div>
    }
}

/// How long a step takes: as the last ones did while the run goes on, afterwards the middle one; and what was planned.
#[component]
fn StepFigure(job: Memo<Option<Job>>, record: RwSignal<Record>) -> impl IntoView {
    let i18n = use_i18n();
    let measured = Memo::new(move |_| job.with(|job| job.as_ref()?.hearth.measured?.step_seconds));
    let running = move || {
        record.with(|record| {
            let last = record.metrics.last()?;
            let left = last.total_steps.saturating_sub(last.step);
            last.seconds_left.filter(|_| left > 0).map(|seconds| seconds / left as f64)
        })
    };
    let seconds = move || measured.get().or_else(running);
    let planned = Memo::new(move |_| job.with(|job| job.as_ref()?.hearth.planned?.step_seconds));
    let beside = move || {
        let planned = format::span(planned.get()?, i18n.get_locale());
        Some(t_string!(i18n, tune.step_planned, value = planned))
    };
    view! {
        <div>
            <dt>{t!(i18n, tune.step_time)}</dt>
            <dd
                data-figure="step"
                data-measured=move || measured.get().map(|seconds| seconds.to_string())
                data-planned=move || planned.get().map(|seconds| seconds.to_string())
            >
                {move || seconds().map_or_else(|| "—".to_owned(), |seconds| format::span(seconds, i18n.get_locale()))}
                <small class="soft figure-note">{beside}</small>
            </dd>
        </div>
    }
}

/// What is done before the first step, in words.
fn preparing(i18n: I18nContext<Locale>, stage: Stage, done: u64, total: u64) -> String {
    let (done, total) = (format::bytes(done), format::bytes(total));
    match stage {
        Stage::Reading => t_string!(i18n, pretrain.stage_reading, done = done, total = total),
        Stage::Vocabulary => t_string!(i18n, pretrain.stage_vocabulary).to_owned(),
        Stage::Tokenizing => t_string!(i18n, pretrain.stage_tokenizing, done = done, total = total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_failed_before_its_first_step_is_at_its_beginning() {
        assert_eq!(share((0, 0), JobStatus::Failed), Some(0.0));
        assert_eq!(share((0, 0), JobStatus::Cancelled), Some(0.0));
        assert_eq!(share((0, 0), JobStatus::Running), None);
        assert_eq!(share((0, 0), JobStatus::Succeeded), Some(1.0));
        assert_eq!(share((3, 12), JobStatus::Failed), Some(0.25));
    }
}
