//! `hearth model`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use hearth_shared::api::models::PullState;
use indicatif::{ProgressBar, ProgressStyle};

use super::progress::Progress;
use super::{export, prune};
use crate::config::Config;
use crate::db::Db;
use crate::registry::pull::{self, Pulls};
use crate::registry::{Registry, import};

#[derive(Subcommand, Debug)]
pub(super) enum ModelCommand {
    /// Download a known model
    Pull {
        /// For example smollm2-135m
        name: String,
    },
    /// Take in a Hugging Face folder or a GGUF file
    Import {
        path: PathBuf,
        /// What it will be called
        #[arg(long)]
        name: String,
    },
    /// Write a model for other programs; it is read back and compared before it stands there
    Export(export::ExportArguments),
    /// Set a model's least weights to zero, or take out feed-forward units; losses are measured before and after
    Prune(prune::PruneArguments),
    /// Show the models that are here
    List,
    /// Remove a model
    #[command(alias = "rm")]
    Remove { name: String },
}

pub(super) async fn run(config: &Config, command: ModelCommand) -> Result<()> {
    let db = Db::open(&config.data_dir).await?;
    let registry = Registry::new(db, &config.data_dir);
    match command {
        ModelCommand::Pull { name } => fetch(config, registry, &name).await,
        ModelCommand::Import { path, name } => {
            let entry = import::import(&registry, &path, &name).await?;
            println!("{}: {} parameters, context {}", entry.id, entry.parameters, entry.context);
            Ok(())
        }
        ModelCommand::Export(arguments) => export::run(config, &registry, &arguments).await,
        ModelCommand::Prune(arguments) => prune::run(config, &registry, &arguments).await,
        ModelCommand::List => {
            import::nano(&registry).await?;
            for entry in registry.list().await? {
                let megabytes = entry.bytes as f64 / 1e6;
                println!("{:<40} {:>10.1} MB  {:<12} {}", entry.id, megabytes, entry.format, entry.architecture);
            }
            Ok(())
        }
        ModelCommand::Remove { name } => match registry.remove(&name).await? {
            None => registry.named(&name).await.map(|_| ()),
            Some(Err(tuned)) => bail!("`{name}` is the base of {}: remove those first", tuned.join(", ")),
            Some(Ok(())) => {
                println!("removed {name}");
                Ok(())
            }
        },
    }
}

async fn fetch(config: &Config, registry: Registry, name: &str) -> Result<()> {
    let names: Vec<_> = pull::CATALOGUE.iter().map(|known| known.name).collect();
    let known = pull::known(name).with_context(|| format!("`{name}` is not known; there is: {}", names.join(", ")))?;
    if registry.get(name).await?.is_some() {
        println!("{name} is here already; `hearth model remove {name}` makes room for a fresh copy");
        return Ok(());
    }
    let pulls = Pulls::new(registry, &config.data_dir);
    pulls.start(known);
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {msg}")?);
    let bar = Progress::new(bar);
    let measured = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")?;
    loop {
        let state = pulls.get(name).context("the download is known")?;
        if let Some(total) = state.bytes_total.filter(|_| bar.length().is_none()) {
            bar.set_length(total);
            bar.set_style(measured.clone());
        }
        bar.tick();
        bar.set_position(state.bytes_done);
        let stage = format!("{:?}", state.state).to_lowercase();
        if !state.state.ended() {
            bar.plain_bytes(&stage);
        }
        bar.set_message(stage);
        match state.state {
            PullState::Succeeded => {
                bar.finish_and_clear();
                let folder = config.data_dir.display();
                println!("{name} is here; try `hearth chat --model {name} --data-dir {folder}`");
                return Ok(());
            }
            PullState::Failed => {
                bar.abandon();
                bail!("{}", state.error.unwrap_or_default());
            }
            PullState::Cancelled => bail!("cancelled; nothing was kept"),
            _ => {}
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            _ = tokio::signal::ctrl_c() => {
                pulls.cancel(name).await;
            }
        }
    }
}
