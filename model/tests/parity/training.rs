//! Training is what torch and PEFT make of the same numbers: optimizers and schedules alone, number formats alone, whole runs.

mod optimizers;
mod precision;
mod runs;

use super::Result;
use super::golden::{bundle, difference, golden, tensor};
