//! Where a run's steps come from: examples in memory, or rows of shards on disk, read ahead on a thread of their own. The browser has
//! no disk.

use super::batches::{Batches, MicroBatch};
use super::data::Sequence;
#[cfg(not(target_arch = "wasm32"))]
use crate::data::stream::{ReadAhead, Rows};

/// An endless sequence of steps.
#[derive(Debug)]
pub enum Source {
    Examples(Batches),
    #[cfg(not(target_arch = "wasm32"))]
    Rows(RowSource),
}

/// Rows, with the next few steps on their way.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
pub struct RowSource {
    rows: Rows,
    /// The step that comes next, and what reads from there on.
    ahead: Option<(u64, ReadAhead)>,
}

impl From<Batches> for Source {
    fn from(batches: Batches) -> Self {
        Self::Examples(batches)
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl From<Rows> for Source {
    fn from(rows: Rows) -> Self {
        Self::Rows(RowSource { rows, ahead: None })
    }
}

impl Source {
    pub fn steps_per_epoch(&self) -> u64 {
        match self {
            Self::Examples(batches) => batches.steps_per_epoch(),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Rows(source) => source.rows.steps_per_epoch(),
        }
    }

    /// The passes of a step, counted from 0 over all epochs. Steps asked for in order were read before.
    pub fn step(&mut self, step: u64) -> Vec<MicroBatch> {
        match self {
            Self::Examples(batches) => batches.step(step),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Rows(source) => source.step(step),
        }
    }

    /// The numbers of a step's examples among all; rows have none.
    pub(super) fn chosen(&mut self, step: u64) -> Vec<u32> {
        match self {
            Self::Examples(batches) => batches.chosen(step),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Rows(_) => Vec::new(),
        }
    }

    /// None where they are not in memory.
    pub(super) fn sequences(&self) -> Option<&[Sequence]> {
        match self {
            Self::Examples(batches) => Some(batches.sequences()),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Rows(_) => None,
        }
    }

    /// All examples once; nothing of rows.
    pub(super) fn all(&self) -> Vec<MicroBatch> {
        match self {
            Self::Examples(batches) => batches.all(),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Rows(_) => Vec::new(),
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl RowSource {
    fn step(&mut self, step: u64) -> Vec<MicroBatch> {
        let (next, mut ahead) = match self.ahead.take() {
            Some(ready) => ready,
            None => (step, ReadAhead::new(self.rows.clone(), step)),
        };
        // A run that goes back, or leaves something out, reads from there.
        if next != step {
            ahead = ReadAhead::new(self.rows.clone(), step);
        }
        match ahead.next_step() {
            Some(passes) => {
                self.ahead = Some((step + 1, ahead));
                passes
            }
            // The thread died: the same step here, whose fault is then heard.
            None => self.rows.step(step),
        }
    }
}
