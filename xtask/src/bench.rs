//! `cargo xtask bench NAME`: set-up for the benches, then `tests/benches/NAME`.

use anyhow::{Result, bail};

use crate::paths::Paths;
use crate::setup::npm;
use crate::step::step;
use crate::{parity, server, setup};

/// Runs the bench `NAME`; what follows goes to it.
pub fn run(paths: &Paths, arguments: &[String]) -> Result<()> {
    let Some((name, rest)) = arguments.split_first() else {
        bail!("which bench? There are: {}", names(paths).join(", "));
    };
    if !names(paths).contains(name) {
        bail!("there is no bench {name:?}, only: {}", names(paths).join(", "));
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
    let executable = paths.target.join("release").join(format!("{binary}{}", std::env::consts::EXE_SUFFIX));
    let status = paths
        .command(executable)
        .env("HEARTH_PROGRAM", program)
        .env("RUST_LIB_BACKTRACE", "0")
        .env("HEARTH_PYTHON", paths.python("parity"))
        .args(rest)
        .status()?;
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
