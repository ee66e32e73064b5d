//! `cargo xtask parity`: the golden files are what today's reference implementations give, and they load what we export.
//!
//! Conventions of `tests/golden`: `make_*.py OUT` writes golden files into a folder, under the names they have in
//! `tests/golden`; `check_*.py IN` loads what the ignored test `parity_export` wrote there and compares.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::paths::Paths;
use crate::setup;
use crate::setup::python;
use crate::step::step;

const HINT: &str = "a reference implementation has changed, or a golden file was edited by hand: look at the difference, and copy \
    the new file into tests/golden only when it is understood";

/// Everything, in order.
pub fn run(paths: &Paths) -> Result<()> {
    setup::models(paths)?;
    environment(paths)?;
    let golden = paths.root.join("tests/golden");
    let scratch = paths.target.join("parity");
    let _ = fs::remove_dir_all(&scratch);
    for script in scripts(&golden, "make_")? {
        regenerate(paths, &golden, &script, &scratch)?;
    }
    let exported = scratch.join("export");
    fs::create_dir_all(&exported)?;
    let hint = "our side failed to write its exports: run the test `parity_export` alone";
    step(paths, "export for the references", hint, |step| {
        step.run(
            paths
                .cargo()
                .env("HEARTH_PARITY_OUT", &exported)
                .args(["test", "--package", "hearth-tests", "--test", "it"])
                .args(["--", "--ignored", "parity_export"]),
        )
    })?;
    for script in scripts(&golden, "check_")? {
        let name = file_name(&script);
        step(
            paths,
            &name,
            "our export differs from what the reference makes of it",
            |step| {
                step.run(
                    paths
                        .command(paths.python("parity"))
                        .env("HF_HUB_OFFLINE", "1")
                        .arg(&script)
                        .arg(&exported),
                )
            },
        )?;
    }
    println!("parity: every golden file is unchanged, every export loads");
    Ok(())
}

/// torch, transformers, PEFT and gguf in `<cache>/parity`.
pub fn environment(paths: &Paths) -> Result<()> {
    python::ensure(
        paths,
        "parity",
        &paths.root.join("tests/golden/requirements.txt"),
        &[],
    )
}

fn regenerate(paths: &Paths, golden: &Path, script: &Path, scratch: &Path) -> Result<()> {
    let name = file_name(script);
    step(paths, &name, HINT, |step| {
        let out = scratch.join(name.trim_end_matches(".py"));
        fs::create_dir_all(&out)?;
        step.run(
            paths
                .command(paths.python("parity"))
                .env("HF_HUB_OFFLINE", "1")
                .arg(script)
                .arg(&out),
        )?;
        let mut made = Vec::new();
        files(&out, &mut made)?;
        if made.is_empty() {
            bail!("{name} wrote no file into {}", out.display());
        }
        let mut changed = Vec::new();
        for file in &made {
            let relative = file.strip_prefix(&out)?;
            let committed = golden.join(relative);
            if fs::read(&committed).ok() != Some(fs::read(file)?) {
                changed.push(relative.display().to_string());
            }
        }
        if !changed.is_empty() {
            bail!(
                "{} of {} files differ from tests/golden: {} (new ones in {})",
                changed.len(),
                made.len(),
                changed.join(", "),
                out.display()
            );
        }
        step.note(format!("{} files as committed", made.len()));
        Ok(())
    })
}

fn scripts(golden: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(golden)
        .with_context(|| format!("cannot read {}", golden.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = file_name(path);
            name.starts_with(prefix) && name.ends_with(".py")
        })
        .collect();
    found.sort();
    if found.is_empty() {
        bail!("{} holds no {prefix}*.py", golden.display());
    }
    Ok(found)
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
