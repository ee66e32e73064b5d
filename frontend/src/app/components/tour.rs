//! A guided tour of a place: stops one after another, each an outlined part of the page and a few words in a panel beside it. The page
//! stays usable meanwhile. It knows no place: the stops name their targets, and one whose target is not there is skipped.

use gloo::timers::callback::Interval;
use leptos::ev::KeyboardEvent;
use leptos::html;
use leptos::prelude::*;
use web_sys::{Element, ScrollBehavior, ScrollIntoViewOptions, ScrollLogicalPosition};

use super::icons::Icon;
use crate::app::i18n::{I18nContext, Locale, t, t_string, use_i18n};

/// The class of the target in hand.
const OUTLINE: &str = "tour-target";
/// How often a tour looks for its targets: some come late, or are made anew.
const LOOK_MS: u32 = 500;

/// Words in the language in hand.
pub type Words = fn(I18nContext<Locale>) -> &'static str;

#[derive(Clone, Copy)]
pub struct Stop {
    /// A CSS selector. No two stops of a tour have the same.
    pub target: &'static str,
    pub title: Words,
    pub text: Words,
}

/// Where a person is on a tour. Copies are handles to the same state.
#[derive(Clone, Copy)]
struct Walk {
    stops: &'static [Stop],
    /// The stop in hand; none while nobody is on the tour.
    at: RwSignal<Option<usize>>,
    /// The stops whose targets are on the page, in order.
    there: RwSignal<Vec<usize>>,
    timer: StoredValue<Option<Interval>, LocalStorage>,
}

impl Walk {
    fn new(stops: &'static [Stop]) -> Self {
        Self { stops, at: RwSignal::new(None), there: RwSignal::new(Vec::new()), timer: StoredValue::new_local(None) }
    }

    fn start(self) {
        self.look();
        if let Some(first) = self.there.with_untracked(|there| there.first().copied()) {
            self.go(first);
            self.timer.set_value(Some(Interval::new(LOOK_MS, move || self.look())));
        }
    }

    fn go(self, to: usize) {
        self.at.set(Some(to));
        self.look();
    }

    fn end(self) {
        self.timer.set_value(None);
        self.at.set(None);
        outline(self.stops, None);
    }

    /// Sees which targets are there, and outlines the one in hand.
    fn look(self) {
        let now: Vec<usize> = (0..self.stops.len()).filter(|&stop| find(self.stops[stop].target).is_some()).collect();
        if self.there.with_untracked(|there| *there != now) {
            self.there.set(now);
        }
        outline(self.stops, self.at.get_untracked());
    }
}

/// The button that starts a tour, and the panel while it is on.
#[component]
pub fn Tour(stops: &'static [Stop]) -> impl IntoView {
    let i18n = use_i18n();
    let button = NodeRef::<html::Button>::new();
    let walk = Walk::new(stops);
    let is_on = move || walk.at.get().is_some();
    let end = Callback::new(move |()| {
        // A person who went on in the page keeps the focus there.
        let in_panel = document().active_element().and_then(|active| active.closest(".tour-panel").ok().flatten());
        if in_panel.is_some()
            && let Some(button) = button.get_untracked()
        {
            let (left, top) = (window().scroll_x().unwrap_or_default(), window().scroll_y().unwrap_or_default());
            let _ = button.focus();
            // The page stays at what the last stop spoke of, not at the button.
            window().scroll_to_with_x_and_y(left, top);
        }
        walk.end();
    });
    let toggle = move |_| {
        if walk.at.get_untracked().is_some() {
            end.run(());
        } else {
            walk.start();
        }
    };
    // On the window: the focus may be anywhere in the page. An input method's Escape is its own.
    let keys = window_event_listener(leptos::ev::keydown, move |event: KeyboardEvent| {
        let is_ours = event.key() == "Escape" && !event.is_composing() && !event.default_prevented();
        if is_ours && walk.at.get_untracked().is_some() {
            end.run(());
        }
    });
    on_cleanup(move || {
        keys.remove();
        drop(walk.timer.try_update_value(Option::take));
        outline(stops, None);
    });
    view! {
        <button
            node_ref=button
            class="button small quiet tour-start"
            aria-expanded=move || is_on().to_string()
            on:click=toggle
        >
            <Icon name="compass" size=16/>
            {t!(i18n, common.tour_start)}
        </button>
        // A panel of its own for each stop: then the focus really moves, and a screen reader reads it.
        <For each=move || walk.at.get() key=|stop| *stop let:stop>
            <Panel walk=walk at=stop end=end/>
        </For>
    }
}

#[component]
fn Panel(walk: Walk, at: usize, end: Callback<()>) -> impl IntoView {
    let i18n = use_i18n();
    let Stop { target, title, text } = walk.stops[at];
    let panel = NodeRef::<html::Div>::new();
    Effect::new(move |_| {
        if let Some(panel) = panel.get() {
            let _ = panel.focus();
            reveal(target);
        }
    });
    let back = Memo::new(move |_| walk.there.with(|there| before(there, at)));
    let next = Memo::new(move |_| walk.there.with(|there| after(there, at)));
    let place = move || {
        let (place, count) = walk.there.with(|there| place_of(there, at));
        t_string!(i18n, common.tour_place, place = place, count = count)
    };
    let go_back = move |_| {
        if let Some(to) = back.get_untracked() {
            walk.go(to);
        }
    };
    let go_on = move |_| match next.get_untracked() {
        Some(to) => walk.go(to),
        None => end.run(()),
    };
    let on_key = move |event: KeyboardEvent| {
        // With Alt an arrow is the browser's own way back.
        if event.alt_key() || event.ctrl_key() || event.meta_key() {
            return;
        }
        let to = match event.key().as_str() {
            "ArrowLeft" => back.get_untracked(),
            "ArrowRight" => next.get_untracked(),
            _ => return,
        };
        event.prevent_default();
        if let Some(to) = to {
            walk.go(to);
        }
    };
    view! {
        <div
            node_ref=panel
            class="tour-panel"
            role="dialog"
            aria-labelledby="tour-title"
            aria-describedby="tour-text"
            tabindex="-1"
            on:keydown=on_key
        >
            <h2 id="tour-title">{move || title(i18n)}</h2>
            <p id="tour-text" class="tour-text">{move || text(i18n)}</p>
            <div class="tour-foot">
                <span class="hint num tour-place">{place}</span>
                <button class="button small quiet" disabled=move || back.get().is_none() on:click=go_back>
                    {t!(i18n, common.tour_back)}
                </button>
                <button class="button small primary" on:click=go_on>
                    {move || {
                        if next.get().is_some() {
                            t_string!(i18n, common.tour_next)
                        } else {
                            t_string!(i18n, common.tour_done)
                        }
                    }}
                </button>
            </div>
            <button
                class="icon-button small tour-close"
                aria-label=move || t_string!(i18n, common.close)
                on:click=move |_| end.run(())
            >
                <Icon name="close" size=14/>
            </button>
        </div>
    }
}

fn find(target: &str) -> Option<Element> {
    document().query_selector(target).ok().flatten()
}

/// Outlines the target of one stop, and of no other.
fn outline(stops: &[Stop], at: Option<usize>) {
    for (place, stop) in stops.iter().enumerate() {
        if let Some(target) = find(stop.target) {
            let _ = target.class_list().toggle_with_force(OUTLINE, at == Some(place));
        }
    }
}

/// Scrolls a target's top into view: the panel is at the bottom.
fn reveal(target: &str) {
    let Some(target) = find(target) else {
        return;
    };
    let still = window().match_media("(prefers-reduced-motion: reduce)").ok().flatten();
    let still = still.is_some_and(|query| query.matches());
    let options = ScrollIntoViewOptions::new();
    options.set_behavior(if still { ScrollBehavior::Instant } else { ScrollBehavior::Smooth });
    options.set_block(ScrollLogicalPosition::Start);
    options.set_inline(ScrollLogicalPosition::Nearest);
    target.scroll_into_view_with_scroll_into_view_options(&options);
}

/// The last stop before another.
fn before(there: &[usize], at: usize) -> Option<usize> {
    there.iter().copied().rfind(|&stop| stop < at)
}

/// The first stop after another.
fn after(there: &[usize], at: usize) -> Option<usize> {
    there.iter().copied().find(|&stop| stop > at)
}

/// A stop's place among those that are there, from 1, and how many they are. The stop counts even if its target just went.
fn place_of(there: &[usize], at: usize) -> (usize, usize) {
    let earlier = there.iter().filter(|&&stop| stop < at).count();
    let others = there.iter().filter(|&&stop| stop != at).count();
    (earlier + 1, others + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_that_are_not_there_are_skipped() {
        let there = [0, 1, 4];
        assert_eq!([after(&there, 0), after(&there, 1), after(&there, 4)], [Some(1), Some(4), None]);
        assert_eq!([before(&there, 4), before(&there, 1), before(&there, 0)], [Some(1), Some(0), None]);
        assert_eq!([place_of(&there, 0), place_of(&there, 4)], [(1, 3), (3, 3)]);
        // The third stop was there when it was chosen.
        assert_eq!((before(&there, 2), after(&there, 2), place_of(&there, 2)), (Some(1), Some(4), (3, 4)));
    }
}
