//! Direct preference optimization (Rafailov 2023): of two answers to one prompt the better one shall become likelier than it was for
//! the model that the run began with, by more than the worse one does. `-ln σ(β · ((π₊ - r₊) - (π₋ - r₋)))`, with log-probabilities
//! of whole answers under the trained (π) and the first model (r).
//!
//! Sequences come in pairs, the better one first. The gradient is that of a cross entropy in which each answer has one weight, so
//! that a step takes two passes: one for the log-probabilities, one with the weights that follow from them.

/// What stays the same over a run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Preference {
    beta: f64,
    /// Negative log-probability of every training sequence under the first model.
    training: Vec<f64>,
    validation: Vec<f64>,
}

/// What some pairs come to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Judged {
    /// Of each sequence's cross entropy, for the mean over the pairs.
    pub weights: Vec<f64>,
    /// Mean over the pairs.
    pub loss: f64,
    /// Share of pairs whose better answer gained more.
    pub accuracy: f64,
}

impl Preference {
    pub(super) fn new(beta: f64, training: Vec<f64>, validation: Vec<f64>) -> Self {
        Self { beta, training, validation }
    }

    /// `losses` are the negative log-probabilities of the training sequences of these numbers.
    pub(super) fn judge(&self, sequences: &[u32], losses: &[f64]) -> Judged {
        let references: Vec<f64> = sequences.iter().map(|i| self.training[*i as usize]).collect();
        judge(self.beta, &references, losses)
    }

    /// The same of all validation sequences.
    pub(super) fn validate(&self, losses: &[f64]) -> Judged {
        judge(self.beta, &self.validation, losses)
    }
}

fn judge(beta: f64, references: &[f64], losses: &[f64]) -> Judged {
    let pairs = (losses.len() / 2).max(1) as f64;
    let mut judged = Judged { weights: Vec::with_capacity(losses.len()), loss: 0.0, accuracy: 0.0 };
    for (losses, references) in losses.chunks_exact(2).zip(references.chunks_exact(2)) {
        let gain = |i: usize| references[i] - losses[i];
        let margin = beta * (gain(0) - gain(1));
        // ln(1 + e^-m) without overflow.
        judged.loss += ((-margin.abs()).exp().ln_1p() + (-margin).max(0.0)) / pairs;
        judged.accuracy += f64::from(u8::from(margin > 0.0)) / pairs;
        let pull = beta / (1.0 + margin.exp()) / pairs;
        judged.weights.extend([pull, -pull]);
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The weights are the loss's derivative.
    #[test]
    fn weights_are_the_slope() {
        let references = [12.0, 11.0, 30.0, 28.0, 5.0, 5.0];
        let losses = [10.0, 13.0, 33.0, 27.0, 5.0, 5.0];
        let judged = judge(0.3, &references, &losses);
        for i in 0..losses.len() {
            let moved = |by: f64| {
                let mut losses = losses;
                losses[i] += by;
                judge(0.3, &references, &losses).loss
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((judged.weights[i] - slope).abs() < 1e-8, "{i}: {judged:?} {slope}");
        }
        assert!((judged.accuracy - 1.0 / 3.0).abs() < 1e-12);
        let equal = judge(0.3, &references, &references);
        assert!((equal.loss - std::f64::consts::LN_2).abs() < 1e-12);
        assert!(judge(1.0, &[0.0, 0.0], &[5000.0, 0.0]).loss > 4999.0);
    }
}
