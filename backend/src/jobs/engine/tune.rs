//! Opening a fine-tune: the base model, what is put on it, and the examples.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use hearth_model::bundle::ModelBundle;
use hearth_model::device::Device;
use hearth_model::tokenizer::Tokenizer;
use hearth_model::train::{Run, Sequence, data, save};
use hearth_model::transformer::Transformer;
use hearth_model::{adapter, device};
use hearth_shared::spec::{BaseWeights, JobSpec, TeacherJob, TrainSpec};
use hearth_shared::text::validate;

use super::{Idle, Opened};

/// A new run, or one taken up from its last checkpoint in `checkpoints`.
pub(super) fn open(spec: &JobSpec, checkpoints: &Path) -> Result<Opened> {
    let (device, idle) = (device::best(), Idle::now());
    let mut bundle = base(spec, &device)?;
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
    let train = TrainSpec { distill: spec.teacher.as_ref().map(|teacher| teacher.spec), ..spec.train.clone() };
    let run = match save::latest(checkpoints) {
        Some(last) => Run::resume(&last, &train, model, training, validation)?,
        None => Run::new(&train, model, training, validation)?,
    };
    let run = taught(run, spec.teacher.as_ref(), &bundle.tokenizer)?;
    Ok(Opened { train, model_name: spec.model_name.clone(), bundle, run, mean_length, idle })
}

/// The model that the run begins from.
pub(super) fn base(spec: &JobSpec, device: &Device) -> Result<ModelBundle> {
    ModelBundle::load(Path::new(&spec.model_path), device, &mut |_| ControlFlow::Continue(()))
        .context("cannot load the base model")
}

/// The run with the teacher it is to have, which must read the same tokens.
pub(super) fn taught(run: Run, teacher: Option<&TeacherJob>, tokenizer: &Tokenizer) -> Result<Run> {
    let Some(teacher) = teacher else {
        return Ok(run);
    };
    let bundle = ModelBundle::load(Path::new(&teacher.path), &device::best(), &mut |_| ControlFlow::Continue(()))
        .context("cannot load the teacher")?;
    let both = 0..tokenizer.vocab_size().min(bundle.tokenizer.vocab_size()) as u32;
    if let Some(id) = both.into_iter().find(|id| tokenizer.decode_bytes(*id) != bundle.tokenizer.decode_bytes(*id)) {
        let [ours, theirs] = [tokenizer, &bundle.tokenizer].map(|tokenizer| tokenizer.token_text(id));
        bail!(
            "distill.teacher: token {id} is {theirs:?} for the teacher and {ours:?} for the student: take a teacher with the student's tokenizer"
        );
    }
    Ok(run.taught_by(bundle.transformer)?)
}

/// The file's examples as the trainer reads them. The validator passed them before; this cannot shorten them.
fn sequences(file: &str, bundle: &ModelBundle, spec: &JobSpec) -> Result<Vec<Sequence>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {file}"))?;
    let (_, examples) =
        validate::examples(&bytes).map_err(|problem| anyhow::anyhow!("row {}: {}", problem.row, problem.message))?;
    Ok(data::encode(&examples, &bundle.voice(), spec.train.max_length as usize)?)
}
