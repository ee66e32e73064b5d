//! Answers from models. A handle for async code; the models themselves live on one thread, see [`device_thread`]. It knows
//! no HTTP.

mod device_thread;
pub mod scheduler;
pub mod shelf;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hearth_model::generate::GenerateError;
use hearth_shared::api::system::DeviceInfo;
use hearth_shared::plan::devices::DeviceSheet;
use hearth_shared::spec::Sampling;
use hearth_shared::text::Message;
use tokio::sync::{mpsc, oneshot};

pub use device_thread::sheet;

use crate::registry::Location;

/// Tokens that may wait for a slow reader before its generation rests.
const READ_AHEAD: usize = 64;

/// What to generate from.
#[derive(Clone, Debug)]
pub enum Input {
    /// Turns, through the model's chat template.
    Chat(Vec<Message>),
    Text(String),
    Tokens(Vec<u32>),
}

/// One sequence to generate.
#[derive(Clone, Debug)]
pub struct Request {
    pub location: Location,
    /// Bytes the base model takes in memory.
    pub memory: u64,
    pub input: Input,
    pub sampling: Sampling,
    pub max_tokens: Option<usize>,
    /// Score the prompt's tokens first, with this many alternatives each.
    pub score_prompt: Option<usize>,
}

/// A token with its text, its bytes and its probability.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Token {
    pub text: String,
    pub bytes: Vec<u8>,
    /// Natural logarithm; none for the first token of a prompt.
    pub logprob: Option<f32>,
    /// The likeliest tokens in its place, best first.
    pub top: Vec<(String, Vec<u8>, f32)>,
}

/// What a stream of an answer carries, in order.
#[derive(Debug)]
pub enum Piece {
    Started {
        prompt_tokens: usize,
        /// The prompt's text, where it came as text or tokens.
        text: String,
        /// The prompt as the model reads it, token by token, where scores were asked for.
        prompt: Vec<Token>,
    },
    /// `text` is what may be shown now; `token` is set where log-probabilities were asked for.
    Text {
        text: String,
        token: Option<Token>,
    },
    Finished {
        stopped: bool,
        completion_tokens: usize,
    },
    Failed(ServeError),
}

/// Why there is no answer.
#[derive(thiserror::Error, Clone, Debug)]
pub enum ServeError {
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error("This model's maximum context length is {context} tokens. However, you requested {} tokens ({prompt} in the prompt, {completion} in the completion).", prompt + completion)]
    ContextLength { prompt: usize, completion: usize, context: usize },
    #[error("this model has no chat template; use /v1/completions")]
    NoTemplate,
    #[error("the chat template refuses these messages: {0}")]
    Template(String),
    #[error("the model {0}")]
    NoRoom(#[from] shelf::NoRoom),
    #[error("the model cannot be loaded: {0}")]
    Load(String),
    #[error("the generation failed: {0}")]
    Broken(String),
    #[error("the server is stopping")]
    Stopping,
}

/// What the device thread says about itself, readable at any time.
#[derive(Debug, Default)]
pub struct Stats {
    pub prompt_tokens: AtomicU64,
    pub completion_tokens: AtomicU64,
    pub active: AtomicU64,
    pub abandoned: AtomicU64,
    loaded: Mutex<BTreeSet<std::path::PathBuf>>,
    device: Mutex<Option<DeviceInfo>>,
}

impl Stats {
    pub fn is_loaded(&self, location: &Location) -> bool {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).contains(&location.weights)
    }

    pub fn device(&self) -> Option<DeviceInfo> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A handle to the device thread; clones share it. The thread ends when the last handle is gone.
#[derive(Clone)]
pub struct Serving {
    commands: mpsc::Sender<device_thread::Command>,
    pub stats: Arc<Stats>,
}

impl Serving {
    /// Starts the thread. `budget` is what loaded models may take together, bytes.
    pub fn start(budget: u64) -> std::io::Result<Self> {
        let (commands, inbox) = mpsc::channel(64);
        let stats = Arc::new(Stats::default());
        let shared = Arc::clone(&stats);
        std::thread::Builder::new()
            .name("device".into())
            .stack_size(16 << 20)
            .spawn(move || device_thread::run(inbox, &shared, budget))?;
        Ok(Self { commands, stats })
    }

    /// Begins an answer. Dropping the receiver ends the generation within a token.
    pub async fn generate(&self, request: Request) -> Result<mpsc::Receiver<Piece>, ServeError> {
        let (out, pieces) = mpsc::channel(READ_AHEAD);
        let command = device_thread::Command::Generate(Box::new(request), out);
        self.commands.send(command).await.map_err(|_| ServeError::Stopping)?;
        Ok(pieces)
    }

    /// Waits until no answer is being generated.
    pub async fn idle(&self) {
        while self.stats.active.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// What the device delivers: measured when first asked, between two steps, in a second or two, and a few times again.
    pub async fn sheet(&self) -> Result<DeviceSheet, ServeError> {
        let (out, answer) = oneshot::channel();
        self.commands.send(device_thread::Command::Measure(out)).await.map_err(|_| ServeError::Stopping)?;
        answer.await.map_err(|_| ServeError::Stopping)
    }

    /// Puts a model away that is being removed.
    pub async fn forget(&self, location: Location) {
        let _ = self.commands.send(device_thread::Command::Forget(location)).await;
    }
}
