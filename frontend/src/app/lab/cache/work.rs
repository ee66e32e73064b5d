//! Work: how many positions went through the layers, how many queries met a key, how many floating point operations that is; and
//! both sides as pictures of their steps.

use hearth_shared::lab::cache::Work;
use leptos::prelude::*;
use wasm_bindgen::JsCast;

use super::picture::{self, Row};
use super::run::Side;
use super::session::use_session;
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

#[component]
pub fn WorkDone() -> impl IntoView {
    let i18n = use_i18n();
    view! {
        <section class="card cache-work" aria-labelledby="work-title">
            <div class="section-head">
                <h2 id="work-title">{t!(i18n, cache.work_title)}</h2>
            </div>
            <p class="cache-help">{t!(i18n, cache.work_help)}</p>
            <Counts/>
            <ul class="chart-legend cache-legend">
                <li><i class="cell filled" aria-hidden="true"></i>{t!(i18n, cache.cell_computed)}</li>
                <li><i class="cell read" aria-hidden="true"></i>{t!(i18n, cache.cell_read)}</li>
            </ul>
            <div class="cache-sides">
                <Steps side=Side::Kept/>
                <Steps side=Side::Again/>
            </div>
            <p class="hint">{t!(i18n, cache.picture_hint)}</p>
        </section>
    }
}

/// One of the sums.
type Read = fn(&Work) -> f64;

/// The sums, beside one another.
#[component]
fn Counts() -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let sums = Memo::new(move |_| {
        session
            .run
            .with(|run| run.as_ref().map(|run| (run.work(Side::Kept), run.work(Side::Again))))
            .unwrap_or_default()
    });
    let rows: [(&str, Read); 3] = [
        ("positions", |work| work.positions as f64),
        ("pairs", |work| work.pairs as f64),
        ("flops", |work| work.flops),
    ];
    let name = move |row: &str| match row {
        "positions" => t_string!(i18n, cache.positions),
        "pairs" => t_string!(i18n, cache.pairs),
        _ => t_string!(i18n, cache.flops),
    };
    view! {
        <div class="cache-scroll">
            <table class="cache-table num">
                <thead>
                    <tr>
                        <td></td>
                        <th scope="col">{t!(i18n, cache.kept)}</th>
                        <th scope="col">{t!(i18n, cache.again)}</th>
                        <th scope="col">{t!(i18n, cache.times)}</th>
                    </tr>
                </thead>
                <tbody>
                    {rows
                        .map(|(row, read)| {
                            let kept = move || sums.with(|(kept, _)| read(kept));
                            let again = move || sums.with(|(_, again)| read(again));
                            let times = move || {
                                let kept = kept();
                                if kept > 0.0 { format!("{:.1} ×", again() / kept) } else { "–".to_owned() }
                            };
                            view! {
                                <tr data-work=row>
                                    <th scope="row">{move || name(row)}</th>
                                    <td data-value=kept>{move || format::count(kept() as u64)}</td>
                                    <td data-value=again>{move || format::count(again() as u64)}</td>
                                    <td>{times}</td>
                                </tr>
                            }
                        })
                        .collect_view()}
                </tbody>
            </table>
        </div>
    }
}

/// A side's steps as a picture.
#[component]
fn Steps(side: Side) -> impl IntoView {
    let i18n = use_i18n();
    let session = use_session();
    let rows = Memo::new(move |_| {
        session.run.with(|run| {
            let Some(run) = run else {
                return Vec::new();
            };
            let all = run.tokens(side).enumerate();
            all.map(|(step, token)| Row { computed: u64::from(token.positions), length: run.length(step) }).collect()
        })
    });
    // As large as the picture will be, so that it fills instead of growing.
    let size = Memo::new(move |_| {
        session.run.with(|run| {
            let run = run.as_ref()?;
            let count = u64::from(run.begun.count);
            Some((run.prompt() + count - 1, count))
        })
    });
    let size = move || size.get().unwrap_or((1, 1));
    let name = move || if side == Side::Kept { t_string!(i18n, cache.kept) } else { t_string!(i18n, cache.again) };
    let label = move || {
        let computed: u64 = rows.with(|rows| rows.iter().map(|row| row.computed).sum());
        t_string!(i18n, cache.picture_label, side = name(), steps = rows.with(Vec::len), computed = computed)
    };
    let prompt = move || session.run.with(|run| run.as_ref().map_or(0, |run| run.prompt()));
    let lit = move || {
        let row = session.cursor.get()? - prompt() as f64;
        (row >= 0.0 && row < rows.with(Vec::len) as f64).then(|| {
            view! { <rect class="lit" x="0" y=row width=size().0 height="1"></rect> }
        })
    };
    let point = move |event: web_sys::PointerEvent| {
        let target = event.current_target().and_then(|target| target.dyn_into::<web_sys::Element>().ok());
        if let Some(target) = target {
            let area = target.get_bounding_client_rect();
            let share = (f64::from(event.client_y()) - area.top()) / area.height().max(1.0);
            let (_, count) = size();
            let row = (share * count as f64).floor().clamp(0.0, count as f64 - 1.0);
            session.cursor.set(Some(untrack(prompt) as f64 + row));
        }
    };
    view! {
        <figure class="cache-steps">
            <figcaption class="chart-key" style=format!("--key: {}", side.colour())>{name}</figcaption>
            <svg
                class="cache-picture"
                style=move || format!("--side: {}; aspect-ratio: {} / {}", side.colour(), size().0, size().1)
                viewBox=move || format!("0 0 {} {}", size().0, size().1)
                preserveAspectRatio="none"
                role="img"
                aria-label=label
                on:pointermove=point
                on:pointerdown=point
                on:pointerleave=move |_| session.cursor.set(None)
            >
                <path class="filled" d=move || rows.with(|rows| picture::filled(rows))></path>
                <path class="lines" d=move || picture::lines(size().0, size().1)></path>
                <path class="ground" d=move || rows.with(|rows| picture::ground(rows))></path>
                <path class="outlined" d=move || rows.with(|rows| picture::outlined(rows))></path>
                {lit}
            </svg>
        </figure>
    }
}
