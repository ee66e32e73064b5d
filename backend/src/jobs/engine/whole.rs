//! A checkpoint of whole weights as a model's folder, the same that the run would leave if it ended there. In a process of its own, beside the
//! run's, which may go on meanwhile.

use std::path::Path;

use anyhow::{Result, bail};
use hearth_model::bundle::Precision;
use hearth_model::device;
use hearth_model::train::save;
use hearth_model::transformer::Transformer;
use hearth_shared::spec::WorkSpec;

use super::{pretrain, tune};

/// Writes the weights in `checkpoint` to the new folder `out`. `folder`: the job's, where a vocabulary lies that the run learned.
pub fn write(spec: &WorkSpec, folder: &Path, checkpoint: &Path, out: &Path) -> Result<()> {
    // Nothing is computed, and a graphics device is another's.
    let device = device::cpu();
    let mut bundle = match spec {
        WorkSpec::FineTune(job) => tune::base(job, &device)?,
        WorkSpec::Pretrain(job) => pretrain::untrained(job, folder, &device)?,
        WorkSpec::Tokenizer(_) | WorkSpec::Export(_) => bail!("the job trains no weights"),
    };
    let empty = Transformer::empty(&bundle.config, &device);
    let begun = std::mem::replace(&mut bundle.transformer, empty);
    bundle.transformer = save::load_weights(checkpoint, begun)?;
    bundle.save(out, Precision::F32)?;
    Ok(())
}
