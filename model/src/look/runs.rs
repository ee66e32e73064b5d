//! Several continuations of one text, each drawn by a sampler with a seed of its own, all a token further at every step. What they draw is
//! what [`Generation`](crate::generate::Generation) draws with the same seed. It reads asynchronously, as all of [`look`](super).

use hearth_shared::lab::sampling::Run;
use hearth_shared::spec::Sampling;

use super::LookError;
use super::reading::{Reading, next};
use crate::cache::KvCache;
use crate::sampler::Sampler;
use crate::transformer::Transformer;

/// See the top of the file. The model is lent to every step.
#[derive(Clone, Debug)]
pub struct Runs {
    prompt: Vec<u32>,
    cache: KvCache,
    /// `[V]` for each run: what follows it.
    logits: Vec<Vec<f32>>,
    runs: Vec<Run>,
    samplers: Vec<Sampler>,
    /// Tokens that end a run.
    eos: Vec<u32>,
    /// Tokens that every run has or ended before.
    steps: usize,
    count: usize,
}

impl Runs {
    /// `count` tokens behind a text that was read to its end, by each seed.
    pub fn new(reading: &Reading, sampling: &Sampling, seeds: &[u64], (eos, count): (&[u32], usize)) -> Self {
        let sampler = |seed: &u64| Sampler::new(&Sampling { seed: Some(*seed), ..sampling.clone() }, *seed);
        Self {
            prompt: reading.tokens().to_vec(),
            // The last token is never read.
            cache: reading.cache().repeated(seeds.len(), count.saturating_sub(1)),
            logits: vec![reading.logits().to_vec(); seeds.len()],
            runs: seeds.iter().map(|seed| Run { seed: *seed, ..Run::default() }).collect(),
            samplers: seeds.iter().map(sampler).collect(),
            eos: eos.to_vec(),
            steps: 0,
            count,
        }
    }

    /// Tokens that every run has or ended before.
    pub fn steps(&self) -> usize {
        self.steps
    }

    pub fn is_done(&self) -> bool {
        self.steps == self.count || self.runs.iter().all(|run| run.ended)
    }

    pub fn into_runs(self) -> Vec<Run> {
        self.runs
    }

    /// Draws the next token of every run that has not ended, and asks the model what follows where that is still needed.
    ///
    /// # Errors
    /// The device was lost or refused the work; the runs are of no more use then.
    pub async fn step(&mut self, model: &Transformer) -> Result<(), LookError> {
        if self.is_done() {
            return Ok(());
        }
        for ((run, sampler), logits) in self.runs.iter_mut().zip(&mut self.samplers).zip(&self.logits) {
            if run.ended {
                continue;
            }
            let seen = [&self.prompt[..], &run.tokens].concat();
            let draw = sampler.draw(logits, &seen);
            if self.eos.contains(&draw.id) {
                run.ended = true;
            } else {
                run.tokens.push(draw.id);
                run.logprobs.push(draw.logprob);
            }
        }
        self.steps += 1;
        if !self.is_done() {
            // A run that has ended goes on with any token: the others have no use for its room.
            let new: Vec<Vec<u32>> =
                self.runs.iter().map(|run| vec![run.tokens.last().copied().unwrap_or_default()]).collect();
            self.logits = next(model, &mut self.cache, &new).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use futures::executor::block_on;

    use super::super::last_logits;
    use super::super::reading::tests::read_whole;
    use super::super::small::model;
    use super::*;

    const PROMPT: [u32; 5] = [3, 17, 4, 44, 9];
    const COUNT: usize = 12;

    fn sampling() -> Sampling {
        Sampling { temperature: 1.3, top_k: Some(30), repetition_penalty: 1.2, ..Sampling::default() }
    }

    fn drawn(eos: &[u32], seeds: &[u64]) -> Vec<Run> {
        let model = model();
        let reading = read_whole(&model, Reading::new(model.config(), &PROMPT));
        let mut runs = Runs::new(&reading, &sampling(), seeds, (eos, COUNT));
        while !runs.is_done() {
            block_on(runs.step(&model)).unwrap();
        }
        runs.into_runs()
    }

    /// The same in the plainest way: the whole text through the model for every token.
    fn slowly(seed: u64) -> Run {
        let model = model();
        let mut sampler = Sampler::new(&Sampling { seed: Some(seed), ..sampling() }, 0);
        let mut run = Run { seed, ..Run::default() };
        while run.tokens.len() < COUNT {
            let seen = [&PROMPT[..], &run.tokens].concat();
            let draw = sampler.draw(&block_on(last_logits(&model, &seen)).unwrap(), &seen);
            run.tokens.push(draw.id);
            run.logprobs.push(draw.logprob);
        }
        run
    }

    #[test]
    fn runs_together_are_runs_alone() {
        let seeds = [7, 8, 7, 1 << 40];
        let runs = drawn(&[], &seeds);
        for (run, seed) in runs.iter().zip(seeds) {
            let alone = slowly(seed);
            assert_eq!((run.seed, &run.tokens, run.ended), (seed, &alone.tokens, false));
            let apart = run.logprobs.iter().zip(&alone.logprobs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-3, "the log-probabilities of {seed} are {apart} apart");
        }
        assert_eq!(runs[0].tokens, runs[2].tokens);
        assert_ne!(runs[0].tokens, runs[1].tokens);
    }

    #[test]
    fn a_token_that_ends_a_text_ends_its_run_and_no_other() {
        let whole = drawn(&[], &[7, 8]);
        let eos = whole[0].tokens[3];
        let runs = drawn(&[eos], &[7, 8]);
        for (run, whole) in runs.iter().zip(&whole) {
            let end = whole.tokens.iter().position(|id| *id == eos);
            assert_eq!((run.ended, &run.tokens[..]), (end.is_some(), &whole.tokens[..end.unwrap_or(COUNT)]));
            assert_eq!(run.logprobs.len(), run.tokens.len());
        }
        assert!(runs[0].ended && runs[0].tokens.len() <= 3);
    }
}
