//! Fewer bits for the same model.

pub mod nf4;
