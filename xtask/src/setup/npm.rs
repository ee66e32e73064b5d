//! Packages of the npm registry, each lot in a folder of its own below the tools.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::paths::{Paths, which};
use crate::step::{Step, step};

/// Finds what people of assistive technology would stumble over.
const AXE: &str = "axe-core";
const AXE_VERSION: &str = "4.14.1";

/// Installs packages, `name@version`, without what they would run or might like.
pub fn install(paths: &Paths, step: &Step, folder: &Path, packages: &[String]) -> Result<()> {
    let npm = which(paths, &["npm", "npm.cmd"]).context("npm is not on PATH")?;
    fs::create_dir_all(folder)?;
    step.run(
        paths
            .command(npm)
            .current_dir(folder)
            .args(["install", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--prefix"])
            .arg(folder)
            .args(packages),
    )
}

/// axe-core for the browser tests: one script, which they put into a page.
pub fn axe(paths: &Paths) -> Result<()> {
    let folder = paths.tools().join("axe");
    step(paths, AXE, "install Node.js with npm, and see that npm reaches its registry", |step| {
        let package = fs::read_to_string(folder.join("node_modules/axe-core/package.json")).unwrap_or_default();
        if package.contains(&format!("\"version\": \"{AXE_VERSION}\"")) {
            step.unchanged();
            return Ok(());
        }
        install(paths, step, &folder, &[format!("{AXE}@{AXE_VERSION}")])
    })
}
