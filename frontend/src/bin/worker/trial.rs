//! A fine-tune in small: a small model learns the first examples of a data set, a step between two looks at the mailbox. On the CPU,
//! whatever engine the labs have: a step reads gradients in its middle, and no worker can wait for a graphics device.

use std::rc::Rc;

use hearth_model::{
    bundle::ModelBundle,
    look::{reading::Reading, runs::Runs},
    train::trial::Trial,
    transformer::Transformer,
};
use hearth_shared::{
    lab::{
        LabError, Progress, Reply, Stage,
        trial::{ANSWER, Answers, Ask, Found},
    },
    spec::Sampling,
};

use crate::{
    desk::{Done, Task},
    engine::{Lab, lost},
    port, position,
};

/// # Errors
/// Whatever ends the call.
pub async fn answer(task: &Rc<Task>, lab: &Lab, ask: Ask) -> Result<Done, LabError> {
    let bundle = position::sibling(task, lab, &ask.model).await?;
    task.breathe().await?;
    let mut trial = Trial::new(&bundle, &ask.spec, &ask.examples).map_err(other)?;
    let question = trial.question().cloned();
    let before = match &question {
        Some(question) => Some(answered(task, &bundle, &bundle.transformer, &question.prompt).await?),
        None => None,
    };
    let start = port::now();
    let mut steps = Vec::new();
    while !trial.is_done() {
        task.breathe().await?;
        let step = trial.step().map_err(other)?;
        let total = Some(trial.total_steps());
        task.report(Progress { stage: Stage::Train, done: step.step, total, item: None, step: Some(step) });
        steps.push(step);
    }
    let ms = port::now() - start;
    task.breathe().await?;
    let answers = match question.zip(before) {
        Some((question, before)) => {
            let after = answered(task, &bundle, &trial.model(), &question.prompt).await?;
            Some(Answers { question: question.text, before, after })
        }
        None => None,
    };
    let (examples, left_out) = (trial.examples() as u32, trial.left_out() as u32);
    let found = Found { spec: trial.spec().clone(), examples, left_out, steps, answers, ms };
    Ok(Done { reply: Reply::Trial(Box::new(found)), buffers: Vec::new() })
}

fn other(error: impl ToString) -> LabError {
    LabError::Other { message: error.to_string() }
}

/// What the model most likely says behind a prompt.
async fn answered(
    task: &Rc<Task>,
    bundle: &ModelBundle,
    model: &Transformer,
    prompt: &[u32],
) -> Result<String, LabError> {
    let mut reading = Reading::new(&bundle.config, prompt);
    while !reading.is_done() {
        task.breathe().await?;
        reading.read_on(model).await.map_err(lost)?;
    }
    let mut runs = Runs::new(&reading, &Sampling::greedy(), &[0], (&bundle.eos, ANSWER));
    while !runs.is_done() {
        task.breathe().await?;
        runs.step(model).await.map_err(lost)?;
    }
    let tokens = runs.into_runs().pop().map(|run| run.tokens).unwrap_or_default();
    Ok(bundle.tokenizer.decode(&tokens))
}
