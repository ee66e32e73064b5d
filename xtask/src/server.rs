//! `cargo xtask up`: the page beside the program, the program with the page, run.

use std::path::PathBuf;

use anyhow::Result;

use crate::paths::Paths;
use crate::step::{side_by_side, step};
use crate::{page, setup};

/// Builds everything that `hearth serve` needs; gives the path of the program.
pub fn build(paths: &Paths) -> Result<PathBuf> {
    side_by_side(
        || {
            setup::for_page(paths)?;
            page::build(paths, false)
        },
        || program(paths, "hearth, its parts"),
    )?;
    program(paths, "hearth with the page")?;
    let name = format!("hearth{}", std::env::consts::EXE_SUFFIX);
    Ok(paths.target.join("release").join(name))
}

fn program(paths: &Paths, name: &str) -> Result<()> {
    step(paths, name, "read the compiler's message above", |step| {
        step.run(paths.cargo_native("build").args(["--release", "--bin", "hearth"]))
    })
}

/// Builds and runs `hearth serve`, which prints its address.
pub fn up(paths: &Paths, arguments: &[String]) -> Result<()> {
    let program = build(paths)?;
    let mut command = paths.command(&program);
    // The person's own folder, so that relative paths in the arguments mean what they say.
    command.current_dir(std::env::current_dir()?);
    command.env_remove("CARGO_TARGET_DIR");
    command.arg("serve").args(arguments);
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        Err(command.exec().into())
    }
    #[cfg(not(unix))]
    {
        let status = command.status()?;
        anyhow::ensure!(status.success(), "hearth serve ended with {status}");
        Ok(())
    }
}
