//! Two panes beside each other, and the separator between them: dragged, or moved by keys. It knows neither pane: the share of the first is
//! the custom property `--split` of what holds them, and as long as nobody chose one the style sheet decides.

use leptos::html::Div;
use leptos::prelude::*;
use web_sys::{DomRect, Element, KeyboardEvent, PointerEvent};

use super::after_drawing;
use crate::app::client::storage;

/// Bounds of the first pane's share, in percent of both.
const LEAST: f64 = 25.0;
const MOST: f64 = 70.0;
/// How far an arrow key moves it.
const STRIDE: f64 = 2.0;

/// How two panes share their width. Copies are handles to the same state.
#[derive(Clone, Copy)]
pub struct Split {
    /// Under which the browser keeps it.
    key: &'static str,
    /// Of the first pane, in percent; none as long as nobody chose one.
    share: RwSignal<Option<f64>>,
    /// While it is dragged: px from the first pane's edge to the pointer, so that the edge does not jump there.
    held: RwSignal<Option<f64>>,
}

impl Split {
    /// As it was left at the last visit.
    pub fn stored(key: &'static str) -> Self {
        let text = storage().and_then(|storage| storage.get_item(key).ok().flatten());
        let share = text.and_then(|text| parse(&text));
        Self { key, share: RwSignal::new(share), held: RwSignal::new(None) }
    }

    /// The value of `--split`.
    pub fn property(self) -> Option<String> {
        self.share.get().map(|share| format!("{share:.2}%"))
    }

    /// For the class `splitting` of what holds the panes: a frame there would swallow the pointer.
    pub fn is_dragged(self) -> bool {
        self.held.get().is_some()
    }

    fn choose(self, share: Option<f64>) {
        self.share.set(share);
        self.keep();
    }

    fn keep(self) {
        let Some(storage) = storage() else { return };
        // A full or forbidden storage only means that the choice ends with the page.
        let _ = match self.share.get_untracked() {
            Some(share) => storage.set_item(self.key, &format!("{share:.2}")),
            None => storage.remove_item(self.key),
        };
    }

    fn release(self) {
        if self.held.get_untracked().is_some() {
            self.held.set(None);
            self.keep();
        }
    }
}

/// A share that was kept. Whatever else stands there counts as nothing.
fn parse(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|share| (LEAST..=MOST).contains(share))
}

/// What a key makes of a share: another one, none for the style sheet's own, or nothing at all.
fn moved(share: f64, key: &str) -> Option<Option<f64>> {
    let to = match key {
        "ArrowLeft" => share - STRIDE,
        "ArrowRight" => share + STRIDE,
        "Home" => LEAST,
        "End" => MOST,
        "Enter" => return Some(None),
        _ => return None,
    };
    Some(Some(to.clamp(LEAST, MOST)))
}

/// The first pane, and what holds both, on the screen.
fn boxes(bar: &Element) -> Option<(DomRect, DomRect)> {
    let pane = bar.previous_element_sibling()?.get_bounding_client_rect();
    let both = bar.parent_element()?.get_bounding_client_rect();
    (both.width() > 0.0).then_some((pane, both))
}

/// Stands between the panes, as a child of what holds them.
#[component]
pub fn Splitter(
    split: Split,
    #[prop(into)] label: Signal<String>,
    /// How it is used, for a pointer that rests on it and for those who do not see it.
    #[prop(into)]
    help: Signal<String>,
) -> impl IntoView {
    let bar: NodeRef<Div> = NodeRef::new();
    // What the style sheet's own widths come to.
    let usual = RwSignal::new(LEAST);
    let measure = move || {
        // A frame may be drawn after the page is gone.
        let bar = bar.try_get_untracked().flatten();
        if let Some((pane, both)) = bar.and_then(|bar| boxes(&bar)) {
            usual.set(pane.width() / both.width() * 100.0);
        }
    };
    Effect::new(move |_| {
        bar.track();
        if split.share.get().is_none() {
            after_drawing(measure);
        }
    });
    let resize = window_event_listener(leptos::ev::resize, move |_| measure());
    on_cleanup(move || resize.remove());
    let share = Memo::new(move |_| split.share.get().unwrap_or_else(|| usual.get()).clamp(LEAST, MOST));

    let on_key = move |event: KeyboardEvent| {
        // With these the browser goes back in the history, and the like.
        if event.alt_key() || event.ctrl_key() || event.meta_key() {
            return;
        }
        measure();
        let now = share.get_untracked();
        let Some(to) = moved(now, &event.key()) else { return };
        event.prevent_default();
        // At a bound the style sheet's own width, which may lie beyond it, stays.
        if to != Some(now) {
            split.choose(to);
        }
    };
    let hold = move |event: PointerEvent| {
        let Some(bar) = bar.get_untracked() else { return };
        if event.button() != 0 || bar.set_pointer_capture(event.pointer_id()).is_err() {
            return;
        }
        let edge = boxes(&bar).map(|(pane, _)| pane.right());
        split.held.set(edge.map(|edge| f64::from(event.client_x()) - edge));
    };
    let drag = move |event: PointerEvent| {
        let Some(held) = split.held.get_untracked() else { return };
        if let Some((_, both)) = bar.get_untracked().and_then(|bar| boxes(&bar)) {
            let width = f64::from(event.client_x()) - held - both.left();
            split.share.set(Some((width / both.width() * 100.0).clamp(LEAST, MOST)));
        }
    };
    view! {
        <div
            class="split"
            node_ref=bar
            role="separator"
            tabindex="0"
            aria-orientation="vertical"
            aria-label=label
            aria-valuemin=LEAST
            aria-valuemax=MOST
            aria-valuenow=move || format!("{:.0}", share.get())
            aria-valuetext=move || format!("{:.0}%", share.get())
            title=help
            on:keydown=on_key
            on:pointerdown=hold
            on:pointermove=drag
            on:lostpointercapture=move |_| split.release()
            on:dblclick=move |_| split.choose(None)
        ></div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_move_within_the_bounds() {
        assert_eq!(moved(50.0, "ArrowLeft"), Some(Some(48.0)));
        assert_eq!(moved(69.0, "ArrowRight"), Some(Some(MOST)));
        assert_eq!((moved(50.0, "Home"), moved(50.0, "End")), (Some(Some(LEAST)), Some(Some(MOST))));
        assert_eq!((moved(50.0, "Enter"), moved(50.0, "Tab")), (Some(None), None));
    }

    #[test]
    fn only_a_share_within_the_bounds_comes_back() {
        assert_eq!(parse("42.50"), Some(42.5));
        for text in ["", "x", "NaN", "inf", "12", "99", "42%"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
