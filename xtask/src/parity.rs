//! `cargo xtask parity`: the golden files are what today's reference implementations give, and they load what we export.
//!
//! Conventions of `tests/golden`: `make_*.py OUT` writes golden files into a folder, under the names they have in
//! `tests/golden`; `make_NAME.mjs GGUF OUT/NAME.json` does so with llama.cpp under Node; `check_*.py IN` and, with llama.cpp,
//! `check_*.mjs IN` load what the ignored tests `parity_export*` wrote there and compare.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::golden as compare;
use crate::paths::Paths;
use crate::setup;
use crate::setup::{npm, python};
use crate::step::step;

const HINT: &str = "a reference implementation has changed, or a golden file was edited by hand: look at the difference, and copy \
    the new file into tests/golden only when it is understood";

/// Version of the npm package that carries llama.cpp.
const LLAMA_CPP: &str = "3.22.1";

/// Everything, in order.
pub fn run(paths: &Paths) -> Result<()> {
    setup::models(paths)?;
    environment(paths)?;
    let golden = paths.root.join("tests/golden");
    let scratch = paths.target.join("parity");
    let _ = fs::remove_dir_all(&scratch);
    let llama = llama_cpp(paths)?;
    for script in scripts(&golden, "make_")? {
        let out = scratch.join(file_name(&script));
        fs::create_dir_all(&out)?;
        let command = if for_node(&script) {
            with_llama_cpp(paths, &llama, &script, &out)
        } else {
            let mut command = reference(paths, &script);
            command.arg(&out);
            command
        };
        regenerate(paths, &golden, (&script, &out), command)?;
    }
    let exported = scratch.join("export");
    fs::create_dir_all(&exported)?;
    let hint = "our side failed to write its exports: run the test `parity_export` alone";
    step(paths, "export for the references", hint, |step| {
        step.run(
            paths
                .cargo_native("test")
                .env("HEARTH_PARITY_OUT", &exported)
                .args(["--release", "--test", "parity"])
                .args(["--", "--ignored", "parity_export"]),
        )
    })?;
    for script in scripts(&golden, "check_")? {
        let name = file_name(&script);
        step(paths, &name, "our export differs from what the reference makes of it", |step| {
            let mut command = if for_node(&script) { node(paths, &llama, &script) } else { reference(paths, &script) };
            step.run(command.arg(&exported))
        })?;
    }
    println!("parity: every golden file is unchanged, every export loads");
    Ok(())
}

/// torch, transformers, PEFT and gguf in `<cache>/parity`, and for a bench what writes ONNX.
pub fn environment(paths: &Paths) -> Result<()> {
    python::ensure(paths, "parity", &paths.root.join("tests/golden/requirements.txt"), &[])
}

/// A script under the Python that has the reference implementations, without a way to a hub.
fn reference(paths: &Paths, script: &Path) -> Command {
    let mut command = paths.command(paths.python("parity"));
    command.env("HF_HUB_OFFLINE", "1").env("PYTHONDONTWRITEBYTECODE", "1").arg(script);
    command
}

/// Node's binding of llama.cpp, prebuilt, in a folder of its own.
pub fn llama_cpp(paths: &Paths) -> Result<PathBuf> {
    let folder = paths.tools().join("llama");
    let hint = "install Node.js with npm, and see that npm reaches its registry";
    step(paths, "llama.cpp for Node", hint, |step| {
        if folder.join("node_modules/node-llama-cpp").is_dir() {
            step.unchanged();
            return Ok(());
        }
        let platform = match (std::env::consts::OS, std::env::consts::ARCH) {
            ("macos", "aarch64") => "mac-arm64-metal",
            ("macos", _) => "mac-x64",
            ("windows", _) => "win-x64",
            (_, "aarch64") => "linux-arm64",
            _ => "linux-x64",
        };
        let packages = [format!("node-llama-cpp@{LLAMA_CPP}"), format!("@node-llama-cpp/{platform}@{LLAMA_CPP}")];
        npm::install(paths, step, &folder, &packages)
    })?;
    Ok(folder)
}

fn for_node(script: &Path) -> bool {
    script.extension().is_some_and(|extension| extension == "mjs")
}

/// A script under Node where llama.cpp is installed.
fn node(paths: &Paths, llama: &Path, script: &Path) -> Command {
    let mut command = paths.command("node");
    command.current_dir(llama).arg(script);
    command
}

fn with_llama_cpp(paths: &Paths, llama: &Path, script: &Path, out: &Path) -> Command {
    let name = file_name(script);
    let golden = name.trim_start_matches("make_").replace(".mjs", ".json");
    let mut command = node(paths, llama, script);
    command.arg(paths.models().join("SmolLM2-135M-Instruct.Q4_1.gguf")).arg(out.join(golden));
    command
}

/// Runs a script that makes golden files; every file it makes must say what the committed one says.
fn regenerate(paths: &Paths, golden: &Path, (script, out): (&Path, &Path), mut command: Command) -> Result<()> {
    let name = file_name(script);
    step(paths, &name, HINT, |step| {
        step.run(&mut command)?;
        let mut made = Vec::new();
        files(out, &mut made)?;
        if made.is_empty() {
            bail!("{name} wrote no file into {}", out.display());
        }
        let mut changed = Vec::new();
        for file in &made {
            let relative = file.strip_prefix(out)?;
            let committed = golden.join(relative);
            let made = fs::read(file)?;
            if !fs::read(&committed).is_ok_and(|committed| compare::same(file, &committed, &made)) {
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
            name.starts_with(prefix) && (name.ends_with(".py") || name.ends_with(".mjs"))
        })
        .collect();
    found.sort();
    if found.is_empty() {
        bail!("{} holds no {prefix}*", golden.display());
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
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
