//! Fewer bits or fewer weights for the same model, and a small model that learns from a large one.

pub mod distill;
pub mod inputs;
pub mod nf4;
pub mod prune;
pub mod quantize;
pub mod search;
pub mod trial;
pub mod units;
