//! A fine-tune in small: a few steps on the first examples, with the settings that the run would get. The tab does it beside the form,
//! with the engine of every other run. It knows no page and no worker; the caller comes back for every step, and may stay away.

use hearth_shared::lab::trial::{self, EXAMPLES, Step};
use hearth_shared::spec::{AdapterSpec, BaseWeights, DataFacts, FineTuneSpec, TrainSpec};
use hearth_shared::text::{Example, Message};

use super::data::{self, Encoder, Sequence};
use super::{Run, TrainError};
use crate::adapter::{self, AdapterError};
use crate::bundle::ModelBundle;
use crate::device;
use crate::transformer::Transformer;

/// Why there is no trial.
#[derive(thiserror::Error, Debug)]
pub enum TrialError {
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    #[error("none of the first examples has {longest} tokens or fewer")]
    TooLong { longest: u32 },
    /// A step reads gradients in its middle, for which a worker can't wait.
    #[error("a model on this device can't be trained here: load it on the CPU")]
    Device,
}

/// See the top of the file.
#[derive(Debug)]
pub struct Trial {
    run: Run,
    examples: usize,
    left_out: usize,
    question: Option<Question>,
}

/// The first example's, for the model to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub text: String,
    /// All that an answer begins behind.
    pub prompt: Vec<u32>,
}

/// What a trial is made of.
#[derive(Debug, PartialEq)]
struct Chosen {
    examples: Vec<(u64, Example)>,
    /// Those in front of the last one that are too long.
    left_out: usize,
}

impl Trial {
    /// Begins. The bundle's own weights stay as they are.
    ///
    /// # Errors
    /// A spec outside its bounds or one that does not go with this model, nothing to train on, or a device that can't be waited for.
    pub fn new(bundle: &ModelBundle, asked: &FineTuneSpec, examples: &[(u64, Example)]) -> Result<Self, TrialError> {
        let device = bundle.transformer.device();
        if !device::reads_at_once(&device) {
            return Err(TrialError::Device);
        }
        let (voice, context) = (bundle.voice(), bundle.config.max_positions as u32);
        let facts = DataFacts { examples: 1, tokens: 1, longest: 1, parameters: bundle.config.parameters(), context };
        // What no data can help: values out of bounds, or a context that is full of virtual tokens.
        trial::plan(asked, &facts).map_err(TrainError::from)?;
        let longest = trial::longest(asked, context);
        let Chosen { examples, left_out } = chosen(examples, &voice, longest as usize)?;
        if examples.is_empty() && left_out > 0 {
            return Err(TrialError::TooLong { longest });
        }
        let sequences = data::encode(&examples, &voice, longest as usize)?;
        let each = if asked.dpo_beta.is_some() { 2 } else { 1 };
        let facts = DataFacts {
            examples: (sequences.len() / each) as u64,
            tokens: sequences.iter().map(|sequence| sequence.ids.len() as u64).sum(),
            longest: sequences.iter().map(|sequence| sequence.ids.len() as u32).max().unwrap_or(0),
            ..facts
        };
        let spec = trial::plan(asked, &facts).map_err(TrainError::from)?;
        let question = examples.first().zip(sequences.first()).and_then(|((_, example), sequence)| {
            // Whoever reads with a cache counts no virtual tokens.
            let plain = spec.adapter.as_ref().map_or(0, AdapterSpec::virtual_tokens) == 0;
            question(example, sequence).filter(|question| plain && question.fits(context as usize))
        });
        let mut model = bundle.transformer.clone();
        if spec.base_weights == BaseWeights::Nf4 {
            adapter::pack(&mut model);
        }
        if let Some(adapter) = &spec.adapter {
            adapter::apply(&mut model, adapter, spec.seed, &device)?;
        }
        let run = Run::new(&spec, model, sequences, None)?;
        Ok(Self { run, examples: examples.len(), left_out, question })
    }

    pub fn spec(&self) -> &TrainSpec {
        self.run.spec()
    }

    /// Examples that are learned.
    pub fn examples(&self) -> usize {
        self.examples
    }

    /// Examples that were too long.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    pub fn question(&self) -> Option<&Question> {
        self.question.as_ref()
    }

    pub fn total_steps(&self) -> u64 {
        self.run.total_steps()
    }

    pub fn is_done(&self) -> bool {
        self.run.is_done()
    }

    /// One optimizer step.
    ///
    /// # Errors
    /// As [`Run::step`].
    pub fn step(&mut self) -> Result<Step, TrainError> {
        let report = self.run.step()?;
        Ok(Step { step: report.step, loss: report.loss, tokens: report.tokens })
    }

    /// The model as it is now.
    pub fn model(&self) -> Transformer {
        self.run.model()
    }
}

impl Question {
    fn fits(&self, context: usize) -> bool {
        !self.prompt.is_empty() && self.prompt.len() + trial::ANSWER <= context
    }
}

/// The first examples that are short enough; paragraphs of text always are, as they are cut.
fn chosen(examples: &[(u64, Example)], encoder: &dyn Encoder, longest: usize) -> Result<Chosen, TrainError> {
    let mut chosen = Chosen { examples: Vec::new(), left_out: 0 };
    for (row, example) in examples {
        if chosen.examples.len() == EXAMPLES {
            break;
        }
        let mut fits = true;
        for messages in example.conversations() {
            let sequence = encoder.chat(messages).map_err(|message| TrainError::Data { row: *row, message })?;
            fits &= sequence.ids.len() <= longest;
        }
        if fits {
            chosen.examples.push((*row, example.clone()));
        } else {
            chosen.left_out += 1;
        }
    }
    Ok(chosen)
}

/// None where nothing is asked: of plain text, and where the first turn is trained.
fn question(example: &Example, sequence: &Sequence) -> Option<Question> {
    let messages = example.conversations().into_iter().next()?;
    let answer = messages.iter().position(Message::is_trained)?;
    let text = messages[..answer].last()?.content.clone();
    let trained = sequence.trained.iter().position(|trained| *trained)?;
    Some(Question { text, prompt: sequence.ids[..trained].to_vec() })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use hearth_shared::text::Role;

    use super::*;

    /// A token for each letter; answers are trained.
    struct Letters;

    impl Encoder for Letters {
        fn chat(&self, messages: &[Message]) -> Result<Sequence, String> {
            let mut sequence = Sequence::default();
            for message in messages {
                let ids: Vec<u32> = message.content.bytes().map(u32::from).collect();
                sequence.extend(&ids, message.is_trained());
            }
            Ok(sequence)
        }

        fn text(&self, text: &str) -> Vec<u32> {
            text.bytes().map(u32::from).collect()
        }

        fn end_of_text(&self) -> Option<u32> {
            None
        }
    }

    fn chat(question: &str, answer: &str) -> Example {
        Example::Chat(vec![Message::new(Role::User, question), Message::new(Role::Assistant, answer)])
    }

    #[test]
    fn the_first_examples_that_fit_are_taken() {
        let rows: Vec<(u64, Example)> =
            (1..=40).map(|row| (row, chat("why?", &"x".repeat(if row % 3 == 0 { 30 } else { 5 })))).collect();
        let Chosen { examples, left_out } = chosen(&rows, &Letters, 20).unwrap();
        let taken: Vec<u64> = examples.iter().map(|(row, _)| *row).collect();
        assert_eq!(taken, [1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23]);
        assert_eq!(left_out, 7);
        assert_eq!(chosen(&rows, &Letters, 8).unwrap(), Chosen { examples: Vec::new(), left_out: 40 });
    }

    #[test]
    fn both_answers_of_a_preference_must_fit() {
        let side = |answer: &str| chat("why?", answer).conversations()[0].to_vec();
        let pair = |rejected: &str| Example::Preference { preferred: side("so"), rejected: side(rejected) };
        let rows = [(1, pair("because it is a very long story")), (2, pair("no")), (3, Example::Text("x".repeat(99)))];
        let Chosen { examples, left_out } = chosen(&rows, &Letters, 10).unwrap();
        assert_eq!((examples, left_out), (rows[1..].to_vec(), 1));
    }

    #[test]
    fn a_question_is_what_stands_before_the_first_trained_turn() {
        let example = chat("why?", "so");
        let sequence = Letters.chat(example.conversations()[0]).unwrap();
        let found = question(&example, &sequence).unwrap();
        assert_eq!((found.text.as_str(), found.prompt.len()), ("why?", 4));
        assert!(found.fits(4 + trial::ANSWER) && !found.fits(3 + trial::ANSWER));
        let text = Example::Text("no question".to_owned());
        assert_eq!(question(&text, &Sequence::plain(vec![1, 2, 3])), None);
    }
}
