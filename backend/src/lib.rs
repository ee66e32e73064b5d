//! The program `hearth`: server, jobs, registry, command line. It does not know how a layer works.

pub mod app;
pub mod cli;
pub mod config;
pub mod db;
pub mod error;
mod fields;
pub mod files;
pub mod http;
pub mod ids;
pub mod jobs;
pub mod keys;
pub mod metrics;
mod misspelt;
pub mod page;
pub mod registry;
pub mod serving;
pub mod system;
pub mod tls;

pub use cli::main;
