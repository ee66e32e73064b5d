//! Where tests find what set-up provided, and where they leave what a person may want to look at.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The checkout.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// `$HEARTH_CACHE`, else the platform's cache folder + `/hearth`; as `xtask/src/paths.rs` has it.
pub fn cache() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("HEARTH_CACHE") {
        return Ok(PathBuf::from(folder));
    }
    if let Some(folder) = env::var_os("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(folder).join("hearth"));
    }
    let home = PathBuf::from(env::var_os("HOME").context("neither HEARTH_CACHE nor HOME is set")?);
    Ok(if cfg!(target_os = "macos") {
        home.join("Library").join("Caches").join("hearth")
    } else {
        home.join(".cache").join("hearth")
    })
}

/// A file of `<cache>/models`, fetched by `cargo xtask test`.
pub fn model_file(name: &str) -> Result<PathBuf> {
    let path = cache()?.join("models").join(name);
    if !path.exists() {
        bail!("{} is missing: `cargo xtask setup` fetches it", path.display());
    }
    Ok(path)
}

/// SmolLM2-135M-Instruct as Q4_1 GGUF.
pub fn smollm2() -> Result<PathBuf> {
    model_file("SmolLM2-135M-Instruct.Q4_1.gguf")
}

/// axe-core's one script.
pub fn axe() -> Result<PathBuf> {
    let path = cache()?.join("tools/axe/node_modules/axe-core/axe.min.js");
    if !path.exists() {
        bail!("{} is missing: `cargo xtask setup` installs it", path.display());
    }
    Ok(path)
}

/// The model every checkout carries.
pub fn nano() -> PathBuf {
    root().join("public").join("models").join("nano")
}

/// The Python with the `openai` client.
pub fn python() -> Result<PathBuf> {
    let path = match env::var_os("HEARTH_PYTHON") {
        Some(path) => PathBuf::from(path),
        None if cfg!(windows) => cache()?.join("py").join("Scripts").join("python.exe"),
        None => cache()?.join("py").join("bin").join("python"),
    };
    if !path.exists() {
        bail!("{} is missing: `cargo xtask setup` makes it", path.display());
    }
    Ok(path)
}

/// Cargo's target folder: test binaries lie in `<target>/<profile>/deps`.
fn target() -> Result<PathBuf> {
    let this = env::current_exe()?;
    let profile = profile_folder(&this)?;
    Ok(profile.parent().context("a target folder")?.to_path_buf())
}

fn profile_folder(this: &Path) -> Result<PathBuf> {
    let folder = this.parent().context("the test binary lies in a folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().context("deps lies in a folder")? } else { folder };
    Ok(folder.to_path_buf())
}

/// The program `hearth`: `$HEARTH_PROGRAM`, else the one that cargo built for these tests.
pub fn program() -> Result<PathBuf> {
    if let Some(path) = env::var_os("HEARTH_PROGRAM") {
        return Ok(PathBuf::from(path));
    }
    let name = format!("hearth-under-test{}", env::consts::EXE_SUFFIX);
    let path = profile_folder(&env::current_exe()?)?.join(name);
    if !path.exists() {
        bail!("{} is missing: run the tests with cargo", path.display());
    }
    Ok(path)
}

/// A file in `<target>/test-output`: logs, screenshots.
pub fn output(name: &str) -> Result<PathBuf> {
    let folder = target()?.join("test-output");
    fs::create_dir_all(&folder)?;
    Ok(folder.join(name))
}

/// The running test's name, fit for a file name.
pub fn test_name() -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("main");
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}
