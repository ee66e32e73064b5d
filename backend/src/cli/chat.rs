//! `hearth chat`: a conversation in the terminal, the model in this process.

use std::io::{BufRead as _, Write as _};
use std::ops::ControlFlow;

use anyhow::{Context as _, Result};
use hearth_model::bundle::ModelBundle;
use hearth_model::device;
use hearth_model::generate::{Generation, Step};
use hearth_shared::spec::Sampling;
use hearth_shared::text::{Message, Role};

use crate::config::Config;
use crate::db::Db;
use crate::registry::{NANO, Registry, import};

#[derive(clap::Args, Debug)]
pub(super) struct ChatArguments {
    /// The model to talk to
    #[arg(long, default_value = NANO)]
    model: String,
    /// 0 always takes the likeliest token
    #[arg(long, default_value_t = 0.7)]
    temperature: f32,
    /// The same seed gives the same answers
    #[arg(long)]
    seed: Option<u64>,
    /// Longest answer, in tokens
    #[arg(long, default_value_t = 256)]
    max_tokens: usize,
    /// Ask this one question and leave
    #[arg(long)]
    prompt: Option<String>,
}

pub(super) fn chat(runtime: &tokio::runtime::Runtime, config: &Config, arguments: &ChatArguments) -> Result<()> {
    let location = runtime.block_on(async {
        let registry = Registry::new(Db::open(&config.data_dir).await?, &config.data_dir);
        import::nano(&registry).await?;
        registry.location(&registry.named(&arguments.model).await?)
    })?;
    let device = device::best();
    let mut bundle = ModelBundle::load(&location.weights, &device, &mut |_| ControlFlow::Continue(()))?;
    if let Some(adapter) = &location.adapter {
        hearth_model::peft::load(adapter, &mut bundle.transformer, &device)?;
    }
    let sampling = Sampling { temperature: arguments.temperature, seed: arguments.seed, ..Sampling::default() };
    let mut messages = Vec::new();
    if let Some(prompt) = &arguments.prompt {
        messages.push(Message::new(Role::User, prompt));
        answer(&bundle, &messages, &sampling, arguments.max_tokens)?;
        return Ok(());
    }
    eprintln!("An empty line starts over; Ctrl-D ends.");
    let mut lines = std::io::stdin().lock().lines();
    loop {
        eprint!("> ");
        let Some(line) = lines.next().transpose()? else {
            return Ok(());
        };
        if line.trim().is_empty() {
            messages.clear();
            continue;
        }
        messages.push(Message::new(Role::User, line));
        let text = answer(&bundle, &messages, &sampling, arguments.max_tokens)?;
        messages.push(Message::new(Role::Assistant, text));
    }
}

fn answer(bundle: &ModelBundle, messages: &[Message], sampling: &Sampling, max_tokens: usize) -> Result<String> {
    let template = bundle.template.as_ref().context("this model has no chat template")?;
    let prompt = template.encode(&bundle.tokenizer, messages, true)?;
    let mut generation = Generation::new(bundle, &prompt, sampling, Some(max_tokens))?;
    let mut all = String::new();
    loop {
        match generation.step(bundle) {
            Step::Prefilled => {}
            Step::Token(token) => {
                print!("{}", token.text);
                std::io::stdout().flush()?;
                all.push_str(&token.text);
            }
            Step::Finished(_) => {
                println!();
                return Ok(all);
            }
        }
    }
}
