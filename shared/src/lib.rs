//! What page, model and server agree on: wire types, specs, events and pure text rules. It knows no IO, no tensors and no
//! clock, and compiles to wasm.

pub mod api;
pub mod event;
pub mod lab;
pub mod learn;
pub mod plan;
pub mod spec;
pub mod text;
