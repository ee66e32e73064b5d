//! The numbers that made the cell in hand: the products of a score, the softmax's numerator and denominator, the mixed
//! values. Every sum is recomputed here from the model's own vectors and stands beside the model's own result.

use leptos::prelude::*;

use super::forward::{Cell, Dot, Forward, Head, Step, Term};
use super::session::use_session;
use super::steps::name;
use super::{figure, percent, visible};
use crate::app::i18n::{t, t_string, use_i18n};

/// Rows of the tables.
const LARGEST: usize = 6;

#[component]
pub fn Inspector() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let body = move || {
        let forward = session.forward()?;
        let (step, cell) = session.active();
        let at = session.at.get();
        let picture = forward.picture(at, step);
        if cell.row >= picture.rows || cell.col >= picture.cols {
            return None;
        }
        let here = Here { forward: &forward, at, step, cell };
        Some(view! {
            <p class="numbers-step">
                <span class="badge ember">{name(i18n, step)}</span>
                <span class="numbers-words">{here.words()}</span>
            </p>
            {match step {
                Step::Queries | Step::Keys | Step::Values => here.vector().into_any(),
                Step::Scores => here.score().into_any(),
                Step::Mask => here.mask().into_any(),
                Step::Weights => here.softmax().into_any(),
                Step::Output => here.output().into_any(),
            }}
        })
    };
    view! {
        <div id="numbers" class="numbers" aria-live="polite" aria-label=move || t_string!(i18n, lab.inspect_title)>
            {body}
        </div>
    }
}

/// A cell and the pass it is in.
#[derive(Clone, Copy)]
struct Here<'a> {
    forward: &'a Forward,
    at: Head,
    step: Step,
    cell: Cell,
}

impl Here<'_> {
    fn token(&self, index: usize) -> String {
        self.forward.tokens().get(index).map_or_else(String::new, |token| visible(&token.text))
    }

    fn value(&self) -> f32 {
        self.forward.picture(self.at, self.step).at(self.cell.row, self.cell.col)
    }

    /// Which tokens the cell is about.
    fn words(&self) -> String {
        let i18n = use_i18n();
        let Cell { row, col } = self.cell;
        if !self.step.is_square() {
            return t_string!(i18n, lab.one_token, token = self.token(row), dim = col);
        }
        if row == col {
            return t_string!(i18n, lab.same_token, token = self.token(row));
        }
        t_string!(i18n, lab.pair, query = self.token(row), key = self.token(col))
    }

    fn vector(&self) -> impl IntoView + use<> {
        let i18n = use_i18n();
        let vector = self.forward.picture(self.at, self.step).row(self.cell.row).to_vec();
        let norm = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let rotated = self.step != Step::Values && self.forward.facts.position == "rope";
        let position = self.cell.row;
        let symbol = match self.step {
            Step::Queries => "q",
            Step::Keys => "k",
            _ => "v",
        };
        let dim = self.cell.col;
        view! {
            <Formula said=format!("{symbol}[{dim}]") right=figure(f64::from(self.value()))>
                <msub>
                    <mi>{symbol}</mi>
                    <mn>{dim}</mn>
                </msub>
            </Formula>
            {rotated
                .then(|| view! { <p class="hint">{t_string!(i18n, lab.rotated, position = position)}</p> })}
            <p class="numbers-head">{t_string!(i18n, lab.vector, size = vector.len())}</p>
            <Bars values=vector lit=dim/>
            <p class="hint num">"‖" {symbol} "‖ · " {t!(i18n, lab.norm)} " " {figure(norm)}</p>
        }
    }

    fn score(&self) -> impl IntoView + use<> {
        let i18n = use_i18n();
        let dot = self.forward.dot(self.at, self.cell.row, self.cell.col);
        let size = self.forward.facts.head_dim;
        let scaled = dot.sum * f64::from(dot.scale);
        let sum = figure(dot.sum);
        view! {
            <Formula said="q · k" right=sum.clone()>
                <mi>"q"</mi>
                <mo>"·"</mo>
                <mi>"k"</mi>
            </Formula>
            <Formula said=format!("{sum} ÷ √{size}") right=figure(scaled) strong=true>
                <mfrac>
                    <mn>{sum}</mn>
                    <msqrt>
                        <mn>{size}</mn>
                    </msqrt>
                </mfrac>
            </Formula>
            <ModelSays value=f64::from(dot.computed)/>
            <p class="numbers-head">
                {t_string!(i18n, lab.dot_terms, size = size, sum = figure(dot.sum))}
            </p>
            <Bars values=dot.terms.iter().map(|term| term.product).collect()/>
            {self.terms(&dot, ["q", "k"])}
        }
    }

    fn mask(&self) -> impl IntoView + use<> {
        let i18n = use_i18n();
        let Cell { row, col } = self.cell;
        let score = figure(f64::from(self.value()));
        let later = col > row;
        let words = if later {
            t_string!(i18n, lab.masked, key = self.token(col))
        } else {
            t_string!(i18n, lab.unmasked, key = self.token(col), query = self.token(row))
        };
        view! {
            <Formula
                said=score.clone()
                right=if later { "−∞".to_owned() } else { score.clone() }
                sign="→"
                strong=true
            >
                <mn>{score}</mn>
            </Formula>
            <p class="soft">{words}</p>
        }
    }

    fn softmax(&self) -> impl IntoView + use<> {
        let i18n = use_i18n();
        let Cell { row, col } = self.cell;
        if col > row {
            return view! { <p class="soft">{t_string!(i18n, lab.masked, key = self.token(col))}</p> }.into_any();
        }
        let softmax = self.forward.softmax(self.at, row);
        let score = f64::from(self.forward.picture(self.at, Step::Scores).at(row, col));
        let numerator = softmax.numerators[col];
        let weight = numerator / softmax.denominator;
        let shares: Vec<f32> = softmax.computed[..=row].to_vec();
        let (score, max) = (figure(score), figure(f64::from(softmax.max)));
        let (above, below) = (figure(numerator), figure(softmax.denominator));
        view! {
            <Formula
                said=format!("e^({score} − {max})")
                right=above.clone()
                note=t_string!(i18n, lab.numerator).to_owned()
            >
                <msup>
                    <mi>"e"</mi>
                    <mrow>
                        <mn>{score}</mn>
                        <mo>"−"</mo>
                        <mn>{max}</mn>
                    </mrow>
                </msup>
            </Formula>
            <Formula
                said="Σ e^(s − max)"
                right=below.clone()
                note=t_string!(i18n, lab.denominator, count = row + 1)
            >
                <munder>
                    <mo>"∑"</mo>
                    <mi>"j"</mi>
                </munder>
                <msup>
                    <mi>"e"</mi>
                    <mrow>
                        <msub>
                            <mi>"s"</mi>
                            <mi>"j"</mi>
                        </msub>
                        <mo>"−"</mo>
                        <mi>"max"</mi>
                    </mrow>
                </msup>
            </Formula>
            <Formula
                said=format!("{above} ÷ {below}")
                right=percent(weight)
                note=t_string!(i18n, lab.weight).to_owned()
                strong=true
            >
                <mfrac>
                    <mn>{above}</mn>
                    <mn>{below}</mn>
                </mfrac>
            </Formula>
            <ModelSays value=f64::from(softmax.computed[col])/>
            <p class="numbers-head">{t_string!(i18n, lab.row_weights, query = self.token(row))}</p>
            <Bars values=shares lit=col/>
        }
        .into_any()
    }

    fn output(&self) -> impl IntoView + use<> {
        let i18n = use_i18n();
        let dim = self.cell.col;
        let mix = self.forward.mix(self.at, self.cell.row, dim);
        view! {
            <Formula said=format!("Σ w · v[{dim}]") right=figure(mix.sum) strong=true>
                <munder>
                    <mo>"∑"</mo>
                    <mi>"j"</mi>
                </munder>
                <msub>
                    <mi>"w"</mi>
                    <mi>"j"</mi>
                </msub>
                <mo>"·"</mo>
                <msub>
                    <mi>"v"</mi>
                    <mrow>
                        <mi>"j"</mi>
                        <mo>","</mo>
                        <mn>{dim}</mn>
                    </mrow>
                </msub>
            </Formula>
            <ModelSays value=f64::from(mix.computed)/>
            <p class="numbers-head">{t!(i18n, lab.mix)}</p>
            <Bars values=mix.terms.iter().map(|term| term.product).collect()/>
            {self.terms(&mix, ["w", "v"])}
        }
    }

    /// The products that weigh most.
    fn terms(&self, dot: &Dot, factors: [&'static str; 2]) -> impl IntoView + use<> {
        let i18n = use_i18n();
        let by_token = self.step == Step::Output;
        let rows: Vec<(String, Term)> = dot
            .largest(LARGEST)
            .into_iter()
            .map(|term| {
                let label = if by_token { self.token(term.index) } else { term.index.to_string() };
                (label, term)
            })
            .collect();
        view! {
            <table class="terms num">
                <caption>{t!(i18n, lab.largest)}</caption>
                <thead>
                    <tr>
                        <th scope="col">
                            {if by_token { t_string!(i18n, lab.token) } else { t_string!(i18n, lab.dim) }}
                        </th>
                        <th scope="col">{factors[0]}</th>
                        <th scope="col">{factors[1]}</th>
                        <th scope="col">{t!(i18n, lab.product)}</th>
                    </tr>
                </thead>
                <tbody>
                    {rows
                        .into_iter()
                        .map(|(label, term)| {
                            view! {
                                <tr>
                                    <th scope="row">{label}</th>
                                    <td>{figure(f64::from(term.left))}</td>
                                    <td>{figure(f64::from(term.right))}</td>
                                    <td>{figure(f64::from(term.product))}</td>
                                </tr>
                            }
                        })
                        .collect_view()}
                </tbody>
            </table>
        }
    }
}

/// `left = right`, and what it is. The left side are the children, in MathML.
#[component]
fn Formula(
    /// The left side on one line: a fraction or a root is no text that could be read aloud.
    #[prop(into)]
    said: String,
    right: String,
    #[prop(default = "=")] sign: &'static str,
    #[prop(default = false)] strong: bool,
    #[prop(optional)] note: Option<String>,
    children: Children,
) -> impl IntoView {
    view! {
        <p class="formula num" class:strong=strong>
            <math class="formula-left" displaystyle="true" aria-label=said>
                {children()}
            </math>
            <span class="formula-sign">{sign}</span>
            <span class="formula-right">{right}</span>
            {note.map(|note| view! { <span class="formula-note hint">{note}</span> })}
        </p>
    }
}

#[component]
fn ModelSays(value: f64) -> impl IntoView {
    let i18n = use_i18n();
    view! { <p class="hint num">{t_string!(i18n, lab.model_says, value = figure(value))}</p> }
}

/// Numbers as bars around zero, as wide as their box.
#[component]
fn Bars(values: Vec<f32>, #[prop(optional)] lit: Option<usize>) -> impl IntoView {
    let high = values.iter().copied().fold(0.0_f32, f32::max);
    let low = values.iter().copied().fold(0.0_f32, f32::min);
    let span = (high - low).max(f32::MIN_POSITIVE);
    let count = values.len().max(1) as f32;
    let bars = values.into_iter().enumerate().map(|(index, value)| {
        let top = (high - value.max(0.0)) / span * 100.0;
        let height = value.abs() / span * 100.0;
        let lit = lit.is_none_or(|lit| lit == index);
        view! {
            <rect
                x=index as f32 / count * 100.0
                y=top
                width=0.82 / count * 100.0
                height=height.max(0.4)
                class=if value < 0.0 { "below" } else { "above" }
                class:dim=!lit
            >
                <title>{format!("{index}: {}", figure(f64::from(value)))}</title>
            </rect>
        }
    });
    view! {
        <svg class="bars" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
            {bars.collect_view()}
        </svg>
    }
}
