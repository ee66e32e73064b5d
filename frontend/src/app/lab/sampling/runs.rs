//! What each seed makes of one text: continuations token below token, coloured by how many go together, and as texts.

use hearth_shared::lab::sampling::{NEW, RUNS, Run, company, twins};
use leptos::prelude::*;

use super::job::{HowFar, Job};
use super::session::use_session;
use super::word;
use crate::app::components::field::Slider;
use crate::app::components::icons::Icon;
use crate::app::i18n::{t, t_string, use_i18n};
use crate::app::lab::pieces::joined;
use crate::app::lab::{percent, visible};

/// Seeds that the dice show.
const FACES: f64 = 100_000.0;

#[component]
pub fn Runs() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let stale = move || session.running.with(|job| *job != Job::Done);
    let took = move || {
        session.continued.with(|continued| {
            let found = &continued.as_ref()?.found;
            let (count, ms) = (found.runs.len(), session.host.measured(found.ms)?);
            Some(t_string!(i18n, sampling.runs_took, count = count, ms = ms))
        })
    };
    view! {
        <section class="card sampling-runs" aria-labelledby="runs-title">
            <div class="section-head">
                <h2 id="runs-title">{t!(i18n, sampling.runs_title)}</h2>
                <HowFar job=session.running label=word!(i18n, continuing) again=move |()| session.retry()/>
            </div>
            <p class="sampling-help">{t!(i18n, sampling.runs_help)}</p>
            <div class="sampling-dials">
                <Seed/>
                <Slider
                    label=word!(i18n, runs) hint=word!(i18n, runs_hint) value=session.runs
                    min=f64::from(RUNS.0) max=f64::from(RUNS.1) step=1.0 digits=0
                />
                <Slider
                    label=word!(i18n, count) hint=word!(i18n, count_hint) value=session.count
                    min=f64::from(NEW.0) max=f64::from(NEW.1) step=1.0 digits=0
                />
            </div>
            <Verdict/>
            <div class:stale=stale>
                {move || {
                    session.continued.with(|continued| {
                        continued.as_ref().map(|known| view! { <Tokens runs=known.found.runs.clone()/> })
                    })
                }}
            </div>
            <p class="hint num">{took}</p>
        </section>
    }
}

/// The first seed, and dice for another.
#[component]
fn Seed() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    // What was typed and is no seed; meanwhile the last good one stays.
    let refused = RwSignal::new(None::<String>);
    let is_refused = move || refused.with(Option::is_some);
    Effect::new(move |_| {
        session.seed.track();
        refused.set(None);
    });
    let typed = move |text: String| match text.trim().parse::<u32>() {
        Ok(seed) => session.seed.set(seed),
        Err(_) => refused.set(Some(text)),
    };
    // Chance itself must not hang on a seed.
    let roll = move |_| session.seed.set((js_sys::Math::random() * FACES) as u32);
    view! {
        <div class="field sampling-seed">
            <label class="field-label" for="sampling-seed">{t!(i18n, sampling.seed)}</label>
            <div class="sampling-dice">
                <input
                    id="sampling-seed"
                    class="input num"
                    type="number"
                    inputmode="numeric"
                    min="0"
                    max=u32::MAX
                    step="1"
                    prop:value=move || refused.get().unwrap_or_else(|| session.seed.get().to_string())
                    aria-invalid=move || is_refused().then_some("true")
                    aria-describedby="sampling-seed-hint"
                    on:change=move |event| typed(event_target_value(&event))
                />
                <button class="button" data-action="roll" on:click=roll>
                    <Icon name="dice" size=18/>
                    {t!(i18n, sampling.roll)}
                </button>
            </div>
            <span id="sampling-seed-hint" class="hint" class:bad=is_refused aria-live="polite">
                {move || {
                    if is_refused() {
                        t_string!(i18n, sampling.seed_bad, most = u32::MAX)
                    } else {
                        t_string!(i18n, sampling.seed_hint).to_owned()
                    }
                }}
            </span>
        </div>
    }
}

/// How many texts there are, and whether the same seeds give them again.
#[component]
fn Verdict() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let counts = move || {
        session.continued.with(|continued| {
            let runs = &continued.as_ref()?.found.runs;
            let different = twins(runs).iter().filter(|twin| twin.is_none()).count();
            Some(t_string!(i18n, sampling.different, runs = runs.len(), different = different))
        })
    };
    let again = move || {
        session.repeated.get().map(|same| {
            let (class, words) = if same {
                ("badge good", t_string!(i18n, sampling.repeated))
            } else {
                ("badge bad", t_string!(i18n, sampling.not_repeated))
            };
            view! {
                <span class=class data-repeated=same.to_string()>
                    {same.then(|| view! { <Icon name="check" size=14/> })}
                    {words}
                </span>
            }
        })
    };
    view! {
        <div class="sampling-verdict" aria-live="polite">
            <span class="badge num">{counts}</span>
            <button
                class="button small quiet"
                data-action="repeat"
                disabled=move || session.running.with(|job| *job != Job::Done)
                on:click=move |_| session.repeat()
            >
                <Icon name="retry" size=16/>
                {t!(i18n, sampling.repeat)}
            </button>
            {again}
        </div>
    }
}

/// How a token of a run stands to the others.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stand {
    /// Runs that are the same up to it, its own among them.
    with: u32,
    /// Some that were the same before are not any more.
    parts: bool,
}

/// For each token of a run.
fn stands(company: &[u32], runs: u32) -> Vec<Stand> {
    let before = std::iter::once(runs).chain(company.iter().copied());
    company.iter().zip(before).map(|(&with, before)| Stand { with, parts: with < before }).collect()
}

/// The class of a token by its company.
fn shade(stand: Stand, runs: u32) -> &'static str {
    match stand.with {
        1 if runs > 1 => "run-token alone",
        with if with == runs => "run-token all",
        _ => "run-token some",
    }
}

#[component]
fn Tokens(runs: Vec<Run>) -> impl IntoView {
    let i18n = use_i18n();
    let all = runs.len() as u32;
    let longest = runs.iter().map(|run| run.tokens.len()).max().unwrap_or_default();
    let lines = company(&runs)
        .into_iter()
        .zip(runs.clone())
        .map(|(company, run)| view! { <TokenLine stands=stands(&company, all) run all longest/> })
        .collect_view();
    let seeds: Vec<u64> = runs.iter().map(|run| run.seed).collect();
    let texts = twins(&runs)
        .into_iter()
        .zip(runs)
        .map(|(twin, run)| view! { <AsText run twin=twin.map(|at| seeds[at])/> })
        .collect_view();
    view! {
        <ul class="chart-legend sampling-legend">
            <li><i class="run-token all" aria-hidden="true"></i>{t!(i18n, sampling.with_all)}</li>
            <li><i class="run-token some" aria-hidden="true"></i>{t!(i18n, sampling.with_some)}</li>
            <li><i class="run-token alone" aria-hidden="true"></i>{t!(i18n, sampling.with_none)}</li>
        </ul>
        <div
            class="runs-scroll"
            tabindex="0"
            role="region"
            aria-label=move || t_string!(i18n, sampling.runs_region)
        >
            <table class="runs-table num">
                <tbody>{lines}</tbody>
            </table>
        </div>
        <ol class="runs-texts">{texts}</ol>
    }
}

/// A run, token by token.
#[component]
fn TokenLine(run: Run, stands: Vec<Stand>, all: u32, longest: usize) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let empty = longest - run.tokens.len();
    let cells = run
        .tokens
        .iter()
        .zip(&run.logprobs)
        .zip(stands)
        .map(|((&id, &logprob), stand)| {
            let name = visible(&session.host.word(id));
            let share = percent(f64::from(logprob).exp());
            let title = move || t_string!(i18n, sampling.token_title, share = share.clone(), runs = stand.with);
            view! {
                <td
                    class=shade(stand, all)
                    class:parts=stand.parts
                    class:lit=move || session.cursor.get() == Some(id)
                    title=title
                    data-token=id
                    data-with=stand.with
                >
                    {name}
                </td>
            }
        })
        .collect_view();
    let end = run.ended.then(|| view! { <td class="run-end">{t!(i18n, sampling.end)}</td> });
    let gaps = empty.saturating_sub(usize::from(run.ended));
    view! {
        <tr data-seed=run.seed>
            <th scope="row">{move || t_string!(i18n, sampling.seed_name, seed = run.seed)}</th>
            {cells}
            {end}
            {(0..gaps).map(|_| view! { <td></td> }).collect_view()}
        </tr>
    }
}

/// A run as a text, with how likely the model finds it.
#[component]
fn AsText(run: Run, twin: Option<u64>) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let (seed, logprob) = (run.seed, run.logprob());
    let text = joined(run.tokens.iter().map(|id| session.host.word(*id)));
    let same = twin.map(|twin| {
        view! { <span class="badge ember">{move || t_string!(i18n, sampling.same_as, seed = twin)}</span> }
    });
    let ended = run.ended.then(|| view! { <span class="badge">{t!(i18n, sampling.ended)}</span> });
    let likely = format!("{logprob:.1}").replace('-', "−");
    view! {
        <li data-run=seed>
            <p class="run-text" dir="auto">{text}</p>
            <p class="run-about num">
                <span>{move || t_string!(i18n, sampling.seed_name, seed = seed)}</span>
                <span class="hint">{move || t_string!(i18n, sampling.logprob, value = likely.clone())}</span>
                {same}
                {ended}
            </p>
        </li>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_parts_where_its_company_shrinks() {
        let found = stands(&[3, 3, 2, 1], 3);
        let parts: Vec<bool> = found.iter().map(|stand| stand.parts).collect();
        assert_eq!(parts, [false, false, true, true]);
        let classes: Vec<&str> = found.iter().map(|stand| shade(*stand, 3)).collect();
        assert_eq!(classes, ["run-token all", "run-token all", "run-token some", "run-token alone"]);
        assert!(stands(&[1], 3)[0].parts && stands(&[], 3).is_empty());
        assert_eq!(shade(Stand { with: 1, parts: false }, 1), "run-token all");
    }
}
