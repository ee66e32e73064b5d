//! What benches share: the other sides, one race of training steps, the attention lab's answer, and the table.

pub mod lab;
pub mod peers;
pub mod race;
pub mod table;
