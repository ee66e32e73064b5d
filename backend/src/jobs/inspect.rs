//! Reading a job's data before it runs: the report, and every `auto` decided. Needs the model's tokenizer and template, not
//! its weights.

use std::path::Path;

use anyhow::{Context as _, Result};
use hearth_shared::api::fine_tuning::{JobError, Planned};
use hearth_shared::plan::ModelShape;
use hearth_shared::spec::{DataFacts, FineTuneSpec, TrainSpec, Tuning};
use hearth_shared::text::{Format, Report};

/// What was found in a job's files.
pub struct Found {
    pub report: Report,
    pub validation: Option<Report>,
    pub shape: ModelShape,
}

impl Found {
    /// The run's spec, or why there can be none. `context`: positions the model was made for. `room`: bytes that it may hold.
    pub fn decide(&self, spec: &FineTuneSpec, context: u32, room: Option<u64>) -> Result<TrainSpec, JobError> {
        refuse("training_file", &self.report)?;
        if let Some(report) = &self.validation {
            refuse("validation_file", report)?;
        }
        for (param, report) in [("training_file", Some(&self.report)), ("validation_file", self.validation.as_ref())] {
            report.map_or(Ok(()), |report| fits_method(param, report, spec))?;
        }
        self.fits_model(spec)?;
        let tokens = self.report.tokens.as_ref();
        let facts = DataFacts {
            examples: self.report.examples,
            tokens: tokens.map_or(0, |tokens| tokens.total),
            longest: tokens.map_or(0, |tokens| tokens.max),
            parameters: self.shape.parameters,
            context,
        };
        let decided = spec.resolve(&facts).map_err(|error| JobError {
            code: "invalid_hyperparameters".into(),
            message: error.to_string(),
            param: Some(error.field),
        })?;
        refuse_memory(&self.shape, &decided, room, "")?;
        Ok(decided)
    }

    /// What the run of a decided spec will need.
    pub fn planned(&self, spec: &TrainSpec) -> Planned {
        Planned { memory: self.shape.memory(spec), step_flops: self.shape.step_flops(spec, self.mean_length(spec)) }
    }

    /// Tokens of an example.
    pub fn mean_length(&self, spec: &TrainSpec) -> f64 {
        let tokens = self.report.tokens.as_ref().map_or(0, |tokens| tokens.total);
        (tokens as f64 / self.report.examples.max(1) as f64).min(f64::from(spec.max_length))
    }
}

impl Found {
    /// What only the model's configuration can tell.
    fn fits_model(&self, spec: &FineTuneSpec) -> Result<(), JobError> {
        let layers = self.shape.n_layers;
        let (param, message) = if u64::from(spec.hearth.frozen_layers) >= layers {
            ("hearth.frozen_layers", format!("The model has {layers} layers: freeze {} at most.", layers - 1))
        } else if spec.hearth.tuning == Tuning::Prompt && self.shape.experts > 0 {
            let message = "A prompt can't be trained in front of a model with experts, whose balance counts tokens: use `prefix`.";
            ("hearth.tuning", message.to_owned())
        } else {
            return Ok(());
        };
        Err(JobError { code: "invalid_hyperparameters".into(), message, param: Some(param.to_owned()) })
    }
}

/// Refuses what needs more than `room`, and names the nearest run that fits. `parent`: where the client has the options, other than
/// `hearth.`.
pub(super) fn refuse_memory(
    shape: &ModelShape,
    spec: &TrainSpec,
    room: Option<u64>,
    parent: &str,
) -> Result<(), JobError> {
    let needed = shape.memory(spec).total;
    let Some(room) = room.filter(|room| needed > *room) else {
        return Ok(());
    };
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let in_place = |field: &str| match field.strip_prefix("hearth.") {
        Some(field) if !parent.is_empty() => format!("{parent}{field}"),
        _ => field.to_owned(),
    };
    let found = shape.fit(spec, room);
    let (param, way) = match &found {
        Some(found) => {
            let settings: Vec<_> = found.changes.iter().map(|change| change.setting()).collect();
            let words: Vec<_> =
                settings.iter().map(|(field, value)| format!("`{}`: {value}", in_place(field))).collect();
            let way = format!("It fits with {} ({}).", words.join(", "), gigabytes(found.memory.total));
            (settings.first().map_or("model".to_owned(), |(field, _)| in_place(field)), way)
        }
        None if parent.is_empty() => {
            ("model".to_owned(), "Not even a 4-bit base under an adapter fits: choose a smaller model.".to_owned())
        }
        None => ("architecture.depth".to_owned(), "Not even the shortest rows fit: choose a smaller depth.".to_owned()),
    };
    let (needed, room) = (gigabytes(needed), gigabytes(room));
    let message = format!("The run needs about {needed} of memory; a job may take {room} here. {way}");
    Err(JobError { code: "not_enough_memory".into(), message, param: Some(param) })
}

/// Preferences need pairs of answers, everything else has no use for them.
fn fits_method(param: &str, report: &Report, spec: &FineTuneSpec) -> Result<(), JobError> {
    let message = match (spec.dpo_beta.is_some(), report.format == Some(Format::Preference)) {
        (true, false) => {
            "`dpo` learns from pairs of answers, and this file holds none: give rows of `input`, `preferred_output` and \
             `non_preferred_output`, or use the method `supervised`."
        }
        (false, true) => "The file holds pairs of answers: use the method `dpo`.",
        _ => return Ok(()),
    };
    Err(JobError { code: format!("invalid_{param}"), message: message.to_owned(), param: Some(param.to_owned()) })
}

fn refuse(param: &str, report: &Report) -> Result<(), JobError> {
    if report.is_valid() {
        return Ok(());
    }
    let first = report.problems.iter().find(|problem| problem.severity == hearth_shared::text::Severity::Error);
    let example = first.map(|problem| {
        let field = if problem.field.is_empty() { String::new() } else { format!(", {}", problem.field) };
        format!(" First: row {}{field}: {} {}", problem.row, problem.message, problem.fix)
    });
    Err(JobError {
        code: format!("invalid_{param}"),
        message: format!(
            "The file's {} rows hold {} errors; `hearth.{}` lists them.{}",
            report.rows,
            report.errors,
            if param == "training_file" { "report" } else { "validation_report" },
            example.unwrap_or_default()
        ),
        param: Some(param.to_owned()),
    })
}

/// A tokenizer and template that read files as the trainer will.
pub struct Eye {
    head: hearth_model::bundle::ModelHead,
}

impl Eye {
    pub fn open(weights: &Path) -> Result<Self> {
        let head = hearth_model::bundle::ModelHead::load(weights).context("cannot read the model's tokenizer")?;
        Ok(Self { head })
    }

    /// Positions the model was made for.
    pub fn context(&self) -> u32 {
        self.head.config.max_positions as u32
    }

    pub fn shape(&self) -> ModelShape {
        hearth_model::plan::shape(&self.head.config)
    }

    /// The validator's report, reading the file piece by piece.
    pub fn report(&self, file: &Path, max_length: Option<u32>) -> Result<Report> {
        use std::io::Read as _;
        let voice = self.head.voice();
        let counter = hearth_model::train::data::Counter(&voice);
        let mut validator = hearth_shared::text::Validator::new(Some(&counter), max_length);
        let mut file = std::fs::File::open(file)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(validator.finish());
            }
            validator.push(&buffer[..read]);
        }
    }
}
