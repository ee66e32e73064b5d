//! Everything of Hearth that touches tensors: configuration, transformer, checkpoints, adapters, generation, training.
//! It knows no network, no async runtime and no database.

pub mod attention;
pub mod cache;
pub mod checkpoint;
pub mod config;
pub mod device;
mod init;
mod kernels;
pub mod layers;
pub mod lora;
pub mod look;
pub mod peft;
pub mod projection;
pub mod rope;
pub mod sampler;
pub mod trace;
pub mod transformer;
