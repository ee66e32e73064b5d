//! Heads in numbers: a table to sort by what each head looks at, and a drawing of how far it looks against how widely; on the text, or
//! on random tokens said twice.

use std::cmp::Ordering;

use hearth_shared::lab::inside::{HeadFacts, Measures, Statistics};
use leptos::prelude::*;

use super::looks::{Column, Looks, Source};
use super::part::Part;
use super::state::{at, use_inside};
use super::working::Working;
use crate::app::i18n::{I18nContext, Locale, t, t_string, use_i18n};
use crate::app::lab::forward::Head;
use crate::app::lab::percent;

impl Source {
    fn of(self, facts: &HeadFacts) -> Measures {
        match self {
            Self::Text => facts.text,
            Self::Random => facts.random,
        }
    }
}

impl Column {
    fn name(self, i18n: I18nContext<Locale>) -> &'static str {
        match self {
            Self::Head => t_string!(i18n, inside.column_head),
            Self::Entropy => t_string!(i18n, inside.column_entropy),
            Self::Distance => t_string!(i18n, inside.column_distance),
            Self::First => t_string!(i18n, inside.column_first),
            Self::Previous => t_string!(i18n, inside.column_previous),
            Self::Induction => t_string!(i18n, inside.column_induction),
        }
    }

    fn hint(self, i18n: I18nContext<Locale>) -> &'static str {
        match self {
            Self::Head => t_string!(i18n, inside.hint_head),
            Self::Entropy => t_string!(i18n, inside.hint_entropy),
            Self::Distance => t_string!(i18n, inside.hint_distance),
            Self::First => t_string!(i18n, inside.hint_first),
            Self::Previous => t_string!(i18n, inside.hint_previous),
            Self::Induction => t_string!(i18n, inside.hint_induction),
        }
    }

    fn value(self, facts: &HeadFacts, source: Source) -> f64 {
        let measures = source.of(facts);
        match self {
            Self::Head => 0.0,
            Self::Entropy => measures.entropy,
            Self::Distance => measures.distance,
            Self::First => measures.first,
            Self::Previous => measures.previous,
            Self::Induction => facts.induction,
        }
    }

    fn written(self, value: f64) -> String {
        match self {
            Self::Head => String::new(),
            Self::Entropy => format!("{value:.2}"),
            Self::Distance => format!("{value:.1}"),
            Self::First | Self::Previous | Self::Induction => percent(value),
        }
    }
}

/// Largest first, but heads in their order.
fn sorted(heads: &[HeadFacts], column: Column, source: Source) -> Vec<HeadFacts> {
    let mut heads = heads.to_vec();
    let by_value = |a: &HeadFacts, b: &HeadFacts| match column {
        Column::Head => Ordering::Equal,
        _ => column.value(b, source).total_cmp(&column.value(a, source)),
    };
    heads.sort_by(|a, b| by_value(a, b).then(a.at.cmp(&b.at)));
    heads
}

#[component]
pub fn StatisticsPart() -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let looks = inside.session.looks;
    let source = Memo::new(move |_| looks.get().source);
    let name = move |of| match of {
        Source::Text => t_string!(i18n, inside.on_text),
        Source::Random => t_string!(i18n, inside.on_random),
    };
    let period = move || {
        let period = inside.statistics.with(|found| found.as_ref().map(|found| found.period))?;
        Some(t_string!(i18n, inside.random_help, count = period))
    };
    view! {
        <div class="section-head">
            <h3 id="statistics-title">{t!(i18n, inside.statistics_title)}</h3>
            <div class="segments" role="group" aria-labelledby="statistics-title">
                {Source::ALL
                    .map(|of| {
                        view! {
                            <button
                                data-source=of.word()
                                aria-pressed=move || (source.get() == of).to_string()
                                on:click=move |_| looks.update(|looks: &mut Looks| looks.source = of)
                            >
                                {move || name(of)}
                            </button>
                        }
                    })
                    .collect_view()}
            </div>
        </div>
        <p class="inside-help">{t!(i18n, inside.statistics_help)}</p>
        <Working part=Part::Statistics/>
        {move || {
            inside
                .statistics
                .get()
                .map(|found| {
                    let Statistics { heads, .. } = found;
                    view! {
                        <div class="statistics-body">
                            <Table heads=heads.clone() source/>
                            <Scatter heads source/>
                        </div>
                    }
                })
        }}
        <p class="hint">{period}</p>
    }
}

#[component]
fn Table(heads: Vec<HeadFacts>, source: Memo<Source>) -> impl IntoView {
    let i18n = use_i18n();
    let looks = use_inside().session.looks;
    let column = Memo::new(move |_| looks.get().column);
    let heads = StoredValue::new(heads);
    let rows = move || {
        let (column, source) = (column.get(), source.get());
        heads.with_value(|heads| {
            let most = Column::MEASURED.map(|measured| {
                heads.iter().map(|facts| measured.value(facts, source)).fold(f64::MIN_POSITIVE, f64::max)
            });
            let rows = sorted(heads, column, source).into_iter();
            rows.map(|facts| view! { <Row facts source most/> }).collect_view()
        })
    };
    view! {
        <div
            class="inside-scroll statistics-scroll"
            tabindex="0"
            role="region"
            aria-labelledby="statistics-title"
        >
            <table class="inside-table statistics num">
                <thead>
                    <tr>
                        <Header column of=Column::Head/>
                        {Column::MEASURED.map(|of| view! { <Header column of/> }).collect_view()}
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
        <p class="visually-hidden" aria-live="polite">
            {move || t_string!(i18n, inside.sorted_by, column = column.get().name(i18n))}
        </p>
    }
}

/// A column's name; a click sorts by it.
#[component]
fn Header(column: Memo<Column>, of: Column) -> impl IntoView {
    let i18n = use_i18n();
    let looks = use_inside().session.looks;
    let order = if of == Column::Head { "ascending" } else { "descending" };
    view! {
        <th scope="col" aria-sort=move || (column.get() == of).then_some(order)>
            <button
                class="statistics-sort"
                data-sort=of.word()
                title=move || of.hint(i18n)
                on:click=move |_| looks.update(|looks: &mut Looks| looks.column = of)
            >
                {move || of.name(i18n)}
            </button>
        </th>
    }
}

#[component]
fn Row(facts: HeadFacts, source: Source, most: [f64; 5]) -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let session = inside.session;
    let head = Head { layer: facts.at.layer as usize, head: facts.at.head as usize };
    let chosen = move || session.at.get() == head;
    let title = move || t_string!(i18n, lab.head_title, layer = head.layer + 1, head = head.head + 1);
    let cells = Column::MEASURED.into_iter().zip(most).map(|(column, most)| {
        let value = column.value(&facts, source);
        let width = format!("{:.1}%", (value / most).clamp(0.0, 1.0) * 100.0);
        view! {
            <td data-column=column.word()>
                <span class="inside-bar" aria-hidden="true"><i style:width=width></i></span>
                {column.written(value)}
            </td>
        }
    });
    view! {
        <tr class:chosen=chosen data-head=format!("{}-{}", head.layer, head.head)>
            <th scope="row">
                <button
                    class="statistics-head"
                    aria-pressed=move || chosen().to_string()
                    title=title
                    on:click=move |_| session.at.set(head)
                >
                    {format!("{}·{}", head.layer + 1, head.head + 1)}
                </button>
            </th>
            {cells.collect_view()}
        </tr>
    }
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 300.0;
/// Left, right, top, bottom.
const MARGIN: (f64, f64, f64, f64) = (44.0, 16.0, 14.0, 40.0);

/// How far a head looks, across, against how widely, up.
#[component]
fn Scatter(heads: Vec<HeadFacts>, source: Memo<Source>) -> impl IntoView {
    let i18n = use_i18n();
    let heads = StoredValue::new(heads);
    let most = Memo::new(move |_| {
        let source = source.get();
        heads.with_value(|heads| {
            let of = |column: Column| heads.iter().map(|facts| column.value(facts, source)).fold(1e-9, f64::max) * 1.06;
            (of(Column::Distance), of(Column::Entropy))
        })
    });
    let dots = move || {
        let (source, most) = (source.get(), most.get());
        heads.with_value(|heads| {
            let layers = heads.iter().map(|facts| facts.at.layer).max().unwrap_or(0).max(1);
            heads.iter().copied().map(|facts| view! { <Dot facts source most layers/> }).collect_view()
        })
    };
    let (bottom, right) = (HEIGHT - MARGIN.3, WIDTH - MARGIN.1);
    let ends = move || {
        let (far, wide) = most.get();
        view! {
            <text x=right y=bottom + 16.0 text-anchor="end">{format!("{far:.1}")}</text>
            <text x=MARGIN.0 - 6.0 y=MARGIN.2 + 10.0 text-anchor="end">{format!("{wide:.1}")}</text>
        }
    };
    view! {
        <figure class="statistics-scatter">
            <svg
                viewBox=format!("0 0 {WIDTH} {HEIGHT}")
                role="img"
                aria-label=move || t_string!(i18n, inside.scatter_label)
            >
                <line x1=MARGIN.0 x2=right y1=bottom y2=bottom></line>
                <line x1=MARGIN.0 x2=MARGIN.0 y1=MARGIN.2 y2=bottom></line>
                {ends}
                <text x=(MARGIN.0 + right) / 2.0 y=HEIGHT - 6.0 text-anchor="middle">
                    {move || t_string!(i18n, inside.scatter_across)}
                </text>
                <text x=MARGIN.0 + 8.0 y=MARGIN.2 + 10.0>{move || t_string!(i18n, inside.scatter_up)}</text>
                {dots}
            </svg>
            <figcaption class="hint">{t!(i18n, inside.scatter_help)}</figcaption>
        </figure>
    }
}

#[component]
fn Dot(
    facts: HeadFacts,
    source: Source,
    /// Distance and entropy at the ends of the axes.
    most: (f64, f64),
    layers: u32,
) -> impl IntoView {
    let i18n = use_i18n();
    let inside = use_inside();
    let session = inside.session;
    let head = Head { layer: facts.at.layer as usize, head: facts.at.head as usize };
    let measures = source.of(&facts);
    let x = MARGIN.0 + measures.distance / most.0 * (WIDTH - MARGIN.0 - MARGIN.1);
    let y = HEIGHT - MARGIN.3 - measures.entropy / most.1 * (HEIGHT - MARGIN.2 - MARGIN.3);
    // From blue in the first layer to ember in the last one.
    let depth = f64::from(facts.at.layer) / f64::from(layers) * 100.0;
    let fill = format!("color-mix(in srgb, var(--data-1) {depth:.0}%, var(--data-2))");
    let title = move || {
        t_string!(
            i18n,
            inside.scatter_dot,
            layer = head.layer + 1,
            head = head.head + 1,
            distance = format!("{:.1}", measures.distance),
            entropy = format!("{:.2}", measures.entropy)
        )
    };
    view! {
        <g
            class="scatter-dot"
            class:chosen=move || at(session.at.get()) == facts.at
            on:click=move |_| session.at.set(head)
        >
            <title>{title}</title>
            <circle class="scatter-touch" cx=x cy=y r="12"></circle>
            <circle cx=x cy=y r="5.5" style:fill=fill></circle>
        </g>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_shared::lab::inside::At;

    fn facts(head: u32, entropy: f64, induction: f64) -> HeadFacts {
        let text = Measures { entropy, ..Measures::default() };
        let random = Measures { entropy: 1.0 - entropy, ..Measures::default() };
        HeadFacts { at: At { layer: 0, head }, text, random, induction }
    }

    #[test]
    fn heads_are_sorted_largest_first_and_equals_in_their_order() {
        let heads = [facts(0, 0.25, 0.5), facts(1, 0.75, 0.1), facts(2, 0.25, 0.9)];
        let order = |column, source| sorted(&heads, column, source).iter().map(|f| f.at.head).collect::<Vec<_>>();
        assert_eq!(order(Column::Head, Source::Text), [0, 1, 2]);
        assert_eq!(order(Column::Entropy, Source::Text), [1, 0, 2]);
        assert_eq!(order(Column::Entropy, Source::Random), [0, 2, 1]);
        assert_eq!(order(Column::Induction, Source::Text), [2, 0, 1]);
    }
}
