//! The cache lab: the same tokens generated with and without keys and values kept.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {}
