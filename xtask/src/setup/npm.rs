//! Packages of the npm registry, each lot in a folder of its own below the tools.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::paths::{Paths, which};
use crate::step::{Step, step};

/// Finds what people of assistive technology would stumble over.
const AXE: &str = "axe-core";
const AXE_VERSION: &str = "4.14.1";
/// llama.cpp compiled to wasm.
const WLLAMA: &str = "@wllama/wllama";
const WLLAMA_VERSION: &str = "3.13.0";

/// The models of Hugging Face's library in a browser. It brings ONNX Runtime compiled to wasm in the version that it wants.
const TRANSFORMERS: &str = "@huggingface/transformers";
const TRANSFORMERS_VERSION: &str = "4.3.1";

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
    one(paths, AXE, AXE_VERSION, "axe")
}

/// llama.cpp for a browser, which `bench browser` measures beside ours.
pub fn wllama(paths: &Paths) -> Result<()> {
    one(paths, WLLAMA, WLLAMA_VERSION, "wllama")
}

/// transformers.js, which `bench browser` measures beside ours.
pub fn transformers(paths: &Paths) -> Result<()> {
    one(paths, TRANSFORMERS, TRANSFORMERS_VERSION, "transformers")
}

/// One package in `folder` below the tools.
fn one(paths: &Paths, name: &str, version: &str, folder: &str) -> Result<()> {
    let folder = paths.tools().join(folder);
    step(paths, name, "install Node.js with npm, and see that npm reaches its registry", |step| {
        let manifest = folder.join("node_modules").join(name).join("package.json");
        let package = fs::read_to_string(manifest).unwrap_or_default();
        if package.contains(&format!("\"version\": \"{version}\"")) {
            step.unchanged();
            return Ok(());
        }
        install(paths, step, &folder, &[format!("{name}@{version}")])
    })
}
