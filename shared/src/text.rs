//! Pure rules over text: chat messages, data-set formats and the validation report. No IO and no tensors, so that the tab
//! and the server give the same bytes.

mod binary;
pub mod chat;
pub mod clean;
mod counted;
pub mod filters;
pub mod format;
pub(crate) mod hash;
pub mod minhash;
pub mod personal;
pub mod quality;
pub mod rows;
pub mod rules;
pub mod sieve;
pub mod survey;
pub mod validate;
mod words;

pub use chat::{Message, Role};
pub use counted::counted;
pub use format::{Example, Format};
pub use rules::{Lang, Rule, Severity};
pub use validate::{Problem, Report, TokenCount, TokenCounter, Validator};
