//! A fine-tune in small, in the tab: a few steps on the first examples of a data set, with the settings that a run would get. It says
//! whether examples can be learned, before any of them is uploaded.

use serde::{Deserialize, Serialize};

use super::LabModel;
use crate::spec::{Auto, DataFacts, FineTuneSpec, HearthOptions, SpecError, TrainSpec};
use crate::text::Example;

/// Examples at most.
pub const EXAMPLES: usize = 16;
/// Optimizer steps.
pub const STEPS: u64 = 20;
/// Examples of a step at most.
pub const BATCH: u32 = 4;
/// Longest example in tokens: one that is longer is left out.
pub const LONGEST: u32 = 256;
/// Tokens of an answer, before and after.
pub const ANSWER: usize = 32;

/// See [`super::Request::Trial`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// A small one: it is trained on the CPU.
    pub model: LabModel,
    /// What a run would be asked for.
    pub spec: FineTuneSpec,
    /// Rows of the file and what stands in them; the first ones that are short enough are taken.
    pub examples: Vec<(u64, Example)>,
}

/// An optimizer step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// From 1.
    pub step: u64,
    /// Mean over the step's trained tokens before the update, nats.
    pub loss: f64,
    /// Positions that went through the model.
    pub tokens: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// What the run was made of.
    pub spec: TrainSpec,
    pub examples: u32,
    /// Examples in front of the last one taken that were too long.
    pub left_out: u32,
    pub steps: Vec<Step>,
    /// None where the first example has no question.
    pub answers: Option<Answers>,
    /// All steps together.
    pub ms: f64,
}

/// What the model makes of the first example's question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    pub question: String,
    pub before: String,
    pub after: String,
}

/// The trial of a fine-tune: as a server would decide the run on these examples, but for its length and the size of its steps.
///
/// # Errors
/// As [`FineTuneSpec::resolve`].
pub fn plan(asked: &FineTuneSpec, facts: &DataFacts) -> Result<TrainSpec, SpecError> {
    let most = BATCH.min(u32::try_from(facts.examples).unwrap_or(BATCH)).max(1);
    let batch_size = asked.batch_size.or(most).min(most);
    let steps_per_epoch = facts.examples.div_ceil(u64::from(batch_size.max(1))).max(1);
    let small = FineTuneSpec {
        batch_size: Auto::Value(batch_size),
        // At most as many passes as steps.
        n_epochs: Auto::Value(STEPS.div_ceil(steps_per_epoch) as u32),
        hearth: HearthOptions {
            max_steps: Some(STEPS),
            max_length: Auto::Value(longest(asked, facts.context)),
            ..asked.hearth.clone()
        },
        ..asked.clone()
    };
    small.resolve(facts)
}

/// The longest example in tokens that a trial takes.
pub fn longest(asked: &FineTuneSpec, context: u32) -> u32 {
    asked.hearth.longest_row(context).min(LONGEST)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::lab::{Progress, Stage};
    use crate::spec::Tuning;

    const FACTS: DataFacts = DataFacts { examples: 16, tokens: 900, longest: 90, parameters: 1_000_000, context: 512 };

    #[test]
    fn a_trial_is_the_run_but_for_length_and_size() {
        let hearth = HearthOptions { weight_decay: Auto::Value(0.25), ..HearthOptions::default() };
        let asked = FineTuneSpec { batch_size: Auto::Value(64), seed: Some(7), hearth, ..FineTuneSpec::default() };
        let (run, trial) = (asked.resolve(&FACTS).unwrap(), plan(&asked, &FACTS).unwrap());
        assert_eq!((trial.batch_size, trial.max_length, trial.max_steps), (BATCH, LONGEST, Some(STEPS)));
        assert_eq!((trial.n_epochs, trial.warmup_steps), (5, 1));
        let TrainSpec { batch_size, max_length, max_steps, n_epochs, .. } = trial;
        let TrainSpec { warmup_steps, checkpoint_every, eval_every, .. } = trial;
        let like = TrainSpec { batch_size, max_length, max_steps, n_epochs, ..run };
        assert_eq!(TrainSpec { warmup_steps, checkpoint_every, eval_every, ..like }, trial);
    }

    #[test]
    fn few_examples_are_seen_again_and_again() {
        let asked = FineTuneSpec::default();
        for examples in [1, 2, 3, 5, 16] {
            let spec = plan(&asked, &DataFacts { examples, ..FACTS }).unwrap();
            let per_epoch = examples.div_ceil(u64::from(spec.batch_size));
            assert!(u64::from(spec.n_epochs) * per_epoch >= STEPS, "{examples}: {spec:?}");
            assert!(u64::from(spec.batch_size) <= examples, "{examples}: {spec:?}");
        }
        assert_eq!(plan(&asked, &DataFacts { examples: 0, ..FACTS }).unwrap_err().field, "training_file");
    }

    #[test]
    fn a_shorter_limit_and_virtual_tokens_count() {
        let mut asked = FineTuneSpec::default();
        asked.hearth.max_length = Auto::Value(100);
        assert_eq!(plan(&asked, &FACTS).unwrap().max_length, 100);
        asked.hearth.tuning = Tuning::Prefix;
        asked.hearth.max_length = Auto::Auto;
        assert_eq!(longest(&asked, 64), 48);
    }

    #[test]
    fn a_step_survives_the_crossing() {
        let step = Some(Step { step: 3, loss: 2.5, tokens: 120 });
        let told = Progress { stage: Stage::Train, done: 3, total: Some(STEPS), item: None, step };
        let text = serde_json::to_string(&told).unwrap();
        assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), told);
        let asked = FineTuneSpec { dpo_beta: Some(Auto::Auto), ..FineTuneSpec::default() };
        let text = serde_json::to_string(&asked).unwrap();
        assert_eq!(serde_json::from_str::<FineTuneSpec>(&text).unwrap(), asked);
    }
}
