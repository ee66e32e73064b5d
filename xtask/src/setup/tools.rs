//! wasm-bindgen's CLI, the splitter and Trunk, each in the version the page is built with.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths::{Paths, which};
use crate::step::{output_of, step};

const TRUNK: &str = "0.21.14";
/// The first that knows the wasm-bindgen that Cargo.lock names, whose inner names it reads.
const SPLITTER: &str = "0.2.4";

/// Installs what is missing into the cache.
pub fn ensure(paths: &Paths) -> Result<()> {
    let bindgen = locked_version(paths, "wasm-bindgen")?;
    // Without --locked: the lock file in the package names a yanked crate.
    cargo_tool(paths, "wasm-bindgen", "wasm-bindgen-cli", &bindgen, &[])?;
    let binary = ["--locked", "--features", "build-binary"];
    cargo_tool(paths, "wasm-split-cli", "wasm_split_cli_support", SPLITTER, &binary)?;
    // Without TLS: it is run offline, for what it builds.
    cargo_tool(paths, "trunk", "trunk", TRUNK, &["--locked", "--no-default-features"])?;
    // All installations share it; afterwards nothing reads these hundreds of megabytes again.
    let _ = fs::remove_dir_all(paths.cache.join("tools-target"));
    Ok(())
}

/// The version of `package` in Cargo.lock: the CLI must be of the same one.
fn locked_version(paths: &Paths, package: &str) -> Result<String> {
    let lock = fs::read_to_string(paths.root.join("Cargo.lock"))?;
    let mut lines = lock.lines();
    let wanted = format!("name = \"{package}\"");
    lines
        .find(|line| *line == wanted)
        .and_then(|_| lines.next())
        .and_then(|line| line.strip_prefix("version = \""))
        .map(|rest| rest.trim_end_matches('"').to_owned())
        .with_context(|| format!("Cargo.lock does not name {package}"))
}

fn cargo_tool(paths: &Paths, program: &str, package: &str, version: &str, more: &[&str]) -> Result<()> {
    let hint = format!(
        "see that cargo reaches the crate registry, then run the command again; or put {program} {version} on PATH yourself"
    );
    step(paths, &format!("{program} {version}"), &hint, |step| {
        if installed_version(paths, program, package).as_deref() == Some(version) {
            step.unchanged();
            return Ok(());
        }
        // These tools run for seconds: a fast build of them saves more time than fast tools would.
        step.run(
            paths
                .cargo()
                .env("CARGO_TARGET_DIR", paths.cache.join("tools-target"))
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
                .env_remove("RUSTFLAGS")
                .args(["install", package, "--version", version])
                .arg("--root")
                .arg(paths.tools())
                .args(more),
        )?;
        if installed_version(paths, program, package).as_deref() != Some(version) {
            bail!("{package} {version} was installed, but {program} on PATH is another version");
        }
        Ok(())
    })
}

/// `trunk 0.21.14` → `0.21.14`. A program that does not tell is known by cargo, if it was installed here.
fn installed_version(paths: &Paths, program: &str, package: &str) -> Option<String> {
    let path = which(paths, &[program])?;
    let told = output_of(Command::new(path).arg("--version"))
        .and_then(|text| text.split_whitespace().nth(1).map(str::to_owned));
    told.or_else(|| {
        let list = output_of(paths.cargo().args(["install", "--list", "--root"]).arg(paths.tools()))?;
        let line = list.lines().find_map(|line| line.strip_prefix(package)?.strip_prefix(" v"))?;
        Some(line.trim_end_matches(':').to_owned())
    })
}
