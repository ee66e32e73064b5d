//! A slider over usual sizes, with a number beside it that takes any.

use leptos::prelude::*;
use web_sys::HtmlInputElement;

#[component]
pub fn Dial(
    #[prop(into)] label: Signal<String>,
    /// What the value does, in one sentence.
    #[prop(into)]
    hint: Signal<String>,
    #[prop(into)] value: Signal<u32>,
    #[prop(into)] set: Callback<u32>,
    /// Ascending: the first and the last are the bounds.
    stops: &'static [u32],
    name: &'static str,
) -> impl IntoView {
    let (least, last) = (stops.first().copied().unwrap_or_default(), stops.len().saturating_sub(1));
    let most = stops.last().copied().unwrap_or_default();
    let nearest = move || nearest(stops, value.get());
    let fill = move || format!("{:.2}%", nearest() as f64 / last.max(1) as f64 * 100.0);
    let typed = move |text: String| {
        if let Ok(number) = text.parse::<u32>() {
            set.run(number.clamp(least, most));
        }
    };
    let dragged = move |text: String| {
        if let Some(stop) = text.parse().ok().and_then(|at: usize| stops.get(at)) {
            set.run(*stop);
        }
    };
    view! {
        <label class="slider">
            <span class="slider-head">
                <span class="slider-label">{label}</span>
                <input
                    class="slider-number"
                    type="number"
                    name=name
                    inputmode="numeric"
                    min=least
                    max=most
                    prop:value=move || value.get().to_string()
                    aria-label=label
                    on:change=move |event| {
                        typed(event_target_value(&event));
                        event_target::<HtmlInputElement>(&event).set_value(&value.get_untracked().to_string());
                    }
                />
            </span>
            <input
                type="range"
                min="0"
                max=last
                step="1"
                prop:value=move || nearest().to_string()
                style:--fill=fill
                aria-label=label
                aria-valuetext=move || value.get().to_string()
                on:input=move |event| dragged(event_target_value(&event))
            />
            <span class="hint">{hint}</span>
        </label>
    }
}

/// The place of the stop that is nearest to a value.
fn nearest(stops: &[u32], value: u32) -> usize {
    (0..stops.len()).min_by_key(|&at| stops[at].abs_diff(value)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_stop_is_under_the_thumb() {
        let stops = [0, 4, 8, 16];
        assert_eq!((nearest(&stops, 0), nearest(&stops, 5), nearest(&stops, 99)), (0, 1, 3));
    }
}
