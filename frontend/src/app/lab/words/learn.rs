//! A vocabulary learned in the tab: from which texts, how large, and the merges in the order they were learned. What was
//! learned stands beside the models' vocabularies.

use hearth_shared::lab::{
    LabError, Progress, Reply, Request, Stage,
    words::{Ask, Found, Learned, SIZES},
};
use js_sys::Uint8Array;
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::super::engine::engine;
use super::super::milliseconds;
use super::session::{Lesson as Entry, Session, Texts, use_session};
use super::shown::seen;
use crate::app::components::{Progress as Bar, field::Slider, icons::Icon};
use crate::app::download;
use crate::app::fine_tune::read_sample;
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

const SAMPLE: &str = "heldout.jsonl";

/// Where learning is.
#[derive(Clone, Debug, Default, PartialEq)]
enum Learning {
    #[default]
    Idle,
    /// The texts are fetched; there is no call yet.
    Reading,
    Running {
        call: u64,
        progress: Option<Progress>,
    },
    Failed(LabError),
}

#[component]
pub fn Lesson() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let learning = RwSignal::new(Learning::Idle);
    let busy = Memo::new(move |_| learning.with(|now| matches!(now, Learning::Reading | Learning::Running { .. })));
    let begin = move |_| {
        spawn_local(learn(session, learning));
    };
    let cancel = move |_| {
        if let Learning::Running { call, .. } = learning.get_untracked() {
            engine().cancel(call);
        }
    };
    let failed = move || match learning.get() {
        Learning::Failed(LabError::EmptyText) => Some(t_string!(i18n, words.learn_empty).to_owned()),
        Learning::Failed(LabError::Cancelled) => Some(t_string!(i18n, lab.cancelled_title).to_owned()),
        Learning::Failed(error) => Some(error.to_string()),
        _ => None,
    };
    view! {
        <section class="words-learn card" aria-labelledby="words-learn-title" data-learning=move || busy.get().to_string()>
            <div class="section-head">
                <h2 id="words-learn-title">{t!(i18n, words.learn_title)}</h2>
            </div>
            <p class="hint">{t!(i18n, words.learn_help)}</p>
            <div class="words-learn-form">
                <Source/>
                <Slider
                    label=Signal::derive(move || t_string!(i18n, words.size).to_owned())
                    hint=Signal::derive(move || t_string!(i18n, words.size_hint).to_owned())
                    value=session.size
                    min=f64::from(SIZES.0)
                    max=f64::from(SIZES.1)
                    step=50.0
                    digits=0
                />
                <button class="button primary" data-action="learn" disabled=move || busy.get() on:click=begin>
                    {t!(i18n, words.learn)}
                </button>
            </div>
            <Show when=move || busy.get()>
                <Running learning=learning/>
                <button class="button small" data-action="stop" on:click=cancel>
                    {t!(i18n, common.cancel)}
                </button>
            </Show>
            <div role="status">
                {move || failed().map(|words| view! { <p class="hint bad">{words}</p> })}
            </div>
            <For
                each=move || session.lessons.get().into_iter().rev()
                key=|lesson| lesson.name.clone()
                let:lesson
            >
                <Taught lesson=lesson/>
            </For>
        </section>
    }
}

#[component]
fn Source() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let name = move |texts| match texts {
        Texts::Sample => t_string!(i18n, words.from_sample),
        Texts::Own => t_string!(i18n, words.from_own),
    };
    view! {
        <div class="field">
            <span class="field-label" id="words-source">{t!(i18n, words.source)}</span>
            <div class="segments" role="group" aria-labelledby="words-source">
                {[Texts::Sample, Texts::Own]
                    .into_iter()
                    .map(|texts| {
                        view! {
                            <button
                                data-texts=texts.word()
                                aria-pressed=move || (session.texts.get() == texts).to_string()
                                on:click=move |_| session.texts.set(texts)
                            >
                                {move || name(texts)}
                            </button>
                        }
                    })
                    .collect_view()}
            </div>
        </div>
    }
}

#[component]
fn Running(learning: RwSignal<Learning>) -> impl IntoView {
    let i18n = use_i18n();
    let progress = move || match learning.get() {
        Learning::Running { progress, .. } => progress,
        _ => None,
    };
    let line = Signal::derive(move || match progress() {
        Some(Progress { stage: Stage::Forward, done, .. }) => {
            t_string!(i18n, words.learning, count = format::group(done))
        }
        _ => t_string!(i18n, words.counting).to_owned(),
    });
    let share = Signal::derive(move || {
        let progress = progress()?;
        let total = progress.total.filter(|&total| total > 0)?;
        Some(progress.done as f64 / total as f64)
    });
    view! {
        <div class="words-running">
            <p class="hint num">{line}</p>
            <Bar value=share label=line/>
        </div>
    }
}

async fn learn(session: Session, learning: RwSignal<Learning>) {
    learning.set(Learning::Reading);
    let vocab_size = session.size.get_untracked() as u32;
    let outcome = ask(session, learning, vocab_size).await;
    // The person may have gone to another page meanwhile.
    if learning.try_get_untracked().is_none() {
        return;
    }
    match outcome {
        Ok(learned) => {
            learning.set(Learning::Idle);
            let name = session.new_name(learned.vocab_size);
            session.add_lesson(Entry { name, learned });
        }
        Err(error) => learning.set(Learning::Failed(error)),
    }
}

async fn ask(session: Session, learning: RwSignal<Learning>, vocab_size: u32) -> Result<Learned, LabError> {
    let (text, buffers) = match session.texts.get_untracked() {
        Texts::Own => (Some(session.text.get_untracked()), Vec::new()),
        Texts::Sample => {
            let bytes = read_sample(SAMPLE).await.map_err(|error| LabError::Fetch {
                url: format!("/samples/{SAMPLE}"),
                message: format!("{error:?}"),
            })?;
            (None, vec![Uint8Array::from(bytes.as_slice()).buffer()])
        }
    };
    let on_progress = move |told: Progress| {
        let _ = learning.try_update(|now| {
            if let Learning::Running { progress, .. } = now {
                *progress = Some(told);
            }
        });
    };
    let (call, answer) = engine().call(Request::Words(Ask::Learn { vocab_size, text }), buffers, on_progress);
    let _ = learning.try_set(Learning::Running { call, progress: None });
    match answer.await?.reply {
        Reply::Words(found) => match *found {
            Found::Learned(learned) => Ok(learned),
            _ => Err(LabError::Other { message: "the worker answered something else".to_owned() }),
        },
        _ => Err(LabError::Other { message: "the worker answered something else".to_owned() }),
    }
}

/// What was learned, merge by merge.
#[component]
fn Taught(lesson: Entry) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let Entry { name, learned } = lesson;
    let facts = {
        let (merges, words) = (learned.merges.len() as u64, u64::from(learned.words));
        let (bytes, ms) = (learned.size.bytes, learned.ms);
        move || {
            t_string!(
                i18n,
                words.learned_facts,
                merges = format::group(merges),
                bytes = format::bytes(bytes),
                words = format::group(words),
                ms = milliseconds(ms)
            )
        }
    };
    let (key, gone, named) = (name.clone(), name.clone(), name.clone());
    let json = learned.json;
    let rows = learned
        .merges
        .into_iter()
        .map(|merge| {
            let joined = seen(&[merge.left.as_slice(), merge.right.as_slice()].concat()).text;
            let (left, right) = (seen(&merge.left).text, seen(&merge.right).text);
            view! {
                <li>
                    <bdi class="words-merge">
                        <span class="words-piece">{left}</span>
                        <span class="soft" aria-hidden="true">"+"</span>
                        <span class="words-piece">{right}</span>
                        <span class="soft" aria-hidden="true">"→"</span>
                        <span class="words-piece fresh">{joined}</span>
                    </bdi>
                    <span class="hint num">{format!("{}×", format::group(merge.count))}</span>
                </li>
            }
        })
        .collect_view();
    view! {
        <article class="words-result" data-lesson=key>
            <header class="words-row-head">
                <h3>{name}</h3>
                <span class="hint num">{facts}</span>
                <span class="words-actions">
                    <button
                        class="button small quiet"
                        on:click=move |_| download::save_text(&json, "tokenizer.json")
                    >
                        <Icon name="download" size=16/>
                        "tokenizer.json"
                    </button>
                    <button
                        class="button small quiet"
                        aria-label=move || t_string!(i18n, words.forget, name = named.clone())
                        on:click=move |_| session.forget(&gone)
                    >
                        <Icon name="trash" size=16/>
                        {t!(i18n, common.remove)}
                    </button>
                </span>
            </header>
            <ol class="words-merges" tabindex="0" aria-label=move || t_string!(i18n, words.merges_label)>
                {rows}
            </ol>
        </article>
    }
}
