//! The position lab: what is asked of a model that knows where its tokens stand, and what it answers.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {}
