//! What benches share: the other sides, one race of training steps, and the table.

pub mod peers;
pub mod race;
pub mod table;
