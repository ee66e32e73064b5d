//! Chromium, its driver and a font with Chinese, for the browser tests: from PATH, else from the system's packages.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths::{Paths, which};
use crate::step::{Step, output_of, step};

/// Names under which systems install it. `tests/src/browser.rs` looks for the same.
const BROWSERS: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const HINT: &str = "install Chromium and the chromedriver of the same version so that both are on PATH \
    (Debian and Ubuntu: `sudo apt-get install chromium chromium-driver`)";

/// Both programs on PATH, of one version.
pub fn ensure(paths: &Paths) -> Result<()> {
    step(paths, "Chromium and chromedriver", HINT, |step| {
        let mut known = found(paths);
        if known.is_none() {
            install(paths, step, &["chromium", "chromium-driver"])?;
            known = found(paths);
        } else {
            step.unchanged();
        }
        let (browser, driver) = known.context("they were installed, but are not on PATH")?;
        let (browser, driver) = (version(&browser)?, version(&driver)?);
        if browser != driver {
            bail!("Chromium is version {browser}, chromedriver {driver}: they must be the same");
        }
        Ok(())
    })?;
    font(paths)
}

fn found(paths: &Paths) -> Option<(std::path::PathBuf, std::path::PathBuf)> {
    Some((which(paths, &BROWSERS)?, which(paths, &["chromedriver"])?))
}

/// The major version: `Chromium 156.0.8078.79 built on …` → 156.
fn version(program: &Path) -> Result<u32> {
    output_of(Command::new(program).arg("--version"))
        .and_then(|text| text.split_whitespace().find_map(|word| word.split('.').next()?.parse().ok()))
        .with_context(|| format!("{} --version does not answer", program.display()))
}

/// Without it Chinese shows as boxes on the screenshots; nothing fails, so a machine may do without.
fn font(paths: &Paths) -> Result<()> {
    step(paths, "a font with Chinese", HINT, |step| {
        let listed = output_of(paths.command("fc-list").arg(":lang=zh")).unwrap_or_default();
        if !listed.is_empty() {
            step.unchanged();
        } else if let Err(error) = install(paths, step, &["fonts-noto-cjk"]) {
            step.note(format!(
                "none, Chinese will be boxes on screenshots ({})",
                error.to_string().lines().next().unwrap_or_default()
            ));
        }
        Ok(())
    })
}

fn install(paths: &Paths, step: &Step, packages: &[&str]) -> Result<()> {
    if which(paths, &["apt-get"]).is_none() {
        bail!("{} not on PATH, and this system has no apt-get", packages.join(", "));
    }
    let root = output_of(Command::new("id").arg("-u")).as_deref() == Some("0");
    let sudo = !root && output_of(Command::new("sudo").args(["-n", "true"])).is_some();
    if !root && !sudo {
        bail!("{} not on PATH, and installing packages needs root", packages.join(", "));
    }
    let apt = |arguments: &[&str]| {
        let mut command = paths.command(if root { "apt-get" } else { "sudo" });
        if !root {
            command.args(["-n", "apt-get"]);
        }
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        command
    };
    step.run(&mut apt(&["update", "-q"]))?;
    let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends"];
    arguments.extend(packages);
    step.run(&mut apt(&arguments))
}
