//! How the next token is drawn: the sampling knobs and the system prompt, remembered in this browser.

use hearth_shared::api::SamplingExtension;
use hearth_shared::api::chat::ChatRequest;
use hearth_shared::text::Message;
use leptos::prelude::*;
use serde::{Deserialize, Serialize};

use crate::app::client::storage;
use crate::app::components::field::{MOST_EXACT, NumberField, Slider};
use crate::app::components::icons::Icon;
use crate::app::i18n::{t, t_string, use_i18n};

const KEY: &str = "hearth.sampling";

/// Before this version the page stored its defaults with what the person had set.
const VERSION: u32 = 2;
/// Those of its defaults that have changed since.
const OLD_TEMPERATURE: f64 = 0.7;
const OLD_TOP_P: f64 = 0.95;

/// The knobs. The defaults suit small instruction models, whose distributions have long tails of nonsense: SmolLM2's card recommends a
/// temperature of 0.2 and a top-p of 0.9.
#[derive(Clone, Debug, PartialEq)]
struct Values {
    system: String,
    temperature: f64,
    top_p: f64,
    /// 0 is off.
    top_k: f64,
    min_p: f64,
    repetition_penalty: f64,
    max_tokens: f64,
    seed: Option<f64>,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            system: String::new(),
            temperature: 0.3,
            top_p: 0.9,
            top_k: 0.0,
            min_p: 0.0,
            repetition_penalty: 1.1,
            max_tokens: 256.0,
            seed: None,
        }
    }
}

/// What the person set, as it is stored: none where the default stands, so that a better default reaches whoever never chose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Chosen {
    version: u32,
    system: String,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<f64>,
    min_p: Option<f64>,
    repetition_penalty: Option<f64>,
    max_tokens: Option<f64>,
    seed: Option<f64>,
}

impl Chosen {
    fn of(values: &Values) -> Self {
        let usual = Values::default();
        let set = |value: f64, usual: f64| (value != usual).then_some(value);
        Self {
            version: VERSION,
            system: values.system.clone(),
            temperature: set(values.temperature, usual.temperature),
            top_p: set(values.top_p, usual.top_p),
            top_k: set(values.top_k, usual.top_k),
            min_p: set(values.min_p, usual.min_p),
            repetition_penalty: set(values.repetition_penalty, usual.repetition_penalty),
            max_tokens: set(values.max_tokens, usual.max_tokens),
            seed: values.seed,
        }
    }

    fn values(mut self) -> Values {
        if self.version < VERSION {
            self.temperature = self.temperature.filter(|&value| value != OLD_TEMPERATURE);
            self.top_p = self.top_p.filter(|&value| value != OLD_TOP_P);
        }
        let usual = Values::default();
        Values {
            system: self.system,
            temperature: self.temperature.unwrap_or(usual.temperature),
            top_p: self.top_p.unwrap_or(usual.top_p),
            top_k: self.top_k.unwrap_or(usual.top_k),
            min_p: self.min_p.unwrap_or(usual.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(usual.repetition_penalty),
            max_tokens: self.max_tokens.unwrap_or(usual.max_tokens),
            seed: self.seed,
        }
    }
}

#[derive(Clone, Copy)]
pub struct Settings {
    pub system: RwSignal<String>,
    temperature: RwSignal<f64>,
    top_p: RwSignal<f64>,
    top_k: RwSignal<f64>,
    min_p: RwSignal<f64>,
    repetition_penalty: RwSignal<f64>,
    max_tokens: RwSignal<f64>,
    seed: RwSignal<Option<f64>>,
}

impl Settings {
    /// The settings of the last visit.
    pub fn stored() -> Self {
        let chosen: Chosen = storage()
            .and_then(|storage| storage.get_item(KEY).ok().flatten())
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let settings = Self::of(chosen.values());
        Effect::new(move |_| {
            let chosen = Chosen::of(&settings.values());
            if let (Some(storage), Ok(text)) = (storage(), serde_json::to_string(&chosen)) {
                let _ = storage.set_item(KEY, &text);
            }
        });
        settings
    }

    fn of(values: Values) -> Self {
        Self {
            system: RwSignal::new(values.system),
            temperature: RwSignal::new(values.temperature),
            top_p: RwSignal::new(values.top_p),
            top_k: RwSignal::new(values.top_k),
            min_p: RwSignal::new(values.min_p),
            repetition_penalty: RwSignal::new(values.repetition_penalty),
            max_tokens: RwSignal::new(values.max_tokens),
            seed: RwSignal::new(values.seed),
        }
    }

    fn values(self) -> Values {
        Values {
            system: self.system.get(),
            temperature: self.temperature.get(),
            top_p: self.top_p.get(),
            top_k: self.top_k.get(),
            min_p: self.min_p.get(),
            repetition_penalty: self.repetition_penalty.get(),
            max_tokens: self.max_tokens.get(),
            seed: self.seed.get(),
        }
    }

    /// Everything but the system prompt goes back to its default.
    fn reset(self) {
        let values = Values::default();
        self.temperature.set(values.temperature);
        self.top_p.set(values.top_p);
        self.top_k.set(values.top_k);
        self.min_p.set(values.min_p);
        self.repetition_penalty.set(values.repetition_penalty);
        self.max_tokens.set(values.max_tokens);
        self.seed.set(values.seed);
    }

    pub fn request(self, model: String, messages: Vec<Message>) -> ChatRequest {
        let values = untrack(|| self.values());
        ChatRequest {
            model,
            messages,
            stream: None,
            stream_options: None,
            max_tokens: None,
            max_completion_tokens: Some(values.max_tokens as u32),
            temperature: Some(values.temperature as f32),
            top_p: Some(values.top_p as f32),
            n: None,
            stop: None,
            seed: values.seed.map(|seed| seed as i64),
            logprobs: None,
            top_logprobs: None,
            user: None,
            metadata: None,
            hearth: Some(SamplingExtension {
                top_k: (values.top_k >= 1.0).then_some(values.top_k as u32),
                min_p: Some(values.min_p as f32),
                repetition_penalty: Some(values.repetition_penalty as f32),
            }),
        }
    }
}

#[component]
pub fn SettingsPanel(settings: Settings, open: RwSignal<bool>) -> impl IntoView {
    let i18n = use_i18n();
    macro_rules! word {
        ($key:ident) => {
            Signal::derive(move || t_string!(i18n, playground.$key).to_owned())
        };
    }
    view! {
        <aside
            class="settings"
            class:open=move || open.get()
            aria-label=move || t_string!(i18n, playground.parameters)
            on:keydown=move |event| {
                if event.key() == "Escape" {
                    open.set(false);
                }
            }
        >
            <header class="settings-head">
                <h2>{t!(i18n, playground.parameters)}</h2>
                <button class="button quiet small" on:click=move |_| settings.reset()>
                    {t!(i18n, playground.reset)}
                </button>
                <button
                    class="icon-button settings-close"
                    aria-label=move || t_string!(i18n, common.close)
                    on:click=move |_| open.set(false)
                >
                    <Icon name="close" size=18/>
                </button>
            </header>
            <p class="hint">{t!(i18n, playground.defaults_hint)}</p>
            <label class="field">
                <span class="field-label">{t!(i18n, playground.system)}</span>
                <textarea
                    class="textarea"
                    rows="3"
                    placeholder=move || t_string!(i18n, playground.system_placeholder)
                    prop:value=settings.system
                    on:input=move |event| settings.system.set(event_target_value(&event))
                ></textarea>
            </label>
            <Slider
                label=word!(temperature) hint=word!(temperature_hint)
                value=settings.temperature min=0.0 max=2.0 step=0.05 name="temperature"
            />
            <Slider
                label=word!(top_p) hint=word!(top_p_hint)
                value=settings.top_p min=0.0 max=1.0 step=0.01 name="top_p"
            />
            <Slider
                label=word!(top_k) hint=word!(top_k_hint)
                value=settings.top_k min=0.0 max=200.0 step=1.0 digits=0
            />
            <Slider
                label=word!(min_p) hint=word!(min_p_hint)
                value=settings.min_p min=0.0 max=0.5 step=0.01
            />
            <Slider
                label=word!(penalty) hint=word!(penalty_hint)
                value=settings.repetition_penalty min=1.0 max=2.0 step=0.01
            />
            <Slider
                label=word!(max_tokens) hint=word!(max_tokens_hint)
                value=settings.max_tokens min=1.0 max=2048.0 step=1.0 digits=0
            />
            <NumberField
                label=word!(seed) hint=word!(seed_hint)
                value=settings.seed name="seed" automatic=word!(seed_auto) max=MOST_EXACT whole=true
            />
        </aside>
        <div class="veil" class:open=move || open.get() on:click=move |_| open.set(false)></div>
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    fn read(text: &str) -> Values {
        serde_json::from_str::<Chosen>(text).unwrap().values()
    }

    #[test]
    fn an_earlier_page_s_defaults_are_no_choice() {
        let old = r#"{"system":"s","temperature":0.7,"top_p":0.95,"top_k":40.0,"min_p":0.0,"repetition_penalty":1.1,"max_tokens":256.0,"seed":null}"#;
        let usual = Values::default();
        assert_eq!(read(old), Values { system: "s".to_owned(), top_k: 40.0, ..usual.clone() });
        assert_eq!(read(&old.replace("0.7", "0.9")).temperature, 0.9);
        assert_eq!(read("{}"), usual);
    }

    #[test]
    fn what_a_person_sets_is_kept() {
        let set = Values { temperature: OLD_TEMPERATURE, top_p: OLD_TOP_P, seed: Some(3.0), ..Values::default() };
        assert_eq!(read(&serde_json::to_string(&Chosen::of(&set)).unwrap()), set);
        assert_eq!(Chosen::of(&Values::default()), Chosen { version: VERSION, ..Chosen::default() });
    }
}
