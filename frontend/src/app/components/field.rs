//! Labelled inputs. Every one has its words tied to it, and shows its value where a slider alone would not.

use leptos::prelude::*;

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
    let shown = move || format!("{:.*}", digits, value.get());
    let set = move |text: String| {
        if let Ok(number) = text.parse::<f64>() {
            value.set(number.clamp(min, max));
        }
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
                    on:change=move |event| set(event_target_value(&event))
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

/// A number, or nothing for "choose for me".
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
    #[prop(default = f64::MAX)] max: f64,
    #[prop(optional, into)] error: Signal<Option<String>>,
) -> impl IntoView {
    let set = move |text: String| {
        let number = text.trim().parse::<f64>().ok();
        value.set(number.map(|number| number.clamp(min, max)));
    };
    view! {
        <label class="field">
            <span class="field-label">{label}</span>
            <input
                class="input"
                type="number"
                name=name
                inputmode="decimal"
                step="any"
                min=min
                placeholder=automatic
                prop:value=move || value.get().map(|value| value.to_string()).unwrap_or_default()
                aria-invalid=move || error.get().is_some().then_some("true")
                on:change=move |event| set(event_target_value(&event))
            />
            {move || match error.get() {
                Some(error) => view! { <span class="hint bad">{error}</span> }.into_any(),
                None => view! { <span class="hint">{hint}</span> }.into_any(),
            }}
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
