//! The same stages as bars: a row for each token, a column for each stage. A token that is cut stays where it was, without a bar.

use hearth_shared::lab::sampling::{Chance, DRAWS, Stage, Step};
use hearth_shared::spec::Sampling;
use leptos::prelude::*;

use super::session::use_session;
use super::summary::bits;
use crate::app::format;
use crate::app::i18n::{I18nContext, Locale, t, t_string, use_i18n};
use crate::app::lab::{percent, visible};

/// A stage's short name.
pub fn step_name(i18n: I18nContext<Locale>, step: Step) -> &'static str {
    match step {
        Step::Model => t_string!(i18n, sampling.step_model),
        Step::Penalty => t_string!(i18n, sampling.step_penalty),
        Step::Temperature => t_string!(i18n, sampling.step_temperature),
        Step::TopK => t_string!(i18n, sampling.step_top_k),
        Step::TopP => t_string!(i18n, sampling.step_top_p),
        Step::MinP => t_string!(i18n, sampling.step_min_p),
    }
}

/// Why a stage cuts a token.
pub fn reason(i18n: I18nContext<Locale>, step: Step, sampling: &Sampling) -> String {
    match step {
        Step::Model | Step::Penalty => t_string!(i18n, sampling.why_vanished).to_owned(),
        Step::Temperature if sampling.temperature > 0.0 => t_string!(i18n, sampling.why_vanished).to_owned(),
        Step::Temperature => t_string!(i18n, sampling.why_greedy).to_owned(),
        Step::TopK => t_string!(i18n, sampling.why_top_k, k = sampling.top_k.unwrap_or_default()),
        Step::TopP => t_string!(i18n, sampling.why_top_p, share = percent(f64::from(sampling.top_p))),
        Step::MinP => t_string!(i18n, sampling.why_min_p, share = percent(f64::from(sampling.min_p))),
    }
}

/// A share in a narrow place: `14.4 %`, `<0.1 %`.
fn brief(share: f64) -> String {
    if share < 0.001 { "<0.1 %".to_owned() } else { format!("{:.1} %", share * 100.0) }
}

#[component]
pub fn Waterfall() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let ids = Memo::new(move |_| {
        session.answered.with(|answered| {
            let tokens = answered.as_ref().map(|known| known.found.tokens.as_slice()).unwrap_or_default();
            tokens.iter().map(|chance| chance.id).collect::<Vec<u32>>()
        })
    });
    // One scale for all bars: else a column could not be compared with the next.
    let scale = Memo::new(move |_| {
        session.answered.with(|answered| {
            let tokens = answered.as_ref().map(|known| known.found.tokens.as_slice()).unwrap_or_default();
            tokens.iter().flat_map(|chance| &chance.shares).copied().fold(1e-9, f64::max)
        })
    });
    let drawn = Memo::new(move |_| session.draws.with(Option::is_some));
    view! {
        <table
            class="waterfall num"
            class:drawn=move || drawn.get()
            on:pointerleave=move |event| session.point_away(&event)
        >
            <caption class="visually-hidden">{t!(i18n, sampling.table_caption)}</caption>
            <thead>
                <tr>
                    <th scope="col">{t!(i18n, sampling.token)}</th>
                    {Step::ALL.map(|step| view! { <Head step/> }).collect_view()}
                    <Show when=move || drawn.get()>
                        <th scope="col">{move || t_string!(i18n, sampling.drawn_of, count = format::group(u64::from(DRAWS)))}</th>
                    </Show>
                </tr>
            </thead>
            <tbody>
                <For each=move || ids.get() key=|id| *id let:id>
                    <Row id scale drawn/>
                </For>
                <Rest scale drawn/>
            </tbody>
        </table>
    }
}

/// A stage's name, how many tokens it leaves and what it takes.
#[component]
fn Head(step: Step) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let place = step as usize;
    let stage =
        Memo::new(move |_| session.answered.with(|answered| answered.as_ref()?.found.stages.get(place).copied()));
    let of = move |read: fn(Stage) -> Option<String>| move || stage.get().and_then(read);
    let title = move || {
        let stage = stage.get()?;
        let kept = format::group(u64::from(stage.kept));
        Some(t_string!(
            i18n,
            sampling.head_title,
            kept = kept,
            removed = percent(stage.removed),
            entropy = bits(i18n, stage.entropy)
        ))
    };
    view! {
        <th scope="col" title=title data-step=place>
            <span class="way-step">{move || step_name(i18n, step)}</span>
            <small class="way-kept">{of(|stage| Some(format::group(u64::from(stage.kept))))}</small>
            <small class="way-removed">
                {of(|stage| (stage.removed > 0.0).then(|| format!("−{}", brief(stage.removed))))}
            </small>
        </th>
    }
}

/// A token. Its row stays where it is while the sliders move, so that its bars can glide.
#[component]
fn Row(id: u32, scale: Memo<f64>, drawn: Memo<bool>) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let chance = Memo::new(move |_| session.chance(id));
    let word = session.host.word(id);
    let name = visible(&word);
    let partial = session.says(&[id]).is_none();
    let cut = Memo::new(move |_| chance.with(|chance| chance.as_ref().and_then(Chance::cut_at)));
    let share = move || chance.with(|chance| chance.as_ref().map_or(0.0, Chance::drawn_with));
    let shown = name.clone();
    let label = move || {
        let share = percent(share());
        if partial {
            return t_string!(i18n, sampling.row_part, token = shown.clone(), share = share);
        }
        match cut.get().and_then(|at| Step::ALL.get(at).copied()) {
            Some(step) => t_string!(i18n, sampling.row_cut, token = shown.clone(), step = step_name(i18n, step)),
            None => t_string!(i18n, sampling.row_kept, token = shown.clone(), share = share),
        }
    };
    let seen = move || chance.with(|chance| chance.as_ref().is_some_and(|chance| chance.seen));
    let times = move || {
        let count = session.draws.with(|draws| draws.as_ref().map(|draws| draws.times(id)))?;
        let expected = share() * f64::from(DRAWS);
        Some(view! { {count.to_string()} " " <small>{format!("≈ {expected:.0}")}</small> })
    };
    view! {
        <tr
            class:cut=move || cut.get().is_some()
            class:lit=move || session.cursor.get() == Some(id)
            data-token=id
            data-share=share
            on:pointerenter=move |_| session.cursor.set(Some(id))
        >
            <th scope="row">
                <button
                    class="way-token"
                    class:seen=seen
                    disabled=partial
                    title=label.clone()
                    aria-label=label
                    on:click=move |_| session.append(&[id])
                    on:focus=move |_| session.cursor.set(Some(id))
                >
                    {name}
                </button>
            </th>
            {Step::ALL
                .map(|step| {
                    let at = step as usize;
                    let share = Memo::new(move |_| {
                        chance.with(|chance| chance.as_ref().and_then(|chance| chance.shares.get(at).copied()))
                    });
                    let ends = Signal::derive(move || cut.get() == Some(at));
                    view! { <Cell share scale ends/> }
                })
                .collect_view()}
            <Show when=move || drawn.get()>
                <td class="way-drawn">{times}</td>
            </Show>
        </tr>
    }
}

/// A bar and its number; a word where the token is cut.
#[component]
fn Cell(share: Memo<Option<f64>>, scale: Memo<f64>, #[prop(into)] ends: Signal<bool>) -> impl IntoView {
    let i18n = use_i18n();
    let width = move || format!("{:.2}%", share.get().unwrap_or_default() / scale.get() * 100.0);
    let number = move || share.get().filter(|share| *share > 0.0).map(brief);
    view! {
        <td class:ends=move || ends.get()>
            <i class="way-bar" style:width=width aria-hidden="true"></i>
            <span class="way-share">{number}</span>
            <Show when=move || ends.get()>
                <span class="way-cut">{t!(i18n, sampling.cut)}</span>
            </Show>
        </td>
    }
}

/// All tokens that have no row.
#[component]
fn Rest(scale: Memo<f64>, drawn: Memo<bool>) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let others = move || {
        session.answered.with(|answered| {
            let found = &answered.as_ref()?.found;
            let count = u64::from(found.vocab_size).saturating_sub(found.tokens.len() as u64);
            Some(t_string!(i18n, sampling.others, count = format::group(count)))
        })
    };
    let times = move || {
        session.draws.with(|draws| {
            let draws = draws.as_ref()?;
            let shown: u32 = session.answered.with(|answered| {
                Some(answered.as_ref()?.found.tokens.iter().map(|chance| draws.times(chance.id)).sum())
            })?;
            Some((draws.count - shown.min(draws.count)).to_string())
        })
    };
    view! {
        <tr class="way-rest">
            <th scope="row">{others}</th>
            {Step::ALL
                .map(|step| {
                    let at = step as usize;
                    let share = Memo::new(move |_| {
                        session.answered.with(|answered| Some(answered.as_ref()?.found.stages.get(at)?.rest))
                    });
                    // A bar of everything else would dwarf the others: it ends at the column's edge.
                    let width = move || format!("{:.2}%", (share.get().unwrap_or_default() / scale.get() * 100.0).min(100.0));
                    let number = move || share.get().filter(|share| *share > 1e-9).map(brief);
                    view! {
                        <td>
                            <i class="way-bar" style:width=width aria-hidden="true"></i>
                            <span class="way-share">{number}</span>
                        </td>
                    }
                })
                .collect_view()}
            <Show when=move || drawn.get()>
                <td class="way-drawn">{times}</td>
            </Show>
        </tr>
    }
}
