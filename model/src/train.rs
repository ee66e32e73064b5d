//! The training engine: examples → batches → loss → gradients → optimizer → checkpoints. The server's jobs, the command line and
//! the recipe of hearth-nano all go through the one [`Run::step`]. It knows no HTTP, no database and no clock.
//!
//! The browser gets the reading of examples only: its report must count what the server will train on.

#[cfg(not(target_arch = "wasm32"))]
pub mod average;
#[cfg(not(target_arch = "wasm32"))]
pub mod batches;
#[cfg(not(target_arch = "wasm32"))]
mod checkpointed;
#[cfg(not(target_arch = "wasm32"))]
mod collected;
pub mod data;
pub mod encoder;
#[cfg(not(target_arch = "wasm32"))]
pub mod loss;
#[cfg(not(target_arch = "wasm32"))]
pub mod ngram;
#[cfg(not(target_arch = "wasm32"))]
pub mod optimizer;
#[cfg(not(target_arch = "wasm32"))]
mod pass;
#[cfg(not(target_arch = "wasm32"))]
mod preference;
#[cfg(not(target_arch = "wasm32"))]
pub mod run;
#[cfg(not(target_arch = "wasm32"))]
pub mod save;
#[cfg(not(target_arch = "wasm32"))]
pub mod scaler;
#[cfg(not(target_arch = "wasm32"))]
pub mod schedule;
#[cfg(not(target_arch = "wasm32"))]
pub mod source;
#[cfg(not(target_arch = "wasm32"))]
pub mod watch;

#[cfg(not(target_arch = "wasm32"))]
pub use batches::Batches;
pub use data::{Encoder, Sequence};
#[cfg(not(target_arch = "wasm32"))]
pub use run::{Evaluation, Run, StepReport};
#[cfg(not(target_arch = "wasm32"))]
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
