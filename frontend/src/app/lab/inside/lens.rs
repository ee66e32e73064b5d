//! The logit lens as a table: a row for every depth of the stack, a column for every token, and in each cell what the model would say
//! there; beside it the cell in hand from near.

use hearth_shared::lab::inside::{Follower, Guess, Lens, Reading};
use leptos::ev::KeyboardEvent;
use leptos::html;
use leptos::prelude::*;

use super::looks::{Looks, Shows};
use super::part::Part;
use super::state::use_inside;
use super::working::Working;
use crate::app::components::after_drawing;
use crate::app::format;
use crate::app::i18n::{I18nContext, Locale, t, t_string, use_i18n};
use crate::app::lab::matrix::shift;
use crate::app::lab::{percent, tokens, visible};

/// State and token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot {
    state: usize,
    token: usize,
}

/// What moves about the table.
#[derive(Clone, Copy)]
struct Hand {
    shows: Memo<Shows>,
    looks: RwSignal<Looks>,
    pointed: RwSignal<Option<Spot>>,
}

impl Hand {
    fn go_to(self, state: usize) {
        self.looks.update(|looks: &mut Looks| looks.depth = Some(state));
    }
}

#[component]
pub fn LensPart() -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let looks = inside.session.looks;
    let hand = Hand { shows: Memo::new(move |_| looks.get().shows), looks, pointed: RwSignal::new(None) };
    let chosen = Memo::new(move |_| {
        let last = inside.lens.with(|lens| lens.as_ref().map_or(0, |lens| lens.states.len().saturating_sub(1)));
        Spot { state: looks.get().depth.unwrap_or(last).min(last), token: inside.session.row() }
    });
    let spot = Memo::new(move |_| hand.pointed.get().unwrap_or_else(|| chosen.get()));
    let name = move |shows| match shows {
        Shows::Word => t_string!(i18n, inside.lens_words),
        Shows::Rank => t_string!(i18n, inside.lens_ranks),
    };
    view! {
        <div class="section-head">
            <h3 id="lens-title">{t!(i18n, inside.lens_title)}</h3>
            <div class="segments" role="group" aria-labelledby="lens-title">
                {Shows::ALL
                    .map(|shows| {
                        view! {
                            <button
                                data-shows=shows.word()
                                aria-pressed=move || (hand.shows.get() == shows).to_string()
                                on:click=move |_| looks.update(|looks: &mut Looks| looks.shows = shows)
                            >
                                {move || name(shows)}
                            </button>
                        }
                    })
                    .collect_view()}
            </div>
        </div>
        <p class="inside-help">{t!(i18n, inside.lens_help)}</p>
        <Working part=Part::Lens/>
        {move || {
            inside
                .lens
                .get()
                .map(|lens| {
                    view! {
                        <div class="lens-body">
                            <Table lens hand chosen/>
                            <Near spot/>
                        </div>
                    }
                })
        }}
    }
}

/// A state's name: the embedding, then the blocks.
fn state_name(i18n: I18nContext<Locale>, state: usize) -> String {
    match state {
        0 => t_string!(i18n, inside.embedding).to_owned(),
        block => t_string!(i18n, inside.block, index = block),
    }
}

#[component]
fn Table(lens: Lens, hand: Hand, chosen: Memo<Spot>) -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let (states, time) = (lens.states.len(), lens.states.first().map_or(0, Vec::len));
    let words: Vec<String> = untrack(|| inside.session.forward()).map_or_else(Vec::new, |forward| {
        forward.tokens().iter().take(time).map(|token| visible(&token.text)).collect()
    });
    let header = words.into_iter().map(|word| view! { <th scope="col"><bdi>{word}</bdi></th> }).collect_view();
    let rows = lens.states.into_iter().enumerate().map(|(state, readings)| {
        let cells = readings.into_iter().enumerate();
        let cells = cells.map(|(token, reading)| view! { <Cell place=Spot { state, token } reading hand chosen/> });
        view! {
            <tr>
                <th scope="row">{move || state_name(i18n, state)}</th>
                {cells.collect_view()}
            </tr>
        }
    });
    let on_key = move |event: KeyboardEvent| {
        let Spot { state, token } = chosen.get_untracked();
        let to = match event.key().as_str() {
            "ArrowUp" => Spot { state: state.saturating_sub(1), token },
            "ArrowDown" => Spot { state: state + 1, token },
            "ArrowLeft" => Spot { state, token: token.saturating_sub(1) },
            "ArrowRight" => Spot { state, token: token + 1 },
            "Home" => Spot { state, token: 0 },
            "End" => Spot { state, token: usize::MAX },
            _ => return,
        };
        event.prevent_default();
        hand.pointed.set(None);
        hand.go_to(to.state.min(states.saturating_sub(1)));
        tokens::choose(inside.session, to.token.min(time.saturating_sub(1)));
    };
    let scroll = NodeRef::<html::Div>::new();
    keep_in_sight(scroll, chosen);
    view! {
        <div
            node_ref=scroll
            class="inside-scroll lens-scroll"
            tabindex="0"
            role="group"
            aria-label=move || t_string!(i18n, inside.lens_label)
            aria-describedby="lens-near"
            on:keydown=on_key
            on:pointerleave=move |_| hand.pointed.set(None)
        >
            <table class="lens">
                <thead>
                    <tr>
                        <th scope="col">{t!(i18n, inside.lens_corner)}</th>
                        {header}
                    </tr>
                </thead>
                <tbody>{rows.collect_view()}</tbody>
            </table>
        </div>
    }
}

/// Brings the chosen cell into sight, up and down only where another depth was chosen: the tokens stand above the first one.
fn keep_in_sight(scroll: NodeRef<html::Div>, chosen: Memo<Spot>) {
    Effect::new(move |before: Option<Spot>| {
        scroll.track();
        let now = chosen.get();
        let is_deeper = before.is_some_and(|before| before.state != now.state);
        // When the table has its size.
        after_drawing(move || {
            if let Some(shown) = scroll.try_get_untracked().flatten() {
                reveal(&shown, now, is_deeper);
            }
        });
        now
    });
}

/// The browser's own way would scroll the page to the table as well.
fn reveal(around: &web_sys::HtmlDivElement, Spot { state, token }: Spot, up_and_down: bool) {
    let find = |css: &str| around.query_selector(css).ok().flatten().map(|found| found.get_bounding_client_rect());
    let Some(cell) = find(&format!("[data-state='{state}'][data-token='{token}']")) else {
        return;
    };
    let frame = around.get_bounding_client_rect();
    // The names of the depths stay at the left edge.
    let left = frame.left() + find("tbody th").map_or(0.0, |names| names.width());
    let right = frame.left() + f64::from(around.client_width());
    let across = shift([cell.left(), cell.right()], [left, right]);
    around.set_scroll_left(around.scroll_left() + across as i32);
    if up_and_down {
        let top = frame.top() + find("thead").map_or(0.0, |tokens| tokens.height());
        let bottom = frame.top() + f64::from(around.client_height());
        let down = shift([cell.top(), cell.bottom()], [top, bottom]);
        around.set_scroll_top(around.scroll_top() + down as i32);
    }
}

#[component]
fn Cell(place: Spot, reading: Reading, hand: Hand, chosen: Memo<Spot>) -> impl IntoView {
    let inside = use_inside();
    let best = reading.top.first().copied();
    let word = best.map_or_else(String::new, |best| visible(&inside.session.host.word(best.id)));
    let hit = best.is_some_and(|best| reading.next.is_some_and(|next| next.id == best.id));
    let rank = reading.next.map_or_else(|| "–".to_owned(), |next| format::group(u64::from(next.rank) + 1));
    let likely = best.map_or(0.0, |best| best.probability);
    let follows = reading.next.map_or(0.0, |next| next.probability);
    let heat = move || {
        let share = if hand.shows.get() == Shows::Word { likely } else { follows };
        format!("{:.1}%", share.clamp(0.0, 1.0) * 100.0)
    };
    let text = move || if hand.shows.get() == Shows::Word { word.clone() } else { rank.clone() };
    let choose = move |_| {
        hand.go_to(place.state);
        tokens::choose(inside.session, place.token);
    };
    view! {
        <td
            class="inside-heat"
            class:hit=hit
            class:chosen=move || chosen.get() == place
            class:pointed=move || hand.pointed.get() == Some(place)
            style:--heat=heat
            data-state=place.state
            data-token=place.token
            on:pointerenter=move |_| hand.pointed.set(Some(place))
            on:click=choose
        >
            <bdi>{text}</bdi>
        </td>
    }
}

/// The cell in hand: its likeliest tokens, and the one that really follows.
#[component]
fn Near(spot: Memo<Spot>) -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let title = move || {
        let Spot { state, token } = spot.get();
        let forward = inside.session.forward()?;
        let text = visible(&forward.tokens().get(token)?.text);
        let depth = state_name(i18n, state);
        Some(t_string!(i18n, inside.lens_at, depth = depth, index = token + 1, token = text))
    };
    let reading = move || {
        let Spot { state, token } = spot.get();
        inside.lens.with(|lens| lens.as_ref()?.states.get(state)?.get(token).cloned())
    };
    let settles = move || {
        let token = spot.get().token;
        let state = inside.lens.with(|lens| lens.as_ref()?.settles(token))?;
        let depth = state_name(i18n, state);
        Some(t_string!(i18n, inside.lens_settles, depth = depth))
    };
    view! {
        <div class="lens-near" id="lens-near" aria-live="polite">
            <p class="lens-where"><bdi>{title}</bdi></p>
            {move || reading().map(|reading| guesses(reading.top))}
            {move || reading().map(|reading| follower(reading.next))}
            <p class="hint">{settles}</p>
        </div>
    }
}

fn guesses(top: Vec<Guess>) -> impl IntoView {
    let inside = use_inside();
    let most = top.first().map_or(1.0, |guess| guess.probability).max(f32::MIN_POSITIVE);
    let rows = top
        .into_iter()
        .map(|guess| {
            let width = format!("{:.1}%", guess.probability / most * 100.0);
            view! {
                <li>
                    <bdi class="lens-word">{visible(&inside.session.host.word(guess.id))}</bdi>
                    <span class="inside-bar" aria-hidden="true"><i style:width=width></i></span>
                    <span class="num">{percent(f64::from(guess.probability))}</span>
                </li>
            }
        })
        .collect_view();
    view! { <ol class="lens-top">{rows}</ol> }
}

fn follower(next: Option<Follower>) -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let words = match next {
        None => t_string!(i18n, inside.lens_end).to_owned(),
        Some(next) => {
            let word = visible(&inside.session.host.word(next.id));
            let rank = format::group(u64::from(next.rank) + 1);
            let probability = percent(f64::from(next.probability));
            t_string!(i18n, inside.lens_follows, token = word, rank = rank, probability = probability)
        }
    };
    view! { <p class="lens-follows num">{words}</p> }
}
