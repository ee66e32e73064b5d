//! The training engine: examples → batches → loss → gradients → AdamW → checkpoints. The server's jobs, the command line and
//! the recipe of hearth-nano all go through the one [`Run::step`]. It knows no HTTP, no database and no clock.

pub mod adamw;
pub mod batches;
pub mod data;
pub mod encoder;
pub mod loss;
pub mod ngram;
pub mod run;
pub mod save;
pub mod schedule;

pub use batches::Batches;
pub use data::{Encoder, Sequence};
pub use run::{Evaluation, Run, StepReport};

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
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("checkpoint {path}: {reason}")]
    Checkpoint { path: String, reason: String },
}

#[cfg(test)]
mod tests;
