//! From a job's spec to the training engine: the one place where jobs touch tensors, in the job's own process.

use std::path::Path;

use anyhow::{Result, bail};
use hearth_shared::event::RunEvent;
use hearth_shared::spec::JobSpec;

use super::child::{Order, Outcome};

/// Runs to the end or to an order. Checkpoints go to `checkpoints/`, the result to `result/`.
pub fn run(
    _spec: &JobSpec,
    _folder: &Path,
    _order: &dyn Fn() -> Option<Order>,
    _emit: &mut dyn FnMut(RunEvent) -> Result<()>,
) -> Result<Outcome> {
    bail!("the training engine is not in this build")
}
