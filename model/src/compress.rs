//! Fewer bits for the same model.

pub mod nf4;
pub mod quantize;
pub mod search;
pub mod trial;
