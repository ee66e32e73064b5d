//! What a fresh machine lacks, installed once. Every function finds out in milliseconds that it has nothing to do.

mod chromium;
mod models;
pub mod npm;
pub mod python;
mod tools;
mod wasm;

use anyhow::Result;

use crate::paths::Paths;

/// What building the page and the server needs.
pub fn for_page(paths: &Paths) -> Result<()> {
    wasm::ensure(paths)?;
    tools::ensure(paths)
}

/// What the tests need beside it.
pub fn for_tests(paths: &Paths) -> Result<()> {
    chromium::ensure(paths)?;
    python::ensure_api(paths)?;
    npm::axe(paths)?;
    models::ensure(paths)
}

/// SmolLM2 and the text it is measured on, also for `parity` and `bench`.
pub fn models(paths: &Paths) -> Result<()> {
    python::ensure_api(paths)?;
    models::ensure(paths)
}
