//! The tokenizer lab: a text as several vocabularies cut it, merge by merge.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {}
