//! The learning path: its chapters, what their files hold, what an exercise asks of the state that a lab publishes, and what a reader has
//! done so far. All of it is pure: it knows no page, no clock and no language.

mod attention;
mod cache;
pub mod chapter;
pub mod exercise;
mod position;
pub mod progress;
mod quantize;
mod sampling;
mod tokens;
pub mod tuning;

/// Chapters in the order they are read: a name in the address, and of a file in each language.
pub const CHAPTERS: [&str; 7] = ["tokens", "attention", "position", "sampling", "cache", "quantization", "tuning"];
