//! Reading a job's data before it runs: the report, and every `auto` decided. Needs the model's tokenizer and template, not
//! its weights.

use std::path::Path;

use anyhow::{Context as _, Result};
use hearth_shared::api::fine_tuning::{JobError, Planned};
use hearth_shared::plan::ModelShape;
use hearth_shared::spec::{DataFacts, FineTuneSpec, LoraSpec, SpecError, TrainSpec, Tuning};
use hearth_shared::text::{Format, Problem, Report, Severity, counted};

use super::plans::Machine;
use crate::misspelt::nearest;

/// What was found in a job's files.
pub struct Found {
    pub report: Report,
    pub validation: Option<Report>,
    pub shape: ModelShape,
}

impl Found {
    /// The run's spec, or why there can be none. `context`: positions the model was made for.
    pub fn decide(&self, spec: &FineTuneSpec, context: u32, machine: &Machine) -> Result<TrainSpec, JobError> {
        refuse("training_file", &self.report)?;
        if let Some(report) = &self.validation {
            refuse("validation_file", report)?;
        }
        for (param, report) in [("training_file", Some(&self.report)), ("validation_file", self.validation.as_ref())] {
            report.map_or(Ok(()), |report| fits_method(param, report, spec))?;
        }
        fits_model(&self.shape, spec)?;
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
        machine.refuse_memory(&self.shape, &decided, "", &|| {
            let way = "Not even a 4-bit base under an adapter fits: choose a smaller model.";
            ("model", way.to_owned())
        })?;
        Ok(decided)
    }

    /// What the run of a decided spec will need.
    pub fn planned(&self, spec: &TrainSpec, machine: &Machine) -> Planned {
        machine.planned(&self.shape, spec, self.mean_length(spec))
    }

    /// Tokens of an example.
    pub fn mean_length(&self, spec: &TrainSpec) -> f64 {
        let tokens = self.report.tokens.as_ref().map_or(0, |tokens| tokens.total);
        (tokens as f64 / self.report.examples.max(1) as f64).min(f64::from(spec.max_length))
    }
}

/// Whether the model's configuration has a say in the request.
pub fn asks_of_model(spec: &FineTuneSpec) -> bool {
    spec.hearth.frozen_layers > 0 || spec.hearth.tuning == Tuning::Prompt
}

/// What only the model's configuration can tell.
pub fn fits_model(shape: &ModelShape, spec: &FineTuneSpec) -> Result<(), JobError> {
    let layers = shape.n_layers;
    let (param, message) = if u64::from(spec.hearth.frozen_layers) >= layers {
        ("hearth.frozen_layers", format!("The model has {}: freeze {} at most.", counted(layers, "layer"), layers - 1))
    } else if spec.hearth.tuning == Tuning::Prompt && shape.experts > 0 {
        let message =
            "A prompt can't be trained in front of a model with experts, whose balance counts tokens: use `prefix`.";
        ("hearth.tuning", message.to_owned())
    } else {
        return Ok(());
    };
    Err(JobError { code: "invalid_hyperparameters".into(), message, param: Some(param.to_owned()) })
}

/// Refuses a projection that no family has, and names the one that may have been meant. `field`: where the client wrote it.
pub fn known_modules(field: &str, lora: &LoraSpec) -> Result<(), SpecError> {
    let known = || LoraSpec::MODULES.iter().map(|name| (*name).to_owned());
    let stranger = lora.target_modules.iter().find(|name| !LoraSpec::MODULES.contains(&name.as_str()));
    match stranger.and_then(|name| Some((name, nearest(name, known())?))) {
        Some((name, near)) => {
            let message = format!("`{name}` is not one of {}; did you mean `{near}`?", LoraSpec::MODULES.join(", "));
            Err(SpecError::new(field, message))
        }
        // A name that is near none is refused with the others.
        None => Ok(()),
    }
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
    // Shown on the page too, so it names no field of the API: both show the report beside it.
    let errors = counted(report.errors, "error");
    let place = if report.rows == 0 { String::new() } else { format!(" in {}", counted(report.rows, "row")) };
    let others = if report.errors == 1 { "" } else { "; its data report lists them. The first" };
    let first = report.problems.iter().find(|problem| problem.severity == Severity::Error);
    let first = first.map(described).unwrap_or_default();
    Err(JobError {
        code: format!("invalid_{param}"),
        message: format!("The file has {errors}{place}{others}: {first}"),
        param: Some(param.to_owned()),
    })
}

/// Where, what, and what to do.
fn described(problem: &Problem) -> String {
    let place = match (problem.row, problem.field.as_str()) {
        (0, _) => String::new(),
        (row, "") => format!("row {row}: "),
        (row, field) => format!("row {row}, {field}: "),
    };
    let what = match &problem.detail {
        Some(detail) => format!("{} ({detail}).", problem.message.trim_end_matches('.')),
        None => problem.message.clone(),
    };
    format!("{place}{what} {}", problem.fix)
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

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_shared::text::validate::validate;

    fn refused(text: &[u8]) -> String {
        refuse("training_file", &validate(text, None, None)).err().map(|error| error.message).unwrap_or_default()
    }

    #[test]
    fn a_slip_in_a_projection_is_named_with_what_was_meant() {
        let refused = |name: &str| {
            let lora = LoraSpec { target_modules: vec!["v_proj".to_owned(), name.to_owned()], ..LoraSpec::default() };
            known_modules("hearth.lora.target_modules", &lora).err().map(|error| error.to_string()).unwrap_or_default()
        };
        let words = refused("q_prj");
        assert!(words.starts_with("hearth.lora.target_modules: `q_prj` is not one of q_proj, "), "{words}");
        assert!(words.ends_with("; did you mean `q_proj`?"), "{words}");
        assert_eq!((refused("q_proj").as_str(), refused("whatever").as_str()), ("", ""));
    }

    #[test]
    fn a_refusal_counts_in_english_and_speaks_to_people_at_the_page() {
        let good = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#;
        let one = refused(format!("{good}\n{{}}\n").as_bytes());
        assert_eq!(
            one,
            "The file has 1 error in 2 rows: row 2, messages: A field that the format needs is missing. Add the field."
        );
        let two = refused(b"{}\n{}\n");
        assert!(
            two.starts_with("The file has 2 errors in 2 rows; its data report lists them. The first: row 1, "),
            "{two}"
        );
        let image = refused(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
        assert!(image.starts_with("The file has 1 error: The file is not text (a PNG image). Upload "), "{image}");
        assert!(!format!("{one}{two}{image}").contains("hearth."));
    }
}
