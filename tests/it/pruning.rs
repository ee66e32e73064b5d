//! `hearth model prune`: what is written has as many zeros, or units less, as was asked for; and what is refused.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use hearth::registry::NANO;
use hearth_model::bundle::ModelBundle;
use hearth_model::export::TEXT;
use hearth_model::projection::ParamRef;
use hearth_tests::places;

use crate::exporting::{done, load, refused};

/// Of the short runs here.
const WINDOWS: [&str; 4] = ["--windows", "2", "--length", "64"];

fn arguments<'a>(out: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    ["model", "prune", NANO, "--out", out].into_iter().chain(rest.iter().copied()).collect()
}

fn place(path: &Path) -> Result<&str> {
    path.to_str().context("a plain path")
}

/// The losses before and after that a table shows.
fn losses(table: &str) -> Result<[f64; 2]> {
    let row = table.lines().find(|line| line.starts_with("loss (")).context("a row of losses")?;
    let mut numbers = row.split_whitespace().rev();
    let mut number = || anyhow::Ok(numbers.next().context("a loss")?.parse::<f64>()?);
    let after = number()?;
    Ok([number()?, after])
}

#[test]
fn half_of_every_row_or_a_quarter_of_the_units_goes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (data, sparse) = (folder.path().join("data"), folder.path().join("sparse"));
    let table = done(&data, &arguments(place(&sparse)?, &WINDOWS))?;
    let [before, after] = losses(&table)?;
    ensure!(table.contains("50.0 %") && before < after, "{table}");
    let nano = load(&places::nano())?;
    let written = load(&sparse)?;
    for (path, projection) in written.transformer.projections() {
        let inputs = projection.shape()[1];
        let weight = ParamRef::Matrix(&projection.weight).to_vec();
        let zeros = |row: &[f32]| row.iter().filter(|x| **x == 0.0).count();
        ensure!(weight.chunks(inputs).all(|row| zeros(row) == inputs / 2), "{path}");
    }
    let embedding = |bundle: &ModelBundle| ParamRef::Matrix(&bundle.transformer.embed).to_vec();
    ensure!(embedding(&written) == embedding(&nano), "embeddings are spared");
    done(&data, &["model", "import", place(&sparse)?, "--name", "sparse"])?;

    let (smaller, text) = (folder.path().join("smaller"), folder.path().join("mine.txt"));
    std::fs::write(&text, TEXT.repeat(2))?;
    let units = ["--pattern", "units", "--share", "0.25", "--dtype", "f16", "--text", place(&text)?];
    let table = done(&data, &arguments(place(&smaller)?, &[&WINDOWS[..], &units].concat()))?;
    let written = load(&smaller)?;
    ensure!(written.config.ffn_dim == nano.config.ffn_dim - nano.config.ffn_dim / 4, "{:?}", written.config);
    ensure!(table.contains(&written.config.parameters().to_string()), "{table}");
    Ok(())
}

#[test]
fn what_cannot_be_pruned_is_refused_and_leaves_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (data, out, text) = (folder.path().join("data"), folder.path().join("out"), folder.path().join("short.txt"));
    std::fs::write(&text, "Too short.")?;
    let short = ["--text", place(&text)?];
    let cases: [(&[&str], &str); 7] = [
        (&["--share", "1.5"], "nearest is 0.99"),
        (&["--pattern", "4:4"], "nearest is 3:4"),
        (&["--pattern", "2:4", "--share", "0.3"], "nearest is 0.5"),
        (&["--pattern", "rows"], "rows"),
        (&["--length", "5000"], "nearest is 512"),
        (&["--dtype", "q4_0"], "not in q4_0"),
        (&short, "stretches"),
    ];
    for (rest, reason) in cases {
        let words = refused(&data, &arguments(place(&out)?, rest))?;
        ensure!(words.contains(reason), "{rest:?}: {words}");
    }
    ensure!(std::fs::read_dir(folder.path())?.count() == 2, "the data folder and the text");
    std::fs::write(&out, "mine")?;
    ensure!(refused(&data, &arguments(place(&out)?, &[]))?.contains("is there already"));
    ensure!(std::fs::read(&out)? == b"mine");
    Ok(())
}
