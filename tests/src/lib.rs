//! Support for the integration tests: the real program on a free port, a real Chromium, and the files both need.
//!
//! Nothing here knows what is tested. A missing tool or file is an error that says what provides it, never a skipped test.

pub mod bench;
pub mod browser;
pub mod places;
pub mod server;

pub use browser::{Browser, Look};
pub use server::{Reply, Server, ServerOptions};
