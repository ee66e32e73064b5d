//! How far back each head of a sibling looks: its mean weight by distance, as a falling line and in buckets that double.

use hearth_shared::lab::position::Distances;
use leptos::prelude::*;

use super::session::use_session;
use super::siblings::{COUNT, SIBLINGS, TRAINED};
use super::word;
use crate::app::i18n::{t, t_string, use_i18n};

/// Units of the small drawing.
const WIDTH: f64 = 132.0;
const HEIGHT: f64 = 30.0;
/// Weights below are drawn at the bottom.
const FAINTEST: f64 = 1e-5;

/// First and last distance of each bucket: the token itself, the one before, then doubling.
fn buckets(time: u32) -> Vec<(u32, u32)> {
    let mut buckets = Vec::new();
    let (mut first, mut last) = (0, 0);
    while first < time {
        buckets.push((first, last.min(time - 1)));
        (first, last) = (last + 1, if last == 0 { 1 } else { last * 2 });
    }
    buckets
}

/// Mean over a bucket's distances.
fn mean((first, last): (u32, u32), means: &[f32]) -> f64 {
    let part = means.get(first as usize..=last as usize).unwrap_or_default();
    part.iter().map(|weight| f64::from(*weight)).sum::<f64>() / part.len().max(1) as f64
}

/// A line over all distances, heights by the logarithm: an even slope is a weight that falls by the same share with every token.
fn line(means: &[f32]) -> String {
    let last = means.len().saturating_sub(1).max(1) as f64;
    let height = |weight: f32| (f64::from(weight).max(FAINTEST).log10() / FAINTEST.log10()).abs() * HEIGHT;
    let points = means.iter().enumerate();
    points.map(|(at, weight)| format!("{:.1},{:.1} ", at as f64 / last * WIDTH, height(*weight))).collect()
}

/// Per cent, short enough for a cell.
fn short(weight: f64) -> String {
    let percent = weight * 100.0;
    match percent {
        p if p >= 9.95 => format!("{p:.0}"),
        p if p >= 0.095 => format!("{p:.1}"),
        p if p >= 0.0095 => format!("{p:.2}"),
        p if p > 0.0 => "<.01".to_owned(),
        _ => "0".to_owned(),
    }
}

fn name((first, last): (u32, u32)) -> String {
    if first == last { first.to_string() } else { format!("{first}–{last}") }
}

#[component]
pub fn DistanceCard() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let found = Memo::new(move |_| session.distances());
    let remark = move || match SIBLINGS.get(session.attention.get()).map_or("", |sibling| sibling.name) {
        "alibi" => t_string!(i18n, position.distance_alibi),
        "rope" => t_string!(i18n, position.distance_rope),
        "sinusoidal" => t_string!(i18n, position.distance_sinusoidal),
        _ => t_string!(i18n, position.distance_learned),
    };
    view! {
        <section class="card position-distances" aria-labelledby="position-distances">
            <div class="section-head">
                <h2 id="position-distances">{t!(i18n, position.distance_title)}</h2>
                <div class="segments" role="group" aria-labelledby="position-distances">
                    {(0..COUNT)
                        .map(|at| {
                            view! {
                                <button
                                    data-attention=SIBLINGS[at].name
                                    aria-pressed=move || (session.attention.get() == at).to_string()
                                    on:click=move |_| session.attention.set(at)
                                >
                                    {move || SIBLINGS[at].label(i18n)}
                                </button>
                            }
                        })
                        .collect_view()}
                </div>
            </div>
            <p class="hint">{move || t_string!(i18n, position.distance_help, time = TRAINED)}</p>
            <div class="position-scroll" tabindex="0" role="group" aria-label=word!(i18n, distance_title)>
                {move || found.get().map(|distances| view! { <Heads distances/> })}
            </div>
            <p class="position-story">{remark}</p>
        </section>
    }
}

#[component]
fn Heads(distances: Distances) -> impl IntoView {
    let i18n = use_i18n();
    let buckets = buckets(distances.time);
    let header = buckets.iter().map(|bucket| view! { <th scope="col">{name(*bucket)}</th> }).collect_view();
    let heads = (0..distances.layers).flat_map(|layer| (0..distances.heads).map(move |head| (layer, head)));
    let rows = heads
        .map(|(layer, head)| {
            let (means, first) = (distances.head(layer, head), head == 0);
            let cells = buckets.iter().map(|bucket| {
                let weight = mean(*bucket, means);
                // As in the attention lab: by the root, so that small weights are seen too.
                let heat = format!("{:.1}%", weight.max(0.0).sqrt() * 100.0);
                view! {
                    <td class="heat" style:--heat=heat>
                        {short(weight)}
                    </td>
                }
            });
            let title = move || t_string!(i18n, lab.head_title, layer = layer + 1, head = head + 1);
            view! {
                <tr class:first=first>
                    <th scope="row" title=title aria-label=title>
                        {format!("{}·{}", layer + 1, head + 1)}
                    </th>
                    <td class="fall" aria-hidden="true">
                        <svg viewBox=format!("0 -1 {WIDTH} {}", HEIGHT + 2.0) width=WIDTH height=HEIGHT>
                            <polyline points=line(means)></polyline>
                        </svg>
                    </td>
                    {cells.collect_view()}
                </tr>
            }
        })
        .collect_view();
    view! {
        <table class="position-table by-head num">
            <caption>
                <span>{t!(i18n, position.distance_caption)}</span>
            </caption>
            <thead>
                <tr>
                    <th scope="col">{t!(i18n, position.head)}</th>
                    <th aria-hidden="true">{t!(i18n, position.fall)}</th>
                    {header}
                </tr>
            </thead>
            <tbody>{rows}</tbody>
        </table>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_every_distance_once() {
        assert_eq!(buckets(10), [(0, 0), (1, 1), (2, 2), (3, 4), (5, 8), (9, 9)]);
        let all: Vec<u32> = buckets(128).into_iter().flat_map(|(first, last)| first..=last).collect();
        assert_eq!(all, (0..128).collect::<Vec<_>>());
        assert!(buckets(0).is_empty());
    }

    #[test]
    fn a_bucket_is_the_mean_of_its_distances() {
        assert_eq!(mean((1, 2), &[0.5, 0.25, 0.75]), 0.5);
        assert_eq!(mean((3, 4), &[0.5]), 0.0);
        assert_eq!(
            [short(0.5), short(0.0432), short(0.0002), short(1e-6), short(0.0)],
            ["50", "4.3", "0.02", "<.01", "0"]
        );
    }

    #[test]
    fn a_constant_share_falls_in_a_straight_line() {
        let falling: Vec<f32> = (0..4).map(|distance| 0.1_f32.powi(distance)).collect();
        assert_eq!(line(&falling), "0.0,0.0 44.0,6.0 88.0,12.0 132.0,18.0 ");
    }
}
