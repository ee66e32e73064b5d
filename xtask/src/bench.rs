//! `cargo xtask bench NAME`: set-up for the benches, then `tests/benches/NAME`.

use std::process::Command;

use anyhow::{Result, bail};

use crate::paths::Paths;
use crate::setup::npm;
use crate::step::step;
use crate::{check_gpu, parity, server, setup};

/// Runs the bench `NAME`; what follows goes to it.
pub fn run(paths: &Paths, arguments: &[String]) -> Result<()> {
    let Some((name, rest)) = arguments.split_first() else {
        bail!("which bench? There are: {}", names(paths).join(", "));
    };
    if !names(paths).contains(name) {
        bail!("there is no bench {name:?}, only: {}", names(paths).join(", "));
    }
    if name == "gpu" {
        return on_card(paths, rest);
    }
    let program = server::build(paths)?;
    setup::for_tests(paths)?;
    parity::environment(paths)?;
    parity::llama_cpp(paths)?;
    npm::wllama(paths)?;
    npm::transformers(paths)?;
    let binary = format!("bench-{name}");
    let hint = "read the compiler's message above";
    step(paths, &binary, hint, |step| step.run(paths.cargo_native("build").args(["--release", "--bin", &binary])))?;
    let mut command = executable(paths, &binary);
    command.env("HEARTH_PROGRAM", program).env("HEARTH_PYTHON", paths.python("parity"));
    run_to_end(name, command.args(rest))
}

/// The bench of a CUDA card. Its peer needs a torch for that card, which the environment of `parity` may not have: `HEARTH_PYTHON` may
/// name another Python.
fn on_card(paths: &Paths, rest: &[String]) -> Result<()> {
    let build = ["--release", "--bin", "bench-gpu", "--features", "hearth-tests/cuda"];
    check_gpu::with_llvm(paths, "bench-gpu", |step| step.run(paths.cargo_native("build").args(build)))?;
    let mut command = executable(paths, "bench-gpu");
    if std::env::var_os("HEARTH_PYTHON").is_none() {
        setup::for_tests(paths)?;
        parity::environment(paths)?;
        command.env("HEARTH_PYTHON", paths.python("parity"));
    }
    run_to_end("gpu", command.args(rest))
}

fn executable(paths: &Paths, binary: &str) -> Command {
    let file = paths.target.join("release").join(format!("{binary}{}", std::env::consts::EXE_SUFFIX));
    let mut command = paths.command(file);
    command.env("RUST_LIB_BACKTRACE", "0");
    command
}

fn run_to_end(name: &str, command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if !status.success() {
        bail!("the bench {name} ended with {status}");
    }
    Ok(())
}

/// Folders of `tests/benches`.
fn names(paths: &Paths) -> Vec<String> {
    let entries = std::fs::read_dir(paths.root.join("tests/benches")).into_iter().flatten().flatten();
    let benches = entries.filter(|entry| entry.path().join("main.rs").is_file());
    let mut names: Vec<String> = benches.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
