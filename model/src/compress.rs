//! Fewer bits for the same model.

#[cfg(not(target_arch = "wasm32"))]
pub mod distill;
pub mod nf4;
pub mod quantize;
pub mod search;
pub mod trial;
