//! The training engine: examples → batches → loss → gradients → optimizer → checkpoints. The server's jobs, the command line and
//! the recipe of hearth-nano and, small, the browser ([`trial`]) all go through the one [`Run::step`]. It knows no HTTP, no database and
//! no clock.
//!
//! The browser has no disk: no checkpoints and no rows of shards there. It has one thread and can't wait for a GPU in the middle of a
//! step, so there a run is on the CPU.

pub mod average;
pub mod batches;
mod checkpointed;
mod collected;
pub mod data;
pub mod encoder;
pub mod loss;
#[cfg(not(target_arch = "wasm32"))]
pub mod ngram;
pub mod optimizer;
#[cfg(not(target_arch = "wasm32"))]
pub mod pace;
mod pass;
mod preference;
pub mod run;
#[cfg(not(target_arch = "wasm32"))]
pub mod save;
pub mod scaler;
pub mod schedule;
pub mod source;
mod threads;
pub mod trial;
pub mod watch;

pub use batches::Batches;
pub use data::{Encoder, Sequence};
pub use run::{Evaluation, Run, StepReport};
pub use source::Source;

/// Why a run can't begin or go on.
#[derive(thiserror::Error, Debug)]
pub enum TrainError {
    #[error(transparent)]
    Spec(#[from] hearth_shared::spec::SpecError),
    /// The data set has a row that is no example; the validator's report says more.
    #[error("row {row}: {message}")]
    Data { row: u64, message: String },
    #[error("the data set holds no token to train on")]
    NothingToTrain,
    /// The weights left the range of f32; the last checkpoint is still good.
    #[error("the loss is not a finite number at step {step}: lower the learning rate")]
    Diverged { step: u64 },
    /// The watchdog's other finding; the weights are as they were before the step.
    #[error("the loss jumped to {loss:.3} at step {step}, where {usual:.3} is usual: lower the learning rate")]
    Spike { step: u64, loss: f64, usual: f64 },
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("checkpoint {path}: {reason}")]
    Checkpoint { path: String, reason: String },
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
