//! A run planned before it runs: what it will hold and take on this machine, and who is refused because it is more than there is. The same for
//! the server's jobs, their dry runs, and the command line.

use std::path::Path;

use anyhow::Context as _;
use hearth_model::bundle::ModelHead;
use hearth_model::config::ModelConfig;
use hearth_model::device::Device;
use hearth_model::tokenizer::Tokenizer;
use hearth_shared::api::fine_tuning::{JobError, Planned};
use hearth_shared::plan::devices::DeviceSheet;
use hearth_shared::plan::estimate::{Layout, Place};
use hearth_shared::plan::{Memory, ModelShape};
use hearth_shared::spec::{ArchitectureSpec, PretrainSpec, SpecError, TextFacts, TokenizerSpec, TrainSpec};

use crate::serving::sheet;

/// Where a run would take place.
#[derive(Clone, Debug)]
pub struct Machine {
    pub sheet: DeviceSheet,
    /// Bytes that the run may hold; none is not known.
    pub room: Option<u64>,
}

impl Machine {
    /// Whose speed nobody has measured: memory is planned, no time.
    pub fn untimed(device: &Device, room: Option<u64>) -> Self {
        Self { sheet: sheet(device, 0.0, 0.0), room }
    }

    fn place(&self) -> Place<'_> {
        Place::usual(&self.sheet, Layout::SINGLE)
    }

    /// With rows of `length` tokens.
    pub fn planned(&self, shape: &ModelShape, spec: &TrainSpec, length: f64) -> Planned {
        let estimate = shape.estimate(spec, length, self.place());
        Planned {
            memory: estimate.memory,
            step_flops: estimate.flops,
            step_seconds: Some(estimate.seconds).filter(|seconds| seconds.is_finite()),
        }
    }

    /// Refuses what needs more than there is room for, and names the nearest run that fits. `parent`: where the client has the options,
    /// other than `hearth.`. `otherwise`: the field to change where no such run fits, and how.
    pub fn refuse_memory(
        &self,
        shape: &ModelShape,
        spec: &TrainSpec,
        parent: &str,
        otherwise: &dyn Fn() -> (&'static str, String),
    ) -> Result<(), JobError> {
        let needed = shape.memory_on(spec, self.place()).total;
        let Some(room) = self.room.filter(|room| needed > *room) else {
            return Ok(());
        };
        let in_place = |field: &str| match field.strip_prefix("hearth.") {
            Some(field) if !parent.is_empty() => format!("{parent}{field}"),
            _ => field.to_owned(),
        };
        let (param, way) = match shape.fit_on(spec, room, self.place()) {
            Some(found) => {
                let settings: Vec<_> = found.changes.iter().map(|change| change.setting()).collect();
                let words: Vec<_> =
                    settings.iter().map(|(field, value)| format!("`{}`: {value}", in_place(field))).collect();
                let way = format!("It fits with {} ({}).", words.join(", "), size(found.memory.total));
                (settings.first().map_or("model".to_owned(), |(field, _)| in_place(field)), way)
            }
            None => {
                let (param, way) = otherwise();
                (param.to_owned(), way)
            }
        };
        let (needed, room) = (size(needed), size(room));
        let message = format!("The run needs about {needed} of memory; a job may take {room} here. {way}");
        Err(JobError { code: "not_enough_memory".into(), message, param: Some(param) })
    }

    /// Whether the run fits, whatever has to be changed of it.
    fn has_room(&self, shape: &ModelShape, spec: &TrainSpec) -> bool {
        self.room.is_none_or(|room| shape.fit_on(spec, room, self.place()).is_some())
    }
}

/// Bytes as an error says them.
pub fn size(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes < 1e9 => format!("{:.0} MB", bytes / 1e6),
        bytes => format!("{:.1} GB", bytes / 1e9),
    }
}

/// Said of a run that would have to wait for memory.
pub fn free_memory_warning(free: Option<u64>, memory: &Memory) -> Option<String> {
    let short = free.is_some_and(|free| free < memory.total);
    short.then(|| "More memory than is free now: close what can be closed, or let it wait.".to_owned())
}

/// The run from nothing on texts of these facts, or why there can be none.
pub fn pretrain(
    asked: &PretrainSpec,
    shape: &ModelShape,
    facts: &TextFacts,
    machine: &Machine,
    seed: u64,
) -> Result<(TrainSpec, Planned), JobError> {
    let spec = asked.resolve(facts, seed).map_err(|error| JobError {
        code: "invalid_hyperparameters".into(),
        message: error.to_string(),
        param: Some(error.field),
    })?;
    machine.refuse_memory(shape, &spec, "options.", &|| {
        let way = match nearest_depth(asked, shape.vocab_size, facts, machine) {
            Some(depth) => format!("choose {depth} instead of {}.", asked.architecture.depth),
            None => "choose a smaller width, too.".to_owned(),
        };
        ("architecture.depth", format!("Not even the shortest rows fit: {way}"))
    })?;
    let planned = machine.planned(shape, &spec, f64::from(spec.max_length));
    Ok((spec, planned))
}

/// Refuses a run that needs more memory than there is whatever the texts are.
pub fn refuse_too_large(asked: &PretrainSpec, shape: &ModelShape, machine: &Machine) -> Result<(), JobError> {
    // How many tokens there are decides how long a run takes, not what it holds.
    let facts = TextFacts { tokens: u64::from(u32::MAX), parameters: shape.parameters };
    pretrain(asked, shape, &facts, machine, 0).map(|_| ())
}

/// The largest depth below the one that was asked for whose run fits, whatever has to be changed of it.
fn nearest_depth(asked: &PretrainSpec, vocab_size: u64, facts: &TextFacts, machine: &Machine) -> Option<u32> {
    (1..asked.architecture.depth).rev().find(|depth| {
        let architecture = ArchitectureSpec { depth: *depth, ..asked.architecture.clone() };
        let Ok(shape) = architecture.shape(vocab_size) else {
            return false;
        };
        let facts = TextFacts { parameters: shape.parameters, ..*facts };
        let smaller = PretrainSpec { architecture, ..asked.clone() };
        smaller.resolve(&facts, 0).is_ok_and(|spec| machine.has_room(&shape, &spec))
    })
}

/// Of a model from nothing.
pub fn new_shape(asked: &PretrainSpec, vocab_size: usize) -> Result<ModelShape, SpecError> {
    let config = ModelConfig::asked(&asked.architecture, vocab_size).map_err(|error| error.within("architecture"))?;
    Ok(hearth_model::plan::shape(&config))
}

/// Tokens of a vocabulary: as asked for, or those of what lies at `path`, a model's folder or GGUF file, else a `tokenizer.json`.
pub fn vocab_size(spec: &TokenizerSpec, path: Option<&Path>) -> anyhow::Result<usize> {
    match (spec, path) {
        (TokenizerSpec::Train { vocab_size }, _) => Ok(*vocab_size as usize),
        (_, None) => anyhow::bail!("the vocabulary has no path"),
        (_, Some(path)) if path.is_dir() || path.extension().is_some_and(|extension| extension == "gguf") => {
            Ok(ModelHead::load(path)?.tokenizer.vocab_size())
        }
        (TokenizerSpec::Model(_), Some(path)) => Ok(ModelHead::load(path)?.tokenizer.vocab_size()),
        (_, Some(path)) => Ok(read_tokenizer(path)?.vocab_size()),
    }
}

/// A `tokenizer.json` under whatever name.
fn read_tokenizer(path: &Path) -> anyhow::Result<Tokenizer> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Tokenizer::from_hf(&bytes, None).map_err(|error| {
        // What the reader says of itself begins with the name that the file should have.
        let why = error.to_string();
        let why = why.strip_prefix("tokenizer.json: ").unwrap_or(&why);
        anyhow::anyhow!(
            "the file is no tokenizer.json, the JSON object that a job of the kind `tokenizer` gives and models of Hugging Face \
             have, with the vocabulary under `model` ({why})"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_model::device;
    use hearth_shared::spec::{HearthOptions, Precision, Preset};

    fn machine(room: u64) -> Machine {
        Machine { room: Some(room), ..Machine::untimed(&device::cpu(), None) }
    }

    fn decided(asked: &PretrainSpec, room: u64) -> Result<(TrainSpec, Planned), JobError> {
        let shape = new_shape(asked, 4096).expect("a shape");
        pretrain(asked, &shape, &TextFacts { tokens: 1_000_000, parameters: shape.parameters }, &machine(room), 0)
    }

    #[test]
    fn a_run_too_large_is_refused_with_the_nearest_that_fits() {
        let asked = PretrainSpec::default();
        let (_, planned) = decided(&asked, u64::MAX).expect("room for everything");
        assert!(planned.memory.total > 0 && planned.step_flops > 0.0);
        assert_eq!(planned.step_seconds, None, "nobody has measured this machine");
        assert!(decided(&asked, planned.memory.total).is_ok());
        let refused = decided(&asked, planned.memory.total - 1).expect_err("a byte too many");
        assert_eq!(refused.code, "not_enough_memory");
        assert!(refused.param.as_deref().is_some_and(|param| param.starts_with("options.")), "{refused:?}");
        assert!(refused.message.contains("It fits with `options."), "{refused:?}");
        // Weights alone are too many: the depth is what can be changed, and the one that is named does it.
        let deep = ArchitectureSpec { depth: 40, ..ArchitectureSpec::default() };
        let room = planned.memory.total;
        let refused = decided(&PretrainSpec { architecture: deep, ..asked }, room).expect_err("40 layers of 2560");
        assert_eq!(refused.param.as_deref(), Some("architecture.depth"));
        let depth = refused.message.split("choose ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        let depth: u32 = depth.expect("a depth in the words");
        // So much is known before a text is read, in the same words.
        let early = |architecture: ArchitectureSpec, room| {
            let asked = PretrainSpec { architecture, ..PretrainSpec::default() };
            let shape = new_shape(&asked, 4096).expect("a shape");
            refuse_too_large(&asked, &shape, &machine(room)).err()
        };
        let deep = ArchitectureSpec { depth: 40, ..ArchitectureSpec::default() };
        assert_eq!(early(deep, room).map(|early| early.message), Some(refused.message.clone()));
        assert!(early(ArchitectureSpec::default(), room).is_none());
        let fits = |depth| {
            let architecture = ArchitectureSpec { depth, ..ArchitectureSpec::default() };
            let asked = PretrainSpec { architecture, ..PretrainSpec::default() };
            let refused = decided(&asked, room).err();
            refused.is_none_or(|refused| refused.param.as_deref() != Some("architecture.depth"))
        };
        assert!(depth >= 4 && fits(depth) && !fits(depth + 1), "{}", refused.message);
    }

    /// What attention makes of the size of rows times rows, where it drops weights or rounds: it was let through once.
    #[test]
    fn attention_in_steps_counts_before_anything_runs() {
        let with = |preset, precision| PretrainSpec {
            architecture: ArchitectureSpec { preset, ..ArchitectureSpec::default() },
            options: HearthOptions { precision, ..HearthOptions::default() },
            ..PretrainSpec::default()
        };
        let needed = |asked: &PretrainSpec| decided(asked, u64::MAX).expect("room").1.memory.total;
        let plain = needed(&with(Preset::Llama, Precision::Auto));
        for asked in [with(Preset::Gpt2, Precision::Auto), with(Preset::Llama, Precision::Bf16)] {
            assert!(needed(&asked) > plain + plain / 2, "{asked:?}");
            let refused = decided(&asked, plain + plain / 4).expect_err("more than there is");
            assert_eq!(refused.code, "not_enough_memory");
        }
    }

    #[test]
    fn a_measured_machine_says_how_long_a_step_takes() {
        let asked = PretrainSpec::default();
        let shape = new_shape(&asked, 4096).expect("a shape");
        let facts = TextFacts { tokens: 1_000_000, parameters: shape.parameters };
        let at = |flops| {
            let machine = Machine { sheet: sheet(&device::cpu(), flops, 1e15), room: None };
            pretrain(&asked, &shape, &facts, &machine, 0).expect("room").1.step_seconds.expect("a time")
        };
        assert!((at(1e11) / at(2e11) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_file_that_is_no_vocabulary_is_called_that() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("texts.txt");
        for text in ["Call me Ishmael.", "{}", "{\"vocab\": []}"] {
            std::fs::write(&path, text).expect("a file");
            let error = vocab_size(&TokenizerSpec::File("file-1".into()), Some(&path)).expect_err("no vocabulary");
            assert!(format!("{error:#}").starts_with("the file is no tokenizer.json"), "{text}: {error:#}");
        }
    }

    #[test]
    fn only_more_than_is_free_is_warned_of() {
        let memory = Memory { total: 10, ..Memory::default() };
        assert_eq!(free_memory_warning(Some(10), &memory), None);
        assert_eq!(free_memory_warning(None, &memory), None);
        assert!(free_memory_warning(Some(9), &memory).is_some_and(|words| words.contains("free now")));
    }
}
