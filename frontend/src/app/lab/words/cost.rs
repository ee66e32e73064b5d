//! What languages cost: the same sentences in nine languages, in tokens for each one that English needs.

use hearth_shared::lab::words::{Cost, PARALLEL};
use leptos::prelude::*;

use super::session::{CostRow, use_session};
use crate::app::i18n::{t, t_string, use_i18n};

#[component]
pub fn Costs() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let table = move || {
        let rows = session.costs.get();
        let most = rows.iter().flat_map(|row| &row.costs).map(|cost| cost.relative).fold(1.0, f64::max);
        view! {
            <table class="words-costs">
                <caption class="visually-hidden">{t!(i18n, words.cost_title)}</caption>
                <thead>
                    <tr>
                        <th scope="col">{t!(i18n, words.language)}</th>
                        {rows
                            .iter()
                            .map(|row| view! { <th scope="col">{row.name.clone()}</th> })
                            .collect_view()}
                    </tr>
                </thead>
                <tbody>
                    {PARALLEL
                        .iter()
                        .enumerate()
                        .map(|(index, language)| {
                            view! {
                                <tr>
                                    <th scope="row" lang=language.code title=language.text>
                                        <bdi>{language.name}</bdi>
                                    </th>
                                    {cells(&rows, index, most)}
                                </tr>
                            }
                        })
                        .collect_view()}
                </tbody>
            </table>
        }
    };
    view! {
        <section class="words-cost card" aria-labelledby="words-cost-title">
            <div class="section-head">
                <h2 id="words-cost-title">{t!(i18n, words.cost_title)}</h2>
            </div>
            <p class="hint">{t!(i18n, words.cost_help)}</p>
            <div class="words-scroll" tabindex="0" role="group" aria-labelledby="words-cost-title">
                {table}
            </div>
            <details class="words-sentences">
                <summary>{t!(i18n, words.sentences)}</summary>
                <ul>
                    {PARALLEL
                        .iter()
                        .map(|language| {
                            view! {
                                <li lang=language.code dir="auto">
                                    {language.text}
                                </li>
                            }
                        })
                        .collect_view()}
                </ul>
            </details>
        </section>
    }
}

fn cells(rows: &[CostRow], index: usize, most: f64) -> impl IntoView + use<> {
    rows.iter().filter_map(|row| row.costs.get(index).copied()).map(|cost| cell(cost, most)).collect_view()
}

fn cell(cost: Cost, most: f64) -> impl IntoView {
    let i18n = use_i18n();
    let width = format!("{:.2}%", cost.relative / most * 100.0);
    view! {
        <td>
            <span class="words-bar" aria-hidden="true">
                <i style:width=width></i>
            </span>
            <span class="words-times num">{format!("{:.2}×", cost.relative)}</span>
            <span class="hint num">{t_string!(i18n, lab.tokens, count = cost.tokens)}</span>
        </td>
    }
}
