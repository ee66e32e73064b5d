//! `cargo xtask check-gpu`: the GPU features compile and link on a machine without a GPU.
//!
//! burn's CUDA backend links LLVM, which the build script of `tracel-llvm-bundler` downloads. Where its server cannot be
//! reached, the same libraries come from a Python package and are laid where that build script looks for them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::paths::Paths;
use crate::setup;
use crate::step::{Step, step};

/// Compiles as little as a check needs.
const PROFILE: &str = "check-gpu";
const BUNDLER: &str = "tracel-llvm-bundler";
const LLVM_PACKAGES: [&str; 2] = ["mlc-llvm-static==23.1.1.post0", "mlc-llvm-static-extra-targets==23.1.1.post0"];
const SENTINEL: &str = ".tracel-llvm-installed";
const HINT: &str = "read the compiler's message above; the CUDA feature needs LLVM's static libraries, from the server of \
    tracel-llvm-bundler or from the Python package mlc-llvm-static";

/// Both builds, one after the other.
pub fn run(paths: &Paths) -> Result<()> {
    step(paths, "hearth with feature vulkan", HINT, |step| build(paths, step, "vulkan"))?;
    with_llvm(paths, "hearth with feature cuda", |step| build(paths, step, "cuda"))?;
    println!("check-gpu: the features vulkan and cuda build and link");
    Ok(())
}

/// A step that builds with the feature `cuda`, and again when LLVM was missing and could be had.
pub fn with_llvm(paths: &Paths, name: &str, build: impl Fn(&Step) -> Result<()>) -> Result<()> {
    let mut refused = None;
    step(paths, name, HINT, |step| match build(step) {
        Err(error) if format!("{error:#}").contains(BUNDLER) => {
            step.note("LLVM is missing: from the Python package next");
            refused = Some(error);
            Ok(())
        }
        other => other,
    })?;
    if refused.is_some() {
        setup::python::ensure_api(paths)?;
        step(paths, "LLVM from its Python package", HINT, |step| install_llvm(paths, step))?;
        step(paths, &format!("{name}, again"), HINT, build)?;
    }
    Ok(())
}

fn build(paths: &Paths, step: &Step, feature: &str) -> Result<()> {
    step.run(
        paths
            .cargo_native("build")
            .args(["--profile", PROFILE, "--bin", "hearth", "--features"])
            .arg(format!("hearth/{feature}")),
    )?;
    let name = format!("hearth{}", std::env::consts::EXE_SUFFIX);
    let program = paths.target.join(PROFILE).join(&name);
    step.run(paths.command(&program).arg("--version"))?;
    let size = fs::metadata(&program)?.len();
    step.note(format!("{:.0} MB", size as f64 / 1e6));
    Ok(())
}

fn install_llvm(paths: &Paths, step: &Step) -> Result<()> {
    let folder = llvm_folder(paths)?;
    if folder.join(SENTINEL).exists() {
        step.unchanged();
        return Ok(());
    }
    let scratch = paths.cache.join("downloads").join("llvm");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch)?;
    step.run(
        paths
            .command(paths.python("py"))
            .current_dir(&scratch)
            .args(["-m", "pip", "download", "--no-deps", "--disable-pip-version-check"])
            .args(LLVM_PACKAGES),
    )?;
    for entry in fs::read_dir(&scratch)?.flatten() {
        if entry.path().extension().is_some_and(|e| e == "whl") {
            step.run(
                paths
                    .command(paths.python("py"))
                    .args(["-m", "zipfile", "-e"])
                    .arg(entry.path())
                    .arg(scratch.join("unpacked")),
            )?;
        }
    }
    let libraries = scratch.join("unpacked/mlc_llvm_static/static");
    if !libraries.is_dir() {
        bail!("the package holds no {}", libraries.display());
    }
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.parent().context("a folder with a parent")?)?;
    step.doing("laying the libraries out");
    step.run(paths.command("cp").arg("-r").arg(&libraries).arg(&folder))?;
    // Archives of Python lose the x bit, and llvm-config is run.
    step.run(paths.command("chmod").args(["-R", "u+rwX,a+rX"]).arg(&folder))?;
    mark_programs(&folder.join("bin"))?;
    fs::write(folder.join(SENTINEL), "")?;
    fs::remove_dir_all(&scratch)?;
    Ok(())
}

/// Where the build script looks: the platform's folder for local data, the bundler's own version in the name.
fn llvm_folder(paths: &Paths) -> Result<PathBuf> {
    let lock = fs::read_to_string(paths.root.join("Cargo.lock"))?;
    let version = lock
        .split("[[package]]")
        .find(|package| package.contains(&format!("name = \"{BUNDLER}\"")))
        .and_then(|package| package.split("version = \"").nth(1))
        .and_then(|rest| rest.split('"').next())
        .with_context(|| format!("Cargo.lock does not name {BUNDLER}"))?;
    let data = match std::env::var_os("XDG_DATA_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(&std::env::var_os("HOME").context("HOME is not set")?).join(".local").join("share"),
    };
    Ok(data.join("tracel").join(format!("tracel-llvm-{version}")))
}

#[cfg(unix)]
fn mark_programs(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn mark_programs(_folder: &Path) -> Result<()> {
    Ok(())
}
