//! Models that can be fetched, and the downloads under way. A download belongs to the server: leaving the page does not stop it.

use gloo::timers::future::TimeoutFuture;
use hearth_shared::api::List;
use hearth_shared::api::models::{Pull, PullRequest, PullState, Pullable};
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use crate::app::client;
use crate::app::components::Progress;
use crate::app::components::icons::Icon;
use crate::app::components::toast::use_toasts;
use crate::app::format;
use crate::app::i18n::{t, t_string, tu_string, use_i18n};
use crate::app::store::use_store;

const PULLS: &str = "/v1/hearth/pulls";
const PULLABLE: &str = "/v1/hearth/pullable";
const POLL_MS: u32 = 500;

#[component]
pub fn Pulls() -> impl IntoView {
    let i18n = use_i18n();
    let offers = RwSignal::new(Vec::<Pullable>::new());
    let store = use_store();
    // What can be fetched changes when models come and go.
    Effect::new(move |_| {
        store.models.track();
        spawn_local(async move {
            if let Ok(list) = client::get::<List<Pullable>>(PULLABLE).await {
                let _ = offers.try_set(list.data);
            }
        });
    });
    let missing = move || offers.get().into_iter().filter(|offer| !offer.present).collect::<Vec<_>>();
    view! {
        <Show when=move || offers.with(|offers| offers.iter().any(|offer| !offer.present))>
            <div class="section-head more">
                <h3>{t!(i18n, home.more)}</h3>
                <p>{t!(i18n, home.more_lead)}</p>
            </div>
            <ul class="models">
                <For each=missing key=|offer| offer.name.clone() let:offer>
                    <Offer offer/>
                </For>
            </ul>
        </Show>
    }
}

/// The server's download of this model, if it knows one.
async fn under_way(name: &str) -> Option<Pull> {
    let list = client::get::<List<Pull>>(PULLS).await.ok()?;
    list.data.into_iter().find(|pull| pull.name == name)
}

#[component]
fn Offer(offer: Pullable) -> impl IntoView {
    let i18n = use_i18n();
    let store = use_store();
    let toasts = use_toasts();
    let pull = RwSignal::new(None::<Pull>);
    let name = StoredValue::new(offer.name.clone());
    let follow = move || {
        spawn_local(async move {
            loop {
                let Some(now) = under_way(&name.get_value()).await else {
                    return;
                };
                let state = now.state;
                // The row is gone when the person leaves the page; the server goes on.
                if pull.try_set(Some(now)).is_some() {
                    return;
                }
                match state {
                    PullState::Succeeded => {
                        toasts.good(tu_string!(i18n, home.pulled, name = name.get_value()));
                        store.refresh_models();
                    }
                    PullState::Cancelled => toasts.say(tu_string!(i18n, home.pull_cancelled)),
                    _ => {}
                }
                if state.ended() {
                    return;
                }
                TimeoutFuture::new(POLL_MS).await;
            }
        });
    };
    // Take up a download that was already running, without claiming one that ended long ago.
    spawn_local(async move {
        if under_way(&name.get_value()).await.is_some_and(|now| !now.state.ended()) {
            follow();
        }
    });
    let start = move |_| {
        spawn_local(async move {
            let body = PullRequest { name: name.get_value() };
            match client::post::<Pull>(PULLS, &body).await {
                Ok(now) => {
                    pull.set(Some(now));
                    follow();
                }
                Err(error) => toasts.bad(error.to_string()),
            }
        });
    };
    let stop = move |_| {
        spawn_local(async move {
            let path = format!("{PULLS}/{}", client::path_escape(&name.get_value()));
            if let Err(error) = client::delete::<serde_json::Value>(&path).await {
                toasts.bad(error.to_string());
            }
        });
    };
    let running = move || pull.with(|pull| pull.as_ref().is_some_and(|pull| !pull.state.ended()));
    let failure = move || pull.with(|pull| pull.as_ref().and_then(|pull| pull.error.clone()));
    let share = Signal::derive(move || {
        pull.with(|pull| {
            let pull = pull.as_ref()?;
            let total = pull.bytes_total.filter(|&total| total > 0)?;
            matches!(pull.state, PullState::Downloading).then(|| pull.bytes_done as f64 / total as f64)
        })
    });
    let line = Signal::derive(move || match pull.get() {
        Some(pull) => progress_line(&pull, i18n),
        None => String::new(),
    });
    let (title, size, licence) = (offer.title.clone(), format::bytes(offer.bytes), offer.licence.clone());
    view! {
        <li class="model offer">
            <span class="model-icon"><Icon name="download"/></span>
            <div class="model-words">
                <h3><span class="model-name">{offer.name.clone()}</span></h3>
                <p class="model-facts num">
                    <span>{title}</span>
                    <span>{size}</span>
                    <span>{t!(i18n, home.licence, name = licence.clone())}</span>
                </p>
                <Show when=running>
                    <div class="pull">
                        <Progress value=share label=line/>
                        <p class="num soft">{line}</p>
                    </div>
                </Show>
                {move || {
                    failure()
                        .map(|error| {
                            view! {
                                <div class="pull-error" role="alert">
                                    <strong>
                                        {t!(i18n, home.pull_failed, name = move || name.get_value())}
                                    </strong>
                                    <p>{error}</p>
                                </div>
                            }
                        })
                }}
            </div>
            <div class="model-actions">
                <Show
                    when=running
                    fallback=move || {
                        view! {
                            <button class="button primary small" on:click=start>
                                <Icon name="download" size=16/>
                                {t!(i18n, home.pull)}
                            </button>
                        }
                    }
                >
                    <button class="button small" on:click=stop>
                        {t!(i18n, common.cancel)}
                    </button>
                </Show>
            </div>
        </li>
    }
}

fn progress_line(pull: &Pull, i18n: leptos_i18n::I18nContext<crate::app::i18n::Locale>) -> String {
    match pull.state {
        PullState::Checking => t_string!(i18n, home.checking).to_owned(),
        PullState::Importing => t_string!(i18n, home.importing).to_owned(),
        PullState::Downloading => {
            let done = format::bytes(pull.bytes_done);
            let mut line = match pull.bytes_total {
                Some(total) => t_string!(i18n, home.downloading, done = done, total = format::bytes(total)),
                None => done,
            };
            if let Some(speed) = pull.bytes_per_second {
                let rate = format::bytes(speed as u64);
                line = format!("{line} · {}", t_string!(i18n, home.speed, rate = rate));
            }
            if let Some(source) = &pull.source {
                line = format!("{line} · {}", t_string!(i18n, home.from, source = source.clone()));
            }
            line
        }
        _ => t_string!(i18n, home.connecting).to_owned(),
    }
}
