//! The command line: what each command asks for, and where it goes.

mod chat;
mod data;
mod data_clean;
mod data_report;
mod export;
mod model;
mod packages;
mod progress;
mod prune;
mod serve;
mod texts;
mod tokenizer;
mod train;
mod train_spec;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use crate::config::{Config, ServeSettings, Settings};
use crate::db::Db;
use crate::jobs::child;
use crate::keys;

/// A workbench for language models: page, API, trainer and server in one program.
#[derive(Parser, Debug)]
#[command(name = "hearth", version, about)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Serve the page and the API
    Serve(ServeSettings),
    /// Talk to a model in the terminal
    Chat(chat::ChatArguments),
    /// Fetch, take in, export, prune, list and remove models
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Train and compare tokenizers
    #[command(subcommand)]
    Tokenizer(tokenizer::TokenizerCommand),
    /// Survey, clean and prepare texts for pretraining
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Train as a TOML file says: tune a model, or make one from nothing
    Train(train::TrainArguments),
    /// API keys, for servers that others can reach
    #[command(subcommand)]
    Key(KeyCommand),
    /// Runs one job; the server starts this itself
    #[command(hide = true)]
    Job {
        #[arg(long)]
        id: String,
        #[arg(long)]
        attempt: u32,
    },
    /// Writes a checkpoint as a model; the server starts this itself
    #[command(hide = true)]
    Checkpoint {
        #[arg(long)]
        id: String,
        #[arg(long)]
        step: u64,
        #[arg(long)]
        place: PathBuf,
    },
}

#[derive(Subcommand, Debug)]
enum KeyCommand {
    /// Make a key and show it, once
    Create {
        /// What it is for
        #[arg(long, default_value = "default")]
        name: String,
    },
    /// Show which keys there are; the keys themselves are not kept
    List,
    /// Make a key useless, at once also for a running server
    Revoke {
        /// As `hearth key list` shows it: key_…
        id: String,
    },
}

/// Parses the arguments and runs the command. `page` is the archive that a server shows, see [`crate::built_page`].
pub fn main(page: &'static [u8]) -> ExitCode {
    crate::page::install(page);
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("HEARTH_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,sqlx=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    log.with_ansi(std::io::stderr().is_terminal()).init();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hearth: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let mut settings = arguments.settings;
    match arguments.command {
        Command::Serve(serve) => {
            settings.serve = serve;
            let config = settings.decide()?;
            runtime()?.block_on(serve::serve(config))
        }
        Command::Chat(chat) => {
            let config = settings.decide()?;
            chat::chat(&runtime()?, &config, &chat)
        }
        Command::Model(command) => {
            let config = settings.decide()?;
            runtime()?.block_on(model::run(&config, command))
        }
        Command::Tokenizer(command) => {
            let config = settings.decide()?;
            runtime()?.block_on(tokenizer::run(&config, command))
        }
        Command::Data(command) => {
            let config = settings.decide()?;
            runtime()?.block_on(data::run(&config, command))
        }
        Command::Key(command) => {
            let config = settings.decide()?;
            runtime()?.block_on(key(&config, command))
        }
        // No runtime: the engine has the process to itself.
        Command::Train(arguments) => train::train(&settings.decide()?, &arguments),
        Command::Job { id, attempt } => child::run(&settings.decide()?.data_dir, &id, attempt),
        Command::Checkpoint { id, step, place } => {
            child::write_checkpoint(&settings.decide()?.data_dir, &id, step, &place)
        }
    }
}

async fn key(config: &Config, command: KeyCommand) -> Result<()> {
    let db = Db::open(&config.data_dir).await?;
    match command {
        KeyCommand::Create { name } => {
            println!("{}", keys::create(&db, &name).await?);
            eprintln!("Keep it: it cannot be shown again. Clients send it as `Authorization: Bearer KEY`.");
        }
        KeyCommand::List => {
            for key in keys::list(&db).await? {
                println!("{:<32} {} UTC  {}", key.id, key.created_at, key.name);
            }
        }
        KeyCommand::Revoke { id } => {
            if !keys::revoke(&db, &id).await? {
                bail!("there is no key `{id}`; `hearth key list` shows the ids");
            }
            println!("revoked {id}");
        }
    }
    Ok(())
}

/// Few threads: tensor work has its own, and an idle server should be small.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }
}
