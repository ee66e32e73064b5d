//! Pure rules over text: chat messages, data-set formats and the validation report. No IO and no tensors, so that the tab
//! and the server give the same bytes.

pub mod chat;
