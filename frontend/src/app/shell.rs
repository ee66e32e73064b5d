//! The frame around every page: where one can go, the state of the server, language and theme. A rail on wide windows, a
//! bar at the thumb on phones.

use leptos::prelude::*;
use leptos_router::hooks::use_location;

use super::client;
use super::components::icons::{Icon, Mark};
use super::embed;
use super::format;
use super::i18n::{I18nContext, Locale, t, t_string, use_i18n};
use super::learn;
use super::store::{Load, use_store};
use super::theme::{Theme, use_theme};

/// Path, icon.
const PLACES: [(&str, &str); 7] = [
    ("/", "home"),
    ("/learn", "learn"),
    ("/lab", "lab"),
    ("/playground", "chat"),
    ("/fine-tune", "tune"),
    ("/pretrain", "cube"),
    ("/planner", "plan"),
];

#[component]
pub fn Shell(children: Children) -> impl IntoView {
    let store = use_store();
    // The page around a frame has all of it.
    let alone = !embed::is_embedded();
    view! {
        {alone.then(|| view! { <Skip/> })}
        <div class="shell">
            {alone.then(|| view! { <Rail/> })}
            <main id="content" tabindex="-1">
                <Show when=move || store.locked.get()>
                    <KeyPrompt/>
                </Show>
                {children()}
            </main>
        </div>
    }
}

#[component]
fn Skip() -> impl IntoView {
    let i18n = use_i18n();
    view! { <a class="skip" href="#content">{t!(i18n, shell.skip)}</a> }
}

#[component]
fn Rail() -> impl IntoView {
    view! {
        <header class="rail">
            <a class="brand" href="/" aria-label="Hearth">
                <Mark/>
                <span class="brand-name">"Hearth"</span>
            </a>
            <Places/>
            <div class="rail-foot">
                <Server/>
                <div class="rail-switches">
                    <LanguageSwitch/>
                    <ThemeSwitch/>
                </div>
            </div>
        </header>
    }
}

/// What a lab is called, by its address; the first one where it is none of the others'.
pub fn lab_name(i18n: I18nContext<Locale>, path: &str) -> &'static str {
    match path {
        "/lab/position" => t_string!(i18n, lab.tab_position),
        "/lab/cache" => t_string!(i18n, lab.tab_cache),
        "/lab/sampling" => t_string!(i18n, lab.tab_sampling),
        "/lab/tokenizer" => t_string!(i18n, lab.tab_tokenizer),
        "/lab/quantization" => t_string!(i18n, lab.tab_quantization),
        _ => t_string!(i18n, lab.tab_attention),
    }
}

#[component]
fn Places() -> impl IntoView {
    let i18n = use_i18n();
    let course = learn::use_course();
    let location = use_location();
    let label = move |path: &str| match path {
        "/learn" => t_string!(i18n, shell.learn),
        "/lab" => t_string!(i18n, shell.lab),
        "/playground" => t_string!(i18n, shell.playground),
        "/fine-tune" => t_string!(i18n, shell.fine_tune),
        "/pretrain" => t_string!(i18n, shell.pretrain),
        "/planner" => t_string!(i18n, shell.planner),
        _ => t_string!(i18n, shell.home),
    };
    let here = move |path: &'static str| location.pathname.with(|now| belongs(now, path));
    Effect::new(move |_| {
        let place =
            location.pathname.with(|now| PLACES.iter().find(|(path, _)| belongs(now, path)).map(|place| place.0));
        match place {
            None | Some("/") => document().set_title("Hearth"),
            Some("/lab") => {
                let lab = location.pathname.with(|now| lab_name(i18n, now));
                document().set_title(&format!("{lab} · {} · Hearth", label("/lab")));
            }
            Some(path) => {
                let chapter = location.pathname.with(|now| learn::title_at(course, now));
                let chapter = chapter.map(|chapter| format!("{chapter} · ")).unwrap_or_default();
                document().set_title(&format!("{chapter}{} · Hearth", label(path)));
            }
        }
    });
    view! {
        <nav class="places" aria-label=move || t_string!(i18n, shell.places)>
            {PLACES
                .into_iter()
                .map(|(path, icon)| {
                    view! {
                        <a
                            href=path
                            class="place"
                            aria-current=move || here(path).then_some("page")
                            title=move || label(path)
                        >
                            <Icon name=icon/>
                            <span>{move || label(path)}</span>
                        </a>
                    }
                })
                .collect_view()}
        </nav>
    }
}

/// Whether an address is this place or below it.
fn belongs(address: &str, place: &str) -> bool {
    let rest = address.strip_prefix(place);
    address == place || (place != "/" && rest.is_some_and(|rest| rest.starts_with('/')))
}

/// One line on the machine behind the page.
#[component]
fn Server() -> impl IntoView {
    let i18n = use_i18n();
    let store = use_store();
    let line = move || {
        if store.offline.get() {
            return t_string!(i18n, shell.offline).to_owned();
        }
        store.system.with(|system| match system {
            Load::Waiting => t_string!(i18n, shell.connecting).to_owned(),
            Load::Failed(_) => t_string!(i18n, shell.no_server).to_owned(),
            Load::Ready(system) if system.jobs_running > 0 => {
                t_string!(i18n, shell.training, count = system.jobs_running)
            }
            Load::Ready(system) => match system.memory.available {
                Some(free) => t_string!(i18n, shell.free, bytes = format::bytes(free)),
                None => t_string!(i18n, shell.ready).to_owned(),
            },
        })
    };
    let state = move || {
        if store.offline.get() {
            return "away";
        }
        store.system.with(|system| match system {
            Load::Waiting => "waiting",
            Load::Failed(_) => "away",
            Load::Ready(system) if system.jobs_running > 0 => "busy",
            Load::Ready(_) => "ready",
        })
    };
    view! {
        <a class="server" data-state=state href="/#machine" title=line>
            <span class="server-dot"></span>
            <span class="server-line">{line}</span>
        </a>
    }
}

#[component]
fn LanguageSwitch() -> impl IntoView {
    let i18n = use_i18n();
    let other = move || match i18n.get_locale() {
        Locale::en => Locale::zh,
        Locale::zh => Locale::en,
    };
    // The name of the other language, in that language: whoever needs it can read it.
    let name = move || match other() {
        Locale::en => "English",
        Locale::zh => "中文",
    };
    view! {
        <button
            class="switch"
            lang=move || other().to_string()
            on:click=move |_| i18n.set_locale(other())
        >
            <Icon name="globe" size=18/>
            <span>{name}</span>
        </button>
    }
}

#[component]
fn ThemeSwitch() -> impl IntoView {
    let i18n = use_i18n();
    let theme = use_theme();
    let name = move || match theme.get() {
        Theme::System => t_string!(i18n, shell.theme_system),
        Theme::Light => t_string!(i18n, shell.theme_light),
        Theme::Dark => t_string!(i18n, shell.theme_dark),
    };
    let icon = Signal::derive(move || match theme.get() {
        Theme::System => "monitor",
        Theme::Light => "sun",
        Theme::Dark => "moon",
    });
    let next = move |_| {
        theme.update(|theme| {
            *theme = match *theme {
                Theme::System => Theme::Light,
                Theme::Light => Theme::Dark,
                Theme::Dark => Theme::System,
            }
        });
    };
    view! {
        <button class="switch" aria-label=name title=name on:click=next>
            <Icon name=icon size=18/>
        </button>
    }
}

/// A server that is not on this machine asks for a key.
#[component]
fn KeyPrompt() -> impl IntoView {
    let i18n = use_i18n();
    let store = use_store();
    let typed = RwSignal::new(String::new());
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        client::set_key(&typed.get_untracked());
        store.refresh();
    };
    view! {
        <form class="notice key-prompt" on:submit=submit>
            <Icon name="key"/>
            <div>
                <strong>{t!(i18n, shell.key_title)}</strong>
                <p>{t!(i18n, shell.key_text)} " " <code>"hearth key create"</code></p>
            </div>
            <input
                class="input"
                type="password"
                autocomplete="current-password"
                aria-label=move || t_string!(i18n, shell.key_title)
                prop:value=typed
                on:input=move |event| typed.set(event_target_value(&event))
            />
            <button class="button primary">{t!(i18n, shell.key_action)}</button>
        </form>
    }
}
