//! Opening a fine-tune: the base model, what is put on it, and the examples.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context as _, Result};
use hearth_model::bundle::ModelBundle;
use hearth_model::train::{Run, Sequence, data, save};
use hearth_model::transformer::Transformer;
use hearth_model::{adapter, device};
use hearth_shared::spec::{BaseWeights, JobSpec};
use hearth_shared::text::validate;

use super::Opened;

/// A new run, or one taken up from its last checkpoint in `checkpoints`.
pub(super) fn open(spec: &JobSpec, checkpoints: &Path) -> Result<Opened> {
    let device = device::best();
    let mut bundle = ModelBundle::load(Path::new(&spec.model_path), &device, &mut |_| ControlFlow::Continue(()))
        .context("cannot load the base model")?;
    let training = sequences(&spec.training_file, &bundle, spec)?;
    let tokens = training.iter().map(|one| one.ids.len()).sum::<usize>();
    let mean_length = tokens as f64 / training.len().max(1) as f64;
    let validation = spec.validation_file.as_ref().map(|file| sequences(file, &bundle, spec)).transpose()?;
    let mut model = bundle.transformer.clone();
    if spec.train.base_weights == BaseWeights::Nf4 || spec.train.adapter.is_none() {
        // The tokenizer and the template are all that is read of it, and the old numbers would stay in memory.
        bundle.transformer = Transformer::empty(&bundle.config, &device);
    }
    if spec.train.base_weights == BaseWeights::Nf4 {
        adapter::pack(&mut model);
    }
    if let Some(adapter) = &spec.train.adapter {
        adapter::apply(&mut model, adapter, spec.train.seed, &device)?;
    }
    let run = match save::latest(checkpoints) {
        Some(last) => Run::resume(&last, &spec.train, model, training, validation)?,
        None => Run::new(&spec.train, model, training, validation)?,
    };
    Ok(Opened { train: spec.train.clone(), model_name: spec.model_name.clone(), bundle, run, mean_length })
}

/// The file's examples as the trainer reads them. The validator passed them before; this cannot shorten them.
fn sequences(file: &str, bundle: &ModelBundle, spec: &JobSpec) -> Result<Vec<Sequence>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {file}"))?;
    let (_, examples) =
        validate::examples(&bytes).map_err(|problem| anyhow::anyhow!("row {}: {}", problem.row, problem.message))?;
    Ok(data::encode(&examples, &bundle.voice(), spec.train.max_length as usize)?)
}
