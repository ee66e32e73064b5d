//! Texts for pretraining: read from files piece by piece, turned into shards of token ids once, and dealt out in rows that the
//! seed alone decides. It knows no model and no training step.

pub mod shards;
pub mod stream;
pub mod texts;
pub mod tokenize;
