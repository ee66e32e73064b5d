//! Labelled inputs. Every one has its words tied to it, and shows its value where a slider alone would not.

use std::collections::BTreeSet;

use leptos::prelude::*;
use web_sys::HtmlInputElement;

use crate::app::format;
use crate::app::i18n::{I18nContext, Locale, t_string, use_i18n};

/// A slider with a number beside it that can be typed into.
#[component]
pub fn Slider(
    #[prop(into)] label: Signal<String>,
    /// What the value does, in one sentence.
    #[prop(into)]
    hint: Signal<String>,
    value: RwSignal<f64>,
    min: f64,
    max: f64,
    step: f64,
    /// Digits after the point.
    #[prop(default = 2)]
    digits: usize,
    /// Told apart by this from other sliders.
    #[prop(optional)]
    name: Option<&'static str>,
) -> impl IntoView {
    let written = move |value: f64| format!("{value:.digits$}");
    let shown = move || written(value.get());
    // What counts is what can be shown, wherever it comes from.
    let shown_as = move |number: f64| written(number.clamp(min, max)).parse().unwrap_or(number);
    let first = value.get_untracked();
    if shown_as(first) != first {
        value.set(shown_as(first));
    }
    let set = move |text: String| {
        if let Ok(number) = text.parse::<f64>() {
            value.set(shown_as(number));
        }
    };
    // What is no number, or one that is out of bounds, may change nothing: the field then says again what counts.
    let typed = move |event: web_sys::Event| {
        set(event_target_value(&event));
        event_target::<HtmlInputElement>(&event).set_value(&written(value.get_untracked()));
    };
    let fill = move || format!("{:.2}%", (value.get() - min) / (max - min) * 100.0);
    view! {
        <label class="slider" title=hint>
            <span class="slider-head">
                <span class="slider-label">{label}</span>
                <input
                    class="slider-number"
                    type="number"
                    name=name
                    inputmode="decimal"
                    min=min
                    max=max
                    step=step
                    prop:value=shown
                    aria-label=label
                    on:change=typed
                />
            </span>
            <input
                type="range"
                min=min
                max=max
                step=step
                prop:value=shown
                style:--fill=fill
                aria-label=label
                on:input=move |event| set(event_target_value(&event))
            />
            <span class="hint">{hint}</span>
        </label>
    }
}

/// The largest whole number that a field's value holds exactly.
pub const MOST_EXACT: f64 = 9_007_199_254_740_991.0;

/// The numbers that a field takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub low: f64,
    /// Infinite where nothing is too much.
    pub high: f64,
    /// Fractions are refused.
    pub whole: bool,
}

impl Range {
    /// What the text says; nothing is "choose for me".
    ///
    /// # Errors
    /// No such number.
    fn read(self, text: &str) -> Result<Option<f64>, Refused> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite()).ok_or(Refused)?;
        let legal = (self.low..=self.high).contains(&number) && !(self.whole && number.fract() != 0.0);
        if legal { Ok(Some(number)) } else { Err(Refused) }
    }

    /// The legal numbers in words.
    fn say(self, i18n: I18nContext<Locale>) -> String {
        let (low, high) = (bound(self.low), bound(self.high));
        match (self.whole, self.high.is_finite()) {
            (true, true) => t_string!(i18n, common.whole_between, low = low, high = high),
            (true, false) => t_string!(i18n, common.whole_least, low = low),
            (false, true) => t_string!(i18n, common.number_between, low = low, high = high),
            (false, false) => t_string!(i18n, common.number_least, low = low),
        }
    }
}

/// A text that is none of a field's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused;

/// A bound in full: what is rounded would be another one.
fn bound(value: f64) -> String {
    if value == 0.0 || value.abs() >= 0.001 { value.to_string() } else { format::small(value) }
}

/// The fields of a form that hold what cannot be. A form that provides it learns of its fields whether it can go.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    names: RwSignal<BTreeSet<&'static str>>,
}

impl Faults {
    pub fn any(self) -> bool {
        self.names.with(|names| !names.is_empty())
    }

    /// A field that leaves the page after its form has no one to tell.
    fn mark(self, name: &'static str, wrong: bool) {
        if self.names.try_with_untracked(|names| names.contains(name) != wrong) != Some(true) {
            return;
        }
        let _ = self.names.try_update(|names| if wrong { names.insert(name) } else { names.remove(name) });
    }
}

/// A number, or nothing for "choose for me". What is no such number stays as it was typed, with the legal ones named beside it; meanwhile
/// the last good value stays.
#[component]
pub fn NumberField(
    #[prop(into)] label: Signal<String>,
    #[prop(into)] hint: Signal<String>,
    value: RwSignal<Option<f64>>,
    /// The field's name in the API.
    name: &'static str,
    /// What stands in the empty field: the automatic value.
    #[prop(into)]
    automatic: Signal<String>,
    #[prop(default = 0.0)] min: f64,
    /// May hang on something else, such as the chosen model.
    #[prop(into, default = Signal::stored(f64::INFINITY))]
    max: Signal<f64>,
    /// Fractions are refused.
    #[prop(optional)]
    whole: bool,
) -> impl IntoView {
    let i18n = use_i18n();
    let typed = RwSignal::new(None::<String>);
    let range = move || Range { low: min, high: max.get(), whole };
    let shown = Memo::new(move |_| {
        typed.get().unwrap_or_else(|| value.get().map(|value| value.to_string()).unwrap_or_default())
    });
    let read = Memo::new(move |_| shown.with(|text| range().read(text)));
    Effect::new(move |_| {
        if let Ok(number) = read.get()
            && typed.with_untracked(Option::is_some)
            && value.get_untracked() != number
        {
            value.set(number);
        }
    });
    // What somebody else sets takes the place of what was typed.
    Effect::new(move |before: Option<()>| {
        let now = value.get();
        if before.is_some() && read.get_untracked() != Ok(now) {
            typed.set(None);
        }
    });
    let wrong = move || read.get().is_err();
    if let Some(faults) = use_context::<Faults>() {
        Effect::new(move |_| faults.mark(name, wrong()));
        on_cleanup(move || faults.mark(name, false));
    }
    let hint_id = format!("{name}-hint");
    let keypad = if whole { "numeric" } else { "decimal" };
    view! {
        <label class="field">
            <span class="field-label">{label}</span>
            <input
                class="input num"
                type="text"
                name=name
                inputmode=keypad
                autocomplete="off"
                maxlength="32"
                placeholder=automatic
                prop:value=move || shown.get()
                aria-invalid=move || wrong().then_some("true")
                aria-describedby=hint_id.clone()
                on:input=move |event| typed.set(Some(event_target_value(&event)))
            />
            <span id=hint_id class="hint" class:bad=wrong aria-live="polite">
                {move || if wrong() { range().say(i18n) } else { hint.get() }}
            </span>
        </label>
    }
}

/// One of a few.
#[component]
pub fn ChoiceField<T: Copy + PartialEq + Send + Sync + 'static>(
    #[prop(into)] label: Signal<String>,
    #[prop(into)] hint: Signal<String>,
    value: RwSignal<T>,
    /// The field's name in the API.
    name: &'static str,
    choices: Vec<(T, Signal<String>)>,
) -> impl IntoView {
    let values: Vec<T> = choices.iter().map(|(choice, _)| *choice).collect();
    let options = choices
        .into_iter()
        .enumerate()
        .map(|(i, (choice, word))| {
            view! { <option value=i selected=move || value.get() == choice>{word}</option> }
        })
        .collect_view();
    let choose = move |chosen: String| {
        if let Some(choice) = chosen.parse().ok().and_then(|i: usize| values.get(i)) {
            value.set(*choice);
        }
    };
    view! {
        <label class="field">
            <span class="field-label">{label}</span>
            <select class="select" name=name on:change=move |event| choose(event_target_value(&event))>
                {options}
            </select>
            <span class="hint">{hint}</span>
        </label>
    }
}

/// Yes or no.
#[component]
pub fn CheckField(
    #[prop(into)] label: Signal<String>,
    #[prop(into)] hint: Signal<String>,
    value: RwSignal<bool>,
    /// The field's name in the API.
    name: &'static str,
) -> impl IntoView {
    view! {
        <label class="check">
            <input
                type="checkbox"
                name=name
                prop:checked=value
                on:change=move |event| value.set(event_target_checked(&event))
            />
            <span>
                {label}
                <small class="hint">{hint}</small>
            </span>
        </label>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_none_of_the_numbers_is_refused_and_not_bent() {
        let whole = Range { low: 1.0, high: 512.0, whole: true };
        assert_eq!((whole.read(" 512 "), whole.read("1"), whole.read("")), (Ok(Some(512.0)), Ok(Some(1.0)), Ok(None)));
        for text in ["0", "513", "5000", "-1", "1.5", "many", "NaN", "inf", "1,5"] {
            assert_eq!(whole.read(text), Err(Refused), "{text}");
        }
        let rate = Range { low: 1e-7, high: 1.0, whole: false };
        assert_eq!((rate.read("3e-4"), rate.read("0.5")), (Ok(Some(3e-4)), Ok(Some(0.5))));
        assert_eq!((rate.read("50"), rate.read("0")), (Err(Refused), Err(Refused)));
        let open = Range { low: 1.0, high: f64::INFINITY, whole: true };
        assert_eq!((open.read("1e9"), open.read("inf")), (Ok(Some(1e9)), Err(Refused)));
    }

    #[test]
    fn a_bound_is_written_in_full() {
        assert_eq!([0.0, 0.999_99, 512.0, 1e-7].map(bound), ["0", "0.99999", "512", "1e-7"]);
    }
}
