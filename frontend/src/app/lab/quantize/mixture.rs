//! What the search came to: its numbers, the bits of every matrix by layer and kind, and a button that makes it the
//! setting.

use std::collections::BTreeSet;

use hearth_shared::lab::quantize::rise;
use leptos::prelude::*;

use super::controls::group_name;
use super::summary::change;
use super::{Mixture, use_lab};
use crate::app::format;
use crate::app::i18n::{t, t_string, use_i18n};

/// Bits by row and column.
#[derive(Debug, Default, PartialEq)]
struct Grid {
    /// Kinds of matrices, in the order they come in.
    columns: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug, PartialEq)]
struct Row {
    /// `embed`, `layers.0`, …, `head`.
    group: String,
    /// Where the group is a matrix of its own.
    whole: Option<u8>,
    /// One for each column; none where the layer has no such matrix.
    cells: Vec<Option<u8>>,
}

/// `layers.3.mlp.up_proj.weight` as `layers.3` and `mlp.up_proj`; `embed.weight` as `embed` and nothing.
fn parted(path: &str) -> (&str, &str) {
    let path = path.trim_end_matches(".weight");
    let layer = path.strip_prefix("layers.").and_then(|rest| rest.find('.'));
    layer.map_or((path, ""), |dot| {
        let (group, kind) = path.split_at("layers.".len() + dot);
        (group, &kind[1..])
    })
}

fn grid(bits: &[(String, u8)]) -> Grid {
    let mut columns: Vec<&str> = Vec::new();
    for (_, kind) in bits.iter().map(|(path, _)| parted(path)) {
        if !kind.is_empty() && !columns.contains(&kind) {
            columns.push(kind);
        }
    }
    let mut rows: Vec<Row> = Vec::new();
    for (path, bits) in bits {
        let (group, kind) = parted(path);
        if rows.last().is_none_or(|row| row.group != group) {
            rows.push(Row { group: group.to_owned(), whole: None, cells: vec![None; columns.len()] });
        }
        let Some(row) = rows.last_mut() else { continue };
        match columns.iter().position(|column| *column == kind) {
            Some(column) => row.cells[column] = Some(*bits),
            None => row.whole = Some(*bits),
        }
    }
    Grid { columns: names(&columns), rows }
}

/// `attention.q_proj` as `q`; with the half of the block that it is in where the other has one of that name.
fn names(kinds: &[&str]) -> Vec<String> {
    let plain = |kind: &str| kind.trim_end_matches("_proj").replace('.', " ");
    let short = |kind: &str| plain(kind.split_once('.').map_or(kind, |(_, name)| name));
    let distinct: BTreeSet<String> = kinds.iter().map(|kind| short(kind)).collect();
    let apart = distinct.len() == kinds.len();
    kinds.iter().map(|kind| if apart { short(kind) } else { plain(kind) }).collect()
}

/// What was found last, if anything was.
#[component]
pub fn Found() -> impl IntoView {
    let lab = use_lab();
    move || lab.mixture.get().map(|mixture| view! { <FoundOne mixture/> })
}

#[component]
fn FoundOne(mixture: Mixture) -> impl IntoView {
    let i18n = use_i18n();
    let lab = use_lab();
    let Mixture { under, bound, setting, found } = mixture;
    let stale = Memo::new(move |_| lab.setting.with(|now| now.of_search() != under) || lab.bound.get() != bound);
    let few = found.bits.iter().filter(|(_, bits)| *bits == 4).count();
    let (all, measured, exceeded) = (found.bits.len(), found.measured, found.exceeded);
    let (bytes, cost) = (format::bytes(found.bytes), change(rise(found.base.nll, found.loss.nll)));
    let line = move || {
        let (bytes, cost) = (bytes.clone(), cost.clone());
        t_string!(i18n, quantize.search_found, few = few, all = all, bytes = bytes, rise = cost, measured = measured)
    };
    let applied = {
        let setting = setting.clone();
        Memo::new(move |_| lab.setting.with(|now| now.rounds_like(&setting)))
    };
    view! {
        <p class="num" class:stale=move || stale.get() id="search-found" aria-live="polite">{line}</p>
        {exceeded.then(|| view! { <p class="notice warn">{t!(i18n, quantize.search_exceeded)}</p> })}
        <div class="quantize-run" aria-live="polite">
            <button class="button" data-action="apply" on:click=move |_| lab.apply(&setting)>
                {t!(i18n, quantize.apply)}
            </button>
            <Show when=move || applied.get()>
                <span class="badge good">{t!(i18n, quantize.applied)}</span>
            </Show>
            <Show when=move || stale.get() && !lab.is_searching()>
                <span class="badge ember">{t!(i18n, quantize.search_changed)}</span>
            </Show>
        </div>
        <div
            class="bit-map-scroll"
            class:stale=move || stale.get()
            tabindex="0"
            role="region"
            aria-label=move || t_string!(i18n, quantize.bit_map)
        >
            <BitMap bits=found.bits/>
        </div>
    }
}

#[component]
fn BitMap(bits: Vec<(String, u8)>) -> impl IntoView {
    let i18n = use_i18n();
    let Grid { columns, rows } = grid(&bits);
    let width = columns.len();
    let head = columns.into_iter().map(|name| view! { <th scope="col">{name}</th> }).collect_view();
    let cell = |bits: Option<u8>, width: usize| {
        let few = bits == Some(4);
        view! { <td colspan=width.to_string() class:few=few>{bits}</td> }
    };
    let line = |row: Row| {
        let cells = match row.whole {
            Some(bits) => vec![cell(Some(bits), width.max(1))],
            None => row.cells.into_iter().map(|bits| cell(bits, 1)).collect(),
        };
        view! {
            <tr>
                <th scope="row">{group_name(&row.group)}</th>
                {cells}
            </tr>
        }
    };
    let body = rows.into_iter().map(line).collect_view();
    view! {
        <table class="bit-map num">
            <caption>{t!(i18n, quantize.bit_map)}</caption>
            <thead>
                <tr>
                    <th scope="col">{t!(i18n, quantize.part)}</th>
                    {head}
                </tr>
            </thead>
            <tbody>{body}</tbody>
        </table>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bits: &[(&str, u8)]) -> Grid {
        grid(&bits.iter().map(|(path, bits)| ((*path).to_owned(), *bits)).collect::<Vec<_>>())
    }

    #[test]
    fn every_matrix_has_its_cell() {
        let found = of(&[
            ("embed.weight", 8),
            ("layers.0.attention.q_proj.weight", 4),
            ("layers.0.mlp.up_proj.weight", 8),
            ("layers.1.mlp.up_proj.weight", 4),
            ("head.weight", 4),
        ]);
        assert_eq!(found.columns, ["q", "up"]);
        let row = |group: &str, whole, cells: [Option<u8>; 2]| Row { group: group.into(), whole, cells: cells.into() };
        assert_eq!(
            found.rows,
            [
                row("embed", Some(8), [None, None]),
                row("layers.0", None, [Some(4), Some(8)]),
                row("layers.1", None, [None, Some(4)]),
                row("head", Some(4), [None, None]),
            ]
        );
        assert_eq!(of(&[]), Grid::default());
    }

    #[test]
    fn kinds_of_the_same_name_are_told_apart() {
        assert_eq!(names(&["attention.c_proj", "mlp.c_proj"]), ["attention c", "mlp c"]);
        assert_eq!(names(&["mlp.experts.3.up_proj", "mlp.experts.10.up_proj"]), ["experts 3 up", "experts 10 up"]);
    }
}
