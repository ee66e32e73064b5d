//! Everything of Hearth that touches tensors: configuration, transformer, checkpoints, adapters, generation, training.
//! It knows no network, no async runtime and no database.

pub mod adapter;
pub mod attention;
pub mod bundle;
pub mod cache;
pub mod chat_template;
pub mod checkpoint;
pub mod compress;
pub mod config;
#[cfg(not(target_arch = "wasm32"))]
pub mod data;
pub mod device;
#[cfg(not(target_arch = "wasm32"))]
pub mod export;
pub mod generate;
mod init;
mod kernels;
pub mod layers;
pub mod look;
pub mod lora;
pub mod moe;
pub mod peft;
pub mod plan;
pub mod projection;
#[cfg(not(target_arch = "wasm32"))]
pub mod recipe;
pub mod rope;
pub mod rounding;
pub mod sampler;
pub mod tokenizer;
pub mod trace;
pub mod train;
pub mod transformer;
pub mod virtual_tokens;
