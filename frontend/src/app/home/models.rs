//! The models that are here, and what can be done with each.

use hearth_shared::api::{Deleted, models::Model};
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use crate::app::client;
use crate::app::components::dialog::{Question, use_asker};
use crate::app::components::icons::Icon;
use crate::app::components::toast::use_toasts;
use crate::app::components::{Failure, Skeleton};
use crate::app::format;
use crate::app::i18n::{t, t_string, tu_string, use_i18n};
use crate::app::store::{Load, NANO, use_store};

use super::pulls::Pulls;

#[component]
pub fn Models() -> impl IntoView {
    let i18n = use_i18n();
    let store = use_store();
    view! {
        <section class="home-section" id="models" aria-labelledby="models-title">
            <div class="section-head">
                <h2 id="models-title">{t!(i18n, home.models)}</h2>
                <p>{t!(i18n, home.models_lead)}</p>
            </div>
            {move || match store.models.get() {
                Load::Waiting => view! { <div class="card"><Skeleton lines=3/></div> }.into_any(),
                Load::Failed(error) => {
                    view! {
                        <Failure
                            error=Signal::stored(error)
                            retry=Callback::new(move |()| store.refresh())
                        />
                    }
                        .into_any()
                }
                Load::Ready(models) if models.is_empty() => view! { <Empty/> }.into_any(),
                Load::Ready(models) => {
                    view! {
                        <ul class="models">
                            {models.into_iter().map(|model| view! { <Row model/> }).collect_view()}
                        </ul>
                    }
                        .into_any()
                }
            }}
            <Pulls/>
            <p class="import soft">
                {t!(i18n, home.import)} " " <code>"hearth model import PATH --name NAME"</code>
            </p>
        </section>
    }
}

#[component]
fn Empty() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <div class="empty">
            <Icon name="cube" size=40/>
            <h3>{t!(i18n, home.models_empty_title)}</h3>
            <p>{t!(i18n, home.models_empty_text)}</p>
            <code>"hearth model import PATH --name NAME"</code>
        </div>
    }
}

#[component]
fn Row(model: Model) -> impl IntoView {
    let i18n = use_i18n();
    let store = use_store();
    let toasts = use_toasts();
    let asker = use_asker();
    let info = model.hearth.clone();
    let id = model.id.clone();
    let escaped = client::path_escape(&id).replace('&', "%26").replace('+', "%2B");
    let (parameters, context) = (format::count(info.parameters), format::group(info.context));
    let (bytes, memory) = (format::bytes(info.bytes), format::bytes(info.memory));
    let base = info.base.clone();
    let built_in = id == NANO;
    let remove = {
        let id = id.clone();
        move |_| {
            let id = id.clone();
            let question = Question {
                title: tu_string!(i18n, home.remove_title, name = id.clone()),
                text: tu_string!(i18n, home.remove_text).to_owned(),
                action: tu_string!(i18n, common.remove).to_owned(),
                destroys: true,
            };
            asker.ask(question, move || {
                let id = id.clone();
                spawn_local(async move {
                    let path = format!("/v1/models/{}", client::path_escape(&id));
                    match client::delete::<Deleted>(&path).await {
                        Ok(_) => toasts.good(tu_string!(i18n, home.removed, name = id)),
                        Err(error) => toasts.bad(error.to_string()),
                    }
                    store.refresh_models();
                });
            });
        }
    };
    view! {
        <li class="model">
            <span class="model-icon"><Icon name="cube"/></span>
            <div class="model-words">
                <h3>
                    <span class="model-name">{id.clone()}</span>
                    {built_in.then(|| view! { <span class="badge">{t!(i18n, home.built_in)}</span> })}
                    {info.loaded.then(|| view! { <span class="badge good">{t!(i18n, home.loaded)}</span> })}
                    {base
                        .map(|base| {
                            view! { <span class="badge ember">{t!(i18n, home.tuned, base = base.clone())}</span> }
                        })}
                    {(!info.chat).then(|| view! { <span class="badge warn">{t!(i18n, home.no_chat)}</span> })}
                </h3>
                <p class="model-facts num">
                    <span>{info.architecture.clone()}</span>
                    <span>{t!(i18n, home.parameters, count = parameters.clone())}</span>
                    <span>{t!(i18n, home.context, count = context.clone())}</span>
                    <span>{t!(i18n, home.on_disk, bytes = bytes.clone())}</span>
                    <span>{t!(i18n, home.in_memory, bytes = memory.clone())}</span>
                </p>
            </div>
            <div class="model-actions">
                <a class="button small" href=format!("/lab/attention?model={escaped}")>
                    <Icon name="eye" size=16/> {t!(i18n, home.inspect)}
                </a>
                <a class="button small" href=format!("/playground?model={escaped}")>
                    <Icon name="chat" size=16/> {t!(i18n, home.chat)}
                </a>
                <a class="button small" href=format!("/fine-tune/new?model={escaped}")>
                    <Icon name="tune" size=16/> {t!(i18n, home.tune)}
                </a>
                <button
                    class="icon-button"
                    disabled=built_in
                    aria-label=move || t_string!(i18n, common.remove)
                    title=move || t_string!(i18n, common.remove)
                    on:click=remove
                >
                    <Icon name="trash" size=18/>
                </button>
            </div>
        </li>
    }
}
