//! The page: everything the binary `app` shows. It talks to the server by REST and to the lab engine (the binary `worker`)
//! by messages; it never imports the model crate, so that the first paint needs a few hundred kilobytes and no tensors.

#[cfg(feature = "app")]
pub mod app;
