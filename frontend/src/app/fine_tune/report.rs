//! The validator's report as a page: what was found, how long the examples are, and for every problem where it is and what to do.

use hearth_shared::text::validate::TokenStatistics;
use hearth_shared::text::{Format, Lang, Problem, Report, Rule, Severity};
use leptos::prelude::*;
use leptos_i18n::I18nContext;

use super::counted;
use super::log_words::holes;
use crate::app::components::icons::Icon;
use crate::app::format;
use crate::app::i18n::{Locale, t, t_string, use_i18n};

/// Problems shown at once.
const SHOWN: usize = 50;

#[component]
pub fn ReportView(#[prop(into)] report: Signal<Option<Report>>, counting: RwSignal<bool>) -> impl IntoView {
    move || report.get().map(|report| view! { <Findings report counting/> })
}

#[component]
fn Findings(report: Report, counting: RwSignal<bool>) -> impl IntoView {
    let i18n = use_i18n();
    let valid = report.is_valid();
    let (errors, warnings) = (report.errors, report.warnings);
    let (too_long, longest) = (report.too_long, report.context.unwrap_or_default());
    let verdict = move || match (valid, if valid { warnings } else { errors }) {
        (true, 0) => t_string!(i18n, tune.report_good).to_owned(),
        (true, 1) => t_string!(i18n, tune.report_warned_single).to_owned(),
        (true, _) => t_string!(i18n, tune.report_warned, count = format::group(warnings)),
        (false, 1) => t_string!(i18n, tune.report_bad_single).to_owned(),
        (false, _) => t_string!(i18n, tune.report_bad, count = format::group(errors)),
    };
    let format_name = move |format: Format| match format {
        Format::OpenaiChat => t_string!(i18n, tune.format_openai),
        Format::Alpaca => t_string!(i18n, tune.format_alpaca),
        Format::Sharegpt => t_string!(i18n, tune.format_sharegpt),
        Format::Preference => t_string!(i18n, tune.format_preference),
        Format::Text => t_string!(i18n, tune.format_text),
    };
    let listed = report.problems.len();
    let hidden = report.unlisted + listed.saturating_sub(SHOWN) as u64;
    view! {
        <div class="report">
            <p class="report-verdict" class:good=valid class:bad=!valid role="status">
                <Icon name=if valid { "check" } else { "warn" }/>
                {verdict}
            </p>
            {(too_long > 0)
                .then(|| {
                    let line = move || {
                        let (examples, most) = (counted::examples(i18n, too_long), u64::from(longest));
                        t_string!(i18n, tune.report_too_long, examples = examples, most = format::group(most))
                    };
                    view! { <p class="hint bad" data-too-long=too_long.to_string()>{line}</p> }
                })}
            <dl class="figures num">
                <div>
                    <dt>{t!(i18n, tune.format)}</dt>
                    <dd>{move || report.format.map_or("—", format_name)}</dd>
                </div>
                <div>
                    <dt>{t!(i18n, tune.examples)}</dt>
                    <dd>{format::group(report.examples)}</dd>
                </div>
                <div>
                    <dt>{t!(i18n, tune.size)}</dt>
                    <dd>{format::bytes(report.bytes)}</dd>
                </div>
                {report
                    .tokens
                    .clone()
                    .map(|tokens| view! { <TokenFigures tokens/> })}
                <Show when=move || counting.get()>
                    <div>
                        <dt>{t!(i18n, tune.tokens)}</dt>
                        <dd class="soft">
                            <span class="spinner" aria-hidden="true"></span>
                            {t!(i18n, tune.counting)}
                        </dd>
                    </div>
                </Show>
            </dl>
            {report.tokens.map(|tokens| view! { <Lengths tokens context=report.context/> })}
            {(!report.problems.is_empty())
                .then(|| {
                    let problems: Vec<_> = report.problems.into_iter().take(SHOWN).collect();
                    view! { <Problems problems hidden/> }
                })}
        </div>
    }
}

#[component]
fn TokenFigures(tokens: TokenStatistics) -> impl IntoView {
    let i18n = use_i18n();
    let share = tokens.trained as f64 / tokens.total.max(1) as f64 * 100.0;
    view! {
        <div>
            <dt>{t!(i18n, tune.tokens)}</dt>
            <dd>{format::group(tokens.total)}</dd>
        </div>
        <div>
            <dt>{t!(i18n, tune.trained_tokens)}</dt>
            <dd>{format!("{} ({share:.0} %)", format::group(tokens.trained))}</dd>
        </div>
        <div>
            <dt>{t!(i18n, tune.median_longest)}</dt>
            <dd>{format!("{} / {}", format::group(u64::from(tokens.median)), format::group(u64::from(tokens.max)))}</dd>
        </div>
    }
}

/// How many examples are how long.
#[component]
fn Lengths(tokens: TokenStatistics, context: Option<u32>) -> impl IntoView {
    let i18n = use_i18n();
    let most = tokens.histogram.iter().map(|bucket| bucket.examples).max().unwrap_or(1).max(1);
    let bars = tokens
        .histogram
        .iter()
        .map(|bucket| {
            let height = format!("{:.1}%", bucket.examples as f64 / most as f64 * 100.0);
            let over = context.is_some_and(|context| bucket.from > context);
            let title = format!("{}–{}: {}", bucket.from, bucket.to, bucket.examples);
            view! {
                <li class:over=over title=title>
                    <span style:height=height></span>
                    <small class="num">{bucket.from}</small>
                </li>
            }
        })
        .collect_view();
    view! {
        <figure class="lengths">
            <figcaption class="hint">{t!(i18n, tune.lengths)}</figcaption>
            <ol>{bars}</ol>
        </figure>
    }
}

/// A detail in the reader's language; none where it is the file's or a program's own words.
fn said(i18n: I18nContext<Locale>, rule: Rule, detail: &str) -> Option<String> {
    let pattern = match rule {
        Rule::TooLong => "{} tokens, {} at most",
        Rule::Duplicate => "row {}",
        Rule::NearDuplicate => "row {}, {} alike",
        _ => return None,
    };
    let found: Vec<String> = holes(detail, pattern)?.into_iter().map(str::to_owned).collect();
    let mut found = found.into_iter();
    let first = found.next()?;
    Some(match (rule, found.next()) {
        (Rule::TooLong, Some(most)) => t_string!(i18n, tune.detail_too_long, longest = first, most = most),
        (Rule::NearDuplicate, Some(alike)) => t_string!(i18n, tune.detail_alike, row = first, alike = alike),
        (Rule::Duplicate, None) => t_string!(i18n, tune.row_number, row = first),
        _ => return None,
    })
}

#[component]
fn Problems(problems: Vec<Problem>, hidden: u64) -> impl IntoView {
    let i18n = use_i18n();
    let rows = problems
        .into_iter()
        .map(|problem| {
            let rule = problem.rule;
            let text = move || {
                rule.text(match i18n.get_locale() {
                    Locale::en => Lang::En,
                    Locale::zh => Lang::Zh,
                })
            };
            let bad = problem.severity == Severity::Error;
            let row = if problem.row == 0 { "—".to_owned() } else { problem.row.to_string() };
            view! {
                <tr>
                    <td class="num">{row}</td>
                    <td>{(!problem.field.is_empty()).then(|| view! { <code>{problem.field}</code> })}</td>
                    <td>
                        <span class="badge" class:bad=bad class:warn=!bad>{rule.id()}</span>
                    </td>
                    <td>
                        {move || text().message}
                        {problem
                            .detail
                            .map(|detail| {
                                let words = move || said(i18n, rule, &detail).unwrap_or_else(|| detail.clone());
                                view! { <small class="mono">{words}</small> }
                            })}
                    </td>
                    <td>{move || text().fix}</td>
                </tr>
            }
        })
        .collect_view();
    view! {
        <div class="problems" tabindex="0" role="region" aria-label=move || t_string!(i18n, tune.problems)>
            <table>
                <thead>
                    <tr>
                        <th>{t!(i18n, tune.row)}</th>
                        <th>{t!(i18n, tune.field)}</th>
                        <th>{t!(i18n, tune.rule)}</th>
                        <th>{t!(i18n, tune.what)}</th>
                        <th>{t!(i18n, tune.fix)}</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
            {(hidden > 0)
                .then(|| view! { <p class="hint">{t!(i18n, tune.more_problems, count = hidden)}</p> })}
        </div>
    }
}
