//! Talking to models: one conversation, answered by one model or by two side by side.

mod answer;
mod composer;
mod conversation;
mod kept;
mod settings;

use leptos::prelude::*;
use leptos_router::hooks::{use_navigate, use_query_map};
use leptos_router::{NavigateOptions, params::ParamsMap};

use super::components::icons::Icon;
use super::components::toast::use_toasts;
use super::components::{Failure, Skeleton};
use super::i18n::{t, t_string, tu_string, use_i18n};
use super::store::{Load, Store, use_store};
use answer::AnswerView;
use composer::Composer;
use conversation::{Conversation, Exchange};
use settings::{Settings, SettingsPanel};

/// What outlives a visit to another page.
#[derive(Clone, Copy)]
struct Playing {
    conversation: Conversation,
    settings: Settings,
    /// The settings panel on narrow windows.
    open: RwSignal<bool>,
}

/// Makes the conversation at the root, so that it is still there when the person comes back.
pub fn provide() {
    let conversation = Conversation::new();
    kept::keep(conversation);
    provide_context(Playing { conversation, settings: Settings::stored(), open: RwSignal::new(false) });
}

#[component]
pub fn Playground() -> impl IntoView {
    let store = use_store();
    let Playing { conversation, settings, open } = expect_context::<Playing>();
    let query = use_query_map();
    let models = Memo::new(move |_| chosen(&query.get(), &conversation.seats.get_untracked(), store));
    Effect::new(move |_| {
        let models = models.get();
        // Who sat there last is not forgotten while the list of models is on its way.
        if !models.is_empty() {
            conversation.seats.set(models);
        }
    });
    let ready = Memo::new(move |_| {
        store.models.with(|models| match models {
            Load::Waiting => 0,
            Load::Ready(models) if models.is_empty() => 1,
            Load::Ready(_) => 2,
            Load::Failed(_) => 3,
        })
    });
    view! {
        <div class="playground" class:compare=move || models.with(|models| models.len() > 1)>
            {move || match ready.get() {
                0 => view! { <div class="page"><Skeleton lines=6/></div> }.into_any(),
                1 => view! { <NoModel/> }.into_any(),
                2 => {
                    view! {
                        <div class="playground-main">
                            <Seats models/>
                            <Exchanges conversation settings/>
                            <Composer conversation settings/>
                        </div>
                        <SettingsPanel settings open/>
                    }
                        .into_any()
                }
                _ => {
                    let error = store.models.with_untracked(|models| match models {
                        Load::Failed(error) => Some(error.clone()),
                        _ => None,
                    });
                    error
                        .map(|error| {
                            view! {
                                <div class="page">
                                    <Failure
                                        error=Signal::stored(error)
                                        retry=Callback::new(move |()| store.refresh())
                                    />
                                </div>
                            }
                        })
                        .into_any()
                }
            }}
        </div>
    }
}

/// The models of the address; without one, those that sat there last, else the first that can chat.
fn chosen(query: &ParamsMap, seated: &[String], store: Store) -> Vec<String> {
    let mut chosen: Vec<String> =
        ["model", "other"].into_iter().filter_map(|name| query.get(name)).filter(|id| !id.is_empty()).collect();
    if chosen.is_empty() && seated.iter().all(|id| store.model(id).is_some()) {
        chosen.extend_from_slice(seated);
    }
    if chosen.is_empty() {
        let first = store.models.with(|models| {
            let models = models.ready()?;
            let chatty = models.iter().find(|model| model.hearth.chat);
            chatty.or(models.first()).map(|model| model.id.clone())
        });
        chosen.extend(first);
    }
    chosen
}

/// The address that shows these models.
fn address(models: &[String]) -> String {
    let part = |name: &str, id: &String| format!("{name}={}", js_sys::encode_uri_component(id));
    let query: Vec<String> = ["model", "other"].into_iter().zip(models).map(|(name, id)| part(name, id)).collect();
    format!("/playground?{}", query.join("&"))
}

/// Who answers: one select for each seat, and a button that adds or takes the second.
#[component]
fn Seats(models: Memo<Vec<String>>) -> impl IntoView {
    let i18n = use_i18n();
    let store = use_store();
    let toasts = use_toasts();
    let playing = expect_context::<Playing>();
    let navigate = use_navigate();
    let go = Callback::new(move |models: Vec<String>| {
        let options = NavigateOptions { replace: true, scroll: false, ..Default::default() };
        navigate(&address(&models), options);
    });
    let sit = move |seat: usize, id: String| {
        let mut now = models.get_untracked();
        if seat < now.len() {
            now[seat] = id;
        }
        go.run(now);
    };
    let toggle = move |_| {
        let mut now = models.get_untracked();
        if now.len() > 1 {
            now.truncate(1);
        } else {
            // The likeliest comparison: a tuned model and what it was tuned from, else any other.
            let first = now.first().cloned().unwrap_or_default();
            let base = store.model(&first).and_then(|model| model.hearth.base);
            let other = store.models.with_untracked(|all| {
                let all = all.ready()?;
                all.iter()
                    .find(|model| model.hearth.base.as_deref() == Some(&first))
                    .or_else(|| all.iter().find(|model| model.id != first))
                    .map(|model| model.id.clone())
            });
            now.push(base.or(other).unwrap_or(first));
        }
        go.run(now);
    };
    let begin_anew = move |_| {
        let old = playing.conversation.clear();
        if !old.is_empty() {
            toasts.offer(tu_string!(i18n, playground.cleared), tu_string!(i18n, common.undo), move || {
                // What has been said since then stays, behind what comes back.
                playing.conversation.exchanges.update(|now| {
                    now.splice(0..0, old.iter().cloned());
                });
            });
        }
    };
    view! {
        <header class="seats">
            <h1 class="visually-hidden">{t!(i18n, shell.playground)}</h1>
            <div class="seats-models">
                <For
                    each=move || 0..models.with(Vec::len)
                    key=|seat| *seat
                    children=move |seat| view! { <Seat seat models sit=Callback::new(move |id| sit(seat, id))/> }
                />
            </div>
            <div class="seats-tools">
                <button
                    class="button quiet small"
                    aria-pressed=move || models.with(|models| (models.len() > 1).to_string())
                    on:click=toggle
                >
                    <Icon name="columns" size=18/>
                    <span>
                        {move || {
                            if models.with(|models| models.len() > 1) {
                                t_string!(i18n, playground.single)
                            } else {
                                t_string!(i18n, playground.compare)
                            }
                        }}
                    </span>
                </button>
                <button
                    class="button quiet small"
                    data-act="new-chat"
                    disabled=move || playing.conversation.exchanges.with(Vec::is_empty)
                    on:click=begin_anew
                >
                    <Icon name="plus" size=18/>
                    <span>{t!(i18n, playground.new_chat)}</span>
                </button>
                <button
                    class="button quiet small settings-toggle"
                    aria-expanded=move || playing.open.get().to_string()
                    on:click=move |_| playing.open.update(|open| *open = !*open)
                >
                    <Icon name="sliders" size=18/>
                    <span>{t!(i18n, playground.parameters)}</span>
                </button>
            </div>
        </header>
    }
}

#[component]
fn Seat(seat: usize, models: Memo<Vec<String>>, sit: Callback<String>) -> impl IntoView {
    let i18n = use_i18n();
    let store = use_store();
    let now = Memo::new(move |_| models.with(|models| models.get(seat).cloned().unwrap_or_default()));
    // A checkpoint answers too, though the list does not show it.
    let options = move || {
        let now = now.get();
        let mut ids: Vec<String> = store
            .models
            .with(|all| all.ready().map(|all| all.iter().map(|model| model.id.clone()).collect()).unwrap_or_default());
        if !now.is_empty() && !ids.contains(&now) {
            ids.push(now.clone());
        }
        ids.into_iter()
            .map(|id| {
                let selected = id == now;
                view! { <option value=id.clone() selected=selected>{id.clone()}</option> }
            })
            .collect_view()
    };
    view! {
        <select
            class="select"
            aria-label=move || t_string!(i18n, playground.model)
            prop:value=now
            on:change=move |event| sit.run(event_target_value(&event))
        >
            {options}
        </select>
    }
}

#[component]
fn Exchanges(conversation: Conversation, settings: Settings) -> impl IntoView {
    view! {
        <div class="exchanges" aria-live="off">
            <Show
                when=move || !conversation.exchanges.with(Vec::is_empty)
                fallback=move || view! { <Beginning conversation settings/> }
            >
                <For
                    each=move || conversation.exchanges.get()
                    key=|exchange| exchange.id
                    children=move |exchange| view! { <ExchangeView exchange conversation settings/> }
                />
            </Show>
        </div>
    }
}

#[component]
fn ExchangeView(exchange: Exchange, conversation: Conversation, settings: Settings) -> impl IntoView {
    let id = exchange.id;
    let last = Signal::derive(move || conversation.exchanges.with(|all| all.last().is_some_and(|last| last.id == id)));
    view! {
        <article class="exchange">
            <div class="prompt">
                <p>{exchange.prompt.clone()}</p>
            </div>
            <div class="answers">
                {exchange
                    .answers
                    .iter()
                    .cloned()
                    .enumerate()
                    .map(|(seat, answer)| {
                        view! {
                            <AnswerView
                                answer
                                last
                                retry=Callback::new(move |()| conversation.retry(seat, settings))
                            />
                        }
                    })
                    .collect_view()}
            </div>
        </article>
    }
}

/// An empty conversation: something to click.
#[component]
fn Beginning(conversation: Conversation, settings: Settings) -> impl IntoView {
    let i18n = use_i18n();
    let ideas = move || {
        [
            t_string!(i18n, playground.idea_1),
            t_string!(i18n, playground.idea_2),
            t_string!(i18n, playground.idea_3),
            t_string!(i18n, playground.idea_4),
        ]
    };
    view! {
        <div class="beginning">
            <Icon name="chat" size=36/>
            <h2>{t!(i18n, playground.begin_title)}</h2>
            <p class="soft">{t!(i18n, playground.begin_text)}</p>
            <ul class="ideas">
                {move || {
                    ideas()
                        .into_iter()
                        .map(|idea| {
                            view! {
                                <li>
                                    <button
                                        class="idea"
                                        on:click=move |_| conversation.say(idea.to_owned(), settings)
                                    >
                                        {idea}
                                    </button>
                                </li>
                            }
                        })
                        .collect_view()
                }}
            </ul>
        </div>
    }
}

#[component]
fn NoModel() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <div class="page narrow">
            <div class="empty">
                <Icon name="cube" size=40/>
                <h1>{t!(i18n, playground.no_model_title)}</h1>
                <p>{t!(i18n, playground.no_model_text)}</p>
                <a class="button primary" href="/#models">{t!(i18n, playground.no_model_action)}</a>
            </div>
        </div>
    }
}
