//! The attention lab, as others see it: which head and which token are in hand, and where that token looks.

use serde::{Deserialize, Serialize};

/// What the page publishes of a pass. Layers, heads and tokens count from 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Looked {
    pub model: String,
    pub layer: u32,
    pub head: u32,
    /// The chosen token.
    pub row: u32,
    /// Its weights in that head, `[T]`: 0 for tokens behind it.
    pub weights: Vec<f32>,
}
