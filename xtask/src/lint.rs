//! Clippy as a part of the build. As cargo's workspace wrapper this program lints each crate of ours with clippy's driver and then
//! lets rustc compile it. `cargo clippy` would read every dependency a second time, which costs a fresh machine six minutes.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

const WRAPPER: &str = "RUSTC_WORKSPACE_WRAPPER";
/// The first error that a person sees where clippy is missing.
const MISSING: &str = "cannot start clippy-driver: run `rustup component add clippy`";

/// Has `command`, a cargo or a program that starts one, lint what it compiles of ours.
pub fn linted(command: &mut Command) -> Result<&mut Command> {
    Ok(command.env(WRAPPER, std::env::current_exe().context("where is this program?")?))
}

/// Whether cargo started this program in rustc's place: then the first argument is rustc.
pub fn is_wrapped(arguments: &[OsString]) -> bool {
    arguments.first().is_some_and(|first| Path::new(first).file_stem() == Some(OsStr::new("rustc")))
}

/// Lints, then compiles; gives the exit code. A question about rustc has no crate's name and is passed on.
pub fn wrap(arguments: &[OsString]) -> Result<i32> {
    let (rustc, rest) = arguments.split_first().context("rustc is the first argument")?;
    if rest.iter().any(|argument| argument == "--crate-name") && !rest.iter().any(|argument| argument == "___") {
        let scratch = std::env::temp_dir().join(format!("xtask-lint-{}", std::process::id()));
        std::fs::create_dir_all(&scratch)?;
        let status = Command::new("clippy-driver").arg(rustc).args(lint_arguments(rest, &scratch)).status();
        let _ = std::fs::remove_dir_all(&scratch);
        let status = status.context(MISSING)?;
        if !status.success() {
            return Ok(status.code().unwrap_or(1));
        }
    }
    let status = Command::new(rustc).args(rest).status().context("cannot start rustc")?;
    Ok(status.code().unwrap_or(1))
}

/// The same compilation up to its metadata, into another folder, with every warning an error.
fn lint_arguments(arguments: &[OsString], scratch: &Path) -> Vec<OsString> {
    let mut out = Vec::with_capacity(arguments.len() + 2);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if text.starts_with("--emit=") {
            out.push("--emit=metadata".into());
        } else if let Some(kinds) = text.strip_prefix("--json=") {
            // Cargo would take the metadata's notice for the real one.
            let kept: Vec<&str> = kinds.split(',').filter(|kind| *kind != "artifacts").collect();
            out.push(format!("--json={}", kept.join(",")).into());
        } else if text == "--out-dir" {
            out.extend([argument.clone(), scratch.into()]);
            let _: Option<&OsString> = arguments.next();
        } else if text == "-C" {
            let value = arguments.next().cloned().unwrap_or_default();
            if !value.to_string_lossy().starts_with("incremental=") {
                out.extend([argument.clone(), value]);
            }
        } else {
            out.push(argument.clone());
        }
    }
    out.extend(["-D".into(), "warnings".into()]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn linting_writes_nothing_of_the_build() {
        let given = "--crate-name a src/lib.rs --json=diagnostic-short,artifacts --emit=dep-info,metadata,link -C opt-level=3 \
            --out-dir /target/deps -C incremental=/target/i --extern b=/target/deps/libb.rmeta";
        let wanted = "--crate-name a src/lib.rs --json=diagnostic-short --emit=metadata -C opt-level=3 --out-dir /scratch \
            --extern b=/target/deps/libb.rmeta -D warnings";
        assert_eq!(lint_arguments(&words(given), Path::new("/scratch")), words(wanted));
    }

    #[test]
    fn rustc_is_known_by_its_name() {
        assert!(is_wrapped(&words("/toolchain/bin/rustc -vV")));
        assert!(!is_wrapped(&words("test --only rustc")) && !is_wrapped(&[]));
    }
}
