//! Where things lie: the checkout, the cache, the shared target folder, and the environment that child processes get.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// Folders that every step uses.
pub struct Paths {
    /// The checkout.
    pub root: PathBuf,
    /// What set-up installs and downloads.
    pub cache: PathBuf,
    /// Cargo's target folder, shared by all checkouts unless `CARGO_TARGET_DIR` names another.
    pub target: PathBuf,
}

impl Paths {
    /// Finds the checkout from the manifest folder that cargo passes.
    pub fn find() -> Result<Self> {
        let manifest =
            env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("the folder of xtask has no parent")?.to_path_buf();
        let cache = match env::var_os("HEARTH_CACHE") {
            Some(folder) => std::path::absolute(folder)?,
            None => platform_cache()?.join("hearth"),
        };
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => std::path::absolute(folder)?,
            None => cache.join("target"),
        };
        Ok(Self { root, cache, target })
    }

    /// Programs that set-up installed, `bin` below it.
    pub fn tools(&self) -> PathBuf {
        self.cache.join("tools")
    }

    /// Models and texts that tests read.
    pub fn models(&self) -> PathBuf {
        self.cache.join("models")
    }

    /// The interpreter of the virtual environment `name`.
    pub fn python(&self, name: &str) -> PathBuf {
        let venv = self.cache.join(name);
        if cfg!(windows) { venv.join("Scripts").join("python.exe") } else { venv.join("bin").join("python") }
    }

    /// Where the page is built. `backend/build.rs` looks for this folder above its `OUT_DIR`.
    pub fn page(&self) -> PathBuf {
        self.target.join("hearth-page")
    }

    /// A command in the checkout with our tools first on PATH and the shared target folder.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("HEARTH_CACHE", &self.cache)
            .env("PATH", self.search_path());
        // What `cargo run` added for this program would look like a change of environment to the builds it starts.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text == "CARGO"
                || text == "OUT_DIR"
                || text.starts_with("CARGO_PKG_")
                || text.starts_with("CARGO_MANIFEST_")
                || text.starts_with("CARGO_BIN_")
                || text == "CARGO_PRIMARY_PACKAGE"
            {
                command.env_remove(&name);
            }
        }
        for name in ["LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"] {
            match env::var_os(name).and_then(|value| without_build_folders(&value)) {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// `cargo` with the same toolchain that runs this program.
    pub fn cargo(&self) -> Command {
        self.command("cargo")
    }

    /// A cargo command over every crate but the page's. Always all of them, narrowed by target (`--bin`, `--test`): cargo unifies
    /// features over the chosen packages, and another choice would build burn once more.
    pub fn cargo_native(&self, verb: &str) -> Command {
        let mut command = self.cargo();
        command.args([verb, "--workspace", "--exclude", "hearth-frontend", "--exclude", "xtask"]);
        command
    }

    fn search_path(&self) -> OsString {
        let ours = [self.tools().join("bin")];
        let theirs = env::var_os("PATH").unwrap_or_default();
        let all = ours.into_iter().chain(env::split_paths(&theirs));
        env::join_paths(all).unwrap_or(theirs)
    }
}

/// `cargo run` puts the target folder and the toolchain's libraries into the loader's path.
fn without_build_folders(value: &OsString) -> Option<OsString> {
    let kept: Vec<PathBuf> = env::split_paths(value)
        .filter(|folder| {
            let text = folder.to_string_lossy();
            !text.contains("rustlib")
                && !text.contains("/debug")
                && !text.contains("/release")
                && !text.contains(".rustup")
        })
        .collect();
    if kept.is_empty() {
        return None;
    }
    env::join_paths(kept).ok()
}

fn platform_cache() -> Result<PathBuf> {
    let home = || {
        env::var_os("HOME")
            .or_else(|| env::var_os("USERPROFILE"))
            .map(PathBuf::from)
            .context("neither HEARTH_CACHE nor HOME is set: set HEARTH_CACHE to a folder for downloads and builds")
    };
    if cfg!(windows) {
        if let Some(folder) = env::var_os("LOCALAPPDATA") {
            return Ok(PathBuf::from(folder));
        }
    } else if cfg!(target_os = "macos") {
        return Ok(home()?.join("Library").join("Caches"));
    } else if let Some(folder) = env::var_os("XDG_CACHE_HOME")
        && Path::new(&folder).is_absolute()
    {
        return Ok(PathBuf::from(folder));
    }
    Ok(home()?.join(".cache"))
}

/// The first program of these names on PATH, our own tools included.
pub fn which(paths: &Paths, names: &[&str]) -> Option<PathBuf> {
    let search = paths.search_path();
    names.iter().find_map(|name| {
        env::split_paths(&search)
            .map(|folder| folder.join(name).with_extension(env::consts::EXE_EXTENSION))
            .find(|candidate| candidate.is_file())
    })
}
