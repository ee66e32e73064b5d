//! Virtual environments for the official client (`cargo xtask test`) and for the reference implementations
//! (`cargo xtask parity`). Hearth itself needs no Python.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::build_id::hex;
use crate::paths::{Paths, which};
use crate::step::step;
use sha2::{Digest, Sha256};

const HINT: &str = "install Python 3.10 or newer with its venv module (Debian: `apt-get install python3-venv`) and see that pip \
    reaches its package index, then run the command again";

/// The environment with the `openai` client: `<cache>/py`.
pub fn ensure_api(paths: &Paths) -> Result<()> {
    ensure(paths, "py", &paths.root.join("tests/api/requirements.txt"), &[])
}

/// An environment `<cache>/<name>` that holds exactly the packages of a requirements file.
pub fn ensure(paths: &Paths, name: &str, requirements: &Path, options: &[&str]) -> Result<()> {
    step(paths, &format!("Python environment {name}"), HINT, |step| {
        let wanted =
            fs::read_to_string(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
        let venv = paths.cache.join(name);
        let stamp = venv.join("hearth-stamp.txt");
        let state = hex(&Sha256::digest(wanted.as_bytes()));
        let python = paths.python(name);
        if python.exists() && fs::read_to_string(&stamp).is_ok_and(|text| text == state) {
            step.unchanged();
            return Ok(());
        }
        if !python.exists() {
            let system = which(paths, &["python3", "python"]).context("python3 is not on PATH")?;
            step.run(paths.command(system).args(["-m", "venv"]).arg(&venv))?;
        }
        step.run(
            paths
                .command(&python)
                .args(["-m", "pip", "install", "--disable-pip-version-check"])
                .args(options)
                .arg("-r")
                .arg(requirements),
        )?;
        fs::write(&stamp, state)?;
        Ok(())
    })
}
